#[purlin::test]
async fn the_page_{{ name.snake }}_is_there() {
    let page = site().get("{{ path }}").await;
    page.assert_status(200).assert_contains("<h1>{{ name.title }}</h1>");
}
