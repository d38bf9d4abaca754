//! {{ cookiecutter.project_name }}: the modules of the site, where its tests find them.

pub mod handlers;
pub mod routes;
pub mod stack;
