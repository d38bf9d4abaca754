//! Reads a graph from PasteDeploy's dialect of INI.

use super::DeployError;
use super::graph::{Body, Graph, Kind, Link, Mount, Section, Table, Target, text_of};
use super::toml::{missing, no_options};
use crate::config::tree::{Kind as Shape, Node, Text};
use crate::nearest;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

/// The words before a section's colon, and what such a section makes.
const PREFIXES: [(&str, Kind); 9] = [
    ("app", Kind::App),
    ("application", Kind::App),
    ("composite", Kind::App),
    ("composit", Kind::App),
    ("pipeline", Kind::App),
    ("filter-app", Kind::App),
    ("filter", Kind::Layer),
    ("layer", Kind::Layer),
    ("server", Kind::Server),
];

/// Sections that others read from the same file: Python's logging, and the launcher's own.
const OF_OTHERS: [&str; 4] = ["loggers", "handlers", "formatters", "exe"];
const BEGINNINGS_OF_OTHERS: [&str; 3] = ["logger_", "handler_", "formatter_"];

/// The protocols by which a section names its factory itself.
const PROTOCOLS: [&str; 7] = [
    "paste.app_factory",
    "paste.composite_factory",
    "paste.composit_factory",
    "paste.filter_factory",
    "paste.filter_app_factory",
    "paste.server_factory",
    "paste.server_runner",
];

/// A section as it is written.
struct Written {
    head: Range<usize>,
    title: String,
    entries: Vec<(String, Node)>,
}

pub(super) fn read(path: &Path, text: &str) -> Result<Graph, DeployError> {
    let text = Arc::new(text_of(path, text));
    let mut defaults = Table::new();
    let mut found: Vec<(Kind, &'static str, String, Written)> = Vec::new();
    let mut names: BTreeSet<(Kind, String)> = BTreeSet::new();
    for written in lines(&text)? {
        if written.title == "DEFAULT" {
            defaults.extend(written.entries);
            continue;
        }
        let title = written.title.as_str();
        let (word, name) = title.split_once(':').map_or((title, "main"), |(word, name)| (word.trim_end(), name.trim()));
        let Some((word, kind)) = PREFIXES.into_iter().find(|(known, _)| *known == word) else {
            if OF_OTHERS.contains(&title) || BEGINNINGS_OF_OTHERS.iter().any(|start| title.starts_with(start)) {
                continue;
            }
            let hint = nearest::hint(word, PREFIXES.iter().map(|(word, _)| *word).chain(["DEFAULT"]));
            return Err(DeployError::of(&text, &written.head, format!("nothing is known of [{title}]: {hint}")));
        };
        let name = if name.is_empty() { "main" } else { name }.to_owned();
        if !names.insert((kind, name.clone())) {
            let problem = format!("a second {} named `{name}`: expected one", kind.noun());
            return Err(DeployError::of(&text, &written.head, problem));
        }
        found.push((kind, word, name, written));
    }
    let mut sections = BTreeMap::new();
    for (kind, word, name, written) in found {
        let section = section(kind, word, &name, written, &names, &text)?;
        sections.insert((kind, name), section);
    }
    Ok(Graph { path: path.to_owned(), defaults, sections })
}

fn section(
    kind: Kind,
    word: &str,
    name: &str,
    written: Written,
    names: &BTreeSet<(Kind, String)>,
    text: &Arc<Text>,
) -> Result<Section, DeployError> {
    let title = format!("[{}]", written.title);
    let head = Node {
        kind: Shape::Boolean(true),
        text: Arc::clone(text),
        key: written.head.clone(),
        span: written.head,
        secret: false,
    };
    let (mut globals, mut options, mut order) = (Table::new(), Table::new(), Vec::new());
    for (key, node) in written.entries {
        if let Some(key) = key.strip_prefix("set ") {
            globals.insert(key.trim().to_owned(), node);
        } else if let Some(key) = key.strip_prefix("get ") {
            let global = format!("${{global.{}}}", loose(&node));
            options.insert(key.trim().to_owned(), Node { kind: Shape::Loose(global), ..node });
        } else {
            order.push(key.clone());
            options.insert(key, node);
        }
    }
    let link = |node: &Node, kind: Kind, own: Option<&str>| Link::written(loose(node), node, kind, names, own);
    // What it lists are Python's packages, of which there are none.
    options.remove("require");
    let with = match (kind, options.remove("filter-with")) {
        (Kind::Server, _) | (_, None) => Vec::new(),
        (_, Some(node)) => vec![link(&node, Kind::Layer, None)?],
    };
    let app = (kind == Kind::Server).then(|| options.remove("app")).flatten();
    let app = app.map(|node| link(&node, Kind::App, None)).transpose()?;

    let body = if word == "pipeline" {
        let Some(node) = options.remove("pipeline") else {
            return Err(DeployError::at(&head, format!("{title} needs `pipeline`")));
        };
        let mut words = loose(&node).split_whitespace().rev();
        let Some(last) = words.next() else {
            return Err(DeployError::at(&node, format!("`pipeline` of {title} is empty")));
        };
        let app = Link::written(last, &node, Kind::App, names, None)?;
        let layers = words.rev().map(|word| Link::written(word, &node, Kind::Layer, names, None));
        Body::Pipeline(layers.collect::<Result<_, _>>()?, app)
    } else {
        let mut factory = options.remove("use");
        for protocol in PROTOCOLS {
            let Some(node) = options.remove(protocol) else { continue };
            if factory.is_some() {
                return Err(DeployError::at_key(&node, format!("{title} names a second factory: expected one")));
            }
            let call = Shape::Loose(format!("call:{}", loose(&node)));
            factory = Some(Node { kind: call, ..node });
        }
        let factory = match factory {
            Some(factory) => factory,
            None => return Err(DeployError::at(&head, missing(&["use"], &title, options.keys().map(String::as_str)))),
        };
        if word == "filter-app" {
            let Some(next) = options.remove("next") else {
                return Err(DeployError::at(&head, format!("{title} needs `next`")));
            };
            Body::Around(link(&factory, Kind::Layer, None)?, link(&next, Kind::App, None)?)
        } else {
            let used = link(&factory, kind, Some(name))?;
            match &used.target {
                // Of another kind they are names that nothing is registered as.
                _ if kind != Kind::App => Body::Use(used),
                Target::Factory(factory) if factory == "paste:urlmap" => {
                    let mut mounts = Vec::new();
                    for key in order {
                        let Some(node) = options.remove(&key) else { continue };
                        mounts.push(mount(&key, &node, names)?);
                    }
                    Body::Mount(mounts)
                }
                // Paste tries those whose keys begin with `app`, in the order of the keys.
                Target::Factory(factory) if factory == "paste:cascade" => {
                    if let Some(catch) = options.remove("catch") {
                        options.insert("passes".to_owned(), catch);
                    }
                    order.retain(|key| key.starts_with("app"));
                    order.sort_by(|a, b| numbered(a).cmp(&numbered(b)));
                    let apps = order.iter().filter_map(|key| options.remove(key));
                    Body::Cascade(apps.map(|node| link(&node, Kind::App, None)).collect::<Result<_, _>>()?)
                }
                _ => Body::Use(used),
            }
        }
    };
    if let Some((key, node)) = options.iter().next().filter(|_| !body.takes_options()) {
        return Err(DeployError::at_key(node, no_options(&title, key)));
    }
    Ok(Section { kind, name: name.to_owned(), head, body, with, globals, options, app })
}

/// `/path = app`, and `domain HOST /path = app`.
fn mount(key: &str, node: &Node, names: &BTreeSet<(Kind, String)>) -> Result<Mount, DeployError> {
    // Names of keys have no variables.
    let word = |word: &str| {
        let kind = Shape::Text(word.replace("${", "$${"));
        Node { kind, span: node.key.clone(), ..node.clone() }
    };
    let (host, path) = match key.strip_prefix("domain ") {
        Some(rest) => {
            let rest = rest.trim();
            let (host, path) = rest.split_once(char::is_whitespace).unwrap_or((rest, "/"));
            (Some(word(host)), word(path.trim()))
        }
        None => (None, word(key)),
    };
    Ok(Mount { host, path, app: Link::written(loose(node), node, Kind::App, names, None)? })
}

/// A key with the number at its end as a number: `app9` stands before `app10`.
fn numbered(key: &str) -> (&str, u64) {
    let name = key.trim_end_matches(|letter: char| letter.is_ascii_digit());
    (name, key[name.len()..].parse().unwrap_or(0))
}

/// Every value of an INI file is loose.
fn loose(node: &Node) -> &str {
    match &node.kind {
        Shape::Loose(text) => text,
        _ => "",
    }
}

/// The sections, with what of a value stands on more lines put together.
fn lines(text: &Arc<Text>) -> Result<Vec<Written>, DeployError> {
    let whole = text.text.as_str();
    let mut sections: Vec<Written> = Vec::new();
    // Where the key is, where the value begins, and where its last line ends.
    let mut open: Option<(String, Range<usize>, Range<usize>)> = None;
    // How far the last key is indented: what stands further in goes on with its value.
    let mut indented = 0;
    let mut at = if whole.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 };
    let close = |open: &mut Option<(String, Range<usize>, Range<usize>)>, sections: &mut Vec<Written>| {
        let Some((name, key, span)) = open.take() else { return Ok(()) };
        let Some(section) = sections.last_mut() else { return Ok(()) };
        let lines = whole[span.clone()].lines().map(str::trim);
        let value: Vec<&str> = lines.filter(|line| !is_comment(line)).collect();
        let node = Node { kind: Shape::Boolean(true), text: Arc::clone(text), key, span, secret: false };
        if section.entries.iter().any(|(other, _)| *other == name) {
            let problem = format!("the key `{name}` stands twice in [{}]", section.title);
            return Err(DeployError::at_key(&node, problem));
        }
        let value = braces(value.join("\n").trim(), &node)?;
        section.entries.push((name, Node { kind: Shape::Loose(value), ..node }));
        Ok(())
    };
    for line in whole[at..].split_inclusive('\n') {
        let start = at;
        at += line.len();
        let bare = line.trim_end();
        let inner = bare.trim_start();
        let indent = bare.len() - inner.len();
        if inner.is_empty() || is_comment(inner) {
            continue;
        }
        if indent > indented
            && let Some((_, _, span)) = &mut open
        {
            span.end = start + bare.len();
            continue;
        }
        close(&mut open, &mut sections)?;
        indented = indent;
        let (from, to) = (start + indent, start + bare.len());
        if let Some(rest) = inner.strip_prefix('[') {
            let Some(end) = rest.rfind(']') else {
                return Err(DeployError::of(text, &(from..to), "expected `]` at the end of the section's name"));
            };
            let title = rest[..end].trim().to_owned();
            if title.is_empty() {
                return Err(DeployError::of(text, &(from..to), "expected the name of a section, found nothing"));
            }
            if sections.iter().any(|section| section.title == title) {
                return Err(DeployError::of(text, &(from..to), format!("[{title}] stands twice")));
            }
            sections.push(Written { head: from..to, title, entries: Vec::new() });
            continue;
        }
        let Some(equals) = inner.find(['=', ':']) else {
            return Err(DeployError::of(text, &(from..to), "expected `key = value` or [section]"));
        };
        let key = inner[..equals].trim_end();
        if key.is_empty() {
            return Err(DeployError::of(text, &(from..to), "expected a key before `=`"));
        }
        if sections.is_empty() {
            return Err(DeployError::of(text, &(from..to), "expected a section before the first key"));
        }
        let value = inner[equals + 1..].trim_start();
        open = Some((key.to_owned(), from..from + key.len(), to - value.len()..to));
    }
    close(&mut open, &mut sections)?;
    Ok(sections)
}

fn is_comment(line: &str) -> bool {
    line.starts_with(['#', ';'])
}

/// `%(here)s` as `${here}`, `%%` as `%`, and what would be taken for a variable marked as none.
fn braces(value: &str, node: &Node) -> Result<String, DeployError> {
    let mut text = String::with_capacity(value.len());
    let mut rest = value;
    while let Some(at) = rest.find(['%', '$']) {
        text.push_str(&rest[..at]);
        rest = &rest[at..];
        if let Some(after) = rest.strip_prefix("${") {
            text.push_str("$${");
            rest = after;
        } else if let Some(after) = rest.strip_prefix('$') {
            text.push('$');
            rest = after;
        } else if let Some(after) = rest.strip_prefix("%%") {
            text.push('%');
            rest = after;
        } else if let Some((name, after)) = rest.strip_prefix("%(").and_then(|rest| rest.split_once(")s")) {
            let name = if name == "__file__" { "file" } else { name };
            if name.is_empty() || name.contains(['{', '}', '(', '\n']) {
                return Err(DeployError::at(node, format!("expected a name in `%(…)s`, found {name:?}")));
            }
            text.push_str(&format!("${{{name}}}"));
            rest = after;
        } else {
            return Err(DeployError::at(node, "expected `%(NAME)s`, or `%%` for a percent sign"));
        }
    }
    text.push_str(rest);
    Ok(text)
}
