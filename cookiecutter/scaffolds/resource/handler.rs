//! {{ plural.title }}: the list, the page of one, and the forms that make, change and delete one.

{% if database == 'none' %}
use crate::{{ plural.snake }}::{ {{ name.pascal }}, {{ name.pascal }}Form, {{ plural.pascal }} };
use purlin::form::{Filled, Submitted};
use purlin::{
    Context, Error, IntoResponse, Path, Redirect, Response, Result, Session, State, Urls, View,
};
{% else %}
use crate::models::Tx;
use crate::{{ plural.snake }}::{self, {{ name.pascal }}, {{ name.pascal }}Form};
use purlin::form::{Filled, Submitted};
use purlin::{Context, Error, IntoResponse, Path, Redirect, Response, Result, Session, Urls, View};
{% endif %}
use std::collections::BTreeMap;

/// `GET /{{ plural.kebab }}`: all of them, newest first.
{% if database == 'none' %}
pub async fn list(State({{ plural.snake }}): State<{{ plural.pascal }}>) -> View {
    let context = BTreeMap::from([("{{ plural.snake }}", {{ plural.snake }}.all())]);
    View::new("{{ plural.snake }}/list.html", context)
}
{% else %}
pub async fn list(mut tx: Tx) -> Result<View> {
    let {{ plural.snake }} = {{ plural.snake }}::all(&mut tx).await?;
    let context = BTreeMap::from([("{{ plural.snake }}", {{ plural.snake }})]);
    Ok(View::new("{{ plural.snake }}/list.html", context))
}
{% endif %}

/// `GET /{{ plural.kebab }}/{id}`
{% if database == 'none' %}
pub async fn show(Path(id): Path<i64>, State({{ plural.snake }}): State<{{ plural.pascal }}>) -> Result<View> {
    let {{ name.snake }} = {{ plural.snake }}.find(id).or_404()?;
{% else %}
pub async fn show(Path(id): Path<i64>, mut tx: Tx) -> Result<View> {
    let {{ name.snake }} = {{ plural.snake }}::find(&mut tx, id).await?.or_404()?;
{% endif %}
    let context = BTreeMap::from([("{{ name.snake }}", {{ name.snake }})]);
    Ok(View::new("{{ plural.snake }}/show.html", context))
}

/// The form: of {{ name.article }} that is to be changed, or of a new one.
fn form_page({{ name.snake }}: Option<{{ name.pascal }}>, form: impl Into<Filled>) -> View {
    let context = BTreeMap::from([("{{ name.snake }}", {{ name.snake }})]);
    View::new("{{ plural.snake }}/form.html", context).form(form)
}

/// `GET /{{ plural.kebab }}/new`: the empty form.
pub async fn new() -> View {
    form_page(None, Filled::new())
}

/// `POST /{{ plural.kebab }}/new`: the form again with its problems (422), or one more and a redirect to it (303).
pub async fn create(
{% if database == 'none' %}
    State({{ plural.snake }}): State<{{ plural.pascal }}>,
{% endif %}
    session: Session,
    urls: Urls,
    mut form: Submitted<{{ name.pascal }}Form>,
{% if database != 'none' %}
    mut tx: Tx,
{% endif %}
) -> Result<Response> {
    let Some({{ name.snake }}) = form.accept() else {
        return Ok(form_page(None, form).into_response());
    };
{% if database == 'none' %}
    let id = {{ plural.snake }}.add({{ name.snake }}).to_string();
{% else %}
    let id = {{ plural.snake }}::add(&mut tx, &{{ name.snake }}).await?.to_string();
{% endif %}
    session.flash("success", "The {{ name.phrase }} is saved.");
    Ok(Redirect::see_other(urls.url_for("{{ name.kebab }}", &[("id", &id)])?).into_response())
}

/// `GET /{{ plural.kebab }}/{id}/edit`: the form, with what is there.
{% if database == 'none' %}
pub async fn edit(Path(id): Path<i64>, State({{ plural.snake }}): State<{{ plural.pascal }}>) -> Result<View> {
    let {{ name.snake }} = {{ plural.snake }}.find(id).or_404()?;
{% else %}
pub async fn edit(Path(id): Path<i64>, mut tx: Tx) -> Result<View> {
    let {{ name.snake }} = {{ plural.snake }}::find(&mut tx, id).await?.or_404()?;
{% endif %}
    let form = Filled::of(&{{ name.snake }}.form)?;
    Ok(form_page(Some({{ name.snake }}), form))
}

/// `POST /{{ plural.kebab }}/{id}/edit`: the form again with its problems (422), or a redirect to what it changed (303).
pub async fn change(
    Path(id): Path<i64>,
{% if database == 'none' %}
    State({{ plural.snake }}): State<{{ plural.pascal }}>,
{% endif %}
    session: Session,
    urls: Urls,
    mut form: Submitted<{{ name.pascal }}Form>,
{% if database != 'none' %}
    mut tx: Tx,
{% endif %}
) -> Result<Response> {
{% if database == 'none' %}
    let before = {{ plural.snake }}.find(id).or_404()?;
{% else %}
    let before = {{ plural.snake }}::find(&mut tx, id).await?.or_404()?;
{% endif %}
    let Some({{ name.snake }}) = form.accept() else {
        return Ok(form_page(Some(before), form).into_response());
    };
{% if database == 'none' %}
    {{ plural.snake }}.change(id, {{ name.snake }});
{% else %}
    {{ plural.snake }}::change(&mut tx, id, &{{ name.snake }}).await?;
{% endif %}
    session.flash("success", "The {{ name.phrase }} is changed.");
    let id = id.to_string();
    Ok(Redirect::see_other(urls.url_for("{{ name.kebab }}", &[("id", &id)])?).into_response())
}

/// `POST /{{ plural.kebab }}/{id}/delete`
{% if database == 'none' %}
pub async fn delete(
    Path(id): Path<i64>,
    State({{ plural.snake }}): State<{{ plural.pascal }}>,
    session: Session,
    urls: Urls,
) -> Result<Redirect> {
    if !{{ plural.snake }}.delete(id) {
{% else %}
pub async fn delete(
    Path(id): Path<i64>,
    session: Session,
    urls: Urls,
    mut tx: Tx,
) -> Result<Redirect> {
    if !{{ plural.snake }}::delete(&mut tx, id).await? {
{% endif %}
        return Err(Error::not_found("no {{ name.phrase }} has this number"));
    }
    session.flash("success", "The {{ name.phrase }} is gone.");
    Ok(Redirect::see_other(urls.url_for("{{ plural.kebab }}", &[])?))
}
