use purlin::Router;

async fn hello() -> &'static str {
    "hello"
}

fn main() {
    let _ = Router::new().route("/", hello);
}
