//! What the parts of a site say of themselves: [`About`] a layer, [`Needs`] the arguments of a handler.

use super::life::Told;
use super::{LayerInfo, Shares, short_name};
use crate::request::{CspNonce, OriginalMethod};
use crate::{Assets, FromRequest, RequestId};
use std::any::TypeId;
use std::fmt;
use std::panic::Location;
use std::path::Path;
use std::sync::Arc;

/// A type that one layer provides and another, or a handler, needs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Noun {
    pub(super) id: TypeId,
    pub(super) name: &'static str,
}

#[derive(Clone, Debug)]
pub(super) struct Need {
    pub(super) noun: Noun,
    pub(super) optional: bool,
    pub(super) hint: &'static str,
}

impl Noun {
    pub(super) fn of<T: 'static>() -> Self {
        Self { id: TypeId::of::<T>(), name: short_name::<T>() }
    }

    /// Whether it crosses a boundary between processes with each request.
    pub(super) fn crosses(self) -> bool {
        #[cfg(feature = "opentelemetry")]
        if self.id == TypeId::of::<crate::traces::Traced>() {
            return true;
        }
        [TypeId::of::<RequestId>(), TypeId::of::<CspNonce>(), TypeId::of::<OriginalMethod>()].contains(&self.id)
    }
}

/// What a layer says of itself.
#[derive(Debug)]
pub struct About {
    pub(super) layers: Vec<LayerInfo>,
}

impl About {
    pub(super) fn new(place: &'static Location<'static>) -> Self {
        let info = LayerInfo {
            name: String::new(),
            options: Vec::new(),
            place,
            written: None,
            mount: String::new(),
            host: None,
            route: None,
            process: None,
            boundary: false,
            installed: false,
            stands_in: None,
            among: None,
            provides: Vec::new(),
            needs: Vec::new(),
            #[cfg(feature = "database")]
            migrated: None,
            told: None,
            shares: None,
            folders: Vec::new(),
            pages: None,
        };
        Self { layers: vec![info] }
    }

    pub(super) fn current(&mut self) -> Option<&mut LayerInfo> {
        self.layers.last_mut()
    }

    /// Shows an option's value in the printed stack. A secret has no place here.
    pub fn option(&mut self, name: &'static str, value: impl fmt::Display) -> &mut Self {
        if let Some(layer) = self.current() {
            layer.options.push((name, value.to_string()));
        }
        self
    }

    /// The layer is called this, instead of by its type.
    pub fn name(&mut self, name: impl Into<String>) -> &mut Self {
        if let Some(layer) = self.current() {
            layer.name = name.into();
        }
        self
    }

    /// The layer stands in a file, at this line of it: `site.toml:12`.
    pub(crate) fn written(&mut self, line: &str) {
        if let Some(layer) = self.current() {
            layer.written = Some(line.to_owned());
        }
    }

    /// Layers and handlers below find a `T` in the request.
    pub fn provides<T: 'static>(&mut self) -> &mut Self {
        if let Some(layer) = self.current() {
            layer.provides.push(Noun::of::<T>());
        }
        self
    }

    /// Of what the layer says to provide so far, only this counts: it is not in the way of every request.
    pub(crate) fn provides_at_most(&mut self, noun: Option<TypeId>) {
        for layer in &mut self.layers {
            layer.stands_in = noun;
            layer.provides.retain(|provided| Some(provided.id) == noun);
        }
    }

    /// The layer reads these files while the site runs: [`LiveReload`](crate::layers::LiveReload) looks whether they change.
    pub fn reads(&mut self, assets: &Assets) -> &mut Self {
        if let Some(layer) = self.current() {
            layer.folders.extend(assets.as_folder().map(Path::to_owned));
        }
        self
    }

    /// Some layer above must provide a `T`.
    pub fn needs<T: 'static>(&mut self) -> &mut Self {
        self.need::<T>(false, "")
    }

    /// A `T` is used where there is one: a layer that provides it must stand above, if it is there at all.
    pub fn wants<T: 'static>(&mut self) -> &mut Self {
        self.need::<T>(true, "")
    }

    /// Whether it says to provide a `T`.
    pub(crate) fn is_provider<T: 'static>(
        describe: impl FnOnce(&mut About),
        place: &'static Location<'static>,
    ) -> bool {
        let mut about = Self::new(place);
        describe(&mut about);
        about.layers.iter().any(|layer| layer.provides(Noun::of::<T>()))
    }

    pub(crate) fn need<T: 'static>(&mut self, optional: bool, hint: &'static str) -> &mut Self {
        if let Some(layer) = self.current() {
            layer.needs.push(Need { noun: Noun::of::<T>(), optional, hint });
        }
        self
    }

    /// The layer is a database, which the command line migrates.
    #[cfg(feature = "database")]
    pub(crate) fn migrated(&mut self, database: Arc<dyn crate::database::Migrated>) {
        if let Some(layer) = self.current() {
            layer.migrated = Some(database);
        }
    }

    /// The layer makes pages by this engine.
    pub(crate) fn pages(&mut self, engine: Arc<dyn crate::template::Engine>) {
        if let Some(layer) = self.current() {
            layer.pages = Some(super::Pages(engine));
        }
    }

    /// The layer knows who is to be told if the site does not start.
    pub(crate) fn told(&mut self, told: Arc<dyn Told>) {
        if let Some(layer) = self.current() {
            layer.told = Some(told);
        }
    }

    /// Tells the whole site something, as [`Start::share`] does: also where the layer itself does not start, above a boundary.
    pub(crate) fn share<T: Clone + Send + Sync + 'static>(&mut self, noun: T) {
        if let Some(layer) = self.current() {
            layer.shares = Some(Shares(Arc::new(move |shared| drop(shared.insert(noun.clone())))));
        }
    }

    /// What stands below the layer runs in other processes.
    #[cfg(all(unix, feature = "workers"))]
    pub(crate) fn boundary(&mut self) {
        if let Some(layer) = self.current() {
            layer.boundary = true;
        }
    }

    pub(crate) fn named<T>(&mut self) {
        self.name(short_name::<T>());
    }

    /// The layer is not there: `None` in place of a layer.
    pub(crate) fn absent(&mut self) {
        self.layers.pop();
    }

    /// One more layer right below, for a layer that is made of several.
    pub(crate) fn also(&mut self, place: &'static Location<'static>, describe: impl FnOnce(&mut About)) {
        let mut about = About::new(place);
        describe(&mut about);
        self.layers.append(&mut about.layers);
    }
}

/// What a handler's arguments need of the layers above.
#[derive(Debug, Default)]
pub struct Needs {
    pub(super) needs: Vec<Need>,
    body: Vec<&'static str>,
    holder: Option<&'static str>,
    body_after_holder: bool,
    whole_request: bool,
    after_whole_request: bool,
    pool: bool,
    blocks: bool,
}

impl Needs {
    /// Some layer above must provide a `T`; `hint` says which one does, as `add .layer(Sessions::new(…))`.
    pub fn needs<T: 'static>(&mut self, hint: &'static str) {
        self.needs.push(Need { noun: Noun::of::<T>(), optional: false, hint });
    }

    /// The argument `A` reads the body, which only one can.
    pub fn body<A: 'static>(&mut self) {
        self.body.push(short_name::<A>());
        self.body_after_holder |= self.holder.is_some();
    }

    /// The argument `A` holds what others wait for, a database's connection say. One after it that reads the body, for which
    /// a client may take its time, is reported when the site starts.
    pub fn holds<A: 'static>(&mut self) {
        self.holder = Some(short_name::<A>());
    }

    /// The argument takes the whole request, so it has to be the last.
    pub fn whole_request(&mut self) {
        self.body.push("Request");
        self.whole_request = true;
    }

    /// There is a pool of threads in the request.
    pub(crate) fn pool(&mut self) {
        self.pool = true;
    }

    /// The handler is no `async fn`, and is run on that pool.
    pub(crate) fn blocks(&mut self) {
        self.pool = true;
        self.blocks = true;
    }

    pub(crate) fn is_pool_needed(&self) -> bool {
        self.pool
    }

    pub(crate) fn is_blocking(&self) -> bool {
        self.blocks
    }

    /// One more argument of the handler.
    pub(crate) fn argument<A: FromRequest>(&mut self) {
        self.after_whole_request |= self.whole_request;
        A::needs(self);
    }

    /// What does without layers, and yet may read the body.
    pub(crate) fn optional<A: FromRequest>(&mut self) {
        let before = self.needs.len();
        A::needs(self);
        self.needs.truncate(before);
    }

    pub(super) fn problem(&self) -> Option<String> {
        if self.after_whole_request {
            return Some(
                "has an argument after the whole `Request`, which leaves nothing for it: put it last".to_owned(),
            );
        }
        if let (true, Some(holder), Some(body)) = (self.body_after_holder, self.holder, self.body.last()) {
            return Some(format!(
                "reads the request's body by {body} after it has taken {holder}, which others wait for meanwhile: put \
                 {holder} last"
            ));
        }
        (self.body.len() > 1)
            .then(|| format!("reads the request's body twice, by {}: one argument can", self.body.join(" and ")))
    }
}
