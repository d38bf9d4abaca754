//! The contract: layers around an application.

use purlin::layers::RequestIds;
use purlin::site::About;
use purlin::{
    BoxMiddleware, Context, Error, Middleware, Next, Request, RequestId, Response, ResponseExt, Result, Router,
    Service, Stack, StatusCode, get, handler, text,
};

struct Mark(&'static str);

impl Middleware for Mark {
    async fn handle(&self, mut req: Request, next: &impl Service) -> Result<Response> {
        req.headers_mut().append("x-in", self.0.parse()?);
        let mut response = next.call(req).await;
        response.headers_mut().append("x-out", self.0.parse()?);
        Ok(response)
    }
}

fn all(response: &Response, name: &str) -> Vec<String> {
    response.headers().get_all(name).iter().map(|value| value.to_str().unwrap().to_owned()).collect()
}

async fn echo(req: Request) -> Response {
    let mut response = text("");
    for value in req.headers().get_all("x-in") {
        response.headers_mut().append("x-in", value.clone());
    }
    response
}

#[tokio::test]
async fn the_first_line_is_outermost() {
    let app = Stack::new().layer(Mark("a")).layer(Mark("b")).app(handler(echo));
    let response = app.call(Request::default()).await;
    assert_eq!(all(&response, "x-in"), ["a", "b"]);
    assert_eq!(all(&response, "x-out"), ["b", "a"]);
}

#[tokio::test]
async fn a_layer_may_be_absent_or_boxed_or_a_list() {
    let list = vec![BoxMiddleware::new(Mark("b")), BoxMiddleware::new(Mark("c"))];
    let app = Stack::new().layer(Some(Mark("a"))).layer(None::<Mark>).layer(list).layer(Mark("d")).app(handler(echo));
    let response = app.call(Request::default()).await;
    assert_eq!(all(&response, "x-in"), ["a", "b", "c", "d"]);
    assert_eq!(all(&response, "x-out"), ["d", "c", "b", "a"]);
    let site = app.check().unwrap();
    let names: Vec<_> = site.layers().iter().map(|layer| layer.name.as_str()).collect();
    assert_eq!(names, ["Mark", "Mark", "Mark", "Mark"]);
}

async fn shout(req: Request, next: Next<'_>) -> Result<Response> {
    let mut response = next.call(req).await;
    response.headers_mut().insert("x-shout", "HEY".parse()?);
    Ok(response)
}

#[tokio::test]
async fn an_async_function_is_a_layer() {
    let app = Stack::new().layer(shout).app(handler(echo));
    let response = app.call(Request::default()).await;
    assert_eq!(response.headers()["x-shout"], "HEY");
    assert_eq!(app.check().unwrap().layers()[0].name, "shout");
}

struct Refuse;

impl Middleware for Refuse {
    async fn handle(&self, _: Request, _: &impl Service) -> Result<Response> {
        Err(Error::forbidden("not today"))
    }
}

#[tokio::test]
async fn an_error_is_carried_outwards_on_a_response() {
    let app = Stack::new().layer(Mark("a")).layer(Refuse).app(handler(echo));
    let response = app.call(Request::default()).await;
    assert_eq!(response.status(), 403);
    assert_eq!(all(&response, "x-out"), ["a"], "a layer outside still adorns the answer");
    let error = response.error().unwrap();
    assert_eq!(error.message(), "not today");
    assert_eq!(error.layer(), Some("Refuse"));
    assert!(error.place().unwrap().file().ends_with("stack.rs"));
}

#[tokio::test]
async fn any_error_becomes_one_by_a_question_mark_and_knows_its_line() {
    async fn fails() -> Result<Response> {
        let number: u8 = "many".parse().context("counting sheep")?;
        Ok(text(number.to_string()))
    }
    let line = line!() - 3;
    let app = Stack::new().app(Router::new().route("/", get(fails)));
    let response = app.call(Request::default()).await;
    let error = response.error().unwrap();
    assert_eq!(response.status(), 500);
    assert_eq!(format!("{error:#}"), "counting sheep: invalid digit found in string");
    assert_eq!(error.place().unwrap().line(), line);
    assert!(error.downcast_ref::<std::num::ParseIntError>().is_some());
}

#[tokio::test]
async fn a_panic_in_a_handler_is_a_carried_error_with_its_place() {
    async fn fails() -> Response {
        std::env::var_os("PURLIN_NO_SUCH_VARIABLE").map(|_| text("")).expect("there should be one")
    }
    let app = Stack::new().layer(Mark("a")).app(Router::new().route("/", get(fails)));
    let response = app.call(Request::default()).await;
    assert_eq!(response.status(), 500);
    assert_eq!(all(&response, "x-out"), ["a"]);
    let error = response.error().unwrap();
    assert!(error.is_panic());
    assert_eq!(error.message(), "there should be one");
    assert!(error.place().unwrap().file().ends_with("tests/stack.rs"));
    assert!(error.backtrace().is_some());
    assert_eq!(error.route(), Some("/"));
}

struct NeedsId;

impl Middleware for NeedsId {
    async fn handle(&self, req: Request, next: &impl Service) -> Result<Response> {
        Ok(next.call(req).await)
    }

    fn describe(&self, about: &mut About) {
        about.needs::<RequestId>();
    }
}

#[test]
fn a_wrong_order_names_both_layers_and_the_line_to_move() {
    let line = line!() + 3;
    #[rustfmt::skip]
    let app = Stack::new()
        .layer(NeedsId)
        .layer(RequestIds::new())
        .app(Router::new());
    let message = app.check().unwrap_err().message();
    let expected = format!(
        "the layer NeedsId (tests/stack.rs:{line}:10) needs `RequestId`, which RequestIds provides further in: move the line \
         tests/stack.rs:{}:10 above tests/stack.rs:{line}:10",
        line + 1
    );
    assert!(message.contains(&expected), "{message}");
}

#[test]
fn a_missing_provider_is_named() {
    let app = Stack::new().layer(NeedsId).app(Router::new());
    let message = app.check().unwrap_err().message();
    assert!(message.contains("needs `RequestId`, which no layer above it provides"), "{message}");
}

#[tokio::test]
async fn a_status_of_a_tuple_does_not_hide_a_failure() {
    async fn fails() -> (StatusCode, Result<&'static str>) {
        (StatusCode::CREATED, Err(Error::conflict("taken")))
    }
    let app = Stack::new().app(handler(fails));
    assert_eq!(app.call(Request::default()).await.status(), 409);
}

/// A stack of many layers compiles within the default recursion limit, and keeps its order.
#[tokio::test]
async fn a_stack_may_have_forty_layers() {
    use purlin::layers::{AccessLog, Deadline};
    macro_rules! eight {
        ($stack:expr) => {
            $stack
                .layer(Some(Mark("a")))
                .layer(Some(AccessLog::new()))
                .layer(Some(Deadline::new(std::time::Duration::from_secs(1))))
                .layer(shout)
                .layer(Mark("b"))
                .layer(Some(AccessLog::new()))
                .layer(Some(Deadline::new(std::time::Duration::from_secs(1))))
                .layer(Some(Mark("c")))
        };
    }
    let app = eight!(eight!(eight!(eight!(eight!(Stack::new())))));
    let app = app.app(Router::new().route("/", get(echo)));
    let response = app.call(Request::default()).await;
    assert_eq!(all(&response, "x-in").concat(), "abcabcabcabcabc");
    assert_eq!(all(&response, "x-out").concat(), "cbacbacbacbacba");
    assert_eq!(app.check().unwrap().layers().len(), 40);
}
