//! No configuration makes the loader panic, and what it says of a secret does not contain it.
#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use purlin::config::{Listen, Loader};
use std::collections::HashMap;

#[derive(Arbitrary, Debug)]
struct Input {
    toml: String,
    vars: Vec<(String, String)>,
    public: bool,
    listen: String,
}

fuzz_target!(|input: Input| {
    if let Ok(listen) = input.listen.parse::<Listen>() {
        assert_eq!(listen.to_string().parse(), Ok(listen));
    }
    let vars = input.vars.iter().filter(|(name, _)| !name.contains('\0'));
    let vars = vars.map(|(name, value)| (format!("PURLIN_{name}"), value));
    let environment = if input.public { "production" } else { "development" };
    match Loader::new().vars(vars).environment(environment).toml(&input.toml).load() {
        Ok(config) => {
            assert!(!config.server.listen.is_empty());
            assert!(config.secret.all().all(|secret| secret.expose().len() >= 32));
            let shown = config.values();
            assert!(shown.iter().all(|setting| setting.key != "secret" || setting.value == "•••"));
            if let Err(error) = config.app::<HashMap<String, String>>() {
                assert!(!error.to_string().is_empty());
            }
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
});
