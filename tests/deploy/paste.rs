//! PasteDeploy's own documented examples, retyped as data, load; and so do the files of its tests, with what they come to.

use super::{ask, registry};
use purlin::deploy::{Deploy, Deployment, Graph, Kind, Registry};
use purlin::{BoxService, Middleware, Request, Response, Result, Service};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A folder with these files.
fn folder(name: &str, files: &[(&str, &str)]) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("deploy").join(name);
    std::fs::create_dir_all(folder.join("htdocs")).unwrap();
    for (name, text) in files {
        std::fs::write(folder.join(name), text).unwrap();
    }
    folder
}

/// What the examples use: names of packages, each an application that tells its options.
fn packages() -> Registry {
    let names = ["blogapp:main", "myblog:main", "myapp:main", "myegg:main", "call:mywiki.main:application"];
    let names = names.into_iter().chain(["call:my.project:myapplication", "call:myapp.modulename:app_factory"]);
    let names = names.chain(["fakeapp:basic_app", "fakeapp:other", "fakeapp:configed"]);
    let names = names.chain(["call:fakeapp.configapps:SimpleApp.make_app", "call:fakeapp.apps:make_basic_app"]);
    let registry = names.fold(registry(), |registry, name| {
        registry.app(name, move |options: BTreeMap<String, String>, section| {
            let globals = ["def1", "def2", "def3", "another", "glob", "admin_email"];
            let globals: Vec<String> =
                globals.iter().filter_map(|name| Some(format!("{name}={}", section.global(name)?))).collect();
            let answer = format!("{name} {options:?} {}", globals.join(" "));
            Ok(super::says(answer))
        })
    });
    let marks = ["authentication:auth", "paste:printdebug", "filteregg:filter2", "fakeapp:caps", "fakeapp:caps2"];
    let registry = marks
        .into_iter()
        .fold(registry, |registry, name| registry.layer(name, move |_: BTreeMap<String, String>, _| Ok(Named(name))));
    registry.app("fakeapp:remote_addr", |options: BTreeMap<String, String>, section| {
        let apps = options.iter().filter(|(key, _)| key.starts_with("app."));
        let apps: Vec<BoxService> = apps.map(|(_, name)| section.app(name)).collect::<Result<_>>()?;
        let count = apps.len();
        Ok(super::says(format!("{count} applications")))
    })
}

struct Named(&'static str);

impl Middleware for Named {
    async fn handle(&self, req: Request, next: &impl Service) -> Result<Response> {
        let mut response = next.call(req).await;
        response.headers_mut().append("x-mark", self.0.parse()?);
        Ok(response)
    }
}

fn open(folder: &Path, file: &str) -> Deployment {
    let uri = format!("config:{}", folder.join(file).display());
    Deploy::new(packages()).open(&uri).unwrap_or_else(|error| panic!("{error}"))
}

#[tokio::test]
async fn the_typical_file_of_the_introduction_loads() {
    let folder = folder(
        "typical",
        &[
            (
                "site.ini",
                "[composite:main]\nuse = egg:Paste#urlmap\n/ = home\n/blog = blog\n/wiki = wiki\n/cms = config:cms.ini\n\n\
             [app:home]\nuse = egg:Paste#static\ndocument_root = %(here)s/htdocs\n\n\
             [filter-app:blog]\nuse = egg:Authentication#auth\nnext = blogapp    \nroles = admin\n\
             htpasswd = /home/me/users.htpasswd\n\n[app:blogapp]\nuse = egg:BlogApp\n\
             database = sqlite:/home/me/blog.db\n\n[app:wiki]\nuse = call:mywiki.main:application\n\
             database = sqlite:/home/me/wiki.db\n",
            ),
            ("cms.ini", "[app:main]\nuse = egg:MyApp\n"),
            ("htdocs/index.txt", "a file of the home\n"),
        ],
    );
    let app = open(&folder, "site.ini").app("main").unwrap_or_else(|error| panic!("{error}"));
    purlin::site::Outline::of(&app).unwrap();
    for (path, answer, marks) in [
        ("/index.txt", "a file of the home\n", ""),
        ("/blog", "blogapp:main {\"database\": \"sqlite:/home/me/blog.db\"} ", "authentication:auth"),
        ("/wiki/x", "call:mywiki.main:application {\"database\": \"sqlite:/home/me/wiki.db\"} ", ""),
        ("/cms", "myapp:main {} ", ""),
    ] {
        assert_eq!(ask(&app, path).await, (answer.to_owned(), marks.to_owned()), "{path}");
    }
}

#[tokio::test]
async fn the_other_examples_of_the_documentation_load() {
    let folder = folder(
        "others",
        &[
            ("another_config_file.ini", "[app:app_name]\nuse = egg:MyBlog\n"),
            (
                "site.ini",
                "[DEFAULT]\nadmin_email = webmaster@example.com\n\
             [app:myapp]\nuse = config:another_config_file.ini#app_name\n\
             [app:myotherapp]\nuse = egg:MyApp\nset admin_email = bob@example.com\n\
             [app:mythirdapp]\nuse = call:my.project:myapplication\n\
             [app:mylastapp]\nuse = myotherapp\n\
             [app:explicit]\npaste.app_factory = myapp.modulename:app_factory\n\
             [app:blog]\nuse = egg:MyBlog\ndatabase = mysql://localhost/blogdb\nblogname = This Is My Blog!\n\
             [app:otherblog]\nuse = blog\nblogname = The other face of my blog\n\
             [app:filtered]\nuse = egg:MyEgg\nfilter-with = printdebug\n\
             [filter:printdebug]\nuse = egg:Paste#printdebug\n\
             [pipeline:main]\npipeline = filter1 egg:FilterEgg#filter2 printdebug myotherapp\n\
             [filter:filter1]\nuse = egg:Authentication#auth\n\
             [composite:mapped]\nuse = egg:Paste#urlmap\n/ = mylastapp\n/files = blog\n",
            ),
        ],
    );
    let deployment = open(&folder, "site.ini");
    deployment.check().unwrap_or_else(|error| panic!("{error}"));
    let email = "admin_email=webmaster@example.com";
    for (name, answer, marks) in [
        ("myapp", format!("myblog:main {{}} {email}"), ""),
        ("myotherapp", "myapp:main {} admin_email=bob@example.com".to_owned(), ""),
        ("mythirdapp", format!("call:my.project:myapplication {{}} {email}"), ""),
        ("mylastapp", "myapp:main {} admin_email=bob@example.com".to_owned(), ""),
        ("explicit", format!("call:myapp.modulename:app_factory {{}} {email}"), ""),
        (
            "otherblog",
            format!(
                "myblog:main {{\"blogname\": \"The other face of my blog\", \"database\": \"mysql://localhost/blogdb\"}} \
                 {email}"
            ),
            "",
        ),
        ("filtered", format!("myegg:main {{}} {email}"), "paste:printdebug"),
        (
            "main",
            "myapp:main {} admin_email=bob@example.com".to_owned(),
            "paste:printdebug filteregg:filter2 authentication:auth",
        ),
    ] {
        let app = deployment.app(name).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(ask(&app, "/").await, (answer, marks.to_owned()), "{name}");
    }
}

/// The file of PasteDeploy's own tests of values.
const VALUES: &str = "[DEFAULT]\ndef1 = a\ndef2 = b\nbasepath = %(here)s\n\n\
    [app:test1]\nuse = egg:FakeApp#configed\nsetting1 = foo\nsetting2 = bar\napppath = %(basepath)s/app\n\n\
    [app:test2]\nuse = egg:FakeApp#configed\nset def1 = test2\nset another = TEST\nlocal conf = something\n\n\
    [app:test3]\nuse = test2\nset def1 = test3\nanother = something more  \n    across several\n    lines\n\n\
    [app:test_foreign_config]\nuse = config:test_config_included.ini\nset glob = override\nanother = FOO\n\n\
    [app:test_get]\nuse = egg:FakeApp#configed\nset def2 = TEST\nget def1 = def1\nget foo = def2\n\n\
    [app:test_global_conf]\nuse = egg:FakeApp#configed\ntest_interp = this:%(inherit)s\n";

const INCLUDED: &str = "[DEFAULT]\ndef2 = from include\ndef3 = c\n\n[app:main]\n# Equivalent to the egg reference.\n\
    paste.app_factory = fakeapp.configapps:SimpleApp.make_app\nset glob = orig\nbob = your uncle\nanother = BAR\n";

#[tokio::test]
async fn what_pastedeploys_own_tests_expect_of_values_holds() {
    let folder = folder("values", &[("test_config.ini", VALUES), ("test_config_included.ini", INCLUDED)]);
    let deployment = Deploy::new(packages()).set("defaults.inherit", "bazbar").set("app.test_global_conf.x", "y");
    let deployment = deployment.open(&folder.join("test_config.ini").display().to_string()).unwrap();
    let here = folder.display();
    for (name, options, globals) in [
        (
            "test1",
            format!("{{\"apppath\": \"{here}/app\", \"setting1\": \"foo\", \"setting2\": \"bar\"}}"),
            "def1=a def2=b",
        ),
        ("test2", "{\"local conf\": \"something\"}".to_owned(), "def1=test2 def2=b another=TEST"),
        (
            "test3",
            "{\"another\": \"something more\\nacross several\\nlines\", \"local conf\": \"something\"}".to_owned(),
            "def1=test3 def2=b another=TEST",
        ),
        // The defaults of the file that refers are above those of the one it refers to.
        (
            "test_foreign_config",
            "{\"another\": \"FOO\", \"bob\": \"your uncle\"}".to_owned(),
            "def1=a def2=b def3=c glob=override",
        ),
        ("test_get", "{\"def1\": \"a\", \"foo\": \"TEST\"}".to_owned(), "def1=a def2=TEST"),
        ("test_global_conf", "{\"test_interp\": \"this:bazbar\", \"x\": \"y\"}".to_owned(), "def1=a def2=b"),
    ] {
        let factory = if name == "test_foreign_config" {
            "call:fakeapp.configapps:SimpleApp.make_app"
        } else {
            "fakeapp:configed"
        };
        let app = deployment.app(name).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(ask(&app, "/").await.0, format!("{factory} {options} {globals}"), "{name}");
    }
    let values = deployment.values(Kind::App, "test_get").unwrap();
    assert_eq!((values.option("foo").as_deref(), values.global("def2").as_deref()), (Some("TEST"), Some("TEST")));
}

#[tokio::test]
async fn what_pastedeploys_own_tests_expect_of_filters_and_composites_holds() {
    let filters = "[app:normal]\nuse = egg:FakeApp#basic_app\n\
        [pipeline:piped]\npipeline = egg:FakeApp#caps normal\n\
        [filter-app:filt]\nuse = egg:FakeApp#caps\nmethod_to_call = lower\nnext = normal\n\
        [pipeline:piped2]\npipeline = egg:FakeApp#caps2 normal\n\
        [app:inv]\nuse = egg:FakeApp#basic_app\nfilter-with = egg:FakeApp#caps\n\
        [app:main]\nuse = egg:FakeApp#basic_app\nexample = test\nfilter-with = filter1\n\
        [filter:filter1]\nuse = egg:FakeApp#caps\nfilter-with = filter2\n[filter:filter2]\nuse = egg:FakeApp#caps2\n\
        [application:other]\nuse = egg:FakeApp#other\n\
        [composit:remote_addr]\nuse = egg:FakeApp#remote_addr\napp.1 = main\naddr.1 = 127.0.0.1\n\napp.2 = other\n\
        addr.2 = 0.0.0.0\n";
    let folder = folder("filters", &[("test_filter.ini", filters)]);
    let deployment = open(&folder, "test_filter.ini");
    for (name, marks) in [
        ("piped", "fakeapp:caps"),
        ("filt", "fakeapp:caps"),
        ("piped2", "fakeapp:caps2"),
        ("inv", "fakeapp:caps"),
        ("main", "fakeapp:caps fakeapp:caps2"),
    ] {
        assert_eq!(ask(&deployment.app(name).unwrap(), "/").await.1, marks, "{name}");
    }
    assert_eq!(ask(&deployment.app("remote_addr").unwrap(), "/").await.0, "2 applications");
    assert_eq!(deployment.values(Kind::App, "main").unwrap().option("example").as_deref(), Some("test"));

    let bad = "[pipeline:piped3]\npipeline = egg:FakeApp#caps normal\nextra_config_option = bad\n";
    let error = Graph::from_ini("bad.ini", bad).unwrap_err();
    assert!(error.to_string().starts_with("bad.ini:3:1: [pipeline:piped3] has no factory"), "{error}");
    let missing = "[DEFAULT]\ndef1 = a\n[app:main]\nuse = egg:FakeApp#configed\nsetting2 = %(does_not_exist)s/bar\n";
    let deployment = Deploy::new(packages()).graph(Graph::from_ini("test_error.ini", missing).unwrap()).unwrap();
    let error = deployment.app("main").err().unwrap();
    assert!(error.to_string().starts_with("test_error.ini:5:14: the variable `does_not_exist` is not set"), "{error}");
}
