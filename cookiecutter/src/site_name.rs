//! Which names a site's package can bear.

/// Words of the language, edition 2024, those kept for later included (the Rust reference, "Keywords").
const KEYWORDS: &[&str] = &[
    "abstract", "as", "async", "await", "become", "box", "break", "const", "continue", "crate", "do", "dyn", "else",
    "enum", "extern", "false", "final", "fn", "for", "gen", "if", "impl", "in", "let", "loop", "macro", "match", "mod",
    "move", "mut", "override", "priv", "pub", "ref", "return", "self", "static", "struct", "super", "trait", "true",
    "try", "type", "typeof", "unsafe", "unsized", "use", "virtual", "where", "while", "yield",
];

/// Whether Rust keeps this word for itself.
pub(crate) fn is_keyword(word: &str) -> bool {
    KEYWORDS.contains(&word)
}

/// Whether `name` can be the name of a site's package and, with `_` for `-`, of its crate; the error says why not.
///
/// `hooks/pre_gen_project.py` holds the same rules for the cookiecutter tool.
pub(crate) fn check(name: &str) -> Result<(), String> {
    let Some(first) = name.chars().next() else {
        return Err("it is empty".to_owned());
    };
    let allowed = |c: &char| matches!(c, 'a'..='z' | '0'..='9' | '-' | '_');
    if let Some(c) = name.chars().find(|c| !allowed(c)) {
        let what = match c {
            ' ' => "a space".to_owned(),
            'A'..='Z' => format!("the capital letter {c}"),
            _ => format!("the character {c:?}"),
        };
        return Err(format!("it has {what} in it, and takes lower-case letters, digits, - and _"));
    }
    if !first.is_ascii_lowercase() {
        return Err(format!("it starts with {first}, not with a letter"));
    }
    if name.len() > 64 {
        return Err(format!("it has {} letters, and takes at most 64", name.len()));
    }
    let taken = match name.replace('-', "_").as_str() {
        word if is_keyword(word) => "is a word of the Rust language",
        "alloc" | "core" | "proc_macro" | "std" | "test" => "is a crate that comes with Rust",
        "build" | "deps" | "examples" | "incremental" => "is a folder in which cargo builds",
        "purlin" | "serde" => "is a crate that the site uses",
        "con" | "prn" | "aux" | "nul" => "is a device on Windows",
        port if port.len() == 4
            && (port.starts_with("com") || port.starts_with("lpt"))
            && port.ends_with(|digit| matches!(digit, '1'..='9')) =>
        {
            "is a device on Windows"
        }
        _ => return Ok(()),
    };
    Err(format!("that {taken}"))
}
