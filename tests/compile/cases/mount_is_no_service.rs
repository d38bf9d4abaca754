use purlin::{Router, get};

async fn hello() -> &'static str {
    "hello"
}

fn main() {
    let _ = Router::new().mount("/hello", get(hello));
}
