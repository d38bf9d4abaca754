use purlin::{State, get};

struct Pool;

async fn hello(State(_): State<Pool>) {}

fn main() {
    get(hello);
}
