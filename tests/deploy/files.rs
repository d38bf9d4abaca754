//! Several files: whose folder, whose defaults, whose names; and what is mounted twice.

use super::{ask, registry, told};
use purlin::deploy::{Deploy, Deployment, NoOptions, load_app, load_config, load_layer, load_server};
use purlin::site::Outline;
use purlin::{BoxService, Config, Router, get};
use std::path::{Path, PathBuf};

/// A folder with these files.
fn folder(name: &str, files: &[(&str, &str)]) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("deploy").join(name);
    for (name, text) in files {
        let path = folder.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    folder
}

fn open(folder: &Path, uri: &str) -> Deployment {
    let named = registry()
        .app("app:main", |_: NoOptions, _| Ok(Router::new().route("/home", get(async || "home").name("home"))));
    let deploy = Deploy::new(named).config(Config::default());
    deploy.open(&folder.join(uri).display().to_string()).unwrap_or_else(|error| panic!("{error}"))
}

fn app(deployment: &Deployment, name: &str) -> BoxService {
    deployment.app(name).unwrap_or_else(|error| panic!("{error}"))
}

#[tokio::test]
async fn a_path_is_below_the_folder_of_the_file_that_it_is_written_in() {
    let folder = folder(
        "paths",
        &[
            (
                "site.toml",
                "[app.here]\nuse = 'sub/base.toml#files'\nfolder = 'public'\n[app.there]\nuse = 'sub/base.toml#files'",
            ),
            ("sub/base.toml", "[app.files]\nuse = 'purlin:static'\nfolder = 'public'"),
            ("public/a.txt", "here"),
            ("sub/public/a.txt", "there"),
            ("elsewhere/a.txt", "elsewhere"),
        ],
    );
    let deployment = open(&folder, "site.toml");
    assert_eq!(ask(&app(&deployment, "here"), "/a.txt").await.0, "here");
    assert_eq!(ask(&app(&deployment, "there"), "/a.txt").await.0, "there");
    let set = Deploy::new(registry()).set("app.there.folder", "elsewhere");
    let set = set.open(&folder.join("site.toml").display().to_string()).unwrap();
    assert_eq!(ask(&app(&set, "there"), "/a.txt").await.0, "elsewhere");
}

#[tokio::test]
async fn the_defaults_of_a_file_are_those_of_its_own_variables() {
    let folder = folder(
        "defaults",
        &[
            (
                "site.ini",
                "[DEFAULT]\ndata = %(here)s/data\nadmin_email = outer\n[composite:main]\nuse = egg:Paste#urlmap\n\
                 / = config:sub/wiki.ini\n",
            ),
            (
                "sub/wiki.ini",
                "[DEFAULT]\ndata = %(here)s/data\nadmin_email = inner\n[app:main]\nuse = test:told\npath = %(data)s/x\n\
                 word = %(admin_email)s\n",
            ),
        ],
    );
    // Paste's rule: `%(x)s` is the file's own, and what an application asks for as global is that of the file that refers.
    let found = told(&open(&folder, "site.ini")).await;
    let here = folder.display();
    assert_eq!(found, format!("word=inner number=None path={here}/sub/data/x on=None email=outer here={here}/sub"));
}

#[tokio::test]
async fn references_hosts_and_paths_have_variables() {
    let folder = folder(
        "references",
        &[
            (
                "site.ini",
                "[DEFAULT]\nlayers = one two\nname = cms\n[app:main]\nuse = config:%(here)s/%(name)s.ini\n\
                 [pipeline:piped]\npipeline = %(layers)s main\n[filter:one]\nuse = test:mark\nword = 1\n\
                 [filter:two]\nuse = test:mark\nword = 2\n",
            ),
            ("cms.ini", "[app:main]\nuse = test:told\nword = cms\n"),
            (
                "hosts.toml",
                "[app.main]\nmount = [{ host = '${env:HOST:-a.example}', path = '${p}', app = 'site.ini#${n}' }]\n\
                 globals = { p = '/x', n = 'main' }",
            ),
        ],
    );
    let deployment = open(&folder, "site.ini");
    let (text, marks) = ask(&app(&deployment, "piped"), "/").await;
    assert!(text.starts_with("word=cms ") && marks == "2 1", "{text} {marks}");
    let hosts = purlin::testing::Client::new(app(&open(&folder, "hosts.toml"), "main"));
    hosts.get("/x").header("host", "a.example").await.assert_contains("word=cms");
}

#[test]
fn a_circle_of_files_names_them() {
    let (a, b) = ("[app.main]\nuse = 'b.toml'\n", "[app.main]\nuse = 'a.toml'\n");
    let folder = folder("circle", &[("a.toml", a), ("b.toml", b)]);
    let error = open(&folder, "a.toml").check().unwrap_err().to_string();
    let round = error.split_once("circle: ").unwrap_or_else(|| panic!("{error}")).1;
    let steps: Vec<_> = round.lines().next().unwrap().split(" -> ").collect();
    for (step, file) in steps.iter().zip(["a.toml", "b.toml", "a.toml"]) {
        assert!(step.ends_with(&format!("{file} [app.main]")), "{error}");
    }
}

#[tokio::test]
async fn a_server_that_is_used_from_another_file_serves_the_application_of_that() {
    let folder = folder(
        "servers",
        &[
            ("site.toml", "[server.main]\nuse = 'base.toml#main'\nlisten = '127.0.0.1:0'"),
            ("base.toml", "[server.main]\napp = 'wiki'\n[app.wiki]\nuse = 'test:told'\nword = 'wiki'"),
        ],
    );
    let (_, _, wiki) = open(&folder, "site.toml").servers().unwrap_or_else(|error| panic!("{error}")).remove(0);
    assert!(ask(&wiki, "/").await.0.starts_with("word=wiki "));
}

#[tokio::test]
async fn what_the_uri_names_is_served_by_the_server_main_or_the_only_one() {
    let apps = "[app.main]\nuse = 'test:told'\nword = 'main'\n[app.wiki]\nuse = 'test:told'\nword = 'wiki'\n";
    let two = format!("{apps}[server.main]\napp = 'main'\n[server.admin]\napp = 'wiki'\n");
    let named = format!("{apps}[server.a]\napp = 'main'\n[server.b]\napp = 'main'\n");
    let only = format!("{apps}[server.only]\napp = 'main'\n");
    let folder =
        folder("asked", &[("two.toml", &two), ("named.toml", &named), ("only.toml", &only), ("none.toml", apps)]);
    for (uri, expected) in [
        ("two.toml", &["admin wiki", "main main"][..]),
        ("two.toml#main", &["main main"]),
        ("two.toml#wiki", &["main wiki"]),
        ("only.toml", &["only main"]),
        ("only.toml#wiki", &["only wiki"]),
        ("none.toml#wiki", &["main wiki"]),
        ("named.toml", &["a main", "b main"]),
    ] {
        let mut found = Vec::new();
        for (name, _, app) in open(&folder, uri).servers().unwrap_or_else(|error| panic!("{uri}: {error}")) {
            let (text, _) = ask(&app, "/").await;
            found.push(format!("{name} {}", text.split(['=', ' ']).nth(1).unwrap_or_default()));
        }
        assert_eq!(found, expected, "{uri}");
    }
    let error = open(&folder, "named.toml#wiki").servers().err().unwrap().to_string();
    assert!(
        error.ends_with(
            "`#wiki` would be served by the server `main`, or by the only one: expected one, of [server.a], [server.b]"
        ),
        "{error}"
    );
}

#[test]
fn the_first_file_of_the_documentation_holds_applications_with_named_routes() {
    let text = include_str!("../../docs/deploy.md");
    let start = text.find("```toml\n").unwrap() + 8;
    let file = &text[start..start + text[start..].find("```").unwrap()];
    let wiki = "[app.main]\nuse = 'app:main'";
    let folder = folder("documented", &[("site.toml", file), ("wiki.toml", wiki), ("public/x", "")]);
    let deployment = open(&folder, "site.toml");
    deployment.check().unwrap_or_else(|error| panic!("{error}"));
    let site = Outline::of(&app(&deployment, "main")).unwrap();
    let mut names: Vec<&str> = site.routes().iter().filter_map(|route| route.name.as_deref()).collect();
    names.sort_unstable();
    assert_eq!(names, ["home", "old:site:home", "wiki:home"]);
}

#[test]
fn what_is_mounted_twice_is_told_apart() {
    let folder = folder(
        "twice",
        &[
            (
                "site.toml",
                "[app.main]\nmount = [{ path = '/a', app = 'x.toml' }, { path = '/b/c', app = 'x.toml' }, \
                 { path = '/y', app = 'y.toml#main' }, { host = 'h.example', app = 'both' }, { host = 'i.example', app = 'both' }]\n\
                 [app.both]\ncascade = ['app:main', 'app:main']",
            ),
            ("x.toml", "[app.main]\nuse = 'app:main'"),
            ("y.toml", "[app.main]\nuse = 'app:main'"),
        ],
    );
    let site = Outline::of(&app(&open(&folder, "site.toml"), "main")).unwrap_or_else(|error| panic!("{error}"));
    let mut names: Vec<&str> = site.routes().iter().filter_map(|route| route.name.as_deref()).collect();
    names.sort_unstable();
    assert_eq!(
        names,
        [
            "b-c:home",
            "both:main-2:home",
            "both:main:home",
            "i.example:main-2:home",
            "i.example:main:home",
            "x:home",
            "y:home"
        ]
    );
}

#[tokio::test]
async fn a_cascade_of_a_file_passes_by_what_it_says() {
    let folder = folder(
        "cascade",
        &[(
            "site.toml",
            "[app.main]\ncascade = ['test:routes', 'last']\npasses = [405]\nmax_body = '1 MiB'\n[app.last]\nuse = 'test:told'",
        )],
    );
    let client = purlin::testing::Client::new(app(&open(&folder, "site.toml"), "main"));
    client.get("/none").expect_errors().await.assert_status(404);
    client.post("/here").await.assert_contains("word=");
}

#[tokio::test]
async fn one_call_loads_an_application_a_layer_a_server_or_the_values() {
    let folder = folder(
        "loaded",
        &[
            (
                "site.toml",
                "[app.main]\nuse = 'purlin:static'\nfolder = 'public'\nmemory = '1 MiB'\n[app.other]\nuse = 'main'\n\
                 folder = 'other'\n[layer.main]\nuse = 'purlin:request_ids'\n[server.admin]\nport = 0",
            ),
            ("public/a.txt", "public"),
            ("other/a.txt", "other"),
        ],
    );
    let uri = |rest: &str| format!("config:{}{rest}", folder.join("site.toml").display());
    assert_eq!(ask(&load_app(&uri("")).unwrap(), "/a.txt").await.0, "public");
    assert_eq!(ask(&load_app(&uri("#other")).unwrap(), "/a.txt").await.0, "other");
    load_layer(&uri("")).unwrap();
    let server = load_server(&uri("#admin")).unwrap();
    assert!(format!("{server:?}").contains("127.0.0.1:0"), "{server:?}");
    let values = load_config(&uri("#other")).unwrap();
    assert_eq!(values.factory.as_deref(), Some("purlin:static"));
    let both = (values.option("folder"), values.option("memory"));
    assert_eq!(both, (Some("other".to_owned()), Some("1 MiB".to_owned())));
    assert!(load_app(&uri("#none")).err().unwrap().to_string().contains("there is no [app.none]"));
}
