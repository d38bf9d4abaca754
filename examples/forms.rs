//! A form from the first look to the last redirect: `cargo run --example forms --features validation`, then
//! http://127.0.0.1:8000/
//!
//! Fields below fields, lists, messages beside each field, everything kept that was typed; and the same form to change what
//! there is, and a button to delete it, by `PUT` and `DELETE`.

use garde::Validate;
use purlin::form::{Filled, Problems, Rules, Submitted};
use purlin::layers::{Csrf, ErrorPages, MethodOverride, SecurityHeaders, Sessions, Templates};
use purlin::session::CookieStore;
use purlin::template::Tera;
use purlin::{
    Assets, Config, Context, IntoResponse, Path, Redirect, Response, Result, Router, Service, Session, Stack, State,
    View, get,
};
use serde::{Deserialize, Serialize};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

#[derive(Clone, Deserialize, Serialize, Validate)]
struct Order {
    #[garde(length(chars, min = 1, max = 60))]
    name: String,
    #[garde(email)]
    email: String,
    #[garde(dive)]
    address: Address,
    #[garde(dive, length(min = 1, max = 10))]
    lines: Vec<Line>,
    #[garde(skip)]
    delivery: Delivery,
    #[garde(skip)]
    extras: Vec<String>,
    #[garde(length(chars, max = 500))]
    note: Option<String>,
    #[garde(skip)]
    agree: bool,
}

#[derive(Clone, Deserialize, Serialize, Validate)]
struct Address {
    #[garde(length(chars, min = 1, max = 60))]
    city: String,
    #[garde(range(min = 1000, max = 99999))]
    zip: u32,
}

#[derive(Clone, Deserialize, Serialize, Validate)]
struct Line {
    #[garde(length(chars, min = 1, max = 60))]
    tea: String,
    #[garde(range(min = 1, max = 100))]
    grams: u8,
}

#[derive(Clone, Copy, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
enum Delivery {
    Post,
    Courier,
}

impl Rules for Order {
    fn check(&self, problems: &mut Problems) {
        problems.validate(self);
        problems.unless(self.agree, "agree", "We can only deliver if you agree.");
    }
}

#[derive(Clone, Default)]
struct Orders(Arc<Mutex<Vec<Order>>>);

impl Orders {
    fn lock(&self) -> MutexGuard<'_, Vec<Order>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The form of a new order, or of one that there is.
fn page(number: Option<usize>, form: impl Into<Filled>) -> View {
    View::new("order.html", serde_json::json!({ "number": number })).form(form)
}

async fn show() -> View {
    page(None, Filled::new())
}

// The whole flow is these lines.
async fn order(State(orders): State<Orders>, session: Session, mut form: Submitted<Order>) -> Response {
    let Some(order) = form.accept() else {
        return page(None, form).into_response();
    };
    let mut orders = orders.lock();
    if orders.iter().any(|other| other.email == order.email) {
        form.refuse("email", "There is an order with this address already.");
        return page(None, form).into_response();
    }
    session.flash("success", format!("Thank you, {}.", order.name));
    orders.push(order);
    Redirect::see_other("/orders").into_response()
}

async fn list(State(orders): State<Orders>) -> View {
    View::new("orders.html", serde_json::json!({ "orders": *orders.lock() }))
}

async fn edit(State(orders): State<Orders>, Path(number): Path<usize>) -> Result<View> {
    Ok(page(Some(number), Filled::of(orders.lock().get(number).or_404()?)?))
}

async fn change(
    State(orders): State<Orders>,
    Path(number): Path<usize>,
    mut form: Submitted<Order>,
) -> Result<Response> {
    let Some(order) = form.accept() else {
        return Ok(page(Some(number), form).into_response());
    };
    *orders.lock().get_mut(number).or_404()? = order;
    Ok(Redirect::see_other("/orders").into_response())
}

async fn cancel(State(orders): State<Orders>, session: Session, Path(number): Path<usize>) -> Result<Redirect> {
    let mut orders = orders.lock();
    orders.get(number).or_404()?;
    let order = orders.remove(number);
    session.flash("info", format!("The order of {} is cancelled.", order.name));
    Ok(Redirect::see_other("/orders"))
}

const TEMPLATES: Assets = Assets::embedded(&[
    ("layout.html", include_bytes!("forms/layout.html")),
    ("order.html", include_bytes!("forms/order.html")),
    ("orders.html", include_bytes!("forms/orders.html")),
]);

fn stack(config: Config) -> Result<impl Service> {
    let routes = Router::new()
        .route("/", get(show).post(order).name("order"))
        .route("/orders", get(list).name("orders"))
        .route("/orders/{number}", get(edit).put(change).delete(cancel).name("one"));
    Ok(Stack::new()
        .layer(SecurityHeaders::new())
        .layer(ErrorPages::new().details(config.errors.details))
        .layer(MethodOverride::new()) // above `Csrf`, which judges the method that a request has in the end
        .layer(Sessions::new(CookieStore::new(&config.secret)))
        .layer(Csrf::new())
        .layer(State(Orders::default()))
        .layer(Templates::new(Tera::new(TEMPLATES)))
        .app(routes))
}

fn main() -> std::process::ExitCode {
    purlin::run(stack)
}

#[cfg(test)]
mod tests {
    use super::*;
    use purlin::testing::{Client, PageForm};

    fn client() -> Client {
        Client::new(stack(Config::for_tests().unwrap()).unwrap())
    }

    fn filled_in(form: PageForm) -> PageForm {
        form.set("name", "Ada")
            .set("email", "ada@example.org")
            .set("address[city]", "London")
            .set("address[zip]", "12345")
            .set("lines[0][tea]", "Assam")
            .set("lines[0][grams]", "100")
            .set("extras[]", "strainer")
            .check("agree")
    }

    #[tokio::test]
    async fn an_order_is_thanked_for_shown_and_cancelled() {
        let client = client();
        let page = client.get("/").await;
        filled_in(page.form(0)).submit().await.assert_redirect("/orders");
        let page = client.get("/orders").await;
        page.assert_contains("Thank you, Ada.").assert_contains("100 g of Assam");
        // The hidden `_method` makes it a DELETE.
        page.form(0).submit().await.assert_redirect("/orders");
        client.get("/orders").await.assert_contains("cancelled").assert_lacks("Assam");
    }

    #[tokio::test]
    async fn what_does_not_fit_comes_back_with_all_that_was_typed() {
        let client = client();
        let page = client.get("/").await;
        let form = filled_in(page.form(0)).set("email", "ada").set("address[zip]", "12 B").uncheck("agree");
        let answer = form.submit().await;
        answer.assert_status(422);
        for (field, value, message) in [
            ("email", "ada", "An e-mail address has an @ in it, as name@example.org."),
            ("address-zip", "12 B", "Please enter a number."),
            ("agree", "true", "We can only deliver if you agree."),
        ] {
            let input = &answer.select(&format!("#{field}"))[0];
            assert_eq!(input.attr("value"), Some(value));
            assert!(input.attr("aria-describedby").unwrap().ends_with(&format!("{field}-problem")));
            assert_eq!(answer.select(&format!("#{field}-problem"))[0].text(), message);
        }
        let form = answer.form(0).set("email", "ada@example.org").set("address[zip]", "1200").check("agree");
        form.submit().await.assert_redirect("/orders");
        // What only the handler knows is told in the same way.
        let again = filled_in(client.get("/").await.form(0)).submit().await;
        again.assert_status(422).assert_contains("There is an order with this address already.");
        let page = client.get("/orders/0").await;
        page.assert_contains("value=\"London\"").assert_lacks("-problem");
        page.form(0).set("lines[1][grams]", "75").submit().await.assert_redirect("/orders");
        client.get("/orders").await.assert_contains("75 g of Assam");
    }

    #[tokio::test]
    async fn an_old_browser_proves_by_the_token_where_its_form_is_from() {
        let client = client();
        let page = client.get("/").await;
        let token = page.select("input[name=csrf_token]")[0].attr("value").unwrap().to_owned();
        client.post("/").form(&[("name", "Ada")]).await.assert_status(403);
        client.post("/").form(&[("name", "Ada"), ("csrf_token", &token)]).await.assert_status(422);
        client.post("/").form(&[("name", "Ada")]).header("sec-fetch-site", "cross-site").await.assert_status(403);
    }
}
