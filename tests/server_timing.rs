//! `ServerTiming`: the time of each layer, told to the browser and to handlers.

#[cfg(debug_assertions)]
mod in_debug_builds {
    use purlin::layers::{Deadline, RequestIds, ServerTiming};
    use purlin::testing::{Client, Page};
    use purlin::timing::{Kind, Timings, Way};
    use purlin::{
        BoxMiddleware, Cascade, Error, Json, Next, Request, Result, Router, Service, Stack, State, get, post, text,
    };
    use std::collections::BTreeMap;
    use std::time::{Duration, Instant};

    /// Works for so long, as a layer or a handler does that has something to do.
    fn work(time: Duration) {
        let begun = Instant::now();
        while begun.elapsed() < time {
            std::hint::spin_loop();
        }
    }

    const WORK: Duration = Duration::from_millis(5);

    async fn slow_in(req: Request, next: Next<'_>) -> Result<purlin::Response> {
        work(WORK);
        Ok(next.call(req).await)
    }

    async fn slow_out(req: Request, next: Next<'_>) -> Result<purlin::Response> {
        let response = next.call(req).await;
        work(WORK);
        Ok(response)
    }

    async fn way(timings: Timings) -> Result<Json<Way>> {
        let way = timings.way_in().ok_or_else(|| Error::internal("nobody looked at the clock"))?;
        Ok(Json(way))
    }

    /// What `way` answered: kind, name and place without the line, and the time.
    fn steps(page: &Page) -> Vec<(String, String, String, Option<f64>)> {
        let way: serde_json::Value = serde_json::from_str(page.text()).unwrap();
        let text = |step: &serde_json::Value, key: &str| step[key].as_str().unwrap().to_owned();
        let steps = way["steps"].as_array().unwrap().iter();
        let file = |place: String| place.rsplit_once(':').unwrap().0.to_owned();
        steps
            .map(|step| (text(step, "kind"), text(step, "name"), file(text(step, "place")), step["micros"].as_f64()))
            .collect()
    }

    fn names(page: &Page) -> Vec<String> {
        steps(page).into_iter().map(|(_, name, _, _)| name).collect()
    }

    /// The metrics of an answer, in milliseconds, by their descriptions, or else their names.
    fn metrics(page: &Page) -> BTreeMap<String, f64> {
        let header = page.header("server-timing").expect("the times are told");
        let metrics = header.split(", ").map(|metric| {
            let mut parts = metric.split(';');
            let mut name = parts.next().unwrap();
            let mut time = None;
            for part in parts {
                match part.split_once('=').unwrap() {
                    ("desc", quoted) => name = quoted.strip_prefix('"').unwrap().strip_suffix('"').unwrap(),
                    ("dur", millis) => time = Some(millis.parse().unwrap()),
                    other => panic!("{other:?} in {metric}"),
                }
            }
            (name.to_owned(), time.expect("a metric has a duration"))
        });
        metrics.collect()
    }

    #[tokio::test]
    async fn a_handler_sees_the_way_in_with_its_own_line() {
        let app = Stack::new()
            .layer(ServerTiming::new())
            .layer(RequestIds::new())
            .layer(slow_in)
            .layer(State("shared"))
            .app(Router::new().route("/here/{now}", get(way).name("here")));
        let page = Client::new(app).get("/here/1").await;
        let found = steps(&page);
        let kinds: Vec<(&str, &str)> = found.iter().map(|(kind, name, ..)| (kind.as_str(), name.as_str())).collect();
        let handler = "in_debug_builds::way";
        let layers = ["ServerTiming", "RequestIds", "slow_in", "State<&str>"].map(|name| ("layer", name));
        assert_eq!(kinds, [&layers[..], &[("route", "here"), ("handler", handler)]].concat());
        assert!(found.iter().all(|(_, _, file, _)| file == "tests/server_timing.rs"), "{found:?}");

        let micros: Vec<Option<f64>> = found.iter().map(|(.., micros)| *micros).collect();
        assert!(micros[..5].iter().all(Option::is_some) && micros[5].is_none(), "{micros:?}");
        assert!(micros[2] >= Some(5_000.0), "the layer worked for 5 ms: {micros:?}");
        let way: serde_json::Value = serde_json::from_str(page.text()).unwrap();
        let (whole, sum) = (way["micros"].as_f64().unwrap(), micros.iter().flatten().sum::<f64>());
        // Each is rounded to a tenth.
        assert!((whole - sum).abs() < 1.0, "nothing is counted twice or left out: {sum} of {whole}");
        let lines: Vec<u32> = way["steps"].as_array().unwrap().iter().map(line_of).collect();
        assert!(lines[0] > lines[5] && lines[..5].is_sorted(), "{lines:?}");
        assert_eq!(way["steps"][4]["options"], "GET /here/{now}");
        assert!(way["url"].as_str().unwrap().ends_with("/here/1"), "{}", way["url"]);
        assert!(way["built"].as_str().unwrap().ends_with(" ago"), "{}", way["built"]);
    }

    fn line_of(step: &serde_json::Value) -> u32 {
        step["place"].as_str().unwrap().rsplit_once(':').unwrap().1.parse().unwrap()
    }

    #[tokio::test]
    async fn a_file_is_where_the_way_goes_on() {
        async fn way(timings: Timings) -> Json<Vec<(Kind, String, String)>> {
            let steps = timings.way_in().unwrap().then("templates/errors/page.html").steps;
            Json(steps.into_iter().map(|step| (step.kind, step.name, step.place)).collect())
        }
        let app = Stack::new().layer(ServerTiming::new()).app(Router::new().route("/", get(way)));
        let page = Client::new(app).get("/").await;
        page.assert_contains(r#"["file","page.html","templates/errors/page.html"]]"#);
    }

    #[tokio::test]
    async fn the_browser_is_told_what_each_layer_and_the_handler_took() {
        async fn slow() -> &'static str {
            work(WORK);
            "slow"
        }
        let app = Stack::new()
            .layer(ServerTiming::new())
            .layer(RequestIds::new())
            .layer(slow_out)
            .layer(None::<Deadline>)
            .layer(State("shared"))
            .app(Router::new().route("/posts/{id}", get(slow)));
        let page = Client::new(app).get("/posts/7").await;
        let found = metrics(&page);
        let names: Vec<&str> = found.keys().map(String::as_str).collect();
        assert_eq!(names, ["/posts/{id}", "RequestIds", "State<&str>", "slow_out", "total"]);
        assert!(found["slow_out"] >= 5.0 && found["/posts/{id}"] >= 5.0, "{found:?}");
        let sum: f64 = found.iter().filter(|(name, _)| *name != "total").map(|(_, time)| time).sum();
        assert!(found["total"] + 0.01 >= sum, "own times are without those further in: {found:?}");
    }

    #[tokio::test]
    async fn layers_of_routes_mounts_and_lists_are_met_too() {
        let list = vec![BoxMiddleware::new(slow_in), BoxMiddleware::new(RequestIds::new())];
        let news = Stack::new()
            .layer(State(1_u8))
            .app(Router::new().route("/{page}", get(way).post(way).name("page").layer(State("of the route"))));
        let routes = Router::new().route("/other", post(way)).mount("/news", news);
        let client = Client::new(Stack::new().layer(ServerTiming::new()).layer(list).app(routes));
        let page = client.get("/news/today").await;
        let expected =
            ["ServerTiming", "slow_in", "RequestIds", "State<u8>", "page", "State<&str>", "in_debug_builds::way"];
        assert_eq!(names(&page), expected);
        assert!(steps(&page)[..6].iter().all(|(.., micros)| micros.is_some()), "{:?}", steps(&page));
        let found = metrics(&page);
        for name in ["slow_in", "RequestIds", "State<u8>", "State<&str>", "/{page}"] {
            assert!(found.contains_key(name), "{name}: {found:?}");
        }
    }

    #[tokio::test]
    async fn an_application_that_was_passed_by_is_not_on_the_way() {
        let none = Stack::new().layer(State("passed by")).app(Router::new().route("/none", get(way)));
        let some = Stack::new().layer(State(7_u8)).app(Router::new().route("/", get(way).name("some")));
        let app = Stack::new().layer(ServerTiming::new()).app(Cascade::new().app(none).app(some));
        let page = Client::new(app).get("/").await;
        assert_eq!(names(&page), ["ServerTiming", "State<u8>", "some", "in_debug_builds::way"]);
        let found = metrics(&page);
        assert!(found.contains_key("State<&str>"), "the browser is told of all that took time: {found:?}");
    }

    #[tokio::test]
    async fn of_what_stands_above_nothing_is_known() {
        let app = Stack::new()
            .layer(State("above"))
            .layer(ServerTiming::new())
            .app(Router::new().route("/", get(way).name("home")));
        let page = Client::new(app).get("/").await;
        let found: Vec<(String, bool)> =
            steps(&page).into_iter().map(|(_, name, _, micros)| (name, micros.is_some())).collect();
        let found: Vec<(&str, bool)> = found.iter().map(|(name, timed)| (name.as_str(), *timed)).collect();
        let handler = ("in_debug_builds::way", false);
        assert_eq!(found, [("State<&str>", false), ("ServerTiming", true), ("home", true), handler]);
    }

    #[tokio::test]
    async fn failures_have_their_times_too() {
        async fn refuse(_: Request, _: Next<'_>) -> Result<purlin::Response> {
            Err(Error::forbidden("not today"))
        }
        async fn panics() -> &'static str {
            panic!("on purpose")
        }
        let app = Stack::new().layer(ServerTiming::new()).layer(refuse).app(Router::new());
        let page = Client::new(app).expect_errors().get("/").await;
        page.assert_status(403);
        assert!(metrics(&page).contains_key("refuse"));
        let app = Stack::new().layer(ServerTiming::new()).app(Router::new().route("/", get(panics)));
        let page = Client::new(app).expect_errors().get("/").await;
        page.assert_status(500);
        assert!(metrics(&page).contains_key("/"));
    }

    #[tokio::test]
    async fn of_two_the_outer_one_counts() {
        let app = Stack::new()
            .layer(ServerTiming::new())
            .layer(RequestIds::new())
            .layer(ServerTiming::new())
            .app(Router::new().route("/", get(way)));
        let page = Client::new(app).get("/").await;
        assert_eq!(names(&page)[..3], ["ServerTiming", "RequestIds", "ServerTiming"]);
        assert_eq!(page.headers().get_all("server-timing").iter().count(), 1);
    }

    #[tokio::test]
    async fn a_head_is_on_the_way_of_its_get() {
        async fn seen(timings: Timings) -> purlin::Response {
            let steps = timings.way_in().unwrap().steps;
            let names: Vec<String> = steps.into_iter().map(|step| step.name).collect();
            let mut response = text("");
            response.headers_mut().insert("x-way", names.join(" ").parse().unwrap());
            response
        }
        let routes = Router::new().route("/", get(seen).name("home").layer(State("of GET")));
        let client = Client::new(Stack::new().layer(ServerTiming::new()).app(routes));
        let page = client.head("/").await;
        let way = page.header("x-way").unwrap();
        assert!(way.starts_with("ServerTiming home State<&str> ") && way.ends_with("::seen"), "{way}");
    }

    #[tokio::test]
    async fn where_it_is_off_nobody_looks_at_the_clock() {
        let ask = async |timings: Timings| timings.way_in().is_some().to_string();
        let off = Stack::new().layer(ServerTiming::new().on(false)).app(Router::new().route("/", get(ask)));
        for app in [Client::new(off), Client::new(Stack::new().app(Router::new().route("/", get(ask))))] {
            let page = app.get("/").await;
            page.assert_contains("false");
            assert_eq!(page.header("server-timing"), None);
        }
    }

    #[cfg(feature = "debugger")]
    #[tokio::test]
    async fn who_may_not_see_the_debugger_is_told_nothing() {
        async fn seen(timings: Timings) -> String {
            timings.way_in().is_some().to_string()
        }
        let client = || {
            let stack = Stack::new().layer(ServerTiming::new()).layer(purlin::layers::Debugger::new());
            Client::new(stack.app(Router::new().route("/", get(seen))))
        };
        let here = client().get("/").await;
        assert_eq!((here.text(), here.header("server-timing").is_some()), ("true", true));
        let elsewhere = client().peer("203.0.113.9:50000".parse().unwrap()).get("/").await;
        assert_eq!((elsewhere.text(), elsewhere.header("server-timing").is_some()), ("false", false));
    }

    #[tokio::test]
    async fn it_keeps_the_contract() {
        purlin::testing::layer_contract(ServerTiming::new).await;
        purlin::testing::layer_contract(|| ServerTiming::new().on(false)).await;
    }
}

#[cfg(not(debug_assertions))]
#[tokio::test]
async fn a_release_build_has_none_of_it() {
    use purlin::layers::ServerTiming;
    use purlin::testing::Client;
    use purlin::timing::Timings;
    use purlin::{Router, Stack, get};
    let ask = async |timings: Timings| timings.way_in().is_some().to_string();
    let app = Stack::new().layer(ServerTiming::new()).app(Router::new().route("/", get(ask)));
    let page = Client::new(app).get("/").await;
    page.assert_contains("false");
    assert_eq!(page.header("server-timing"), None);
}
