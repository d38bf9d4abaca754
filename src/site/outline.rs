//! [`Outline`]: the walk through an application, which finds what does not fit together.

use super::about::{About, Need, Needs, Noun};
use super::life::Told;
use super::{HandlerInfo, LayerInfo, RouteInfo, Shares, Site, in_words, join};
use crate::{Error, Result, Service};
use http::Method;
use std::any::TypeId;
use std::collections::HashMap;
use std::fmt;
use std::panic::Location;
use std::sync::{Arc, RwLock};

/// The walk through an application which collects its [`Site`].
#[derive(Debug, Default)]
pub struct Outline {
    layers: Vec<LayerInfo>,
    routes: Vec<RouteInfo>,
    problems: Vec<String>,
    // Indices of the layers above the place where the walk is.
    scope: Vec<usize>,
    // The innermost of these below which another process goes on.
    boundary: Option<usize>,
    handlers: Vec<HandlerInfo>,
    mounts: Vec<String>,
    unmet: Vec<Unmet>,
    prefix: String,
    namespace: String,
    host: Option<String>,
    route: Option<InRoute>,
    // Whom the outermost layer names that names anybody. Not in the site, which they hold.
    pub(super) told: Option<Arc<dyn Told>>,
}

/// The route, of one method, where the walk is; or the fallback of a router.
#[derive(Debug)]
struct InRoute {
    name: String,
    place: &'static Location<'static>,
    /// Its method, if it has but one, and its path; `None` for a fallback.
    route: Option<(Option<Method>, String)>,
}

#[derive(Debug)]
struct Unmet {
    who: String,
    // The line that stands too high, for a layer.
    place: Option<String>,
    need: Need,
    // The layer that provides it, and the boundary in between.
    beyond: Option<(usize, usize)>,
    // The layers above it, outermost first, by which it would see a new one.
    above: Vec<usize>,
}

impl Outline {
    /// Walks through `service`.
    ///
    /// # Errors
    ///
    /// See [`App::check`](crate::stack::App::check).
    pub fn of(service: &impl Service) -> Result<Site> {
        let mut outline = Self::default();
        service.describe(&mut outline);
        match outline.finish() {
            (site, None) => Ok(site),
            (_, Some(problem)) => Err(problem),
        }
    }

    /// A layer, and below it what `below` draws.
    pub fn layer(
        &mut self,
        place: &'static Location<'static>,
        describe: impl FnOnce(&mut About),
        below: impl FnOnce(&mut Outline),
    ) {
        let mut about = About::new(place);
        describe(&mut about);
        let (depth, boundary) = (self.scope.len(), self.boundary);
        if about.layers.len() > 1
            && let Some(layer) = about.layers.iter().find(|layer| layer.boundary)
        {
            let (name, line) = (&layer.name, layer.line());
            self.problem(format!(
                "the layer {name} ({line}) is one of several in one `layer(…)`: give it a line of its own"
            ));
        }
        for mut layer in about.layers {
            layer.mount.clone_from(&self.prefix);
            layer.host.clone_from(&self.host);
            layer.route = self.route.as_ref().map(|route| route.name.clone());
            layer.installed = layer.stands_in.is_some_and(|noun| !self.is_provided(noun));
            self.told = self.told.take().or(layer.told.take());
            let line = layer.line();
            let who = format!("the layer {} ({line})", layer.name);
            for need in &layer.needs {
                self.require(&who, Some(&line), need);
            }
            layer.process = self.boundary.map(|at| format!("{} ({})", self.layers[at].name, self.layers[at].line()));
            if layer.boundary {
                if let Some(route) = &layer.route {
                    let name = &layer.name;
                    self.problems.push(format!(
                        "the layer {name} ({line}) is one of the route {route}: put it into a stack, which may be mounted"
                    ));
                }
                // One further in is in that process already.
                self.boundary.get_or_insert(self.layers.len());
            }
            self.scope.push(self.layers.len());
            self.layers.push(layer);
        }
        below(self);
        self.scope.truncate(depth);
        self.boundary = boundary;
    }

    /// A layer that an application puts around some of its handlers by itself, unless a layer above provides a `T`.
    ///
    /// The handlers are told by their methods and paths; `None` is for the one that has no route.
    pub(crate) fn install<T: 'static>(
        &mut self,
        place: &'static Location<'static>,
        handlers: Option<Vec<(Option<&Method>, &str)>>,
        describe: impl FnOnce(&mut About),
    ) {
        if self.is_provided(TypeId::of::<T>()) {
            return;
        }
        let among = handlers.map(|handlers| {
            let name = |(method, path): (Option<&Method>, &str)| in_words(method, &join(&self.prefix, path));
            handlers.into_iter().map(name).collect()
        });
        let describe = |about: &mut About| {
            describe(about);
            if let Some(layer) = about.current() {
                layer.stands_in = Some(TypeId::of::<T>());
                layer.among = among;
            }
        };
        self.layer(place, describe, |_| {});
    }

    fn is_provided(&self, noun: TypeId) -> bool {
        // In the same process, that is.
        let mut here = self.scope.iter().filter(|&&layer| self.boundary.is_none_or(|boundary| layer >= boundary));
        here.any(|&layer| self.layers[layer].provides.iter().any(|provided| provided.id == noun))
    }

    /// An application that answers every path and tells nothing of its routes; `T` is who answers.
    #[cfg(any(feature = "proxy", feature = "tower", all(feature = "cgi", unix)))]
    pub(crate) fn application<T>(&mut self, place: &'static Location<'static>) {
        self.route(RouteInfo {
            name: None,
            host: None,
            path: "/{*path}".to_owned(),
            methods: Vec::new(),
            handlers: vec![std::any::type_name::<T>()],
            place,
        });
    }

    /// A route; its path and name are its own, without those of mounts.
    pub(crate) fn route(&mut self, mut route: RouteInfo) {
        route.path = join(&self.prefix, &route.path);
        route.host.clone_from(&self.host);
        route.name = route.name.map(|name| format!("{}{name}", self.namespace));
        self.routes.push(route);
    }

    /// What belongs to one method of a route only (to any, without one): its own layers and its handler.
    pub(crate) fn within_route(
        &mut self,
        method: Option<&Method>,
        path: &str,
        place: &'static Location<'static>,
        draw: impl FnOnce(&mut Outline),
    ) {
        let path = join(&self.prefix, path);
        let name = in_words(method, &path);
        self.within(InRoute { name, place, route: Some((method.cloned(), path)) }, draw);
    }

    /// What answers where no route does.
    pub(crate) fn within_fallback(&mut self, place: &'static Location<'static>, draw: impl FnOnce(&mut Outline)) {
        let name = format!("whatever else is below {}", join(&self.prefix, "/"));
        self.within(InRoute { name, place, route: None }, draw);
    }

    fn within(&mut self, route: InRoute, draw: impl FnOnce(&mut Outline)) {
        let before = self.route.replace(route);
        draw(self);
        self.route = before;
    }

    /// Whether the walk is within a route, or the fallback of a router.
    pub(crate) fn is_in_route(&self) -> bool {
        self.route.is_some()
    }

    /// A handler, with what its arguments need of the layers above.
    pub(crate) fn handler(&mut self, name: &str, needs: &Needs) {
        let who = match &self.route {
            Some(route) => format!("the handler of {} ({})", route.name, route.place),
            None => format!("the handler {name}"),
        };
        if let Some((method, path)) = self.route.as_ref().and_then(|route| route.route.as_ref()) {
            let (method, path, layers) = (method.clone(), path.clone(), self.scope.clone());
            self.handlers.push(HandlerInfo { method, path, layers });
        }
        for need in &needs.needs {
            self.require(&who, None, need);
        }
        if let Some(problem) = needs.problem() {
            self.problem(format!("{who} {problem}"));
        }
    }

    /// What stands below a path (none: at the same one), its names prefixed by `name` and a colon.
    pub fn mount(&mut self, path: &str, name: Option<&str>, draw: impl FnOnce(&mut Outline)) {
        let (prefix, namespace) = (self.prefix.len(), self.namespace.len());
        self.prefix.push_str(path.trim_end_matches('/'));
        if let Some(name) = name {
            self.namespace.push_str(name);
            self.namespace.push(':');
        }
        self.mounts.push(self.prefix.clone());
        draw(self);
        self.prefix.truncate(prefix);
        self.namespace.truncate(namespace);
    }

    /// What answers for hosts of this pattern.
    pub(crate) fn on_host(&mut self, host: impl fmt::Display, draw: impl FnOnce(&mut Outline)) {
        let before = self.host.replace(host.to_string());
        draw(self);
        self.host = before;
    }

    /// Something which makes it impossible to serve: a whole sentence, with the place.
    pub fn problem(&mut self, problem: impl Into<String>) {
        self.problems.push(problem.into());
    }

    fn require(&mut self, who: &str, place: Option<&str>, need: &Need) {
        let mut providers = self.scope.iter().copied().filter(|&layer| self.layers[layer].provides(need.noun));
        // Of what is provided in another process, only some crosses over.
        let here = |layer: usize| self.boundary.is_none_or(|boundary| layer >= boundary) || need.noun.crosses();
        if providers.clone().any(here) {
            return;
        }
        let beyond = providers.next().zip(self.boundary);
        let above = self.scope.iter().copied().filter(|&layer| here(layer)).collect();
        let place = place.map(str::to_owned);
        self.unmet.push(Unmet { who: who.to_owned(), place, need: need.clone(), beyond, above });
    }

    /// The site, and what is wrong with it.
    pub(super) fn finish(mut self) -> (Site, Option<Error>) {
        for Unmet { who, place, need, beyond, above } in std::mem::take(&mut self.unmet) {
            let provider = self.layers.iter().find(|layer| layer.provides(need.noun));
            let noun = need.noun.name;
            if let Some((provider, boundary)) = beyond {
                let (provider, boundary) = (&self.layers[provider], &self.layers[boundary]);
                let (line, below) = (provider.line(), boundary.line());
                self.problems.push(format!(
                    "{who} needs `{noun}`, which {} ({line}) provides above {} ({below}), in another process: move the line \
                     {line} below {below}",
                    provider.name, boundary.name,
                ));
                continue;
            }
            let belongs = place_for(need.noun, place.as_deref(), above.iter().map(|&layer| &self.layers[layer]));
            let problem = match (provider, place) {
                (Some(provider), Some(place)) => format!(
                    "{who} needs `{noun}`, which {} provides further in: move the line {} above {place}",
                    provider.name,
                    provider.line(),
                ),
                (Some(provider), None) => {
                    let (name, line) = (&provider.name, provider.line());
                    let belongs = belongs.unwrap_or_else(|| "in a stack around both".to_owned());
                    format!(
                        "{who} needs `{noun}`, which {name} ({line}) provides, but not above it: move that line, or add another \
                         one, {belongs}"
                    )
                }
                (None, _) if need.optional => continue,
                (None, _) => {
                    let remedy = match (need.hint, belongs) {
                        ("", None) => String::new(),
                        ("", Some(belongs)) => format!(": put one that does {belongs}"),
                        (hint, None) => format!(": {hint}"),
                        (hint, Some(belongs)) => format!(": {hint}, {belongs}"),
                    };
                    format!("{who} needs `{noun}`, which no layer above it provides{remedy}")
                }
            };
            self.problems.push(problem);
        }
        let mut names: HashMap<&str, &RouteInfo> = HashMap::new();
        for route in &self.routes {
            let Some(name) = route.name.as_deref() else {
                continue;
            };
            if let Some(other) = names.insert(name, route) {
                self.problems.push(format!(
                    "two routes are named `{name}`: {} ({}) and {} ({})",
                    other.path, other.place, route.path, route.place
                ));
            }
        }
        let Self { layers, routes, handlers, mounts, mut problems, .. } = self;
        problems.dedup();
        let problem = (!problems.is_empty()).then(|| {
            let problems: String = problems.iter().map(|problem| format!("\n  - {problem}")).collect();
            Error::internal(format!("the site does not fit together{problems}"))
        });
        let mut shared = http::Extensions::new();
        for Shares(share) in layers.iter().filter_map(|layer| layer.shares.as_ref()) {
            share(&mut shared);
        }
        (Site { layers, routes, handlers, mounts, shared: Arc::new(RwLock::new(shared)) }, problem)
    }
}

/// Where a layer belongs that provides this, and is not there: above the outermost that asks for it, which is the one at `place`
/// if none above it does; else innermost. Layers of one route only are passed over.
fn place_for<'a>(noun: Noun, place: Option<&str>, above: impl Iterator<Item = &'a LayerInfo>) -> Option<String> {
    let stack: Vec<&LayerInfo> = above.filter(|layer| layer.route.is_none()).collect();
    let asks = |layer: &&&LayerInfo| layer.needs.iter().any(|need| need.noun.id == noun.id);
    if let Some(layer) = stack.iter().find(asks) {
        return Some(format!("above {} ({})", layer.name, layer.line()));
    }
    let innermost = || stack.last().map(|layer| format!("below {} ({})", layer.name, layer.line()));
    place.map(|place| format!("above {place}")).or_else(innermost)
}

#[cfg(test)]
mod tests {
    use crate::site::About;
    use crate::{Middleware, Request, Response, Result, Router, Service, Stack, State, get};

    struct Asks<T>(bool, std::marker::PhantomData<T>);

    impl<T: Send + Sync + 'static> Middleware for Asks<T> {
        async fn handle(&self, req: Request, next: &impl Service) -> Result<Response> {
            Ok(next.call(req).await)
        }

        fn describe(&self, about: &mut About) {
            about.name("Asks").need::<T>(self.0, if self.0 { "" } else { "add it" });
        }
    }

    fn needs<T>() -> Asks<T> {
        Asks(false, std::marker::PhantomData)
    }

    fn wants<T>() -> Asks<T> {
        Asks(true, std::marker::PhantomData)
    }

    struct Plain;

    impl Middleware for Plain {
        async fn handle(&self, req: Request, next: &impl Service) -> Result<Response> {
            Ok(next.call(req).await)
        }
    }

    async fn handler(State(_): State<u64>) {}

    fn routes() -> Router {
        Router::new().route("/", get(handler))
    }

    /// What is wrong, with the lines as numbers from `line` on.
    fn told(app: Result<crate::site::Site>, line: u32) -> String {
        let mut text = app.unwrap_err().message();
        for at in (0..20).rev() {
            text = text.replace(&format!("{}:{}:", file!(), line + at), &format!("+{at}:"));
        }
        text
    }

    #[test]
    #[rustfmt::skip]
    fn what_is_missing_belongs_above_the_outermost_that_asks_for_it() {
        let line = line!();
        let innermost = Stack::new()
            .layer(Plain)
            .app(routes()).check();
        let text = told(innermost, line);
        assert!(text.contains("add `.layer(State(…))` with a value of it, below Plain (+2:14)"), "{text}");

        let line = line!();
        let above = Stack::new()
            .layer(Plain)
            .layer(wants::<u64>())
            .layer(Plain)
            .layer(needs::<u64>())
            .app(routes()).check();
        let text = told(above, line);
        assert!(text.contains("with a value of it, above Asks (+3:14)"), "{text}");
        assert!(text.contains("the layer Asks (+5:14) needs `u64`, which no layer above it provides: add it, above Asks (+3:14)"), "{text}");

        let line = line!();
        let alone = Stack::new()
            .layer(Plain)
            .layer(needs::<u64>())
            .app(Router::new()).check();
        let text = told(alone, line);
        assert!(text.contains("which no layer above it provides: add it, above +3:14"), "{text}");

        // A layer of one route is not where the stack's go, and there may be no stack.
        let line = line!();
        let of_route = Stack::new()
            .layer(Plain)
            .app(Router::new().route("/", get(handler).layer(Plain))).check();
        let text = told(of_route, line);
        assert!(text.contains("with a value of it, below Plain (+2:14)"), "{text}");
        let text = told(Stack::new().app(routes()).check(), line);
        assert!(text.ends_with("add `.layer(State(…))` with a value of it"), "{text}");
    }

    #[test]
    #[rustfmt::skip]
    fn what_stands_beside_a_handler_is_to_be_moved_above_it() {
        let line = line!();
        let beside = Stack::new()
            .layer(Plain)
            .app(routes().mount("/other", Stack::new()
                .layer(State(7_u64))
                .app(routes()))).check();
        let text = told(beside, line);
        let expected = "which State<u64> (+4:18) provides, but not above it: move that line, or add another one, below Plain (+2:14)";
        assert!(text.contains(expected), "{text}");
    }

    #[test]
    #[rustfmt::skip]
    fn a_layer_that_needs_sessions_says_how_to_have_them() {
        let line = line!();
        let without = Stack::new()
            .layer(Plain)
            .layer(crate::layers::Csrf::new())
            .app(Router::new()).check();
        let text = told(without, line);
        let expected = "the layer Csrf (+3:14) needs `Session`, which no layer above it provides: add `.layer(Sessions::new(…))`, \
                        above +3:14";
        assert!(text.contains(expected), "{text}");
    }
}
