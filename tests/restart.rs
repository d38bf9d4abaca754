//! A site that is restarted while it serves, and what systemd is told of it. This program is also that site.

fn main() -> std::process::ExitCode {
    #[cfg(unix)]
    return unix::main();
    #[cfg(not(unix))]
    std::process::ExitCode::SUCCESS
}

#[cfg(unix)]
mod unix {
    use purlin::site::{Start, Stopping};
    use purlin::{Config, Error, Middleware, Request, Response, Result, Router, Service, Stack, get};
    use std::collections::BTreeSet;
    use std::io::{BufRead, BufReader, Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::OwnedFd;
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
    use std::path::{Path, PathBuf};
    use std::process::{Child, ChildStdout, Command, ExitCode, Output, Stdio};
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::{Duration, Instant};

    /// Set for the processes that are the site: the folder of the test.
    const FOLDER: &str = "PURLIN_TEST_SITE";

    const TESTS: &[(&str, fn())] = &[
        ("the_sockets_are_handed_over_and_the_old_process_ends", the_sockets_are_handed_over_and_the_old_process_ends),
        ("sighup_restarts_too", sighup_restarts_too),
        ("a_new_process_that_fails_leaves_the_old_one_serving", a_new_process_that_fails_leaves_the_old_one_serving),
        (
            "an_executable_that_was_replaced_is_the_one_that_starts",
            an_executable_that_was_replaced_is_the_one_that_starts,
        ),
        ("one_restart_at_a_time_and_none_of_a_site_that_stops", one_restart_at_a_time_and_none_of_a_site_that_stops),
        ("a_changed_configuration_moves_the_site", a_changed_configuration_moves_the_site),
        ("a_unix_socket_keeps_its_file", a_unix_socket_keeps_its_file),
        ("inherited_sockets_are_handed_on", inherited_sockets_are_handed_on),
        ("a_runtime_for_each_core_hands_over_all_its_sockets", a_runtime_for_each_core_hands_over_all_its_sockets),
        ("several_processes_are_replaced_together", several_processes_are_replaced_together),
        #[cfg(feature = "tls")]
        (
            "by_tls_it_is_replaced_and_the_next_has_the_next_certificate",
            by_tls_it_is_replaced_and_the_next_has_the_next_certificate,
        ),
        ("no_request_is_lost_meanwhile", no_request_is_lost_meanwhile),
        ("the_control_socket_is_for_this_user_alone", the_control_socket_is_for_this_user_alone),
        ("where_no_site_runs_there_is_none_to_restart", where_no_site_runs_there_is_none_to_restart),
        ("systemd_is_told_how_it_is", systemd_is_told_how_it_is),
        #[cfg(feature = "deploy")]
        ("a_server_that_does_not_start_takes_the_others_along", a_server_that_does_not_start_takes_the_others_along),
        #[cfg(feature = "deploy")]
        ("the_servers_of_a_file_are_restarted_together", the_servers_of_a_file_are_restarted_together),
    ];

    pub(crate) fn main() -> ExitCode {
        if std::env::var_os(FOLDER).is_some() {
            return purlin::run(stack);
        }
        let words: Vec<String> = std::env::args().skip(1).collect();
        if words.iter().any(|word| word == "--list") {
            TESTS.iter().for_each(|(name, _)| println!("{name}: test"));
            return ExitCode::SUCCESS;
        }
        let filters: Vec<&String> = words.iter().filter(|word| !word.starts_with('-')).collect();
        let mut failed = 0;
        for (name, test) in TESTS {
            if filters.is_empty() || filters.iter().any(|filter| name.contains(*filter)) {
                let passed = std::panic::catch_unwind(test).is_ok();
                println!("test {name} ... {}", if passed { "ok" } else { "FAILED" });
                failed += u32::from(!passed);
            }
        }
        if failed == 0 { ExitCode::SUCCESS } else { ExitCode::from(101) }
    }

    /// The site: it tells its process, and does not start if a file in the folder of the test says so.
    fn stack(_: Config) -> Result<impl Service> {
        let process = async || std::process::id().to_string();
        let wait = async |mut stopping: Stopping| {
            stopping.wait().await;
            std::process::id().to_string()
        };
        Ok(Stack::new().layer(Starts).app(Router::new().route("/", get(process)).route("/wait", get(wait))))
    }

    struct Starts;

    impl Middleware for Starts {
        async fn handle(&self, req: Request, next: &impl Service) -> Result<Response> {
            Ok(next.call(req).await)
        }

        fn start(&self, _: &mut Start) -> Result<()> {
            let folder = PathBuf::from(std::env::var_os(FOLDER).unwrap_or_default());
            match std::fs::read_to_string(folder.join("fails")).unwrap_or_default().as_str() {
                "error" => Err(Error::internal("the teapot is empty").context("warming up")),
                "panic" => panic!("no tea"),
                "exit" => std::process::exit(3),
                "hang" => loop {
                    std::thread::park();
                },
                _ => Ok(()),
            }
        }
    }

    /// A folder of its own, and the site that runs in it.
    struct Site {
        folder: PathBuf,
        environment: Vec<(&'static str, String)>,
        arguments: Vec<String>,
        child: Option<Child>,
        out: Option<BufReader<ChildStdout>>,
        program: PathBuf,
    }

    impl Site {
        fn new() -> Self {
            static COUNT: AtomicU32 = AtomicU32::new(0);
            let name = format!("purlin-restart-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
            let folder = std::env::temp_dir().join(name);
            std::fs::create_dir_all(folder.join("config")).unwrap();
            std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o700)).unwrap();
            let folder = folder.canonicalize().unwrap();
            let site = Self {
                environment: Vec::new(),
                arguments: Vec::new(),
                child: None,
                out: None,
                program: std::env::current_exe().unwrap(),
                folder,
            };
            site.configure("listen = '127.0.0.1:0'");
            site
        }

        fn env(mut self, name: &'static str, value: impl Into<String>) -> Self {
            self.environment.push((name, value.into()));
            self
        }

        fn configure(&self, server: &str) {
            std::fs::write(self.folder.join("config/test.toml"), format!("[server]\n{server}\n")).unwrap();
        }

        fn fails(&self, how: &str) {
            std::fs::write(self.folder.join("fails"), how).unwrap();
        }

        fn command(&self, words: &[&str]) -> Command {
            let mut command = Command::new(&self.program);
            command.args(words).current_dir(&self.folder).stdin(Stdio::null());
            for name in ["CARGO_MANIFEST_DIR", "RUNTIME_DIRECTORY", "NOTIFY_SOCKET", "PURLIN_CONFIG"] {
                command.env_remove(name);
            }
            command.env("PURLIN_ENV", "test").env("XDG_RUNTIME_DIR", &self.folder).env(FOLDER, &self.folder);
            command.envs(self.environment.iter().map(|(name, value)| (name, value)));
            command
        }

        fn start(&mut self, words: &[&str]) -> Vec<String> {
            let command = self.command(words);
            self.start_by(command, words)
        }

        /// Tells where it serves.
        fn start_by(&mut self, mut command: Command, words: &[&str]) -> Vec<String> {
            self.arguments = words.iter().map(|word| (*word).to_owned()).collect();
            let log = std::fs::File::create(self.folder.join("log")).unwrap();
            let mut child = command.stdout(Stdio::piped()).stderr(log).spawn().unwrap();
            self.out = Some(BufReader::new(child.stdout.take().unwrap()));
            self.child = Some(child);
            self.serving()
        }

        /// What the next process says.
        fn serving(&mut self) -> Vec<String> {
            let mut line = String::new();
            self.out.as_mut().unwrap().read_line(&mut line).unwrap();
            let places = line.strip_prefix("serving ").and_then(|line| line.split_once(" (")).map(|(places, _)| places);
            let Some(places) = places else { panic!("not started: {line:?} {}", self.log()) };
            places.split(", ").map(str::to_owned).collect()
        }

        fn log(&self) -> String {
            std::fs::read_to_string(self.folder.join("log")).unwrap_or_default()
        }

        fn restart(&self) -> Output {
            let mut words = vec!["restart"];
            words.extend(self.arguments.iter().skip(1).map(String::as_str));
            self.command(&words).output().unwrap()
        }

        /// Restarts it; tells what `restart` says.
        #[track_caller]
        fn restarted(&mut self) -> String {
            let output = self.restart();
            let told = text(&output.stdout);
            assert!(output.status.success(), "{told} {} {}", text(&output.stderr), self.log());
            self.serving();
            told
        }

        fn signal(&self, name: &str, process: &str) {
            let kill = format!("kill -{name} {process}");
            assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
        }

        /// Waits for the end of the process that was started here: a successor is not of this process.
        #[track_caller]
        fn first_has_ended(&mut self) {
            let status = self.child.take().unwrap().wait().unwrap();
            assert!(status.success(), "{status} {}", self.log());
        }

        fn first(&self) -> String {
            self.child.as_ref().unwrap().id().to_string()
        }
    }

    impl Drop for Site {
        fn drop(&mut self) {
            if let Some(mut child) = self.child.take() {
                let _ = child.kill();
                let _ = child.wait();
            }
            let _ = std::fs::remove_dir_all(&self.folder);
        }
    }

    fn text(bytes: &[u8]) -> String {
        String::from_utf8_lossy(bytes).into_owned()
    }

    fn address(place: &str) -> &str {
        place.strip_prefix("http://").unwrap_or_else(|| panic!("{place}"))
    }

    fn ask(mut stream: impl Read + Write, path: &str) -> std::io::Result<String> {
        stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer.rsplit("\r\n").next().unwrap_or_default().to_owned())
    }

    /// The process that answers there.
    #[track_caller]
    fn process(place: &str) -> String {
        match place.strip_prefix("unix:") {
            Some(path) => ask(UnixStream::connect(path).unwrap(), "/").unwrap(),
            None => ask(TcpStream::connect(address(place)).unwrap(), "/").unwrap(),
        }
    }

    /// Stops the process, and waits until it has ended.
    fn stop(site: &Site, process: &str) {
        site.signal("TERM", process);
        has_ended(process);
    }

    #[track_caller]
    fn has_ended(process: &str) {
        eventually("the process has ended", || {
            !Path::new("/proc").is_dir() || !Path::new(&format!("/proc/{process}/exe")).exists()
        });
    }

    #[track_caller]
    fn eventually(what: &str, mut is: impl FnMut() -> bool) {
        let began = Instant::now();
        while !is() {
            assert!(began.elapsed() < Duration::from_secs(60), "not within a minute: {what}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn the_sockets_are_handed_over_and_the_old_process_ends() {
        let mut site = Site::new();
        let place = site.start(&[]).remove(0);
        let first = process(&place);
        assert_eq!(first, site.first());
        let mut idle = TcpStream::connect(address(&place)).unwrap();
        idle.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        let mut head = [0; 15];
        idle.read_exact(&mut head).unwrap();
        let waiting = TcpStream::connect(address(&place)).unwrap();
        let waiting = std::thread::spawn(move || ask(waiting, "/wait").unwrap());
        let told = site.restarted();
        let second = process(&place);
        assert_ne!(second, first, "the new process has the port");
        assert_eq!(told, format!("restarted: process {second} serves, process {first} answers what it has begun\n"));
        assert_eq!(waiting.join().unwrap(), first, "what had begun is answered by the old one");
        // A connection that was idle, too.
        idle.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        let mut answer = String::new();
        idle.read_to_string(&mut answer).unwrap();
        assert!(answer.contains("\r\nconnection: close\r\n") && answer.ends_with(&first), "{answer}");
        site.first_has_ended();
        let mut last = second;
        for _ in 0..2 {
            site.restarted();
            let next = process(&place);
            assert_ne!(next, last);
            last = next;
        }
        stop(&site, &last);
        assert!(TcpStream::connect(address(&place)).is_err(), "the port is free");
        assert!(site.log().contains("the new process serves"), "{}", site.log());
    }

    fn sighup_restarts_too() {
        let mut site = Site::new();
        let place = site.start(&["serve", "--listen", "127.0.0.1:0"]).remove(0);
        let first = process(&place);
        site.signal("HUP", &first);
        assert_eq!(site.serving().concat(), place);
        site.first_has_ended();
        let second = process(&place);
        assert_ne!(second, first);
        stop(&site, &second);
    }

    fn a_new_process_that_fails_leaves_the_old_one_serving() {
        let mut site = Site::new().env("PURLIN__SERVER__RESTART_TIMEOUT", "3s");
        let unix = format!("unix:{}", site.folder.join("site.sock").display());
        let both = format!("listen = ['127.0.0.1:0', '{unix}']");
        site.configure(&both);
        let place = site.start(&[]).remove(0);
        let first = process(&place);
        #[track_caller]
        fn refused(site: &Site, first: &str, words: &[&str]) {
            let output = site.restart();
            let told = text(&output.stderr);
            assert!(!output.status.success(), "{}", text(&output.stdout));
            assert!(told.starts_with(&format!("error: not restarted, process {first} serves on: ")), "{told}");
            for word in words {
                assert!(told.contains(word), "{word} is not in {told}");
            }
            // The log has it too, on one line.
            let log = site.log();
            let line = log.lines().rfind(|line| line.contains("not restarted: this process serves on"));
            assert!(line.is_some_and(|line| words.iter().all(|word| line.contains(word))), "{log}");
        }
        let table: [(&str, &[&str]); 4] = [
            (
                "error",
                &["exited with status 1", "its last words:", "error: warming up", "caused by: the teapot is empty"],
            ),
            ("panic", &["exited with status", "no tea", "tests/restart.rs"]),
            ("exit", &["exited with status 3"]),
            ("hang", &["was not ready within 3s (`server.restart_timeout`), and was killed"]),
        ];
        for (how, words) in table {
            site.fails(how);
            refused(&site, &first, words);
            assert_eq!(process(&place), first);
            // Nor has it taken anything along.
            assert_eq!(process(&unix), first);
        }
        site.fails("");
        site.configure("listne = '127.0.0.1:0'");
        // `restart` reads the same configuration, and does not come so far.
        assert!(text(&site.restart().stderr).contains("listne"));
        site.signal("HUP", &first);
        eventually("the log has it", || site.log().matches("listne").count() > 1);
        assert_eq!(process(&place), first);
        site.configure(&both);
        site.restarted();
        site.first_has_ended();
        stop(&site, &process(&place));
    }

    fn an_executable_that_was_replaced_is_the_one_that_starts() {
        let mut site = Site::new();
        let own = site.program.clone();
        site.program = site.folder.join("site");
        std::fs::copy(&own, &site.program).unwrap();
        let place = site.start(&[]).remove(0);
        let first = process(&place);
        // As `install` and package managers do it: another file by the same name.
        let replace = |bytes: &[u8]| {
            let new = site.folder.join("new");
            std::fs::write(&new, bytes).unwrap();
            std::fs::set_permissions(&new, std::fs::Permissions::from_mode(0o755)).unwrap();
            std::fs::rename(&new, &site.program).unwrap();
        };
        let control = std::fs::read_dir(site.folder.join("purlin")).unwrap().next().unwrap().unwrap().path();
        let ask_control = || {
            let mut stream = UnixStream::connect(&control).unwrap();
            stream.write_all(b"restart\n").unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).unwrap();
            answer
        };
        replace(b"#!/bin/sh\necho 'this one is for another system' >&2\nexit 127\n");
        let answer = ask_control();
        assert!(answer.starts_with("failed ") && answer.contains("exited with status 127"), "{answer}");
        assert!(answer.contains("this one is for another system"), "{answer}");
        replace(b"\x7fELF of no kind");
        let answer = ask_control();
        assert!(answer.starts_with("failed ") && answer.contains("starting "), "{answer}");
        std::fs::remove_file(&site.program).unwrap();
        let answer = ask_control();
        assert!(answer.starts_with("failed ") && answer.contains("starting "), "{answer}");
        assert_eq!(process(&place), first);
        replace(&std::fs::read(&own).unwrap());
        let output = site.restart();
        assert!(output.status.success(), "{} {}", text(&output.stderr), site.log());
        site.serving();
        site.first_has_ended();
        stop(&site, &process(&place));
    }

    fn one_restart_at_a_time_and_none_of_a_site_that_stops() {
        let mut site = Site::new();
        let place = site.start(&[]).remove(0);
        site.fails("hang");
        let mut first = site.command(&["restart"]).stderr(Stdio::piped()).spawn().unwrap();
        eventually("it has begun", || site.log().contains("starting the new process"));
        let second = site.restart();
        assert!(!second.status.success());
        assert_eq!(text(&second.stderr), "error: not restarted: a restart is under way\n");
        site.signal("TERM", &site.first());
        site.first_has_ended();
        let mut told = String::new();
        first.stderr.take().unwrap().read_to_string(&mut told).unwrap();
        assert!(!first.wait().unwrap().success());
        assert_eq!(told, "error: the site has been told to stop\n");
        // The one that was starting has been killed: nobody has the port.
        eventually("the port is free", || TcpStream::connect(address(&place)).is_err());
        assert!(text(&site.restart().stderr).contains("no such site runs here"));
    }

    fn a_changed_configuration_moves_the_site() {
        let mut site = Site::new();
        let before = site.start(&[]).remove(0);
        let first = process(&before);
        site.configure("listen = ['127.0.0.1:0', '[::1]:0']\ncontrol = 'other.control'");
        // The command reads what is configured now; the server was started before.
        assert!(text(&site.restart().stderr).contains("no such site runs here"));
        site.signal("HUP", &first);
        let after = site.serving();
        assert_eq!((after.len(), &after[0]), (2, &before), "what is still configured is kept");
        site.first_has_ended();
        assert!(site.folder.join("other.control").exists());
        assert_eq!(std::fs::read_dir(site.folder.join("purlin")).unwrap().count(), 0, "the old place is gone");
        assert_eq!(process(&after[1]), process(&before));
        site.configure("listen = ['[::1]:0']\ncontrol = 'other.control'");
        site.restarted();
        eventually("the address is given up", || TcpStream::connect(address(&before)).is_err());
        let last = process(&after[1]);
        stop(&site, &last);
        assert!(!site.folder.join("other.control").exists());
    }

    fn a_unix_socket_keeps_its_file() {
        let mut site = Site::new();
        let place = format!("unix:{}", site.folder.join("site.sock").display());
        assert_eq!(site.start(&["serve", "--listen", &place]).concat(), place);
        let first = process(&place);
        for _ in 0..2 {
            site.restarted();
        }
        site.first_has_ended();
        let last = process(&place);
        assert_ne!(last, first);
        stop(&site, &last);
        assert!(!site.folder.join("site.sock").exists(), "the last one removes it");
    }

    fn inherited_sockets_are_handed_on() {
        let mut site = Site::new();
        let path = site.folder.join("handed.sock");
        let (tcp, unix) = (TcpListener::bind("127.0.0.1:0").unwrap(), UnixListener::bind(&path).unwrap());
        let place = format!("http://{}", tcp.local_addr().unwrap());
        // As systemd hands them over: from 3 on, with their names, and the variables say for which process.
        let mut command = Command::new("sh");
        let shell = "exec 3<&0 4>&1 >&2 </dev/null; exec 1>out; export LISTEN_FDS=2 LISTEN_FDNAMES=web:local LISTEN_PID=$$; exec \"$0\" --listen inherited";
        let own = site.command(&[]);
        command.args(["-c", shell]).arg(&site.program).current_dir(&site.folder);
        command.env_remove("CARGO_MANIFEST_DIR");
        command.envs(own.get_envs().filter_map(|(name, value)| Some((name, value?))));
        command.stdin(OwnedFd::from(tcp.try_clone().unwrap())).stdout(OwnedFd::from(unix.try_clone().unwrap()));
        let log = std::fs::File::create(site.folder.join("log")).unwrap();
        site.child = Some(command.stderr(log).spawn().unwrap());
        let out = || std::fs::read_to_string(site.folder.join("out")).unwrap_or_default();
        let both = format!("{place}, unix:{}", path.display());
        eventually("it serves", || out().contains(&both));
        let first = process(&place);
        let output = site.command(&["restart", "--listen", "inherited"]).output().unwrap();
        assert!(output.status.success(), "{} {}", text(&output.stderr), site.log());
        assert_eq!(out().matches(&both).count(), 2);
        let second = process(&place);
        assert_ne!(second, first);
        assert_eq!(process(&format!("unix:{}", path.display())), second);
        site.first_has_ended();
        // Whoever opened them has them still: what comes now waits for the next start.
        let mut waiting = TcpStream::connect(address(&place)).unwrap();
        ask(&mut waiting, "/").unwrap();
        stop(&site, &second);
        assert!(path.exists());
        TcpStream::connect(address(&place)).unwrap();
    }

    fn a_runtime_for_each_core_hands_over_all_its_sockets() {
        let mut site = Site::new();
        site.configure("listen = '127.0.0.1:0'\nruntime = 'per-core'");
        let place = site.start(&[]).remove(0);
        site.restarted();
        site.first_has_ended();
        let cores = std::thread::available_parallelism().unwrap().get();
        // Were a socket of the old process left over, the kernel would give it its share of these.
        let second = process(&place);
        for _ in 0..20 * cores {
            assert_eq!(process(&place), second);
        }
        // And into one for all.
        site.configure("listen = '127.0.0.1:0'\nruntime = 'shared'");
        site.restarted();
        let last = process(&place);
        for _ in 0..20 * cores {
            assert_eq!(process(&place), last);
        }
        // And back, where there is one socket only.
        site.configure("listen = '127.0.0.1:0'\nruntime = 'per-core'");
        site.restarted();
        has_ended(&last);
        stop(&site, &process(&place));
    }

    fn several_processes_are_replaced_together() {
        let mut site = Site::new();
        site.configure("listen = '127.0.0.1:0'\nprocesses = 2");
        let own = site.program.clone();
        site.program = site.folder.join("site");
        std::fs::copy(&own, &site.program).unwrap();
        let place = site.start(&[]).remove(0);
        let parent = site.first();
        let children = || (0..50).map(|_| process(&place)).collect::<BTreeSet<String>>();
        let first = children();
        assert!(!first.contains(&parent), "the parent answers nothing itself");

        site.fails("error");
        let output = site.restart();
        assert!(!output.status.success());
        let told = text(&output.stderr);
        assert!(told.contains("exited with status 1") && told.contains("the teapot is empty"), "{told}");
        assert!(children().is_subset(&first));

        // Between the new executable and the restart, one that crashes is replaced by what it was.
        site.fails("");
        std::fs::copy(&own, site.folder.join("new")).unwrap();
        std::fs::rename(site.folder.join("new"), &site.program).unwrap();
        let crashed = process(&place);
        site.signal("KILL", &crashed);
        has_ended(&crashed);
        eventually("another one is there", || !children().is_subset(&first));
        let before = children();

        let told = site.restarted();
        site.first_has_ended();
        let after = children();
        assert!(after.is_disjoint(&before) && after.is_disjoint(&first), "{before:?} {after:?}");
        let parent = told.split(' ').nth(2).unwrap();
        stop(&site, parent);
        assert!(TcpStream::connect(address(&place)).is_err(), "the port is free");
    }

    #[cfg(feature = "tls")]
    fn by_tls_it_is_replaced_and_the_next_has_the_next_certificate() {
        if Command::new("openssl").arg("version").output().is_err() {
            return println!("LEFT OUT: openssl is not installed");
        }
        for processes in [1, 2] {
            let mut site = Site::new();
            let tls = "[server.tls]\ncertificate = 'cert.pem'\nkey = 'key.pem'\nlook_every = '1h'";
            site.configure(&format!("listen = '127.0.0.1:0'\nprocesses = {processes}\n{tls}"));
            let folder = site.folder.clone();
            let openssl = |words: &str, asked: &str| {
                let mut command = Command::new("openssl");
                command.current_dir(&folder).args(words.split(' ')).stdin(Stdio::piped());
                let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
                child.stdin.as_mut().unwrap().write_all(asked.as_bytes()).unwrap();
                let output = child.wait_with_output().unwrap();
                (output.status.success(), text(&output.stdout), text(&output.stderr))
            };
            let make = || {
                let new = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 1 -subj /CN=localhost -addext \
                           subjectAltName=DNS:localhost -keyout key.pem -out cert.pem";
                let (made, _, error) = openssl(&new.split_whitespace().collect::<Vec<_>>().join(" "), "");
                assert!(made, "{error}");
            };
            // Whoever has no other certificate than the one that lies there now answers.
            let process = |place: &str| {
                let at = place.strip_prefix("https://").unwrap_or_else(|| panic!("{place}"));
                let words = format!("s_client -quiet -verify_return_error -CAfile cert.pem -connect {at}");
                let (_, answer, error) = openssl(&words, "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
                answer.rsplit("\r\n").next().filter(|process| !process.is_empty()).ok_or(error).map(str::to_owned)
            };
            make();
            let place = site.start(&[]).remove(0);
            let before = process(&place).unwrap();
            let health =
                site.command(&["health", "--listen", place.strip_prefix("https://").unwrap()]).output().unwrap();
            assert_eq!((text(&health.stdout).as_str(), text(&health.stderr).as_str()), ("healthy: 200\n", ""));

            make();
            let error = process(&place).unwrap_err();
            assert!(error.contains("verify error"), "{error}");
            let told = site.restarted();
            site.first_has_ended();
            assert_ne!(process(&place).unwrap(), before);
            stop(&site, told.split(' ').nth(2).unwrap());
        }
    }

    /// A small one of what `.ci/faults` does with more.
    fn no_request_is_lost_meanwhile() {
        for processes in [1, 2] {
            no_request_is_lost_by(processes);
        }
    }

    fn no_request_is_lost_by(processes: usize) {
        let mut site = Site::new();
        site.configure(&format!("listen = '127.0.0.1:0'\nprocesses = {processes}"));
        let place = site.start(&[]).remove(0);
        let over = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        let clients: Vec<_> = (0..4)
            .map(|client| {
                let (over, address) = (over.clone(), address(&place).to_owned());
                std::thread::spawn(move || {
                    let mut asked = 0;
                    let mut stream: Option<BufReader<TcpStream>> = None;
                    while !over.load(Ordering::Relaxed) {
                        // Half of them keep their connection as long as they may.
                        let keep = client % 2 == 0;
                        let mut open =
                            stream.take().unwrap_or_else(|| BufReader::new(TcpStream::connect(&address).unwrap()));
                        let close = if keep { "" } else { "Connection: close\r\n" };
                        write!(open.get_mut(), "GET / HTTP/1.1\r\nHost: a\r\n{close}\r\n").unwrap();
                        let (mut line, mut length, mut last) = (String::new(), 0, !keep);
                        while line != "\r\n" {
                            line.clear();
                            assert_ne!(open.read_line(&mut line).unwrap(), 0, "no answer after {asked}");
                            last |= line.eq_ignore_ascii_case("connection: close\r\n");
                            if let Some(value) = line.strip_prefix("content-length: ") {
                                length = value.trim().parse().unwrap();
                            }
                        }
                        let mut body = vec![0; length];
                        open.read_exact(&mut body).unwrap();
                        asked += 1;
                        stream = (!last).then_some(open);
                    }
                    asked
                })
            })
            .collect();
        let mut told = String::new();
        for _ in 0..3 {
            told = site.restarted();
        }
        over.store(true, Ordering::Relaxed);
        let asked: u32 = clients.into_iter().map(|client| client.join().expect("every request is answered")).sum();
        assert!(asked > 100, "{asked}");
        stop(&site, told.split(' ').nth(2).unwrap());
    }

    fn the_control_socket_is_for_this_user_alone() {
        let mut site = Site::new();
        site.start(&[]);
        let folder = site.folder.join("purlin");
        let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
        eventually("it is there", || folder.read_dir().is_ok_and(|mut files| files.next().is_some()));
        let control = folder.read_dir().unwrap().next().unwrap().unwrap().path();
        assert_eq!((mode(&folder), mode(&control)), (0o700, 0o600));
        let mut stream = UnixStream::connect(&control).unwrap();
        stream.write_all(b"rm -rf /").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert_eq!(answer, "failed expected the line `restart`");
        // A second server of the same site has none, and serves.
        let mut second = site.command(&[]);
        let mut second = second.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(second.stderr.take().unwrap()).read_line(&mut line).unwrap();
        assert!(line.contains("no control socket") && line.contains("another server of this site"), "{line}");
        second.kill().unwrap();
        second.wait().unwrap();
        site.signal("TERM", &site.first());
        site.first_has_ended();
        assert!(!control.exists());
    }

    fn where_no_site_runs_there_is_none_to_restart() {
        let site = Site::new();
        let output = site.restart();
        assert_eq!(output.status.code(), Some(1));
        let told = text(&output.stderr);
        assert!(told.starts_with("error: no such site runs here: nobody listens at "), "{told}");
        // Whoever asks for it need not know the secret.
        let output = site.command(&["restart"]).env("PURLIN_ENV", "production").output().unwrap();
        assert!(text(&output.stderr).starts_with("error: no such site runs here"), "{}", text(&output.stderr));
        site.configure("control = 'none'");
        assert!(text(&site.restart().stderr).contains("the site has no control socket"));
    }

    fn systemd_is_told_how_it_is() {
        let mut site = Site::new();
        let path = site.folder.join("notify");
        let systemd = UnixDatagram::bind(&path).unwrap();
        systemd.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let heard = || {
            let mut bytes = [0; 4096];
            let length = systemd.recv(&mut bytes).expect("systemd is told something");
            text(&bytes[..length])
        };
        // What is not a word to the watchdog.
        let told = || std::iter::repeat_with(heard).find(|message| message != "WATCHDOG=1").unwrap();
        site.environment.push(("NOTIFY_SOCKET", path.display().to_string()));
        site.environment.push(("WATCHDOG_USEC", "400000".to_owned()));
        let place = site.start(&[]).remove(0);
        let status = format!("STATUS=serving {place} (test)");
        assert_eq!(told(), format!("READY=1\n{status}"));
        eventually("the watchdog is fed", || heard() == "WATCHDOG=1");
        let first = process(&place);

        site.fails("exit");
        assert!(!site.restart().status.success());
        let reloading = told();
        assert!(reloading.starts_with("RELOADING=1\n") && reloading.ends_with("\nSTATUS=restarting"), "{reloading}");
        assert_eq!(told(), format!("READY=1\n{status}; the last restart failed"));

        site.fails("");
        site.restarted();
        assert!(told().starts_with("RELOADING=1\n"));
        let second = process(&place);
        assert_ne!(second, first);
        assert_eq!(told(), format!("READY=1\nMAINPID={second}\n{status}"));
        site.first_has_ended();
        // The old one has said nothing of its end. Whatever comes now is of the new one.
        while systemd.set_nonblocking(true).is_ok() && systemd.recv(&mut [0; 4096]).is_ok() {}
        systemd.set_nonblocking(false).unwrap();
        eventually("the new one feeds the watchdog", || heard() == "WATCHDOG=1");
        site.signal("TERM", &second);
        assert_eq!(told(), "STOPPING=1\nSTATUS=draining");
        eventually("the site has ended", || TcpStream::connect(address(&place)).is_err());
    }

    #[cfg(feature = "deploy")]
    fn a_server_that_does_not_start_takes_the_others_along() {
        let site = Site::new();
        let file = "[app.main]\nuse = 'app:main'\n[app.files]\nuse = 'purlin:static'\nfolder = '${here}/config'\n\
            [server.main]\nlisten = '127.0.0.1:0'\n[server.files]\nlisten = '127.0.0.1:0'\napp = 'files'\n";
        std::fs::write(site.folder.join("site.toml"), file).unwrap();
        site.fails("error");
        let output = site.command(&["serve", "site.toml"]).output().unwrap();
        assert!(!output.status.success());
        assert!(text(&output.stderr).contains("the teapot is empty"), "{}", text(&output.stderr));
    }

    #[cfg(feature = "deploy")]
    fn the_servers_of_a_file_are_restarted_together() {
        let mut site = Site::new();
        let file = "[app.main]\nuse = 'app:main'\n[server.main]\nlisten = '127.0.0.1:0'\n\
            [server.admin]\nlisten = '127.0.0.1:0'\napp = 'main'\n";
        std::fs::write(site.folder.join("site.toml"), file).unwrap();
        let mut places = site.start(&["serve", "site.toml"]);
        places.extend(site.serving());
        let first = process(&places[0]);
        assert_eq!(process(&places[1]), first);
        site.restarted();
        site.serving();
        let second = process(&places[0]);
        assert_ne!(second, first);
        assert_eq!(process(&places[1]), second);
        site.first_has_ended();
        stop(&site, &second);
    }
}
