//! The guide in `docs/`: what is no Rust in it is true, too. Its Rust is compiled and run by `cargo test --doc`.

use crate::servers::{Folder, left_out, program};
use purlin::config::Loader;
use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A fenced block of a chapter.
struct Block {
    place: String,
    language: String,
    text: String,
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The files of `docs/`: name and text.
fn chapters() -> Vec<(String, String)> {
    let files = fs::read_dir(root().join("docs")).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = files.filter(|name| name.ends_with(".md")).collect();
    names.sort();
    assert!(names.len() > 20, "the guide is there");
    names.into_iter().map(|name| (name.clone(), read(format!("docs/{name}")))).collect()
}

fn blocks() -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    for (name, text) in chapters() {
        let mut inside = false;
        for (number, line) in text.lines().enumerate() {
            match line.strip_prefix("```") {
                Some(_) if inside => inside = false,
                Some(language) => {
                    inside = true;
                    let place = format!("docs/{name}:{}", number + 1);
                    blocks.push(Block { place, language: language.to_owned(), text: String::new() });
                }
                None if inside => {
                    let block = blocks.last_mut().expect("one has begun");
                    block.text.push_str(line);
                    block.text.push('\n');
                }
                None => {}
            }
        }
        assert!(!inside, "docs/{name}: a block does not end");
    }
    blocks
}

fn of(language: &str) -> Vec<Block> {
    let found: Vec<Block> = blocks().into_iter().filter(|block| block.language == language).collect();
    assert!(!found.is_empty(), "no block of {language} was looked at: take its check out");
    found
}

#[test]
fn every_block_is_of_a_language_that_is_checked() {
    let sources = [read("src/lib.rs"), read("src/deploy.rs")].concat();
    for block in blocks() {
        match block.language.as_str() {
            "" | "rust" | "rust,no_run" => {
                let file = block.place.split(':').next().unwrap();
                let included = sources.contains(&format!("include_str!(\"../{file}\")"));
                assert!(included, "{}: it is compiled only if `src/lib.rs` has the chapter", block.place);
            }
            // Each has a test below.
            "console" | "dockerfile" | "ini" | "js" | "nginx" | "python" | "sh" | "systemd" | "toml" => {}
            other => panic!("{}: nobody checks blocks of {other:?}", block.place),
        }
    }
}

#[test]
fn chapters_lead_to_one_another_both_as_modules_and_as_files() {
    let modules = read("docs/chapters.txt");
    let lib = read("src/lib.rs");
    let guide = read("docs/guide.md");
    for (file, text) in chapters() {
        let name = file.trim_end_matches(".md");
        // Code has brackets of its own.
        let prose: String = text.split("```").step_by(2).collect();
        let prose: String = prose.split('`').step_by(2).collect();
        for after in prose.split("][").skip(1) {
            let Some((to, _)) = after.split_once(']') else { continue };
            assert!(text.contains(&format!("\n[{to}]: {to}.md\n")), "{file}: its last lines have no [{to}]");
            assert!(modules.contains(&format!("[{to}]: crate::")), "docs/chapters.txt has no [{to}]");
            assert!(root().join(format!("docs/{to}.md")).is_file(), "{file}: docs/{to}.md");
        }
        if lib.contains(&format!("pub mod {name} {{}}")) {
            assert!(guide.contains(&format!("][{name}]")), "the first page does not name {file}");
        }
    }
    for line in modules.lines().filter(|line| line.contains("crate::guide::")) {
        let name = line.rsplit("::").next().unwrap();
        assert!(lib.contains(&format!("pub mod {name} {{}}")), "src/lib.rs has no chapter {name}");
    }
}

#[test]
fn each_layer_of_a_generated_site_is_replaced_by_an_example() {
    let stack = read("cookiecutter/{{cookiecutter.project_slug}}/src/stack.rs");
    let imports = stack.split("use purlin::layers::{").nth(1).and_then(|rest| rest.split("};").next());
    let imports = imports.expect("it imports its layers").lines().filter(|line| !line.starts_with("{%"));
    let layers: BTreeSet<&str> =
        imports.flat_map(|line| line.split(',')).map(str::trim).filter(|name| !name.is_empty()).collect();
    assert!(layers.len() > 12 && layers.contains("ErrorPages"), "{layers:?}");
    let chapter = read("docs/replacing.md");
    for name in layers.into_iter().chain(["State", "Router"]) {
        let section = chapter.split(&format!("\n## `{name}`: ")).nth(1).and_then(|rest| rest.split("\n## ").next());
        let section = section.unwrap_or_else(|| panic!("docs/replacing.md replaces no `{name}`"));
        assert!(
            section.contains("\n```rust\n") && section.contains("// was: "),
            "`{name}`: an example, and the line that it replaces"
        );
    }
}

#[test]
fn a_toml_block_is_a_configuration_an_application_file_or_a_manifest() {
    for Block { place, text, .. } in of("toml") {
        let table: toml::Table = text.parse().unwrap_or_else(|error| panic!("{place}: {error}"));
        if table.contains_key("package") || table.contains_key("profile") || table.contains_key("dependencies") {
            let known = ["package", "features", "dependencies", "dev-dependencies", "build-dependencies", "profile"];
            let other = table.keys().find(|key| !known.contains(&key.as_str()));
            assert_eq!(other, None, "{place}: a manifest has no such table");
            let dependency = table.get("dependencies").and_then(|all| all.get("purlin"));
            if let Some(version) = dependency.and_then(|purlin| purlin.get("version")) {
                let ours = concat!(env!("CARGO_PKG_VERSION_MAJOR"), ".", env!("CARGO_PKG_VERSION_MINOR"));
                assert_eq!(version.as_str(), Some(ours), "{place}");
            }
        } else if ["app", "layer"].iter().any(|kind| table.get(*kind).is_some_and(has_sections)) {
            #[cfg(all(feature = "deploy", feature = "compression"))]
            fits_together(&place, "site.toml", &text);
        } else if cfg!(feature = "cache") || !table.contains_key("cache") {
            let loaded = Loader::new().environment("test").toml(&text).load();
            loaded.unwrap_or_else(|error| panic!("{place}: {error}"));
        }
    }
}

/// Whether it is of a file for applications, and not the settings `[app]` of a site.
fn has_sections(kind: &toml::Value) -> bool {
    let made_by = ["use", "pipeline", "mount", "cascade"];
    let sections = kind.as_table().into_iter().flat_map(|table| table.values());
    sections
        .filter_map(|section| section.as_table())
        .any(|section| made_by.iter().any(|key| section.contains_key(*key)))
}

#[cfg(all(feature = "deploy", feature = "compression"))]
#[test]
fn an_ini_block_is_an_application_file() {
    for Block { place, text, .. } in of("ini") {
        fits_together(&place, "site.ini", &text);
    }
}

/// As `config check FILE` looks at it, in a site that has what the guide's have.
#[cfg(all(feature = "deploy", feature = "compression"))]
fn fits_together(place: &str, name: &str, text: &str) {
    use purlin::deploy::{Deploy, NoOptions, Registry};
    use purlin::{Config, Router};

    let folder = Folder::new();
    let file = folder.path().join(name);
    fs::write(&file, text).unwrap();
    fs::write(folder.path().join("wiki.toml"), "[app.main]\nuse = 'app:main'\n").unwrap();
    fs::create_dir(folder.path().join("public")).unwrap();
    let registry = Registry::new().app("app:main", |_: NoOptions, _| Ok(Router::new()));
    let deploy = Deploy::new(registry).config(Config::for_tests().unwrap());
    let checked = deploy.open(file.to_str().unwrap()).and_then(|deployment| deployment.check());
    checked.unwrap_or_else(|error| panic!("{place}: {error:#}"));
}

/// Commands and options, by what the sources say of them.
struct Known {
    commands: BTreeSet<String>,
    options: BTreeSet<String>,
}

impl Known {
    /// Of a site: the table of `src/run/arguments.rs`.
    fn of_sites() -> Self {
        let source = read("src/run/arguments.rs");
        let table = source.split("const COMMANDS").nth(1).expect("it is there");
        let commands = quoted(table).filter(|word| {
            table.contains(&format!("(\"{word}\", Command::"))
                || table.contains(&format!("\n        \"{word}\",\n        Command::"))
        });
        let commands: BTreeSet<String> = commands.collect();
        assert!(commands.contains("serve") && commands.contains("health") && commands.len() > 8, "{commands:?}");
        Self { commands, options: options(&source) }
    }

    /// Of `purlin`: those that `cookiecutter/src/commands.rs` lists.
    fn of_purlin() -> Self {
        let source = read("cookiecutter/src/commands.rs");
        let table = source.split("COMMANDS: &[Command] =").nth(1).and_then(|rest| rest.split("&[").nth(1));
        let list = table.and_then(|rest| rest.split(']').next());
        let modules = list.expect("it is there").split(',').filter_map(|one| one.trim().strip_suffix("::COMMAND"));
        let mut known = Self { commands: BTreeSet::new(), options: BTreeSet::new() };
        for module in modules {
            let source = read(format!("cookiecutter/src/commands/{module}.rs"));
            let name = source.split("name: \"").nth(1).and_then(|rest| rest.split('"').next()).expect("it has a name");
            known.commands.insert(name.to_owned());
            known.options.extend(options(&source));
        }
        assert!(known.commands.contains("new"), "{:?}", known.commands);
        known
    }

    fn has(&self, words: &[&str]) -> bool {
        let mut options =
            words.iter().filter(|word| word.starts_with("--")).map(|word| word.split('=').next().unwrap());
        let command = words.iter().find(|word| !word.starts_with('-'));
        command.is_none_or(|command| self.commands.contains(*command))
            && options.all(|option| self.options.contains(option))
    }
}

fn quoted(source: &str) -> impl Iterator<Item = String> {
    source.split('"').skip(1).step_by(2).map(str::to_owned)
}

fn options(source: &str) -> BTreeSet<String> {
    let mut options: BTreeSet<String> = quoted(source).filter(|word| word.starts_with("--")).collect();
    options.insert("--help".to_owned());
    options
}

#[test]
fn a_shell_block_has_commands_that_exist() {
    let (sites, purlin) = (Known::of_sites(), Known::of_purlin());
    // Of others: no test can know all of their options.
    let others = ["cd", "curl", "docker", "export", "install", "kill", "openssl", "systemctl"];
    // Of what a terminal shows, what was typed.
    let typed = of("console").into_iter().map(|mut block| {
        block.text = block.text.lines().filter_map(|line| line.strip_prefix("$ ")).collect::<Vec<_>>().join("\n");
        assert!(!block.text.is_empty(), "{}: nothing is typed", block.place);
        block
    });
    for Block { place, text, .. } in of("sh").into_iter().chain(typed) {
        for line in text.replace("\\\n", " ").lines() {
            let line = line.split(" #").next().unwrap().replace("$(", " && ").replace(')', " && ");
            for command in line.split("&&").flat_map(|part| part.split('|')) {
                let all: Vec<&str> = command.split_whitespace().collect();
                // Variables for the command, before it; and what stood behind `$(…)`.
                let begin = all.iter().take_while(|word| word.contains('=') && !word.starts_with('-')).count();
                let found = match &all[begin..] {
                    [] => true,
                    ["purlin", words @ ..] => purlin.has(words),
                    ["my-site" | "target/release/my-site", words @ ..] => sites.has(words),
                    ["cargo", "run", "--example", name, ..] => root().join(format!("examples/{name}.rs")).is_file(),
                    ["cargo", "run", "--", words @ ..] => sites.has(words) || purlin.has(words),
                    ["cargo", "add" | "build" | "doc" | "install" | "new" | "publish" | "run" | "test", ..] => true,
                    [first, ..] => others.contains(first),
                };
                assert!(found, "{place}: there is no such command: {command:?}");
            }
        }
    }
}

#[test]
fn a_command_that_does_not_exist_is_found_out() {
    let (sites, purlin) = (Known::of_sites(), Known::of_purlin());
    assert!(sites.has(&["routes", "--match", "/x"]) && !sites.has(&["rout"]) && !sites.has(&["routes", "--nothing"]));
    assert!(
        purlin.has(&["new", "../my-site", "--serve"]) && !purlin.has(&["neu"]) && !purlin.has(&["new", "x", "--sirve"])
    );
}

#[test]
fn an_nginx_block_is_a_configuration_of_nginx() {
    let Some(nginx) = program("nginx") else {
        return left_out("the guide's lines for nginx", "install nginx-light or another nginx");
    };
    for Block { place, text, .. } in of("nginx") {
        let folder = Folder::new();
        let here = folder.path().display();
        // A port of our own: who tests need not be allowed to listen at 80.
        let site = text.replace("listen 80;", &format!("listen unix:{here}/socket;"));
        let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|what| format!("{what}_temp_path {here}/{what};\n"))
            .concat();
        let conf = folder.path().join("nginx.conf");
        let lines = format!("pid {here}/pid;\nevents {{}}\nhttp {{\naccess_log off;\n{temporary}{site}}}\n");
        fs::write(&conf, lines).unwrap();
        let mut test = Command::new(&nginx);
        test.arg("-t").arg("-p").arg(folder.path()).arg("-e").arg(folder.path().join("log")).arg("-c").arg(&conf);
        let output = test.output().unwrap();
        assert!(output.status.success(), "{place}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

/// A file of the site that the generator makes without options.
fn generated(name: &str) -> String {
    let template = read(Path::new("cookiecutter/{{cookiecutter.project_slug}}").join(name));
    let mut depth = 0;
    let mut lines = Vec::new();
    for line in template.lines() {
        match line.split_whitespace().nth(1) {
            Some("if") if line.starts_with("{%") => depth += 1,
            Some("endif") if line.starts_with("{%") => depth -= 1,
            _ if depth == 0 => lines.push(line),
            _ => {}
        }
    }
    let text = lines.join("\n") + "\n";
    text.replace("{{ cookiecutter.project_slug }}", "my-site").replace("{{ cookiecutter.project_name }}", "My Site")
}

#[test]
fn a_dockerfile_block_stands_in_the_generated_one() {
    let generated = generated("Dockerfile");
    for Block { place, text, .. } in of("dockerfile") {
        assert!(generated.contains(&text), "{place}: it differs from\n{generated}");
    }
}

#[test]
fn a_systemd_block_stands_in_the_generated_units_and_systemd_accepts_it() {
    let slug = "{{cookiecutter.project_slug}}";
    let (service, socket) = (generated(&format!("deploy/{slug}.service")), generated(&format!("deploy/{slug}.socket")));
    let blocks = of("systemd");
    for Block { place, text, .. } in &blocks {
        let mut lines = service.lines();
        for line in text.lines().filter(|line| !line.is_empty()) {
            assert!(lines.any(|known| known == line), "{place}: the generated unit has no such line here: {line}");
        }
    }
    let Some(analyze) = program("systemd-analyze") else {
        return left_out("what systemd says of the guide's units", "install systemd; it need not run");
    };
    for Block { place, text, .. } in &blocks {
        let folder = Folder::new();
        // The executable has to be there.
        let unit = text.replace("/usr/local/bin/my-site", "/bin/true");
        fs::write(folder.path().join("my-site.service"), unit).unwrap();
        fs::write(folder.path().join("my-site.socket"), &socket).unwrap();
        let mut verify = Command::new(&analyze);
        verify.args(["verify", "--man=no", "./my-site.service", "./my-site.socket"]).current_dir(folder.path());
        let output = verify.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && said.is_empty(), "{place}: {said}");
    }
}

#[test]
fn a_script_block_is_javascript() {
    let Some(node) = program("node") else {
        return left_out("the guide's lines in JavaScript", "install nodejs");
    };
    for Block { place, text, .. } in of("js") {
        let folder = Folder::new();
        let file = folder.path().join("block.mjs");
        fs::write(&file, text).unwrap();
        let output = Command::new(&node).arg("--check").arg(&file).output().unwrap();
        assert!(output.status.success(), "{place}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn a_python_block_is_python() {
    let Some(python) = program("python3") else {
        return left_out("the guide's lines in Python", "install python3");
    };
    for Block { place, text, .. } in of("python") {
        let mut check = Command::new(&python);
        check.args(["-c", "import ast, sys; ast.parse(sys.stdin.buffer.read())"]).stdin(Stdio::piped());
        let mut child = check.stderr(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{place}: {}", String::from_utf8_lossy(&output.stderr));
    }
}
