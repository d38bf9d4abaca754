//! The few things that the tool reads in a TOML file: texts at the beginning of a line, below a section's heading.

/// The value of `key` in `[section]`, if it is a text in one line; for an inline table, the text that stands there.
///
/// No more of TOML is understood than people write in a `Cargo.toml` and a `config/*.toml`: one key a line.
pub(crate) fn value(text: &str, section: &str, key: &str) -> Option<String> {
    let (name, rest) = line(text, section, key)?;
    match (name, rest.strip_prefix(['"', '\''])) {
        (_, Some(quoted)) => quoted.split(['"', '\'']).next().map(str::to_owned),
        (_, None) => Some(rest.split('#').next()?.trim().to_owned()),
    }
}

/// Whether `[section]` has the key, or is the heading of a table of that name: `[dependencies.purlin]`.
pub(crate) fn has(text: &str, section: &str, key: &str) -> bool {
    line(text, section, key).is_some() || lines(text).any(|(heading, _)| heading == format!("{section}.{key}"))
}

fn line<'a>(text: &'a str, section: &str, key: &str) -> Option<(&'a str, &'a str)> {
    lines(text).filter(|(heading, _)| *heading == section).find_map(|(_, line)| {
        let (name, rest) = line.split_once('=')?;
        // `purlin.workspace = true`
        let name = name.trim();
        (name == key || name.split('.').next() == Some(key)).then_some((name, rest.trim()))
    })
}

/// Each line with the heading above it.
fn lines(text: &str) -> impl Iterator<Item = (&str, &str)> {
    let mut heading = "";
    text.lines().map(move |line| {
        let line = line.trim();
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.split(']').next()) {
            heading = name.trim();
        }
        (heading, line)
    })
}

#[cfg(test)]
mod tests {
    use super::{has, value};

    #[test]
    fn texts_are_found_below_their_heading() {
        let text = "name = \"no\"\n[package]\nname = \"my-site\" # it\n\n[dependencies]\n# purlin = \"0\"\n\
            serde = '1'\npurlin = { path = \"..\", features = [\"a\"] }\n[dependencies.tokio]\nversion = \"1\"\n";
        assert_eq!(value(text, "package", "name").as_deref(), Some("my-site"));
        assert_eq!(value(text, "dependencies", "serde").as_deref(), Some("1"));
        assert_eq!(value(text, "dependencies", "purlin").as_deref(), Some("{ path = \"..\", features = [\"a\"] }"));
        assert_eq!(value(text, "package", "version"), None);
        assert!(has(text, "dependencies", "purlin") && has(text, "dependencies", "tokio"));
        assert!(!has(text, "dev-dependencies", "purlin") && !has(text, "dependencies", "axum"));
        assert!(has("[dependencies]\npurlin.workspace = true", "dependencies", "purlin"));
    }
}
