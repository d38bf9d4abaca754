//! Bounds how many fields a form may have.

use crate::site::About;
use crate::{Middleware, Request, Response, Result, Service, form};

/// Lets forms have more fields than the [1,000](crate::form::DEFAULT_FIELD_LIMIT) that they may have by default, or fewer.
///
/// Of several, the innermost counts: a route may allow more than its site. It holds for [`Form`](crate::Form) and
/// [`Submitted`](crate::form::Submitted).
///
/// # Errors
///
/// 413 Content Too Large (RFC 9110 §15.5.14), when the form is read.
///
/// ```
/// use purlin::layers::FieldLimit;
/// use purlin::{Form, Route, post};
/// use std::collections::BTreeMap;
///
/// async fn stock(Form(counts): Form<BTreeMap<String, u32>>) -> String {
///     counts.len().to_string()
/// }
///
/// let route: Route = post(stock).layer(FieldLimit::new(20_000));
/// ```
#[derive(Clone, Copy, Debug)]
pub struct FieldLimit {
    fields: usize,
}

impl FieldLimit {
    /// `fields` is the most that a form may have.
    pub fn new(fields: usize) -> Self {
        Self { fields }
    }
}

impl Middleware for FieldLimit {
    async fn handle(&self, mut req: Request, next: &impl Service) -> Result<Response> {
        req.extensions_mut().insert(form::FieldLimit(self.fields));
        Ok(next.call(req).await)
    }

    fn describe(&self, about: &mut About) {
        about.option("fields", self.fields);
    }
}
