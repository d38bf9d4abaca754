//! An INI file and its TOML twin are one graph; what each rule of precedence and each old trap comes to.

use super::{ask, ini, registry, told, toml};
use purlin::deploy::{Deploy, Graph, Kind};

/// Rule, INI, TOML.
const TWINS: &[(&str, &str, &str)] = &[
    (
        "an application with options",
        "[app:main]\nuse = test:told\nword = Grüße\nnumber = 7\non = true\n",
        "[app.main]\nuse = 'test:told'\nword = 'Grüße'\nnumber = 7\non = true",
    ),
    ("a section without a name is `main`", "[app]\nuse = test:told", "[app.main]\nuse = 'test:told'"),
    (
        "the words for applications are one",
        "[application:a]\nuse = test:told\n[composit:b]\nuse = egg:Paste#urlmap\n/ = a\n",
        "[app.a]\nuse = 'test:told'\n[app.b]\nmount = [{ path = '/', app = 'a' }]",
    ),
    (
        "defaults, `set` and `get`",
        "[DEFAULT]\nadmin_email = a@b\n[app:main]\nuse = test:told\nset admin_email = c@d\nget word = admin_email",
        "[defaults]\nadmin_email = 'a@b'\n[app.main]\nuse = 'test:told'\nglobals = { admin_email = 'c@d' }\n\
         word = '${global.admin_email}'",
    ),
    (
        "a pipeline",
        "[pipeline:main]\npipeline = one two\n  inner\n[filter:one]\nuse = test:mark\nword = 1\n\
         [filter:two]\nuse = test:mark\nword = x\n[app:inner]\nuse = test:told",
        "[app.main]\npipeline = ['one', 'two', 'app:inner']\n[layer.one]\nuse = 'test:mark'\nword = 1\n\
         [layer.two]\nuse = 'test:mark'\nword = 'x'\n[app.inner]\nuse = 'test:told'",
    ),
    (
        "a filter around the next application",
        "[filter-app:main]\nuse = test:mark\nword = x\nnext = inner\n[app:inner]\nuse = test:told",
        "[app.main]\nuse = 'test:mark'\nword = 'x'\nnext = 'inner'\n[app.inner]\nuse = 'test:told'",
    ),
    (
        "`filter-with` of an application and of a filter",
        "[app:main]\nuse = test:told\nfilter-with = one\n[filter:one]\nuse = test:mark\nword = a\nfilter-with = two\n\
         [filter:two]\nuse = test:mark\nword = b",
        "[app.main]\nuse = 'test:told'\nwith = ['one']\n[layer.one]\nuse = 'test:mark'\nword = 'a'\nwith = ['two']\n\
         [layer.two]\nuse = 'test:mark'\nword = 'b'",
    ),
    (
        "variables",
        "[app:main]\nuse = test:told\npath = %(here)s/x\nword = 100%% of ${x}\n",
        "[app.main]\nuse = 'test:told'\npath = '${here}/x'\nword = '100% of $${x}'",
    ),
    (
        "an application of another file",
        "[app:main]\nuse = config:other.ini#name\n",
        "[app.main]\nuse = 'other.ini#name'",
    ),
    (
        "hosts and paths",
        "[composite:main]\nuse = egg:Paste#urlmap\n/blog = a\ndomain example.org / = a\n[app:a]\nuse = test:told",
        "[app.main]\nmount = [{ path = '/blog', app = 'a' }, { host = 'example.org', app = 'a' }]\n\
         [app.a]\nuse = 'test:told'",
    ),
    (
        "a cascade",
        "[composite:main]\nuse = egg:Paste#cascade\napp10 = b\napp2 = a\n[app:a]\nuse = test:told\n[app:b]\nuse = test:told",
        "[app.main]\ncascade = ['a', 'b']\n[app.a]\nuse = 'test:told'\n[app.b]\nuse = 'test:told'",
    ),
    (
        "servers; comments; logging, which others read",
        "# one\n; two\n[server:main]\nuse = egg:Paste#http\nhost = 127.0.0.1\n\nport = 0\n[loggers]\nkeys = root\n\
         [logger_root]\nlevel = INFO\nhandlers =\n",
        "[server.main]\nuse = 'paste:http'\nhost = '127.0.0.1'\nport = 0",
    ),
    (
        "`%(__file__)s`",
        "[app]\nuse = test:told\nword = %(__file__)s",
        "[app.main]\nuse = 'test:told'\nword = '${file}'",
    ),
    ("what a file requires", "[app]\nuse = test:told\nrequire = egg:A\n", "[app.main]\nuse = 'test:told'"),
    (
        "a factory that the section names itself",
        "[filter:x]\npaste.filter_factory = a.b:c\nword = y",
        "[layer.x]\nuse = 'call:a.b:c'\nword = 'y'",
    ),
    (
        "`filter-with` of a pipeline and of a composite",
        "[pipeline:a]\npipeline = b\nfilter-with = x\n[composite:b]\nuse = egg:Paste#urlmap\n/ = c\nfilter-with = y",
        "[app.a]\npipeline = ['b']\nwith = ['x']\n[app.b]\nmount = [{ path = '/', app = 'c' }]\nwith = ['y']",
    ),
    (
        "the keys of a cascade in their order, with numbers as numbers",
        "[composite:main]\nuse = egg:Paste#cascade\napp_z = c\napp10 = b\napp9 = a\napp_files = d",
        "[app.main]\ncascade = ['a', 'b', 'd', 'c']",
    ),
    (
        "what a cascade passes by",
        "[composite:main]\nuse = egg:Paste#cascade\napp1 = a\ncatch = 404 403\nmax_body = 1 MiB",
        "[app.main]\ncascade = ['a']\npasses = [404, 403]\nmax_body = '1 MiB'",
    ),
    (
        "keys that are indented, and what goes on with them",
        "[app]\n  use = test:told\n  word = a\n    b\n  path = c",
        "[app.main]\nuse = 'test:told'\nword = \"a\\nb\"\npath = 'c'",
    ),
    ("a number with a point", "[app]\nuse = test:told\nnumber = 1.0", "[app.main]\nuse = 'test:told'\nnumber = 1.0"),
    (
        "a list of words, and lists and tables as TOML has them",
        "[app]\nuse = test:any\na = x 2 true\nb = ['x y', 'z']\nc = { d = 1 }",
        "[app.main]\nuse = 'test:any'\na = ['x', 2, true]\nb = ['x y', 'z']\nc = { d = 1 }",
    ),
    (
        "variables in references",
        "[app]\nuse = config:%(here)s/cms.ini\n[pipeline:p]\npipeline = %(filters)s main",
        "[app.main]\nuse = 'config:${here}/cms.ini'\n[app.p]\npipeline = ['${filters}', 'main']",
    ),
];

#[test]
fn an_ini_file_and_its_toml_twin_are_equal_graphs() {
    for &(rule, ini, toml) in TWINS {
        let ini = Graph::from_ini("site.ini", ini).unwrap_or_else(|error| panic!("{rule}: {error}"));
        let toml = Graph::from_toml("site.toml", toml).unwrap_or_else(|error| panic!("{rule}: {error}"));
        assert_eq!(ini, toml, "{rule}");
    }
}

#[test]
fn other_values_are_other_graphs() {
    let graph = |text: &str| Graph::from_toml("site.toml", text).unwrap();
    let one = graph("[app.main]\nuse = 'test:told'\nword = 'a'");
    for other in [
        "[app.main]\nuse = 'test:told'\nword = 'b'",
        "[app.main]\nuse = 'test:any'\nword = 'a'",
        "[app.main]\nuse = 'test:told'",
        "[app.main]\nuse = 'test:told'\nword = 'a'\nwith = ['x']",
        "[app.other]\nuse = 'test:told'\nword = 'a'",
        "[defaults]\nx = 1\n[app.main]\nuse = 'test:told'\nword = 'a'",
    ] {
        assert_ne!(one, graph(other), "{other}");
    }
}

#[tokio::test]
async fn values_come_from_where_they_should() {
    // Rule, TOML, what the answer has.
    let table = [
        (
            "a default reaches an option that is not set",
            "[defaults]\nword = 'default'\n[app.main]\nuse = 'test:told'",
            "word=default",
        ),
        (
            "the section is above the default of the same name, and does not disappear",
            "[defaults]\nword = 'default'\n[app.main]\nuse = 'test:told'\nword = 'own'",
            "word=own",
        ),
        ("even where both are equal", "[defaults]\nword = 'x'\n[app.main]\nuse = 'test:told'\nword = 'x'", "word=x"),
        (
            "a default that the factory does not know is no option",
            "[defaults]\nelse = 'x'\n[app.main]\nuse = 'test:told'",
            "word= ",
        ),
        (
            "`use` takes the options of another section, and adds to them",
            "[app.base]\nuse = 'test:told'\nword = 'base'\nnumber = 1\n[app.main]\nuse = 'base'\nword = 'main'",
            "word=main number=Some(1)",
        ),
        (
            "globals of the section that uses are above those of the one that is used",
            "[app.base]\nuse = 'test:told'\nglobals = { admin_email = 'base' }\n\
             [app.main]\nuse = 'base'\nglobals = { admin_email = 'main' }",
            "email=main",
        ),
        (
            "globals of a section are above the defaults",
            "[defaults]\nadmin_email = 'default'\n[app.main]\nuse = 'test:told'\nglobals = { admin_email = 'set' }",
            "email=set",
        ),
        (
            "and are seen by all that the section refers to",
            "[defaults]\nadmin_email = 'default'\n[app.main]\npipeline = ['inner']\nglobals = { admin_email = 'set' }\n\
             [app.inner]\nuse = 'test:told'",
            "email=set",
        ),
        (
            "a variable of the section itself",
            "[app.main]\nuse = 'test:told'\nword = 'a'\npath = '${word}/b'",
            "path=a/b",
        ),
        (
            "of the defaults, which have variables too",
            "[defaults]\nbase = '${here}/data'\n[app.main]\nuse = 'test:told'\npath = '${base}/x'",
            "path=/site/data/x",
        ),
        (
            "the default of a variable",
            "[app.main]\nuse = 'test:told'\nword = '${global.none:-else}'\npath = '${env:NONE:-}'",
            "word=else number=None path= ",
        ),
        (
            "a variable becomes what the option is",
            "[defaults]\nn = 5\n[app.main]\nuse = 'test:told'\nnumber = '${n}'",
            "number=Some(5)",
        ),
        ("a text that looks like a variable", "[app.main]\nuse = 'test:told'\nword = '$${x} $5'", "word=${x} $5"),
        ("the file", "[app.main]\nuse = 'test:told'\nword = '${file}'", "word=/site/site.toml"),
        (
            "a default with a variable in it",
            "[app.main]\nuse = 'test:told'\npath = '${env:DATA:-${here}/data}/x'",
            "path=/site/data/x",
        ),
        (
            "and one in that",
            "[app.main]\nuse = 'test:told'\npath = '${env:DATA:-${env:HOME:-${here}}/data}/x'",
            "path=/site/data/x",
        ),
        ("braces in a default", "[app.main]\nuse = 'test:told'\nword = '${env:DATA:-{a}}'", "word={a}"),
        (
            "a variable in a reference, in a layer's name and in a path",
            "[defaults]\nwhich = 'told'\n[app.main]\nmount = [{ path = '/${which}', app = 'a' }, { path = '/', app = 'a' }]\n\
             with = ['m-${which}']\n[app.a]\nuse = 'test:${which}'\nword = 'x'\n\
             [layer.m-told]\nuse = 'test:mark'\nword = 'm'",
            "word=x",
        ),
    ];
    for (rule, text, expected) in table {
        let found = told(&toml(text)).await;
        assert!(found.contains(expected), "{rule}: expected {expected}, found {found}");
    }
}

#[tokio::test]
async fn texts_of_an_ini_file_become_what_the_option_is() {
    for (word, on) in
        [("yes", true), ("on", true), ("1", true), ("True", true), ("no", false), ("off", false), ("0", false)]
    {
        let found = told(&ini(&format!("[app:main]\nuse = test:told\non = {word}\nword = 007\nnumber = 7"))).await;
        assert!(found.contains(&format!("on=Some({on})")), "{word}: {found}");
        // What would be a number elsewhere is a text where one is asked for, as it is written.
        assert!(found.contains("word=007 number=Some(7)"), "{found}");
    }
}

#[tokio::test]
async fn the_command_line_is_above_the_environment_and_that_above_the_file() {
    let text =
        "[defaults]\nword = 'default'\n[app.main]\nuse = 'test:told'\nword = 'file'\n[app.un-set]\nuse = 'test:told'";
    let open = || Deploy::new(registry());
    let graph = || Graph::from_toml("/site/site.toml", text).unwrap();
    let variable = |deploy: Deploy| deploy.var("PURLIN_DEPLOY__APP__MAIN__WORD", "environment");

    assert!(told(&open().graph(graph()).unwrap()).await.contains("word=file"));
    assert!(told(&variable(open()).graph(graph()).unwrap()).await.contains("word=environment"));
    let both = variable(open()).set("app.main.word", "line").graph(graph()).unwrap();
    assert!(told(&both).await.contains("word=line"));
    let options = both.values(Kind::App, "main").unwrap().options();
    let word = options.iter().find(|setting| setting.key == "word").unwrap();
    assert_eq!((word.value.as_str(), word.source.to_string().as_str()), ("line", "--set app.main.word"));

    let defaults =
        open().set("defaults.word", "line").var("PURLIN_DEPLOY__DEFAULTS__WORD", "x").graph(graph()).unwrap();
    assert!(ask(&defaults.app("un-set").unwrap(), "/").await.0.contains("word=line"));
    assert!(told(&defaults).await.contains("word=file"), "a default is below the section, whoever sets it");
    // Names with hyphens have underscores in variables.
    let hyphen = open().var("PURLIN_DEPLOY__APP__UN_SET__NUMBER", "9").graph(graph()).unwrap();
    assert!(ask(&hyphen.app("un-set").unwrap(), "/").await.0.contains("number=Some(9)"));

    for (key, problem) in [
        ("app.mian.word", "--set app.mian.word: there is no [app.mian] in /site/site.toml: did you mean `main`?"),
        ("word", "--set word: expected a kind, the name of a section and a key, as in `layer.gzip.min_size`"),
        ("ap.main.word", "--set ap.main.word: expected `app`, `layer`, `server` or `defaults` first"),
        ("app.main.use", "--set app.main.use: `use` says what the section is, and stands in the file only"),
    ] {
        assert_eq!(open().set(key, "x").graph(graph()).unwrap_err().to_string(), problem);
    }
    // A password may have what looks like a variable.
    let password = variable(open()).var("PURLIN_DEPLOY__APP__MAIN__WORD", "a${b").set("defaults.path", "${here}");
    let found = told(&password.graph(graph()).unwrap()).await;
    assert!(found.contains("word=a${b number=None path=${here}"), "{found}");
    let env = Deploy::new(registry()).var("WORD", "told").var("EMPTY", "").graph(
        Graph::from_toml("site.toml", "[app.main]\nuse = 'test:told'\nword = '${env:WORD}'\npath = '${env:EMPTY:-p}'")
            .unwrap(),
    );
    let found = told(&env.unwrap()).await;
    assert!(found.contains("word=told") && found.contains("path=p"), "{found}");
}

#[test]
fn values_are_told_without_building() {
    let deployment = toml(
        "[defaults]\nadmin_email = 'a@b'\n[app.main]\nuse = 'test:told'\nword = 'x'\napi = 1\n\
         [layer.gzip]\nuse = 'purlin:compression'\nmin_size = 9\n[layer.keep]\nuse = 'purlin:sessions'\ncookie_name = 'c'",
    );
    // An unknown key is told with the values, and is an error when it is built.
    let values = deployment.values(Kind::App, "main");
    assert!(values.unwrap_err().to_string().contains("has no option `api`"));
    let gzip = deployment.values(Kind::Layer, "gzip").unwrap();
    assert_eq!(gzip.factory.as_deref(), Some("purlin:compression"));
    assert_eq!((gzip.option("min_size").as_deref(), gzip.global("admin_email").as_deref()), (Some("9"), Some("a@b")));
    let options = gzip.options();
    let source = |key: &str| options.iter().find(|setting| setting.key == key).unwrap().source.to_string();
    assert_eq!((source("min_size").as_str(), source("codings").as_str()), ("/site/site.toml:9", "default"));
    // A section with `next` is its layer's.
    let around = toml(
        "[app.main]\nuse = 'purlin:deadline'\nlimit = '5s'\nnext = 'test:told'\n[app.csrf]\nuse = 'purlin:csrf'\nnext = 'main'",
    );
    let limit = around.values(Kind::App, "main").unwrap();
    assert_eq!((limit.factory.as_deref(), limit.option("limit").as_deref()), (Some("purlin:deadline"), Some("5s")));
    let csrf = around.values(Kind::App, "csrf").unwrap().options();
    assert_eq!((csrf[0].key.as_str(), csrf[0].value.as_str()), ("trust", "[]"));
}

#[tokio::test]
async fn a_key_of_the_command_line_leads_into_a_table() {
    let text = "[layer.gzip]\nuse = 'purlin:compression'\nquality = { br = 4 }\n[layer.plain]\nuse = 'purlin:compression'\n\
                [server.main]\n[server.admin]\n[app.other]\nuse = 'test:told'";
    let graph = || Graph::from_toml("/site/site.toml", text).unwrap();
    let deployment = Deploy::new(registry())
        .set("layer.gzip.quality.gzip", "6")
        .set("layer.gzip.codings", "[\"gzip\"]")
        .var("PURLIN_DEPLOY__LAYER__PLAIN__QUALITY__BR", "3")
        .set("server.main.app", "other")
        .set("server.admin.listen", "[\"127.0.0.1:1\", \"[::1]:1\"]");
    let deployment = deployment.graph(graph()).unwrap();
    let gzip = deployment.values(Kind::Layer, "gzip").unwrap();
    assert_eq!((gzip.option("quality.gzip").as_deref(), gzip.option("quality.br").as_deref()), (Some("6"), Some("4")));
    let told = |name: &str| {
        let app = purlin::Stack::new().layer(deployment.layer(name).unwrap()).app(purlin::Router::new());
        format!("{:?}", app.check().unwrap().layers()[0].options)
    };
    assert!(told("gzip").contains("gzip"), "{}", told("gzip"));
    told("plain");
    let names: Vec<String> = deployment.servers().unwrap().into_iter().map(|(name, ..)| name).collect();
    assert_eq!(names, ["main"]);
    assert!(format!("{:?}", deployment.server("admin").unwrap()).contains("[::1]:1"));
}

#[test]
fn the_usual_lines_of_servers_in_pastes_files_are_read() {
    let deployment = ini("[server:main]\nuse = egg:waitress#main\nlisten = localhost:6543\n\
         [server:two]\nuse = egg:waitress#main\nlisten = 127.0.0.1:80 [::]:80\n\
         [server:ipv6]\nuse = egg:waitress#main\nlisten = [::]:80 127.0.0.1:80\n\
         [server:paste]\nuse = egg:Paste#http\nhost = localhost\nport = 6543\n");
    for (name, places) in [
        ("main", &["127.0.0.1:6543"][..]),
        ("two", &["127.0.0.1:80", "[::]:80"]),
        ("ipv6", &["[::]:80", "127.0.0.1:80"]),
        ("paste", &["127.0.0.1:6543"]),
    ] {
        let server = format!("{:?}", deployment.server(name).unwrap_or_else(|error| panic!("{error}")));
        assert!(places.iter().all(|place| server.contains(place)), "{name}: {server}");
    }
}
