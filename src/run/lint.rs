//! The command `lint`: what the answers of a server that listens break of HTTP's rules.

use crate::lint::Severity;
use crate::{Context, Error, Result, testing};
use serde_json::Value;
use std::io::Write;

/// Asks each address, and prints what is broken there.
///
/// # Errors
///
/// Nobody listens there, or an error is found; advice alone is none.
pub(super) fn lint(addresses: &[String], as_json: bool, out: &mut impl Write) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("starting the runtime")?;
    let (mut errors, mut objects) = (0, Vec::new());
    for address in addresses {
        let broken = runtime.block_on(testing::lint(address))?;
        errors += broken.iter().filter(|violation| violation.rule().severity == Severity::Error).count();
        if as_json {
            for violation in &broken {
                let mut object = serde_json::to_value(violation).context("writing JSON")?;
                object["url"] = Value::from(address.as_str());
                objects.push(object);
            }
            continue;
        }
        writeln!(out, "{address}: {}", if broken.is_empty() { "keeps the rules" } else { "breaks rules" })?;
        for violation in &broken {
            writeln!(out, "  {violation}")?;
        }
    }
    if as_json {
        writeln!(out, "{:#}", Value::from(objects))?;
    }
    match errors {
        0 => Ok(()),
        1 => Err(Error::internal("one error against the rules of HTTP")),
        errors => Err(Error::internal(format!("{errors} errors against the rules of HTTP"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Body, Response, Router, Server, Service, Stack, StatusCode, get};

    /// A server that listens for as long as this is kept, and its address.
    fn serving(app: impl Service + 'static) -> (tokio::runtime::Runtime, String) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let inside = runtime.enter();
        let server = Server::new().listen("127.0.0.1:0".parse().unwrap()).bind().unwrap();
        let address = format!("http://{}", server.addresses()[0]);
        runtime.spawn(server.serve(app, std::future::pending()));
        drop(inside);
        (runtime, address)
    }

    fn said(paths: &[&str], as_json: bool) -> (String, Result<()>) {
        async fn wrong() -> Response {
            let mut response = Response::new(Body::empty());
            *response.status_mut() = StatusCode::UNAUTHORIZED;
            response
        }
        let routes = Router::new()
            .route("/good", get(async || "hello"))
            .route("/advised", get(async || StatusCode::FOUND))
            .route("/wrong", get(wrong));
        let (_serving, address) = serving(Stack::new().app(routes));
        let addresses: Vec<String> = paths.iter().map(|path| format!("{address}{path}")).collect();
        let mut out = Vec::new();
        let done = lint(&addresses, as_json, &mut out);
        (String::from_utf8(out).unwrap().replace(&address, "http://here"), done)
    }

    #[test]
    fn a_server_that_keeps_the_rules_is_none_to_complain_of() {
        let (out, done) = said(&["/good"], false);
        assert_eq!(out, "http://here/good: keeps the rules\n");
        assert!(done.is_ok());
        assert_eq!(said(&["/good"], true).0, "[]\n");
    }

    #[test]
    fn advice_is_printed_and_no_failure() {
        let (out, done) = said(&["/advised"], false);
        assert!(
            out.starts_with("http://here/advised: breaks rules\n  warning location-missing: GET /advised: 302"),
            "{out}"
        );
        assert!(done.is_ok());
    }

    #[test]
    fn an_error_is_a_failure() {
        let (out, done) = said(&["/good", "/wrong"], false);
        assert!(
            out.contains("good: keeps the rules\nhttp://here/wrong: breaks rules\n  error www-authenticate-missing"),
            "{out}"
        );
        assert!(done.unwrap_err().message().ends_with("errors against the rules of HTTP"));
        let (json, done) = said(&["/wrong"], true);
        let all: Vec<Value> = serde_json::from_str(&json).unwrap();
        assert_eq!(all[0]["rule"], "www-authenticate-missing");
        assert_eq!(all[0]["url"], "http://here/wrong");
        assert!(done.is_err());
    }

    #[test]
    fn nobody_there_is_an_error() {
        let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let failed = lint(&[format!("http://{gone}/")], false, &mut Vec::new()).unwrap_err();
        assert!(format!("{failed:#}").contains(&format!("connecting to {gone}")), "{failed:#}");
    }
}
