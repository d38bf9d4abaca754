//! `purlin dev`, on a site without dependencies, which builds in a second: it speaks just enough HTTP.

use crate::support::{Outcome, Scratch, purlin};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const MANIFEST: &str = "[package]\nname = \"tiny\"\nedition = \"2024\"\n[workspace]\n";

const SITE: &str = r#"
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

fn main() {
    let config = std::fs::read_to_string("config/development.toml").unwrap_or_default();
    if config.contains("broken") {
        eprintln!("error: config/development.toml:1:1: a \x1b[1mbroken\x1b[0m setting\n  |\n1 | broken");
        std::process::exit(1);
    }
    if config.contains("apart") {
        eprintln!("error: the site does not fit together\n  - the layer Csrf (src/main.rs:3:10) needs `Session`, which Sessions \
            provides further in: move the line src/main.rs:2:5 above src/main.rs:3:10\n  - the handler of GET / (src/main.rs:5:4) \
            needs `Book`, which no layer above it provides: add `.layer(State(…))` with a value of it");
        std::process::exit(1);
    }
    while config.contains("slow") && !std::path::Path::new("start").exists() {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let is_plain = !config.contains("[server.tls]") || std::env::var("PURLIN__SERVER__TLS__CERTIFICATE").is_ok_and(|file| file.is_empty());
    let scheme = if is_plain { "http" } else { "https" };
    println!("{{\"serving\":[\"{scheme}://{}\"],\"environment\":\"{}\"}}", listener.local_addr().unwrap(), std::env::var("PURLIN_ENV").unwrap());
    std::thread::spawn(|| {
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        std::process::exit(0);
    });
    for stream in listener.incoming() {
        std::thread::spawn(move || answer(stream.unwrap()));
    }
}

fn answer(mut stream: TcpStream) {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap_or(0) == 1 {
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap();
    if head.contains("GET /end ") {
        eprintln!("no more of it");
        std::process::exit(3);
    }
    if head.contains("upgrade: echo") {
        stream.write_all(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n").unwrap();
        while stream.read(&mut byte).unwrap_or(0) == 1 {
            stream.write_all(&byte).unwrap();
        }
        return;
    }
    let text = format!("{} {:?} {head}", words(), std::env::args().collect::<Vec<_>>());
    let _ = write!(stream, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{text}", text.len());
}

fn words() -> String {
    "WORDS".to_owned()
}
"#;

/// `purlin dev`, until it is dropped.
struct Dev {
    child: Child,
    address: SocketAddr,
    out: Arc<Mutex<String>>,
}

fn site(scratch: &Scratch) {
    scratch.write("Cargo.toml", MANIFEST);
    scratch.write(".gitignore", "/target\n");
    words(scratch, "one");
}

fn words(scratch: &Scratch, words: &str) {
    scratch.write("src/main.rs", SITE.replace("WORDS", words));
}

impl Dev {
    fn start(scratch: &Scratch, arguments: &[&str]) -> Self {
        let mut command = purlin(scratch.path());
        command.args(["dev", "--listen", "127.0.0.1:0", "--hold", "5m"]).args(arguments);
        command
            .env("CARGO_TARGET_DIR", scratch.path().join("target"))
            .env_remove("PURLIN_ENV")
            .env("PURLIN_EDITOR", "zed");
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        let first = lines.find(|line| line.contains("http://")).unwrap();
        let address = first.split("http://").nth(1).unwrap().split_whitespace().next().unwrap();
        let out = Arc::new(Mutex::new(String::new()));
        let kept = out.clone();
        std::thread::spawn(move || lines.for_each(|line| kept.lock().unwrap().push_str(&format!("{line}\n"))));
        Self { child, address: address.parse().unwrap(), out }
    }

    fn said(&self) -> String {
        self.out.lock().unwrap().clone()
    }

    /// A request's head, sent on a connection of its own.
    fn ask(&self, path: &str, headers: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(300))).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: {}\r\n{headers}\r\n", self.address).unwrap();
        stream
    }

    fn get(&self, path: &str, accept: &str) -> String {
        let mut answer = String::new();
        let mut stream = self.ask(path, &format!("Accept: {accept}\r\nConnection: close\r\n"));
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    /// A page, which waits for seconds only where others wait for as long as it takes.
    fn page(&self, path: &str) -> String {
        loop {
            let page = self.get(path, "text/html");
            if !page.starts_with("HTTP/1.1 503") {
                return page;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn signal(&self, name: &str) {
        let kill = format!("kill -{name} {}", self.child.id());
        assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
    }

    fn ended(&mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            self.signal("TERM");
            let _ = self.child.wait();
        }
    }
}

#[track_caller]
fn has(answer: &str, expected: &[&str]) {
    for expected in expected {
        assert!(answer.contains(expected), "no {expected:?} in {answer}");
    }
}

#[test]
fn the_first_answer_after_a_save_is_the_new_codes() {
    let scratch = Scratch::new();
    site(&scratch);
    let dev = Dev::start(&scratch, &[]);
    has(&dev.get("/", "text/html"), &["HTTP/1.1 503", "retry-after: 1", "Your site is being built", "data-page="]);
    has(&dev.get("/", "*/*"), &["HTTP/1.1 200", "one"]);
    for words_now in ["two", "three", "four"] {
        words(&scratch, words_now);
        has(&dev.get("/", "*/*"), &["HTTP/1.1 200", words_now]);
    }
    let built = dev.said().matches("built in").count();
    // Saved as it was.
    words(&scratch, "four");
    has(&dev.get("/", "*/*"), &["HTTP/1.1 200", "four"]);
    assert_eq!(dev.said().matches("built in").count(), built);
}

#[test]
fn what_does_not_compile_is_a_page_that_goes_away_by_itself() {
    let scratch = Scratch::new();
    site(&scratch);
    let dev = Dev::start(&scratch, &[]);
    has(&dev.get("/", "*/*"), &["HTTP/1.1 200"]);
    scratch.write("src/main.rs", SITE.replace("WORDS", "two").replace("words(),", "wrds(),"));
    let text = dev.get("/", "*/*");
    has(
        &text,
        &["HTTP/1.1 500", "tiny does not compile", "error[E0425]", "--> src/main.rs:", "cache-control: no-store"],
    );
    assert!(!text.contains('\x1b'), "{text}");
    let page = dev.page("/");
    let link = format!("zed://file{}/src/main.rs:", scratch.path().display());
    has(&page, &["HTTP/1.1 500", "tiny does not compile", "<code>wrds</code>", "class=\"hit\"", &link]);
    has(&page, &["content-security-policy: default-src 'none'", "<a class=\"code\"", "words(),"]);
    let json = dev.get("/", "application/json");
    let body: serde_json::Value = serde_json::from_str(json.split("\r\n\r\n").nth(1).unwrap()).unwrap();
    assert_eq!((&body["errors"][0]["code"], &body["errors"][0]["file"]), (&"E0425".into(), &"src/main.rs".into()));
    // Its page hears a name, and no other until something is settled; then the stream ends.
    let name = page.split("data-page=\"").nth(1).unwrap().split('"').next().unwrap();
    let mut live = BufReader::new(dev.ask(&format!("/_purlin/live?page={name}"), "Accept: text/event-stream\r\n"));
    let mut line = String::new();
    while !line.starts_with("data: ") {
        line.clear();
        live.read_line(&mut line).unwrap();
    }
    assert_eq!(line, format!("data: {name}\n"));
    words(&scratch, "three");
    has(&dev.get("/", "*/*"), &["HTTP/1.1 200", "three"]);
    let mut rest = String::new();
    loop {
        line.clear();
        if live.read_line(&mut line).unwrap() == 0 || line == "0\r\n" {
            break;
        }
        rest.push_str(&line);
    }
    assert!(!rest.contains("event: hello"), "{rest}");
    let mut again = BufReader::new(dev.ask(&format!("/_purlin/live?page={name}"), "Connection: close\r\n"));
    line.clear();
    while !line.starts_with("data: ") {
        line.clear();
        again.read_line(&mut line).unwrap();
    }
    assert_ne!(line, format!("data: {name}\n"));
}

#[test]
fn a_site_that_does_not_start_says_why_and_is_started_again_when_it_can_be() {
    let scratch = Scratch::new();
    site(&scratch);
    scratch.write("config/development.toml", "broken = true\n");
    let dev = Dev::start(&scratch, &[]);
    has(&dev.get("/", "*/*"), &["HTTP/1.1 500", "tiny does not start: exit status 1", "a broken setting"]);
    let page = dev.page("/");
    has(&page, &["a broken setting", "config/development.toml:1:1", "broken = true", "class=\"hit\""]);
    has(&page, &["As the terminal has it <code>purlin dev</code>"]);
    scratch.write("config/development.toml", "");
    has(&dev.get("/", "*/*"), &["HTTP/1.1 200", "one"]);
    // It ends by itself, in the middle of a request.
    has(&dev.get("/end", "*/*"), &["HTTP/1.1 500", "tiny has ended: exit status 3", "no more of it"]);
    scratch.write("Cargo.toml", "[package\n");
    has(&dev.get("/", "*/*"), &["HTTP/1.1 500", "cargo cannot build it"]);
    site(&scratch);
    has(&dev.get("/", "*/*"), &["HTTP/1.1 200", "one"]);
}

#[test]
fn a_site_that_does_not_fit_together_says_what_to_move_and_to_add() {
    let scratch = Scratch::new();
    site(&scratch);
    scratch.write("config/development.toml", "apart = true\n");
    let dev = Dev::start(&scratch, &[]);
    has(&dev.get("/", "*/*"), &["HTTP/1.1 500", "the site does not fit together\n  - the layer Csrf"]);
    let page = dev.page("/");
    has(&page, &["<strong>tiny does not start: the site does not fit together</strong>", "white-space: pre-wrap"]);
    let link = |place: &str| {
        format!("<a href=\"zed://file{}/src/main.rs:{place}\">src/main.rs:{place}</a>", scratch.path().display())
    };
    let title = format!(
        "<h1>the layer Csrf ({}) needs <code>Session</code>, which Sessions provides further in</h1>",
        link("3:10")
    );
    let remedy = format!("<b>to do</b> move the line {} above {}</p>", link("2:5"), link("3:10"));
    let second = format!(
        "<h2>the handler of GET / ({}) needs <code>Book</code>, which no layer above it provides</h2>",
        link("5:4")
    );
    has(&page, &[&title, &remedy, &second, "<b>to do</b> add <code>.layer(State(…))</code> with a value of it</p>"]);
    // Both lines of the first, and what is marked in them.
    has(&page, &["use std::net::{TcpListener, TcpStream};", "<b>---</b>", "<b>^^^^</b>"]);
    let json = dev.get("/", "application/json");
    let body: serde_json::Value = serde_json::from_str(json.split("\r\n\r\n").nth(1).unwrap()).unwrap();
    assert_eq!(body["problems"][0]["remedy"], "move the line src/main.rs:2:5 above src/main.rs:3:10");
}

#[test]
fn what_was_built_before_is_not_started_in_the_place_of_what_does_not_build() {
    let scratch = Scratch::new();
    site(&scratch);
    scratch.write("config/development.toml", "");
    let dev = Dev::start(&scratch, &[]);
    has(&dev.get("/", "*/*"), &["HTTP/1.1 200", "one"]);
    scratch.write("src/main.rs", SITE.replace("WORDS", "two").replace("words(),", "wrds(),"));
    has(&dev.get("/", "*/*"), &["HTTP/1.1 500", "tiny does not compile"]);
    scratch.write("config/development.toml", "# a setting that is read by who starts\n");
    has(&dev.get("/", "*/*"), &["HTTP/1.1 500", "tiny does not compile"]);
    words(&scratch, "three");
    has(&dev.get("/", "*/*"), &["HTTP/1.1 200", "three"]);
    // The manifest can be read, and what it asks for is not there.
    scratch.write("nothing/src/lib.rs", "");
    scratch.write("Cargo.toml", format!("{MANIFEST}[dependencies]\nnothing = {{ path = \"nothing\" }}\n"));
    has(&dev.get("/", "*/*"), &["HTTP/1.1 500", "cargo cannot build it"]);
    scratch.write("templates/home.html", "a template");
    has(&dev.get("/", "*/*"), &["HTTP/1.1 500", "cargo cannot build it"]);
    scratch.write("Cargo.toml", MANIFEST);
    has(&dev.get("/", "*/*"), &["HTTP/1.1 200", "three"]);
}

#[test]
fn a_build_that_is_out_of_date_when_it_ends_is_not_what_anybody_sees() {
    let scratch = Scratch::new();
    site(&scratch);
    // It waits until it is told how to end, each time.
    scratch.write(
        "build.rs",
        "fn main() {
            println!(\"cargo:rerun-if-changed=src/main.rs\");
            let word = loop {
                if let Ok(word) = std::fs::read_to_string(\"go\") {
                    break word;
                }
                std::thread::sleep(std::time::Duration::from_millis(5));
            };
            std::fs::remove_file(\"go\").unwrap();
            assert_eq!(word, \"on\");
        }",
    );
    let go = |word: &str| {
        scratch.write("go.new", word);
        std::fs::rename(scratch.path().join("go.new"), scratch.path().join("go")).unwrap();
    };
    // Files are looked at where a request or a build asks for it, and else never.
    let dev = Dev::start(&scratch, &["--poll", "60m"]);
    go("on");
    has(&dev.get("/", "*/*"), &["HTTP/1.1 200", "one"]);
    words(&scratch, "two");
    std::thread::scope(|scope| {
        let answer = scope.spawn(|| dev.get("/", "*/*"));
        let begun = Instant::now();
        while !dev.said().contains("changed") {
            assert!(begun.elapsed() < Duration::from_secs(60));
            std::thread::sleep(Duration::from_millis(5));
        }
        // The build of the second fails while the third is there already.
        words(&scratch, "three");
        go("off");
        while scratch.path().join("go").exists() {
            assert!(begun.elapsed() < Duration::from_secs(120));
            std::thread::sleep(Duration::from_millis(5));
        }
        go("on");
        has(&answer.join().unwrap(), &["HTTP/1.1 200", "three"]);
    });
}

#[test]
fn what_is_saved_while_the_site_starts_is_in_the_first_answer() {
    let scratch = Scratch::new();
    site(&scratch);
    scratch.write("config/development.toml", "slow = true\n");
    let dev = Dev::start(&scratch, &["--poll", "60m"]);
    let begun = Instant::now();
    while !dev.said().contains("built in") {
        assert!(begun.elapsed() < Duration::from_secs(120));
        std::thread::sleep(Duration::from_millis(5));
    }
    words(&scratch, "two");
    scratch.write("start", "");
    has(&dev.get("/", "*/*"), &["HTTP/1.1 200", "two"]);
}

#[test]
fn a_site_that_ends_while_the_manifest_is_broken_is_started_again() {
    let scratch = Scratch::new();
    site(&scratch);
    let dev = Dev::start(&scratch, &[]);
    has(&dev.get("/", "*/*"), &["HTTP/1.1 200", "one"]);
    scratch.write("Cargo.toml", "[package\n");
    has(&dev.get("/", "*/*"), &["HTTP/1.1 500", "cargo cannot build it"]);
    let running_site = running(&scratch);
    let number = running_site[0].split_whitespace().next().unwrap();
    assert!(Command::new("sh").args(["-c", &format!("kill -KILL {number}")]).status().unwrap().success());
    let begun = Instant::now();
    while !running(&scratch).is_empty() {
        assert!(begun.elapsed() < Duration::from_secs(20));
        std::thread::yield_now();
    }
    // The executable is the same, and nobody runs it.
    scratch.write("Cargo.toml", MANIFEST);
    has(&dev.get("/", "*/*"), &["HTTP/1.1 200", "one"]);
}

#[test]
fn a_site_with_a_certificate_is_served_without_it() {
    let scratch = Scratch::new();
    site(&scratch);
    scratch.write("config/development.toml", "[server.tls]\ncertificate = \"cert.pem\"\nkey = \"key.pem\"\n");
    let dev = Dev::start(&scratch, &[]);
    has(&dev.get("/", "*/*"), &["HTTP/1.1 200", "one"]);
}

#[test]
fn requests_are_passed_on_as_they_came_and_so_are_other_protocols() {
    let scratch = Scratch::new();
    site(&scratch);
    let dev = Dev::start(&scratch, &["--", "site.toml", "--own"]);
    let answer = dev.get("/a?b=%20", "*/*").to_lowercase();
    has(&answer, &["get /a?b=%20 http/1.1", &format!("host: {}", dev.address), "accept: */*"]);
    has(&answer, &["\"site.toml\", \"--own\", \"--listen\", \"127.0.0.1:0\", \"--json\""]);
    assert!(!answer.contains("x-forwarded"), "{answer}");
    let mut stream = dev.ask("/", "Connection: Upgrade\r\nUpgrade: echo\r\n");
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        assert_eq!(stream.read(&mut byte).unwrap(), 1);
        head.push(byte[0]);
    }
    has(&String::from_utf8(head).unwrap(), &["HTTP/1.1 101", "upgrade: echo"]);
    stream.write_all(b"hello").unwrap();
    let mut echo = [0; 5];
    stream.read_exact(&mut echo).unwrap();
    assert_eq!(&echo, b"hello");
}

#[test]
fn a_request_that_has_waited_long_enough_is_told_so() {
    let scratch = Scratch::new();
    site(&scratch);
    // It takes as long as it likes.
    scratch.write("build.rs", "fn main() { std::thread::sleep(std::time::Duration::from_secs(600)); }");
    let mut dev = Dev::start(&scratch, &["--hold", "10ms", "--no-reload"]);
    has(&dev.get("/", "*/*"), &["HTTP/1.1 503", "retry-after: 1", "the site is being built", "--hold"]);
    let page = dev.get("/", "text/html");
    has(&page, &["HTTP/1.1 503", "Your site is being built"]);
    assert!(!page.contains("<script"), "{page}");
    has(&dev.get("/_purlin/live", "text/event-stream"), &["HTTP/1.1 204"]);
    // The build ends with it, though it would take ten minutes.
    let begun = Instant::now();
    dev.signal("TERM");
    assert_eq!(dev.ended().code(), Some(143));
    assert!(begun.elapsed() < Duration::from_secs(60));
}

#[cfg(target_os = "linux")]
#[test]
fn the_doctor_knows_the_server_of_the_site_that_it_looks_at() {
    let scratch = Scratch::new();
    site(&scratch);
    scratch.write("Cargo.toml", format!("{MANIFEST}[dependencies]\npurlin = {{ path = \"purlin\" }}\n"));
    scratch.write("purlin/Cargo.toml", "[package]\nname = \"purlin\"\nversion = \"0.1.0\"\n");
    scratch.write("purlin/src/lib.rs", "");
    scratch.write("other/Cargo.toml", "[package]\nname = \"other\"\n[dependencies]\npurlin = \"0\"\n");
    let dev = Dev::start(&scratch, &[]);
    let found = |folder: &str| {
        let folder = scratch.path().join(folder);
        let config = format!("[server]\nlisten = \"{}\"\n", dev.address);
        std::fs::create_dir_all(folder.join("config")).unwrap();
        std::fs::write(folder.join("config/development.toml"), config).unwrap();
        let mut doctor = purlin(&folder);
        doctor.args(["doctor", "--no-build"]).env_remove("PURLIN_ENV").env_remove("PURLIN__SERVER__LISTEN");
        let outcome = Outcome::of(&mut doctor);
        outcome.out.lines().find(|line| line.contains("  port  ")).unwrap().to_owned()
    };
    let (address, id) = (dev.address, dev.child.id());
    let own = found("");
    has(&own, &["ok ", &format!("{address} is where purlin dev serves this site, process {id}")]);
    let others = found("other");
    has(&others, &["warning", &format!("{address} is taken by process {id}, purlin")]);
}

#[test]
fn nothing_outlives_it() {
    let scratch = Scratch::new();
    site(&scratch);
    for (signal, code) in [("INT", Some(130)), ("HUP", Some(129)), ("KILL", None)] {
        let mut dev = Dev::start(&scratch, &[]);
        has(&dev.get("/", "*/*"), &["HTTP/1.1 200"]);
        // It is there as long as its executable is open, which only its process has.
        let site = running(&scratch);
        assert_eq!(site.len(), 1, "{site:?}");
        dev.signal(signal);
        let status = dev.ended();
        assert_eq!(status.code(), code, "{status}");
        assert_eq!(status.signal().is_some(), code.is_none());
        let begun = Instant::now();
        while !running(&scratch).is_empty() {
            assert!(begun.elapsed() < Duration::from_secs(20), "{signal}: {:?}", running(&scratch));
            std::thread::yield_now();
        }
    }
}

#[test]
fn a_new_site_is_served_and_opened_at_once() {
    use std::os::unix::fs::PermissionsExt;
    let scratch = Scratch::new();
    let config = "[server]\nlisten = \"127.0.0.1:0\"\n";
    let main = format!("{{% raw %}}{}{{% endraw %}}", SITE.replace("WORDS", "one"));
    let files = [("Cargo{{''}}.toml", MANIFEST), ("src/main.rs", &main), ("config/development.toml", config)];
    scratch.template("t", r#"{"project_slug": "tiny"}"#, &files);
    let opened = scratch.path().join("opened");
    scratch.write("browser", format!("#!/bin/sh\necho $1 > {0}.new\nmv {0}.new {0}\n", opened.display()));
    std::fs::set_permissions(scratch.path().join("browser"), std::fs::Permissions::from_mode(0o755)).unwrap();
    let mut command = purlin(scratch.path());
    command
        .args(["new", "tiny", "--dev", "--no-git", "--template", "t"])
        .env("BROWSER", scratch.path().join("browser"));
    command.env("CARGO_TARGET_DIR", scratch.path().join("target")).stdin(Stdio::null()).stdout(Stdio::null());
    let child = command.stderr(Stdio::null()).spawn().unwrap();
    let begun = Instant::now();
    while !opened.exists() {
        assert!(begun.elapsed() < Duration::from_secs(120));
        std::thread::sleep(Duration::from_millis(10));
    }
    let url = std::fs::read_to_string(&opened).unwrap();
    let address = url.trim().strip_prefix("http://").unwrap().parse().unwrap();
    let mut dev = Dev { child, address, out: Arc::default() };
    has(&dev.page("/"), &["HTTP/1.1 200", "one"]);
    dev.signal("INT");
    assert_eq!(dev.ended().code(), Some(130));
}

/// The processes of the site, by their numbers.
fn running(scratch: &Scratch) -> Vec<String> {
    let program = scratch.path().join("target/debug/tiny");
    let text = program.to_str().unwrap();
    let output = Command::new("ps").args(["-A", "-o", "pid=,stat=,args="]).output().unwrap();
    let lines = String::from_utf8_lossy(&output.stdout).into_owned();
    let alive = lines
        .lines()
        .filter(|line| line.contains(text) && !line.split_whitespace().nth(1).unwrap_or("Z").starts_with('Z'));
    alive.map(str::to_owned).collect()
}

#[test]
fn what_is_missing_is_said_at_once() {
    let scratch = Scratch::new();
    scratch.purlin(&["dev"]).fails(1, &["no Cargo.toml", "purlin new my-site --dev"]);
    site(&scratch);
    let mut command = purlin(scratch.path());
    command.arg("dev").env_remove("CARGO").env("PATH", scratch.path());
    Outcome::of(&mut command).fails(1, &["could not find cargo", "https://rustup.rs"]);
    scratch.write("src/bin/other.rs", "fn main() {}");
    scratch.purlin(&["dev"]).fails(2, &["several executables", "--bin", "other"]);
    scratch.purlin(&["dev", "--bin", "third"]).fails(2, &["no executable `third`"]);
    scratch.purlin(&["dev", "--bin", "tiny", "--listen", "nowhere"]).fails(2, &["is no address"]);
    scratch.purlin(&["dev", "--hol", "1s"]).fails(2, &["did you mean --hold?"]);
}
