use purlin::get;

struct Point {
    x: f64,
}

async fn origin() -> Point {
    Point { x: 0.0 }
}

fn main() {
    get(origin);
}
