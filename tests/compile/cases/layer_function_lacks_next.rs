use purlin::{Request, Response, Result, Stack, text};

async fn layer(_: Request) -> Result<Response> {
    Ok(text("all there is"))
}

fn main() {
    let _ = Stack::new().layer(layer);
}
