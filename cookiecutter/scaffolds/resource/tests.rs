//! What the {{ plural.phrase }} promise, through the whole stack.

use purlin::Config;
use purlin::testing::{Client, Page};

use {{ crate_name }}::stack::stack;

{% if auth %}
/// A visitor who is signed in.
async fn site() -> Client {
    let config = Config::for_tests().expect("the settings are right");
    let client = Client::new(stack(config).expect("the site fits together"));
    let client = client.default_header("accept", "text/html"); // as browsers do
    let form = client.get("/register").await.form(0);
    let form = form.set("name", "Ada").set("email", "ada@example.org");
    let signed_in = form.set("password", "correct horse").submit().await;
    assert!(signed_in.is_redirect());
    client
}
{% else %}
fn site() -> Client {
    let config = Config::for_tests().expect("the settings are right");
    Client::new(stack(config).expect("the site fits together"))
}
{% endif %}

/// Makes the first one.
async fn made(client: &Client) -> Page {
    let form = client.get("/{{ plural.kebab }}/new").await.form(0);
{% for field in fields %}
{% if field.kind == 'bool' %}
    let form = form.check("{{ field.name }}");
{% else %}
    let form = form.set("{{ field.name }}", "{{ field.sample }}");
{% endif %}
{% endfor %}
    let answer = form.submit().await;
    answer.assert_redirect("/{{ plural.kebab }}/1");
    client.get("/{{ plural.kebab }}/1").await
}

#[purlin::test]
async fn what_is_made_is_shown() {
    let client = site(){{ wait }};
    client.get("/{{ plural.kebab }}").await.assert_contains("There is none yet.");
    let page = made(&client).await;
    page.assert_status(200).assert_contains("The {{ name.phrase }} is saved.");
{% for field in fields %}
{% if field.kind == 'bool' %}
    page.assert_contains("<dd>yes</dd>");
{% else %}
    page.assert_contains("{{ field.sample }}");
{% endif %}
{% endfor %}
    let list = client.get("/{{ plural.kebab }}").await;
    list.assert_lacks("There is none yet.");
    assert_eq!(list.select("article").len(), 1);
}

{% if required %}
#[purlin::test]
async fn an_empty_form_comes_back_with_its_problems() {
    let client = site(){{ wait }};
    let form = client.get("/{{ plural.kebab }}/new").await.form(0);
    let page = form.submit().await;
    page.assert_status(422).assert_contains("{{ required.problem }}");
    assert_eq!(page.select(".problem").len(), {{ required.count }});
    client.get("/{{ plural.kebab }}").await.assert_contains("There is none yet.");
}

{% endif %}
{% if has_date %}
#[purlin::test]
async fn a_day_is_one_of_the_calendar() {
    let client = site(){{ wait }};
    for day in ["2026-02-29", "2026-13-01", "2026-1-1", "yesterday"] {
        let form = client.get("/{{ plural.kebab }}/new").await.form(0);
        let page = form.set("{{ has_date }}", day).submit().await;
        page.assert_status(422).assert_contains("Please give a day");
    }
}

{% endif %}
#[purlin::test]
async fn what_is_there_can_be_changed() {
    let client = site(){{ wait }};
    made(&client).await;
    let form = client.get("/{{ plural.kebab }}/1/edit").await.form(0);
{% for field in fields %}
{% if loop.first %}
{% if field.kind == 'bool' %}
    let form = form.uncheck("{{ field.name }}");
{% else %}
    assert_eq!(form.value("{{ field.name }}").as_deref(), Some("{{ field.sample }}"));
    let form = form.set("{{ field.name }}", "{{ field.changed }}");
{% endif %}
{% endif %}
{% endfor %}
    form.submit().await.assert_redirect("/{{ plural.kebab }}/1");
    let page = client.get("/{{ plural.kebab }}/1").await;
    page.assert_contains("The {{ name.phrase }} is changed.");
{% for field in fields %}
{% if loop.first %}
{% if field.kind == 'bool' %}
    page.assert_contains("<dd>no</dd>");
{% else %}
    page.assert_contains("{{ field.changed }}").assert_lacks("{{ field.sample }}");
{% endif %}
{% endif %}
{% endfor %}
}

#[purlin::test]
async fn what_is_deleted_is_gone() {
    let client = site(){{ wait }};
    let page = made(&client).await;
    page.form(0).submit().await.assert_redirect("/{{ plural.kebab }}");
    let list = client.get("/{{ plural.kebab }}").await;
    list.assert_contains("The {{ name.phrase }} is gone.").assert_contains("There is none yet.");
    client.get("/{{ plural.kebab }}/1").await.assert_status(404);
}

#[purlin::test]
async fn what_is_not_there_is_a_404() {
    let client = site(){{ wait }};
    for path in ["/{{ plural.kebab }}/7", "/{{ plural.kebab }}/7/edit"] {
        client.get(path).await.assert_status(404);
    }
    let delete = client.post("/{{ plural.kebab }}/7/delete");
    let delete = delete.header("sec-fetch-site", "same-origin");
    delete.await.assert_status(404);
}
{% if auth %}

#[purlin::test]
async fn only_who_is_signed_in_changes_something() {
    let client = site().await;
    made(&client).await;
    let stranger = client.another_visitor();
    let page = stranger.get("/{{ plural.kebab }}/1").await;
    page.assert_status(200).assert_lacks("Delete it");
    for path in ["/{{ plural.kebab }}/new", "/{{ plural.kebab }}/1/edit"] {
        assert!(stranger.get(path).await.is_redirect(), "to the form that signs in");
    }
    let delete = stranger.post("/{{ plural.kebab }}/1/delete");
    let delete = delete.header("sec-fetch-site", "same-origin");
    delete.await;
    client.get("/{{ plural.kebab }}/1").await.assert_status(200);
}
{% endif %}
