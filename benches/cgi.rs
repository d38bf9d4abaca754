//! What a program for each request costs, beside nginx with fcgiwrap; and a request to php-fpm, beside nginx.
//!
//! `cargo bench --bench cgi --no-default-features --features cgi`. Debian's nginx, fcgiwrap, php8.2-fpm and wrk are needed. The same
//! script and the same php-fpm are asked by both, over 8 connections, in interleaved rounds. CPU is that of the server (of nginx and
//! fcgiwrap together), without that of the script and of PHP, which do the same for both. Each body is compared before and after.

mod measure;

use measure::median;
use measure::servers::{body, cpu, family, free_port, listens, program, until, wrk};
use purlin::cgi::Cgi;
use purlin::fastcgi::FastCgi;
use purlin::{Router, Server, Stack};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

const ROUNDS: usize = 5;
const SECONDS: u32 = 3;
const CONNECTIONS: u32 = 8;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let Some(at) = arguments.iter().position(|argument| argument == "serve") {
        return serve(Path::new(&arguments[at + 1]), &arguments[at + 2]);
    }
    let missing = ["nginx", "fcgiwrap", "php-fpm8.2", "wrk"].into_iter().filter(|name| program(name).is_none());
    let missing: Vec<&str> = missing.collect();
    if !missing.is_empty() {
        println!("nothing measured: install {}", missing.join(", "));
        return;
    }
    let bench = Bench::start();
    // (what, port, path, whose CPU)
    let rows = [
        ("a shell script: Purlin, `Cgi`", bench.purlin_port, "/cgi/hello", &bench.purlin[..]),
        ("a shell script: nginx, fcgiwrap", bench.nginx_port, "/cgi/hello", &bench.wrapped[..]),
        ("php-fpm: Purlin, `FastCgi`", bench.purlin_port, "/php/hello.php", &bench.purlin[..]),
        ("php-fpm: nginx", bench.nginx_port, "/php/hello.php", &bench.nginx[..]),
        ("php-fpm, kept: Purlin", bench.purlin_port, "/kept/hello.php", &bench.purlin[..]),
        ("php-fpm, kept: nginx", bench.nginx_port, "/kept/hello.php", &bench.nginx[..]),
    ];
    let mut measured: Vec<Vec<(f64, f64)>> = vec![Vec::new(); rows.len()];
    for _ in 0..ROUNDS {
        for (row, (what, port, path, processes)) in rows.iter().enumerate() {
            assert_eq!(body(*port, path), "hello, world", "{what}");
            let before = cpu(processes);
            let requests = wrk(*port, path, CONNECTIONS, SECONDS);
            let used = cpu(processes) - before;
            assert_eq!(body(*port, path), "hello, world", "{what}");
            measured[row].push((requests / f64::from(SECONDS), used * 1e6 / requests));
        }
    }
    println!("{:<34}{:>12}{:>16}", "", "requests/s", "µs CPU each");
    for ((what, ..), rounds) in rows.iter().zip(&measured) {
        let middle = |of: fn(&(f64, f64)) -> f64| median(rounds.iter().map(of).collect());
        println!("{what:<34}{:>12.0}{:>16.0}", middle(|round| round.0), middle(|round| round.1));
    }
}

/// The site that is measured, in a process of its own.
fn serve(folder: &Path, port: &str) {
    let php = || FastCgi::at(&format!("unix:{}/fpm.sock", folder.display())).root(folder.join("php"));
    let routes =
        Router::new().mount("/cgi", Cgi::folder(folder.join("cgi"))).mount("/php", php()).mount("/kept", php().keep(8));
    let listen = format!("127.0.0.1:{port}").parse().expect("an address");
    let bound = Server::new().listen(listen).bind().expect("a free port");
    bound.run(|| async { Ok(Stack::new().app(routes)) }).expect("a server");
}

/// All that is asked, in a folder of its own; stopped at the end.
struct Bench {
    folder: PathBuf,
    children: Vec<Child>,
    purlin_port: u16,
    nginx_port: u16,
    purlin: Vec<u32>,
    nginx: Vec<u32>,
    wrapped: Vec<u32>,
}

impl Bench {
    fn start() -> Self {
        let folder = std::env::temp_dir().join(format!("purlin-bench-cgi-{}", std::process::id()));
        std::fs::create_dir_all(folder.join("cgi")).unwrap();
        std::fs::create_dir_all(folder.join("php")).unwrap();
        let at = folder.display();
        let script = "#!/bin/sh\nprintf 'Content-Type: text/plain; charset=utf-8\\r\\n\\r\\nhello, world'\n";
        std::fs::write(folder.join("cgi/hello"), script).unwrap();
        let mut executable = permissions(&folder.join("cgi/hello"));
        std::os::unix::fs::PermissionsExt::set_mode(&mut executable, 0o755);
        std::fs::set_permissions(folder.join("cgi/hello"), executable).unwrap();
        let page = "<?php header('Content-Type: text/plain; charset=utf-8'); echo 'hello, world';";
        std::fs::write(folder.join("php/hello.php"), page).unwrap();
        let fpm = format!(
            "[global]\nerror_log = {at}/fpm.log\ndaemonize = no\n[www]\nlisten = {at}/fpm.sock\nuser = root\npm = static\n\
             pm.max_children = 24\n"
        );
        std::fs::write(folder.join("fpm.conf"), fpm).unwrap();
        let (purlin_port, nginx_port) = (free_port(), free_port());
        let params = "fastcgi_param REQUEST_METHOD $request_method; fastcgi_param QUERY_STRING $query_string;\n\
             fastcgi_param CONTENT_TYPE $content_type; fastcgi_param CONTENT_LENGTH $content_length;\n\
             fastcgi_param SCRIPT_NAME $fastcgi_script_name; fastcgi_param REQUEST_URI $request_uri;\n\
             fastcgi_param DOCUMENT_ROOT $document_root; fastcgi_param SERVER_PROTOCOL $server_protocol;\n\
             fastcgi_param REQUEST_SCHEME $scheme; fastcgi_param GATEWAY_INTERFACE CGI/1.1;\n\
             fastcgi_param SERVER_SOFTWARE nginx; fastcgi_param REMOTE_ADDR $remote_addr;\n\
             fastcgi_param REMOTE_PORT $remote_port; fastcgi_param SERVER_ADDR $server_addr;\n\
             fastcgi_param SERVER_PORT $server_port; fastcgi_param SERVER_NAME $server_name;";
        let nginx = format!(
            "worker_processes 2;\nuser root;\ndaemon off;\npid {at}/nginx.pid;\nerror_log {at}/nginx.log;\n\
             events {{ worker_connections 256; }}\nhttp {{\naccess_log off;\nclient_body_temp_path {at}/b;\n\
             proxy_temp_path {at}/p;\nfastcgi_temp_path {at}/f;\nuwsgi_temp_path {at}/u;\nscgi_temp_path {at}/s;\n\
             upstream kept {{ server unix:{at}/fpm.sock; keepalive 8; }}\n\
             server {{ listen 127.0.0.1:{nginx_port};\n{params}\n\
             location /cgi/ {{ fastcgi_param SCRIPT_FILENAME {at}$fastcgi_script_name; fastcgi_pass unix:{at}/wrap.sock; {params} }}\n\
             location /php/ {{ fastcgi_param SCRIPT_FILENAME {at}$fastcgi_script_name; fastcgi_pass unix:{at}/fpm.sock; {params} }}\n\
             location /kept/ {{ fastcgi_param SCRIPT_FILENAME {at}/php/hello.php; fastcgi_pass kept; fastcgi_keep_conn on; {params} }}\n\
             }} }}\n"
        );
        std::fs::write(folder.join("nginx.conf"), nginx).unwrap();
        let start = |name: &str, arguments: &[&str]| {
            let mut command = Command::new(program(name).expect("looked for before"));
            command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            command.spawn().expect("a server")
        };
        let path = |name: &str| folder.join(name).display().to_string();
        let fpm = start("php-fpm8.2", &["-n", "-R", "-F", "-y", &path("fpm.conf")]);
        let wrap = start("fcgiwrap", &["-c", "8", "-s", &format!("unix:{}", path("wrap.sock"))]);
        let nginx = start("nginx", &["-c", &path("nginx.conf")]);
        let purlin = Command::new(std::env::current_exe().expect("this program"))
            .args(["serve", &at.to_string(), &purlin_port.to_string()])
            .spawn()
            .expect("a server");
        until("the servers listen", || {
            let sockets = ["fpm.sock", "wrap.sock"];
            listens(purlin_port) && listens(nginx_port) && sockets.iter().all(|name| folder.join(name).exists())
        });
        let with_children = |child: &Child| family(child.id());
        let (own, nginx_all) = (vec![purlin.id()], with_children(&nginx));
        let wrapped = nginx_all.iter().copied().chain(with_children(&wrap)).collect();
        Self {
            purlin: own,
            nginx: nginx_all,
            wrapped,
            children: vec![purlin, nginx, wrap, fpm],
            folder,
            purlin_port,
            nginx_port,
        }
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        for child in &mut self.children {
            // Their workers end with SIGTERM only.
            let _ = Command::new("kill").arg(child.id().to_string()).status();
            let _ = child.wait();
        }
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn permissions(path: &Path) -> std::fs::Permissions {
    std::fs::metadata(path).expect("written just now").permissions()
}
