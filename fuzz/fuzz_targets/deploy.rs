//! No file makes the readers or the loader panic; whatever is wrong has a place.
//!
//! `cargo fuzz run deploy corpus/deploy seeds/deploy` begins with what once broke it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use purlin::Config;
use purlin::deploy::{Deploy, Graph, NoOptions, Registry};
use purlin::{Router, get};
use std::cell::RefCell;

thread_local! {
    static CONFIG: RefCell<Config> = RefCell::new(Config::default());
}

fuzz_target!(|text: &str| {
    for name in ["/none/site.toml", "/none/site.ini"] {
        let graph = match Graph::from_text(name, text) {
            Ok(graph) => graph,
            Err(error) => {
                assert!(error.position().is_some(), "{error}");
                continue;
            }
        };
        assert_eq!(graph, graph.clone());
        let registry =
            Registry::new().app("app:hello", |_: NoOptions, _| Ok(Router::new().route("/", get(async || "hello"))));
        let config = CONFIG.with_borrow(Clone::clone);
        let deployment = Deploy::new(registry).config(config).graph(graph).expect("nothing is laid over it");
        if let Err(error) = deployment.check() {
            assert!(!error.to_string().is_empty());
        }
    }
});
