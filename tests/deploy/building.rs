//! What is built is what code builds: the same stacks, mounts and cascades, printed with the lines of their file.

use super::{Mark, ask, registry, toml};
use purlin::deploy::{Deploy, Graph, NoOptions, Registry};
use purlin::layers::Compression;
use purlin::testing::Client;
use purlin::{BoxService, Config, Router, Stack, get};
use std::path::Path;
use std::time::Instant;
use tokio::sync::oneshot;

const SITE: &str = "\
[server.public]
listen = '127.0.0.1:0'
app = 'main'

[server.admin]
listen = '127.0.0.1:0'
app = 'admin.toml#main'
max_connections = 8

[defaults]
admin_email = 'a@b'

[app.main]
mount = [
  { path = '/', app = 'home' },
  { path = '/blog', app = 'blog' },
  { host = 'cascade.example', app = 'cascade' },
]
with = ['outer']

[app.home]
use = 'test:told'
word = 'home'

[app.blog]
pipeline = ['inner', 'admin.toml#blog']

[app.cascade]
cascade = ['test:routes', 'home']

[layer.outer]
use = 'test:mark'
word = 'outer'

[layer.inner]
use = 'test:mark'
word = 'inner'
with = ['around-inner']

[layer.around-inner]
use = 'test:mark'
word = 'around-inner'
";

const ADMIN: &str = "\
[app.main]
use = 'test:told'
word = 'admin'
path = '${here}/x'

[app.blog]
use = 'test:told'
word = 'blog'
path = '${global.admin_email}'
";

/// The two files, in a folder that has another below it: each file's `here` is its own.
fn composite(name: &str) -> (std::path::PathBuf, purlin::deploy::Deployment) {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("deploy").join(name);
    std::fs::create_dir_all(folder.join("below")).unwrap();
    let site = SITE.replace("admin.toml", "below/admin.toml");
    std::fs::write(folder.join("site.toml"), site).unwrap();
    std::fs::write(folder.join("below/admin.toml"), ADMIN).unwrap();
    let uri = folder.join("site.toml").display().to_string();
    let deployment = Deploy::new(registry()).config(Config::default()).open(&uri);
    (folder, deployment.unwrap_or_else(|error| panic!("{error}")))
}

#[tokio::test]
async fn three_applications_and_two_servers_from_two_files_answer() {
    let (folder, deployment) = composite("composite");
    deployment.check().unwrap_or_else(|error| panic!("{error}"));
    let mut running = Vec::new();
    for (name, server, app) in deployment.servers().unwrap_or_else(|error| panic!("{error}")) {
        let bound = server.bind().unwrap();
        let address = bound.addresses()[0].to_string();
        let (stop, stopped) = oneshot::channel::<()>();
        let served = tokio::spawn(bound.serve(app, async { drop(stopped.await) }));
        running.push((name, Client::connect(&format!("http://{address}")), stop, served));
    }
    let names: Vec<&str> = running.iter().map(|(name, ..)| name.as_str()).collect();
    assert_eq!(names, ["admin", "public"]);

    let public = &running[1].1;
    let home = public.get("/").await;
    home.assert_contains("word=home");
    assert_eq!(home.headers().get_all("x-mark").iter().count(), 1);
    let blog = public.get("/blog").await;
    blog.assert_contains("word=blog");
    blog.assert_contains("path=a@b");
    let marks: Vec<_> = blog.headers().get_all("x-mark").iter().map(|mark| mark.to_str().unwrap().to_owned()).collect();
    assert_eq!(marks, ["inner", "around-inner", "outer"]);
    let routed = public.get("/here").header("host", "cascade.example").await;
    routed.assert_contains("routed");
    public.get("/else").header("host", "cascade.example").await.assert_contains("word=home");
    public.get("/any").header("host", "other.example").await.assert_contains("word=home");
    let admin = running[0].1.get("/").await;
    admin.assert_contains(&format!("path={}/below/x", folder.display()));

    for (_, client, stop, served) in running {
        drop(client);
        let _ = stop.send(());
        served.await.unwrap().unwrap();
    }
}

#[test]
fn the_stack_prints_the_lines_of_the_file() {
    let deployment = toml(
        "[app.main]\npipeline = ['ids', 'purlin:access_log', 'test:routes']\n\n[layer.ids]\nuse = 'purlin:request_ids'\n\
         trust_client = true\n",
    );
    let site = purlin::site::Outline::of(&deployment.app("main").unwrap()).unwrap();
    assert_eq!(
        site.stack_table(),
        "  RequestIds  /site/site.toml:4  trust_client=true\n  AccessLog   /site/site.toml:2\n  2 routes\n"
    );
    let needy = toml("[app.main]\npipeline = ['purlin:csrf', 'purlin:sessions', 'test:routes']");
    let error = purlin::site::Outline::of(&needy.app("main").unwrap()).unwrap_err().to_string();
    assert!(error.contains("the layer Csrf (/site/site.toml:2) needs"), "{error}");
}

#[tokio::test]
async fn a_layer_of_a_file_is_named_in_code_and_the_reverse() {
    let deployment = toml("[layer.mark]\nuse = 'test:mark'\nword = 'file'");
    let app = Stack::new()
        .layer(Compression::new())
        .layer(deployment.layer("mark").unwrap())
        .app(Router::new().route("/", get(async || "hello")));
    let site = app.check().unwrap();
    let lines: Vec<String> = site.layers().iter().map(|layer| layer.line()).collect();
    assert!(lines[0].contains("building.rs:") && lines[1] == "/site/site.toml:1", "{lines:?}");
    assert_eq!(ask(&BoxService::new(app), "/").await, ("hello".into(), "file".into()));

    let ready = Registry::new().layer("app:mark", |mark: Mark, _| Ok(mark));
    let graph = Graph::from_toml("site.toml", "[layer.x]\nuse = 'app:mark'\nword = 'code'").unwrap();
    assert!(Deploy::new(ready).graph(graph).unwrap().layer("x").is_ok());
}

#[tokio::test]
async fn the_sites_own_stack_has_the_name_of_the_section_around_it() {
    let registry = registry().app("app:main", |_: NoOptions, _| Ok(super::says("own".to_owned())));
    let text = "[app.main]\nmount = [{ path = '/', app = 'site' }]\n[app.site]\npipeline = ['mark', 'app:main']\n\
                [layer.mark]\nuse = 'test:mark'\nword = 'x'";
    let graph = Graph::from_toml("site.toml", text).unwrap();
    let app = Deploy::new(registry).graph(graph).unwrap().app("main").unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(ask(&app, "/").await, ("own".to_owned(), "x".to_owned()));
}

#[tokio::test]
async fn a_site_of_built_in_layers_answers() {
    let deployment = toml(
        "[app.main]\npipeline = ['purlin:request_ids', 'purlin:access_log', 'gzip', 'purlin:security_headers', \
         'purlin:error_pages', 'purlin:sessions', 'purlin:csrf', 'test:routes']\n\
         [layer.gzip]\nuse = 'purlin:compression'\nmin_size = '1 KiB'\ncodings = ['gzip']\nquality = { gzip = 6 }",
    );
    let client = Client::new(deployment.app("main").unwrap_or_else(|error| panic!("{error}")));
    let answer = client.get("/here").await;
    answer.assert_contains("routed");
    assert_eq!(answer.headers()["x-content-type-options"], "nosniff");
    client.get("/none").expect_errors().await.assert_status(404);
}

#[test]
fn a_hundred_sections_load_in_no_time() {
    let mut text = String::from("[defaults]\nword = 'x'\n[app.main]\npipeline = [");
    let layers: Vec<String> = (0..98).map(|n| format!("'l{n}'")).collect();
    text += &format!("{}, 'end']\n[app.end]\nuse = 'test:routes'\n", layers.join(", "));
    for n in 0..98 {
        text += &format!("[layer.l{n}]\nuse = 'test:mark'\nword = '${{here}}/{n}'\n");
    }
    let registry = registry();
    let start = Instant::now();
    let graph = Graph::from_toml("site.toml", &text).unwrap();
    Deploy::new(registry).graph(graph).unwrap().app("main").unwrap();
    // 10 ms in a release build, as the bench `deploy` prints; a debug build on a busy machine has more.
    assert!(start.elapsed().as_millis() < 1000, "{:?}", start.elapsed());
}
