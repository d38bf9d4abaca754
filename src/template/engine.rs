//! `Engine`: whatever turns a view into a page.

use super::names::Defaults;
use super::{Names, TemplateError, Value, View};
use crate::csrf::{self, CsrfToken};
use crate::report::Trail;
use crate::request::{Beside, CspNonce, original_uri};
use crate::session::{Flash, LazySession};
use crate::site::{About, Site};
use crate::{Error, MatchedRoute, Request, RequestExt, RequestId, Result, StaticUrls};
use http::{Method, Uri};
use std::sync::Arc;

/// Renders views. [`Tera`](super::Tera) is one; any other template library becomes one by two functions.
///
/// ```
/// use purlin::Result;
/// use purlin::layers::Templates;
/// use purlin::template::{Engine, Page};
///
/// /// Knows one template, and puts the names in where they stand in braces.
/// struct Braces(&'static str);
///
/// impl Engine for Braces {
///     fn render(&self, page: &Page<'_>) -> Result<String> {
///         let mut text = self.0.to_owned();
///         for (name, value) in page.to_json()? {
///             let value = value.to_string().replace('&', "&amp;").replace('<', "&lt;");
///             text = text.replace(&format!("{{{name}}}"), &value);
///         }
///         Ok(text)
///     }
///
///     fn contains(&self, template: &str) -> bool {
///         template == "page.html"
///     }
/// }
///
/// let layer = Templates::new(Braces("<h1>{title}</h1>"));
/// ```
pub trait Engine: Send + Sync + 'static {
    /// Renders one page, with everything that could be markup in a value escaped.
    ///
    /// # Errors
    ///
    /// No such template, or what is wrong with it: best a [`TemplateError`], whose excerpt the error page shows.
    fn render(&self, page: &Page<'_>) -> Result<String>;

    /// Whether there is a template of this name.
    fn contains(&self, template: &str) -> bool;

    /// Which of these names the template uses, itself or through what it extends and includes; by default all of them.
    /// The values of the others are not worked out.
    fn uses<'n>(&self, template: &str, names: &[&'n str]) -> Vec<&'n str> {
        let _ = template;
        names.to_vec()
    }

    /// Says what the layer `Templates` says of itself: see [`About::reads`] for one that reads its templates again.
    fn describe(&self, about: &mut About) {
        let _ = about;
    }

    /// Looks at every template before the first request: whether it can be read, and links to routes that exist.
    ///
    /// # Errors
    ///
    /// Every fault that was found. The site then does not start.
    fn check(&self, site: &Site) -> Result<()> {
        let _ = site;
        Ok(())
    }
}

/// An engine that several layers share: `Templates` and `ErrorPages`.
impl<E: Engine + ?Sized> Engine for Arc<E> {
    fn render(&self, page: &Page<'_>) -> Result<String> {
        (**self).render(page)
    }

    fn contains(&self, template: &str) -> bool {
        (**self).contains(template)
    }

    fn uses<'n>(&self, template: &str, names: &[&'n str]) -> Vec<&'n str> {
        (**self).uses(template, names)
    }

    fn describe(&self, about: &mut About) {
        (**self).describe(about);
    }

    fn check(&self, site: &Site) -> Result<()> {
        (**self).check(site)
    }
}

/// A view about to be rendered: its context, the names that layers gave, and where links lead.
pub struct Page<'a> {
    pub(super) view: &'a View,
    pub(super) names: Vec<(&'static str, Value)>,
    /// The names that a template of this request may use, of which those that it uses are among `names`.
    #[cfg(feature = "tera")]
    pub(super) offered: Vec<&'static str>,
    links: Links,
    csrf: Option<CsrfToken>,
}

impl Page<'_> {
    /// The name of the template.
    pub fn template(&self) -> &str {
        self.view.template()
    }

    /// Everything that the template may talk about, by name: the context, and what layers gave.
    ///
    /// # Errors
    ///
    /// A value cannot be written as JSON, or the context has no names at its top.
    pub fn to_json(&self) -> Result<serde_json::Map<String, serde_json::Value>> {
        let mut all = serde_json::Map::new();
        for (name, value) in &self.names {
            all.insert((*name).to_owned(), value.to_json()?);
        }
        match self.view.context.to_json()? {
            serde_json::Value::Object(context) => all.extend(context),
            serde_json::Value::Null => {}
            other => return Err(self.no_names(json_kind(&other))),
        }
        Ok(all)
    }

    /// Makes URLs; may be kept for as long as the engine likes.
    pub fn links(&self) -> &Links {
        &self.links
    }

    /// The token of the forms on the page, if the template uses the name `csrf_field`: for an engine that has a function of
    /// this name, so that the token is made where the function is called. None without a session.
    pub fn csrf(&self) -> Option<&CsrfToken> {
        self.csrf.as_ref()
    }

    pub(super) fn no_names(&self, found: &str) -> Error {
        let template = self.template();
        Error::internal(format!("the context of {template} must be a struct, a map or `()`, and is {found}"))
    }
}

fn json_kind(value: &serde_json::Value) -> &'static str {
    match value {
        serde_json::Value::Array(_) => "a list",
        serde_json::Value::String(_) => "a string",
        serde_json::Value::Number(_) => "a number",
        _ => "a single value",
    }
}

/// Makes the URLs that a page links to: what an engine's `url_for` and `static_url` call.
#[derive(Clone, Debug, Default)]
pub struct Links {
    site: Option<Arc<Site>>,
    route: Option<MatchedRoute>,
}

impl Links {
    /// Links from a route of a site; a layer knows its site once that has started.
    pub(crate) fn new(site: Option<Arc<Site>>, route: Option<MatchedRoute>) -> Self {
        let own = route.as_ref().and_then(|route| route.site().cloned());
        Self { site: own.or(site), route }
    }

    /// The path of a route, looked up among the routes of the same mount first; of one that is for another host, the URL without
    /// its scheme.
    ///
    /// # Errors
    ///
    /// See [`Site::url_for`].
    pub fn url_for(&self, name: &str, params: &[(&str, &str)]) -> Result<String> {
        let route = self.route.as_ref();
        let namespace = route.map_or("", MatchedRoute::namespace);
        self.site()?.url_from(route.and_then(MatchedRoute::host), namespace, name, params)
    }

    /// The URL of a public file.
    ///
    /// # Errors
    ///
    /// No layer serves files, or there is none of this name.
    pub fn static_url(&self, file: &str) -> Result<String> {
        let urls = self.site()?.shared::<StaticUrls>();
        let urls = urls.ok_or_else(|| Error::internal("no layer of the site serves static files"))?;
        urls.url(file)
    }

    /// Whether a layer of the site protects forms.
    #[cfg(feature = "tera")]
    pub(super) fn has_csrf(&self) -> bool {
        self.site.as_deref().is_some_and(Site::provides::<CsrfToken>)
    }

    /// The host and the namespace that links lead from, on which they depend; empty where there is none.
    #[cfg(all(feature = "tera", feature = "cache"))]
    pub(super) fn from(&self) -> (&str, &str) {
        let route = self.route.as_ref();
        (route.and_then(MatchedRoute::host).unwrap_or_default(), route.map_or("", MatchedRoute::namespace))
    }

    fn site(&self) -> Result<&Site> {
        self.site.as_deref().ok_or_else(|| Error::internal("the site has not been started"))
    }
}

/// What a layer keeps of a request, to render a view for it on the way out.
pub(crate) struct Facts {
    pub(crate) method: Method,
    pub(crate) uri: Uri,
    pub(crate) id: Option<RequestId>,
    pub(crate) nonce: Option<CspNonce>,
    /// For the report of a page that fails.
    pub(crate) trail: Option<Trail>,
    session: Option<LazySession>,
    names: Names,
}

impl Facts {
    /// Clones of what is cheap to clone.
    pub(crate) fn of(req: &mut Request) -> Self {
        let Beside { names, session, trail } = Beside::of(req).clone();
        Self {
            method: req.method().clone(),
            uri: original_uri(req).clone(),
            id: req.id().cloned(),
            nonce: req.extensions().get::<CspNonce>().cloned(),
            trail,
            session,
            names,
        }
    }

    /// Renders a view, after working out the names that its template uses.
    ///
    /// # Errors
    ///
    /// The engine's, with the line that made the view among its places.
    pub(crate) async fn render(&self, engine: &dyn Engine, view: &View, links: Links) -> Result<String> {
        let defaults = links.site.as_deref().map(Defaults::of).unwrap_or_default();
        let mut offered = self.names.list();
        let protected = links.site.as_deref().is_some_and(Site::provides::<CsrfToken>);
        let of_csrf = [csrf::FIELD, CSRF_FIELD].into_iter().filter(|_| protected);
        for name in defaults.names().chain([REQUEST, CSP_NONCE, FLASH]).chain(of_csrf) {
            if !offered.contains(&name) {
                offered.push(name);
            }
        }
        let mut names: Vec<_> = view.form.iter().map(|form| (FORM, form.clone())).collect();
        let mut csrf = None;
        for name in engine.uses(view.template(), &offered) {
            let value = match self.names.value(name).await {
                Some(value) => value?,
                None if name == REQUEST => Arc::new(self.request()),
                None if name == FLASH => Arc::new(self.flash().await),
                None if name == CSRF_FIELD => {
                    csrf = self.csrf().await;
                    continue;
                }
                None if name == csrf::FIELD => Arc::new(self.csrf().await.map(masked).unwrap_or_default()),
                // Without a policy there is nothing to be let in by.
                None if name == CSP_NONCE => Arc::new(self.nonce().unwrap_or_default().to_owned()),
                None => match defaults.value(name) {
                    Some(value) => value,
                    None => continue,
                },
            };
            names.push((name, value));
        }
        let page = Page {
            view,
            names,
            #[cfg(feature = "tera")]
            offered,
            links,
            csrf,
        };
        engine.render(&page).map_err(|error| placed(error, view))
    }

    fn nonce(&self) -> Option<&str> {
        self.nonce.as_ref().and_then(CspNonce::value)
    }

    /// The messages for the visitor. Taking them is reading the session, so it is done only for a page that shows them.
    async fn flash(&self) -> Vec<Flash> {
        match &self.session {
            Some(session) => session.take_flash().await,
            None => Vec::new(),
        }
    }

    /// The token of forms, which is not made yet. None where there is no session to keep it: on an error page of a request
    /// that did not come so far, or with a store that cannot be asked.
    async fn csrf(&self) -> Option<CsrfToken> {
        match self.session.as_ref()?.load().await {
            Ok(session) => Some(CsrfToken::of(session)),
            Err(error) => {
                tracing::error!("a page has no token for its forms: {error:#}");
                None
            }
        }
    }

    fn request(&self) -> serde_json::Value {
        serde_json::json!({
            "method": self.method.as_str(),
            "path": self.uri.path(),
            "query": self.uri.query(),
            "id": self.id.as_ref().map(RequestId::as_str),
        })
    }
}

const REQUEST: &str = "request";
const CSP_NONCE: &str = "csp_nonce";
const FLASH: &str = "flash";
const FORM: &str = "form";
/// The function that writes the token's field.
pub(super) const CSRF_FIELD: &str = "csrf_field";

/// The token; empty on a page that is made after the session was written, which cannot keep a new one.
fn masked(token: CsrfToken) -> String {
    token.masked().unwrap_or_else(|error| {
        tracing::debug!("a page has no token for its forms: {error:#}");
        String::new()
    })
}

/// The places of a template's error are in the template, and where the view was made: not in the engine.
fn placed(error: Error, view: &View) -> Error {
    let inner = error.downcast_ref::<TemplateError>().map(TemplateError::place);
    let places = match inner {
        Some(place) => place.into_iter().collect(),
        None => error.places().to_vec(),
    };
    error.with_places(places.into_iter().chain([view.place().into()]).collect())
}
