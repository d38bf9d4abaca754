//! `Hosts`: applications by the host that a request is for.

use purlin::layers::Deadline;
use purlin::testing::Client;
use purlin::{Hosts, Path, RequestExt, Result, Router, Service, Stack, Urls, get};
use std::time::Duration;

fn says(what: &'static str) -> impl Service {
    Router::new().route("/", get(move || async move { what }))
}

fn hosts() -> Hosts {
    Hosts::new()
        .host("*.example.org", says("below"))
        .host("example.org", says("the name"))
        .host("*.eu.example.org", says("below eu"))
        .host("example.org:8443", says("the port"))
        .host("[2001:db8::1]", says("six"))
        .host("xn--bcher-kva.example", says("books"))
}

#[tokio::test]
async fn the_most_telling_pattern_answers() {
    let client = Client::new(hosts());
    let table = [
        ("example.org", "the name"),
        ("EXAMPLE.ORG", "the name"),
        ("example.org.", "the name"),
        ("example.org:8000", "the name"),
        ("example.org:8443", "the port"),
        ("www.example.org", "below"),
        ("a.eu.example.org", "below eu"),
        ("eu.example.org", "below"),
        ("[2001:DB8:0::1]:8000", "six"),
        ("xn--bcher-kva.example", "books"),
    ];
    for (host, expected) in table {
        let page = client.get("/").header("host", host).await;
        assert_eq!(page.text(), expected, "{host}");
    }
}

#[tokio::test]
async fn another_host_is_refused_and_named() {
    let client = Client::new(hosts());
    for host in ["evil.example", "example.org.evil.example", "badexample.org", "user@example.org", "127.0.0.1"] {
        let page = client.get("/").header("host", host).await;
        page.assert_status(421);
        let error = format!("{:#}", page.error().unwrap());
        assert!(error.contains("expected one of the hosts") && error.contains(host), "{error}");
    }
    let page = client.get("/").header("host", "example.org").append_header("host", "evil.example").await;
    page.assert_status(421);
}

#[tokio::test]
async fn the_rest_has_an_application_of_its_own() {
    let client = Client::new(hosts().fallback(says("the rest")));
    assert_eq!(client.get("/").header("host", "elsewhere.example").await.text(), "the rest");
}

#[tokio::test]
async fn each_host_has_its_own_names_and_mounts() {
    async fn link(urls: Urls, Path(id): Path<u32>) -> Result<String> {
        let id = id.to_string();
        Ok(format!("{} {}", urls.url_for("post", &[("id", &id)])?, urls.url_for("admin:post", &[("id", &id)])?))
    }
    let blog = || Router::new().route("/posts/{id}", get(link).name("post"));
    let app = Hosts::new().host("example.org", Router::new().mount("/blog", blog())).host_named(
        "admin",
        "admin.example.org",
        Router::new().mount("/b", blog()),
    );
    let client = Client::new(app);
    let page = client.get("/blog/posts/7").header("host", "example.org").await;
    assert_eq!(page.text(), "/blog/posts/7 //admin.example.org/b/posts/7");
    let page = client.get("/b/posts/7").header("host", "admin.example.org").await;
    assert_eq!(page.text(), "/b/posts/7 /b/posts/7");
}

#[tokio::test]
async fn a_url_leads_to_the_host_of_its_route() {
    async fn links(urls: Urls) -> String {
        let url = |name: &str| urls.url_for(name, &[]).unwrap_or_else(|error| error.to_string());
        ["home", "admin:home", "tenant:home", "rest"].map(url).join("\n")
    }
    let home = |name| Router::new().route("/", get(links).name(name));
    let hosts = Hosts::new()
        .host("example.org", home("home"))
        .host_named("admin", "admin.example.org:8443", home("home"))
        .host_named("tenant", "*.example.org", home("home"))
        .fallback(Router::new().route("/rest", get(links).name("rest")));
    let client = Client::new(hosts);
    let many = |name: &str, route: &str| {
        format!("the URL of `{name}` ({route}): expected a route of one host, found one that many hosts have")
    };
    let (tenant, rest) = (many("tenant:home", "*.example.org/"), many("rest", "*/rest"));
    let table = [
        ("https://example.org/", format!("/\n//admin.example.org:8443/\n{tenant}\n{rest}")),
        ("https://admin.example.org:8443/", format!("/\n/\n{tenant}\n{rest}")),
        ("https://tea.example.org/", format!("/\n//admin.example.org:8443/\n/\n{rest}")),
        ("https://elsewhere.example/rest", format!("//example.org/\n//admin.example.org:8443/\n{tenant}\n/rest")),
    ];
    for (url, expected) in table {
        assert_eq!(client.get(url).await.text(), expected, "{url}");
    }
    let site = client.site();
    assert_eq!(site.url_for("", "admin:home", &[]).unwrap(), "//admin.example.org:8443/");
    let routes = site.routes_table();
    for shown in ["example.org/ ", "admin.example.org:8443/ ", "*.example.org/ ", "*/rest "] {
        assert!(routes.contains(&format!("  {shown}")), "{routes}");
    }
}

#[tokio::test]
async fn an_application_sees_the_whole_path_and_its_own_layers() {
    async fn path(req: purlin::Request) -> String {
        format!("{} of {}", req.uri().path(), req.original_path())
    }
    let api = Stack::new().layer(Deadline::new(Duration::from_secs(1))).app(Router::new().route("/x", get(path)));
    let client = Client::new(Stack::new().app(Hosts::new().host("api.example.org", Router::new().mount("/v1", api))));
    assert_eq!(client.site().layers().len(), 1);
    let page = client.get("/v1/x").header("host", "api.example.org").await;
    assert_eq!(page.text(), "/x of /v1/x");
}

#[test]
fn what_is_no_host_and_what_is_there_twice_is_reported_at_the_start() {
    let hosts = Hosts::new()
        .host("http://example.org", says("a"))
        .host("bücher.example", says("b"))
        .host("example.org", says("c"))
        .host("EXAMPLE.org.", says("d"));
    let error = format!("{:#}", Stack::new().app(hosts).check().unwrap_err());
    assert!(error.contains("the host \"http://example.org\" (tests/hosts.rs:"), "{error}");
    assert!(error.contains("the host \"bücher.example\" (tests/hosts.rs:"), "{error}");
    assert!(error.contains("two applications for the host example.org: tests/hosts.rs:"), "{error}");
}
