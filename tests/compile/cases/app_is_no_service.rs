use purlin::Stack;

async fn hello() -> &'static str {
    "hello"
}

fn main() {
    let _ = Stack::new().app(hello);
}
