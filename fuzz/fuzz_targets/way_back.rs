//! What is taken for a way back stays on the host, for a browser, and also for whoever decodes it first.
#![no_main]

use libfuzzer_sys::fuzz_target;
use purlin::auth::local_path;
use url::Url;

fuzz_target!(|text: &str| {
    let Some(path) = local_path(text) else {
        return;
    };
    // A browser's own rules (WHATWG URL), from any page of the site.
    for base in ["https://site.example/", "http://site.example:8000/sign-in?next=/", "https://site.example/a/b/../c"] {
        let base = Url::parse(base).expect("a good address");
        let mut path = path.to_owned();
        // As it is, and after a proxy or a router has decoded it and resolved its dots.
        for _ in 0..4 {
            let there = base.join(&path).expect("a path is an address");
            assert_eq!(there.origin(), base.origin(), "{path:?}");
            assert!(!there.path().starts_with("//"), "{path:?}");
            let decoded = percent_encoding::percent_decode_str(&path).decode_utf8_lossy().into_owned();
            // What was a part of the path may look like a query or a fragment now, and ends there.
            path = decoded;
        }
    }
    assert!(path.parse::<purlin::Uri>().is_ok() || path.bytes().any(|byte| b"{}|^`[]%".contains(&byte)), "{path:?}");
});
