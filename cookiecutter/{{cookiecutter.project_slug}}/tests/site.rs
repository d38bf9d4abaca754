//! What the site promises, tested through its whole stack, without a socket.

use purlin::Config;
use purlin::testing::Client;

use {{ cookiecutter.__crate_name }}::stack::stack;

fn site() -> Client {
    let config = Config::for_tests().expect("the settings are right");
{% if cookiecutter.auth %}
    let client = Client::new(stack(config).expect("the site fits together"));
    client.default_header("accept", "text/html") // as browsers do
{% else %}
    Client::new(stack(config).expect("the site fits together"))
{% endif %}
}

#[purlin::test]
async fn the_home_page_counts_visits() {
    let client = site();
    client.get("/").await.assert_contains("1 time,");
    client.get("/").await.assert_contains("2 times,");
}

{% if cookiecutter.auth %}
/// A visitor with an account of this name, signed in.
async fn registered(client: &Client, name: &str) -> Client {
    let client = client.another_visitor();
    let page = client.get("/register").await;
    let answer = page
        .form(0)
        .set("name", name)
        .set("email", &format!("{name}@example.org"))
        .set("password", "correct horse")
        .submit()
        .await;
    answer.assert_redirect("/guestbook");
    client
}

#[purlin::test]
async fn who_registers_is_signed_in_and_signs_out_and_in_again() {
    let ada = registered(&site(), "Ada").await;
    let page = ada.get("/account").await;
    page.assert_contains("<h1>Ada</h1>");
    page.form(1).submit().await.assert_redirect("/");
    let page = ada.get("/account").await;
    page.assert_redirect("/sign-in?next=/account");

    let form = ada.get("/sign-in?next=/account").await.form(0);
    let form = form.set("email", "ada@example.org");
    let page = form.set("password", "wrong horse").submit().await;
    page.assert_status(422)
        .assert_contains("The address or the password is wrong.");
    let form = page.form(0).set("password", "correct horse");
    form.submit().await.assert_redirect("/account");
}

#[purlin::test]
async fn a_bad_registration_comes_back_with_its_problems_and_what_was_typed_but_the_password() {
    let client = site();
    registered(&client, "Ada").await;
    let form = client.get("/register").await.form(0);
    let form = form.set("name", "Ada").set("email", "ada@example.org");
    let page = form.set("password", "short").submit().await;
    page.assert_status(422)
        .assert_contains("At least 8 letters, please.")
        .assert_contains("value=\"ada@example.org\"")
        .assert_lacks("short\"");
    let form = page.form(0).set("password", "correct horse");
    let page = form.submit().await;
    page.assert_status(422)
        .assert_contains("There is an account with this address.");
}

#[purlin::test]
async fn the_guestbook_belongs_to_users() {
    let client = site();
    client
        .get("/guestbook")
        .await
        .assert_contains("to write into the book");
    let ada = registered(&client, "Ada").await;
    let page = ada.get("/guestbook").await;
    let page = page.form(0).set("message", " ").submit().await;
    page.assert_status(422)
        .assert_contains("Please write a message.");
    let form = page.form(0).set("message", "Hello <b>there</b>");
    form.submit().await.assert_redirect("/guestbook");
    let page = ada.get("/guestbook").await;
    page.assert_contains("Thank you")
        .assert_contains("Hello &lt;b&gt;there");

    // Another user has no button to delete it, and may not do without.
    let eve = registered(&client, "Eve").await;
    eve.get("/guestbook").await.assert_lacks("Delete");
    let form = page.form(1);
    let delete = eve.post("/guestbook/1/delete");
    let delete = delete.header("sec-fetch-site", "same-origin");
    delete.await.assert_status(404);
    form.submit().await.assert_redirect("/guestbook");
    ada.get("/guestbook").await.assert_lacks("Hello");
}

#[purlin::test]
async fn a_picture_is_what_its_bytes_are() {
    let ada = registered(&site(), "Ada").await;
    let page = ada.get("/account").await;
    let form = page.form(0);
    let form = form.file("picture", "me.png", "image/png", "no picture");
    let page = form.submit().await;
    page.assert_status(422)
        .assert_contains("A picture is a PNG, JPEG, GIF or WebP.");
    let form = page.form(0);
    let form = form.file("picture", "me.gif", "image/gif", "GIF89a, say");
    form.submit().await.assert_redirect("/account");
    let picture = ada.get("/picture/1").await;
    picture.assert_status(200);
    assert_eq!(picture.header("content-type"), Some("image/gif"));
}
{% else %}
#[purlin::test]
async fn an_empty_form_comes_back_with_its_problems_and_what_was_typed() {
    let client = site();
    let page = client.get("/guestbook").await;
    let answer = page.form(0).set("name", "Ada").submit().await;
    answer
        .assert_status(422)
        .assert_contains("Please write a message.")
        .assert_contains("value=\"Ada\"");
}

#[purlin::test]
async fn a_signed_entry_is_thanked_for_once_and_shown() {
    let client = site();
    let page = client.get("/guestbook").await;
    let answer = page
        .form(0)
        .set("name", "Ada")
        .set("message", "Hello <b>there</b>")
        .submit()
        .await;
    answer.assert_redirect("/guestbook");
    client
        .get("/guestbook")
        .await
        .assert_contains("Thank you")
        .assert_contains("Hello &lt;b&gt;there");
    client.get("/guestbook").await.assert_lacks("Thank you");
}
{% endif %}

#[purlin::test]
async fn another_site_cannot_sign_in_a_visitors_name() {
    let entry = [("name", "Mallory"), ("message", "Hello")];
    let request = site().post("/guestbook").form(&entry);
    request
        .header("sec-fetch-site", "cross-site")
        .await
        .assert_status(403);
}

#[purlin::test]
async fn a_page_that_is_not_there_is_a_404() {
    site().get("/no-such-page").await.assert_status(404);
}

#[purlin::test]
async fn the_style_sheet_is_served_for_ever_under_its_fingerprint() {
    let client = site();
    let page = client.get("/").await;
    let sheet = page.select("link[rel=stylesheet]")[0]
        .attr("href")
        .unwrap()
        .to_owned();
    let answer = client.get(&sheet).await;
    assert!(
        answer
            .header("cache-control")
            .unwrap()
            .contains("immutable")
    );
}

#[purlin::test]
async fn in_production_a_failure_shows_no_cause() {
    let mut config = Config::for_tests().unwrap();
    config.errors.details = false;
    let client = Client::new(stack(config).unwrap()).expect_errors();
    client
        .get("/fail")
        .await
        .assert_status(500)
        .assert_lacks("invalid digit");
    client.get("/").await.assert_lacks("Break it");
}
