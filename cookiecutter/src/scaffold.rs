//! What `purlin add` writes: templates of its own, rendered by the engine that renders a new site.

use crate::failure::Failure;
use crate::jinja::Jinja;
use minijinja::value::Value;

/// A template of the folder `scaffolds`.
macro_rules! scaffold {
    ($path:literal) => {
        ($path, include_str!(concat!("../scaffolds/", $path)))
    };
}

pub(crate) type Scaffold = (&'static str, &'static str);

pub(crate) const HANDLER: Scaffold = scaffold!("handler/handler.rs");
pub(crate) const HANDLER_PAGE: Scaffold = scaffold!("handler/page.html");
pub(crate) const HANDLER_TEST: Scaffold = scaffold!("handler/test.rs");
pub(crate) const HANDLER_TESTS: Scaffold = scaffold!("handler/tests.rs");
pub(crate) const LAYER: Scaffold = scaffold!("layer/layer.rs");
pub(crate) const LAYERS: Scaffold = scaffold!("layer/mod.rs");
pub(crate) const STORE: Scaffold = scaffold!("store/store.rs");
pub(crate) const STORES: Scaffold = scaffold!("store/mod.rs");
pub(crate) const RESOURCE_MODEL: Scaffold = scaffold!("resource/model.rs");
pub(crate) const RESOURCE_HANDLER: Scaffold = scaffold!("resource/handler.rs");
pub(crate) const RESOURCE_MIGRATION: Scaffold = scaffold!("resource/migration.sql");
pub(crate) const RESOURCE_LIST: Scaffold = scaffold!("resource/list.html");
pub(crate) const RESOURCE_SHOW: Scaffold = scaffold!("resource/show.html");
pub(crate) const RESOURCE_FORM: Scaffold = scaffold!("resource/form.html");
pub(crate) const RESOURCE_TESTS: Scaffold = scaffold!("resource/tests.rs");

/// Renders scaffolds with the same names.
pub(crate) struct Scaffolds {
    jinja: Jinja,
    context: Value,
}

impl Scaffolds {
    pub(crate) fn new(context: Value) -> Result<Self, Failure> {
        let settings = serde_json::json!({ "trim_blocks": true, "lstrip_blocks": true });
        Ok(Self { jinja: Jinja::new(Some(&settings)).map_err(Failure::new)?, context })
    }

    pub(crate) fn render(&self, (path, source): Scaffold) -> Result<String, Failure> {
        let rendered = self.jinja.render_with(source, self.context.clone());
        rendered.map_err(|message| Failure::new(format!("purlin's own scaffolds/{path}: {message}")))
    }
}
