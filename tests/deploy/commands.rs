//! The commands of a site, each as a process of its own: what it prints for people and for programs, and what it serves.

use super::registry;
use purlin::deploy::run_from;
use purlin::testing::Client;
use purlin::{Config, Request, Result, Router, Service, Stack, get, text};
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};

/// What the child prints before anything of its own.
const BEGINS: &str = "-- the site begins --";

/// A stack that can only be made inside a runtime, as one with a database.
fn stack(_: Config) -> Result<impl Service> {
    let _ = tokio::runtime::Handle::current();
    let headers = async |req: Request| {
        let all = req.headers().get_all("x-a").iter().map(|value| value.to_str().unwrap_or_default().to_owned());
        text(all.collect::<Vec<_>>().join(","))
    };
    let router = Router::new().route("/", get(async || "the site")).route("/users/{id}", get(headers).name("user"));
    Ok(Stack::new().layer(purlin::layers::RequestIds::new()).app(router))
}

#[test]
#[ignore = "this is the process that the other tests start"]
fn the_site() {
    let Ok(words) = std::env::var("PURLIN_TEST_COMMAND") else { return };
    println!("\n{BEGINS}");
    let registry = registry().app("test:table", |options: BTreeMap<String, Value>, _| {
        Ok(super::says(options.into_keys().collect::<Vec<_>>().join(" ")))
    });
    let code = run_from(words.lines(), registry, stack);
    std::process::exit(i32::from(format!("{code:?}") != format!("{:?}", ExitCode::SUCCESS)));
}

fn site(words: &[&str]) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "deploy::commands::the_site", "--ignored", "--nocapture"]);
    command.env("PURLIN_TEST_COMMAND", words.join("\n")).env("PURLIN_ENV", "test").env_remove("RUST_BACKTRACE");
    command
}

/// What a command prints, and what it says is wrong.
fn run(words: &[&str]) -> Result<String, String> {
    let output = site(words).output().unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    let (_, printed) = printed.split_once(&format!("{BEGINS}\n")).unwrap();
    match output.status.success() {
        true => Ok(printed.to_owned()),
        false => Err(String::from_utf8(output.stderr).unwrap()),
    }
}

fn json(words: &[&str]) -> Value {
    let printed = run(&[words, &["--json"]].concat()).unwrap_or_else(|error| panic!("{words:?}: {error}"));
    serde_json::from_str(&printed).unwrap_or_else(|error| panic!("{words:?}: {error}: {printed}"))
}

const SITE: &str = "\
[defaults]
admin_email = 'ops@example.org'
[server.main]
listen = '127.0.0.1:0'
[server.admin]
app = 'admin.toml'
[app.main]
mount = [{ path = '/', app = 'app:main' }, { path = '/told', app = 'told' }]
with = ['mark']
[app.told]
use = 'test:told'
word = '${env:WORD:-nothing}'
[app.database]
use = 'test:table'
database = { host = 'db.example', password = 'hunter2' }
[layer.mark]
use = 'test:mark'
word = 'x'
";

const ADMIN: &str = "[app.main]\nuse = 'test:told'\nword = 'admin'\npath = '${here}'\n";

fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("deploy").join(name);
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("site.toml"), SITE).unwrap();
    std::fs::write(folder.join("admin.toml"), ADMIN).unwrap();
    folder
}

/// A site that serves, until this is dropped.
struct Serving(Child);

impl Serving {
    /// Starts it, and waits until so many servers have printed where they are.
    fn start(command: &mut Command, servers: usize) -> (Self, Vec<Value>) {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        let lines = lines.skip_while(|line| line != BEGINS).skip(1).take(servers);
        let mut found: Vec<Value> = lines.map(|line| serde_json::from_str(&line).unwrap()).collect();
        found.sort_by_key(|line| line["server"].to_string());
        assert_eq!(found.len(), servers);
        (Self(child), found)
    }

    fn terminate(mut self) {
        let id = self.0.id().to_string();
        assert!(Command::new("sh").args(["-c", "kill -TERM $0", &id]).status().unwrap().success());
        assert!(self.0.wait().unwrap().success());
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn three_applications_and_two_servers_from_two_files_are_served() {
    let folder = folder("served");
    let file = folder.join("site.toml").display().to_string();
    // The second server says nothing of where it listens: the configuration does.
    let mut command = site(&["serve", &file, "--json"]);
    let command = command.env("PURLIN__SERVER__LISTEN", "127.0.0.1:0").env("WORD", "told");
    let (serving, lines) = Serving::start(command, 2);
    let [admin, main] = lines.as_slice() else { panic!("{lines:?}") };
    assert_eq!((&admin["server"], &main["server"]), (&"admin".into(), &"main".into()));
    assert_eq!(main["environment"], "test");
    let client = |line: &Value| Client::connect(line["serving"][0].as_str().unwrap());

    let (main, admin) = (client(main), client(admin));
    let home = main.get("/").await;
    home.assert_contains("the site");
    assert!(home.headers().contains_key("x-request-id"));
    assert_eq!(home.headers()["x-mark"], "x");
    main.get("/told").await.assert_contains("word=told");
    main.get("/none").expect_errors().await.assert_status(404);
    admin.get("/").await.assert_contains(&format!("word=admin number=None path={}", folder.display()));
    drop((main, admin));
    serving.terminate();
}

#[tokio::test]
async fn an_address_of_the_command_line_is_for_one_server() {
    let folder = folder("listen");
    let file = folder.join("site.toml").display().to_string();
    let socket = folder.join("site.sock");
    let listen = format!("unix:{}", socket.display());
    let asked = format!("{file}#told");
    let (serving, lines) = Serving::start(&mut site(&["serve", &asked, "--listen", &listen, "--json"]), 1);
    assert_eq!(lines[0]["serving"][0], listen.as_str());
    serving.terminate();
    std::fs::write(&file, SITE.replace("[server.main]", "[server.public]\napp = 'main'")).unwrap();
    let error = run(&["serve", &file, "--listen", &listen]).unwrap_err();
    assert!(error.contains("--listen is for the server `main`, or the only one: found admin, public"), "{error}");
}

#[test]
fn each_command_prints_for_people_and_for_programs() {
    let folder = folder("commands");
    let file = folder.join("site.toml").display().to_string();
    let said = |words: &[&str]| run(words).unwrap_or_else(|error| panic!("{words:?}: {error}"));

    for words in [&["stack"][..], &["stack", &file]] {
        assert!(said(words).contains("RequestIds"), "{words:?}");
        assert!(json(words).as_array().unwrap().iter().any(|layer| layer["name"] == "RequestIds"), "{words:?}");
    }
    for words in [&["routes"][..], &["routes", &file]] {
        assert!(said(words).contains("/users/{id}"), "{words:?}");
        assert!(json(words).as_array().unwrap().iter().any(|route| route["name"] == "user"), "{words:?}");
    }
    for words in [&["routes", "--match", "/users/5"][..], &["routes", &file, "--match", "/users/5"]] {
        assert!(said(words).contains("id = 5"), "{words:?}");
        assert_eq!(json(words)["params"]["id"], "5", "{words:?}");
    }
    let files = folder.join("files.toml");
    let text = "[app.main]\nmount = [{ path = '/', app = 'app:main' }, { path = '/files', app = 'files' }]\n\
                [app.files]\nuse = 'purlin:static'\nfolder = '.'\n";
    std::fs::write(&files, text).unwrap();
    let matched = |url: &str| run(&["routes", &files.display().to_string(), "--match", url]).unwrap_err();
    assert!(matched("/files/a").contains("what is mounted at /files tells no routes"));
    assert!(matched("/filesystem").ends_with("no route answers at /filesystem\n"));
    let layers = json(&["layers"]);
    for name in ["app:main", "test:mark", "purlin:cascade", "purlin:deadline"] {
        assert!(said(&["layers"]).contains(&format!("{name} (")), "{name}");
        assert!(layers.as_array().unwrap().iter().any(|factory| factory["name"] == name), "{name}");
    }
    for words in [&["request", "GET", "/users/5"][..], &["request", "GET", "/users/5", &file]] {
        let words = [words, &["--header", "X-A: 1", "--header", "X-A: 2"]].concat();
        let printed = said(&words);
        assert!(printed.starts_with("200 OK\n") && printed.ends_with("\n\n1,2"), "{printed}");
        assert_eq!((&json(&words)["status"], &json(&words)["body"]), (&200.into(), &"1,2".into()));
    }
    for words in [&["config", "check"][..], &["config", "check", &file]] {
        assert_eq!(said(words), "ok\n");
        assert_eq!(json(words), serde_json::json!({ "ok": true }));
    }
    assert!(said(&["config"]).contains("body_limit = \"2 MiB\""));
    assert!(json(&["config"]).as_array().unwrap().iter().any(|setting| setting["key"] == "body_limit"));
    assert_eq!(json(&["config", "explain", "body_limit"])["source"], "default");
    assert!(said(&["serve", "--help"]).contains("--json"));
}

/// None of these makes the site's own stack, which would need a runtime.
#[test]
fn a_value_of_a_file_is_explained() {
    let folder = folder("explained");
    let file = folder.join("site.toml").display().to_string();
    let explain = |key: &str| run(&["config", "explain", key, &file]).unwrap_or_else(|error| panic!("{key}: {error}"));
    for (key, expected) in [
        ("layer.mark.word", format!("layer.mark.word = x  # {file}:18\n")),
        ("app.told.word", format!("app.told.word = nothing  # {file}:12, written '${{env:WORD:-nothing}}'\n")),
        ("defaults.admin_email", format!("defaults.admin_email = ops@example.org  # {file}:2\n")),
        ("app.told.admin_email", format!("app.told.admin_email = ops@example.org  # {file}:2\n")),
        ("server.main.drain", "server.main.drain = \"8s\"  # default\n".to_owned()),
        (
            "app.database.database",
            format!(
                "app.database.database.host = db.example  # {file}:15\napp.database.database.password = •••  # {file}:15\n"
            ),
        ),
    ] {
        // A path below the current directory is told from there.
        let here = std::env::current_dir().unwrap();
        let found = explain(key);
        assert!(found == expected || found == expected.replace(&format!("{}/", here.display()), ""), "{key}: {found}");
    }
    let word = json(&["config", "explain", "app.told.word", &file]);
    assert_eq!((&word["value"], &word["written"]), (&"nothing".into(), &"'${env:WORD:-nothing}'".into()));
    let all = run(&["config", &file]).unwrap();
    for line in ["defaults.admin_email = ", "app.told.word = nothing", "app.database.database.password = •••"] {
        assert!(all.contains(line), "{line}: {all}");
    }
    assert!(!all.contains("hunter2"));
    assert!(json(&["config", &file]).as_array().unwrap().len() > 5);
    let set = run(&["config", "explain", "app.told.word", &file, "--set", "app.told.word=line"]).unwrap();
    assert_eq!(set, "app.told.word = line  # --set app.told.word\n");
    let error = run(&["config", "explain", "app.told.wrod", &file]).unwrap_err();
    assert!(error.contains("there is no setting `app.told.wrod`: did you mean `app.told.word`?"), "{error}");
}
