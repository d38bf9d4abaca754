//! `TrustedProxies`: who the client is, as far as trusted proxies say.

use purlin::layers::{SecurityHeaders, TrustedProxies};
use purlin::testing::{Client, layer_contract};
use purlin::{Request, RequestExt, Router, Stack, get, handler};

async fn shows(req: Request) -> String {
    let ip = req.client_ip().map_or("-".to_owned(), |ip| ip.to_string());
    let scheme = if req.is_https() { "https" } else { "http" };
    let host = req.headers()["host"].to_str().unwrap();
    let left: Vec<_> = req.headers().keys().filter(|name| name.as_str().contains("forwarded")).collect();
    assert!(left.is_empty(), "{left:?}");
    assert!(!req.headers().contains_key("x-real-ip"));
    assert_eq!(req.connection().unwrap().peer().unwrap().port(), 1234);
    format!("{ip} {scheme} {host}")
}

fn client(layer: TrustedProxies, peer: &str) -> Client {
    let peer = if peer.contains(':') { format!("[{peer}]:1234") } else { format!("{peer}:1234") };
    Client::new(Stack::new().layer(layer).app(handler(shows))).peer(peer.parse().unwrap())
}

async fn asked(client: &Client, headers: &[(&str, &str)]) -> String {
    let mut request = client.get("/");
    for (name, value) in headers {
        request = request.append_header(name, value);
    }
    request.await.text().to_owned()
}

#[tokio::test]
async fn keeps_the_contract_of_layers() {
    layer_contract(|| TrustedProxies::new().network("127.0.0.0/8").host(true)).await;
}

#[tokio::test]
async fn trusted_by_network() {
    let proxies = || TrustedProxies::new().network("10.0.0.0/8").network("2001:db8::/32").network("198.51.100.1");
    type Case = (&'static str, &'static [(&'static str, &'static str)], &'static str);
    let table: &[Case] = &[
        // Nobody spoke
        ("10.0.0.1", &[], "10.0.0.1 http localhost"),
        ("203.0.113.9", &[], "203.0.113.9 http localhost"),
        // A stranger is not believed
        (
            "203.0.113.9",
            &[("x-forwarded-for", "1.2.3.4"), ("x-forwarded-proto", "https")],
            "203.0.113.9 http localhost",
        ),
        // One proxy
        (
            "10.0.0.1",
            &[("x-forwarded-for", "203.0.113.9"), ("x-forwarded-proto", "https")],
            "203.0.113.9 https localhost",
        ),
        ("2001:db8::7", &[("x-forwarded-for", "2001:4860::1")], "2001:4860::1 http localhost"),
        // What the client wrote itself stands before
        ("10.0.0.1", &[("x-forwarded-for", "1.2.3.4, 203.0.113.9")], "203.0.113.9 http localhost"),
        (
            "10.0.0.1",
            &[("x-forwarded-for", "1.2.3.4"), ("x-forwarded-for", "203.0.113.9")],
            "203.0.113.9 http localhost",
        ),
        ("10.0.0.1", &[("x-forwarded-for", "10.0.0.9, 203.0.113.9")], "203.0.113.9 http localhost"),
        // Two and three proxies
        ("10.0.0.1", &[("x-forwarded-for", "203.0.113.9, 198.51.100.1")], "203.0.113.9 http localhost"),
        (
            "10.0.0.1",
            &[("x-forwarded-for", "1.2.3.4, 203.0.113.9, 198.51.100.1, 10.0.0.2")],
            "203.0.113.9 http localhost",
        ),
        // Of several schemes that of the outermost trusted proxy counts
        (
            "10.0.0.1",
            &[("x-forwarded-for", "203.0.113.9, 10.0.0.2"), ("x-forwarded-proto", "https, http")],
            "203.0.113.9 https localhost",
        ),
        // The client is within
        ("10.0.0.1", &[("x-forwarded-for", "10.0.0.3, 10.0.0.2")], "10.0.0.3 http localhost"),
        // Nobody knows
        ("10.0.0.1", &[("x-forwarded-for", "unknown")], "- http localhost"),
        ("10.0.0.1", &[("x-forwarded-for", "1.2.3.4, nonsense")], "- http localhost"),
        ("10.0.0.1", &[("x-forwarded-proto", "https")], "10.0.0.1 https localhost"),
        // The other header is not read, and the host not believed
        ("10.0.0.1", &[("forwarded", "for=1.2.3.4;proto=https"), ("x-real-ip", "1.2.3.4")], "10.0.0.1 http localhost"),
        ("10.0.0.1", &[("x-forwarded-host", "evil.example")], "10.0.0.1 http localhost"),
    ];
    for (peer, headers, expected) in table {
        assert_eq!(asked(&client(proxies(), peer), headers).await, *expected, "{peer} {headers:?}");
    }
}

/// CGI and WSGI have one name for `X-Forwarded-For` and `X_Forwarded_For`.
#[tokio::test]
async fn what_proxies_say_is_taken_off_however_it_is_spelt() {
    async fn left(req: Request) -> String {
        let names = req.headers().keys().map(|name| name.as_str());
        names.filter(|name| !["host", "accept", "user-agent"].contains(name)).collect::<Vec<_>>().join(" ")
    }
    let client = Client::new(Stack::new().layer(TrustedProxies::new()).app(handler(left)));
    let headers = [
        "X_Forwarded_For",
        "X-Forwarded_Proto",
        "X_Real_IP",
        "Client-IP",
        "X-Rewrite-URL",
        "Fastly-Client-IP",
        "X-Envoy-External-Address",
        "X_Original_URL",
        "X-Original-Host",
        "X-Client-IP",
        "X-Cluster-Client-IP",
        "Forwarded",
        "CF-Connecting-IP",
        "True-Client-IP",
    ];
    let mut request = client.get("/").header("x-real", "1").header("client-ip-2", "1");
    for name in headers {
        request = request.header(name, "127.0.0.1");
    }
    let page = request.await;
    let mut left: Vec<_> = page.text().split(' ').collect();
    left.sort_unstable();
    assert_eq!(left, ["client-ip-2", "x-real"]);
}

#[tokio::test]
async fn trusted_by_number() {
    let list = [("x-forwarded-for", "1.1.1.1, 2.2.2.2, 3.3.3.3")];
    for (hops, expected) in [(0, "127.0.0.1"), (1, "3.3.3.3"), (2, "2.2.2.2"), (3, "1.1.1.1"), (4, "1.1.1.1")] {
        let found = asked(&client(TrustedProxies::new().hops(hops), "127.0.0.1"), &list).await;
        assert_eq!(found, format!("{expected} http localhost"), "{hops}");
    }
}

#[tokio::test]
async fn by_the_standard_header() {
    let layer = || TrustedProxies::new().network("127.0.0.1").forwarded(true).host(true);
    let client = client(layer(), "127.0.0.1");
    let table = [
        ("for=203.0.113.9;proto=https;host=example.org", "203.0.113.9 https example.org"),
        ("for=1.2.3.4, for=\"[2001:db8::1]:80\";host=\"Example.ORG:8443\"", "2001:db8::1 http example.org:8443"),
        ("for=_hidden;proto=https", "- https localhost"),
        ("for=203.0.113.9;host=\"evil.example/path\"", "203.0.113.9 http localhost"),
    ];
    for (line, expected) in table {
        assert_eq!(asked(&client, &[("forwarded", line)]).await, expected, "{line}");
    }
    assert_eq!(asked(&client, &[("x-forwarded-for", "1.2.3.4")]).await, "127.0.0.1 http localhost");
    let page = client.get("/").header("forwarded", "for=\"1.2.3.4, for=203.0.113.9").await;
    page.assert_status(400);
    let stranger = self::client(layer(), "203.0.113.7");
    assert_eq!(asked(&stranger, &[("forwarded", "for=\"1.2.3.4")]).await, "203.0.113.7 http localhost");
}

#[tokio::test]
async fn who_connects_to_a_unix_socket_is_trusted_only_if_that_is_said() {
    async fn shows(req: Request) -> String {
        format!("{:?} {}", req.client_ip().map(|ip| ip.to_string()), req.is_https())
    }
    let table = [
        (TrustedProxies::new(), "None false"),
        (TrustedProxies::new().network("0.0.0.0/0").network("::/0"), "None false"),
        (TrustedProxies::new().hops(1), "None false"),
        (TrustedProxies::new().unix_sockets(true), "Some(\"203.0.113.9\") true"),
        (TrustedProxies::new().unix_sockets(true).hops(1), "Some(\"203.0.113.9\") true"),
        (TrustedProxies::new().unix_sockets(true).hops(0), "None false"),
    ];
    for (layer, expected) in table {
        let app = Stack::new().layer(layer.clone()).app(handler(shows));
        let mut req = Request::default();
        req.extensions_mut().insert(purlin::Connection::new(None, None));
        req.headers_mut().insert("x-forwarded-for", "1.2.3.4, 203.0.113.9".parse().unwrap());
        req.headers_mut().insert("x-forwarded-proto", "https".parse().unwrap());
        let answer = purlin::Service::call(&app, req).await.into_body().collect(100).await.unwrap();
        assert_eq!(answer, expected, "{layer:?}");
    }
}

#[tokio::test]
async fn what_https_means_follows() {
    let app = Stack::new()
        .layer(TrustedProxies::new().network("127.0.0.1"))
        .layer(SecurityHeaders::new())
        .app(Router::new().route("/", get(async || "hello")));
    let client = Client::new(app);
    let hsts = "strict-transport-security";
    assert!(client.get("/").header("x-forwarded-proto", "https").await.header(hsts).is_some());
    assert!(client.get("/").header("x-forwarded-proto", "http").await.header(hsts).is_none());
    let direct = client.clone().base_url("https://localhost");
    assert!(direct.get("/").await.header(hsts).is_some());
    assert!(direct.get("/").header("x-forwarded-proto", "http").await.header(hsts).is_none());
    let stranger = client.peer("203.0.113.9:1".parse().unwrap());
    assert!(stranger.get("/").header("x-forwarded-proto", "https").await.header(hsts).is_none());
}

#[tokio::test]
async fn the_access_log_names_the_client() {
    use crate::access_log::Lines;
    use purlin::Service;
    let lines = Lines::default();
    let subscriber = tracing_subscriber::fmt().with_writer(lines.clone()).with_ansi(false).finish();
    let guard = tracing::subscriber::set_default(subscriber);
    let app = Stack::new()
        .layer(TrustedProxies::new().network("127.0.0.1"))
        .layer(purlin::layers::AccessLog::new())
        .app(handler(async || "hello"));
    let mut req = Request::default();
    req.extensions_mut().insert(purlin::Connection::new(Some(([127, 0, 0, 1], 5).into()), None));
    req.headers_mut().insert("x-forwarded-for", "203.0.113.9".parse().unwrap());
    app.call(req).await;
    drop(guard);
    assert!(lines.text().contains("peer=203.0.113.9"), "{}", lines.text());
}

/// A form of another scheme is another site's (RFC 6454 §4).
#[tokio::test]
async fn csrf_compares_origins_by_the_clients_scheme() {
    use purlin::layers::{Csrf, Sessions};
    use purlin::session::MemoryStore;
    let app = Stack::new()
        .layer(TrustedProxies::new().network("127.0.0.1"))
        .layer(Sessions::new(MemoryStore::new()))
        .layer(Csrf::new())
        .app(Router::new().route("/", purlin::post(async || "done")));
    let client = Client::new(app);
    let post = |origin: &str| {
        client.post("/").header("origin", origin).header("x-forwarded-proto", "https").header("host", "example.org")
    };
    post("https://example.org").await.assert_status(200);
    post("http://example.org").await.assert_status(403);
}

/// The debugger is for who sits at this machine: no proxy is believed, and none may hide that there is one.
#[cfg(all(feature = "debugger", debug_assertions))]
#[tokio::test]
async fn the_debugger_looks_at_the_socket_only() {
    use purlin::layers::{Debugger, ErrorPages};
    let client = |layer: TrustedProxies| {
        let app =
            Stack::new().layer(layer).layer(Debugger::new()).layer(ErrorPages::new().details(true)).app(handler(shows));
        Client::new(app).expect_errors()
    };
    let sees = async |client: &Client, name: &str, value: &str| {
        client.get("/_debug/").header("accept", "text/html").header(name, value).await.status() == 200
    };
    let none = client(TrustedProxies::new());
    assert!(sees(&none, "accept-language", "en").await, "who sits here");
    for layer in [TrustedProxies::new(), TrustedProxies::new().network("127.0.0.1"), TrustedProxies::new().hops(1)] {
        let client = client(layer);
        // From this machine, by a proxy: whoever that is, and whatever it calls him.
        for (name, value) in
            [("x-forwarded-for", "203.0.113.9"), ("x-forwarded-for", "127.0.0.1"), ("x-real-ip", "::1")]
        {
            assert!(!sees(&client, name, value).await, "{name} {value}");
        }
        // From elsewhere, said to be here.
        let elsewhere = client.peer("203.0.113.9:1".parse().unwrap());
        assert!(!sees(&elsewhere, "x-forwarded-for", "127.0.0.1").await);
        assert!(!sees(&elsewhere, "accept-language", "en").await);
    }
}

#[test]
fn what_cannot_be_trusted_is_reported_at_the_start() {
    let start =
        |layer| purlin::site::Life::start(&Stack::new().layer(layer).app(handler(shows))).unwrap_err().to_string();
    let error = start(TrustedProxies::new().network("10.0.0.0/33"));
    assert!(error.contains("expected a network as 10.0.0.0/8") && error.contains("\"10.0.0.0/33\""), "{error}");
    let error = start(TrustedProxies::new().network("10.0.0.0/8").hops(1));
    assert!(error.contains("found both"), "{error}");
}
