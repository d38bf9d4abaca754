//! `Tera`: the default engine, Tera 2 over a folder of templates.

use super::engine::CSRF_FIELD;
#[cfg(feature = "cache")]
use super::fragments::FRAGMENT;
use super::scan::{Call, Mentions, position, scan};
use super::{Engine, Links, MissingTemplate, Page, TemplateError};
#[cfg(feature = "cache")]
use crate::cache::Cache;
use crate::csrf::CsrfToken;
use crate::nearest::nearest;
use crate::site::{About, Site};
use crate::{Assets, Error, Result, StaticUrls};
use ::tera::{Context, ErrorKind, Kwargs, State, TeraResult, Value};
use bytes::Bytes;
use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::{self, Write};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::SystemTime;

/// Renders the templates of a folder by [Tera 2](https://keats.github.io/tera/).
///
/// Every file below the folder is a template, named by its path from there: `errors/404.html`. What is written into a page is
/// escaped, except in templates whose extension says that they are no markup: `txt`, `md`, `json`, `js`, `css`, `csv`, `ics`.
///
/// Beside what Tera has, templates may call
///
/// - `url_for(name="post", slug=post.slug)`: the path of a route by its name, the routes of the same mount first. Of a route
///   that has a parameter called `name`, say `url_for(route="hello", name=person)`.
/// - `static_url(path="site.css")`: the URL of a public file, with its fingerprint.
/// - `csrf_field()`: the hidden field which proves that a form is the site's own, below the layer
///   [`Csrf`](crate::layers::Csrf). It is made where it is called: behind an `if` that is false it costs nothing.
///
/// - `fragment(name="parts/post.html", post=post)`: a part of the page, made once and [kept](#fragments); with the feature `cache`.
///
/// the [components of forms](#components-of-forms), and use the names `request`, `csp_nonce`, and those of [`Names`](super::Names).
///
/// From a folder on disk (`purlin::embed!` in a debug build) templates are read again when one has changed, which is looked
/// for each time one is rendered. A template that is then broken fails the pages of the site until it is mended: nothing
/// stale is shown.
///
/// # Components of forms
///
/// They write accessible fields, with what was typed and what is wrong, of the form that [`View::form`](crate::View::form) gave
/// to the page. Tera's components need no import:
///
/// ```html
/// {% <forms.form action={url_for(name="guestbook")}> %}
///   {{ <forms.input name="name" label="Your name" autocomplete="name" required={true} /> }}
///   {{ <forms.textarea name="message" label="Your message" rows="4" /> }}
///   {{ <forms.submit label="Sign the book" /> }}
/// {% </forms.form> %}
/// ```
///
/// | Component | Arguments; with a default those in brackets |
/// |---|---|
/// | `forms.form` | `[action]`, `[method]` (`post`; any but `get` writes `csrf_field()` and, if need be, `_method`), `[files]`, `[summary]`, `[labels]` |
/// | `forms.input` | `name`, `label`, `[type]` (`text`), `[hint]`, `[value]` |
/// | `forms.textarea` | `name`, `label`, `[hint]`, `[value]` |
/// | `forms.select` | `name`, `label`, `options`, `[empty]`, `[hint]`, `[value]`, `[multiple]` |
/// | `forms.radios`, `forms.checkboxes` | `name`, `legend`, `options`, `[hint]`, `[value]` |
/// | `forms.checkbox` | `name`, `label`, `[hint]`, `[checked]`, `[value]` (`true`) |
/// | `forms.file` | `name`, `label`, `[hint]` |
/// | `forms.hidden` | `name`, `[value]` |
/// | `forms.summary` | `[title]`, `[labels]` (by name; the names in words): the problems, each with a link; `forms.form` has it |
/// | `forms.submit` | `label` |
///
/// `options` is a list of texts, or of maps with `value` and `label`. `value` is what stands in the form before it was sent.
/// What else is given becomes an attribute: `autocomplete="email"`, `required={true}`. The id of `address[city]` is
/// `address-city`, that of its problem `address-city-problem`. The classes are `field`, `hint`, `problem`, `problems`, `choice`;
/// the look is the site's. A file `purlin/forms.html` or `purlin/form.html` among the site's own takes the place of ours.
///
/// # Fragments
///
/// `fragment` renders a template and keeps the markup in the cache that `fragments` was given (feature `cache`): the next
/// page that wants the same has it without the work.
///
/// ```html
/// {{ fragment(name="parts/post.html", post=post) }}
/// {{ fragment(name="parts/side.html", posts=posts, key=newest_id, ttl="10m", tags=["posts"]) }}
/// ```
///
/// A fragment sees its arguments and nothing else of the page: no session, no CSP nonce, and no `csrf_field()`, which is an error
/// in it. So nothing of one visitor gets into another's page, unless it is passed. All its arguments together tell one markup
/// from another; `key`, a value or a list of some, does so instead where they are large. `ttl` is a time like `"10m"` or a number
/// of seconds, and the region's otherwise; by `tags` it can be purged. The markup is escaped
/// where it is made, and put into the page as it is; that of a template that is no markup (`txt` …) is escaped by the page.
/// Where templates are read again, so are fragments made again.
///
/// Rendering does not wait: of several pages that lack the same fragment at the same time each makes it, which is as many as
/// there are threads at most. With the region's `stale`, one makes it anew and the others take the old. What is dear about a
/// part of a page is mostly what it shows: let the handler have that by `Cache::get_or_try`.
///
/// # Errors
///
/// All templates are read when the site starts, and every `url_for` whose names are literals is tried. What is found is
/// told with file, line, column and excerpt, and the site does not start.
///
/// ```
/// use purlin::template::{Tera, tera};
/// use purlin::Assets;
///
/// let templates = Assets::embedded(&[("price.html", b"{{ cents | euro }}")]);
/// let engine = Tera::new(templates).configure(|tera| {
///     tera.register_filter("euro", |cents: i64, _: tera::Kwargs, _: &tera::State| {
///         format!("{}.{:02} €", cents / 100, cents % 100)
///     });
/// });
/// ```
pub struct Tera {
    assets: Assets,
    #[cfg(feature = "cache")]
    fragments: Option<Cache>,
    setup: Vec<Box<Setup>>,
    reload: bool,
    loaded: RwLock<Option<Arc<Loaded>>>,
}

type Setup = dyn Fn(&mut ::tera::Tera) + Send + Sync;

/// The templates as they were at one time, or what is wrong with them.
pub(super) struct Loaded {
    stamp: Stamp,
    /// Which reading it is, of all templates in the process.
    #[cfg(feature = "cache")]
    number: u64,
    set: std::result::Result<Set, Vec<TemplateError>>,
}

struct Set {
    tera: ::tera::Tera,
    sources: Sources,
    mentions: BTreeMap<String, Mentions>,
    /// How long what was last made of a template was.
    lengths: HashMap<String, AtomicUsize>,
    /// The words that a template, or one that it can lead to, mentions.
    words: HashMap<String, HashSet<String>>,
}

type Sources = BTreeMap<String, Bytes>;

impl Tera {
    /// The templates of a folder; they are read when the site starts.
    pub fn new(assets: Assets) -> Self {
        let reload = assets.as_folder().is_some();
        Self {
            assets,
            #[cfg(feature = "cache")]
            fragments: None,
            setup: Vec::new(),
            reload,
            loaded: RwLock::new(None),
        }
    }

    /// Where the markup of `fragment(…)` is kept: in the memory of this region. Without one, that function is an error.
    #[cfg(feature = "cache")]
    pub fn fragments(mut self, cache: Cache) -> Self {
        self.fragments = Some(cache);
        self
    }

    /// Adds filters, tests and functions of the site to Tera; called each time the templates are read.
    pub fn configure(mut self, setup: impl Fn(&mut ::tera::Tera) + Send + Sync + 'static) -> Self {
        self.setup.push(Box::new(setup));
        self
    }

    /// Whether changed templates are read again; by default they are if they are on disk, and never if they are not.
    pub fn reload(mut self, reload: bool) -> Self {
        self.reload = reload && self.assets.as_folder().is_some();
        self
    }

    fn loaded(&self) -> Arc<Loaded> {
        let stamp = if self.reload { Stamp::of(&self.assets) } else { Stamp::default() };
        let fresh = |loaded: &Arc<Loaded>| !self.reload || loaded.stamp == stamp;
        if let Some(loaded) = self.loaded.read().unwrap_or_else(PoisonError::into_inner).clone().filter(fresh) {
            return loaded;
        }
        let mut place = self.loaded.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(loaded) = place.clone().filter(fresh) {
            return loaded;
        }
        // The stamp is from before the reading: what changes meanwhile is read next time.
        let loaded = Arc::new(Loaded::new(stamp, self.load()));
        *place = Some(loaded.clone());
        loaded
    }

    fn load(&self) -> std::result::Result<Set, Vec<TemplateError>> {
        let sources = self.sources().map_err(|error| vec![error])?;
        let texts = || sources.iter().map(|(name, bytes)| (name, text(bytes)));
        let mut tera = self.empty(sources.keys());
        if let Err(error) = tera.add_raw_templates(texts()) {
            return Err(self.faults(&error, &sources));
        }
        let mentions: BTreeMap<_, _> = texts().map(|(name, text)| (name.clone(), scan(text, &CALLS))).collect();
        let words = mentions.keys().map(|name| (name.clone(), reachable(name, &mentions))).collect();
        let lengths = sources.keys().map(|name| (name.clone(), AtomicUsize::new(0))).collect();
        Ok(Set { tera, sources, mentions, lengths, words })
    }

    /// Tera with everything but the templates.
    fn empty<'a>(&self, names: impl Iterator<Item = &'a String>) -> ::tera::Tera {
        let mut tera = ::tera::Tera::new();
        tera.autoescape_on(names.filter(|name| is_markup(name)).cloned());
        tera.set_escape_fn(escape);
        tera.register_function(URL_FOR, url_for);
        tera.register_function(STATIC_URL, static_url);
        tera.register_function(CSRF_FIELD, csrf_field);
        #[cfg(feature = "cache")]
        tera.register_function(FRAGMENT, super::fragments::fragment);
        tera.register_filter("field_id", |name: &str, _: Kwargs, _: &State<'_>| crate::form::field_id(name));
        for setup in &self.setup {
            setup(&mut tera);
        }
        tera
    }

    fn sources(&self) -> std::result::Result<Sources, TemplateError> {
        let folder = || self.assets.as_folder().map_or_else(String::new, |folder| folder.display().to_string());
        let names = self.assets.names().map_err(|error| TemplateError::new(folder(), 0, 0, error.to_string()))?;
        // What an editor leaves beside a file is no template.
        let names = names.into_iter().filter(|name| !name.ends_with('~'));
        let ours = LIBRARY.iter().map(|(name, text)| Ok(((*name).to_owned(), Bytes::from_static(text.as_bytes()))));
        // The site's own of the same name come later, and stay.
        ours.chain(names.map(|name| {
            let bytes = self.assets.read(&name);
            let bytes = bytes.map_err(|error| TemplateError::new(self.file(&name), 0, 0, error.to_string()))?;
            if let Err(error) = std::str::from_utf8(&bytes) {
                let good = String::from_utf8_lossy(&bytes[..error.valid_up_to()]);
                let (line, column) = position(&good, good.len());
                let message = format!("expected UTF-8, found the byte 0x{:02x}", bytes[error.valid_up_to()]);
                return Err(TemplateError::new(self.file(&name), line, column, message));
            }
            Ok((name.into_owned(), bytes))
        }))
        .collect()
    }

    /// What a template is called in a message: a path from where the site runs, if it is on disk.
    fn file(&self, name: &str) -> String {
        let Some(path) = self.assets.path(name) else {
            return name.to_owned();
        };
        let here = std::env::current_dir().unwrap_or_default();
        path.strip_prefix(here).unwrap_or(&path).display().to_string()
    }

    /// Everything that is wrong, from Tera's first complaint.
    fn faults(&self, error: &::tera::Error, sources: &Sources) -> Vec<TemplateError> {
        if !matches!(error.kind(), ErrorKind::SyntaxError(_)) {
            return self.errors(error, sources);
        }
        // Tera stops at the first template that it cannot parse. Alone, each may lack its parent, but not its syntax.
        let alone = sources.iter().filter_map(|(name, bytes)| {
            let error = self.empty([name].into_iter()).add_raw_template(name, text(bytes)).err()?;
            matches!(error.kind(), ErrorKind::SyntaxError(_)).then(|| self.errors(&error, sources))
        });
        alone.flatten().collect()
    }

    /// Tera's error with file, line and column: from its parts, or where it has none, from its text.
    fn errors(&self, error: &::tera::Error, sources: &Sources) -> Vec<TemplateError> {
        let at = |name: &str, line: usize, column: usize, message: &str| {
            let source = sources.get(name).map(text).unwrap_or_default();
            let message = with_hint(message, word_at(source, line, column), sources);
            TemplateError::new(self.file(name), line as u32, column as u32, message).source(source)
        };
        match error.kind() {
            ErrorKind::SyntaxError(report) | ErrorKind::RenderingError(report) => {
                let span = report.span();
                let first = at(report.filename(), span.start_line, span.start_col + 1, report.message());
                let trail = error.to_string();
                let trail = trail.lines().filter_map(|line| line.strip_prefix("note: "));
                vec![trail.fold(first, TemplateError::via)]
            }
            ErrorKind::MissingParent { current, parent } => {
                let source = sources.get(current).map(text).unwrap_or_default();
                let (line, column) = source.find(parent.as_str()).map_or((1, 1), |at| position(source, at));
                vec![at(current, line as usize, column as usize, &format!("Unknown template `{parent}`"))]
            }
            ErrorKind::CircularExtend { tpl, .. } | ErrorKind::CircularInclude { tpl, .. } => {
                vec![at(tpl, 0, 0, &error.to_string())]
            }
            _ => {
                let text = error.to_string();
                let reports = reports(&text);
                let found = reports.iter().map(|(message, name, line, column)| at(name, *line, *column, message));
                let found: Vec<TemplateError> = found.collect();
                if found.is_empty() { vec![TemplateError::new("templates", 0, 0, lower(&text))] } else { found }
            }
        }
    }
}

/// In lower case, with the word at the place of a tag that Tera does not know, and the nearest one of what is unknown.
fn with_hint(message: &str, word: &str, sources: &Sources) -> String {
    if message == "Unknown tag" && !word.is_empty() {
        return match nearest(word, TAGS) {
            Some(known) => format!("unknown tag `{word}`: did you mean `{known}`?"),
            None => format!("unknown tag `{word}`"),
        };
    }
    let unknown = |what: &str| message.strip_prefix(what).and_then(|rest| rest.strip_suffix('`'));
    let known = match (unknown("Unknown template `"), unknown("Unknown component `")) {
        (Some(name), _) => nearest(name, sources.keys().map(String::as_str)).map(str::to_owned),
        (_, Some(name)) => {
            let components: Vec<_> = sources.values().flat_map(|source| scan(text(source), &[]).components).collect();
            nearest(name, components.iter().map(String::as_str)).map(str::to_owned)
        }
        _ => None,
    };
    match known {
        Some(known) => format!("{}: did you mean `{known}`?", lower(message)),
        None => lower(message),
    }
}

/// What a tag may begin with in Tera 2.
const TAGS: [&str; 21] = [
    "block",
    "break",
    "component",
    "continue",
    "elif",
    "else",
    "endblock",
    "endcomponent",
    "endfilter",
    "endfor",
    "endif",
    "endraw",
    "endset",
    "extends",
    "filter",
    "for",
    "if",
    "include",
    "raw",
    "set",
    "set_global",
];

/// The word that begins at a place of a template.
fn word_at(source: &str, line: usize, column: usize) -> &str {
    let line = source.lines().nth(line.saturating_sub(1)).unwrap_or_default();
    let start = line.char_indices().nth(column.saturating_sub(1)).map_or(line.len(), |(at, _)| at);
    let word = &line[start..];
    &word[..word.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(word.len())]
}

const AVAILABLE: &str = ". Available variables: ";

/// What Tera says of a name that there is not, with all that there would be: values are worked out for names that are used only, so
/// Tera knows of no others.
fn with_names(error: TemplateError, page: &Page<'_>, context: &Context) -> TemplateError {
    let Some((problem, given)) = error.message().split_once(AVAILABLE) else {
        return error;
    };
    let mut names: Vec<&str> = given.split(", ").collect();
    let name = problem.strip_prefix("variable `").and_then(|rest| rest.split_once('`')).map_or("", |(name, _)| name);
    // A component has its arguments, and nothing of the page.
    if page.names.iter().all(|(name, _)| names.contains(name)) && names.iter().any(|name| context.contains_key(name)) {
        names.extend(page.offered.iter().copied().filter(|name| *name != CSRF_FIELD));
    }
    names.sort_unstable();
    names.dedup();
    let hint = nearest(name, names.iter().copied()).map(|known| format!(": did you mean `{known}`?"));
    let separator = if hint.is_some() { &AVAILABLE[1..] } else { AVAILABLE };
    let message = format!("{problem}{}{separator}{}", hint.unwrap_or_default(), names.join(", "));
    error.in_words(message)
}

/// What Tera does by itself, not byte by byte.
fn escape(text: &str, out: &mut dyn Write) -> io::Result<()> {
    let mut rest = text.as_bytes();
    while let Some(at) = rest.iter().position(|byte| matches!(byte, b'&' | b'<' | b'>' | b'"' | b'\'')) {
        let escaped: &[u8] = match rest[at] {
            b'&' => b"&amp;",
            b'<' => b"&lt;",
            b'>' => b"&gt;",
            b'"' => b"&quot;",
            _ => b"&#39;",
        };
        out.write_all(&rest[..at])?;
        out.write_all(escaped)?;
        rest = &rest[at + 1..];
    }
    out.write_all(rest)
}

/// The fault of a link by literal names, if it has one.
fn broken_link(call: &Call, site: &Site) -> Option<String> {
    if call.function == CSRF_FIELD {
        return (!site.provides::<CsrfToken>()).then(|| NO_CSRF.to_owned());
    }
    if call.function == STATIC_URL {
        let urls = site.shared::<StaticUrls>()?;
        return Some(urls.url(call.literal(PATH)?).err()?.message());
    }
    let given = |arg: &str| call.args.iter().any(|(key, _)| key == arg);
    let by = if given(ROUTE) { ROUTE } else { NAME };
    let Some(name) = call.literal(by) else {
        return (!given(by)).then(|| format!("{URL_FOR} needs the argument `{NAME}`"));
    };
    // The value of anything but a literal is not known yet: any would do.
    let params = call.args.iter().filter(|(key, _)| key != by);
    let params: Vec<_> = params.map(|(key, value)| (key.as_str(), value.as_deref().unwrap_or("x"))).collect();
    let mut problem = None;
    for namespace in namespaces(site, name) {
        // On which host the page is, is not known either.
        match site.find(namespace, name).map(|route| route.fill(name, &params)) {
            Some(Ok(_)) => return None,
            Some(Err(error)) => problem = Some(error.message()),
            None => {}
        }
    }
    Some(problem.unwrap_or_else(|| site.no_such_name(name)))
}

/// The namespaces in which a route of this name could be meant; a template may be rendered below any mount.
fn namespaces<'a>(site: &'a Site, name: &str) -> Vec<&'a str> {
    let names = site.routes().iter().filter_map(|route| route.name.as_deref());
    let namespaces = names.filter_map(|known| known.strip_suffix(name));
    namespaces.filter(|namespace| namespace.is_empty() || namespace.ends_with(':')).collect()
}

impl Engine for Tera {
    fn describe(&self, about: &mut About) {
        if self.reload {
            about.reads(&self.assets);
        }
    }

    fn render(&self, page: &Page<'_>) -> Result<String> {
        let loaded = self.loaded();
        let set = match &loaded.set {
            Ok(set) => set,
            Err(errors) => {
                return Err(errors.first().cloned().map_or_else(|| Error::internal("no templates"), Error::from));
            }
        };
        let template = page.template();
        if !set.tera.contains_template(template) {
            let here = std::env::current_dir().unwrap_or_default();
            let folder =
                self.assets.as_folder().map(|folder| folder.strip_prefix(&here).unwrap_or(folder).to_string_lossy());
            return Err(
                MissingTemplate::new(template, folder.as_deref(), set.sources.keys().map(String::as_str)).into()
            );
        }
        let context = context(page)?;
        let now = Now {
            links: page.links().clone(),
            csrf: page.csrf().cloned(),
            #[cfg(feature = "cache")]
            fragments: self.fragments.as_ref().map(|cache| Fragments::new(cache, &loaded)),
        };
        let guard = Restore(PAGE_NOW.replace(Some(now)));
        let length = set.lengths.get(template);
        // As much as the last one took: pages of a template are of a size, and one that grows is copied again and again.
        let mut text = Vec::with_capacity(length.map_or(0, |length| length.load(Ordering::Relaxed)));
        let rendered = set.tera.render_to(template, &context, &mut text);
        drop(guard);
        rendered.map_err(|error| {
            let found = self.errors(&error, &set.sources).into_iter().next();
            found.map_or_else(|| Error::from(error), |found| Error::from(with_names(found, page, &context)))
        })?;
        if let Some(length) = length {
            length.store(text.len(), Ordering::Relaxed);
        }
        Ok(String::from_utf8(text)?)
    }

    fn contains(&self, template: &str) -> bool {
        self.loaded().set.as_ref().is_ok_and(|set| set.tera.contains_template(template))
    }

    fn uses<'n>(&self, template: &str, names: &[&'n str]) -> Vec<&'n str> {
        let loaded = self.loaded();
        let words = loaded.set.as_ref().ok().and_then(|set| set.words.get(template));
        let Some(words) = words else {
            return Vec::new();
        };
        let all = words.contains(EVERYTHING);
        names.iter().copied().filter(|name| all || words.contains(*name)).collect()
    }

    fn check(&self, site: &Site) -> Result<()> {
        #[cfg(feature = "cache")]
        if let Some(cache) = &self.fragments {
            super::fragments::check(cache)?;
        }
        let loaded = self.loaded();
        let set = match &loaded.set {
            Ok(set) => set,
            Err(errors) => return Err(report(errors)),
        };
        let mut errors = Vec::new();
        let own = |name: &str| {
            LIBRARY.iter().all(|(ours, text)| *ours != name || set.sources.get(name).map(self::text) != Some(text))
        };
        for (name, mentions) in set.mentions.iter().filter(|(name, _)| own(name)) {
            let source = set.sources.get(name).map(text).unwrap_or_default();
            for call in &mentions.calls {
                #[cfg(feature = "cache")]
                if call.function == FRAGMENT {
                    let unknown = call.literal(NAME).filter(|wanted| !loaded.contains(wanted));
                    if let Some(wanted) = unknown {
                        let (line, column) = position(source, call.at);
                        let problem = super::fragments::missing(wanted, loaded.names());
                        errors.push(TemplateError::new(self.file(name), line, column, problem).source(source));
                    }
                    continue;
                }
                if let Some(problem) = broken_link(call, site) {
                    let (line, column) = position(source, call.at);
                    errors.push(TemplateError::new(self.file(name), line, column, problem).source(source));
                }
            }
        }
        if errors.is_empty() { Ok(()) } else { Err(report(&errors)) }
    }
}

/// All faults as one error, each with its excerpt.
fn report(errors: &[TemplateError]) -> Error {
    let mut message = match errors.len() {
        1 => "a template is broken".to_owned(),
        count => format!("{count} templates are broken"),
    };
    for error in errors {
        message.push_str("\n\n");
        message.push_str(&format!("{error:#}"));
    }
    Error::internal(message).with_places(errors.iter().filter_map(TemplateError::place).collect())
}

/// The context and the names of layers, each value copied once.
fn context(page: &Page<'_>) -> Result<Context> {
    let mut context = Context::new();
    for (name, value) in &page.names {
        context.insert_value(*name, value.to_tera()?);
    }
    let own = page.view.context.to_tera()?;
    let kind = own.name();
    match own.into_map() {
        Some(map) => map.into_iter().for_each(|(key, value)| context.insert_value(key.to_string(), value)),
        None if kind == Value::none().name() => {}
        None => return Err(page.no_names(kind)),
    }
    Ok(context)
}

const URL_FOR: &str = "url_for";
const STATIC_URL: &str = "static_url";
#[cfg(not(feature = "cache"))]
const CALLS: [&str; 3] = [URL_FOR, STATIC_URL, CSRF_FIELD];
#[cfg(feature = "cache")]
const CALLS: [&str; 4] = [URL_FOR, STATIC_URL, CSRF_FIELD, FRAGMENT];
const NAME: &str = "name";
const ROUTE: &str = "route";
const PATH: &str = "path";
/// Tera's own name for the whole context.
const EVERYTHING: &str = "__tera_context";

/// The framework's own templates: components, which any template may use.
const LIBRARY: [(&str, &str); 2] = [
    ("purlin/form.html", include_str!("../../templates/purlin/form.html")),
    ("purlin/forms.html", include_str!("../../templates/purlin/forms.html")),
];

impl Loaded {
    fn new(stamp: Stamp, set: std::result::Result<Set, Vec<TemplateError>>) -> Self {
        Self {
            stamp,
            #[cfg(feature = "cache")]
            number: {
                static READINGS: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
                READINGS.fetch_add(1, std::sync::atomic::Ordering::Relaxed)
            },
            set,
        }
    }
}

#[cfg(feature = "cache")]
impl Loaded {
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    pub(super) fn contains(&self, template: &str) -> bool {
        self.set.as_ref().is_ok_and(|set| set.tera.contains_template(template))
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.set.iter().flat_map(|set| set.sources.keys().map(String::as_str))
    }

    /// Renders a fragment of the page that this thread renders.
    pub(super) fn render_fragment(
        &self,
        template: &str,
        context: &Context,
        links: &Links,
        outer: &Fragments,
    ) -> Result<String> {
        let Ok(set) = &self.set else {
            return Err(Error::internal("the templates are broken"));
        };
        let fragments = Fragments { depth: outer.depth + 1, ..outer.clone() };
        let now = Now { links: links.clone(), csrf: None, fragments: Some(fragments) };
        let guard = Restore(PAGE_NOW.replace(Some(now)));
        let rendered = set.tera.render(template, context);
        drop(guard);
        rendered.map_err(|error| Error::internal(lower(error.to_string().trim())))
    }
}

/// What the functions need to know of the page.
struct Now {
    links: Links,
    csrf: Option<CsrfToken>,
    #[cfg(feature = "cache")]
    fragments: Option<Fragments>,
}

/// What fragments are made of, and kept in; and how deep in others the present one is.
#[cfg(feature = "cache")]
#[derive(Clone)]
pub(super) struct Fragments {
    pub(super) cache: Cache,
    pub(super) loaded: Arc<Loaded>,
    pub(super) depth: usize,
}

/// Of the page that this thread renders, if its templates have a cache for fragments.
#[cfg(feature = "cache")]
pub(super) fn rendering() -> Option<(Fragments, Links)> {
    PAGE_NOW.with_borrow(|page| {
        let page = page.as_ref()?;
        Some((page.fragments.clone()?, page.links.clone()))
    })
}

thread_local! {
    /// The page that this thread renders. Tera's functions are given the context only, and a context holds no Rust values.
    static PAGE_NOW: RefCell<Option<Now>> = const { RefCell::new(None) };
}

struct Restore(Option<Now>);

impl Drop for Restore {
    fn drop(&mut self) {
        PAGE_NOW.set(self.0.take());
    }
}

fn csrf_field(_: Kwargs, _: &State<'_>) -> TeraResult<Value> {
    PAGE_NOW.with_borrow(|page| {
        #[cfg(feature = "cache")]
        if page.as_ref().and_then(|page| page.fragments.as_ref()).is_some_and(|fragments| fragments.depth > 0) {
            return Err(::tera::Error::message(
                "a fragment is kept for other visitors too, and cannot have the token of one: put the form outside of it",
            ));
        }
        let csrf = page.as_ref().and_then(|page| page.csrf.as_ref());
        if csrf.is_none() && !page.as_ref().is_some_and(|page| page.links.has_csrf()) {
            return Err(::tera::Error::message(NO_CSRF));
        }
        let field = csrf.and_then(|token| match token.field() {
            Ok(field) => Some(field),
            // On a page that is made after the session was written, which cannot keep a new one.
            Err(error) => {
                tracing::debug!("a form has no token: {error:#}");
                None
            }
        });
        Ok(Value::safe_string(&field.unwrap_or_default()))
    })
}

const NO_CSRF: &str = "no layer of the site protects forms: add `.layer(Csrf::new())` below the sessions";

fn url_for(kwargs: Kwargs, _: &State<'_>) -> TeraResult<String> {
    let args = arguments(&kwargs)?;
    let by = if args.iter().any(|(key, _)| *key == ROUTE) { ROUTE } else { NAME };
    let name = args.iter().find(|(key, _)| *key == by).map(|(_, value)| value.as_str());
    let name = name.ok_or_else(|| ::tera::Error::message(format!("{URL_FOR} needs the argument `{NAME}`")))?;
    let params = args.iter().filter(|(key, _)| *key != by);
    let params: Vec<(&str, &str)> = params.map(|(key, value)| (*key, value.as_str())).collect();
    linked(|links| links.url_for(name, &params))
}

fn static_url(kwargs: Kwargs, _: &State<'_>) -> TeraResult<String> {
    let path = kwargs.must_get::<&str>(PATH)?;
    linked(|links| links.static_url(path))
}

fn linked(link: impl FnOnce(&Links) -> Result<String>) -> TeraResult<String> {
    PAGE_NOW.with_borrow(|page| match page {
        Some(page) => link(&page.links).map_err(|error| ::tera::Error::message(error.message())),
        None => Err(::tera::Error::message("no page is being rendered")),
    })
}

/// Arguments that can stand in a URL, as text.
pub(super) fn arguments(kwargs: &Kwargs) -> TeraResult<Vec<(&str, String)>> {
    let argument = |(key, value): (_, &Value)| {
        let key: &::tera::value::Key<'static> = key;
        let key = key.as_str().unwrap_or_default();
        if value.is_string() || value.is_number() || value.is_bool() {
            return Ok((key, value.to_string()));
        }
        Err(::tera::Error::message(format!("the argument `{key}` must be text or a number, and is {}", value.name())))
    };
    kwargs.iter().map(argument).collect()
}

/// The words of a template and of all those that it can lead to: by a literal that names one, or by a component.
fn reachable(name: &str, mentions: &BTreeMap<String, Mentions>) -> HashSet<String> {
    let mut words = HashSet::new();
    let mut seen = HashSet::new();
    let mut next = vec![name];
    while let Some(name) = next.pop() {
        let Some(found) = mentions.get(name).filter(|_| seen.insert(name)) else {
            continue;
        };
        words.extend(found.words.iter().cloned());
        next.extend(found.literals.iter().map(String::as_str));
        let defines = |other: &Mentions| !other.components.is_disjoint(&found.used);
        next.extend(mentions.iter().filter(|(_, other)| defines(other)).map(|(name, _)| name.as_str()));
    }
    words
}

/// Whether what is written into it has to be escaped: in everything that is not known to be no markup.
pub(super) fn is_markup(name: &str) -> bool {
    let extension = Path::new(name).extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    !["txt", "md", "json", "js", "css", "csv", "ics"].iter().any(|plain| extension.eq_ignore_ascii_case(plain))
}

/// Checked to be UTF-8 when it was read.
fn text(bytes: &Bytes) -> &str {
    let text = std::str::from_utf8(bytes).unwrap_or_default();
    // A byte order mark is no part of a page.
    text.strip_prefix('\u{feff}').unwrap_or(text)
}

/// Tera's messages begin with a capital, ours do not.
pub(super) fn lower(message: &str) -> String {
    let mut chars = message.chars();
    match chars.next() {
        Some(first) => first.to_lowercase().chain(chars).collect(),
        None => String::new(),
    }
}

/// The reports in the text of an error that has several: `error: MESSAGE`, then `--> FILE:LINE:COLUMN`.
fn reports(text: &str) -> Vec<(&str, &str, usize, usize)> {
    let mut found = Vec::new();
    let mut message = "";
    for line in text.lines() {
        if let Some(text) = line.strip_prefix("error: ") {
            message = text;
        } else if let Some(place) = line.trim_start().strip_prefix("--> ") {
            let mut parts = place.rsplitn(3, ':');
            let column = parts.next().and_then(|part| part.parse().ok());
            let line = parts.next().and_then(|part| part.parse().ok());
            if let (Some(column), Some(line), Some(file)) = (column, line, parts.next()) {
                found.push((message, file, line, column));
            }
        }
    }
    found
}

/// What tells one state of a folder from another without reading its files.
#[derive(Debug, Default, PartialEq)]
struct Stamp(Vec<(String, Option<Trace>)>);

impl Stamp {
    fn of(assets: &Assets) -> Self {
        let names = assets.names().unwrap_or_default();
        let trace = |name: &str| Trace::of(&std::fs::metadata(assets.path(name)?).ok()?);
        Self(names.into_iter().map(|name| (name.clone().into_owned(), trace(&name))).collect())
    }
}

/// Size and times of a file, and which file it is: an editor that writes a new one and renames it may keep both.
#[derive(Debug, PartialEq)]
struct Trace {
    length: u64,
    modified: SystemTime,
    // The time of the last change of any kind, and the file's number.
    #[cfg(unix)]
    identity: (i64, i64, u64),
}

impl Trace {
    fn of(found: &std::fs::Metadata) -> Option<Self> {
        #[cfg(unix)]
        use std::os::unix::fs::MetadataExt;
        Some(Self {
            length: found.len(),
            modified: found.modified().ok()?,
            #[cfg(unix)]
            identity: (found.ctime(), found.ctime_nsec(), found.ino()),
        })
    }
}
