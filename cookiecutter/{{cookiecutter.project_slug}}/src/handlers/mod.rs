//! What answers: a file for each part of the site.

{% if cookiecutter.auth %}
pub mod account;
{% endif %}
pub mod guestbook;
pub mod home;
