//! https by the server itself, asked by rustls, curl and openssl.

use crate::servers::{Folder, left_out, program};
use purlin::server::{Server, Tls};
use purlin::site::Stopping;
use purlin::{Request, RequestExt, Router, Service, Stack, get};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_rustls::client::TlsStream;

/// An authority, and what it has signed.
pub(crate) struct Authority {
    folder: Folder,
    openssl: PathBuf,
}

impl Authority {
    /// `None` where there is no openssl.
    pub(crate) fn new() -> Option<Self> {
        let Some(openssl) = program("openssl") else {
            left_out("the tests of TLS", "install openssl");
            return None;
        };
        let own = Self { folder: Folder::new(), openssl };
        own.make("-subj /CN=authority -keyout ca.key -out ca.pem -days 2");
        Some(own)
    }

    fn make(&self, words: &str) {
        let new = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
        let mut command = Command::new(&self.openssl);
        let made =
            command.current_dir(self.folder.path()).args(new.split(' ')).args(words.split(' ')).output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    }

    /// The files of a certificate for these names.
    pub(crate) fn sign(&self, file: &str, names: &[&str]) -> [PathBuf; 2] {
        let names: Vec<String> = names.iter().map(|name| format!("DNS:{name}")).collect();
        let names = names.join(",");
        self.make(&format!(
            "-subj /CN={file} -days 1 -addext subjectAltName={names} -addext basicConstraints=critical,CA:FALSE -CA ca.pem -CAkey \
             ca.key -keyout {file}.key -out {file}.pem"
        ));
        [self.path(&format!("{file}.pem")), self.path(&format!("{file}.key"))]
    }

    fn tls(&self, file: &str, names: &[&str]) -> Tls {
        let [certificate, key] = self.sign(file, names);
        Tls::new(certificate, key)
    }

    pub(crate) fn path(&self, file: &str) -> PathBuf {
        self.folder.path().join(file)
    }

    fn certificate(&self, file: &str) -> CertificateDer<'static> {
        CertificateDer::from_pem_file(self.path(&format!("{file}.pem"))).unwrap()
    }

    /// A client that trusts it.
    pub(crate) fn client(&self, alpn: &[&str]) -> tokio_rustls::TlsConnector {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(self.certificate("ca")).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config =
            rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let mut config = config.with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        tokio_rustls::TlsConnector::from(Arc::new(config))
    }

    pub(crate) async fn connect(&self, address: SocketAddr, name: &str) -> TlsStream<TcpStream> {
        let io = TcpStream::connect(address).await.unwrap();
        self.client(&[]).connect(ServerName::try_from(name.to_owned()).unwrap(), io).await.unwrap()
    }

    /// The certificate that is shown for a name, whether it is for that or not.
    pub(crate) async fn shown(&self, address: SocketAddr, name: Option<&str>) -> String {
        let mut command = tokio::process::Command::new(&self.openssl);
        command.args(["s_client", "-connect", &address.to_string()]);
        match name {
            Some(name) => command.args(["-servername", name]),
            None => command.arg("-noservername"),
        };
        let said = command.stdin(std::process::Stdio::null()).output().await.unwrap();
        let said = String::from_utf8_lossy(&said.stdout).into_owned();
        said.lines().find_map(|line| line.strip_prefix("subject=CN = ")).unwrap_or(&said).to_owned()
    }
}

struct Site {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    served: JoinHandle<purlin::Result<()>>,
}

impl Site {
    fn start(server: Server, app: impl Service + 'static) -> Self {
        let bound = server.listen("127.0.0.1:0".parse().unwrap()).bind().unwrap();
        let address = bound.addresses()[0].to_string().parse().unwrap();
        let (stop, stopped) = oneshot::channel();
        let served = tokio::spawn(bound.serve(app, async {
            let _ = stopped.await;
        }));
        Self { address, stop, served }
    }

    async fn stop(self) {
        self.stop.send(()).unwrap();
        self.served.await.unwrap().unwrap();
    }
}

fn app() -> impl Service + 'static {
    async fn how(req: Request) -> String {
        format!("{:?} https={}", req.version(), req.is_https())
    }
    Stack::new().app(Router::new().route("/", get(how)))
}

pub(crate) async fn ask(io: &mut (impl AsyncRead + AsyncWrite + Unpin), path: &str) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nhost: site.test\r\n\r\n");
    io.write_all(request.as_bytes()).await.unwrap();
    answer(io).await
}

/// The next answer, whose body has a length.
async fn answer(io: &mut (impl AsyncRead + Unpin)) -> String {
    let mut seen = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&seen).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length =
                head.lines().find_map(|line| line.strip_prefix("content-length: ")).map_or(0, |n| n.parse().unwrap());
            if body.len() >= length {
                return text;
            }
        }
        let mut bytes = [0; 4096];
        let read = io.read(&mut bytes).await.unwrap();
        assert!(read > 0, "it ended after {text:?}");
        seen.extend_from_slice(&bytes[..read]);
    }
}

async fn rest(io: &mut (impl AsyncRead + Unpin)) -> String {
    let mut seen = Vec::new();
    let _ = io.read_to_end(&mut seen).await;
    String::from_utf8_lossy(&seen).into_owned()
}

#[tokio::test]
async fn a_request_comes_by_tls_and_knows_it() {
    let Some(authority) = Authority::new() else { return };
    let site = Site::start(Server::new().tls(authority.tls("site", &["site.test"])), app());
    let mut client = authority.connect(site.address, "site.test").await;
    for _ in 0..3 {
        let answer = ask(&mut client, "/").await;
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("HTTP/1.1 https=true"), "{answer}");
    }
    // Two that come together.
    client
        .write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\nGET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
        .await
        .unwrap();
    assert_eq!(rest(&mut client).await.matches("https=true").count(), 2);
    // A name that the certificate is not for is the client's affair, which refuses it.
    let io = TcpStream::connect(site.address).await.unwrap();
    let refused = authority.client(&[]).connect(ServerName::try_from("other.test").unwrap(), io).await.unwrap_err();
    assert!(refused.to_string().contains("other.test"), "{refused}");
    site.stop().await;
}

#[tokio::test]
async fn the_version_is_chosen_by_alpn() {
    let Some(authority) = Authority::new() else { return };
    let tls = authority.tls("site", &["site.test"]);
    let both = cfg!(feature = "http2");
    type Row = (bool, &'static [&'static str], Result<Option<&'static str>, ()>);
    let table: &[Row] = &[
        (true, &["h2", "http/1.1"], Ok(Some(if both { "h2" } else { "http/1.1" }))),
        (true, &["http/1.1"], Ok(Some("http/1.1"))),
        (true, &["http/1.1", "h2"], Ok(Some(if both { "h2" } else { "http/1.1" }))),
        (true, &[], Ok(None)),
        (false, &["h2", "http/1.1"], Ok(Some("http/1.1"))),
        (false, &["h2"], Err(())),
        (true, &["spdy/3"], Err(())),
    ];
    for (http2, offers, expected) in table {
        let site = Site::start(Server::new().tls(tls.clone()).http2(*http2), app());
        let io = TcpStream::connect(site.address).await.unwrap();
        let connected = authority.client(offers).connect(ServerName::try_from("site.test").unwrap(), io).await;
        let chosen = connected
            .map_err(drop)
            .map(|io| io.get_ref().1.alpn_protocol().map(|name| String::from_utf8(name.to_vec()).unwrap()));
        assert_eq!(chosen.as_ref().map(Option::as_deref).map_err(|_| ()), *expected, "{offers:?}");
        site.stop().await;
    }
}

#[tokio::test]
async fn curl_and_openssl_speak_with_it() {
    let Some(authority) = Authority::new() else { return };
    let site = Site::start(Server::new().tls(authority.tls("site", &["site.test"])), app());
    let port = site.address.port();
    if let Some(curl) = program("curl") {
        let ca = authority.path("ca.pem");
        for (version, expected) in
            [("--http1.1", "HTTP/1.1"), ("--http2", if cfg!(feature = "http2") { "HTTP/2.0" } else { "HTTP/1.1" })]
        {
            let mut command = tokio::process::Command::new(&curl);
            command.args(["--silent", "--show-error", version, "--cacert"]).arg(&ca);
            command.args(["--resolve", &format!("site.test:{port}:127.0.0.1"), &format!("https://site.test:{port}/")]);
            let said = command.output().await.unwrap();
            let (body, error) = (String::from_utf8_lossy(&said.stdout), String::from_utf8_lossy(&said.stderr));
            assert_eq!(body, format!("{expected} https=true"), "{error}");
        }
    }
    for (version, expected) in [("-tls1_3", true), ("-tls1_2", true), ("-tls1_1", false)] {
        let mut command = tokio::process::Command::new(&authority.openssl);
        command.args([
            "s_client",
            "-brief",
            version,
            "-cipher",
            "DEFAULT@SECLEVEL=0",
            "-connect",
            &site.address.to_string(),
        ]);
        let said = command.stdin(std::process::Stdio::null()).output().await.unwrap();
        let said = String::from_utf8_lossy(&said.stderr);
        assert_eq!(said.contains("CONNECTION ESTABLISHED"), expected, "{version}: {said}");
    }
    site.stop().await;
}

#[tokio::test]
async fn of_several_certificates_the_one_for_the_name_is_shown() {
    let Some(authority) = Authority::new() else { return };
    let [shop, shop_key] = authority.sign("shop", &["shop.test", "*.shop.test"]);
    let tls = authority.tls("site", &["site.test"]).also(shop, shop_key);
    let site = Site::start(Server::new().tls(tls), app());
    let table = [
        (Some("site.test"), "site"),
        (Some("shop.test"), "shop"),
        (Some("SHOP.test"), "shop"),
        (Some("de.shop.test"), "shop"),
        (Some("a.de.shop.test"), "site"),
        (Some("other.test"), "site"),
        (None, "site"),
    ];
    for (name, expected) in table {
        assert_eq!(authority.shown(site.address, name).await, expected, "{name:?}");
    }
    site.stop().await;
}

/// What is logged by this thread.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<String>>);

impl<S: purlin::tracing::Subscriber> tracing_subscriber::Layer<S> for Log {
    fn on_event(&self, event: &purlin::tracing::Event<'_>, _: tracing_subscriber::layer::Context<'_, S>) {
        struct Fields<'a>(&'a mut String);
        impl purlin::tracing::field::Visit for Fields<'_> {
            fn record_debug(&mut self, field: &purlin::tracing::field::Field, value: &dyn std::fmt::Debug) {
                use std::fmt::Write;
                let _ = write!(self.0, "{}={value:?} ", field.name());
            }
        }
        let mut all = self.0.lock().unwrap();
        event.record(&mut Fields(&mut all));
        all.push('\n');
    }
}

impl Log {
    fn here() -> (Self, purlin::tracing::subscriber::DefaultGuard) {
        use tracing_subscriber::layer::SubscriberExt;
        let log = Self::default();
        let guard = purlin::tracing::subscriber::set_default(tracing_subscriber::registry().with(log.clone()));
        (log, guard)
    }

    fn has(&self, words: &str) -> bool {
        self.0.lock().unwrap().contains(words)
    }

    /// Lets the runtime work until this was logged.
    async fn until(&self, words: &str) {
        for _ in 0..10_000 {
            if self.has(words) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        panic!("{words:?} was not logged: {}", self.0.lock().unwrap());
    }
}

#[tokio::test]
async fn a_new_certificate_is_used_and_one_that_cannot_be_is_not() {
    let Some(authority) = Authority::new() else { return };
    let (log, _guard) = Log::here();
    let tls = authority.tls("first", &["site.test"]).look_every(Duration::from_millis(2));
    let (certificate, key) = (authority.path("first.pem"), authority.path("first.key"));
    let site = Site::start(Server::new().tls(tls), app());
    let mut before = authority.connect(site.address, "site.test").await;
    assert_eq!(authority.shown(site.address, None).await, "first");

    authority.sign("second", &["site.test"]);
    // Half of it: the key is still that of the first.
    std::fs::copy(authority.path("second.pem"), &certificate).unwrap();
    log.until("is not that of the certificate").await;
    assert_eq!(authority.shown(site.address, None).await, "first");
    std::fs::copy(authority.path("second.key"), &key).unwrap();
    log.until("the certificates have changed, and are used").await;
    assert_eq!(authority.shown(site.address, None).await, "second");

    std::fs::write(&certificate, "nothing of the kind").unwrap();
    log.until("found none").await;
    assert_eq!(authority.shown(site.address, None).await, "second");
    std::fs::remove_file(&certificate).unwrap();
    log.until("reading the certificate").await;
    assert_eq!(authority.shown(site.address, None).await, "second");
    // What has been connected goes on.
    assert!(ask(&mut before, "/").await.ends_with("https=true"));
    site.stop().await;
}

#[tokio::test]
async fn what_cannot_be_used_is_told_before_the_server_starts() {
    let Some(authority) = Authority::new() else { return };
    let [first, first_key] = authority.sign("first", &["site.test"]);
    let [_, second_key] = authority.sign("second", &["site.test"]);
    let junk = authority.path("junk");
    std::fs::write(&junk, "junk").unwrap();
    let locked = authority.path("locked.key");
    let made = Command::new(&authority.openssl)
        .args(["pkcs8", "-topk8", "-passout", "pass:secret", "-in"])
        .args([&first_key, &PathBuf::from("-out"), &locked])
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let none = authority.path("none");
    let table = [
        (&first, &second_key, "second.key is not that of the certificate"),
        (&junk, &first_key, "junk: expected a certificate in PEM (-----BEGIN CERTIFICATE-----), found none"),
        (&first_key, &first_key, "expected a certificate in PEM"),
        (&first, &junk, "junk: expected a private key in PEM"),
        (&first, &locked, "without a password"),
        (&none, &first_key, "reading the certificate"),
        (&first, &none, "reading the key"),
    ];
    for (certificate, key, expected) in table {
        let error =
            Server::new().listen("127.0.0.1:0".parse().unwrap()).tls(Tls::new(certificate, key)).bind().unwrap_err();
        let error = format!("{error:#}");
        assert!(error.contains(expected), "{error}");
    }
}

#[tokio::test]
async fn what_was_probably_not_meant_is_warned_of() {
    let Some(authority) = Authority::new() else { return };
    let (log, _guard) = Log::here();
    let [certificate, key] = authority.sign("site", &["site.test"]);
    std::fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let load =
        || Server::new().listen("127.0.0.1:0".parse().unwrap()).tls(Tls::new(&certificate, &key)).bind().unwrap();
    load();
    assert!(!log.has("the certificate") && !log.has("everybody"), "{}", log.0.lock().unwrap());
    std::fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    load();
    assert!(log.has("everybody on this machine may read the key"));

    // It ended on a day of which we know.
    std::fs::write(authority.path("index"), "").unwrap();
    let words = "ca -batch -notext -md sha256 -startdate 20200101000000Z -enddate 20200131000000Z -config ca.cnf -cert ca.pem -keyfile ca.key -in \
         old.csr -out old.pem -subj /CN=old";
    std::fs::write(
        authority.path("ca.cnf"),
        "[ca]\ndefault_ca = own\n[own]\ndatabase = index\nnew_certs_dir = .\nrand_serial = yes\npolicy = any\nx509_extensions = more\n[any]\ncommonName = supplied\n\
         [more]\nbasicConstraints = CA:FALSE\n",
    )
    .unwrap();
    let run = |words: &str| {
        let mut command = Command::new(&authority.openssl);
        let made = command.current_dir(authority.folder.path()).args(words.split_whitespace()).output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    };
    run("req -new -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=old -keyout old.key -out old.csr");
    run(words);
    let old = Tls::new(authority.path("old.pem"), authority.path("old.key"));
    Server::new().listen("127.0.0.1:0".parse().unwrap()).tls(old).bind().unwrap();
    assert!(log.has("has ended on Fri, 31 Jan 2020 00:00:00 GMT: browsers refuse it"), "{}", log.0.lock().unwrap());
}

#[tokio::test]
async fn who_speaks_no_tls_is_told_so_and_garbage_is_not_answered() {
    let Some(authority) = Authority::new() else { return };
    let site = Site::start(Server::new().tls(authority.tls("site", &["site.test"])), app());
    for request in
        ["GET / HTTP/1.1\r\nhost: site.test\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "POST /x HTTP/1.0\r\n"]
    {
        let mut plain = TcpStream::connect(site.address).await.unwrap();
        plain.write_all(request.as_bytes()).await.unwrap();
        let said = rest(&mut plain).await;
        assert!(
            said.starts_with("HTTP/1.1 400 ")
                && said.ends_with("This port speaks TLS: ask for the same URL with https:// instead.\n"),
            "{said}"
        );
        let (head, body) = said.split_once("\r\n\r\n").unwrap();
        assert!(head.ends_with(&format!("content-length: {}", body.len())), "{head}");
    }
    for garbage in [&b"\0\0\0\0"[..], b"\x16\x03\x01\xff\xff garbage", b"\x80\x2e\x01\x00\x02", b"ssh-2.0\r\n"] {
        let mut client = TcpStream::connect(site.address).await.unwrap();
        client.write_all(garbage).await.unwrap();
        client.shutdown().await.unwrap();
        let said = rest(&mut client).await;
        assert!(!said.contains("HTTP"), "{said}");
    }
    // It serves on.
    assert!(ask(&mut authority.connect(site.address, "site.test").await, "/").await.contains("200"));
    site.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_handshake_that_takes_too_long_is_cut() {
    let Some(authority) = Authority::new() else { return };
    let tls = authority.tls("site", &["site.test"]).handshake_timeout(Duration::from_secs(5));
    for sent in [&b""[..], b"\x16\x03\x01\x02\x00\x01"] {
        let (mut client, io) = tokio::io::duplex(4096);
        let server = Server::new().tls(tls.clone());
        let served = tokio::spawn(async move { server.serve_connection(app(), io).await });
        client.write_all(sent).await.unwrap();
        let begun = tokio::time::Instant::now();
        assert_eq!(rest(&mut client).await, "");
        let took = begun.elapsed();
        assert!((5000..5100).contains(&took.as_millis()), "{took:?}");
        served.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn where_too_many_handshakes_are_under_way_the_oldest_gives_way() {
    let Some(authority) = Authority::new() else { return };
    let tls = authority.tls("site", &["site.test"]).max_handshakes(2);
    let site = Site::start(Server::new().tls(tls), app());
    let mut silent = Vec::new();
    for _ in 0..2 {
        silent.push(TcpStream::connect(site.address).await.unwrap());
    }
    let mut client = authority.connect(site.address, "site.test").await;
    assert_eq!(rest(&mut silent[0]).await, "");
    assert!(ask(&mut client, "/").await.contains("200"));
    // One place is free again: the second stays.
    let mut client = authority.connect(site.address, "site.test").await;
    assert!(ask(&mut client, "/").await.contains("200"));
    assert_eq!(silent[1].try_read(&mut [0]).unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
    drop(silent);
    site.stop().await;
}

#[tokio::test]
async fn the_drain_lets_requests_end_and_waits_for_no_handshake() {
    let Some(authority) = Authority::new() else { return };
    let (arrived, mut arrives) = tokio::sync::mpsc::channel(1);
    let slow = move |mut stopping: Stopping| {
        let arrived = arrived.clone();
        async move {
            let _ = arrived.send(()).await;
            stopping.wait().await;
            "done"
        }
    };
    let routes = Router::new().route("/slow", get(slow)).route("/", get(async || "page"));
    let site = Site::start(Server::new().tls(authority.tls("site", &["site.test"])), Stack::new().app(routes));
    let mut busy = authority.connect(site.address, "site.test").await;
    busy.write_all(b"GET /slow HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    arrives.recv().await.unwrap();
    let mut idle = authority.connect(site.address, "site.test").await;
    assert!(ask(&mut idle, "/").await.contains("200"));
    let mut silent = TcpStream::connect(site.address).await.unwrap();
    let begun = tokio::time::Instant::now();
    site.stop.send(()).unwrap();
    let said = rest(&mut busy).await;
    assert!(said.contains("connection: close") && said.ends_with("done"), "{said}");
    assert_eq!((rest(&mut idle).await, rest(&mut silent).await), (String::new(), String::new()));
    site.served.await.unwrap().unwrap();
    // Not the ten seconds of a handshake, nor the eight of the drain.
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_port_without_tls_sends_to_the_one_with_it() {
    let Some(authority) = Authority::new() else { return };
    let tls = authority.tls("site", &["site.test"]).redirect_from("127.0.0.1:0".parse().unwrap());
    // Both of port 0: the second of the addresses is the one that redirects.
    let bound = Server::new().listen("127.0.0.2:0".parse().unwrap()).tls(tls).bind().unwrap();
    let addresses: Vec<SocketAddr> =
        bound.addresses().iter().map(|address| address.to_string().parse().unwrap()).collect();
    let (stop, stopped) = oneshot::channel::<()>();
    let served = tokio::spawn(bound.serve(app(), async {
        let _ = stopped.await;
    }));
    let port = addresses[0].port();
    let mut plain = TcpStream::connect(addresses[1]).await.unwrap();
    for (host, path) in [("site.test", "/"), ("site.test:80", "/a%20b?c=d"), ("[::1]:8080", "/x")] {
        plain
            .write_all(format!("POST {path} HTTP/1.1\r\nhost: {host}\r\ncontent-length: 0\r\n\r\n").as_bytes())
            .await
            .unwrap();
        let said = answer(&mut plain).await;
        let name = host.rsplit_once(':').filter(|(name, _)| !name.ends_with(':')).map_or(host, |(name, _)| name);
        assert!(
            said.starts_with("HTTP/1.1 308 ") && said.contains(&format!("location: https://{name}:{port}{path}\r\n")),
            "{said}"
        );
    }
    assert!(ask(&mut authority.connect(addresses[0], "site.test").await, "/").await.contains("https=true"));
    drop(stop);
    served.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_take_its_answer_is_cut_here_too() {
    let Some(authority) = Authority::new() else { return };
    let tls = authority.tls("site", &["site.test"]);
    // More than TLS holds back, and less, which it takes at once and cannot pass on.
    for length in [1 << 20, 40_000] {
        let (client, io) = tokio::io::duplex(16 * 1024);
        let large = Stack::new().app(Router::new().route("/", get(move || std::future::ready("x".repeat(length)))));
        let server = Server::new().tls(tls.clone()).write_timeout(Duration::from_secs(7));
        let served = tokio::spawn(async move { server.serve_connection(large, io).await });
        let name = ServerName::try_from("site.test").unwrap();
        let mut client = authority.client(&[]).connect(name, client).await.unwrap();
        client.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
        client.flush().await.unwrap();
        let begun = tokio::time::Instant::now();
        let ended = tokio::time::timeout(Duration::from_secs(3600), served).await;
        ended.expect("it ends").unwrap().unwrap();
        let took = begun.elapsed();
        assert!((7000..7100).contains(&took.as_millis()), "{length}: {took:?}");
    }
}
