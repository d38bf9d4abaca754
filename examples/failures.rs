//! A site that fails in each way there is, to be looked at with the debugger:
//! `cargo run --example failures --features debugger`, then <http://localhost:8000/>. With the feature `sqlite` it has a database,
//! too, which fails.

use purlin::config::LogConfig;
use purlin::layers::{AccessLog, Debugger, ErrorPages, RequestIds, SecurityHeaders, Templates};
use purlin::template::Tera;
use purlin::{
    App, Assets, Body, Context, Middleware, Path, Request, Response, Result, Router, Server, Service, Stack, View, get,
    html,
};
use std::collections::BTreeMap;

#[derive(Debug)]
struct Item {
    name: String,
    price: f64,
    quantity: u32,
}

#[derive(Debug)]
struct Cart {
    customer: String,
    items: Vec<Item>,
    coupons: BTreeMap<String, u8>,
    api_key: String,
}

fn cart() -> Cart {
    let item = |name: &str, price, quantity| Item { name: name.to_owned(), price, quantity };
    Cart {
        customer: "Ada <script>alert(1)</script>".to_owned(),
        items: vec![item("tea", 4.5, 2), item("cups", 12.0, 4), item("pot", 30.25, 1)],
        coupons: BTreeMap::from([("SPRING".to_owned(), 10), ("WELCOME".to_owned(), 5)]),
        api_key: "sk-very-secret".to_owned(),
    }
}

/// An index that is out of bounds, three calls deep.
async fn panics(Path(row): Path<usize>) -> String {
    let cart = cart();
    tokio::task::yield_now().await;
    let total = total_of(&cart, row).await;
    format!("{} pays {total} with {}", cart.customer, cart.api_key.len())
}

async fn total_of(cart: &Cart, row: usize) -> f64 {
    let discount = cart.coupons.values().map(|percent| f64::from(*percent)).sum::<f64>() / 100.0;
    price_at(&cart.items, row) * (1.0 - discount)
}

fn price_at(items: &[Item], row: usize) -> f64 {
    let item = &items[row];
    item.price * f64::from(item.quantity)
}

/// An error of a helper, which travels by `?`.
async fn fails(Path(text): Path<String>) -> Result<String> {
    let cart = cart();
    let quantity = quantity_of(&text).context("reading the quantity")?;
    Ok(format!("{quantity} of {}", cart.items[0].name))
}

fn quantity_of(text: &str) -> Result<u32> {
    let trimmed = text.trim();
    let quantity = trimmed.parse::<u32>()?;
    Ok(quantity)
}

/// An error of the database, in a helper.
#[cfg(feature = "sqlite")]
mod cellar {
    use purlin::config::Loader;
    use purlin::database::Database;
    use purlin::sqlx::{self, Pool, Sqlite};
    use purlin::{Assets, Context, Path, Result, State};

    pub(crate) async fn bottle(Path(shelf): Path<u32>, State(pool): State<Pool<Sqlite>>) -> Result<String> {
        let (name, left) = bottle_at(&pool, shelf).await.context("looking for a bottle")?;
        Ok(format!("{left} of {name}"))
    }

    async fn bottle_at(pool: &Pool<Sqlite>, shelf: u32) -> Result<(String, i64)> {
        let query = "SELECT name, left_over FROM bottle WHERE shelf = $1";
        let found = sqlx::query_as(query).bind(shelf).fetch_one(pool).await?;
        Ok(found)
    }

    /// In a new file, with a table whose column is called otherwise.
    pub(crate) fn database() -> Result<Database<Sqlite>> {
        let migrations: &[(&str, &[u8])] =
            &[("0001_bottle.sql", b"CREATE TABLE bottle (shelf INTEGER, name TEXT, remaining INTEGER)")];
        Database::sqlite(&Loader::new().environment("test").load()?, Assets::embedded(migrations))
    }
}

/// A template that asks for what is not there.
async fn template() -> View {
    View::new("cart.html", serde_json::json!({ "customer": "Ada", "items": [{ "name": "tea" }] }))
}

/// A template that nobody wrote.
async fn missing() -> View {
    View::new("receipt.html", serde_json::json!({ "total": 57.0 }))
}

/// A layer with a mistake.
struct Quota {
    per_day: u32,
}

impl Middleware for Quota {
    async fn handle(&self, req: Request, next: &impl Service) -> Result<Response> {
        let used = req.uri().path().len() as u32;
        let left = self.per_day.checked_sub(used).context("counting what is left of the quota")?;
        let mut response = next.call(req).await;
        response.headers_mut().insert("x-quota-left", left.into());
        Ok(response)
    }
}

/// A body that panics when its head has left.
async fn streams() -> Body {
    struct Rows(Vec<u32>, usize);
    impl futures_core::Stream for Rows {
        type Item = Result<String, std::io::Error>;

        fn poll_next(
            mut self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
        ) -> std::task::Poll<Option<Self::Item>> {
            let at = self.1;
            self.1 += 1;
            let row = self.0[at];
            std::task::Poll::Ready(Some(Ok(format!("row {row}\n"))))
        }
    }
    Body::stream(Rows(vec![10, 20, 30], 0))
}

async fn home() -> Response {
    html(
        "<!DOCTYPE html><html lang=en><title>Failures</title><ul>\
         <li><a href=/panics/7>A panic, three calls deep</a><li><a href=/fails/seven>An error of a helper</a>\
         <li><a href=/template>A template</a><li><a href=/missing>A missing one</a><li><a href=/quota>A layer</a><li><a href=/streams>A streamed body</a>\
         <li><a href=/panic/7>No such page</a><li><a href=/_debug/>All reports</a></ul>",
    )
}

fn app() -> App<impl Service> {
    const CART: &[u8] =
        b"<h1>{{ customer }}</h1>\n<ul>\n{% for item in items %}\n<li>{{ item.name }}: {{ item.price }}\n\
        {% endfor %}\n</ul>\n";
    let templates = Tera::new(Assets::embedded(&[("cart.html", CART)]));
    let routes = Router::new()
        .route("/", get(home).name("home"))
        .route("/panics/{row}", get(panics).name("panics"))
        .route("/fails/{quantity}", get(fails).name("fails"))
        .route("/template", get(template))
        .route("/missing", get(missing))
        .route("/quota", get(async || "enough").layer(Quota { per_day: 3 }))
        .route("/streams", get(streams));
    #[cfg(feature = "sqlite")]
    let routes = {
        let cellar = Stack::new().layer(cellar::database().expect("a new file for the database"));
        routes.mount("/cellar", cellar.app(Router::new().route("/{shelf}", get(cellar::bottle))))
    };
    Stack::new()
        .layer(RequestIds::new())
        .layer(AccessLog::new())
        .layer(SecurityHeaders::new())
        .layer(Debugger::new())
        .layer(ErrorPages::new().details(true))
        .layer(Templates::new(templates))
        .app(routes)
}

fn main() -> Result<()> {
    purlin::log::start(&LogConfig::default())?;
    let listen = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:8000".to_owned());
    let server = Server::new().listen(listen.parse()?).bind()?;
    println!("http://{}", server.addresses()[0]);
    server.run(async || Ok(app()))
}
