use purlin::{Json, post};

struct Point {
    x: f64,
}

async fn length(Json(point): Json<Point>) -> String {
    point.x.to_string()
}

fn main() {
    post(length);
}
