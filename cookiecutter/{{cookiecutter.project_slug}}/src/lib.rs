//! {{ cookiecutter.project_name }}: the modules of the site, where its tests find them.

{% if cookiecutter.auth %}
pub mod accounts;
{% endif %}
pub mod handlers;
{% if cookiecutter.__database %}
pub mod models;
{% endif %}
pub mod routes;
pub mod stack;
