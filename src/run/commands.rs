//! What the commands of a site print, for people and for programs.

use crate::capabilities::Capabilities;
use crate::config::{Config, Setting};
use crate::nearest;
use crate::request::Connection;
use crate::response::ResponseExt;
use crate::site::{LayerInfo, Life, RouteInfo, Site};
use crate::{BoxService, Context, Error, Result, Service};
use http::{HeaderName, HeaderValue, Method, Uri};
use serde_json::{Value, json};
use std::io::Write;
use std::time::Duration;

/// What one request may answer: more than a terminal is for.
const MOST: u64 = 64 << 20;

/// For background work of an application that answers one request.
const ENDING: Duration = Duration::from_secs(1);

pub(super) fn stack(site: &Site, as_json: bool) {
    match as_json {
        true => print_json(&site.layers().iter().map(layer).collect()),
        false => say!("{}", site.stack_table().trim_end_matches('\n')),
    }
}

fn layer(layer: &LayerInfo) -> Value {
    let options: serde_json::Map<String, Value> =
        layer.options.iter().map(|(name, value)| ((*name).to_owned(), value.as_str().into())).collect();
    json!({
        "name": layer.name, "line": layer.line(), "host": layer.host, "mount": layer.mount, "route": layer.route, "options": options,
        "process": layer.process, "boundary": layer.boundary,
        "installed": layer.installed,
    })
}

fn route(route: &RouteInfo) -> Value {
    let methods: Vec<&str> = route.methods.iter().map(Method::as_str).collect();
    json!({
        "methods": methods, "host": route.host, "path": route.path, "name": route.name, "line": route.place.to_string(),
        "handlers": route.handlers,
    })
}

/// Files, say, and services of tower tell no routes: where one of them is mounted, it may answer all the same.
fn no_route(site: &Site, url: &str, path: &str) -> Error {
    let below =
        |of: &str, mount: &str| of.strip_prefix(mount).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    let silent = |mount: &&String| {
        !mount.is_empty() && below(path, mount) && !site.routes().iter().any(|route| below(&route.path, mount))
    };
    let message = format!("no route answers at {url}");
    Error::internal(match site.mounts().iter().filter(silent).max_by_key(|mount| mount.len()) {
        Some(mount) => format!("{message}: what is mounted at {mount} tells no routes, and may answer"),
        None => message,
    })
}

/// # Errors
///
/// `matched` is no URL, or no route answers there.
pub(super) fn routes(site: &Site, matched: Option<&str>, as_json: bool) -> Result<()> {
    let Some(url) = matched else {
        match as_json {
            true => print_json(&site.routes().iter().map(route).collect()),
            false => say!("{}", site.routes_table().trim_end_matches('\n')),
        }
        return Ok(());
    };
    let uri: Uri =
        url.parse().map_err(|_| Error::internal(format!("--match: expected a URL or a path, found {url:?}")))?;
    let path = uri.path();
    let host = uri.authority().map(|host| site.host_for(host.as_str(), uri.scheme_str() == Some("https")));
    // A host that none is for: what is there without one may answer.
    let host = host.map(|host| host.unwrap_or_default());
    let (found, params) = site.route_at(path, None, host).ok_or_else(|| no_route(site, url, path))?;
    let method = found.methods.first().unwrap_or(&Method::GET);
    let layers = site.layers_on(method, path, Some(&found.path), found.host.as_deref());
    if as_json {
        let params: serde_json::Map<String, Value> =
            params.iter().map(|(name, value)| (name.clone(), value.as_str().into())).collect();
        let layers: Vec<Value> = layers.into_iter().map(layer).collect();
        print_json(&json!({ "route": route(found), "params": params, "layers": layers }));
        return Ok(());
    }
    let methods: Vec<&str> = found.methods.iter().map(Method::as_str).collect();
    let methods = if methods.is_empty() { "any".to_owned() } else { methods.join(" ") };
    let host = found.host.as_deref().unwrap_or_default();
    say!("{methods}  {host}{}  {}  {}", found.path, found.name.as_deref().unwrap_or("(no name)"), found.place);
    for (name, value) in params {
        say!("  {name} = {value}");
    }
    let layers: Vec<&str> = layers.iter().map(|layer| layer.name.as_str()).collect();
    say!("  through {}", if layers.is_empty() { "no layer".to_owned() } else { layers.join(", ") });
    Ok(())
}

pub(super) fn settings(config: &Config, as_json: bool) {
    let settings = config.values();
    match as_json {
        true => print_json(&settings.iter().map(setting).collect()),
        false => settings.iter().for_each(print_setting),
    }
}

fn setting(setting: &Setting) -> Value {
    json!({ "key": setting.key, "value": setting.value, "source": setting.source.to_string() })
}

fn print_setting(setting: &Setting) {
    say!("{} = {}  # {}", setting.key, setting.value, setting.source);
}

/// # Errors
///
/// No setting has this key.
pub(super) fn explain(config: &Config, key: &str, as_json: bool) -> Result<()> {
    explained(&config.values(), key, as_json)
}

fn explained(settings: &[Setting], key: &str, as_json: bool) -> Result<()> {
    let Some(found) = settings.iter().find(|setting| setting.key == key) else {
        let hint = nearest::nearest(key, settings.iter().map(|setting| setting.key.as_str()));
        let hint = hint.map(|nearest| format!(": did you mean `{nearest}`?")).unwrap_or_default();
        return Err(Error::internal(format!("there is no setting `{key}`{hint}")));
    };
    match as_json {
        true => print_json(&setting(found)),
        false => print_setting(found),
    }
    Ok(())
}

/// Sends one request, and prints its answer: the head on lines of its own, then the body.
///
/// # Errors
///
/// There is no such method or header; the application does not start; its answer does not end well.
pub(super) fn request(
    app: impl FnOnce() -> Result<BoxService>,
    (method, path): (&str, &str),
    headers: &[(String, String)],
    data: String,
    as_json: bool,
) -> Result<()> {
    let method: Method =
        method.to_ascii_uppercase().parse().map_err(|_| Error::internal(format!("{method:?} is no method")))?;
    let uri: Uri = path
        .parse()
        .ok()
        .filter(|uri: &Uri| uri.path().starts_with('/'))
        .ok_or_else(|| Error::internal(format!("expected a path that begins with a slash, found {path:?}")))?;
    let mut request = crate::Request::new(data.clone().into());
    let host = HeaderValue::from_static("localhost");
    *request.method_mut() = method;
    *request.uri_mut() = uri;
    request.headers_mut().insert(http::header::HOST, host);
    if !data.is_empty() {
        request.headers_mut().insert(http::header::CONTENT_LENGTH, data.len().into());
    }
    for (name, value) in headers {
        let header = (HeaderName::try_from(name.as_str()), HeaderValue::try_from(value.as_str()));
        let (Ok(name), Ok(value)) = header else {
            return Err(Error::internal(format!("--header: {name:?} is no header")));
        };
        // Those that are there already are replaced; a second of any other name is a second line.
        match name {
            http::header::HOST | http::header::CONTENT_LENGTH => drop(request.headers_mut().insert(name, value)),
            name => drop(request.headers_mut().append(name, value)),
        }
    }
    // This thread, and this request.
    let capabilities = Capabilities::new().run_once(true).threads(false);
    request.extensions_mut().insert(Connection::new(None, None).with_capabilities(capabilities));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("starting the runtime")?;
    runtime.block_on(async {
        let app = app()?;
        let life = Life::start_with(&app, capabilities)?;
        let response = app.call(request).await;
        let cause = response.error().map(|error| error.chain().collect::<Vec<_>>().join("\n  caused by: "));
        let (head, body) = response.into_parts();
        let body = body.collect(MOST).await.context("reading the answer's body")?;
        life.end(ENDING).await;
        let pairs = head.headers.iter();
        let pairs = pairs.map(|(name, value)| (name.as_str(), String::from_utf8_lossy(value.as_bytes()).into_owned()));
        if as_json {
            let headers: Vec<_> = pairs.collect();
            let text = String::from_utf8_lossy(&body);
            print_json(&json!({ "status": head.status.as_u16(), "headers": headers, "body": text }));
        } else {
            say!("{}", head.status);
            pairs.for_each(|(name, value)| say!("{name}: {value}"));
            say!("");
            let mut out = std::io::stdout();
            super::unless_left(out.write_all(&body).and_then(|()| out.flush())).context("writing the answer")?;
        }
        // The page of an error tells visitors nothing; whoever asks here may know.
        if let Some(cause) = cause {
            eprintln!("error: {}", crate::report::Redaction::new().text(&cause));
        }
        Ok(())
    })
}

fn print_json(value: &Value) {
    say!("{value:#}");
}

pub(super) use files::*;

#[cfg(feature = "deploy")]
mod files {
    use super::print_json;
    use crate::config::{Config, Listen, Setting};
    use crate::deploy::{Deploy, Deployment, NoOptions, Registry};
    use crate::run::{Announced, Assembly, announcement, places};
    use crate::server::Bound;
    use crate::{BoxService, Context, Error, Result};
    use std::sync::{Mutex, OnceLock, PoisonError};

    /// Opens a file; the site's own stack is `app:main` there, unless the site registers another. It is made when something
    /// uses it.
    pub(in crate::run) fn open(
        file: &str,
        set: &[(String, String)],
        config: Config,
        stack: Assembly,
        registry: Registry,
    ) -> Result<Deployment> {
        let own = OnceLock::new();
        let stack = Mutex::new(Some((stack, config.clone())));
        let registry = with_own(registry, move || {
            let made = own.get_or_init(|| {
                let stack = stack.lock().unwrap_or_else(PoisonError::into_inner).take();
                let (stack, config) = stack.expect("a `OnceLock` is filled once");
                stack(config, None).map_err(|error| error.chain().collect::<Vec<_>>().join(": "))
            });
            made.clone().map_err(Error::internal)
        });
        let deploy = set
            .iter()
            .fold(Deploy::from_process(registry).config(config), |deploy, (key, value)| deploy.set(key, value));
        deploy.open(file)
    }

    fn with_own(registry: Registry, make: impl Fn() -> Result<BoxService> + Send + Sync + 'static) -> Registry {
        if registry.factories().any(|factory| factory.name == "app:main") {
            return registry;
        }
        registry.app("app:main", move |_: NoOptions, _| make()).doc("The site's own stack.")
    }

    pub(in crate::run) fn app(deployment: &Deployment) -> Result<BoxService> {
        deployment.app(deployment.name())
    }

    pub(in crate::run) fn check_file(deployment: &Deployment) -> Result<()> {
        deployment.check()
    }

    /// Opens the sockets of all servers that a file starts; tells where they are.
    pub(in crate::run) fn bind(
        deployment: &Deployment,
        listen: &[Listen],
        environment: &str,
        as_json: bool,
    ) -> Result<(Vec<(Bound, BoxService)>, String)> {
        let servers = deployment.servers()?;
        let only = servers.len() == 1;
        let takes = |name: &str| !listen.is_empty() && (only || name == "main");
        if !listen.is_empty() && !servers.iter().any(|(name, ..)| takes(name)) {
            let names: Vec<&str> = servers.iter().map(|(name, ..)| name.as_str()).collect();
            let problem = format!("--listen is for the server `main`, or the only one: found {}", names.join(", "));
            return Err(Error::internal(problem));
        }
        let (mut bound, mut at) = (Vec::new(), Vec::new());
        // All sockets first: a port that is taken is told before anything has started.
        for (name, server, app) in servers {
            let server = if takes(&name) { server.only_at(listen) } else { server };
            let server = server.bind()?;
            let line = announcement(&server, environment, Some(&name), as_json);
            at.push(format!("{name} {}", places(&server)));
            bound.push((server.announce(&line), BoxService::new(Announced { app, line: Some(line) })));
        }
        Ok((bound, at.join(", ")))
    }

    pub(in crate::run) fn explain_in_file(deployment: &Deployment, key: &str, as_json: bool) -> Result<()> {
        let found = deployment.explain(key)?;
        match (as_json, found.as_slice()) {
            (true, [(setting, _)]) if setting.key == key => print_json(&told(&found[0])),
            _ => print_settings(&found, as_json),
        }
        Ok(())
    }

    /// All values of a file.
    pub(in crate::run) fn settings_of_file(deployment: &Deployment, as_json: bool) -> Result<()> {
        print_settings(&deployment.settings()?, as_json);
        Ok(())
    }

    fn print_settings(settings: &[(Setting, Option<String>)], as_json: bool) {
        if as_json {
            return print_json(&settings.iter().map(told).collect());
        }
        for (Setting { key, value, source }, written) in settings {
            let written = written.as_ref().map(|written| format!(", written {written}")).unwrap_or_default();
            say!("{key} = {value}  # {source}{written}");
        }
    }

    fn told((setting, written): &(Setting, Option<String>)) -> serde_json::Value {
        let mut told = super::setting(setting);
        if let Some(written) = written {
            told["written"] = written.as_str().into();
        }
        told
    }

    pub(in crate::run) fn layers(registry: Registry, as_json: bool) -> Result<()> {
        let registry = with_own(registry, || Err(Error::internal("it is only listed")));
        if as_json {
            let all: Vec<_> = registry.factories().collect();
            print_json(&serde_json::to_value(all).context("writing what is registered")?);
            return Ok(());
        }
        for factory in registry.factories() {
            say!("{} ({})\n  {}", factory.name, factory.kind, factory.doc);
            let options = factory.options.iter().flatten();
            let width = options.clone().map(|option| option.name.len()).max().unwrap_or(0);
            for option in options {
                let default = if option.default.is_empty() { "(no default)" } else { option.default };
                let doc = if option.doc.is_empty() { String::new() } else { format!("  # {}", option.doc) };
                say!("    {:width$} = {default}{doc}", option.name);
            }
        }
        Ok(())
    }
}

#[cfg(not(feature = "deploy"))]
mod files {
    use crate::config::{Config, Listen};
    use crate::run::{Assembly, Registered};
    use crate::server::Bound;
    use crate::{BoxService, Error, Result};

    /// What is opened: nothing.
    pub(in crate::run) enum Opened {}

    fn none<T>() -> Result<T> {
        Err(Error::internal("applications from a file need Purlin's feature `deploy`"))
    }

    pub(in crate::run) fn open(
        _: &str,
        _: &[(String, String)],
        _: Config,
        _: Assembly,
        _: Registered,
    ) -> Result<Opened> {
        none()
    }

    pub(in crate::run) fn app(_: &Opened) -> Result<BoxService> {
        none()
    }

    pub(in crate::run) fn check_file(_: &Opened) -> Result<()> {
        none()
    }

    pub(in crate::run) fn bind(
        _: &Opened,
        _: &[Listen],
        _: &str,
        _: bool,
    ) -> Result<(Vec<(Bound, BoxService)>, String)> {
        none()
    }

    pub(in crate::run) fn explain_in_file(_: &Opened, _: &str, _: bool) -> Result<()> {
        none()
    }

    pub(in crate::run) fn settings_of_file(_: &Opened, _: bool) -> Result<()> {
        none()
    }

    pub(in crate::run) fn layers(_: Registered, _: bool) -> Result<()> {
        none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Request, Response, handler};
    use http::StatusCode;
    use std::sync::{Arc, Mutex};

    #[test]
    fn a_url_is_matched_with_the_routes_of_its_host() {
        use crate::{Hosts, Router, Stack, get};
        let page = |path: &str| Router::new().route(path, get(async || ""));
        let hosts = Hosts::new()
            .host("example.org", page("/a"))
            .host("*.example.org", page("/b"))
            .host("admin.example.org", page("/c"))
            .fallback(page("/d"));
        let site = Stack::new().app(hosts).check().unwrap();
        let table = [
            ("https://example.org/a", true),
            ("https://example.org/c", false),
            ("https://tea.example.org:8000/b", true),
            ("https://admin.example.org/c", true),
            ("https://admin.example.org/b", false),
            ("https://elsewhere.example/d", true),
            ("https://elsewhere.example/a", false),
            ("/c", true),
        ];
        for (url, matches) in table {
            assert_eq!(routes(&site, Some(url), true).is_ok(), matches, "{url}");
        }
        assert_eq!(site.host_for("admin.example.org", true), Some("admin.example.org"));
        assert_eq!(site.host_for("elsewhere.example", true), Some("*"));
    }

    /// An application that decides by the server hears of it here, too.
    #[test]
    fn a_request_by_the_command_line_says_that_it_is_the_only_one() {
        type Heard = Arc<Mutex<Vec<Option<Capabilities>>>>;
        struct Noting(Heard);
        async fn takes(_: Capabilities) -> StatusCode {
            StatusCode::OK
        }
        impl Service for Noting {
            async fn call(&self, req: Request) -> Response {
                use crate::RequestExt;
                locked(&self.0).push(req.capabilities());
                handler(takes).call(req).await
            }
            fn describe(&self, _: &mut crate::site::Outline) {}
            fn start(&self, start: &mut crate::site::Start) -> Result<()> {
                locked(&self.0).push(start.capabilities());
                Ok(())
            }
        }
        fn locked(heard: &Heard) -> std::sync::MutexGuard<'_, Vec<Option<Capabilities>>> {
            heard.lock().unwrap()
        }
        let heard = Heard::default();
        let app = BoxService::new(Noting(heard.clone()));
        request(|| Ok(app), ("GET", "/"), &[], String::new(), false).unwrap();
        let once = Some(Capabilities::new().run_once(true).threads(false));
        assert_eq!(*locked(&heard), [once, once]);
    }
}
