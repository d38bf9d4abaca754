//! `StaticUrls`: the URL of a public file, for whoever writes a page.

use crate::Result;
use std::fmt;
use std::sync::Arc;

/// Makes the URL of a public file by its name: `static_url(path="site.css")` in templates.
///
/// Whoever serves the files knows best, by fingerprint and mount, and says so when the site starts:
/// `start.share(StaticUrls::new(…))`. Whoever links to them asks `site.shared::<StaticUrls>()`.
///
/// ```
/// use purlin::StaticUrls;
/// let urls = StaticUrls::new(|name| Ok(format!("/static/{name}?v=1")));
/// assert_eq!(urls.url("site.css")?, "/static/site.css?v=1");
/// # Ok::<(), purlin::Error>(())
/// ```
#[derive(Clone)]
pub struct StaticUrls(Arc<UrlOf>);

type UrlOf = dyn Fn(&str) -> Result<String> + Send + Sync;

impl StaticUrls {
    /// `url` gets a file's name, with `/` between its parts and none before them.
    pub fn new(url: impl Fn(&str) -> Result<String> + Send + Sync + 'static) -> Self {
        Self(Arc::new(url))
    }

    /// The URL of a file, percent-encoded.
    ///
    /// # Errors
    ///
    /// There is no such file.
    pub fn url(&self, name: &str) -> Result<String> {
        (self.0)(name)
    }
}

impl fmt::Debug for StaticUrls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StaticUrls(…)")
    }
}
