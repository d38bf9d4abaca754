//! `Templates`, `View` and the engine: pages of templates, their links, and what is said of broken ones.

use purlin::http::Request as HttpRequest;
use purlin::layers::{ErrorPages, RequestIds, SecurityHeaders, Templates};
use purlin::request::CspNonce;
use purlin::site::{Life, Start};
use purlin::template::{Engine, Names, Page, TemplateError, Tera, tera};
use purlin::{
    App, Assets, Body, Error, Middleware, Next, Path, Request, Response, ResponseExt, Result, Router, Service, Stack,
    StaticUrls, StatusCode, View, get,
};
use serde_json::json;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

type Files = &'static [(&'static str, &'static [u8])];

/// As `embed!` does it in a release build: in the executable, sorted by name.
fn embedded(files: Files) -> Assets {
    let mut files = files.to_vec();
    files.sort();
    Assets::embedded(files.leak())
}

/// A site whose every page is the view `page.html` with these templates.
fn site(files: Files) -> App<impl Service> {
    site_of(Tera::new(embedded(files)))
}

fn site_of(engine: impl Engine) -> App<impl Service> {
    let blog = Router::new()
        .route("/{slug}", get(async |Path(_): Path<String>| View::new("page.html", ())).name("post"))
        .route("/", get(async || View::new("page.html", ())).name("index"));
    let routes = Router::new()
        .route("/", get(async || View::new("page.html", json!({ "title": "<Home>" }))).name("home"))
        .route("/hello/{name}", get(async |Path(name): Path<String>| name).name("hello"))
        .mount_named("blog", "/blog", blog);
    Stack::new().layer(Templates::new(engine)).app(routes)
}

async fn answer(app: &impl Service, path: &str) -> Response {
    app.call(HttpRequest::get(path).body(Body::empty()).unwrap()).await
}

async fn body(response: Response) -> String {
    String::from_utf8(response.into_body().collect(1 << 20).await.unwrap().to_vec()).unwrap()
}

/// The page at a path of a site that started; the error's text if it has none.
async fn page(app: &impl Service, path: &str) -> String {
    let response = answer(app, path).await;
    match response.error().map(|error| format!("{error:#}")) {
        Some(error) => error,
        None => body(response).await,
    }
}

/// Why a site does not start.
fn refusal(files: Files) -> String {
    let app = site(files);
    match Life::start(&app) {
        Ok(_) => "it starts".to_owned(),
        Err(error) => error.to_string(),
    }
}

struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("templates-{}-{count}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::create_dir_all(self.0.join(name).parent().unwrap()).unwrap();
        std::fs::write(self.0.join(name), text).unwrap();
    }

    fn engine(&self) -> Tera {
        Tera::new(Assets::folder(&self.0))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[tokio::test]
async fn what_is_written_into_a_page_is_escaped() {
    let app = site(&[("page.html", b"<h1>{{ title }}</h1>")]);
    assert_eq!(page(&app, "/").await, "<h1>&lt;Home&gt;</h1>");
}

#[tokio::test]
async fn markup_is_escaped_in_every_template_but_those_known_to_be_none() {
    let files: Files = &[
        ("a.html", b"{{ x }}"),
        ("a.htm", b"{{ x }}"),
        ("a.xml", b"{{ x }}"),
        ("a.svg", b"{{ x }}"),
        ("a.html.tera", b"{{ x }}"),
        ("a.md", b"{{ x }}"),
        ("a.txt", b"{{ x }}"),
        ("a", b"{{ x }}"),
    ];
    let show = async |Path(name): Path<String>| View::new(name, json!({ "x": "<&\"'>" }));
    let app =
        Stack::new().layer(Templates::new(Tera::new(embedded(files)))).app(Router::new().route("/{name}", get(show)));
    for (name, content_type, escaped) in [
        ("a.html", "text/html; charset=utf-8", true),
        ("a.htm", "text/html; charset=utf-8", true),
        ("a.xml", "application/xml", true),
        ("a.svg", "image/svg+xml", true),
        ("a.html.tera", "text/html; charset=utf-8", true),
        ("a.md", "text/markdown; charset=utf-8", false),
        ("a.txt", "text/plain; charset=utf-8", false),
        ("a", "text/html; charset=utf-8", true),
    ] {
        let response = answer(&app, &format!("/{name}")).await;
        assert_eq!(response.headers()["content-type"], content_type, "{name}");
        let expected = if escaped { "&lt;&amp;&quot;&#39;&gt;" } else { "<&\"'>" };
        assert_eq!(body(response).await, expected, "{name}");
    }
}

#[tokio::test]
async fn a_view_has_a_status_and_a_content_type() {
    let view = async || {
        let view = View::new("feed.xml", ()).status(StatusCode::CREATED);
        view.content_type("application/atom+xml".parse().unwrap())
    };
    let also = async || (StatusCode::GONE, View::new("feed.xml", ()));
    let routes = Router::new().route("/", get(view)).route("/also", get(also));
    let engine = Tera::new(embedded(&[("feed.xml", b"<feed/>")]));
    let app = Stack::new().layer(Templates::new(engine)).app(routes);
    let response = answer(&app, "/").await;
    assert_eq!(
        (response.status(), &response.headers()["content-type"]),
        (StatusCode::CREATED, &"application/atom+xml".parse().unwrap())
    );
    assert_eq!(response.body().len(), Some(7));
    assert_eq!(answer(&app, "/also").await.status(), 410);
}

#[tokio::test]
async fn a_site_with_a_view_and_no_layer_for_it_does_not_start() {
    async fn handler() -> Result<(StatusCode, View)> {
        Ok((StatusCode::OK, View::new("page.html", ())))
    }
    let app = Stack::new().app(Router::new().route("/", get(handler)));
    let problem = app.check().unwrap_err().to_string();
    assert!(problem.contains("needs `View`") && problem.contains("add `.layer(Templates::new(…))`"), "{problem}");
    assert!(page(&app, "/").await.contains("not rendered"), "and one that was never started is not silent");
}

#[tokio::test]
async fn the_context_may_be_anything_with_names() {
    let app = |view: fn() -> View| {
        let engine = Tera::new(embedded(&[("page.html", b"{{ a | default(value='none') }}")]));
        Stack::new()
            .layer(Templates::new(engine))
            .app(Router::new().route("/", get(move || std::future::ready(view()))))
    };
    assert_eq!(page(&app(|| View::new("page.html", ())), "/").await, "none");
    assert_eq!(
        page(&app(|| View::new("page.html", [("a", 7)].into_iter().collect::<std::collections::HashMap<_, _>>())), "/")
            .await,
        "7"
    );
    let list = page(&app(|| View::new("page.html", vec![1, 2])), "/").await;
    assert_eq!(list, "the context of page.html must be a struct, a map or `()`, and is array");
}

#[tokio::test]
async fn links_are_made_by_the_names_of_routes_those_of_the_same_mount_first() {
    let app = site(&[(
        "page.html",
        b"{{ url_for(name='home') }} {{ url_for(name='blog:post', slug='a b') }} {{ url_for(route='hello', name=7) }}\
          {% if request.path is starting_with(pat='/blog') %} {{ url_for(name='post', slug='x') }}{% endif %}",
    )]);
    let _life = Life::start(&app).unwrap();
    assert_eq!(page(&app, "/").await, "/ /blog/a%20b /hello/7");
    assert_eq!(page(&app, "/blog/").await, "/ /blog/a%20b /hello/7 /blog/x");
}

#[tokio::test]
async fn a_site_does_not_start_with_a_link_to_a_route_that_does_not_exist() {
    let problem = refusal(&[("page.html", b"<p>\n  <a href=\"{{ url_for(name='hallo', name2=x) }}\">")]);
    let expected = "a template is broken\n\n\
        page.html:2:15: no route is named `hallo`: did you mean `hello`?\n\
        1 | <p>\n\
        2 |   <a href=\"{{ url_for(name='hallo', name2=x) }}\">\n\
        \x20 |               ^";
    assert_eq!(problem, expected);
    let table: &[(Files, &str)] = &[
        (&[("page.html", b"{{ url_for(name='home') }}{{ url_for(name='post', slug=x) }}")], "it starts"),
        (&[("page.html", b"{{ url_for(name=x) }}{# url_for(name='no') #}")], "it starts"),
        (&[("page.html", b"{% raw %}{{ url_for(name='no') }}{% endraw %}")], "it starts"),
        (&[("page.html", b"{{ url_for(name='post') }}")], "the parameter `slug` is missing"),
        (&[("page.html", b"{{ url_for(name='home', id=1) }}")], "it has no parameter `id`"),
        (&[("page.html", b"{{ url_for() }}")], "url_for needs the argument `name`"),
    ];
    for (files, expected) in table {
        let problem = refusal(files);
        assert!(problem.contains(expected), "{files:?}: {problem}");
    }
}

#[tokio::test]
async fn every_broken_template_is_told_with_its_place_when_the_site_starts() {
    let problem =
        refusal(&[("a.html", b"{% if x %}never ends"), ("b.html", b"fine"), ("page.html", b"one\n{{ title }\n")]);
    assert!(problem.starts_with("2 templates are broken\n\na.html:"), "{problem}");
    assert!(problem.contains("\n\npage.html:2:10: "), "{problem}");
    let table: &[(Files, &str)] = &[
        (&[("page.html", b"a\n{{ x | slug }}")], "page.html:2:8: unknown filter `slug`"),
        (
            &[("page.html", b"{% extends 'layuot.html' %}"), ("layout.html", b"")],
            "page.html:1:13: unknown template `layuot.html`: did you mean `layout.html`?",
        ),
        (
            &[("page.html", b"{% include 'prat.html' %}"), ("part.html", b"")],
            "page.html:1:12: unknown template `prat.html`: did you mean `part.html`?",
        ),
        (
            &[("page.html", b"<p>\n{% block a %}{% endblok %}")],
            "page.html:2:17: unknown tag `endblok`: did you mean `endblock`?",
        ),
        (&[("page.html", b"{%- xyzzy %}")], "page.html:1:5: unknown tag `xyzzy`\n"),
        (&[("page.html", b"{% 'a' %}")], "page.html:1:4: unknown tag\n"),
        (
            &[("page.html", b"{{ <forms.imput name='a' label='b' /> }}")],
            "unknown component `forms.imput`: did you mean `forms.input`?",
        ),
        (&[("page.html", b"{{ <xyzzy /> }}")], "unknown component `xyzzy`\n"),
        (&[("page.html", b"{% extends 'page.html' %}")], "ircular extend"),
        (&[("page.html", b"a\nb\xff")], "page.html:2:2: expected UTF-8, found the byte 0xff"),
    ];
    for (files, expected) in table {
        let problem = refusal(files);
        assert!(problem.contains(expected), "{expected}: {problem}");
    }
}

#[tokio::test]
async fn an_unknown_name_is_told_with_all_that_there_would_be() {
    let message = async |source: &'static [u8]| {
        let app = site(Box::leak(Box::new([
            ("page.html", source),
            ("part.html", &b"{% component part(word) %}{{ wodr }}{% endcomponent %}"[..]),
        ])));
        answer(&app, "/").await.error().unwrap().downcast_ref::<TemplateError>().unwrap().message().to_owned()
    };
    assert_eq!(
        message(b"{{ requset.path }}").await,
        "variable `requset` is not defined: did you mean `request`? Available variables: csp_nonce, flash, request, title"
    );
    assert_eq!(
        message(b"{{ request.path }}{{ xyzzy }}").await,
        "variable `xyzzy` is not defined. Available variables: csp_nonce, flash, request, title"
    );
    assert_eq!(
        message(b"{{ <part word='a' /> }}").await,
        "variable `wodr` is not defined: did you mean `word`? Available variables: word",
        "a component knows nothing of the page"
    );
}

#[tokio::test]
async fn an_error_in_a_template_has_file_line_column_and_excerpt() {
    let app = site(&[
        ("page.html", b"{% extends 'layout.html' %}\n{% block main %}\n  <b>{{ titel }}</b>\n{% endblock %}"),
        ("layout.html", b"<main>{% block main %}{% endblock %}</main>"),
    ]);
    let response = answer(&app, "/").await;
    assert_eq!(response.status(), 500);
    let error = response.error().unwrap();
    let template = error.downcast_ref::<TemplateError>().unwrap();
    assert_eq!((template.file(), template.line(), template.column()), ("page.html", 3, 9));
    assert!(
        template.message().starts_with("variable `titel` is not defined: did you mean `title`? Available variables: "),
        "{template}"
    );
    assert!(
        template.excerpt().unwrap().to_string().contains("3 |   <b>{{ titel }}</b>\n  |         ^"),
        "{template:#}"
    );
    let places: Vec<String> = error.places().iter().map(ToString::to_string).collect();
    assert_eq!(places[0], "page.html:3:9");
    assert!(places[1].starts_with("tests/templates.rs:"), "and where the view was made: {places:?}");
    assert_eq!((error.layer(), error.route()), (Some("Templates"), Some("/")));
}

#[tokio::test]
async fn an_error_in_an_included_template_tells_the_way_to_it() {
    let app = site(&[("page.html", b"\n{% include 'part.html' %}"), ("part.html", b"{{ missing }}")]);
    let response = answer(&app, "/").await;
    let error = response.error().unwrap().downcast_ref::<TemplateError>().unwrap().clone();
    assert_eq!((error.file(), error.line(), error.column()), ("part.html", 1, 4));
    assert_eq!(error.trail(), ["called from page.html:2:12"]);
}

#[tokio::test]
async fn a_missing_template_is_answered_with_the_nearest_name() {
    let app = site(&[("pag.html", b"")]);
    assert_eq!(page(&app, "/").await, "no template is called `page.html`: did you mean `pag.html`?");
}

#[tokio::test]
async fn a_changed_template_is_read_again_and_a_broken_one_is_never_shown_as_it_was() {
    let folder = Folder::new();
    folder.write("page.html", "first");
    let app = site_of(folder.engine());
    assert_eq!(page(&app, "/").await, "first");
    folder.write("page.html", "second {% include 'new/part.html' %}");
    assert!(page(&app, "/").await.contains("unknown template `new/part.html`"));
    folder.write("new/part.html", "part");
    assert_eq!(page(&app, "/").await, "second part");
    folder.write("page.html", "{{ broken");
    let broken = page(&app, "/").await;
    assert!(broken.contains("page.html:1:"), "{broken}");
    folder.write("page.html", "mended!");
    assert_eq!(page(&app, "/").await, "mended!");
    std::fs::remove_file(folder.0.join("page.html")).unwrap();
    assert!(page(&app, "/").await.starts_with("no template is called"));
}

#[tokio::test]
async fn templates_are_read_once_where_reloading_is_off_and_editors_leavings_are_no_templates() {
    let folder = Folder::new();
    folder.write("page.html", "first");
    folder.write("page.html~", "{{ broken");
    folder.write(".page.html.swp", "{{ broken");
    let app = site_of(folder.engine().reload(false));
    let _life = Life::start(&app).unwrap();
    folder.write("page.html", "and then");
    assert_eq!(page(&app, "/").await, "first");
}

#[tokio::test]
async fn a_missing_folder_is_named() {
    let app = site_of(Tera::new(Assets::folder("/nowhere/templates")));
    let problem = Life::start(&app).unwrap_err().to_string();
    assert!(problem.contains("/nowhere/templates"), "{problem}");
}

/// Gives the name `visits` and counts how often it is asked for.
struct Counts(Arc<AtomicUsize>);

impl Middleware for Counts {
    async fn handle(&self, mut req: Request, next: &impl Service) -> Result<Response> {
        let count = self.0.clone();
        Names::of(&mut req).add_async("visits", move || {
            let count = count.clone();
            async move { Ok(count.fetch_add(1, Ordering::Relaxed) + 1) }
        });
        Ok(next.call(req).await)
    }

    fn start(&self, start: &mut Start) -> Result<()> {
        Names::default_value(start, "visits", 0);
        Ok(())
    }
}

#[tokio::test]
async fn a_page_without_the_layer_that_gives_a_name_has_its_default() {
    let files: Files = &[("errors/error.html", b"{{ reason }} {{ visits }}")];
    async fn gate(req: Request, next: Next<'_>) -> Result<Response> {
        match req.uri().path() {
            "/in" => Ok(next.call(req).await),
            _ => Err(Error::forbidden("outside")),
        }
    }
    let app = Stack::new()
        .layer(ErrorPages::new().templates(Tera::new(embedded(files))))
        .layer(gate)
        .layer(Counts(Arc::default()))
        .app(Router::new().route("/in", get(async || StatusCode::CONFLICT)));
    let _life = Life::start(&app).unwrap();
    for (path, expected) in [("/in", "Conflict 1"), ("/out", "Forbidden 0")] {
        let request = HttpRequest::get(path).header("accept", "text/html");
        assert_eq!(body(app.call(request.body(Body::empty()).unwrap()).await).await, expected);
    }
}

#[tokio::test]
async fn a_name_is_worked_out_only_for_a_template_that_leads_to_it() {
    let files: Files = &[
        ("layout.html", b"{{ visits }}{% block main %}{% endblock %}"),
        ("extends.html", b"{% extends 'layout.html' %}"),
        ("includes.html", b"{% include 'part.html' %}"),
        ("part.html", b"{{ visits }}"),
        ("calls.html", b"{{ <badge /> }}"),
        ("parts/badge.html", b"{% component badge(visits=0) %}{{ visits }}{% endcomponent %}"),
        ("none.html", b"visits"),
        ("own.html", b"{{ visits }}"),
    ];
    let count = Arc::new(AtomicUsize::new(0));
    let show = async |Path(name): Path<String>| match name.as_str() {
        "own.html" => View::new(name, json!({ "visits": "many" })),
        _ => View::new(name, ()),
    };
    let app = Stack::new()
        .layer(Templates::new(Tera::new(embedded(files))))
        // Below the layer that renders: it is seen all the same.
        .layer(Counts(count.clone()))
        .app(Router::new().route("/{name}", get(show)));
    let table =
        [("extends.html", "1", 1), ("includes.html", "2", 2), ("none.html", "visits", 2), ("own.html", "many", 3)];
    for (name, expected, counted) in table {
        assert_eq!(page(&app, &format!("/{name}")).await, expected, "{name}");
        assert_eq!(count.load(Ordering::Relaxed), counted, "{name}");
    }
    page(&app, "/calls.html").await;
    assert_eq!(count.load(Ordering::Relaxed), 4, "a component may take it from its surroundings");
}

#[tokio::test]
async fn the_nonce_is_made_for_templates_that_use_it() {
    let files: Files = &[("with.html", b"<style nonce=\"{{ csp_nonce }}\">"), ("without.html", b"plain")];
    let show = async |Path(name): Path<String>| View::new(name, ());
    let app = Stack::new()
        .layer(SecurityHeaders::new())
        .layer(Templates::new(Tera::new(embedded(files))))
        .app(Router::new().route("/{name}", get(show)));
    let policy = |response: &Response| response.headers()["content-security-policy"].to_str().unwrap().to_owned();
    let response = answer(&app, "/with.html").await;
    let nonce = policy(&response).split("'nonce-").nth(1).unwrap().split('\'').next().unwrap().to_owned();
    assert_eq!(body(response).await, format!("<style nonce=\"{nonce}\">"));
    assert!(!policy(&answer(&app, "/without.html").await).contains("nonce"));
}

#[tokio::test]
async fn a_template_may_speak_of_the_request() {
    let files: Files =
        &[("page.html", b"{{ request.method }} {{ request.path }} {{ request.query }} {{ request.id | length }}")];
    let app = Stack::new().layer(RequestIds::new()).app(
        Router::new().mount(
            "/below",
            Stack::new()
                .layer(Templates::new(Tera::new(embedded(files))))
                .app(Router::new().route("/{name}", get(async || View::new("page.html", ())))),
        ),
    );
    assert_eq!(page(&app, "/below/x?q='").await, "GET /below/x q=&#39; 20");
}

/// Says where public files are.
struct Public;

impl Middleware for Public {
    async fn handle(&self, req: Request, next: &impl Service) -> Result<Response> {
        Ok(next.call(req).await)
    }

    fn start(&self, start: &mut Start) -> Result<()> {
        start.share(StaticUrls::new(|name| match name {
            "site.css" => Ok("/static/site.abc123.css".to_owned()),
            _ => Err(purlin::Error::not_found(format!("no file {name:?}"))),
        }));
        Ok(())
    }
}

#[tokio::test]
async fn a_public_file_has_the_url_that_the_layer_which_serves_it_says() {
    let app = |files: Files| {
        Stack::new()
            .layer(Public)
            .layer(Templates::new(Tera::new(embedded(files))))
            .app(Router::new().route("/", get(async || View::new("page.html", ()))))
    };
    let good = app(&[("page.html", b"{{ static_url(path='site.css') }}")]);
    let _life = Life::start(&good).unwrap();
    assert_eq!(page(&good, "/").await, "/static/site.abc123.css");
    let problem = Life::start(&app(&[("page.html", b"\n{{ static_url(path='stie.css') }}")])).unwrap_err().to_string();
    assert!(problem.contains("page.html:2:4: no file \"stie.css\""), "{problem}");
    let none = site(&[("page.html", b"{{ static_url(path='site.css') }}")]);
    let _life = Life::start(&none).unwrap();
    assert!(page(&none, "/").await.contains("no layer of the site serves static files"));
}

#[tokio::test]
async fn a_site_may_add_filters_of_its_own() {
    let engine = Tera::new(embedded(&[("page.html", b"{{ title | shout }}")]));
    let engine = engine.configure(|tera| {
        tera.register_filter("shout", |text: &str, _: tera::Kwargs, _: &tera::State| {
            format!("{}!", text.to_uppercase())
        });
    });
    assert_eq!(page(&site_of(engine), "/").await, "&lt;HOME&gt;!");
}

/// Another engine, by two functions.
struct Lists;

impl Engine for Lists {
    fn render(&self, page: &Page<'_>) -> Result<String> {
        let mut names: Vec<String> = page.to_json()?.keys().cloned().collect();
        names.sort();
        Ok(format!("{} {} {}", page.template(), names.join(","), page.links().url_for("home", &[])?))
    }

    fn contains(&self, _: &str) -> bool {
        true
    }
}

#[tokio::test]
async fn another_engine_is_another_line() {
    let app = site_of(Lists);
    let _life = Life::start(&app).unwrap();
    assert_eq!(page(&app, "/").await, "page.html csp_nonce,flash,request,title /");
}

#[tokio::test]
async fn answers_without_a_view_pass() {
    let app = site(&[]);
    let response = answer(&app, "/hello/Ann").await;
    assert!(response.extensions().get::<CspNonce>().is_none());
    assert_eq!(body(response).await, "Ann");
}
