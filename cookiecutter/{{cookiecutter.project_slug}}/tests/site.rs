//! What the site promises, tested through its whole stack, without a socket.

use purlin::Config;
use purlin::testing::Client;

use {{ cookiecutter.__crate_name }}::stack::stack;

fn site() -> Client {
    let config = Config::for_tests().expect("the settings are right");
    Client::new(stack(config).expect("the site fits together"))
}

#[tokio::test]
async fn the_home_page_counts_visits() {
    let client = site();
    client.get("/").await.assert_contains("1 time,");
    client.get("/").await.assert_contains("2 times,");
}

#[tokio::test]
async fn an_empty_form_comes_back_with_its_problems_and_what_was_typed() {
    let client = site();
    let page = client.get("/guestbook").await;
    let answer = page.form(0).set("name", "Ada").submit().await;
    answer
        .assert_status(422)
        .assert_contains("Please write a message.")
        .assert_contains("value=\"Ada\"");
}

#[tokio::test]
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

#[tokio::test]
async fn another_site_cannot_sign_in_a_visitors_name() {
    let entry = [("name", "Mallory"), ("message", "Hello")];
    let request = site().post("/guestbook").form(&entry);
    request
        .header("sec-fetch-site", "cross-site")
        .await
        .assert_status(403);
}

#[tokio::test]
async fn a_page_that_is_not_there_is_a_404() {
    site().get("/no-such-page").await.assert_status(404);
}

#[tokio::test]
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

#[tokio::test]
async fn in_production_a_failure_shows_no_cause() {
    let mut config = Config::for_tests().unwrap();
    config.errors.details = false;
    let client = Client::new(stack(config).unwrap()).expect_errors();
    client
        .get("/fail")
        .await
        .assert_status(500)
        .assert_lacks("invalid digit");
}
