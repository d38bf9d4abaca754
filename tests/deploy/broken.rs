//! What is said of broken files: one message each, with file, line and column.

use super::registry;
use purlin::deploy::{Deploy, Graph};
use purlin::{Config, Result};

fn check(name: &str, text: &str) -> Result<()> {
    let graph = Graph::from_text(name, text)?;
    Deploy::new(registry()).config(Config::default()).graph(graph)?.check()
}

/// File, text, and the first line of what is said.
const BROKEN: &[(&str, &str, &str)] = &[
    ("a.toml", "[app.main\nuse = 'x'", "a.toml:1:10: unclosed table, expected `]`"),
    ("a.toml", "[ap.main]\nuse = 'test:told'", "a.toml:1:2: there are no sections `ap`: did you mean `app`?"),
    ("a.toml", "x = 1", "a.toml:1:1: there are no sections `x`: expected `app`, `layer`, `server`, `defaults`"),
    ("a.toml", "app = 1", "a.toml:1:7: expected a table for [app.NAME], found a number"),
    ("a.toml", "[app]\nmain = 'x'", "a.toml:2:8: expected a table for [app.main], found a string"),
    (
        "a.toml",
        "[app.main]\nuse = 'test:tolld'",
        "a.toml:2:7: [app.main] uses `test:tolld`, which nothing is registered as: did you mean `test:told`?",
    ),
    (
        "a.toml",
        "[app.main]\nuse = 'othr'\n[app.other]\nuse = 'test:told'",
        "a.toml:2:7: there is no [app.othr] in a.toml: did you mean `other`?",
    ),
    (
        "a.toml",
        "[app.main]\nuse = 'test:told'\nwrod = 'x'",
        "a.toml:3:1: `test:told`, used by [app.main], has no option `wrod`: did you mean `word`?",
    ),
    (
        "a.toml",
        "[app.main]\nuse = 'test:told'\nnumber = 'many'",
        "a.toml:3:10: `number` of [app.main]: expected a whole number from 0 up, found \"many\"",
    ),
    ("a.toml", "[layer.x]\nuse = 'test:mark'", "a.toml:1:8: [layer.x] needs `word`, which is not set"),
    (
        "a.toml",
        "[app.a]\nuse = 'b'\n[app.b]\nuse = 'a'",
        "a.toml:4:7: sections go round in a circle: [app.a] -> [app.b] -> [app.a]",
    ),
    (
        "a.toml",
        "[app.a]\nmount = [{ path = '/', app = 'a' }]",
        "a.toml:2:30: sections go round in a circle: [app.a] -> [app.a]",
    ),
    (
        "a.toml",
        "[layer.x]\nuse = 'test:mark'\nword = 'a'\nwith = ['x']",
        "a.toml:4:9: sections go round in a circle: [layer.x] -> [layer.x]",
    ),
    (
        "a.toml",
        "[app.main]\nusee = 'test:told'",
        "a.toml:1:6: [app.main] does not say what makes it: expected `use`, `pipeline`, `mount`, `cascade`; is `usee` meant to be `use`?",
    ),
    (
        "a.toml",
        "[app.main]\nuse = 'test:told'\npipeline = ['x']",
        "a.toml:3:1: [app.main] has both `use` and `pipeline`: one of them makes it",
    ),
    ("a.toml", "[app.main]\npipeline = []", "a.toml:2:12: `pipeline` of [app.main] is empty"),
    ("a.toml", "[app.main]\npipeline = ['x', 1]", "a.toml:2:18: expected an application, found a number"),
    (
        "a.toml",
        "[app.main]\npipeline = ['x']\nword = 'y'\n[app.x]\nuse = 'test:told'",
        "a.toml:3:1: [app.main] has no factory that could take the option `word`: it belongs into a section with `use`",
    ),
    (
        "a.toml",
        "[app.main]\npipeline = ['test:told', 'test:told']",
        "a.toml:2:13: `test:told` uses `test:told`: expected the name of a layer, found app",
    ),
    (
        "a.toml",
        "[app.main]\nmount = [{ pth = '/', app = 'x' }]",
        "a.toml:2:12: an entry of `mount` has no `pth`: did you mean `path`?",
    ),
    (
        "a.toml",
        "[app.main]\nmount = [{ path = 'x', app = 'x' }]",
        "a.toml:2:19: expected a path that begins with a slash, found \"x\"",
    ),
    (
        "a.toml",
        "[app.main]\nuse = 'test:told'\nword = 'a ${wrd} b'",
        "a.toml:3:13: the variable `wrd` is not set: did you mean `word`?",
    ),
    (
        "a.toml",
        "[app.main]\nuse = 'test:told'\nword = '${word}'",
        "a.toml:3:8: the variables of this value go round in a circle",
    ),
    (
        "a.toml",
        "[app.main]\nuse = 'test:told'\nword = '${env:NO_SUCH}'",
        "a.toml:3:11: the variable `env:NO_SUCH` is not set: set it, or give a default as `${env:NAME:-default}`",
    ),
    (
        "a.toml",
        "[app.main]\nuse = 'test:told'\nword = '${word'",
        "a.toml:3:9: expected `}` after this `${`; `$${` is the text `${`",
    ),
    ("a.toml", "[app.main]\nuse = 'no-such.toml#x'", "a.toml:2:7: cannot read the file no-such.toml"),
    (
        "a.toml",
        "[server.main]\nport = 70000",
        "a.toml:2:8: `port` of [server.main]: expected a whole number from 0 to 65535, found `70000`",
    ),
    (
        "a.toml",
        "[server.main]\nprot = 1",
        "a.toml:2:1: `purlin:server`, used by [server.main], has no option `prot`: did you mean `port`?",
    ),
    (
        "a.ini",
        "[app:main]\nuse = egg:Test#tolds\n",
        "a.ini:2:7: [app.main] uses `test:tolds`, which nothing is registered as: did you mean `test:told`?",
    ),
    ("a.ini", "[app:main]\nuse", "a.ini:2:1: expected `key = value` or [section]"),
    ("a.ini", "use = x", "a.ini:1:1: expected a section before the first key"),
    (
        "a.ini",
        "[app:main]\nuse = test:told\nword = a\nword = b",
        "a.ini:4:1: the key `word` stands twice in [app:main]",
    ),
    (
        "a.ini",
        "[app:a]\nuse = test:told\n[pipeline:a]\npipeline = a",
        "a.ini:3:1: a second application named `a`: expected one",
    ),
    (
        "a.ini",
        "[app:main]\nuse = test:told\nword = %(wrod)s/%(x)\n",
        "a.ini:3:8: expected `%(NAME)s`, or `%%` for a percent sign",
    ),
    (
        "a.ini",
        "[filter:x]\nuse = egg:Paste#urlmap",
        "a.ini:2:7: [layer.x] uses `paste:urlmap`, which nothing is registered as: the command `layers` prints what is registered",
    ),
    (
        "a.ini",
        "[server:x]\nuse = egg:Paste#cascade",
        "a.ini:2:7: [server.x] uses `paste:cascade`, which nothing is registered as: the command `layers` prints what is registered",
    ),
    (
        "a.toml",
        "[app.main]\nuse = 'test:told'\n[server.a]\n[server.b]",
        "a.toml: there is nothing to serve: expected the key `app`, or the name `main`, of [server.a], [server.b]",
    ),
    (
        "a.toml",
        "[app.main]\nmount = [{ host = 'exa mple', app = 'test:told' }]",
        "a.toml:2:19: expected a host as example.org or *.example.org, in punycode, or an address, with or without a port, \
         found \"exa mple\"",
    ),
    (
        "a.toml",
        "[app.main]\nmount = [{ path = '/{x', app = 'test:told' }]",
        "a.toml:2:19: expected a path as /blog or /users/{id}, found \"/{x\"",
    ),
    (
        "a.toml",
        "[app.main]\nmount = [\n{ path = '/{x}', app = 'test:told' },\n{ path = '/{y}', app = 'test:told' }]",
        "a.toml:4:10: /{y} is in conflict with /{x}: a request could match both",
    ),
    (
        "a.toml",
        "[app.main]\nmount = [\n{ host = 'a.example', app = 'test:told' },\n{ host = 'A.example', app = 'test:told' }]",
        "a.toml:4:29: [app.main] mounts two applications at /",
    ),
    (
        "a.ini",
        "[composite:main]\nuse = egg:Paste#urlmap\nblog = test:told",
        "a.ini:3:1: expected a path that begins with a slash, found \"blog\"",
    ),
    ("a.ini", "[filter-app:main]\nuse = test:mark", "a.ini:1:1: [filter-app:main] needs `next`"),
    ("a.ini", "[pipeline:main]\nfilter-with = x", "a.ini:1:1: [pipeline:main] needs `pipeline`"),
    (
        "a.ini",
        "[app:main]\nuse = test:told\nget word = nothing",
        "a.ini:3:12: the variable `global.nothing` is not set: expected `here`, `env:NAME`, `global.NAME` or a key of this \
         section",
    ),
    (
        "a.ini",
        "[app:x]\nuse = test:told\n[application:x]\nuse = test:told",
        "a.ini:3:1: a second application named `x`: expected one",
    ),
    ("a.ini", "[ap:x]\nuse = test:told", "a.ini:1:1: nothing is known of [ap:x]: did you mean `app`?"),
    (
        "a.toml",
        "[app.main]\ncascade = ['test:told']\nmax_bdy = 1",
        "a.toml:3:1: `purlin:cascade`, used by [app.main], has no option `max_bdy`: did you mean `max_body`?",
    ),
    (
        "a.toml",
        "[app.main]\ncascade = ['test:told']\npasses = [4]",
        "a.toml:1:6: [app.main] cannot be made: `passes`: expected a status as 404, found \"4\"",
    ),
    (
        "a.toml",
        "[app.main]\nuse = 'purlin:cascade'",
        "a.toml:2:7: [app.main] uses `purlin:cascade`, which is a key instead: Asks one application after another: \
         `cascade = [\"NAME\", \"NAME\"]`, with these options beside it.",
    ),
    (
        "a.toml",
        "[app.main]\npipeline = ['deadline', 'test:told']",
        "a.toml:2:13: there is no [layer.deadline] in a.toml: did you mean `purlin:deadline`, which is registered?",
    ),
    (
        "a.toml",
        "[app.main]\nuse = 'test:mark'\nword = 'x'\nwrod = 'y'\nnext = 'test:told'",
        "a.toml:4:1: `test:mark`, used by [app.main], has no option `wrod`: did you mean `word`?",
    ),
    (
        "a.toml",
        "[app.main]\nuse = 'test:told'\nword = '${env:NO_SUCH:-${here}/data'",
        "a.toml:3:9: expected `}` after this `${`; `$${` is the text `${`",
    ),
    (
        "a.toml",
        "[app.main]\nuse = '${no}.toml#x'",
        "a.toml:2:10: the variable `no` is not set: expected `here`, `env:NAME`, `global.NAME` or a key of this section",
    ),
    ("a.toml", "[app.main]\nuse = '/dev/zero#x'", "a.toml:2:7: expected a file, found something else at /dev/zero"),
];

#[test]
fn a_broken_file_gets_one_message_with_its_place() {
    let mut wrong = Vec::new();
    for &(name, text, expected) in BROKEN {
        let error = check(name, text).expect_err(text);
        let said = error.to_string();
        if said.lines().next() != Some(expected) {
            wrong.push(format!(
                "{text}\n  expected: {expected}\n  found:    {}",
                said.lines().next().unwrap_or_default()
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
fn the_line_is_shown_and_no_secret_in_it() {
    let error = check("a.toml", "[app.main]\nuse = 'test:tolld'").unwrap_err();
    assert!(error.to_string().ends_with("\n  |\n2 | use = 'test:tolld'\n  |       ^^^^^^^^^^^^"), "{error}");
    let error = check("a.toml", "[app.main]\nuse = 'test:told'\nsecret_kye = 'hunter2'").unwrap_err();
    assert!(!error.to_string().contains("hunter2"), "{error}");
    let deployed = Graph::from_toml("a.toml", "[app.main]\nuse = 'test:told'\npassword = 'hunter2'").unwrap();
    assert!(!format!("{deployed:?}").contains("hunter2"));
}

#[test]
fn what_would_never_end_is_refused() {
    let mut text = String::from("[app.a0]\nuse = 'test:told'\n");
    for n in 1..=40 {
        let below = n - 1;
        text +=
            &format!("[app.a{n}]\nmount = [{{ path = '/', app = 'a{below}' }}, {{ path = '/x', app = 'a{below}' }}]\n");
    }
    assert!(check("a.toml", &text).unwrap_err().to_string().contains("more than 10000 sections would be built"));
    let mut text = String::from("[app.main]\nuse = 'test:told'\nword = '${a9}'\n[defaults]\na0 = 'xxxxxxxxxxxxxxxx'\n");
    for n in 1..=9 {
        text += &format!("a{n} = '{}'\n", format!("${{a{}}}", n - 1).repeat(10));
    }
    assert!(check("a.toml", &text).unwrap_err().to_string().contains("longer than 65536 bytes"));
    // Nothing is ever long here, and all the same it would take years.
    let text = text.replace("xxxxxxxxxxxxxxxx", "").replace("[defaults]", "[defaults]\na12 = '${a9}${a9}${a9}'");
    assert!(check("a.toml", &text).unwrap_err().to_string().contains("all variables of the file come to more than"));
    let names = "'test:mark', ".repeat(10_001);
    let text = format!("[app.main]\npipeline = [{names} 'test:told']\n[defaults]\nword = 'x'");
    assert!(check("a.toml", &text).unwrap_err().to_string().contains("more than 10000 sections would be built"));
}

#[test]
fn a_file_is_as_large_as_it_is_and_not_as_it_says() {
    let open = |path: &str| Deploy::new(registry()).open(path).unwrap_err().to_string();
    assert_eq!(open("/dev/zero"), "/dev/zero: expected a file, found something else at /dev/zero");
    // The kernel says of this one that it has no bytes.
    assert!(open("/proc/self/status").starts_with("/proc/self/status:1:"), "{}", open("/proc/self/status"));
    let large = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("large.toml");
    std::fs::write(&large, vec![b'\n'; (1 << 20) + 1]).unwrap();
    assert!(open(&large.display().to_string()).contains("expected a file of 1048576 bytes at most, found more"));
}
