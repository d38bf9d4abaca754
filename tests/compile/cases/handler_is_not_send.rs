use purlin::get;
use std::rc::Rc;

async fn pause() {}

async fn hello() -> String {
    let name = Rc::new("you");
    pause().await;
    name.to_string()
}

fn main() {
    get(hello);
}
