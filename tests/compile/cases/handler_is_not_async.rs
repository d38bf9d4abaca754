use purlin::get;

fn hello() -> &'static str {
    "hello"
}

fn main() {
    get(hello);
}
