//! What a configuration promises, and the whole message of whatever breaks it.

use super::loader::folder_with_files;
use super::*;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::{env, fs};

#[derive(Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
struct Wiki {
    title: String,
    pages: u8,
    #[serde(default)]
    api_key: Option<Secret>,
    #[serde(default)]
    mode: Option<Mode>,
    #[serde(default)]
    tags: Vec<String>,
}

#[derive(Debug, Deserialize, PartialEq)]
#[serde(rename_all = "lowercase")]
enum Mode {
    Open,
    Limited(u32),
}

const GOOD: &str = "5d41402abc4b2a76b9719d911017c592ae3f";

fn development(toml: &str) -> Loader {
    Loader::new().environment("development").toml(toml)
}

/// A folder that goes when it is dropped.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("purlin-config-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn with(self, file: &str, text: &str) -> Self {
        let path = self.0.join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
        self
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

#[test]
fn the_defaults_are_valid() {
    let config = Config::default();
    assert_eq!(config.environment, Environment::Test);
    assert_eq!(config.server.listen, ["127.0.0.1:8000".parse().unwrap()]);
    assert_eq!(config.server.max_header_bytes, 64 << 10);
    assert_eq!(config.body_limit, 2 << 20);
    assert_eq!(config.answer_within, Duration::from_secs(30));
    assert_eq!((config.https, config.errors.details, config.templates.reload), (false, true, true));
    assert_eq!(config.log.format, LogFormat::Text);
    assert_ne!(config.secret, Config::default().secret);

    let config = Loader::new().environment("production").var("PURLIN__SECRET", GOOD).load().unwrap();
    assert_eq!((config.https, config.errors.details, config.templates.reload), (true, false, false));
    assert_eq!(config.log.format, LogFormat::Json);
    assert_eq!(ServerConfig::default().listen, config.server.listen);
    assert_eq!(LogConfig::default().level, "info");
    assert!(!ErrorsConfig::default().details && !TemplatesConfig::default().reload);
    assert_eq!((ReportsConfig::default().keep, config.reports.folder.as_os_str().len()), (200, 0));
    assert_eq!((UploadsConfig::default().memory, config.uploads.max_parts), (64 << 10, 100));
    assert_eq!(config.uploads.temporary_folder(), env::temp_dir());
}

#[test]
fn the_page_of_the_module_names_every_key_and_its_default() {
    let page = include_str!("../config.rs");
    for (key, node) in defaults(&Environment::Production).leaves() {
        let row = if key == "secret" { "| `secret` | |".into() } else { format!("| `{key}` | `{}`", node.written()) };
        assert!(page.contains(&row), "{row}");
    }
}

#[test]
fn each_layer_stands_above_the_one_before() {
    let toml = "body_limit = '1 MiB'\nserver.drain = '1s'\n[app]\ntitle = 'Notes'\npages = 1";
    let config = development(toml).var("PURLIN__SERVER__DRAIN", "2s").var("PURLIN__APP__PAGES", "2").load().unwrap();
    assert_eq!(config.body_limit, 1 << 20);
    assert_eq!(config.server.drain, Duration::from_secs(2));
    assert!(config.server.http2);
    let wiki: Wiki = config.app().unwrap();
    assert_eq!((wiki.title.as_str(), wiki.pages), ("Notes", 2));
}

#[test]
fn a_variable_is_read_as_the_type_that_is_wanted() {
    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(rename_all = "camelCase")]
    struct All {
        plain: String,
        quoted: String,
        digits: String,
        #[serde(rename = "with-hyphen")]
        hyphen: i64,
        camel_case: f64,
        list: Vec<u16>,
        unit: Mode,
        carrying: Mode,
        nested: HashMap<String, bool>,
        nothing: Option<u8>,
        letter: char,
        date: String,
        #[serde(default)]
        later: bool,
    }
    let vars = [
        ("PURLIN__APP__PLAIN", "two words"),
        ("PURLIN__APP__QUOTED", "'true'"),
        ("PURLIN__APP__DIGITS", "0123"),
        ("PURLIN__APP__WITH_HYPHEN", "-1"),
        ("PURLIN__APP__CAMELCASE", "3"),
        ("PURLIN__APP__LIST", "[1, 2]"),
        ("PURLIN__APP__UNIT", "open"),
        ("PURLIN__APP__CARRYING", "{ limited = 3 }"),
        ("PURLIN__APP__NESTED__A", "true"),
        ("PURLIN__app__nested__b", "false"),
        ("PURLIN__APP__LETTER", "7"),
        ("PURLIN__APP__DATE", "1979-05-27"),
        ("PURLIN__APP__UNKNOWN", "is ignored by a type that does not deny it"),
        ("OTHER", "is none of ours"),
    ];
    let all: All = Loader::new().environment("test").vars(vars).load().unwrap().app().unwrap();
    assert_eq!(
        all,
        All {
            plain: "two words".into(),
            quoted: "true".into(),
            digits: "0123".into(),
            hyphen: -1,
            camel_case: 3.0,
            list: vec![1, 2],
            unit: Mode::Open,
            carrying: Mode::Limited(3),
            nested: HashMap::from([("a".into(), true), ("b".into(), false)]),
            nothing: None,
            letter: '7',
            date: "1979-05-27".into(),
            later: false,
        }
    );
}

#[test]
fn a_variable_can_hold_a_whole_table() {
    let config = development("server.drain = '1s'").var("PURLIN__SERVER", "{ http2 = false }").load().unwrap();
    assert!(!config.server.http2);
    assert_eq!(config.server.drain, Duration::from_secs(1));
}

#[test]
fn one_address_or_several() {
    let several = "['127.0.0.1:1', '[::1]:2', 'unix:/run/site.sock']";
    for (value, expected) in
        [("0.0.0.0:80", 1), ("unix:/run/site.sock", 1), ("'[::]:80'", 1), ("[::]:80", 1), (several, 3)]
    {
        let config = development("").var("PURLIN__SERVER__LISTEN", value).load().unwrap();
        assert_eq!(config.server.listen.len(), expected, "{value}");
    }
}

/// Each file with the message of the error, `config/development.toml:` left out; the site's own type is [`Wiki`].
const BROKEN_FILES: &[(&str, &str)] = &[
    ("[server]\nlisen = \"127.0.0.1:3000\"", r#"2:1: unknown key `server.lisen`: did you mean `server.listen`?
  |
2 | lisen = "127.0.0.1:3000"
  | ^^^^^"#),
    ("listen = \"127.0.0.1:3000\"", r#"1:1: unknown key `listen`: did you mean `server.listen`?
  |
1 | listen = "127.0.0.1:3000"
  | ^^^^^^"#),
    ("[servr]\nlisten = \"127.0.0.1:3000\"", "1:2: unknown key `servr`: did you mean `server`?
  |
1 | [servr]
  |  ^^^^^"),
    ("colour = 'red'", "1:1: unknown key `colour`: expected `secret`, `old_secrets`, `https`, `body_limit`, `answer_within`, `server`, `log`, `errors`, `reports`, `templates`, `uploads`, `app`; a site's own stand under [app]
  |
1 | colour = 'red'
  | ^^^^^^"),
    ("[log]\ncolour = 'red'", "2:1: unknown key `log.colour`: expected `level` or `format`
  |
2 | colour = 'red'
  | ^^^^^^"),
    ("[server]\ndrain = 30", r#"2:9: `server.drain`: expected a duration such as "500ms", "30s" or "2m", found `30`
  |
2 | drain = 30
  |         ^^"#),
    ("[server]\ndrain = \"soon\"", r#"2:9: `server.drain`: expected a duration such as "500ms", "30s" or "2m", found "soon"
  |
2 | drain = "soon"
  |         ^^^^^^"#),
    ("[server]\nheader_timeout = \"0s\"", r#"2:18: `server.header_timeout`: expected a duration above nought such as "500ms", "30s" or "2m", found "0s"
  |
2 | header_timeout = "0s"
  |                  ^^^^"#),
    ("[server]\nlisten = \"localhost:8000\"", r#"2:10: `server.listen`: expected an address such as "127.0.0.1:8000", "[::]:80" or "unix:/run/site.sock", or a list of these, found "localhost:8000"
  |
2 | listen = "localhost:8000"
  |          ^^^^^^^^^^^^^^^^"#),
    ("[server]\nlisten = [\"[::]:80\", 'x']", r#"2:22: `server.listen[1]`: expected an address such as "127.0.0.1:8000", "[::]:80" or "unix:/run/site.sock", found "x"
  |
2 | listen = ["[::]:80", 'x']
  |                      ^^^"#),
    ("[server]\nlisten = []", "2:10: `server.listen`: expected one address at least, found an empty list
  |
2 | listen = []
  |          ^^"),
    ("server = 5", "1:10: `server`: expected a table, found `5`
  |
1 | server = 5
  |          ^"),
    ("[server]\nhttp2 = 'yes'", r#"2:9: `server.http2`: expected true or false, found "yes"
  |
2 | http2 = 'yes'
  |         ^^^^^"#),
    ("[server]\nruntime = 'percore'", r#"2:11: `server.runtime`: expected "shared" or "per-core", found "percore": did you mean "per-core"?
  |
2 | runtime = 'percore'
  |           ^^^^^^^^^"#),
    ("[server]\nmax_header_bytes = 1024", r#"2:20: `server.max_header_bytes`: expected a number of bytes from "8 KiB" up, such as "64 KiB", found `1024`
  |
2 | max_header_bytes = 1024
  |                    ^^^^"#),
    ("[server]\nmax_connections = -1", "2:19: `server.max_connections`: expected a whole number from 1 up, found `-1`
  |
2 | max_connections = -1
  |                   ^^"),
    ("[log]\nlevel = 'inof'", r#"2:9: `log.level`: expected levels such as "info" or "warn,my_site=debug", found level "inof": did you mean `info`?
  |
2 | level = 'inof'
  |         ^^^^^^"#),
    ("[log]\nformat = 3", r#"2:10: `log.format`: expected "text" or "json", found `3`
  |
2 | format = 3
  |          ^"#),
    ("body_limit = '2 megs'", r#"1:14: `body_limit`: expected a number of bytes such as 65536, "64 KiB" or "2 MiB", found "2 megs"
  |
1 | body_limit = '2 megs'
  |              ^^^^^^^^"#),
    ("body_limit = 99999999999999999999", r#"1:14: `body_limit`: expected a number of bytes such as 65536, "64 KiB" or "2 MiB", found a number beyond 64 bits
  |
1 | body_limit = 99999999999999999999
  |              ^^^^^^^^^^^^^^^^^^^^"#),
    ("[uploads]\nmax_file_byte = 3", r#"2:1: unknown key `uploads.max_file_byte`: did you mean `uploads.max_file_bytes`?
  |
2 | max_file_byte = 3
  | ^^^^^^^^^^^^^"#),
    ("[uploads]\nmax_file_bytes = 0", r#"2:18: `uploads.max_file_bytes`: expected a number of bytes from 1 up, such as 65536 or "64 KiB", found `0`
  |
2 | max_file_bytes = 0
  |                  ^"#),
    ("[uploads]\nmax_header_bytes = '0 KiB'", r#"2:20: `uploads.max_header_bytes`: expected a number of bytes from 1 up, such as 65536 or "64 KiB", found "0 KiB"
  |
2 | max_header_bytes = '0 KiB'
  |                    ^^^^^^^"#),
    ("secret = 12345678", "1:10: `secret`: expected a string, found a whole number
  |
1 | secret = •••
  |          ^^^"),
    ("secret = 'short'", "1:10: `secret`: expected 32 bytes at least, found 5: make one with `openssl rand -hex 32`
  |
1 | secret = •••
  |          ^^^"),
    ("old_secrets = [\n  'hunter2hunter2',\n  7,\n]", "3:3: `old_secrets[1]`: expected a string, found a whole number
  |
3 | •••
  | ^^^"),
    ("old_secrets = [\n  'hunter2hunter2,\n]", "2:19: invalid literal string, expected `'`
  |
2 | •••
  | ^^^"),
    ("https = true\nhttps = false", "2:1: duplicate key
  |
2 | https = false
  | ^^^^^"),
    ("https = yes", "1:9: string values must be quoted
  |
1 | https = yes
  |         ^^^"),
    ("[log\nlevel = 'info'", "1:5: unclosed table, expected `]`
  |
1 | [log
  |     ^"),
    ("app = 3", "1:7: `app`: expected a table, found `3`
  |
1 | app = 3
  |       ^"),
    ("[app]\ntitel = 'x'\npages = 4", "2:1: unknown key `app.titel`: did you mean `app.title`?
  |
2 | titel = 'x'
  | ^^^^^"),
    ("[app]\ntitle = 'x'\npages = 400", "3:9: `app.pages`: expected a whole number from 0 to 255, found `400`
  |
3 | pages = 400
  |         ^^^"),
    ("[app]\ntitle = 'x'\npages = 40\n\ttags = ['é', 4]", "4:15: `app.tags[1]`: expected a string, found `4`
  |
4 |  tags = ['é', 4]
  |               ^"),
    ("[app]\ntitle = 'x'\npages = 40\nmode = 'opne'", r#"4:8: `app.mode`: expected "open" or "limited", found "opne": did you mean "open"?
  |
4 | mode = 'opne'
  |        ^^^^^^"#),
    ("[app]\ntitle = 'x'\npages = 40\nmode = { limited = 'x' }", r#"4:20: `app.mode.limited`: expected a whole number from 0 up, found "x"
  |
4 | mode = { limited = 'x' }
  |                    ^^^"#),
    ("[app]\ntitle = 'x'\npages = 40\napi_key = { a = 'hunter2' }", "4:11: `app.api_key`: expected a string, found a table
  |
4 | api_key = •••
  |           ^^^"),
    ("[app]\ndatabase = { password = 'hunter2', port = }", "2:43: invalid literal string, expected `'`
  |
2 | •••
  | ^^^"),
];

/// Each variable with the message of the error, its name left out.
const BROKEN_VARIABLES: &[(&str, &str, &str)] = &[
    ("PURLIN__SERVR__LISTEN", "x", "no setting has this name: did you mean PURLIN__SERVER__LISTEN?"),
    ("PURLIN__SERVER__LISEN", "x", "no setting has this name: did you mean PURLIN__SERVER__LISTEN?"),
    ("PURLIN__SERVER_LISTEN", "x", "no setting has this name: did you mean PURLIN__SERVER__LISTEN?"),
    ("PURLIN__LISTEN", "x", "no setting has this name: did you mean PURLIN__SERVER__LISTEN?"),
    ("PURLIN__COLOUR", "x", "no setting has this name: a site's own begin with PURLIN__APP__"),
    ("PURLIN__LOG__COLOUR", "x", "no setting has this name: expected PURLIN__LOG__LEVEL or PURLIN__LOG__FORMAT"),
    (
        "PURLIN__",
        "",
        r#"unknown key `""`: expected `secret`, `old_secrets`, `https`, `body_limit`, `answer_within`, `server`, `log`, `errors`, `reports`, `templates`, `uploads`, `app`; a site's own stand under [app]"#,
    ),
    ("PURLIN_SECRET", "x", "no setting has this name: did you mean PURLIN__SECRET?"),
    ("PURLIN_SERVER_LISTEN", "x", "no setting has this name: did you mean PURLIN__SERVER__LISTEN?"),
    ("PURLIN__SECRET__X", "x", "`secret`: expected a string, found a table"),
    (
        "PURLIN__SERVER__LISTEN",
        "8000",
        r#"`server.listen`: expected an address such as "127.0.0.1:8000", "[::]:80" or "unix:/run/site.sock", or a list of these, found `8000`"#,
    ),
    (
        "PURLIN__SERVER__LISTEN",
        "['[::]:80', 3]",
        r#"`server.listen[1]`: expected an address such as "127.0.0.1:8000", "[::]:80" or "unix:/run/site.sock", found `3`"#,
    ),
    ("PURLIN__SERVER__RUNTIME", "3", r#"`server.runtime`: expected "shared" or "per-core", found "3""#),
    ("PURLIN__SERVER", "eighty", r#"`server`: expected a table, found "eighty""#),
    ("PURLIN__SERVER", "{ lisen = '[::]:80' }", "unknown key `server.lisen`: did you mean `server.listen`?"),
    ("PURLIN__APP__PAGES", "many", r#"`app.pages`: expected a whole number from 0 to 255, found "many""#),
    ("PURLIN__APP__PAGS", "3", "no setting has this name: did you mean PURLIN__APP__PAGES?"),
    ("PURLIN__APP__MODE", "opne", r#"`app.mode`: expected "open" or "limited", found "opne": did you mean "open"?"#),
    ("PURLIN__APP__MODE__LIMITED", "x", r#"`app.mode.limited`: expected a whole number from 0 up, found "x""#),
];

#[test]
fn a_broken_file_is_answered_with_the_place_and_what_was_expected() {
    for (toml, expected) in BROKEN_FILES {
        let error = development(toml).load().and_then(|config| config.app::<Wiki>()).expect_err(toml).to_string();
        assert_eq!(plain(&error), format!("config/development.toml:{expected}"), "{toml}");
        assert_eq!(as_printed(&error), error);
    }
}

/// What `run` prints of a message.
fn as_printed(message: &str) -> String {
    crate::report::Redaction::new().text(message)
}

/// A message as it is without the keys that features bring.
fn plain(message: &str) -> String {
    let keys = ["`cache`, ", "`database`, ", "`sessions`, ", "`traces`, "];
    keys.iter().fold(message.to_owned(), |text, key| text.replace(key, ""))
}

#[test]
fn a_broken_variable_is_answered_with_its_name_and_what_was_expected() {
    for (name, value, expected) in BROKEN_VARIABLES {
        let loader = development("[app]\ntitle = 'Notes'\npages = 1").var(*name, *value);
        let error = loader.load().and_then(|config| config.app::<Wiki>()).expect_err(name).to_string();
        assert_eq!(plain(&error), format!("{name}: {expected}"));
        assert_eq!(as_printed(&error), error);
    }
}

#[test]
fn a_missing_setting_of_the_site_is_told_where_to_go() {
    let config = development("[app]\ntitle = 'Notes'").load().unwrap();
    assert_eq!(
        config.app::<Wiki>().unwrap_err().to_string(),
        "`app.pages` has no value: write `pages = …` under [app] in config/development.toml, or set PURLIN__APP__PAGES",
    );
}

#[test]
fn no_message_shows_a_secret() {
    for toml in [
        "secret = hunter2",
        "secret = 'hunter2",
        "secret = 'hunter2' 1",
        "sceret = 'hunter2'",
        "[log]\nsecret = 'hunter2'",
        "[app]\napi_kye = 'hunter2'",
        "secret = ['hunter2']",
        "secret = { hunter2 = 1 }",
        "secret = 'hunter2'",
        "old_secrets = 'hunter2'",
        "old_secrets = [\n'a', hunter2 ]",
        "old_secrets = [\n'a=', 'hunter2=', 7]",
        "[app]\ntitle = 'hunter2', password = 3",
        "[app]\ndatabase = { password = 'hunter2', port = }",
        "[app]\ndatabase = 'postgres://me:hunter2@host' 3",
        "[app.secrets]\nstripe = 'hunter2",
        "[app.secrets]\nstripe = 'hunter2' 3",
        "[app]\nprivate_pem = '''\nabc=\nhunter2=\u{1}\n'''",
        "[app]\ntitle = ''\npages = 1\napi_key = { hunter2 = 'hunter2' }",
        "[app]\ntitle = ''\npages = 1\napi_key = ['hunter2']",
    ] {
        let error = development(toml).load().and_then(|config| config.app::<Wiki>()).expect_err(toml);
        assert!(!format!("{error} {error:?}").contains("'hunter2"), "{toml}: {error}");
        assert!(!error.to_string().contains("hunter2="), "{toml}: {error}");
    }

    // A type which quotes what it refuses.
    #[derive(Debug)]
    struct Loud;
    impl<'de> Deserialize<'de> for Loud {
        fn deserialize<D: serde::Deserializer<'de>>(source: D) -> Result<Self, D::Error> {
            Err(serde::de::Error::custom(String::deserialize(source)?))
        }
    }
    let config = development("").var("PURLIN__APP__TOKEN", "hunter2").load().unwrap();
    let error = config.app::<HashMap<String, Loud>>().unwrap_err().to_string();
    assert_eq!(
        error,
        "PURLIN__APP__TOKEN: `app.token`: refused, for a reason that is not shown because it may quote the value",
    );
    assert_eq!(as_printed(&error), error);
}

#[test]
fn neither_debug_nor_the_values_show_a_secret() {
    let toml = format!(
        "secret = '{GOOD}'\nold_secrets = ['{GOOD}']\n[app]\nurl = 'https://me:{GOOD}@host'\nmail.password = '{GOOD}'"
    );
    let loader = development(&toml).var("PURLIN__APP__API_KEY", GOOD);
    assert!(!format!("{loader:?}").contains(GOOD));
    let config = loader.load().unwrap();
    let shown = format!("{config:?} {config:#?} {:?}", config.values());
    assert!(!shown.contains(GOOD), "{shown}");
    assert_eq!(config.secret.all().filter(|secret| secret.expose() == GOOD.as_bytes()).count(), 2);
}

#[test]
fn every_value_says_where_it_comes_from() {
    let config = development("body_limit = 7\n\n[app]\ntags = [\n  'a',\n  'b']")
        .var("PURLIN__LOG__LEVEL", "debug")
        .load()
        .unwrap();
    let mut lines: Vec<String> =
        config.values().iter().map(|v| format!("{} = {} ({})", v.key, v.value, v.source)).collect();
    lines.retain(|line| !["cache.", "database.", "sessions.", "traces."].iter().any(|table| line.starts_with(table)));
    assert_eq!(
        lines,
        [
            "environment = development (default)",
            "file = config/development.toml (default)",
            "answer_within = \"30s\" (default)",
            "app.tags = [ 'a', 'b'] (config/development.toml:4)",
            "body_limit = 7 (config/development.toml:1)",
            "errors.beyond_loopback = false (default)",
            "errors.details = true (default)",
            "https = false (default)",
            "log.format = \"text\" (default)",
            "log.level = debug (PURLIN__LOG__LEVEL)",
            "old_secrets = [] (default)",
            "reports.folder = \"\" (default)",
            "reports.keep = 200 (default)",
            "reports.mail.from = \"\" (default)",
            "reports.mail.server = \"\" (default)",
            "reports.mail.to = \"\" (default)",
            "reports.webhook.secret = \"\" (default)",
            "reports.webhook.url = \"\" (default)",
            "secret = ••• (generated)",
            "server.body_timeout = \"30s\" (default)",
            "server.control = \"\" (default)",
            "server.drain = \"8s\" (default)",
            "server.header_timeout = \"15s\" (default)",
            "server.http2 = true (default)",
            "server.idle_timeout = \"75s\" (default)",
            "server.listen = \"127.0.0.1:8000\" (default)",
            "server.max_connections = 8192 (default)",
            "server.max_header_bytes = \"64 KiB\" (default)",
            "server.max_headers = 100 (default)",
            "server.processes = 1 (default)",
            "server.restart_timeout = \"60s\" (default)",
            "server.runtime = \"shared\" (default)",
            "server.tls.certificate = \"\" (default)",
            "server.tls.handshake_timeout = \"10s\" (default)",
            "server.tls.key = \"\" (default)",
            "server.tls.look_every = \"60s\" (default)",
            "templates.reload = true (default)",
            "uploads.folder = \"\" (default)",
            "uploads.max_field_bytes = \"1 MiB\" (default)",
            "uploads.max_file_bytes = \"1 GiB\" (default)",
            "uploads.max_header_bytes = \"8 KiB\" (default)",
            "uploads.max_parts = 100 (default)",
            "uploads.memory = \"64 KiB\" (default)",
        ]
    );
}

#[cfg(feature = "database")]
#[test]
fn a_password_in_a_database_url_is_not_shown() {
    for url in ["postgres://me:hunter2@host/name", "postgres://host/name?user=me&password=hunter2"] {
        let config = development(&format!("database.url = '{url}'")).load().unwrap();
        assert_eq!(config.database.url.expose_str(), url);
        assert!(!format!("{config:?} {:?}", config.values()).contains("hunter2"));
        for broken in [format!("database.url = '{url}"), format!("database.url = '{url}'\nlog.level = 7")] {
            let error = development(&broken).load().unwrap_err();
            assert!(!format!("{error} {error:?}").contains("hunter2"), "{error}");
        }
    }
    let config = development("database.url = 'sqlite:data/site.db'").load().unwrap();
    assert!(config.values().iter().any(|setting| setting.value == "'sqlite:data/site.db'"));
}

#[cfg(feature = "database")]
#[test]
fn the_file_of_the_sessions_has_a_folder() {
    let folder = Folder::new();
    let config = |url: &str| {
        let toml = format!("sessions.url = '{url}'");
        Loader::new().environment("development").root(&folder.0).toml(toml).load().unwrap()
    };
    let file = config("sqlite:data/new/sessions.db").sessions_file().unwrap();
    assert_eq!(file, folder.0.join("data/new/sessions.db"));
    assert!(folder.0.join("data/new").is_dir() && !file.exists());
    assert_eq!(config("sqlite://s.db").sessions_file().unwrap(), folder.0.join("s.db"));
    for url in ["", "sqlite:", "redis://me:hunter2@host/0"] {
        let error = format!("{:#}", config(url).sessions_file().unwrap_err());
        assert!(
            error.contains("expected a file such as sqlite:data/sessions.db") && !error.contains("hunter2"),
            "{error}"
        );
    }
}

#[cfg(feature = "database")]
#[test]
fn a_database_is_migrated_in_development_and_temporary_in_tests() {
    for (environment, expected) in
        [("production", (false, false)), ("development", (true, false)), ("test", (true, true))]
    {
        let config = Loader::new().environment(environment).var("PURLIN__SECRET", GOOD).load().unwrap().database;
        assert_eq!((config.migrate_at_start, config.temporary), expected, "{environment}");
    }
}

#[test]
fn the_environment_picks_the_file() {
    let folder = Folder::new()
        .with("config/staging.toml", &format!("secret = '{GOOD}'\nbody_limit = 1"))
        .with("config/test.toml", "body_limit = 2");
    let load = |name: &str| Loader::new().root(&folder.0).var("PURLIN_ENV", name).load();

    let staging = load("staging").unwrap();
    assert_eq!((staging.body_limit, staging.environment.is_public()), (1, true));
    assert_eq!(staging.values()[0].source, Source::Variable("PURLIN_ENV".into()));
    assert_eq!(load("test").unwrap().body_limit, 2);

    let development = load("development").unwrap();
    assert_eq!(development.body_limit, 2 << 20);
    let file = folder.0.join("config/development.toml");
    assert_eq!(development.values()[1].value, format!("{} (not there)", file.display()));

    for (name, expected) in [
        ("stagign", "expected an environment with a file in config/ (staging.toml, test.toml), found \"stagign\""),
        ("../staging", "expected a name of small letters, digits, `_` and `-`, found \"../staging\""),
    ] {
        assert_eq!(load(name).unwrap_err().to_string(), format!("PURLIN_ENV: {expected}"));
    }

    // What the tests are built in decides what no name means.
    let unnamed = if cfg!(debug_assertions) { Environment::Development } else { Environment::Production };
    assert_eq!(Environment::named("").unwrap(), unnamed);
}

#[test]
fn a_file_that_is_asked_for_has_to_be_there() {
    let folder = Folder::new().with("site.toml", "body_limit = 3");
    let load = |file: &str| Loader::new().environment("test").var("PURLIN_CONFIG", folder.0.join(file)).load();
    assert_eq!(load("site.toml").unwrap().body_limit, 3);
    let error = load("other.toml").unwrap_err();
    assert_eq!(error.to_string(), format!("cannot read the configuration {}", folder.0.join("other.toml").display()));
    assert!(std::error::Error::source(&error).is_some());
}

#[test]
fn a_file_that_is_not_utf8_is_named_with_the_line() {
    let folder = Folder::new();
    fs::write(folder.0.join("site.toml"), b"body_limit = 3\n# caf\xe9").unwrap();
    let file = folder.0.join("site.toml");
    let error = Loader::new().environment("test").var("PURLIN_CONFIG", &file).load().unwrap_err();
    let expected =
        format!("{}:2:6: expected a text in UTF-8, found another byte\n  |\n2 | •••\n  | ^^^", file.display());
    assert_eq!(error.to_string(), expected);
}

#[test]
fn the_folder_is_the_first_with_a_file() {
    let folder = Folder::new().with("config/mod.rs", "");
    let site = Folder::new().with("config/production.toml", "");
    let bare = Some(folder.0.clone());
    assert_eq!(folder_with_files([bare.clone(), Some(site.0.clone()), None]), site.0);
    assert_eq!(folder_with_files([None, bare.clone(), Some(site.0.clone())]), site.0);
    assert_eq!(folder_with_files([bare.clone(), None, None]), folder.0);
    assert_eq!(folder_with_files([None, None, None]), Path::new("."));
}

#[test]
fn there_is_no_start_without_a_secret_where_strangers_come() {
    for (name, secret) in [("production", None), ("production", Some("")), ("staging", None)] {
        let loader = Loader::new().environment(name);
        let loader = secret.into_iter().fold(loader, |loader, secret| loader.var("PURLIN__SECRET", secret));
        let expected = format!(
            "the {name} environment needs a secret to sign and encrypt with, and has none
  to try it here:  export PURLIN__SECRET=$(openssl rand -hex 32)
  to deploy:       run `openssl rand -hex 32` once, and keep its answer as PURLIN__SECRET where the server's
                   environment is set (EnvironmentFile= of systemd, --env-file of docker, your host's secrets)
  to develop:      with PURLIN_ENV=development the site makes its own
A new secret at every start would sign everybody out; one in version control would be no secret."
        );
        assert_eq!(loader.load().unwrap_err().to_string(), expected);
    }
}

#[test]
fn a_weak_secret_is_refused() {
    let load = |name: &str, secret: &str| Loader::new().environment(name).var("PURLIN__SECRET", secret).load();
    let known = "expected a random secret, found a well-known one: make one with `openssl rand -hex 32`";
    for secret in [
        "0123456789abcdef0123456789abcdef",
        "00000000000000000000000000000000",
        "please-Change-Me-please-change-me",
        "your-very-long-and-private-secret",
        "an example of a secret that is used",
    ] {
        let error = load("production", secret).expect_err(secret).to_string();
        assert_eq!(error, format!("PURLIN__SECRET: `secret`: {known}"));
        assert!(load("development", secret).is_ok());
    }
    let short = "PURLIN__SECRET: `secret`: expected 32 bytes at least, found 31: make one with `openssl rand -hex 32`";
    for name in ["production", "development"] {
        let error = load(name, &GOOD[..31]).unwrap_err().to_string();
        assert_eq!(error, short);
        assert_eq!(as_printed(&error), short);
        assert!(load(name, GOOD).is_ok());
    }
    for _ in 0..100 {
        assert!(load("production", secret::random().expose_str()).is_ok());
    }
}

#[test]
fn in_development_the_site_makes_its_own_secret_once() {
    let folder = Folder::new();
    let load = |name: &str| Loader::new().root(&folder.0).environment(name).load().unwrap();

    assert!(load("test").warnings.is_empty());
    assert!(!folder.0.join(".purlin").exists(), "nothing is written by a test");

    let first = load("development");
    assert_eq!(first.warnings, [""; 0]);
    assert_eq!(first.secret, load("development").secret);
    assert_eq!(fs::read_to_string(folder.0.join(".purlin/.gitignore")).unwrap(), "*\n");
    assert_eq!(fs::read_dir(folder.0.join(".purlin")).unwrap().count(), 2);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = fs::metadata(folder.0.join(".purlin/secret")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
    let values = first.values();
    let secret = values.iter().find(|setting| setting.key == "secret").unwrap();
    assert_eq!(secret.source, Source::File { path: folder.0.join(".purlin/secret"), line: 1 });

    fs::write(folder.0.join(".purlin/secret"), "short").unwrap();
    let broken = load("development");
    let path = folder.0.join(".purlin/secret");
    let ends = "using a secret that ends with this process, and the sessions with it";
    assert_eq!(broken.warnings, [format!("{} holds no secret of 32 bytes: delete it: {ends}", path.display())]);
    assert_ne!(broken.secret, load("development").secret);
}

#[test]
fn a_folder_that_cannot_be_written_is_a_warning() {
    let folder = Folder::new().with(".purlin", "a file");
    let config = Loader::new().root(&folder.0).environment("development").load().unwrap();
    let [warning] = &config.warnings[..] else { panic!("{:?}", config.warnings) };
    let start = format!("cannot keep a secret in {}: ", folder.0.join(".purlin/secret").display());
    assert!(warning.starts_with(&start), "{warning}");
    assert!(warning.ends_with(": using a secret that ends with this process, and the sessions with it"), "{warning}");
}

#[test]
fn a_variable_of_a_thousand_words_is_an_error_and_no_more() {
    let name = format!("PURLIN__APP__{}", "A__".repeat(1000));
    assert!(development("").var(name, "x").load().unwrap().app::<Wiki>().is_err());
}

#[test]
fn the_files_of_tls_are_in_the_sites_folder_and_there_may_be_more() {
    let toml = "[server.tls]\ncertificate = 'cert.pem'\nkey = '/etc/key.pem'\nredirect_from = ['[::]:80', '127.0.0.1:80']\n\
                [server.tls.more.shop]\ncertificate = 'shop.pem'\nkey = 'shop.key'";
    let config = development(toml).load().unwrap();
    let tls = &config.server.tls;
    assert_eq!((&tls.certificate, tls.key.to_str()), (&config.root.join("cert.pem"), Some("/etc/key.pem")));
    assert_eq!(tls.redirect_from.len(), 2);
    assert_eq!(tls.more["shop"].key, config.root.join("shop.key"));
    let error = development("[server.tls.more.shop]\ncertificate = 'shop.pem'\nkye = ''").load().unwrap_err();
    assert!(error.to_string().contains("kye"), "{error}");
}
