use purlin::{Request, get};

async fn show(req: &Request) -> String {
    req.uri().to_string()
}

fn main() {
    get(show);
}
