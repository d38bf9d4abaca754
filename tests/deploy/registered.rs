//! What is registered, with its options.

use purlin::deploy::{Deploy, Graph, Registry};
use purlin::{Config, Router, Stack};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

fn snake(name: &str) -> String {
    let mut snake = String::new();
    for (at, letter) in name.char_indices() {
        // `ETags` is one word.
        if letter.is_uppercase() && name[..at].ends_with(char::is_lowercase) {
            snake.push('_');
        }
        snake.extend(letter.to_lowercase());
    }
    snake
}

/// The layers that Purlin exports, each with the methods of its builder, as the sources have them.
fn layers() -> BTreeMap<String, BTreeSet<String>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/layers");
    let exported = fs::read_to_string(folder.join("mod.rs")).unwrap();
    let mut layers = BTreeMap::new();
    let mut feature = true;
    for line in exported.lines() {
        if let Some(name) = line.strip_prefix("#[cfg(feature = \"") {
            feature = match name.trim_end_matches("\")]") {
                "auth" => cfg!(feature = "auth"),
                "cache" => cfg!(feature = "cache"),
                "compression" => cfg!(feature = "compression"),
                "database" => cfg!(feature = "database"),
                "debugger" => cfg!(feature = "debugger"),
                "metrics" => cfg!(feature = "metrics"),
                "multipart" => cfg!(feature = "multipart"),
                "opentelemetry" => cfg!(feature = "opentelemetry"),
                // A feature of a later layer: the test is to be told of it.
                other => panic!("the feature {other} is unknown here"),
            };
            continue;
        }
        let here = std::mem::replace(&mut feature, true);
        let Some((module, names)) = line.strip_prefix("pub use ").and_then(|line| line.split_once("::")) else {
            continue;
        };
        let source = fs::read_to_string(folder.join(format!("{module}.rs"))).unwrap();
        for name in names.trim_matches(['{', '}', ';']).split(", ").map(|name| name.trim_matches(['{', '}', ';'])) {
            let is_layer = source.contains(&format!("Middleware for {name}"));
            if !here || !is_layer {
                continue;
            }
            let methods = source.lines().filter_map(|line| {
                let rest = line.strip_prefix("    pub fn ")?;
                let end = rest.find(['(', '<'])?;
                (rest.contains("self") || rest.ends_with('(') || rest.contains('<')).then(|| rest[..end].to_owned())
            });
            layers.insert(snake(name), methods.collect());
        }
    }
    layers
}

#[test]
fn each_built_in_layer_is_registered() {
    let registry = Registry::new();
    for layer in layers().keys() {
        let name = format!("purlin:{layer}");
        assert!(registry.factories().any(|factory| factory.name == name), "{name} is missing in src/deploy/builtin");
    }
}

/// Methods that take what only code has, or that make something else.
const IN_CODE: [(&str, &[&str]); 9] = [
    ("cors", &["origin_if"]),
    ("error_pages", &["templates", "on", "reporter", "redact"]),
    ("lint", &["call"]),
    ("page_cache", &["pages"]),
    // `rates` has them.
    ("rate_limit", &["also", "by", "exempt"]),
    ("sessions", &["clock"]),
    ("static_files", &["service"]),
    ("traces", &["redact"]),
    ("uploads", &["from_config"]),
];

#[test]
fn the_options_of_a_layer_are_the_methods_of_its_builder() {
    let registry = Registry::new();
    for (layer, mut methods) in layers() {
        let factory = registry.factories().find(|factory| factory.name == format!("purlin:{layer}")).unwrap();
        if factory.doc.starts_with("it takes ") {
            continue;
        }
        for (_, in_code) in IN_CODE.iter().filter(|(of, _)| *of == layer) {
            methods.retain(|method| !in_code.contains(&method.as_str()));
        }
        methods.remove("new");
        let mut options: BTreeSet<String> =
            factory.options.iter().flatten().map(|option| option.name.to_owned()).collect();
        // What `new` takes: it has no default.
        for (of, arguments) in [
            ("body_limit", "bytes"),
            ("cache_for", "time"),
            ("deadline", "limit"),
            ("error_documents", "path"),
            ("field_limit", "fields"),
            ("rate_limit", "rates"),
            ("sessions", "store"),
            ("sessions", "url"),
            ("static_files", "folder"),
            ("require", "role"),
            ("workers", "processes"),
        ] {
            if of == layer {
                assert!(options.remove(arguments), "{of} {arguments}");
            }
        }
        assert_eq!(options, methods, "{layer}");
    }
}

#[test]
fn each_option_has_its_documentation() {
    for factory in Registry::new().factories() {
        assert!(!factory.doc.is_empty(), "{}", factory.name);
        for option in factory.options.iter().flatten() {
            assert!(!option.doc.is_empty(), "{} {}", factory.name, option.name);
            assert!(
                !option.default.is_empty() || option.doc.contains("must be set"),
                "{} {}",
                factory.name,
                option.name
            );
        }
    }
}

/// A default that is written out makes the same layer as one that is left out.
#[test]
fn the_defaults_that_are_told_are_the_defaults() {
    let registry = Registry::new();
    let needed = |layer: &str| match layer {
        "purlin:body_limit" => "bytes = 1",
        "purlin:cache_for" => "time = '60s'",
        "purlin:cors" => "origin = ['https://app.example.org']",
        "purlin:deadline" => "limit = '1s'",
        "purlin:error_documents" => "path = '/errors'",
        "purlin:field_limit" => "fields = 1",
        "purlin:rate_limit" => {
            "rates = [{ requests = 10, period = '1s' }, { requests = 9, period = '1h', burst = 2, name = 'x' }]"
        }
        "purlin:static_files" => "folder = 'src'",
        "purlin:workers" => "processes = 1",
        _ => "",
    };
    let printed = |name: &str, options: &str| {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("site.toml");
        let text = format!("[layer.x]\nuse = '{name}'\n{}\n{options}", needed(name));
        let graph = Graph::from_toml(file, &text).unwrap_or_else(|error| panic!("{error}"));
        let deployment = Deploy::new(Registry::new()).config(Config::default()).graph(graph).unwrap();
        let layer = deployment.layer("x").unwrap_or_else(|error| panic!("{name}: {error}"));
        let mut stack = String::new();
        // A layer may need one that stands above it, and is printed all the same.
        if let Ok(site) = Stack::new().layer(layer).app(Router::new()).check() {
            stack =
                format!("{:?}", site.layers().iter().map(|layer| (&layer.name, &layer.options)).collect::<Vec<_>>());
        }
        stack
    };
    for factory in
        registry.factories().filter(|factory| factory.kind == "layer" && !factory.doc.starts_with("it takes "))
    {
        // These have no default but the configuration's.
        if ["purlin:postgres", "purlin:sqlite"].contains(&&*factory.name) {
            continue;
        }
        let plain = printed(&factory.name, "");
        for option in factory.options.iter().flatten() {
            // Some are told in words.
            let is_value = Graph::from_toml("x.toml", &format!("[defaults]\nx = {}", option.default)).is_ok();
            if option.default.is_empty() || !is_value {
                continue;
            }
            let name = &factory.name;
            assert_eq!(
                printed(name, &format!("{} = {}", option.name, option.default)),
                plain,
                "{name} {}",
                option.name
            );
        }
    }
}

#[test]
fn the_options_of_an_application_are_the_methods_of_its_builder() {
    let registry = Registry::new();
    for (name, file, in_code) in [
        ("purlin:cascade", "src/cascade.rs", &["new", "app", "app_named"][..]),
        #[cfg(feature = "proxy")]
        ("purlin:proxy", "src/proxy.rs", &[]),
    ] {
        let source = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap();
        let source = source.split("#[cfg(test)]").next().unwrap();
        let methods = source.lines().filter_map(|line| line.strip_prefix("    pub fn "));
        let methods = methods.filter_map(|rest| Some(&rest[..rest.find(['(', '<'])?]));
        let methods: BTreeSet<&str> = methods.filter(|method| !in_code.contains(method)).collect();
        let factory = registry.factories().find(|factory| factory.name == name).unwrap();
        let options: BTreeSet<&str> = factory.options.iter().flatten().map(|option| option.name).collect();
        assert_eq!(options, methods, "{name}");
    }
}

#[tokio::test]
async fn databases_and_the_stores_of_sessions_are_named_in_a_file() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("deploy/stores");
    fs::create_dir_all(folder.join("migrations")).unwrap();
    fs::write(folder.join("migrations/0001_notes.sql"), "create table notes (text text)").unwrap();
    let layer = |options: &str| {
        let text = format!("[app.main]\npipeline = ['x', 'app:end']\n[layer.x]\n{options}");
        let graph = Graph::from_toml(folder.join("site.toml"), &text).unwrap();
        let registry = Registry::new().app("app:end", |_: purlin::deploy::NoOptions, _| Ok(Router::new()));
        Deploy::new(registry).config(Config::default()).graph(graph).unwrap().app("main")
    };
    let in_cookies = layer("use = 'purlin:sessions'\nstore = 'cookie'\nurl = 'redis://localhost'").err().unwrap();
    assert!(in_cookies.to_string().contains("`url` is for sessions in a database"), "{in_cookies}");
    #[cfg(feature = "sqlite")]
    {
        layer("use = 'purlin:sqlite'\nmigrations = 'migrations'").unwrap();
        let none = layer("use = 'purlin:sqlite'\nmigrations = 'none'").err().unwrap();
        assert!(none.to_string().contains("there is no folder"), "{none}");
        let app = layer("use = 'purlin:sessions'\nstore = 'sqlite'\nurl = 'sqlite:data/sessions.db'").unwrap();
        purlin::testing::Client::new(app);
        assert!(folder.join("data").is_dir());
    }
    #[cfg(feature = "redis")]
    layer("use = 'purlin:sessions'\nstore = 'redis'\nurl = 'redis://localhost'").unwrap();
    #[cfg(feature = "postgres")]
    layer("use = 'purlin:sessions'\nstore = 'postgres'\nurl = 'postgres://localhost/x'").unwrap();
}

#[test]
#[cfg(debug_assertions)]
#[should_panic(expected = "`test:mark` has no option `wrod`: did you mean `word`?")]
fn an_option_that_a_layer_does_not_have_is_not_documented() {
    let _ = Registry::new().layer("test:mark", |mark: super::Mark, _| Ok(mark)).option("wrod", "", "the word");
}
