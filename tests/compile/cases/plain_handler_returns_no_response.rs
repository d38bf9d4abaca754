use purlin::get;

struct Point {
    x: f64,
}

fn origin() -> Point {
    Point { x: 0.0 }
}

fn main() {
    get(origin);
}
