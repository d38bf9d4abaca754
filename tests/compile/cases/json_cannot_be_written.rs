use purlin::{Json, get};

struct Point {
    x: f64,
}

async fn origin() -> Json<Point> {
    Json(Point { x: 0.0 })
}

fn main() {
    get(origin);
}
