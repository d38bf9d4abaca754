//! `ExemptRoutes`: which routes take requests from other sites.

use crate::router::encoded;
use crate::site::Site;
use crate::{Error, Result};
use http::Method;
use std::collections::BTreeMap;

/// What the layer [`CsrfExempt`](crate::layers::CsrfExempt) provides for the handlers below it.
#[derive(Clone, Copy, Debug)]
pub struct Exempt;

/// The routes of a site, with the methods of each that are exempt.
///
/// All of them are here, and the mounts, so that a path leads to the same one as in the site's own routers: of
/// `/hooks/{name}`, which is exempt, and `/hooks/new`, which is not, the second is not.
#[derive(Debug)]
pub(crate) struct ExemptRoutes(matchit::Router<Methods>);

/// Those of one path; `None` is any method.
#[derive(Debug, Default)]
struct Methods {
    exempt: Vec<Option<Method>>,
    others: Vec<Option<Method>>,
}

impl ExemptRoutes {
    /// `None` for a site without any.
    ///
    /// # Errors
    ///
    /// An exempt route that could match the same requests as another, of a service that is told apart by something else than
    /// the path.
    pub(crate) fn of(site: &Site) -> Result<Option<Self>> {
        let mut routes: BTreeMap<&str, Methods> = BTreeMap::new();
        for (method, path, exempt) in site.handlers_below::<Exempt>() {
            let methods = routes.entry(path).or_default();
            let methods = if exempt { &mut methods.exempt } else { &mut methods.others };
            methods.push(method.cloned());
        }
        let exempt: Vec<&str> =
            routes.iter().filter(|(_, methods)| !methods.exempt.is_empty()).map(|(path, _)| *path).collect();
        if exempt.is_empty() {
            return Ok(None);
        }
        let twice = |path: &str| site.routes().iter().filter(|route| route.path == path).count() > 1;
        if let Some(path) = exempt.iter().find(|path| twice(path)) {
            return Err(Error::internal(format!(
                "the route {path} is `CsrfExempt`, and there is another of the same path"
            )));
        }
        let mut table = matchit::Router::new();
        for (path, methods) in routes {
            let Err(error) = table.insert(encoded(path), methods) else {
                continue;
            };
            let other = match &error {
                matchit::InsertError::Conflict { with } => with.as_str(),
                _ => "",
            };
            if exempt.iter().any(|exempt| *exempt == path || encoded(exempt) == other) {
                return Err(Error::internal(format!(
                    "the route {path} or the one it is in conflict with is `CsrfExempt`, and they cannot be told apart: {error}"
                )));
            }
        }
        // What else is mounted somewhere is no other router's, whatever its parameters would match. Where routes below say so
        // already, this is in conflict with them, and needless.
        for mount in site.mounts() {
            for pattern in [mount.clone(), format!("{mount}/"), format!("{mount}/{{*purlin}}")] {
                let _ = table.insert(encoded(&pattern), Methods::default());
            }
        }
        Ok(Some(Self(table)))
    }

    /// Whether requests of this method and whole path are exempt.
    pub(crate) fn has(&self, method: &Method, path: &str) -> bool {
        let Ok(found) = self.0.at(path) else {
            return false;
        };
        let Methods { exempt, others } = found.value;
        let own = Some(method.clone());
        exempt.contains(&own) || exempt.contains(&None) && !others.contains(&own)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::CsrfExempt;
    use crate::{Router, Stack, any, get, handler, post};

    async fn done() -> &'static str {
        "done"
    }

    fn exempt(routes: Router) -> Result<Option<ExemptRoutes>> {
        ExemptRoutes::of(&Stack::new().app(routes).check()?)
    }

    #[test]
    fn what_is_exempt_is_the_route_and_method_that_was_marked() {
        let section = Stack::new().layer(CsrfExempt).app(Router::new().route("/a", post(done)).route("/", post(done)));
        let routes = Router::new()
            .route("/hooks/{name}", post(done).layer(CsrfExempt).put(done))
            .route("/hooks/new", post(done))
            .route("/all", any(done).layer(CsrfExempt).post(done))
            .route("/{a}/{b}", post(done).layer(CsrfExempt))
            .route("/page", get(done).post(done))
            .mount("/open", section)
            .mount("/closed", Router::new().route("/x", post(done)))
            .mount("/service", handler(done));
        let exempt = exempt(routes).unwrap().unwrap();
        let table = [
            ("POST", "/hooks/paid", true),
            ("PUT", "/hooks/paid", false),
            ("DELETE", "/hooks/paid", false),
            ("POST", "/hooks/new", false),
            ("PUT", "/all", true),
            ("POST", "/all", false),
            ("POST", "/page", false),
            ("POST", "/x/y", true),
            ("POST", "/open", true),
            ("POST", "/open/a", true),
            ("POST", "/open/b", false),
            ("POST", "/closed/x", false),
            // No route, but the mount's own affair: the pattern further out does not reach it.
            ("POST", "/closed/y", false),
            ("POST", "/service/y", false),
            ("POST", "/nowhere", false),
        ];
        for (method, path, expected) in table {
            let found = exempt.has(&method.parse().unwrap(), path);
            assert_eq!(found, expected, "{method} {path}");
        }
    }

    #[test]
    fn a_site_without_exempt_routes_asks_nothing() {
        assert!(exempt(Router::new().route("/", post(done))).unwrap().is_none());
    }

    /// Sends a request to one of two services by its host, say.
    struct Either(Router, Router);

    impl crate::Service for Either {
        async fn call(&self, req: crate::Request) -> crate::Response {
            self.0.call(req).await
        }

        fn describe(&self, outline: &mut crate::site::Outline) {
            self.0.describe(outline);
            self.1.describe(outline);
        }
    }

    #[test]
    fn what_cannot_be_told_apart_by_its_path_is_not_exempt() {
        let exempt_route = || Router::new().route("/hooks/{name}", post(done).layer(CsrfExempt));
        let table = [
            (exempt_route(), Router::new().route("/hooks/{name}", post(done)), "there is another of the same path"),
            (exempt_route(), Router::new().route("/hooks/{id}", post(done)), "they cannot be told apart"),
            (Router::new().route("/hooks/{id}", post(done)), exempt_route(), "they cannot be told apart"),
        ];
        for (one, other, expected) in table {
            let site = Stack::new().app(Either(one, other)).check().unwrap();
            let error = ExemptRoutes::of(&site).unwrap_err();
            assert!(error.message().contains(expected), "{error}");
        }
    }
}
