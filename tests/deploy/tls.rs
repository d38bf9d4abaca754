//! Servers of a file that speak https.

use super::registry;
use purlin::deploy::{Deploy, Deployment, Graph};
use purlin::{Config, Result};

fn deployment(file: &str, text: &str, config: Config) -> Result<Deployment> {
    Deploy::new(registry()).config(config).graph(Graph::from_text(file, text)?)
}

#[cfg(not(feature = "tls"))]
#[test]
fn without_the_feature_a_certificate_is_an_error_that_names_it() {
    for (option, named) in [
        ("certificate = 'a'\nkey = 'b'", "certificate"),
        ("look_every = '1s'", "look_every"),
        ("more.shop = { certificate = 'a', key = 'b' }", "more"),
    ] {
        let text = format!("[server.main]\n{option}\n[app.main]\nuse = 'test:told'");
        let error = deployment("site.toml", &text, Config::default()).unwrap().check().unwrap_err().to_string();
        let expected = format!(
            "site.toml:1:9: [server.main] cannot be made: `{named}` is set, and this build speaks no TLS: switch on Purlin's \
             feature `tls`"
        );
        assert!(error.starts_with(&expected), "{error}");
    }
    let plain = "[server.main]\ncertificate = ''\n[app.main]\nuse = 'test:told'";
    deployment("site.toml", plain, Config::default()).unwrap().check().unwrap();
}

#[cfg(all(feature = "tls", unix))]
mod with_the_feature {
    use super::{Deployment, deployment};
    use crate::tls::{Authority, ask};
    use purlin::config::Loader;
    use purlin::{Config, Result};
    use std::net::SocketAddr;
    use tokio::sync::oneshot;
    use tokio::task::JoinHandle;

    struct Serving {
        addresses: Vec<SocketAddr>,
        stop: oneshot::Sender<()>,
        served: JoinHandle<Result<()>>,
    }

    impl Serving {
        /// Serves the server `main`.
        fn start(deployment: &Deployment) -> Self {
            let servers = deployment.servers().unwrap_or_else(|error| panic!("{error}"));
            let (_, server, app) = servers.into_iter().find(|(name, ..)| name == "main").unwrap();
            let bound = server.bind().unwrap_or_else(|error| panic!("{error:#}"));
            let addresses = bound.addresses().iter().map(|address| address.to_string().parse().unwrap()).collect();
            let (stop, stopped) = oneshot::channel();
            let served = tokio::spawn(bound.serve(app, async {
                let _ = stopped.await;
            }));
            Self { addresses, stop, served }
        }

        async fn stop(self) {
            self.stop.send(()).unwrap();
            self.served.await.unwrap().unwrap();
        }
    }

    const TOML: &str = "
        [server.main]
        listen = '127.0.0.2:0'
        certificate = 'site.pem'
        key = 'site.key'
        look_every = '10ms'
        redirect_from = '127.0.0.1:0'
        more.shop = { certificate = 'shop.pem', key = 'shop.key' }
        [app.main]
        use = 'test:told'
        word = 'served'";

    const INI: &str = "[server:main]\nuse = egg:waitress#main\nlisten = 127.0.0.1:0\ncertificate = %(here)s/site.pem\n\
        key = site.key\n[app:main]\nuse = test:told\nword = served\n";

    fn development() -> Loader {
        Loader::new().environment("test")
    }

    #[tokio::test]
    async fn a_server_of_a_file_speaks_https() {
        let Some(authority) = Authority::new() else { return };
        authority.sign("site", &["site.test"]);
        authority.sign("shop", &["shop.test"]);
        for (name, text) in [("site.toml", TOML), ("site.ini", INI)] {
            // The files lie beside the one that names them.
            let file = authority.path(name).display().to_string();
            let deployment = deployment(&file, text, Config::default()).unwrap();
            deployment.check().unwrap_or_else(|error| panic!("{error}"));
            let serving = Serving::start(&deployment);
            let address = serving.addresses[0];
            let mut client = authority.connect(address, "site.test").await;
            let answer = ask(&mut client, "/").await;
            assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("word=served"), "{answer}");
            let http2 = if cfg!(feature = "http2") { "h2" } else { "http/1.1" };
            let io = tokio::net::TcpStream::connect(address).await.unwrap();
            let alpn = authority.client(&["h2", "http/1.1"]);
            let io = alpn.connect("site.test".try_into().unwrap(), io).await.unwrap();
            assert_eq!(io.get_ref().1.alpn_protocol(), Some(http2.as_bytes()));
            drop((client, io));
            if name == "site.toml" {
                assert_eq!(authority.shown(address, Some("shop.test")).await, "shop");
                assert_eq!(authority.shown(address, Some("other.test")).await, "site");
                let mut plain = tokio::net::TcpStream::connect(serving.addresses[1]).await.unwrap();
                let answer = ask(&mut plain, "/a?b").await;
                let there = format!("https://site.test:{}/a?b", address.port());
                assert!(answer.starts_with("HTTP/1.1 308") && answer.contains(&there), "{answer}");
                // A renewed certificate is used without a restart.
                authority.sign("again", &["site.test"]);
                for (from, to) in [("again.pem", "site.pem"), ("again.key", "site.key")] {
                    std::fs::rename(authority.path(from), authority.path(to)).unwrap();
                }
                let began = std::time::Instant::now();
                while authority.shown(address, Some("site.test")).await != "again" {
                    assert!(began.elapsed() < std::time::Duration::from_secs(20), "the new certificate is not used");
                }
            }
            serving.stop().await;
        }
    }

    #[tokio::test]
    async fn what_a_section_leaves_out_is_as_the_configuration_says() {
        let Some(authority) = Authority::new() else { return };
        let [certificate, key] = authority.sign("site", &["site.test"]);
        let [shop, shop_key] = authority.sign("shop", &["shop.test"]);
        authority.sign("own", &["own.test"]);
        let text = format!(
            "[server.tls]\ncertificate = {certificate:?}\nkey = {key:?}\n[server.tls.more.shop]\ncertificate = {shop:?}\n\
             key = {shop_key:?}"
        );
        let own = "certificate = 'own.pem'\nkey = 'own.key'";
        // What is shown for the name of the configuration's first certificate, and for that of its second.
        for (option, expected) in [
            ("", Some(["site", "shop"])),
            ("handshake_timeout = '5s'\nmax_handshakes = 10", Some(["site", "shop"])),
            (own, Some(["own", "shop"])),
            (&format!("{own}\nmore = {{}}"), Some(["own", "own"])),
            ("certificate = ''", None),
        ] {
            let file = authority.path("site.toml").display().to_string();
            let section = format!("[server.main]\nlisten = '127.0.0.1:0'\n{option}\n[app.main]\nuse = 'test:told'");
            let config = development().toml(&text).load().unwrap();
            let serving = Serving::start(&deployment(&file, &section, config).unwrap());
            let address = serving.addresses[0];
            match expected {
                Some(expected) => {
                    let shown = [Some("site.test"), Some("shop.test")].map(|name| authority.shown(address, name));
                    let [first, second] = shown;
                    assert_eq!([first.await, second.await], expected, "{option}");
                }
                None => {
                    let mut plain = tokio::net::TcpStream::connect(address).await.unwrap();
                    let answer = ask(&mut plain, "/").await;
                    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
                }
            }
            serving.stop().await;
        }
    }

    #[tokio::test]
    async fn ports_that_send_to_https_are_those_of_whoever_listens_there() {
        let Some(authority) = Authority::new() else { return };
        let [certificate, key] = authority.sign("site", &["site.test"]);
        let redirect = "redirect_from = ['127.0.0.1:0']";
        let text = format!("[server.tls]\ncertificate = {certificate:?}\nkey = {key:?}\n{redirect}");
        for (option, places) in [("", 1), (redirect, 2)] {
            let file = authority.path("site.toml").display().to_string();
            let section = format!("[server.main]\nlisten = '127.0.0.1:0'\n{option}\n[app.main]\nuse = 'test:told'");
            let config = development().toml(&text).load().unwrap();
            let serving = Serving::start(&deployment(&file, &section, config).unwrap());
            assert_eq!(serving.addresses.len(), places, "{option}");
            serving.stop().await;
        }
    }

    #[test]
    fn what_cannot_be_is_said_with_its_place() {
        let Some(authority) = Authority::new() else { return };
        authority.sign("site", &["site.test"]);
        let file = authority.path("site.toml").display().to_string();
        let nowhere = authority.path("none.pem").display().to_string();
        let pair = "certificate = 'site.pem'\nkey = 'site.key'\n";
        let made = |problem: &str| format!(":1:9: [server.main] cannot be made: {problem}");
        let table = [
            ("certificate = 'site.pem'", made("`certificate` is set, and `key` is not: expected both")),
            ("key = 'site.key'", made("`key` is set, and `certificate` is not: expected both")),
            ("certificate = 'site.pem'\nkey = ''", made("`certificate` is set, and `key` is not: expected both")),
            (
                "certificate = ''\nkey = 'site.key'",
                made("`certificate` is empty, which is for a server without TLS, and `key` is set"),
            ),
            (
                "look_every = '1s'",
                made("`look_every` is set, and there is no `certificate`, here or in `[server.tls]`"),
            ),
            (
                "redirect_from = '127.0.0.1:80'",
                made("`redirect_from` is set, and there is no `certificate`, here or in `[server.tls]`"),
            ),
            ("certificate = 'none.pem'\nkey = 'site.key'", made(&format!("`certificate`: there is no file {nowhere}"))),
            // What a key's file is called is not shown either.
            ("certificate = 'site.pem'\nkey = 'none.key'", made("`key`: there is no file ")),
            (
                &format!("{pair}more.shop = {{ certificate = 'none.pem', key = 'site.key' }}"),
                made("`more`: there is no file "),
            ),
            (
                &format!("{pair}more.shop = {{ certificate = 'site.pem' }}"),
                ":1:9: [server.main] needs `more.shop.key`, which is not set".to_owned(),
            ),
            (&format!("{pair}look_every = 'soon'"), ":4:14: `look_every` of [server.main]: expected ".to_owned()),
            (&format!("{pair}look_every = '0s'"), ":4:14: `look_every` of [server.main]: expected ".to_owned()),
            (&format!("{pair}max_handshakes = 0"), ":4:18: `max_handshakes` of [server.main]: expected ".to_owned()),
            (
                &format!("{pair}redirect_from = 'there'"),
                ":4:17: `redirect_from` of [server.main]: expected ".to_owned(),
            ),
            ("certificate = 1", ":2:15: `certificate` of [server.main]: expected ".to_owned()),
            (
                "certficate = 'site.pem'",
                ":2:1: `purlin:server`, used by [server.main], has no option `certficate`: did you mean `certificate`?"
                    .to_owned(),
            ),
        ];
        for (option, expected) in table {
            let text = format!("[server.main]\n{option}\n[app.main]\nuse = 'test:told'");
            let checked = deployment(&file, &text, Config::default()).and_then(|deployment| deployment.check());
            let error = checked.unwrap_err().to_string();
            let said = error.strip_prefix(&file).unwrap_or_else(|| panic!("{error}"));
            assert!(said.starts_with(&expected), "{option}\n{error}\nexpected {expected}");
        }
    }
}
