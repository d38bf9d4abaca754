//! What is a secret is used, and shown nowhere.

use super::registry;
use purlin::deploy::{Deploy, Deployment, Graph, Kind, Registry};
use purlin::{Config, Error};
use serde::Deserialize;

fn deployment(registry: Registry, text: &str) -> Deployment {
    let graph = Graph::from_toml("site.toml", text).unwrap();
    Deploy::new(registry).config(Config::default()).var("DB_PASSWORD", "hunter2").graph(graph).unwrap()
}

#[test]
fn values_are_shown_without_the_secrets_in_them() {
    for (what, option) in [
        ("a key that says so", "password = 'hunter2'"),
        ("one in a table", "database = { host = 'h', password = 'hunter2' }"),
        ("one in a list of tables", "databases = [{ password = 'hunter2' }]"),
        ("an address with a login", "url = 'postgres://me:hunter2@host/name'"),
        ("an address in a list", "urls = ['postgres://me:hunter2@host/name']"),
        ("a variable that says so", "dsn = 'pw=${env:DB_PASSWORD}'"),
        ("a variable of a variable", "dsn = 'pw=${other}'\nother = '${env:DB_PASSWORD}'"),
        ("one in a table", "database = { dsn = '${env:DB_PASSWORD}' }"),
        ("a global value", "globals = { password = 'hunter2' }\ndsn = '${password}'"),
        ("the default of one", "dsn = '${env:NO_PASSWORD:-hunter2}'"),
    ] {
        let deployment = deployment(registry(), &format!("[app.main]\nuse = 'test:any'\n{option}"));
        let values = deployment.values(Kind::App, "main").unwrap();
        let shown = format!("{values:?} {:?} {:?}", values.options(), values.globals());
        assert!(!shown.contains("hunter2"), "{what}: {shown}");
        assert!(shown.contains("•••"), "{what}: {shown}");
    }
}

#[test]
fn the_program_has_them() {
    #[derive(Deserialize)]
    struct Wiki {
        database: Database,
    }
    #[derive(Deserialize)]
    struct Database {
        url: String,
        password: String,
    }
    let deployment = deployment(
        registry(),
        "[app.main]\nuse = 'test:any'\ndatabase = { url = 'x://me:p@h/n', password = '${env:DB_PASSWORD}' }",
    );
    let values = deployment.values(Kind::App, "main").unwrap();
    let Database { url, password } = values.read::<Wiki>().unwrap().database;
    assert_eq!((url.as_str(), password.as_str()), ("x://me:p@h/n", "hunter2"));
    assert_eq!(values.option("database.password").as_deref(), Some("hunter2"));
}

#[test]
fn errors_do_not_quote_them() {
    let refused = Registry::new().app("test:refuses", |options: std::collections::BTreeMap<String, String>, _| {
        let found = options.into_values().next().unwrap_or_default();
        Err::<purlin::Router, _>(Error::internal(format!("expected something else, found {found:?}")))
    });
    let refused = deployment(refused, "[app.main]\nuse = 'test:refuses'\ndsn = 'pw=${env:DB_PASSWORD}'");
    let number = deployment(registry(), "[app.main]\nuse = 'test:told'\nnumber = '${env:DB_PASSWORD}'");
    for deployment in [refused, number] {
        let error = deployment.app("main").err().unwrap();
        let said = format!("{error} {error:?}");
        assert!(said.contains("site.toml:") && !said.contains("hunter2"), "{said}");
    }
}
