//! `Redirects`: from old addresses to new ones.

use purlin::layers::{Redirects, Slash};
use purlin::testing::{Client, layer_contract};
use purlin::{Request, Router, Stack, get, handler};

fn client(layer: Redirects) -> Client {
    Client::new(Stack::new().layer(layer).app(handler(async |req: Request| req.uri().to_string())))
}

#[tokio::test]
async fn keeps_the_contract_of_layers() {
    layer_contract(|| Redirects::new().permanent("/old", "/new")).await;
}

#[tokio::test]
async fn old_paths_lead_to_new_ones_with_their_query() {
    let client = client(
        Redirects::new()
            .permanent("/old", "/new")
            .temporary("/today", "/days/21")
            .permanent("/blog/{year}/{slug}", "/posts/{slug}?year={year}")
            .permanent("/wiki/{*page}", "https://wiki.example.org/{page}")
            .gone("/guestbook"),
    );
    let page = client.get("/old?a=1&b=2").await;
    page.assert_status(308).assert_redirect("/new?a=1&b=2");
    client.post("/today").await.assert_status(307).assert_redirect("/days/21");
    client.get("/blog/2024/a%20b?c=1").await.assert_redirect("/posts/a%20b?year=2024&c=1");
    assert_eq!(client.get("/wiki/a/b").await.header("location"), Some("https://wiki.example.org/a/b"));
    client.get("/guestbook").await.assert_status(410);
    assert_eq!(client.get("/new").await.text(), "/new");
}

#[tokio::test]
async fn no_request_chooses_its_host() {
    let client = client(Redirects::new().permanent("/all/{*rest}", "/{rest}").slash(Slash::Remove));
    for path in ["/all//evil.example", "/all///evil.example/x", "//evil.example/", "///evil.example/"] {
        let page = client.get(path).await;
        let to = page.header("location").unwrap();
        assert!(to.starts_with("/evil.example"), "{path} {to}");
    }
}

#[tokio::test]
async fn the_site_has_one_address() {
    let layer = Redirects::new()
        .canonical_host("www.example.org")
        .https(true)
        .slash(Slash::Remove)
        .permanent("/old", "/new")
        .except("/.well-known/acme-challenge/");
    let client = client(layer);
    let table = [
        ("http://www.example.org/", Some("https://www.example.org/")),
        ("https://www.example.org/", None),
        ("https://www.example.org:8443/a", None),
        ("https://WWW.example.org./a", None),
        ("https://example.org/a?b=1", Some("https://www.example.org/a?b=1")),
        // Everything in one step
        ("http://example.org:8080/old?b=1", Some("https://www.example.org/new?b=1")),
        ("http://example.org/a/", Some("https://www.example.org/a")),
        ("http://evil.example//evil.example", Some("https://www.example.org//evil.example")),
        ("https://www.example.org/a/", Some("/a")),
        ("http://example.org/.well-known/acme-challenge/x", None),
    ];
    for (url, expected) in table {
        assert_eq!(client.get(url).await.header("location"), expected, "{url}");
    }
}

/// Where the port is the scheme's own, clients do not send it, and where it was sent back they would come for ever.
#[tokio::test]
async fn the_schemes_own_port_is_no_other() {
    let with_port = client(Redirects::new().canonical_host("www.example.org:443").https(true));
    let table = [
        ("https://www.example.org/a", None),
        ("https://www.example.org:443/a", None),
        ("https://www.example.org:8443/a", Some("https://www.example.org/a")),
        ("http://www.example.org/a", Some("https://www.example.org/a")),
        ("http://example.org/a", Some("https://www.example.org/a")),
    ];
    for (url, expected) in table {
        assert_eq!(with_port.get(url).await.header("location"), expected, "{url}");
    }
    let other = client(Redirects::new().canonical_host("www.example.org:8443").https(true));
    assert_eq!(other.get("https://www.example.org/a").await.header("location"), Some("https://www.example.org:8443/a"));
    assert_eq!(other.get("https://www.example.org:8443/a").await.header("location"), None);
}

#[tokio::test]
async fn what_is_no_host_is_another_one() {
    let client = client(Redirects::new().canonical_host("www.example.org"));
    for host in ["a~b.evil.example", "a..b", "evil.example/x", "www.example.org:x"] {
        let page = client.get("/a").header("host", host).await;
        assert_eq!(page.header("location"), Some("http://www.example.org/a"), "{host}");
    }
}

#[tokio::test]
async fn a_query_goes_before_the_fragment() {
    let client = client(Redirects::new().permanent("/old", "/new#part").permanent("/other", "/new?b=2#part"));
    client.get("/old").await.assert_redirect("/new#part");
    client.get("/old?a=1").await.assert_redirect("/new?a=1#part");
    client.get("/other?a=1").await.assert_redirect("/new?b=2&a=1#part");
}

#[tokio::test]
async fn https_keeps_the_host_and_drops_the_port() {
    let client = client(Redirects::new().https(true));
    assert_eq!(client.get("http://example.org:8080/a").await.header("location"), Some("https://example.org/a"));
    let page = client.get("/a").header("host", "evil.example/x").await;
    page.assert_status(200);
}

#[tokio::test]
async fn the_last_slash() {
    let add = client(Redirects::new().slash(Slash::Add));
    let remove = client(Redirects::new().slash(Slash::Remove));
    let table = [
        ("/", None, None),
        ("/a", Some("/a/"), None),
        ("/a/", None, Some("/a")),
        ("/a//", None, Some("/a")),
        ("/a?b=1", Some("/a/?b=1"), None),
        ("/site.css", None, None),
        ("/v1.0/x", Some("/v1.0/x/"), None),
    ];
    for (path, added, removed) in table {
        assert_eq!(add.get(path).await.header("location"), added, "{path}");
        assert_eq!(remove.get(path).await.header("location"), removed, "{path}");
    }
}

#[tokio::test]
async fn below_a_mount_paths_begin_at_the_mount() {
    let section = Stack::new()
        .layer(Redirects::new().permanent("/old", "/new").https(true))
        .app(Router::new().route("/new", get(async || "new")));
    let client = Client::new(Router::new().mount("/section", section));
    let own = Stack::new().layer(Redirects::new().permanent("/", "/new")).app(handler(async || "new"));
    let root = Client::new(Router::new().mount("/section", own));
    root.get("/section").await.assert_redirect("/section/new");
    let page = client.get("https://localhost/section/old").await;
    assert_eq!(page.header("location"), Some("/section/new"));
    let page = client.get("/section/old").await;
    assert_eq!(page.header("location"), Some("https://localhost/section/new"));
}

#[test]
fn what_leads_in_a_circle_or_nowhere_is_reported_at_the_start() {
    let start = |layer| purlin::site::Life::start(&Stack::new().layer(layer).app(handler(async || ""))).map(|_| ());
    let error = |layer| start(layer).unwrap_err().to_string();
    let circles = [
        Redirects::new().permanent("/a", "/a"),
        Redirects::new().permanent("/a", "/b").temporary("/b", "/c?x=1").permanent("/c", "/a"),
        Redirects::new().permanent("/{*rest}", "/new/{rest}"),
        Redirects::new().permanent("/a", "/a/").slash(Slash::Remove),
    ];
    for layer in circles {
        let error = error(layer);
        assert!(error.contains("leads in a circle") && error.contains("tests/redirects.rs:"), "{error}");
    }
    assert!(start(Redirects::new().permanent("/a", "/b").permanent("/b", "/c")).is_ok());
    assert!(start(Redirects::new().permanent("/{x}", "https://example.org/{x}")).is_ok());
    let problems = error(Redirects::new().permanent("/a", "b").permanent("/c", "//d").canonical_host("a b"));
    assert!(problems.contains("found \"b\"") && problems.contains("found \"//d\"") && problems.contains("\"a b\""));
}
