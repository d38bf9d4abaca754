//! Live reload: which pages get the script, and what it is told.

#[cfg(debug_assertions)]
mod in_debug_builds {
    use purlin::layers::{ErrorPages, LiveReload, SecurityHeaders, StaticFiles, Templates};
    use purlin::template::{Engine, Page};
    use purlin::testing::{Client, EventStream};
    use purlin::{Assets, Body, Error, Response, Router, Service, Stack, get, handler, html};
    use std::path::PathBuf;
    use std::time::{Duration, Instant};

    const PAGE: &str = "<!doctype html><html><head><title>a</title></head><body>Hello</body></html>";

    /// An answer with these headers below the layer.
    fn answering(status: u16, headers: &'static [(&'static str, &'static str)], body: &'static str) -> Client {
        let app = handler(move || async move {
            let mut response = Response::new(Body::from(body));
            *response.status_mut() = status.try_into().unwrap();
            for (name, value) in headers {
                response.headers_mut().append(*name, value.parse().unwrap());
            }
            response
        });
        Client::new(Stack::new().layer(LiveReload::new()).app(app)).lint(false).expect_errors()
    }

    /// Whether the script is in it, and how the page would be without.
    fn without_script(page: &str) -> (bool, String) {
        match page.split_once("<script src=\"/_purlin/live.js?v=") {
            Some((before, rest)) => (true, before.to_owned() + rest.split_once("</script>").unwrap().1),
            None => (false, page.to_owned()),
        }
    }

    #[tokio::test]
    async fn the_script_is_put_into_whole_pages_and_nothing_else() {
        const HTML: (&str, &str) = ("content-type", "text/html; charset=utf-8");
        type Headers = &'static [(&'static str, &'static str)];
        #[rustfmt::skip]
        let table: &[(&str, u16, Headers, &str, bool)] = &[
            ("a page", 200, &[HTML], PAGE, true),
            ("a page without a charset, in capitals", 200, &[("content-type", "Text/HTML")], PAGE, true),
            ("a page without a head", 200, &[HTML], "<p>Hello</body>", true),
            ("a page of an error", 500, &[HTML], PAGE, true),
            ("a page that is not there", 404, &[HTML], PAGE, true),
            ("a page to be signed in", 401, &[HTML, ("www-authenticate", "Basic realm=\"a\"")], PAGE, true),
            ("a page not to be transformed by others", 200, &[HTML, ("cache-control", "no-transform")], PAGE, true),
            ("a fragment", 200, &[HTML], "<li>Hello</li>", false),
            ("nothing", 200, &[HTML], "", false),
            ("text", 200, &[("content-type", "text/plain; charset=utf-8")], PAGE, false),
            ("no type", 200, &[], PAGE, false),
            ("XHTML", 200, &[("content-type", "application/xhtml+xml")], PAGE, false),
            ("a script", 200, &[("content-type", "text/javascript")], "x = '</body>'", false),
            ("encoded already", 200, &[HTML, ("content-encoding", "gzip")], PAGE, false),
            ("a part", 206, &[HTML, ("content-range", "bytes 0-9/100")], PAGE, false),
            ("a file to be saved", 200, &[HTML, ("content-disposition", "attachment; filename=a.html")], PAGE, false),
            ("shown in the browser", 200, &[HTML, ("content-disposition", "inline")], PAGE, true),
            ("UTF-16", 200, &[("content-type", "text/html; charset=utf-16le")], PAGE, false),
        ];
        for (what, status, headers, body, expected) in table {
            let page = answering(*status, headers, body).get("/").await;
            assert_eq!(page.status(), *status, "{what}");
            assert_eq!(without_script(page.text()), (*expected, (*body).to_owned()), "{what}");
            let length = page.header("content-length").map(|length| length.parse::<usize>().unwrap());
            assert!(length.is_none_or(|length| length == page.bytes().len()), "{what}: {length:?}");
        }
        let form = answering(200, &[HTML], PAGE).post("/").await;
        assert_eq!(form.text(), PAGE, "an answer to POST would be sent again");
    }

    #[tokio::test]
    async fn the_element_names_the_process_and_stands_in_the_head() {
        let page = answering(200, &[("content-type", "text/html; charset=utf-8")], PAGE).get("/").await;
        let scripts = page.select("head > script");
        let script = scripts[0];
        assert_eq!(script.attr("data-id").unwrap().len(), 16);
        assert_eq!(script.attr("data-version"), Some("0"));
        assert!(script.attr("defer").is_some());
    }

    #[tokio::test]
    async fn what_is_not_true_of_the_page_any_more_is_taken_off() {
        const HEADERS: &[(&str, &str)] = &[
            ("content-type", "text/html; charset=utf-8"),
            ("content-length", "75"),
            ("etag", "\"a\""),
            ("last-modified", "Sun, 06 Nov 1994 08:49:37 GMT"),
            ("accept-ranges", "bytes"),
            ("repr-digest", "sha-256=:AAAA:"),
            ("x-own", "kept"),
        ];
        let page = answering(200, HEADERS, PAGE).get("/").await;
        for gone in ["etag", "last-modified", "accept-ranges", "repr-digest"] {
            assert_eq!(page.header(gone), None, "{gone}");
        }
        page.assert_header("x-own", "kept");
        let fragment = answering(200, &HEADERS[2..3], "<p>").get("/").await;
        fragment.assert_header("etag", "\"a\"");
        let head = answering(200, HEADERS, "").head("/").await;
        assert_eq!((head.header("content-length"), head.header("etag")), (None, None));
    }

    #[tokio::test]
    async fn over_a_socket_it_keeps_the_rules_of_http() {
        let page = get(async || html(PAGE));
        let app = Stack::new().layer(LiveReload::new()).app(Router::new().route("/", page));
        let bound = purlin::Server::new().listen("127.0.0.1:0".parse().unwrap()).bind().unwrap();
        let address = bound.addresses()[0].to_string();
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let served = tokio::spawn(bound.serve(app, async {
            let _ = stopped.await;
        }));
        let found = purlin::testing::lint(&format!("http://{address}/")).await.unwrap();
        assert!(found.is_empty(), "{found:?}");
        stop.send(()).unwrap();
        served.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn a_browser_that_has_a_page_gets_it_again() {
        // As `ETags` or a handler would.
        async fn unchanged(headers: purlin::HeaderMap) -> Response {
            if headers.contains_key("if-none-match") || headers.contains_key("range") {
                let mut response = Response::new(Body::empty());
                *response.status_mut() = purlin::StatusCode::NOT_MODIFIED;
                return response;
            }
            html(PAGE)
        }
        let client = Client::new(Stack::new().layer(LiveReload::new()).app(handler(unchanged)));
        let table = [
            (&[("accept", "text/html,*/*;q=0.8")][..], 200),
            (&[("sec-fetch-dest", "document"), ("accept", "*/*")], 200),
            (&[("sec-fetch-dest", "iframe")], 200),
            (&[("sec-fetch-dest", "script"), ("accept", "*/*")], 304),
            (&[("accept", "*/*")], 304),
        ];
        for (headers, expected) in table {
            for condition in [("if-none-match", "\"a\""), ("range", "bytes=0-9")] {
                let request = client.get("/").header(condition.0, condition.1);
                let request = headers.iter().fold(request, |request, (name, value)| request.header(name, value));
                assert_eq!(request.await.status(), expected, "{headers:?}, {condition:?}");
            }
        }
    }

    #[tokio::test]
    async fn a_page_streams_through() {
        struct Pieces(u8, tokio::sync::oneshot::Receiver<()>);
        impl futures_core::Stream for Pieces {
            type Item = purlin::Result<&'static str>;
            fn poll_next(
                mut self: std::pin::Pin<&mut Self>,
                cx: &mut std::task::Context<'_>,
            ) -> std::task::Poll<Option<Self::Item>> {
                self.0 += 1;
                if self.0 == 2 {
                    self.0 -= 1;
                    std::task::ready!(std::pin::Pin::new(&mut self.1).poll(cx)).unwrap();
                    self.0 += 1;
                }
                let pieces = ["<head></head><p>first</p>", "<p>second</p>", "</bo", "dy>"];
                std::task::Poll::Ready(pieces.get(self.0 as usize - 1).map(|piece| Ok(*piece)))
            }
        }
        let (go_on, wait) = tokio::sync::oneshot::channel();
        let wait = std::sync::Arc::new(std::sync::Mutex::new(Some(wait)));
        let app = handler(move || {
            let wait = wait.lock().unwrap().take().unwrap();
            async move { html(Body::stream(Pieces(0, wait))) }
        });
        let response = Client::new(Stack::new().layer(LiveReload::new()).app(app)).get("/").raw().await;
        let mut body = response.into_body();
        let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
        assert!(first.starts_with(b"<head><script ") && first.ends_with(b"</head><p>first</p>"), "{first:?}");
        go_on.send(()).unwrap();
        assert_eq!(body.collect(1000).await.unwrap(), "<p>second</p></body>");
    }

    #[tokio::test]
    async fn pages_with_a_policy_of_their_own_let_the_script_in() {
        async fn fails() -> purlin::Result<&'static str> {
            Err(Error::internal("the cellar is flooded"))
        }
        for details in [true, false] {
            let app = Stack::new()
                .layer(SecurityHeaders::new())
                .layer(LiveReload::new())
                .layer(ErrorPages::new().details(details))
                .app(Router::new().route("/", get(fails)));
            let page = Client::new(app).get("/").accept("text/html").expect_status(500).await;
            assert!(without_script(page.text()).0, "{}", page.text());
            let policy = page.header("content-security-policy").unwrap();
            assert!(policy.contains("script-src 'self'") && policy.contains("connect-src 'self'"), "{policy}");
        }
        let app = Stack::new().layer(SecurityHeaders::new()).layer(LiveReload::new()).app(handler(async || html(PAGE)));
        let page = Client::new(app).get("/").await;
        let policy = page.header("content-security-policy").unwrap();
        assert!(policy.starts_with("default-src 'self'; script-src 'self';"), "{policy}");
    }

    #[tokio::test]
    async fn the_script_is_there_for_good_and_its_url_changes_with_it() {
        let client = answering(200, &[("content-type", "text/html; charset=utf-8")], PAGE);
        let page = client.get("/").await;
        let script = page.select("script")[0].attr("src").unwrap().to_owned();
        let answer = client.get(&script).await;
        answer.assert_header("content-type", "text/javascript; charset=utf-8");
        answer.assert_header("cache-control", "public, max-age=31536000, immutable");
        answer.assert_contains("new EventSource(\"/_purlin/live\")");
        client.post("/_purlin/live").await.assert_contains("Hello");
    }

    #[tokio::test]
    async fn the_first_event_tells_which_process_it_is() {
        let client = answering(200, &[("content-type", "text/html; charset=utf-8")], PAGE);
        let page = client.get("/").await;
        let id = page.select("script")[0].attr("data-id").unwrap().to_owned();
        let body = client.get("/_purlin/live").raw().await.into_body();
        let mut body = body;
        let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
        assert_eq!(first, format!("event: hello\nid: 0\nretry: 100\ndata: {id}\n\n"));
        let another = answering(200, &[], PAGE).events("/_purlin/live").await.next().await.unwrap();
        assert_eq!(another.event, "hello");
        assert_ne!(another.data, id);
    }

    #[tokio::test]
    async fn only_pages_of_the_same_origin_may_listen() {
        let client = answering(200, &[], PAGE);
        let table = [
            (&[][..], 200),
            (&[("sec-fetch-site", "same-origin")], 200),
            (&[("sec-fetch-site", "none")], 200),
            (&[("sec-fetch-site", "cross-site")], 403),
            (&[("sec-fetch-site", "same-site")], 403),
            (&[("origin", "http://localhost")], 200),
            (&[("origin", "http://evil.example")], 403),
            (&[("origin", "null")], 403),
        ];
        for (headers, expected) in table {
            let request = client.get("/_purlin/live");
            let request = headers.iter().fold(request, |request, (name, value)| request.header(name, value));
            assert_eq!(request.raw().await.status(), expected, "{headers:?}");
        }
    }

    /// Reads its only template anew for each page.
    struct Files(Assets);

    impl Engine for Files {
        fn render(&self, page: &Page<'_>) -> purlin::Result<String> {
            Ok(String::from_utf8_lossy(&self.0.read(page.template())?).into_owned())
        }

        fn contains(&self, template: &str) -> bool {
            template == "page.html"
        }

        fn describe(&self, about: &mut purlin::site::About) {
            about.reads(&self.0);
        }
    }

    /// A site with a template and public files on disk.
    struct OnDisk {
        folder: PathBuf,
        client: Client,
    }

    impl OnDisk {
        fn new(name: &str) -> Self {
            let folder = std::env::temp_dir().join(format!("purlin-live-{name}-{}", std::process::id()));
            let _ = std::fs::remove_dir_all(&folder);
            std::fs::create_dir_all(folder.join("templates")).unwrap();
            std::fs::create_dir_all(folder.join("static/css")).unwrap();
            std::fs::write(folder.join("templates/page.html"), PAGE).unwrap();
            std::fs::write(folder.join("static/css/site.css"), "body { color: teal }").unwrap();
            let app = Stack::new()
                .layer(LiveReload::new())
                .layer(StaticFiles::new(Assets::folder(folder.join("static"))))
                .layer(Templates::new(Files(Assets::folder(folder.join("templates")))))
                .app(Router::new().route("/", get(async || purlin::View::new("page.html", ()))));
            let client = Client::new(app);
            Self { folder, client }
        }

        fn write(&self, name: &str, text: &str) {
            std::fs::write(self.folder.join(name), text).unwrap();
        }

        async fn listen(&self) -> EventStream {
            let mut events = self.client.events("/_purlin/live").await;
            assert_eq!(events.next().await.unwrap().event, "hello");
            events
        }
    }

    impl Drop for OnDisk {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.folder);
        }
    }

    #[tokio::test]
    async fn a_changed_file_is_told_at_once_and_a_style_apart() {
        let site = OnDisk::new("changes");
        let (mut one, mut two) = (site.listen().await, site.listen().await);
        let changes: [(&str, &str, &str, &str); 4] = [
            ("templates/page.html", "<html><body>Changed</body></html>", "reload", "page.html"),
            ("static/css/site.css", "body { color: navy }  ", "styles", "site.css"),
            ("static/new.svg", "<svg/>", "reload", "new.svg"),
            ("static/css/more.css", "p {}", "styles", "more.css"),
        ];
        for (number, (file, text, event, name)) in changes.iter().enumerate() {
            let saved = Instant::now();
            site.write(file, text);
            let heard = one.next().await.unwrap();
            let took = saved.elapsed();
            assert_eq!((heard.event.as_str(), heard.data.as_str()), (*event, *name), "{file}");
            assert_eq!(heard.last_event_id, (number + 1).to_string());
            // Every tenth of a second; the rest is for a busy machine.
            assert!(took < Duration::from_secs(5), "{file}: {took:?}");
            println!("{file}: {took:?}");
            assert_eq!(two.next().await.unwrap(), heard);
        }
        let page = site.client.get("/").await;
        page.assert_contains("Changed");
        assert_eq!(page.select("script")[0].attr("data-version"), Some("4"));
        std::fs::remove_file(site.folder.join("static/new.svg")).unwrap();
        assert_eq!(one.next().await.unwrap().event, "reload");
    }

    #[tokio::test]
    async fn what_changes_before_a_page_listens_is_told_by_the_number_of_changes() {
        let site = OnDisk::new("early");
        let page = site.client.get("/").await;
        assert_eq!(page.select("script")[0].attr("data-version"), Some("0"));
        site.write("templates/page.html", "<body>Changed before anybody listens</body>");
        let mut events = site.client.events("/_purlin/live").await;
        let hello = events.next().await.unwrap();
        let version = match hello.last_event_id.as_str() {
            // Not seen yet: then it is among the events.
            "0" => events.next().await.unwrap().last_event_id,
            _ => hello.last_event_id,
        };
        assert_eq!(version, "1");
    }

    #[tokio::test(start_paused = true)]
    async fn it_stays_open_over_night_and_many_tabs_are_no_burden() {
        let site = OnDisk::new("night");
        let mut tabs = Vec::new();
        for _ in 0..50 {
            tabs.push(site.listen().await);
        }
        tokio::time::sleep(Duration::from_secs(120)).await;
        site.write("static/css/site.css", "body { color: black; background: white }");
        for tab in &mut tabs {
            assert_eq!(tab.next().await.unwrap().event, "styles");
        }
    }

    #[tokio::test]
    async fn off_it_passes_everything_on() {
        let app = Stack::new().layer(LiveReload::new().on(false)).app(handler(async || html(PAGE)));
        let client = Client::new(app);
        for path in ["/", "/_purlin/live", "/_purlin/live.js"] {
            assert_eq!(client.get(path).await.text(), PAGE);
        }
    }

    fn refused(app: purlin::App<impl Service>) -> String {
        app.check().unwrap_err().message()
    }

    #[test]
    fn a_wrong_place_is_refused_with_the_line_to_move() {
        let routes = || Router::new().route("/", get(async || html(PAGE)));
        let above = refused(Stack::new().layer(ErrorPages::new()).layer(LiveReload::new()).app(routes()));
        assert!(above.contains("the layer ErrorPages"), "{above}");
        assert!(above.contains("which LiveReload provides further in: move the line"), "{above}");
        #[cfg(feature = "compression")]
        {
            let compression = purlin::layers::Compression::new;
            let app = Stack::new().layer(LiveReload::new()).layer(compression());
            let below = refused(app.app(routes()));
            assert!(below.contains("the layer LiveReload"), "{below}");
            assert!(below.contains("which Compression provides further in: move the line"), "{below}");
            let right = Stack::new().layer(compression()).layer(LiveReload::new()).layer(ErrorPages::new());
            right.app(routes()).check().unwrap();
        }
        Stack::new().layer(ErrorPages::new()).layer(LiveReload::new().on(false)).app(routes()).check().unwrap();
    }

    #[tokio::test]
    async fn it_keeps_the_promises_of_a_layer() {
        purlin::testing::layer_contract(LiveReload::new).await;
    }
}

/// What a release build does not contain.
#[cfg(not(debug_assertions))]
#[tokio::test]
async fn in_a_release_build_the_layer_passes_everything_on() {
    use purlin::layers::LiveReload;
    use purlin::testing::Client;
    use purlin::{Stack, handler, html};
    const PAGE: &str = "<!doctype html><head></head><body>Hello</body>";
    let app = Stack::new().layer(LiveReload::new()).app(handler(async || html(PAGE)));
    let client = Client::new(app);
    for path in ["/", "/_purlin/live", "/_purlin/live.js"] {
        assert_eq!(client.get(path).await.text(), PAGE);
    }
}
