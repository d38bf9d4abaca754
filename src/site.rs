//! `Site`: what a whole application is made of: its layers, its routes, and whether they fit together.

mod about;
mod boundary;
mod life;
mod outline;

pub use about::{About, Needs};
#[cfg(all(unix, feature = "workers"))]
pub(crate) use boundary::Below;
#[doc(hidden)]
pub use boundary::Boundary;
pub(crate) use life::Told;
pub use life::{Life, Start, Stopping};
pub use outline::Outline;

use about::{Need, Noun};

use crate::{Error, Result};
use http::Method;
use std::any::TypeId;
use std::fmt;
use std::panic::Location;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

/// A layer as the stack prints it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct LayerInfo {
    /// Its type's name without the path: `Compression`.
    pub name: String,
    /// The options it runs with, as name and value.
    pub options: Vec<(&'static str, String)>,
    /// The line that put it into the stack.
    pub place: &'static Location<'static>,
    /// The line of the file that put it there, `site.toml:12`, for a layer that a file has.
    pub written: Option<String>,
    /// The path of the mount it stands in; empty in the outermost stack.
    pub mount: String,
    /// The host it stands below, as [`RouteInfo::host`].
    pub host: Option<String>,
    /// The route it belongs to, for a layer of one route.
    pub route: Option<String>,
    /// The process that it runs in: that of the server where there is none, or those of the layer `Workers` at this line.
    pub process: Option<String>,
    /// Whether what stands below it runs in other processes.
    pub boundary: bool,
    /// Whether an application put it there by itself, which found none above it.
    pub installed: bool,
    /// What it stands in for where nobody above provides it.
    stands_in: Option<TypeId>,
    /// For a layer of some handlers: as `route`, of each.
    among: Option<Vec<String>>,
    provides: Vec<Noun>,
    needs: Vec<Need>,
    #[cfg(feature = "database")]
    migrated: Option<Arc<dyn crate::database::Migrated>>,
    told: Option<Arc<dyn Told>>,
    shares: Option<Shares>,
    /// What it reads from while the site runs.
    folders: Vec<PathBuf>,
    pages: Option<Pages>,
}

/// The engine of a layer that makes pages of views.
#[derive(Clone)]
struct Pages(Arc<dyn crate::template::Engine>);

impl fmt::Debug for Pages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pages(…)")
    }
}

/// Puts what a layer tells the whole site among what others do.
#[derive(Clone)]
struct Shares(Arc<dyn Fn(&mut http::Extensions) + Send + Sync>);

impl fmt::Debug for Shares {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Shares(…)")
    }
}

/// A route as `routes` prints it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RouteInfo {
    /// The name that URLs are made by, with those of the mounts it is in: `blog:post`.
    pub name: Option<String>,
    /// The host it is for, as a [`Hosts`](crate::Hosts) has it: `admin.example.org`, `*.example.org`, and `*` for all that are
    /// none of its hosts. `None` where no host decides.
    pub host: Option<String>,
    /// The whole path, the mounts' included, in matchit's syntax: `/blog/{slug}`.
    pub path: String,
    /// The methods with a handler of their own; empty where any method is taken.
    pub methods: Vec<Method>,
    /// The handler's type for each of `methods`, or the one for all.
    pub handlers: Vec<&'static str>,
    /// The line that added the route.
    pub place: &'static Location<'static>,
}

/// A handler with the layers above it, as indices into those of the site.
#[derive(Clone, Debug)]
struct HandlerInfo {
    method: Option<Method>,
    path: String,
    layers: Vec<usize>,
}

impl RouteInfo {
    /// The path with its parameters put in.
    #[track_caller]
    pub(crate) fn fill(&self, name: &str, params: &[(&str, &str)]) -> Result<String> {
        fill(&self.path, params)
            .map_err(|problem| Error::internal(format!("the URL of `{name}` ({}): {problem}", self.path)))
    }

    /// Host and path, as they are printed.
    fn shown(&self) -> String {
        format!("{}{}", self.host.as_deref().unwrap_or_default(), self.path)
    }
}

impl LayerInfo {
    /// The line that put it into the stack, of a file or of code.
    pub fn line(&self) -> String {
        self.written.clone().unwrap_or_else(|| self.place.to_string())
    }

    #[cfg(debug_assertions)]
    pub(crate) fn is_provider<T: 'static>(&self) -> bool {
        self.provides(Noun::of::<T>())
    }

    fn provides(&self, noun: Noun) -> bool {
        self.provides.iter().any(|provided| provided.id == noun.id)
    }
}

/// What a whole application is made of; also an extractor, and what the commands `stack` and `routes` print.
#[derive(Clone, Debug, Default)]
pub struct Site {
    layers: Vec<LayerInfo>,
    routes: Vec<RouteInfo>,
    handlers: Vec<HandlerInfo>,
    mounts: Vec<String>,
    shared: Arc<RwLock<http::Extensions>>,
}

impl Site {
    /// The layers, outermost first, in the order a request meets them.
    pub fn layers(&self) -> &[LayerInfo] {
        &self.layers
    }

    /// The databases among the layers.
    #[cfg(feature = "database")]
    pub(crate) fn databases(&self) -> impl Iterator<Item = &Arc<dyn crate::database::Migrated>> {
        self.layers.iter().filter_map(|layer| layer.migrated.as_ref())
    }

    /// The folders that layers read while the site runs: templates and public files.
    pub fn folders(&self) -> impl Iterator<Item = &Path> {
        self.layers.iter().flat_map(|layer| &layer.folders).map(PathBuf::as_path)
    }

    /// Reads every template of every engine among the layers; how many engines there are.
    ///
    /// # Errors
    ///
    /// As when the site starts: a template that cannot be read, or that names a route which does not exist.
    pub(crate) fn check_templates(&self) -> crate::Result<usize> {
        let engines = self.layers.iter().filter_map(|layer| layer.pages.as_ref());
        engines.map(|Pages(engine)| engine.check(self)).try_fold(0, |count, checked| checked.map(|()| count + 1))
    }

    /// The routes, mounts included.
    pub fn routes(&self) -> &[RouteInfo] {
        &self.routes
    }

    /// The route that answers at a path, and the path's parameters as they stand in it. `pattern` is the end of its own path, as
    /// the router that matched it knows it; `host` is that of the route, where it is known.
    pub(crate) fn route_at(
        &self,
        path: &str,
        pattern: Option<&str>,
        host: Option<&str>,
    ) -> Option<(&RouteInfo, Vec<(String, String)>)> {
        let fitting = self.routes.iter().filter(|route| pattern.is_none_or(|end| route.path.ends_with(end)));
        let fitting = fitting.filter(|route| is_of_host(route.host.as_deref(), host));
        let found = fitting.filter_map(|route| Some((route, params(&route.path, path)?)));
        // A route with fewer parameters goes first, as in the router.
        found.min_by_key(|(_, params)| params.len())
    }

    /// The host pattern that decides for a host, if any of the site's does.
    pub(crate) fn host_for(&self, host: &str, https: bool) -> Option<&str> {
        crate::hosts::most_telling(self.routes.iter().filter_map(|route| route.host.as_deref()), host, https)
    }

    /// The layers in the way of a request, outermost first; `route` is the path of the route that answers it, and `host` the
    /// host that this is for.
    pub(crate) fn layers_on(
        &self,
        method: &Method,
        path: &str,
        route: Option<&str>,
        host: Option<&str>,
    ) -> Vec<&LayerInfo> {
        let below = |mount: &str| {
            mount.is_empty() || path.strip_prefix(mount).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        let of_route = |of: &str| {
            let (of_method, of_path) = of.rsplit_once(' ').unwrap_or_default();
            route == Some(of_path) && (of_method == method.as_str() || of_method == "any method of")
        };
        let met = |layer: &&LayerInfo| {
            below(&layer.mount)
                && layer.among.as_ref().is_none_or(|among| among.iter().any(|of| of_route(of)))
                && layer.route.as_deref().is_none_or(of_route)
                && is_of_host(layer.host.as_deref(), host)
        };
        self.layers.iter().filter(met).collect()
    }

    /// Whether some layer provides a `T`.
    pub(crate) fn provides<T: 'static>(&self) -> bool {
        self.layers.iter().any(|layer| layer.provides(Noun::of::<T>()))
    }

    /// The paths at which something is mounted, those of the mounts around included.
    pub(crate) fn mounts(&self) -> &[String] {
        &self.mounts
    }

    /// The methods and paths of the handlers of all routes, and whether a layer above each provides a `T`; any method is `None`.
    pub(crate) fn handlers_below<T: 'static>(&self) -> impl Iterator<Item = (Option<&Method>, &str, bool)> {
        let noun = Noun::of::<T>();
        self.handlers.iter().map(move |handler| {
            let provided = handler.layers.iter().any(|&layer| self.layers[layer].provides(noun));
            (handler.method.as_ref(), handler.path.as_str(), provided)
        })
    }

    /// The path of the route of this name, with its parameters put in and percent-encoded.
    ///
    /// `namespace` is where the name is looked up first (`"blog:"` inside a mount named `blog`), then from the outermost. Of a
    /// route that is for one host of a [`Hosts`](crate::Hosts) it is the URL without its scheme: `//admin.example.org/`.
    /// [`Urls`](crate::Urls) and templates know on which host they are, and leave that out.
    ///
    /// # Errors
    ///
    /// No route of this name (the nearest one is named), a parameter missing, unknown, or empty; a route that is for many hosts.
    ///
    /// ```
    /// use purlin::{Router, Stack, get, text};
    ///
    /// let app = Stack::new().app(Router::new().route("/wiki/{page}", get(async || text("")).name("page")));
    /// let site = app.check()?;
    /// assert_eq!(site.url_for("", "page", &[("page", "A b")])?, "/wiki/A%20b");
    /// # Ok::<(), purlin::Error>(())
    /// ```
    #[track_caller]
    pub fn url_for(&self, namespace: &str, name: &str, params: &[(&str, &str)]) -> Result<String> {
        self.url_from(None, namespace, name, params)
    }

    /// The same on a page of this host.
    #[track_caller]
    pub(crate) fn url_from(
        &self,
        host: Option<&str>,
        namespace: &str,
        name: &str,
        params: &[(&str, &str)],
    ) -> Result<String> {
        let route = self.find(namespace, name).ok_or_else(|| Error::internal(self.no_such_name(name)))?;
        let path = route.fill(name, params)?;
        match route.host.as_deref() {
            Some(other) if host != Some(other) => {
                if other.starts_with('*') {
                    return Err(Error::internal(format!(
                        "the URL of `{name}` ({other}{}): expected a route of one host, found one that many hosts have",
                        route.path
                    )));
                }
                Ok(format!("//{other}{path}"))
            }
            _ => Ok(path),
        }
    }

    /// The route of this name, as [`url_for`](Site::url_for) finds it.
    pub fn find(&self, namespace: &str, name: &str) -> Option<&RouteInfo> {
        let local = format!("{namespace}{name}");
        let named = |wanted: &str| self.routes.iter().find(|route| route.name.as_deref() == Some(wanted));
        named(&local).or_else(|| named(name))
    }

    /// What a layer or service said for the whole site with [`Start::share`]; `None` before it has started.
    pub fn shared<T: Clone + Send + Sync + 'static>(&self) -> Option<T> {
        self.shared.read().unwrap_or_else(PoisonError::into_inner).get::<T>().cloned()
    }

    /// Says that no route has this name, and which one is nearest.
    pub fn no_such_name(&self, name: &str) -> String {
        let names = self.routes.iter().filter_map(|route| route.name.as_deref());
        match crate::nearest::nearest(name, names) {
            Some(nearest) => format!("no route is named `{name}`: did you mean `{nearest}`?"),
            None => format!("no route is named `{name}`"),
        }
    }

    /// The stack as a table: each layer, its options and its line.
    pub fn stack_table(&self) -> String {
        let mut table = String::new();
        let width = self.layers.iter().map(|layer| layer.name.len()).max().unwrap_or(0);
        let mut section: (&str, &str, Option<&str>) = ("", "", None);
        let mut process = None;
        for layer in &self.layers {
            let here = (layer.host.as_deref().unwrap_or_default(), layer.mount.as_str(), layer.route.as_deref());
            if here != section {
                section = here;
                match here {
                    (host, mount, None) if !host.is_empty() || !mount.is_empty() => {
                        table.push_str(&format!("below {host}{mount}\n"));
                    }
                    (_, _, Some(route)) => table.push_str(&format!("on {route}\n")),
                    _ => {}
                }
            }
            if layer.process != process {
                process.clone_from(&layer.process);
                match &process {
                    Some(of) => table.push_str(&format!("  ---- in the processes of {of}:\n")),
                    None => table.push_str("  ---- in the server's process:\n"),
                }
            }
            table.push_str(&format!("  {:width$}  {}", layer.name, layer.line()));
            for (name, value) in &layer.options {
                table.push_str(&format!("  {name}={value}"));
            }
            if layer.installed {
                table.push_str("  (installed by the application)");
            }
            table.push('\n');
        }
        if let Some(boundary) = self.layers.last().filter(|layer| layer.boundary) {
            let (name, line) = (&boundary.name, boundary.line());
            table.push_str(&format!("  ---- in the processes of {name} ({line}):\n"));
        }
        let routes = self.routes.len();
        table.push_str(&format!("  {routes} route{}\n", if routes == 1 { "" } else { "s" }));
        table
    }

    /// The routes as a table: methods, path with its host, name, the line, and the names of the route's own layers.
    pub fn routes_table(&self) -> String {
        let methods = |route: &RouteInfo| match route.methods.as_slice() {
            [] => "any".to_owned(),
            methods => methods.iter().map(Method::as_str).collect::<Vec<_>>().join(" "),
        };
        let name = |route: &RouteInfo| route.name.clone().unwrap_or_default();
        let layers = |route: &RouteInfo| {
            let of_route = |layer: &&LayerInfo| {
                let of = layer.route.as_deref().and_then(|of| of.strip_suffix(&*route.path));
                of.is_some_and(|method| method.ends_with(' ') && !method.contains('/'))
            };
            let mut names: Vec<&str> = Vec::new();
            for layer in self.layers.iter().filter(of_route) {
                if !names.contains(&&*layer.name) {
                    names.push(&layer.name);
                }
            }
            if names.is_empty() { String::new() } else { format!("  [{}]", names.join(", ")) }
        };
        let width = |column: &dyn Fn(&RouteInfo) -> usize| self.routes.iter().map(column).max().unwrap_or(0);
        let (first, second, third) = (
            width(&|route| methods(route).len()),
            width(&|route| route.shown().len()),
            width(&|route| name(route).len()),
        );
        self.routes
            .iter()
            .map(|route| {
                let (methods, name, layers) = (methods(route), name(route), layers(route));
                format!("{methods:first$}  {:second$}  {name:third$}  {}{layers}\n", route.shown(), route.place)
            })
            .collect()
    }
}

/// Whether what is for the hosts of one pattern is in the way of a request for those of another; `None` is for all, or not known.
fn is_of_host(own: Option<&str>, asked: Option<&str>) -> bool {
    own.is_none() || asked.is_none() || own == asked
}

/// The last part of a type's name: `Compression` of `purlin::layers::compression::Compression`.
pub(crate) fn short_name<T: ?Sized>() -> &'static str {
    let name = std::any::type_name::<T>();
    let outer = name.split('<').next().unwrap_or(name);
    let start = outer.rfind("::").map_or(0, |at| at + 2);
    &name[start..]
}

/// A method and a path as they name a route: `GET /posts/{id}`.
fn in_words(method: Option<&Method>, path: &str) -> String {
    format!("{} {path}", method.map_or("any method of", Method::as_str))
}

fn join(prefix: &str, path: &str) -> String {
    match (prefix, path) {
        ("", path) => path.to_owned(),
        (prefix, "/") => prefix.to_owned(),
        (prefix, path) => format!("{prefix}{path}"),
    }
}

/// Puts parameters into a path in matchit's syntax.
fn fill(pattern: &str, params: &[(&str, &str)]) -> std::result::Result<String, String> {
    let mut url = String::with_capacity(pattern.len() + 16);
    let mut used = 0;
    let mut rest = pattern;
    while let Some(at) = rest.find(['{', '}']) {
        url.push_str(&rest[..at]);
        let brace = &rest[at..];
        // A doubled brace is a literal one.
        if brace.starts_with("{{") || brace.starts_with("}}") {
            url.push_str(if brace.starts_with('{') { "%7B" } else { "%7D" });
            rest = &brace[2..];
            continue;
        }
        let end = brace.find('}').ok_or("the pattern has an open brace")?;
        let (name, whole) = match brace[1..end].strip_prefix('*') {
            Some(name) => (name, true),
            None => (&brace[1..end], false),
        };
        let value = params.iter().find(|(key, _)| *key == name).map(|(_, value)| *value);
        let value = value.ok_or_else(|| format!("the parameter `{name}` is missing"))?;
        if value.is_empty() {
            return Err(format!("the parameter `{name}` is empty, and no path would match it"));
        }
        // Clients resolve dot segments, encoded or not (RFC 3986 §5.2.4, WHATWG URL): such a URL would lead elsewhere.
        if value.split('/').any(|segment| matches!(segment, "." | "..")) {
            return Err(format!("the parameter `{name}` is {value:?}, a dot segment that clients resolve away"));
        }
        used += 1;
        let keep = if whole { WHOLE_PATH } else { SEGMENT };
        url.extend(percent_encoding::utf8_percent_encode(value, keep));
        rest = &brace[end + 1..];
    }
    url.push_str(rest);
    if used < params.len() {
        let unknown = params
            .iter()
            .find(|(key, _)| !pattern.contains(&format!("{{{key}}}")) && !pattern.contains(&format!("{{*{key}}}")));
        if let Some((key, _)) = unknown {
            return Err(format!("it has no parameter `{key}`"));
        }
    }
    if url.is_empty() {
        url.push('/');
    }
    Ok(url)
}

/// The parameters in a path, if a pattern in matchit's syntax fits it.
pub(crate) fn params(pattern: &str, path: &str) -> Option<Vec<(String, String)>> {
    let mut table = matchit::Router::new();
    table.insert(pattern, ()).ok()?;
    let matched = table.at(path).ok()?;
    Some(matched.params.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
}

/// A text as it is written in a path that Purlin makes.
pub(crate) fn encoded_segment(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, SEGMENT).to_string()
}

/// What is kept as it is in one segment: unreserved, sub-delims, `:` and `@` (RFC 3986 §3.3).
const SEGMENT: &percent_encoding::AsciiSet = &percent_encoding::NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b'!')
    .remove(b'$')
    .remove(b'&')
    .remove(b'\'')
    .remove(b'(')
    .remove(b')')
    .remove(b'*')
    .remove(b'+')
    .remove(b',')
    .remove(b';')
    .remove(b'=')
    .remove(b':')
    .remove(b'@');

/// The same, with the slashes between segments.
const WHOLE_PATH: &percent_encoding::AsciiSet = &SEGMENT.remove(b'/');

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_filled_with_encoded_parameters() {
        type Case =
            (&'static str, &'static [(&'static str, &'static str)], std::result::Result<&'static str, &'static str>);
        let table: &[Case] = &[
            ("/", &[], Ok("/")),
            ("/a/{id}", &[("id", "7")], Ok("/a/7")),
            ("/a/{id}", &[("id", "x/y z")], Ok("/a/x%2Fy%20z")),
            ("/a/{id}", &[("id", "ü?#")], Ok("/a/%C3%BC%3F%23")),
            ("/f/{*rest}", &[("rest", "a/b c")], Ok("/f/a/b%20c")),
            ("/img-{n}.png", &[("n", "3")], Ok("/img-3.png")),
            ("/{{x}}", &[], Ok("/%7Bx%7D")),
            ("/a/{id}", &[("id", "..")], Err("the parameter `id` is \"..\", a dot segment that clients resolve away")),
            ("/a/{id}", &[], Err("the parameter `id` is missing")),
            ("/a/{id}", &[("id", "")], Err("the parameter `id` is empty, and no path would match it")),
            ("/a/{id}", &[("id", "1"), ("page", "2")], Err("it has no parameter `page`")),
        ];
        for (pattern, params, expected) in table {
            let found = fill(pattern, params);
            assert_eq!(found.as_deref().map_err(String::as_str), *expected, "{pattern} {params:?}");
        }
    }

    #[test]
    fn a_short_name_has_no_path() {
        assert_eq!(short_name::<Site>(), "Site");
        assert_eq!(short_name::<&str>(), "&str");
        assert!(short_name::<Option<Site>>().starts_with("Option<"));
    }
}
