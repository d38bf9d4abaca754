//! Applications from a file: PasteDeploy's rules, its traps, and what is said of broken files.

mod broken;
mod building;
mod commands;
mod dialects;
mod files;
mod paste;
mod registered;
mod secrets;
mod tls;

use purlin::deploy::{Deploy, Deployment, Graph, NoOptions, Registry};
use purlin::{BoxService, Config, Request, Response, Router, Service, any, get, handler, text};
use serde::Deserialize;
use std::collections::BTreeMap;

/// Answers with the options and globals it was made with.
#[derive(Deserialize)]
struct Told {
    #[serde(default)]
    word: String,
    #[serde(default)]
    number: Option<u32>,
    #[serde(default)]
    path: String,
    #[serde(default)]
    on: Option<bool>,
}

fn says(answer: String) -> impl Service {
    handler(move || {
        let answer = answer.clone();
        async move { text(answer) }
    })
}

/// A registry with applications that tell what they were given.
fn registry() -> Registry {
    Registry::new()
        .app("test:told", |told: Told, section| {
            let here = section.here().display().to_string();
            let email = section.global("admin_email").unwrap_or_default();
            let Told { word, number, path, on } = told;
            let answer = format!("word={word} number={number:?} path={path} on={on:?} email={email} here={here}");
            Ok(says(answer))
        })
        .app("test:any", |options: BTreeMap<String, String>, _| Ok(says(format!("{options:?}"))))
        .app("test:path", |_: NoOptions, _| Ok(handler(async |req: Request| text(req.uri().path().to_owned()))))
        .app("test:routes", |_: NoOptions, _| {
            Ok(Router::new().route("/here", get(async || "routed")).route("/any", any(async || "any")))
        })
        .layer("test:mark", |mark: Mark, _| Ok(mark))
}

/// Writes its word into a header, behind those of the layers within.
#[derive(Deserialize)]
struct Mark {
    word: String,
}

impl purlin::Middleware for Mark {
    async fn handle(&self, req: Request, next: &impl Service) -> purlin::Result<Response> {
        let mut response = next.call(req).await;
        response.headers_mut().append("x-mark", self.word.parse()?);
        Ok(response)
    }
}

fn toml(text: &str) -> Deployment {
    let graph = Graph::from_toml("/site/site.toml", text).unwrap_or_else(|error| panic!("{error}"));
    Deploy::new(registry()).config(Config::default()).graph(graph).unwrap()
}

fn ini(text: &str) -> Deployment {
    let graph = Graph::from_ini("/site/site.ini", text).unwrap_or_else(|error| panic!("{error}"));
    Deploy::new(registry()).config(Config::default()).graph(graph).unwrap()
}

/// What an application answers at a path: its text, and the marks of its layers from the innermost out.
async fn ask(app: &BoxService, path: &str) -> (String, String) {
    let response = app.call(purlin::http::Request::get(path).body(purlin::Body::empty()).unwrap()).await;
    let marks: Vec<&str> = response.headers().get_all("x-mark").iter().map(|mark| mark.to_str().unwrap()).collect();
    let marks = marks.join(" ");
    let bytes = response.into_body().collect(1 << 20).await.unwrap();
    (String::from_utf8(bytes.to_vec()).unwrap(), marks)
}

/// What `main` tells.
async fn told(deployment: &Deployment) -> String {
    ask(&deployment.app("main").unwrap_or_else(|error| panic!("{error}")), "/").await.0
}
