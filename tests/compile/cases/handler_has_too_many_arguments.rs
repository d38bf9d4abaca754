use purlin::{Method, get};

#[rustfmt::skip]
async fn many(
    _: Method, _: Method, _: Method, _: Method, _: Method, _: Method, _: Method,
    _: Method, _: Method, _: Method, _: Method, _: Method, _: Method,
) {
}

fn main() {
    get(many);
}
