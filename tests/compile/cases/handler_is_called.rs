use purlin::get;

async fn hello() -> &'static str {
    "hello"
}

fn main() {
    get(hello());
}
