//! `purlin add`: writes a handler, a resource, a layer or a session store into a site, with its tests.

use super::Command;
use crate::change::Changes;
use crate::edit;
use crate::failure::Failure;
use crate::field::{self, Field, Kind};
use crate::nearest::nearest;
use crate::own_site::{Database, OwnSite};
use crate::scaffold::{self, Scaffolds};
use crate::screen::{Paint, say};
use crate::words::Name;
use lexopt::Arg;
use minijinja::value::Value;
use std::fs;
use std::process::ExitCode;

pub(crate) const COMMAND: Command = Command {
    name: "add",
    summary: "add a handler, a resource, a layer or a session store to a site",
    help: HELP,
    options: &["--dry-run", "--plural", "--help"],
    work: run,
};

const HELP: &str = "\
usage: purlin add WHAT NAME [FIELD:TYPE …] [OPTIONS]

Adds to the site around the current folder, with tests that pass. Every file is written, or none; what is there already is
not overwritten.

  handler NAME                 a page: its handler, template, route and test
  resource NAME FIELD:TYPE …   pages that list, show, make, change and delete; a migration where the site has a database
  layer NAME                   a layer of the site's own, and its line in src/stack.rs
  store NAME                   a place to keep sessions in, in the place of the one in src/stack.rs

The types of fields: text, longtext, email, integer, number, bool, date.

      --dry-run        print the changes as a patch, and write nothing
      --plural NAME    what several of a resource are called, where it is not the usual: people, for person
  -h, --help           this text

example:
  purlin add resource post title:text body:longtext published:bool
";

const WHAT: [&str; 4] = ["handler", "resource", "layer", "store"];
const ROUTES: &str = "src/routes.rs";
const STACK: &str = "src/stack.rs";
const HANDLERS: &str = "src/handlers/mod.rs";
const LIB: &str = "src/lib.rs";
const LAYOUT: &str = "templates/layout.html";
const TESTS: &str = "tests/site.rs";

/// Crates, which no module can hide.
const CRATES: &str = "alloc core purlin serde std tokio";

/// What the code of a layer, a store or a resource has other things for.
const TAKEN: &str = "
    about add all arc before capabilities change clone context copy default delete deserialize drop err error filled
    find form form_page handlers hash_map header_value id iterator kept layers middleware model models mutex mutex_guard
    none ok option path poison_error problem problems record redirect request response result routes row rules save
    saved send serialize service session sessions some state store store_error stores string submitted sync token tx url
    urls values vec view";

/// What the tests of a layer have other things for.
const TAKEN_BY_TESTS: &str = "client router";

fn run(command: &Command, mut arguments: lexopt::Parser) -> Result<ExitCode, Failure> {
    let mut words = Vec::new();
    let mut dry_run = false;
    let mut plural = None;
    while let Some(argument) = arguments.next().map_err(Failure::arguments)? {
        match argument {
            Arg::Short('h') | Arg::Long("help") => return command.print_help(),
            Arg::Long("dry-run") => dry_run = true,
            Arg::Long("plural") => {
                plural = Some(arguments.value().map_err(Failure::arguments)?.to_string_lossy().into_owned());
            }
            Arg::Value(value) => words.push(value.to_string_lossy().into_owned()),
            other => return Err(command.unexpected(&other)),
        }
    }
    let (what, name, fields) = match words.as_slice() {
        [] => return Err(Failure::usage("add what?").remedy(format!("it is one of {}", WHAT.join(", ")))),
        [what, ..] if !WHAT.contains(&what.as_str()) => {
            let remedy = match nearest(what, WHAT) {
                Some(near) => format!("did you mean purlin add {near}?"),
                None => format!("it is one of {}", WHAT.join(", ")),
            };
            return Err(Failure::usage(format!("there is no `{what}` to add")).remedy(remedy));
        }
        [what] => {
            return Err(Failure::usage(format!("what is the {what} called? there is no NAME"))
                .remedy("purlin add --help has an example"));
        }
        [what, name, fields @ ..] => (what.as_str(), name.as_str(), fields),
    };
    if what != "resource" {
        if let Some(field) = fields.first() {
            return Err(Failure::usage(format!("a {what} has no fields, and `{field}` is one")));
        }
        if plural.is_some() {
            return Err(Failure::usage("--plural is for a resource"));
        }
    }
    let cannot_be = |text: &str, reason: &str| Failure::usage(format!("a {what} cannot be called `{text}`: {reason}"));
    let parsed = |text: &str| Name::parse(text).map_err(|reason| cannot_be(text, &reason));
    let words = match what {
        "handler" => CRATES.to_owned(),
        "layer" => format!("{CRATES} {TAKEN} {TAKEN_BY_TESTS}"),
        _ => format!("{CRATES} {TAKEN}"),
    };
    let taken = |name: &Name| match words.split_whitespace().any(|taken| taken == name.snake()) {
        true => Err(cannot_be(&name.kebab(), "the code around it has something of that name")),
        false => Ok(()),
    };
    let named = parsed(name)?;
    taken(&named)?;
    let site = OwnSite::find();
    let added = match what {
        "resource" => {
            let fields = field::parse(fields)?;
            let several = match &plural {
                Some(plural) => parsed(plural)?,
                None => {
                    if let Some(one) = named.singular() {
                        let reason = "that looks like several, and it is named by one";
                        return Err(cannot_be(name, reason).remedy(format!(
                            "did you mean {}? else say what several are called: --plural {}",
                            one.kebab(),
                            named.kebab()
                        )));
                    }
                    named.plural()
                }
            };
            taken(&several)?;
            if several == named {
                return Err(cannot_be(name, "one and several are called the same").remedy("--plural says another word"));
            }
            if field::is_sql(&several.snake()) {
                return Err(cannot_be(name, &format!("its table would be called {}, a word of SQL", several.snake())));
            }
            resource(&site?, &named, &several, &fields)?
        }
        "handler" => handler(&site?, &named)?,
        "layer" => layer(&site?, &named)?,
        _ => store(&site?, &named)?,
    };
    if dry_run {
        say(&added.changes.diff())?;
        return Ok(ExitCode::SUCCESS);
    }
    added.changes.write()?;
    let paint = Paint::stdout();
    let mut text = format!("{} {what} {}\n{}\nnext:\n", paint.green("added"), named.kebab(), added.changes.summary());
    for (command, about) in &added.next {
        text.push_str(&format!("  {}  {about}\n", paint.bold(command)));
    }
    say(&text)?;
    Ok(ExitCode::SUCCESS)
}

/// What is to be written, and what to do then: commands with what they do.
struct Added {
    changes: Changes,
    next: Vec<(String, String)>,
}

fn next(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    let width = pairs.iter().map(|(command, _)| command.chars().count()).max().unwrap_or(0);
    pairs.iter().map(|(command, about)| (format!("{command:width$}"), (*about).to_owned())).collect()
}

fn handler(site: &OwnSite, name: &Name) -> Result<Added, Failure> {
    let path = format!("/{}", name.kebab());
    let scaffolds = Scaffolds::new(Value::from_pairs([
        ("name", name.value()),
        ("path", Value::from(&*path)),
        ("crate_name", Value::from(&*site.crate_name)),
    ]))?;
    let snake = name.snake();
    let mut changes = Changes::of(&site.root);
    changes.create(format!("src/handlers/{snake}.rs"), scaffolds.render(scaffold::HANDLER)?)?;
    changes.create(format!("templates/{snake}.html"), scaffolds.render(scaffold::HANDLER_PAGE)?)?;
    module(&mut changes, HANDLERS, &snake)?;
    let route = format!(".route(\"{path}\", get({snake}::show).name(\"{}\"))", name.kebab());
    routes(&mut changes, &snake, &["get"], &[(path.clone(), name.kebab())], &route)?;
    let test = scaffolds.render(scaffold::HANDLER_TEST)?;
    // Beside the other tests, which are one program; or in a file of its own, where those have been moved.
    let has_site = site.read(TESTS)?.is_some_and(|tests| tests.contains("\nfn site() -> Client {"));
    if has_site {
        changes.edit(TESTS, |text| {
            let name = format!("async fn the_page_{snake}_is_there()");
            if text.contains(&name) {
                return Err(taken_in(TESTS, &name));
            }
            Ok(format!("{}\n\n{test}", text.trim_end()))
        })?;
    } else {
        changes.create(format!("tests/{snake}.rs"), scaffolds.render(scaffold::HANDLER_TESTS)? + &test)?;
    }
    link(&mut changes, name)?;
    let about = format!("and look at http://127.0.0.1:8000{path}");
    Ok(Added { changes, next: next(&[("cargo test", "runs its test, with the others"), ("cargo run", &about)]) })
}

fn layer(site: &OwnSite, name: &Name) -> Result<Added, Failure> {
    let scaffolds = Scaffolds::new(Value::from_pairs([("name", name.value())]))?;
    let (snake, pascal) = (name.snake(), name.pascal());
    let mut changes = Changes::of(&site.root);
    changes.create(format!("src/layers/{snake}.rs"), scaffolds.render(scaffold::LAYER)?)?;
    own_module(site, &mut changes, "layers", &snake, &scaffolds.render(scaffold::LAYERS)?)?;
    let line =
        format!(".layer({pascal}::new(\"yes\")) // a header on every answer from here inwards: x-{}", name.kebab());
    changes.edit(STACK, |text| {
        free_in(STACK, text, &pascal)?;
        let text = edit::with_import(text, &format!("crate::layers::{snake}"), &pascal);
        above(STACK, &text, "// your layers here", &line)
    })?;
    let next = next(&[
        ("cargo test", "runs its tests, with the others"),
        ("cargo run -- stack", "shows where it stands; move its line in src/stack.rs"),
    ]);
    Ok(Added { changes, next })
}

fn store(site: &OwnSite, name: &Name) -> Result<Added, Failure> {
    let scaffolds = Scaffolds::new(Value::from_pairs([("name", name.value())]))?;
    let (snake, pascal) = (name.snake(), name.pascal());
    let mut changes = Changes::of(&site.root);
    changes.create(format!("src/stores/{snake}.rs"), scaffolds.render(scaffold::STORE)?)?;
    own_module(site, &mut changes, "stores", &snake, &scaffolds.render(scaffold::STORES)?)?;
    changes.edit(STACK, |text| {
        free_in(STACK, text, &pascal)?;
        let Some(range) = edit::last_argument(text, "Sessions::new(") else {
            return Err(Failure::new(format!("{STACK} has no Sessions::new(…), whose store it would be")).remedy(format!(
                "nothing was written; put a layer there that keeps sessions:\n\n.layer(Sessions::new({pascal}::new()))"
            )));
        };
        let before = text[range.clone()].to_owned();
        let mut text = edit::replace(text, range, &format!("{pascal}::new()"));
        text = edit::with_import(&text, &format!("crate::stores::{snake}"), &pascal);
        if let Some((old, _)) = before.trim().split_once("::") {
            text = edit::without_import_if_unused(&text, "purlin::session", old);
            // One that was added before it.
            if let Ok(name) = Name::parse(old) {
                text = edit::without_import_if_unused(&text, &format!("crate::stores::{}", name.snake()), old);
            }
        }
        Ok(text.replace("// who comes back, in a sealed cookie", "// who comes back, kept on the server"))
    })?;
    let next = next(&[
        ("cargo test", "runs the contract of stores against it, with the other tests"),
        ("cargo run -- stack", "shows it beside the layer Sessions"),
    ]);
    Ok(Added { changes, next })
}

fn resource(site: &OwnSite, name: &Name, plural: &Name, fields: &[Field]) -> Result<Added, Failure> {
    let database = site.database()?;
    let auth = site.has_sign_in()?;
    let scaffolds = Scaffolds::new(context(site, name, plural, fields, database, auth))?;
    let (snake, pascal) = (plural.snake(), plural.pascal());
    let mut changes = Changes::of(&site.root);
    changes.create(format!("src/{snake}.rs"), scaffolds.render(scaffold::RESOURCE_MODEL)?)?;
    changes.create(format!("src/handlers/{snake}.rs"), scaffolds.render(scaffold::RESOURCE_HANDLER)?)?;
    for (file, page) in
        [("list", scaffold::RESOURCE_LIST), ("show", scaffold::RESOURCE_SHOW), ("form", scaffold::RESOURCE_FORM)]
    {
        changes.create(format!("templates/{snake}/{file}.html"), scaffolds.render(page)?)?;
    }
    if database != Database::None {
        let number = free_number(site, &snake)?;
        changes.create(format!("migrations/{number}_{snake}.sql"), scaffolds.render(scaffold::RESOURCE_MIGRATION)?)?;
    }
    changes.create(format!("tests/{snake}.rs"), scaffolds.render(scaffold::RESOURCE_TESTS)?)?;
    module(&mut changes, LIB, &snake)?;
    module(&mut changes, HANDLERS, &snake)?;

    let (one, many) = (name.kebab(), plural.kebab());
    let guard = if auth { ".layer(require_user())" } else { "" };
    let table = [
        (format!("/{many}"), format!("get({snake}::list)"), "", many.clone()),
        (format!("/{many}/new"), format!("get({snake}::new).post({snake}::create)"), guard, format!("new-{one}")),
        (format!("/{many}/{{id}}"), format!("get({snake}::show)"), "", one.clone()),
        (
            format!("/{many}/{{id}}/edit"),
            format!("get({snake}::edit).post({snake}::change)"),
            guard,
            format!("edit-{one}"),
        ),
        (format!("/{many}/{{id}}/delete"), format!("post({snake}::delete)"), guard, format!("delete-{one}")),
    ];
    let lines: Vec<String> = table
        .iter()
        .map(|(path, handler, guard, name)| format!(".route(\"{path}\", {handler}{guard}.name(\"{name}\"))"))
        .collect();
    let taken: Vec<(String, String)> = table.iter().map(|(path, _, _, name)| (path.clone(), name.clone())).collect();
    routes(&mut changes, &snake, &["get", "post"], &taken, &lines.join("\n"))?;
    if auth {
        changes.edit(ROUTES, |text| Ok(edit::with_import(text, "purlin::auth", "require_user")))?;
    }
    if database == Database::None {
        changes.edit(STACK, |text| {
            free_in(STACK, text, &pascal)?;
            let text = edit::with_import(text, &format!("crate::{snake}"), &pascal);
            let text = edit::with_import(&text, "purlin", "State");
            let line = format!(".layer(State({pascal}::default())) // the {}, in memory", plural.phrase());
            above(STACK, &text, "// your layers here", &line)
        })?;
    }
    let linked = link(&mut changes, plural)?;
    let about = format!("and look at http://127.0.0.1:8000/{many}");
    let migrates = "while you develop, the next start runs the migration; elsewhere: SITE migrate";
    let mut pairs = vec![("cargo test", "runs its tests, with the others"), ("cargo run", about.as_str())];
    if database != Database::None {
        pairs.push(("", migrates));
    }
    let who = match auth {
        true => "who is signed in may make, change and delete them: src/routes.rs",
        false => "everybody may make, change and delete them: see to it before the site is public",
    };
    pairs.push(("", who));
    let by_hand = format!("add to {LAYOUT}: {}", anchor(plural));
    if !linked {
        pairs.push(("", &by_hand));
    }
    Ok(Added { changes, next: next(&pairs) })
}

fn context(site: &OwnSite, name: &Name, plural: &Name, fields: &[Field], database: Database, auth: bool) -> Value {
    let article =
        format!("{} {}", if name.phrase().starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" }, name.phrase());
    let mut capital = article.clone();
    capital[..1].make_ascii_uppercase();
    let named = Value::from_pairs([
        ("snake", name.snake()),
        ("kebab", name.kebab()),
        ("pascal", name.pascal()),
        ("phrase", name.phrase()),
        ("title", name.title()),
        ("article", article),
        ("article_title", capital),
    ]);
    let has = |kind: Kind| fields.iter().find(|field| field.kind == kind).map(Field::snake);
    let missing: Vec<String> = fields.iter().filter_map(Field::missing).collect();
    let required = match missing.first() {
        Some(problem) => Value::from_pairs([("problem", Value::from(problem)), ("count", Value::from(missing.len()))]),
        None => Value::from(false),
    };
    let title = fields.iter().position(Field::is_heading);
    let heading = match title.map(|at| &fields[at]) {
        Some(field) => format!("{{{{ {}.{} }}}}", name.snake(), field.snake()),
        None => format!("{} {{{{ {}.id }}}}", name.title(), name.snake()),
    };
    // The rest, below that heading.
    let details = fields.iter().enumerate().filter(|(at, _)| Some(*at) != title);
    let rules = fields.iter().any(|field| !matches!(field.kind, Kind::Bool | Kind::Integer | Kind::Number));
    let database_name = match database {
        Database::None => "none",
        Database::Sqlite => "sqlite",
        Database::Postgres => "postgres",
    };
    Value::from_pairs([
        ("name", named),
        ("plural", plural.value()),
        ("crate_name", Value::from(&*site.crate_name)),
        ("database", Value::from(database_name)),
        ("auth", Value::from(auth)),
        ("wait", Value::from(if auth { ".await" } else { "" })),
        ("fields", fields.iter().map(|field| field.value(database)).collect()),
        ("columns", ["id".to_owned()].into_iter().chain(fields.iter().map(Field::snake)).map(Value::from).collect()),
        ("row", ["i64"].into_iter().chain(fields.iter().map(Field::rust)).map(Value::from).collect()),
        ("rules", Value::from(rules)),
        ("required", required),
        ("heading", Value::from(heading)),
        ("details", details.map(|(_, field)| field.value(database)).collect()),
        ("has_email", Value::from(has(Kind::Email).is_some())),
        ("has_date", has(Kind::Date).map_or(Value::from(false), Value::from)),
    ])
}

/// The number of the next migration, as the others write theirs.
fn free_number(site: &OwnSite, table: &str) -> Result<String, Failure> {
    let folder = site.root.join("migrations");
    let mut last = 0_u64;
    let entries = match fs::read_dir(&folder) {
        Ok(entries) => entries.collect::<Result<Vec<_>, _>>(),
        Err(cause) => return Err(Failure::file("read", &folder, &cause).remedy("nothing was written")),
    };
    for entry in entries.map_err(|cause| Failure::file("read", &folder, &cause))? {
        let name = entry.file_name().to_string_lossy().into_owned();
        let digits: String = name.chars().take_while(char::is_ascii_digit).collect();
        last = last.max(digits.parse().unwrap_or(0));
        let text = site.read(&format!("migrations/{name}"))?.unwrap_or_default().to_lowercase();
        let words: Vec<&str> =
            text.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| !word.is_empty()).collect();
        let makes = |words: &[&str]| match words {
            ["create", "table", "if", "not", "exists", name] | ["create", "table", name, ..] => *name == table,
            _ => false,
        };
        if words.windows(6).chain(words.windows(3)).any(makes) {
            return Err(Failure::new(format!("there is a table {table} already: migrations/{name} makes it"))
                .remedy("nothing was written; choose another name"));
        }
    }
    Ok(format!("{:04}", last + 1))
}

/// `pub mod name;`, in a file that has such lines.
fn module(changes: &mut Changes, file: &str, name: &str) -> Result<(), Failure> {
    changes.edit(file, |text| {
        if edit::has_module(text, name) {
            return Err(taken_in(file, &format!("mod {name}")));
        }
        Ok(edit::with_module(text, name))
    })
}

/// A module in a folder of the site's own, which is made with the first.
fn own_module(site: &OwnSite, changes: &mut Changes, folder: &str, name: &str, head: &str) -> Result<(), Failure> {
    let file = format!("src/{folder}/mod.rs");
    if site.read(&file)?.is_some() {
        return module(changes, &file, name);
    }
    changes.create(file, edit::with_module(head, name))?;
    module(changes, LIB, folder)
}

/// Routes with what they use; `taken` are their paths and names, which no other may have.
fn routes(
    changes: &mut Changes,
    module: &str,
    methods: &[&str],
    taken: &[(String, String)],
    lines: &str,
) -> Result<(), Failure> {
    changes.edit(ROUTES, |text| {
        for (path, name) in taken {
            for (word, what) in [(format!("\"{path}\""), path), (format!(".name(\"{name}\")"), name)] {
                if text.contains(&word) {
                    return Err(taken_in(ROUTES, what));
                }
            }
        }
        let mut text = edit::with_import(text, "crate::handlers", module);
        for method in methods {
            text = edit::with_import(&text, "purlin", method);
        }
        above(ROUTES, &text, "// your routes here", lines)
    })
}

/// A link to it in the frame of every page, where that has a place for one; whether it has.
fn link(changes: &mut Changes, name: &Name) -> Result<bool, Failure> {
    let marker = "{#- your links here #}";
    if !changes.text(LAYOUT).is_ok_and(|text| text.lines().any(|line| line.trim() == marker)) {
        return Ok(false);
    }
    let anchor = anchor(name);
    changes.edit(LAYOUT, |text| above(LAYOUT, text, marker, &anchor))?;
    Ok(true)
}

fn anchor(name: &Name) -> String {
    format!("<a href=\"{{{{ url_for(name=\"{}\") }}}}\">{}</a>", name.kebab(), name.title())
}

/// The text with lines above a marker.
///
/// # Errors
///
/// The marker is not there; the lines are said, to be put there by hand.
fn above(file: &str, text: &str, marker: &str, lines: &str) -> Result<String, Failure> {
    edit::above_marker(text, marker, lines).ok_or_else(|| {
        Failure::new(format!("{file} has no line `{marker}`, above which this would go:\n\n{lines}\n"))
            .remedy(format!("nothing was written; put a line `{marker}` back where it belongs, and run this again"))
    })
}

fn taken_in(file: &str, what: &str) -> Failure {
    Failure::new(format!("{file} has {what} already")).remedy("nothing was written; choose another name")
}

/// Whether a file has no use for this name yet.
fn free_in(file: &str, text: &str, name: &str) -> Result<(), Failure> {
    if edit::mentions(text, name) { Err(taken_in(file, name)) } else { Ok(()) }
}
