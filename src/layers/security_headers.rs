//! Sets the headers that tell browsers to be careful.

use crate::request::CspNonce;
use crate::service::then;
use crate::site::About;
use crate::{Error, Middleware, Request, RequestExt, Response, Result, Service};
use http::header::{
    CONTENT_SECURITY_POLICY, HeaderName, REFERRER_POLICY, STRICT_TRANSPORT_SECURITY, X_CONTENT_TYPE_OPTIONS,
    X_FRAME_OPTIONS,
};
use http::{HeaderMap, HeaderValue};
use std::time::Duration;

const POLICY: &str = "default-src 'self'; script-src 'self'{nonce}; style-src 'self'{nonce}; img-src 'self' data:; \
                      object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

/// Sets security headers on every answer that does not set them itself.
///
/// - `Content-Security-Policy` (CSP level 3): everything from the site itself, no inline script or style but those with the
///   page's nonce (`csp_nonce` in templates), no plugins, no framing, forms to the site only.
/// - `X-Content-Type-Options: nosniff`, `X-Frame-Options: DENY`, `Referrer-Policy: strict-origin-when-cross-origin`,
///   `Cross-Origin-Opener-Policy: same-origin`, `Cross-Origin-Resource-Policy: same-origin`, and a `Permissions-Policy` that
///   leaves camera, microphone and location off.
/// - `Strict-Transport-Security` (RFC 6797) for two years with sub-domains, on answers to https only (§7.2).
///
/// ```
/// use purlin::layers::SecurityHeaders;
/// let layer = SecurityHeaders::new()
///     .content_security_policy("default-src 'self'; script-src 'self'{nonce} https://cdn.example")
///     .set("x-frame-options", "SAMEORIGIN");
/// ```
#[derive(Clone, Debug)]
pub struct SecurityHeaders {
    fixed: HeaderMap,
    policy: Option<Policy>,
    hsts: Option<HeaderValue>,
    always_https: bool,
    problem: Option<String>,
}

#[derive(Clone, Debug)]
struct Policy {
    template: String,
    // The policy where no nonce was asked for.
    plain: HeaderValue,
}

impl SecurityHeaders {
    /// The headers above.
    pub fn new() -> Self {
        let fixed = [
            (X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (X_FRAME_OPTIONS, "DENY"),
            (REFERRER_POLICY, "strict-origin-when-cross-origin"),
            (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
            (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
            (HeaderName::from_static("permissions-policy"), "camera=(), geolocation=(), microphone=()"),
        ];
        let fixed = fixed.into_iter().map(|(name, value)| (name, HeaderValue::from_static(value))).collect();
        let empty = Self { fixed, policy: None, hsts: None, always_https: false, problem: None };
        empty.content_security_policy(POLICY).hsts(Duration::from_secs(2 * 365 * 24 * 3600))
    }

    /// Sets the policy; `{nonce}` in it becomes ` 'nonce-…'` on pages that use one, and nothing elsewhere.
    pub fn content_security_policy(mut self, policy: impl Into<String>) -> Self {
        let template = policy.into();
        match HeaderValue::from_str(&template.replace("{nonce}", "")) {
            Ok(plain) => self.policy = Some(Policy { template, plain }),
            Err(_) => self.problem = Some(format!("no header can hold the Content-Security-Policy {template:?}")),
        }
        self
    }

    /// How long browsers keep to https, once they came by it; two years by default. Zero takes it back (RFC 6797 §6.1.1).
    pub fn hsts(mut self, max_age: Duration) -> Self {
        let value = format!("max-age={}; includeSubDomains", max_age.as_secs());
        self.hsts = HeaderValue::try_from(value).ok();
        self
    }

    /// Every client comes by https, by a proxy that this server does not hear from; off by default.
    pub fn https(mut self, always: bool) -> Self {
        self.always_https = always;
        self
    }

    /// Sets one more header, or another value of one of the above.
    pub fn set(mut self, name: &str, value: &str) -> Self {
        match (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_str(value)) {
            (Ok(name), Ok(value)) => {
                self.fixed.insert(name, value);
            }
            _ => self.problem = Some(format!("`{name}: {value}` is no header")),
        }
        self
    }

    /// Leaves one of the headers out.
    pub fn without(mut self, name: &str) -> Self {
        self.fixed.remove(name);
        if name.eq_ignore_ascii_case(CONTENT_SECURITY_POLICY.as_str()) {
            self.policy = None;
        }
        if name.eq_ignore_ascii_case(STRICT_TRANSPORT_SECURITY.as_str()) {
            self.hsts = None;
        }
        self
    }
}

impl SecurityHeaders {
    fn add_to(&self, mut response: Response, https: bool, nonce: &CspNonce) -> Result<Response> {
        let headers = response.headers_mut();
        // At once: a map that grows step by step is hashed again at each.
        headers.reserve(self.fixed.len() + 2);
        // Nearly no answer has one of them by itself; else each is not looked for before it is added.
        let has_own = headers.keys().any(|name| self.fixed.contains_key(name));
        for (name, value) in &self.fixed {
            if !has_own || !headers.contains_key(name) {
                headers.append(name, value.clone());
            }
        }
        if let Some(policy) = &self.policy {
            let entry = headers.entry(CONTENT_SECURITY_POLICY);
            match nonce.made() {
                Some(nonce) => entry.or_insert(HeaderValue::try_from(
                    policy.template.replace("{nonce}", &format!(" 'nonce-{nonce}'")),
                )?),
                None => entry.or_insert_with(|| policy.plain.clone()),
            };
        }
        if let (true, Some(hsts)) = (https, &self.hsts) {
            headers.entry(STRICT_TRANSPORT_SECURITY).or_insert_with(|| hsts.clone());
        }
        Ok(response)
    }
}

impl Default for SecurityHeaders {
    fn default() -> Self {
        Self::new()
    }
}

impl Middleware for SecurityHeaders {
    fn handle(&self, mut req: Request, next: &impl Service) -> impl Future<Output = Result<Response>> + Send {
        let https = self.always_https || req.is_https();
        let nonce = CspNonce::default();
        if self.policy.is_some() {
            req.extensions_mut().insert(nonce.clone());
        }
        then(next.call(req), move |response| self.add_to(response, https, &nonce))
    }

    fn describe(&self, about: &mut About) {
        about.provides::<CspNonce>().option("https", self.always_https);
        if let Some(policy) = &self.policy {
            about.option("policy", format_args!("{:?}", policy.template));
        }
    }

    fn start(&self, _: &mut crate::site::Start) -> Result<()> {
        self.problem.as_ref().map_or(Ok(()), |problem| Err(Error::internal(problem.clone())))
    }
}
