//! What is tried against the page beside the attacks on record: each way in for text, each door of each answer.

use super::{BROWSER, ask, client, is_plain, page_of, path_of, token_of};
use purlin::layers::{Csrf, Debugger, ErrorPages, Sessions, Templates};
use purlin::session::MemoryStore;
use purlin::template::Tera;
use purlin::testing::{Client, Page};
use purlin::{Assets, Context, Error, Form, HeaderMap, Path, Result, Router, Session, Stack, View, get, post};
use serde_json::{Value, json};
use std::collections::HashMap;

/// Text that would be markup in an element, in an attribute, in a script, in a style, in a title and in a comment.
const MARKUP: [&str; 4] = [
    "<script>alert(1)</script>\"><img src=x onerror=alert(1)>",
    "' onmouseover='alert(1)\" onfocus=\"alert(1)\" autofocus=\"",
    "</title></textarea></style></script></template><svg onload=alert(1)>--><b>out</b><!--",
    "javascript:alert(1)//{{ 7 * 7 }}{% raw %}<u>",
];

struct Visitor {
    name: String,
    tags: HashMap<String, String>,
}

/// Fails with the client's text in the message, a cause, the context of it, and variables of several types.
async fn echoes(Path(text): Path<String>, headers: HeaderMap, session: Session) -> Result<String> {
    let visitor = Visitor { name: text.clone(), tags: HashMap::from([(text.clone(), text.clone())]) };
    session.insert("said", &text)?;
    let agent = headers.get("x-said").map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    let _span = tracing::info_span!("saying", text).entered();
    refuse(&visitor, agent.as_deref().unwrap_or_default()).context(format!("saying {}", visitor.name))?;
    Ok(visitor.tags.len().to_string())
}

fn refuse(visitor: &Visitor, agent: &str) -> Result<()> {
    let said = [visitor.name.as_str(), agent];
    Err(std::io::Error::other(format!("refused {said:?} {}", visitor.name)))?
}

/// The same by a panic.
async fn panics(Path(text): Path<String>) -> String {
    let list = vec![text.clone()];
    panic!("no {text} in {list:?}")
}

async fn form(Form(form): Form<HashMap<String, String>>) -> Result<String> {
    Err(Error::internal(format!("refused {form:?}")))
}

async fn renders(Path(text): Path<String>) -> View {
    View::new("page.html", json!({ "title": text, (text.clone()): [text] }))
}

fn echoing() -> Client {
    let templates: &[(&str, &[u8])] = &[("page.html", b"<h1>{{ title }}</h1>\n<p>{{ missing.field }}</p>\n")];
    let routes = Router::new()
        .route("/echoes/{text}", get(echoes))
        .route("/panics/{text}", get(panics))
        .route("/form", post(form).layer(Csrf::new().trust("http://localhost")))
        .route("/template/{text}", get(renders));
    let app = Stack::new()
        .layer(Debugger::new())
        .layer(ErrorPages::new().details(true).log_lines(20))
        .layer(Sessions::new(MemoryStore::new()))
        .layer(Templates::new(Tera::new(Assets::embedded(Box::leak(templates.into())))))
        .app(routes);
    Client::new(app).expect_errors()
}

/// That there is no more markup than without any text of the client's.
#[track_caller]
fn is_harmless(page: &Page, text: &str, why: &str) {
    let source = page.text();
    for piece in ["<script>alert", "<img", "<svg", "<b>out", "<u>", "onerror=alert(1)>", "onload=alert(1)>"] {
        assert!(!source.contains(piece), "{why}: {text}: {piece}");
    }
    // What stands in an attribute has no quote of its own.
    for attribute in ["onmouseover", "onfocus", "onerror", "onload", "autofocus"] {
        let elements = page.select(&format!("[{attribute}]"));
        assert!(elements.is_empty(), "{why}: {text}: an element has the attribute {attribute}");
    }
    for link in page.select("a[href]") {
        let href = link.attr("href").unwrap_or_default().trim().to_ascii_lowercase();
        assert!(!href.starts_with("javascript:") && !href.starts_with("data:"), "{why}: {text}: {href}");
    }
    assert_eq!(page.select("script").len(), 1, "{why}: {text}: the page's own script and no other");
    assert_eq!(page.select("style").len(), 1, "{why}: {text}: the page's own style and no other");
}

/// CVE-2016-10516 was the message alone; a page with more on it has more ways in.
#[tokio::test]
async fn text_of_a_client_is_never_markup_whichever_way_it_came_in() {
    let client = echoing();
    for text in MARKUP {
        // As a part of a path it is encoded; the handler has it as it was.
        let encoded: String = text.bytes().map(|byte| format!("%{byte:02x}")).collect();
        for path in [
            format!("/echoes/{encoded}?said={encoded}&{encoded}=1"),
            format!("/panics/{encoded}"),
            format!("/template/{encoded}"),
            format!("/nowhere/{encoded}"),
        ] {
            let asked = client.get(&path).accept(BROWSER).header("x-said", text).header("referer", text);
            let page = asked.header("cookie", format!("said={}", encoded)).header("user-agent", text).await;
            assert!(page.status().as_u16() >= 404, "{path}");
            is_harmless(&page, text, &path);
            is_harmless(&page_of(&client, &path_of(&page)).await, text, "under its address");
        }
        let fields = HashMap::from([(text, text)]);
        let page = client.post("/form").header("origin", "http://localhost").accept(BROWSER).form(&fields).await;
        is_harmless(&page, text, "form");
        let list = page_of(&client, "/_debug/").await;
        let source = list.text();
        assert!(!source.contains(text) || !text.contains(['<', '"', '\'']), "the list: {text}");
    }
}

/// Characters that the syntax of an address lets through as they are.
#[tokio::test]
async fn an_address_with_quotes_ends_no_attribute() {
    let client = echoing();
    for path in ["/no'where/onfocus='alert(1)", "/a'b?c='onmouseover='alert(1)//", "/x`$(id)`"] {
        let page = page_of(&client, path).await;
        page.assert_status(404);
        is_harmless(&page, path, "404");
    }
}

/// An address that, as a link, would be another host's.
#[tokio::test]
async fn sending_a_request_again_leads_to_no_other_host() {
    let client = echoing();
    for path in ["//evil.example/x", "/\\evil.example/x", "///evil.example", "/\\/evil.example"] {
        let page = page_of(&client, path).await;
        page.assert_status(404);
        let again = format!("/.{path}");
        let links = page.select("a[href]");
        assert!(links.iter().any(|link| link.attr("href") == Some(&again)), "{path}");
        for link in links {
            let href = link.attr("href").unwrap_or_default();
            assert!(!href.starts_with("//") && !href.starts_with("/\\"), "{path}: {href} leads to another host");
        }
        assert_eq!(page.select("#replay [name=url]")[0].attr("value"), Some(&*again));
    }
}

/// What a program reads is no page, also where a browser is made to look at it.
#[tokio::test]
async fn json_and_markdown_are_not_taken_for_markup() {
    let client = echoing();
    let page = page_of(&client, &format!("/echoes/{}", "%3cscript%3ealert(1)%3c%2fscript%3e")).await;
    for (form, kind) in [(".json", "application/json"), (".md", "text/markdown; charset=utf-8")] {
        let told = page_of(&client, &format!("{}{form}", path_of(&page))).await;
        told.assert_header("content-type", kind).assert_header("x-content-type-options", "nosniff");
        assert!(form == ".md" || !told.text().contains('<'), "{form}");
    }
    page_of(&client, "/_debug/reports.json").await.assert_lacks("<");
}

/// What machines read says no less than the page.
#[tokio::test]
async fn what_machines_read_is_under_the_same_guard() {
    let client = client();
    let page = page_of(&client, "/panics/7").await;
    let machine = [path_of(&page) + ".json", path_of(&page) + ".md", "/_debug/reports.json".to_owned()];
    for headers in [
        &[("origin", "https://evil.example")][..],
        &[("origin", "null")],
        &[("host", "evil.example")],
        &[("host", "evil.example"), ("origin", "http://evil.example"), ("sec-fetch-site", "same-origin")],
        &[("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "cors"), ("sec-fetch-dest", "empty")],
        &[("sec-fetch-site", "same-site"), ("sec-fetch-mode", "no-cors"), ("sec-fetch-dest", "script")],
        &[("x-forwarded-for", "127.0.0.1")],
    ] {
        for path in &machine {
            let asked = headers.iter().fold(client.get(path), |asked, (name, value)| asked.header(name, value));
            assert_eq!(asked.await.status(), 404, "{path}: {headers:?}");
        }
    }
    let outside = client.clone().peer("203.0.113.9:50000".parse().unwrap());
    for path in &machine {
        outside.get(path).await.assert_status(404);
        client.get(path).await.assert_status(200);
    }
}

/// A browser that says nothing of who asks, as an old one, and each to a name that is neither encrypted nor `localhost`.
#[tokio::test]
async fn without_fetch_metadata_no_answer_can_be_included_or_framed() {
    let client = client();
    let page = page_of(&client, "/panics/7").await;
    let path = path_of(&page);
    let gone = "/_debug/AAAAAAAAAAAAAAAAAAAAAA".to_owned();
    for path in
        ["/panics/7".to_owned(), "/_debug/".to_owned(), path.clone(), path.clone() + ".json", path + ".md", gone]
    {
        let answer = page_of(&client, &path).await;
        answer.assert_header("cross-origin-resource-policy", "same-origin");
        answer.assert_header("x-content-type-options", "nosniff").assert_header("x-frame-options", "DENY");
        answer.assert_header("cross-origin-opener-policy", "same-origin").assert_header("cache-control", "no-store");
        let policy = answer.header("content-security-policy").unwrap();
        assert!(
            policy.starts_with("default-src 'none'; ") && policy.contains("frame-ancestors 'none'"),
            "{path}: {policy}"
        );
        answer.assert_no_header("access-control-allow-origin");
    }
}

/// The developer's own machine is the only one whose guesses count.
#[tokio::test]
async fn a_stranger_cannot_lock_the_developer_out() {
    let client = client();
    let page = page_of(&client, "/panics/7").await;
    let (path, token) = (path_of(&page), token_of(&page));
    let guess = async |client: &Client, headers: &[(&str, &str)]| {
        let asked = client.post(&format!("{path}/variables")).header("x-purlin-debugger-token", "A".repeat(22));
        let asked = asked.header("origin", "http://localhost").header("content-type", "application/json");
        let asked = headers.iter().fold(asked, |asked, (name, value)| asked.header(name, value));
        asked.body(r#"{"frame":0}"#).await.status().as_u16()
    };
    let outside = client.clone().peer("203.0.113.9:50000".parse().unwrap());
    for _ in 0..20 {
        assert_eq!(guess(&outside, &[]).await, 404);
        assert!(matches!(guess(&client, &[("origin", "https://evil.example")]).await, 403 | 404));
        assert!(matches!(guess(&client, &[("origin", "null")]).await, 403 | 404));
        assert_eq!(guess(&client, &[("x-forwarded-for", "127.0.0.1")]).await, 404);
        assert_eq!(guess(&client, &[("host", "evil.example")]).await, 404);
        // What a form, or a script without asking, can send.
        assert_eq!(guess(&client, &[("content-type", "text/plain")]).await, 415);
    }
    let asked = client.post(&format!("{path}/variables")).header("origin", "http://localhost");
    asked.header("x-purlin-debugger-token", &token).json(&json!({ "frame": 0 })).await.assert_status(200);
}

/// Of each question, not only of the one that evaluates.
#[tokio::test]
async fn no_question_is_answered_without_the_token() {
    let client = client();
    let page = page_of(&client, "/panics/7").await;
    for (nth, what) in
        ["variables", "open", "evaluate", "complete", "anything", "../evaluate", ""].into_iter().enumerate()
    {
        let asked = client.post(&format!("{}/{what}", path_of(&page))).header("origin", "http://localhost");
        let asked = asked.json(&json!({ "frame": 0, "text": "rows", "path": [0] })).await;
        assert!(matches!(asked.status().as_u16(), 403..=405), "{nth} {what}: {}", asked.status());
        assert!(!asked.text().contains("[10, 20, 30]"), "{what}");
    }
}

/// Vite had several of these: an address, a parameter or an encoding by which a file was read (CVE-2025-30208 and others).
#[tokio::test]
async fn no_address_of_the_debugger_names_a_file() {
    let client = client();
    let page = page_of(&client, "/panics/7").await;
    let id = path_of(&page);
    for path in [
        "/_debug/../../../../etc/passwd".to_owned(),
        "/_debug/%2e%2e/%2e%2e/etc/passwd".to_owned(),
        "/_debug/..%2f..%2f..%2fetc%2fpasswd".to_owned(),
        "/_debug//etc/passwd".to_owned(),
        "/_debug/@fs/etc/passwd?raw??".to_owned(),
        "/_debug/file:///etc/passwd".to_owned(),
        "/_debug/source?file=/etc/passwd&line=1".to_owned(),
        format!("{id}/source?file=/etc/passwd"),
        format!("{id}?file=/etc/passwd&line=1"),
        format!("{id}.md?file=/etc/passwd"),
        format!("{id}.json/../../etc/passwd"),
        format!("{id}.passwd"),
        format!("{id}.."),
    ] {
        let answer = page_of(&client, &path).await;
        answer.assert_lacks("root:x:").assert_lacks("/bin/sh");
        // The parameters that nobody asks for change nothing.
        assert_eq!(answer.status() == 200, path.contains("?file=/etc/passwd") && !path.contains("source"), "{path}");
    }
}

/// The server sends nothing for anybody: a request is sent again by the browser, to its own origin.
#[tokio::test]
async fn replaying_makes_no_request_of_the_server() {
    let client = client();
    let page = page_of(&client, "/panics/7").await;
    let policy = page.header("content-security-policy").unwrap();
    assert!(policy.contains("connect-src 'self';") && policy.contains("form-action 'none'"), "{policy}");
    for what in ["replay", "send", "fetch", "proxy"] {
        let asked = client.post(&format!("{}/{what}", path_of(&page))).header("origin", "http://localhost");
        let question = json!({ "frame": 0, "text": "http://169.254.169.254/latest/meta-data/" });
        asked.header("x-purlin-debugger-token", token_of(&page)).json(&question).await.assert_status(404);
    }
}

/// Whatever is asked, the answer is short and comes, and so does the next one.
#[tokio::test]
async fn no_expression_takes_the_server_its_time_or_memory() {
    let client = client();
    let page = page_of(&client, "/panics/7").await;
    let deep = |open: &str, close: &str| format!("{}1{}", open.repeat(10_000), close.repeat(10_000));
    let mut nested = "rows.iter().map(|a| a).sum()".to_owned();
    for name in ["b", "c", "d", "e", "f", "g", "h"] {
        nested = format!("rows.iter().map(|{name}| {nested}).sum()");
    }
    for text in [
        deep("(", ")"),
        deep("[", "]"),
        deep("!", ""),
        deep("-", ""),
        deep("&", ""),
        deep("rows[", "]"),
        deep("Some(", ")"),
        "1+".repeat(20_000) + "1",
        "rows".to_owned() + &".iter()".repeat(5_000),
        nested,
        "\"a\".repeat(1000000000)".to_owned(),
        "\"a\".repeat(1000).repeat(1000).repeat(1000)".to_owned(),
        "[0; 1000000000]".to_owned(),
        "(0..1000000000000).sum()".to_owned(),
        "(0..1000000000000).map(|a| a)".to_owned(),
        "1 << 100000".to_owned(),
        "9".repeat(50_000),
        "loop {}".to_owned(),
        "\u{202e}rows".to_owned(),
        "\0".repeat(1_000),
        "é".repeat(30_000),
    ] {
        let begun = std::time::Instant::now();
        let answer = ask(&client, &page, "evaluate", json!({ "frame": 0, "text": text })).await;
        let shown: String = text.chars().take(60).collect();
        assert!(answer.to_string().len() < 200_000, "{shown}: {} bytes", answer.to_string().len());
        assert!(begun.elapsed().as_secs() < 30, "{shown}");
        assert!(answer["error"].is_string() || answer["value"].is_object(), "{shown}: {answer}");
        let next = ask(&client, &page, "evaluate", json!({ "frame": 0, "text": "1 + 1" })).await;
        assert!(next["value"]["text"] == "2" || !super::SUPPORTED, "{shown}: {next}");
    }
    // Longer than any question is.
    let asked = client.post(&format!("{}/evaluate", path_of(&page))).header("origin", "http://localhost");
    let long = json!({ "frame": 0, "text": "1".repeat(1 << 20) });
    asked.header("x-purlin-debugger-token", token_of(&page)).json(&long).await.assert_status(400);
    for question in [
        json!({ "frame": u64::MAX, "text": "rows" }),
        json!({ "frame": 0, "text": "rows", "path": vec![u64::MAX; 1_000], "from": u64::MAX }),
        json!({ "frame": 0, "path": [0], "from": u64::MAX }),
    ] {
        let answer = ask(&client, &page, "open", question).await;
        assert!(answer["error"].is_string() || answer["value"]["children"] == json!([]), "{answer}");
    }
}

/// Vite's and Next.js's leaked sources: so no page for development is a stranger's, also not the one that reads nothing live.
#[tokio::test]
async fn a_stranger_is_told_what_visitors_are_told() {
    let client = client();
    let outside = client.clone().peer("203.0.113.9:50000".parse().unwrap());
    let strangers: [(&Client, &[(&str, &str)]); 5] = [
        (&outside, &[]),
        (&client, &[("host", "evil.example")]),
        (&client, &[("origin", "https://evil.example")]),
        (&client, &[("x-forwarded-for", "127.0.0.1")]),
        (&client, &[("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "no-cors"), ("sec-fetch-dest", "script")]),
    ];
    for accept in [BROWSER, "application/json", "text/markdown", "text/plain", "*/*"] {
        for (path, status, secrets) in [
            ("/panics/7", 500, &["index out of bounds", "tests/debugger", "rows"][..]),
            ("/fails/seven", 500, &["reading the number", "invalid digit", "tests/debugger"]),
            ("/template", 500, &["missing.field", "page.html"]),
            ("/nowhere", 404, &["/panics/{row}", "tests/debugger"]),
        ] {
            for (client, headers) in strangers {
                let asked = client.get(path).accept(accept);
                let asked = headers.iter().fold(asked, |asked, (name, value)| asked.header(name, value));
                let page = asked.await;
                page.assert_status(status);
                for secret in secrets {
                    page.assert_lacks(secret);
                }
            }
            // The developer is told; of the routes on a page only.
            let page = client.get(path).accept(accept).await;
            assert!(page.text().contains(secrets[0]) || (status == 404 && accept != BROWSER), "{accept}: {path}");
        }
    }
}

/// A stranger's failures take no snapshot, so they end none that the developer looks at.
#[tokio::test]
async fn failures_that_a_stranger_causes_cost_the_developer_nothing() {
    let client = client();
    let page = page_of(&client, "/panics/7").await;
    for _ in 0..60 {
        let headers = [("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "no-cors"), ("sec-fetch-dest", "image")];
        let asked = headers.iter().fold(client.get("/panics/7"), |asked, (name, value)| asked.header(name, value));
        asked.await.assert_status(500).assert_no_header("x-debug-url");
    }
    let list: Value = client.get("/_debug/reports.json").await.json();
    assert_eq!(list.as_array().unwrap().len(), 1);
    if super::SUPPORTED {
        let answer = ask(&client, &page, "evaluate", json!({ "frame": 0, "text": "rows" })).await;
        assert_eq!(answer["value"]["text"], "[10, 20, 30]", "{answer}");
    }
}

/// What the three flaws of Vite's advisory have in common: any page could read the answers of the server. Its third is the
/// name by which the server was asked.
#[tokio::test]
async fn ghsa_vg6x_rcgg_rjx6_nor_does_a_page_that_calls_this_machine_by_its_own_name() {
    let client = client();
    for host in ["attacker.example:5173", "make-127-0-0-1-rr.1u.ms", "2130706433", "[::ffff:127.0.0.1]"] {
        is_plain(&client, &[("host", host), ("origin", &format!("http://{host}"))], host).await;
    }
    let headers = [("origin", "https://evil.example"), ("connection", "upgrade"), ("upgrade", "websocket")];
    is_plain(&client, &headers, "a socket").await;
}
