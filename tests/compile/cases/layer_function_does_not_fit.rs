use purlin::{Next, Request, Response, Service, Stack};

async fn no_result(req: Request, next: Next<'_>) -> Response {
    next.call(req).await
}

fn main() {
    let _ = Stack::new().layer(no_result);
}
