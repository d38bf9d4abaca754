//! `purlin add`: what comes out, and what is refused. That the result compiles and passes its tests is seen by `.ci/run`.

use crate::support::{Outcome, Scratch, left_out, purlin, tree};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A new site called `site`, and a folder in it to start the tool from.
fn site(scratch: &Scratch, options: &[&str]) -> PathBuf {
    scratch.purlin(&[&["new", "site", "--no-git"], options].concat()).succeeds();
    scratch.path().join("site")
}

fn add(site: &Path, words: &str) -> Outcome {
    Outcome::of(purlin(site).arg("add").args(words.split_whitespace()))
}

fn read(site: &Path, path: &str) -> String {
    fs::read_to_string(site.join(path)).unwrap_or_else(|cause| panic!("{path}: {cause}"))
}

fn has_rustfmt() -> bool {
    Command::new("rustfmt").arg("--version").output().is_ok_and(|output| output.status.success())
}

#[test]
fn a_handler_is_a_page_with_its_route_and_test() {
    let scratch = Scratch::new();
    let site = site(&scratch, &[]);
    let out = add(&site, "handler AboutUs").succeeds().out;
    for line in ["added handler about-us", "created src/handlers/about_us.rs", "edited  src/routes.rs", "cargo test"] {
        assert!(out.contains(line), "no {line:?} in {out}");
    }
    assert!(read(&site, "src/handlers/about_us.rs").contains("View::new(\"about_us.html\", ())"));
    assert!(read(&site, "templates/about_us.html").contains("<h1>About us</h1>"));
    assert!(read(&site, "src/handlers/mod.rs").contains("pub mod about_us;\npub mod guestbook;\n"));
    let routes = read(&site, "src/routes.rs");
    assert!(routes.contains("use crate::handlers::{about_us, guestbook, home};"), "{routes}");
    assert!(
        routes.contains(".route(\"/about-us\", get(about_us::show).name(\"about-us\"))\n        // your routes here\n")
    );
    assert!(read(&site, "tests/site.rs").ends_with("contains(\"<h1>About us</h1>\");\n}\n"));
    assert!(
        read(&site, "templates/layout.html").contains("<a href=\"{{ url_for(name=\"about-us\") }}\">About us</a>\n")
    );
}

#[test]
fn a_handlers_test_has_a_file_of_its_own_where_the_others_have_been_moved() {
    let scratch = Scratch::new();
    let site = site(&scratch, &[]);
    fs::remove_file(site.join("tests/site.rs")).unwrap();
    add(&site, "handler about").succeeds();
    let test = read(&site, "tests/about.rs");
    assert!(test.contains("use site::stack::stack;") && test.contains("async fn the_page_about_is_there()"), "{test}");
}

#[test]
fn a_resource_is_pages_a_model_and_tests() {
    let scratch = Scratch::new();
    let site = site(&scratch, &[]);
    add(&site, "resource blog-post title:text body:longtext likes:integer published:bool").succeeds();
    let model = read(&site, "src/blog_posts.rs");
    for line in ["pub struct BlogPostForm {", "pub likes: i64,", "pub struct BlogPosts(", "Please fill in the title."] {
        assert!(model.contains(line), "no {line:?} in {model}");
    }
    // What is kept is what is counted, spaces and all.
    assert!(model.contains("let letters = self.title.chars().count();"), "{model}");
    let routes = read(&site, "src/routes.rs");
    for (path, name) in [
        ("/blog-posts", "blog-posts"),
        ("/blog-posts/new", "new-blog-post"),
        ("/blog-posts/{id}", "blog-post"),
        ("/blog-posts/{id}/edit", "edit-blog-post"),
        ("/blog-posts/{id}/delete", "delete-blog-post"),
    ] {
        assert!(routes.contains(&format!("\"{path}\"")) && routes.contains(&format!(".name(\"{name}\")")), "{routes}");
    }
    assert!(read(&site, "src/stack.rs").contains(".layer(State(BlogPosts::default())) // the blog posts, in memory\n"));
    assert!(read(&site, "src/lib.rs").contains("pub mod blog_posts;\npub mod handlers;\n"));
    let form = read(&site, "templates/blog_posts/form.html");
    assert!(
        form.contains("<forms.textarea name=\"body\" label=\"Body\"") && form.contains("type=\"number\""),
        "{form}"
    );
    for page in ["list", "show"] {
        assert!(read(&site, &format!("templates/blog_posts/{page}.html")).contains("{{ blog_post.title }}"));
    }
    assert!(!site.join("migrations").exists());
}

#[test]
fn a_database_gets_a_migration_with_the_next_number() {
    for (database, id, likes, end) in [
        ("sqlite", "id INTEGER PRIMARY KEY AUTOINCREMENT,", "likes INTEGER NOT NULL,", "\n) STRICT;\n"),
        ("postgres", "id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,", "likes BIGINT NOT NULL,", "\n);\n"),
    ] {
        let scratch = Scratch::new();
        let site = site(&scratch, &["--database", database]);
        let out = add(&site, "resource post title:text likes:int published:bool").succeeds().out;
        assert!(out.contains("created migrations/0002_posts.sql"), "{out}");
        let migration = read(&site, "migrations/0002_posts.sql");
        assert!(migration.contains("CREATE TABLE posts (\n") && migration.ends_with(end), "{migration}");
        assert!(migration.contains(id) && migration.contains(likes), "{migration}");
        assert!(read(&site, "src/handlers/posts.rs").contains("posts::find(&mut tx, id)"));
        assert!(!read(&site, "src/stack.rs").contains("Posts"));
        // Another resource: the next.
        add(&site, "resource person name:text").succeeds();
        assert!(read(&site, "migrations/0003_people.sql").contains("CREATE TABLE people ("));
        // The guestbook's table is called by one of them.
        add(&site, "resource entry note:text").succeeds();
        assert!(read(&site, "migrations/0004_entries.sql").contains("CREATE TABLE entries ("));
    }
}

#[test]
fn with_accounts_only_who_is_signed_in_changes_something() {
    let scratch = Scratch::new();
    let site = site(&scratch, &["--database", "sqlite", "--auth"]);
    add(&site, "resource post title:text").succeeds();
    let routes = read(&site, "src/routes.rs");
    assert!(routes.contains("use purlin::auth::require_user;"), "{routes}");
    assert_eq!(routes.matches(".layer(require_user())").count(), 3, "{routes}");
    assert!(read(&site, "tests/posts.rs").contains("only_who_is_signed_in_changes_something"));
}

#[test]
fn a_layer_has_its_line_in_the_stack() {
    let scratch = Scratch::new();
    let site = site(&scratch, &[]);
    add(&site, "layer rate-limit").succeeds();
    add(&site, "layer Stamp").succeeds();
    let stack = read(&site, "src/stack.rs");
    assert!(stack.contains("use crate::layers::rate_limit::RateLimit;\nuse crate::layers::stamp::Stamp;\n"), "{stack}");
    let limit = stack.find(".layer(RateLimit::new(").unwrap();
    let stamp = stack.find(".layer(Stamp::new(").unwrap();
    assert!(stack.contains("// a header on every answer from here inwards: x-stamp\n"), "{stack}");
    assert!(limit < stamp && stamp < stack.find("// your layers here").unwrap(), "{stack}");
    let layers = read(&site, "src/layers/mod.rs");
    assert!(layers.ends_with("\n\npub mod rate_limit;\npub mod stamp;\n"), "{layers}");
    assert!(read(&site, "src/layers/stamp.rs").contains("layer_contract(|| Stamp::new(\"yes\"))"));
}

#[test]
fn a_store_takes_the_place_of_the_one_that_is_there() {
    for (sessions, gone, stays) in [
        ("cookie", "CookieStore", "Sessions::new(Notes::new())"),
        ("sqlite", "SqliteStore", "Environment::Test => Sessions::new(MemoryStore::new()),"),
        ("redis", "RedisStore", "_ => Sessions::new(Notes::new()),"),
    ] {
        let scratch = Scratch::new();
        let site = site(&scratch, &["--sessions", sessions]);
        add(&site, "store notes").succeeds();
        let stack = read(&site, "src/stack.rs");
        assert!(stack.contains("use crate::stores::notes::Notes;\n") && stack.contains(stays), "{stack}");
        assert!(!stack.contains(gone) && stack.contains("// who comes back, kept on the server"), "{stack}");
        add(&site, "store OtherNotes").succeeds();
        let stack = read(&site, "src/stack.rs");
        assert!(stack.contains("use crate::stores::other_notes::OtherNotes;\n"), "{stack}");
        assert!(!stack.contains("stores::notes::Notes") && !stack.contains("(Notes::new())"), "{stack}");
    }
}

#[test]
fn what_comes_out_is_formatted() {
    if !has_rustfmt() {
        left_out("the format of what is added; rustup component add rustfmt, then run this again");
        return;
    }
    for (options, name) in
        [(&["--database", "none"][..], "post"), (&["--database", "postgres", "--auth"], "zoological-garden-of-a-town")]
    {
        let scratch = Scratch::new();
        let site = site(&scratch, options);
        add(&site, &format!("handler about-{name}")).succeeds();
        add(&site, &format!("layer {name}-layer")).succeeds();
        add(&site, &format!("store {name}-store")).succeeds();
        let fields = "title:text body:longtext likes:integer score:number mail:email day:date hidden:bool";
        add(&site, &format!("resource {name} {fields}")).succeeds();
        let files = tree(&site).into_keys().filter(|name| name.ends_with(".rs"));
        let mut rustfmt = Command::new("rustfmt");
        rustfmt.args(["--edition", "2024", "--check"]).args(files.map(|name| site.join(name)));
        Outcome::of(&mut rustfmt).succeeds();
        for (name, node) in tree(&site) {
            let text = node.map(|(bytes, _)| String::from_utf8(bytes).unwrap()).unwrap_or("\n".to_owned());
            assert!(text.ends_with('\n') && !text.ends_with("\n\n") || text == "\n", "{name}");
            assert!(!text.contains("\n\n\n") && !text.contains("{% raw") && !text.contains(" \n"), "{name}");
        }
    }
}

#[test]
fn without_rustfmt_the_same_is_written_in_longer_lines() {
    let scratch = Scratch::new();
    let site = site(&scratch, &[]);
    let mut command = purlin(&site);
    command.args(["add", "resource", "post", "title:text"]).env("PATH", scratch.path());
    Outcome::of(&mut command).succeeds();
    assert!(read(&site, "src/routes.rs").contains("get(posts::new).post(posts::create).name(\"new-post\"))\n"));
}

#[test]
fn a_dry_run_is_a_patch_that_makes_the_same() {
    let scratch = Scratch::new();
    let site = site(&scratch, &[]);
    for words in ["resource post title:text", "layer stamp", "store notes", "handler about"] {
        let before = tree(&site);
        let patch = add(&site, &format!("{words} --dry-run")).succeeds().out;
        assert_eq!(tree(&site), before, "{words}");
        add(&site, words).succeeds();
        let after = tree(&site);
        let mut patch_tool = Command::new("git");
        patch_tool.args(["apply", "-R", "-"]).current_dir(&site).env("GIT_CEILING_DIRECTORIES", scratch.path());
        if Command::new("git").arg("--version").output().is_err() {
            left_out("whether git takes the patch of a dry run, since git is not installed");
            return;
        }
        Outcome::fed(&mut patch_tool, &patch).succeeds();
        let files = |tree: &std::collections::BTreeMap<String, _>| tree.keys().cloned().collect::<Vec<_>>();
        for (name, node) in &before {
            assert!(tree(&site).get(name) == Some(node), "{words}: {name}");
        }
        assert!(files(&after).len() > files(&before).len() || words.starts_with("x"), "{words}");
        add(&site, words).succeeds();
    }
}

#[test]
fn it_works_from_any_folder_of_the_site_and_nowhere_else() {
    let scratch = Scratch::new();
    let site = site(&scratch, &[]);
    add(&site.join("templates/errors"), "handler about").succeeds();
    assert!(site.join("src/handlers/about.rs").is_file());
    scratch.write("other/Cargo.toml", "[package]\nname = \"other\"\n[dependencies]\naxum = \"1\"\n");
    add(&scratch.path().join("other"), "handler about").fails(1, &["no Purlin site here", "does not name purlin"]);
    add(scratch.path(), "handler about").fails(1, &["no Purlin site here", "purlin new my-site"]);
}

#[test]
fn what_cannot_be_is_refused_before_anything_is_written() {
    let scratch = Scratch::new();
    let site = site(&scratch, &[]);
    add(&site, "handler about").succeeds();
    add(&site, "resource post title:text").succeeds();
    add(&site, "layer stamp").succeeds();
    let before = tree(&site);
    for (words, code, messages) in [
        ("", 2, &["add what?", "handler, resource, layer, store"][..]),
        ("resuorce post", 2, &["there is no `resuorce` to add", "did you mean purlin add resource?"]),
        ("handler", 2, &["what is the handler called?"]),
        ("handler 9", 2, &["a handler cannot be called `9`: it starts with 9"]),
        ("handler a/b", 2, &["the character '/'"]),
        ("handler purlin", 2, &["the code around it has something of that name"]),
        ("handler match", 2, &["a word of the Rust language"]),
        ("handler x title:text", 2, &["a handler has no fields"]),
        ("layer x --plural y", 2, &["--plural is for a resource"]),
        ("layer x --force", 2, &["unknown option --force"]),
        ("handler about", 1, &["src/handlers/about.rs is there already", "choose another name"]),
        ("handler post", 1, &["src/routes.rs has post already"]),
        ("handler fail", 1, &["src/routes.rs has /fail already"]),
        ("layer stamp", 1, &["src/layers/stamp.rs is there already"]),
        ("layer csrf", 1, &["src/stack.rs has Csrf already"]),
        ("layer response", 2, &["the code around it has something of that name"]),
        ("layer client", 2, &["the code around it has something of that name"]),
        ("layer router", 2, &["the code around it has something of that name"]),
        ("resource deserialize title:text", 2, &["the code around it has something of that name"]),
        ("store cookie-store", 1, &["src/stack.rs has CookieStore already"]),
        ("resource note", 2, &["which fields?", "for example: purlin add resource post title:text"]),
        ("resource note title", 2, &["the field `title` has no type", "title:text"]),
        ("resource note title:txt", 2, &["no type `txt`", "did you mean title:text?", "longtext  text of many lines"]),
        ("resource note title:blob", 2, &["no type `blob`", "the types are"]),
        ("resource note title:text title:text", 2, &["a field cannot be called `title`: another one is"]),
        ("resource note id:integer", 2, &["`id`: every resource has a number"]),
        ("resource note type:text", 2, &["`type`: it is a word of the Rust language"]),
        ("resource note order:integer", 2, &["`order`: it is a word of SQL"]),
        ("resource note password:text", 2, &["what is secret is hashed", "--auth"]),
        ("resource posts title:text", 2, &["that looks like several", "did you mean post?", "--plural posts"]),
        ("resource sheep title:text --plural sheep", 2, &["one and several are called the same"]),
        ("resource change title:text", 2, &["the code around it has something of that name"]),
        ("resource result title:text", 2, &["the code around it has something of that name"]),
        ("resource post title:text", 1, &["src/posts.rs is there already"]),
        ("resource guestbooks-page t:text --plural guestbook", 1, &["src/handlers/guestbook.rs is there already"]),
    ] {
        add(&site, words).fails(code, messages);
        assert_eq!(tree(&site), before, "{words}");
    }
    let many: String = (0..16).map(|at| format!(" f{at}:text")).collect();
    add(&site, &format!("resource note{many}")).fails(2, &["at most 15 fields, and these are 16"]);
}

#[test]
fn a_table_that_is_there_is_not_made_again() {
    let scratch = Scratch::new();
    let site = site(&scratch, &["--database", "sqlite"]);
    scratch.write("site/migrations/0002_shop.sql", "create table if not exists \"purchases\" (id integer);\n");
    let before = tree(&site);
    add(&site, "resource purchase title:text")
        .fails(1, &["there is a table purchases already: migrations/0002_shop.sql makes it"]);
    assert_eq!(tree(&site), before);
}

#[test]
fn a_deleted_marker_is_named_with_the_lines_that_would_go_there() {
    let scratch = Scratch::new();
    let site = site(&scratch, &[]);
    for (file, marker, words, lines) in [
        (
            "src/routes.rs",
            "// your routes here",
            "handler about",
            ".route(\"/about\", get(about::show).name(\"about\"))",
        ),
        ("src/stack.rs", "// your layers here", "layer stamp", ".layer(Stamp::new(\"yes\"))"),
        ("src/stack.rs", "// your layers here", "resource post title:text", ".layer(State(Posts::default()))"),
    ] {
        let text = read(&site, file);
        fs::write(site.join(file), text.replace(marker, "")).unwrap();
        let before = tree(&site);
        let line = format!("{file} has no line `{marker}`");
        add(&site, words).fails(1, &[&line, lines, "nothing was written", "put a line"]);
        assert_eq!(tree(&site), before, "{words}");
        fs::write(site.join(file), text).unwrap();
    }
    // The navigation is a courtesy: without its place the line is told.
    let layout = read(&site, "templates/layout.html").replace("{#- your links here #}", "");
    fs::write(site.join("templates/layout.html"), layout).unwrap();
    let out = add(&site, "resource post title:text").succeeds().out;
    assert!(out.contains("add to templates/layout.html: <a href=\"{{ url_for(name=\"posts\") }}\">Posts</a>"), "{out}");
}

#[test]
fn a_database_whose_transactions_have_no_name_is_told_to_give_them_one() {
    let scratch = Scratch::new();
    let site = site(&scratch, &["--database", "sqlite"]);
    fs::write(site.join("src/models.rs"), "").unwrap();
    add(&site, "resource post title:text").fails(
        1,
        &["does not say what its transactions are", "pub type Tx = purlin::database::Tx<purlin::sqlx::Sqlite>;"],
    );
}

/// No byte may be written to any file: what a full disk does too.
#[cfg(unix)]
#[test]
fn a_file_that_cannot_be_written_leaves_everything_as_it_was() {
    let scratch = Scratch::new();
    let site = site(&scratch, &[]);
    let before = tree(&site);
    for words in ["handler about", "resource post title:text", "layer stamp", "store notes"] {
        let mut shell = Command::new("sh");
        shell.current_dir(&site).args(["-c", "trap '' XFSZ; ulimit -f 0; exec \"$@\"", "sh"]);
        shell.arg(purlin(&site).get_program()).arg("add").args(words.split(' '));
        Outcome::of(&mut shell).fails(1, &["could not write ", "File too large", "nothing was changed"]);
        assert_eq!(tree(&site), before, "{words}");
    }
}
