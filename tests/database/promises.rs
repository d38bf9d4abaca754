//! What both databases promise; a module of each of them.

use super::{Db, config};
use purlin::config::Environment;
use purlin::database::{Database, MigrationState, Pool, Tx, Verdict};
use purlin::layers::{BodyLimit, CommitWhen, Sessions, Templates, Transaction};
use purlin::session::MemoryStore;
use purlin::sqlx::{self, Connection};
use purlin::template::{Engine, Page};
use purlin::testing::{Client, layer_contract};
use purlin::{
    Assets, BoxMiddleware, Config, Error, Form, IntoResponse, Next, Path, Redirect, Request, RequestExt, Response,
    Result, Router, Service, Session, Stack, State, StatusCode, View, get, post,
};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, oneshot};

type Files = &'static [(&'static str, &'static [u8])];

const GUESTS: (&str, &[u8]) = ("0001_guest.sql", b"CREATE TABLE guest (name TEXT NOT NULL UNIQUE);");

/// A constraint that is checked when the transaction ends.
const FRIENDS: (&str, &[u8]) = (
    "0002_friend.sql",
    b"CREATE TABLE friend (of TEXT NOT NULL REFERENCES guest (name) DEFERRABLE INITIALLY DEFERRED);",
);

fn database(config: &Config) -> Database<Db> {
    super::open(config, Assets::embedded(&[GUESTS, FRIENDS])).unwrap()
}

async fn insert(tx: &mut Tx<Db>, name: &str) -> Result<()> {
    sqlx::query("INSERT INTO guest (name) VALUES ($1)").bind(name).execute(&mut **tx).await?;
    Ok(())
}

async fn names(pool: &Pool<Db>) -> Vec<String> {
    sqlx::query_scalar("SELECT name FROM guest ORDER BY name").fetch_all(pool).await.unwrap()
}

/// Signs, then answers in one of many ways.
async fn sign(Path(how): Path<String>, mut tx: Tx<Db>) -> Result<Response> {
    insert(&mut tx, &how).await?;
    match &*how {
        "doomed" => tx.doom(),
        "doomed-and-kept" => {
            tx.doom();
            tx.keep_on_error();
        }
        "kept-422" | "kept-error" | "kept-panic" => tx.keep_on_error(),
        _ => {}
    }
    Ok(match &*how {
        "redirect" => Redirect::see_other("/").into_response(),
        "422" | "kept-422" | "doomed-and-kept" => StatusCode::UNPROCESSABLE_ENTITY.into_response(),
        "500" => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        "error" | "kept-error" => return Err(Error::not_found("nobody of this name")),
        "panic" | "kept-panic" => panic!("on purpose"),
        "rolled-back" => {
            let mut response = "good".into_response();
            response.extensions_mut().insert(Verdict::RollBack);
            response
        }
        "committed" => {
            let mut response = StatusCode::CONFLICT.into_response();
            response.extensions_mut().insert(Verdict::Commit);
            response
        }
        _ => "good".into_response(),
    })
}

fn client(app: impl Service + 'static) -> Client {
    Client::new(app).expect_errors()
}

#[tokio::test]
async fn a_transaction_ends_as_its_answer_says() {
    let Some((config, _server)) = config() else { return };
    let database = database(&config);
    let routes = Router::new().route("/{how}", post(sign));
    let client = client(Stack::new().layer(database.clone()).layer(Transaction::new(database.pool())).app(routes));
    for (how, status, written) in [
        ("good", 200, true),
        ("redirect", 303, true),
        ("422", 422, false),
        ("500", 500, false),
        ("error", 404, false),
        ("panic", 500, false),
        ("doomed", 200, false),
        ("rolled-back", 200, false),
        ("committed", 409, true),
        ("kept-422", 422, true),
        ("kept-error", 404, true),
        ("kept-panic", 500, false),
        ("doomed-and-kept", 422, false),
    ] {
        client.post(&format!("/{how}")).await.assert_status(status);
        assert_eq!(names(&database.pool()).await.contains(&how.to_owned()), written, "{how}");
    }
}

#[tokio::test]
async fn its_layers_keep_the_contract() {
    async fn used(mut req: Request, next: Next<'_>) -> Result<Response> {
        insert(&mut req.extract().await?, "again and again").await.ok();
        Ok(next.call(req).await)
    }
    let Some((config, _server)) = config() else { return };
    let database = database(&config);
    layer_contract(|| database.clone()).await;
    layer_contract(|| Transaction::new(database.pool())).await;
    let below = |layer| vec![BoxMiddleware::new(Transaction::new(database.pool())), layer];
    layer_contract(|| below(BoxMiddleware::new(CommitWhen::new(|_: &Response| true)))).await;
    layer_contract(|| below(BoxMiddleware::new(used))).await;
}

#[tokio::test]
async fn a_rule_of_the_sites_own_decides_for_all_routes_or_for_one() {
    let Some((config, _server)) = config() else { return };
    let database = database(&config);
    let only_422 = |response: &Response| response.status() == 422;
    let transaction = Transaction::new(database.pool()).commit_when(|response| response.status() != 404);
    let routes =
        Router::new().route("/{how}", post(sign)).route("/one/{how}", post(sign).layer(CommitWhen::new(only_422)));
    let client = client(Stack::new().layer(database.clone()).layer(transaction).app(routes));
    for (path, written) in [
        ("/500", true),
        ("/error", false),
        ("/good", true),
        ("/panic", false),
        ("/doomed", false),
        ("/one/422", true),
        ("/one/redirect", false),
        ("/one/doomed-and-kept", false),
    ] {
        client.post(path).await;
        let how = path.rsplit('/').next().unwrap();
        assert_eq!(names(&database.pool()).await.contains(&how.to_owned()), written, "{path}");
    }
}

#[tokio::test]
async fn a_request_that_takes_no_transaction_takes_no_connection() {
    let Some((config, _server)) = config() else { return };
    let database = database(&config);
    let routes = Router::new().route("/", get(async || "nothing")).route("/{how}", post(sign));
    let client = client(Stack::new().layer(database.clone()).layer(Transaction::new(database.pool())).app(routes));
    client.get("/").await.assert_status(200);
    assert_eq!(database.pool().size(), 0);
    client.post("/good").await.assert_status(200);
    assert_eq!(database.pool().size(), 1);
}

#[tokio::test]
async fn a_layer_and_the_handler_below_it_share_one_transaction() {
    async fn first(mut req: Request, next: Next<'_>) -> Result<Response> {
        let mut tx: Tx<Db> = req.extract().await?;
        insert(&mut tx, "the layer").await?;
        drop(tx);
        Ok(next.call(req).await)
    }
    async fn second(mut tx: Tx<Db>) -> Result<String> {
        let found: i64 = sqlx::query_scalar("SELECT count(*) FROM guest").fetch_one(&mut *tx).await?;
        tx.doom();
        Ok(format!("{found} before"))
    }
    let Some((config, _server)) = config() else { return };
    let database = database(&config);
    let app = Stack::new()
        .layer(database.clone())
        .layer(Transaction::new(database.pool()))
        .layer(first)
        .app(Router::new().route("/", post(second)));
    client(app).post("/").await.assert_contains("1 before");
    assert!(names(&database.pool()).await.is_empty(), "both or none");
}

#[tokio::test]
async fn it_is_taken_once_at_a_time() {
    async fn twice(_first: Tx<Db>, second: Result<Tx<Db>>) -> String {
        format!("{:#}", second.unwrap_err())
    }
    let Some((config, _server)) = config() else { return };
    let database = database(&config);
    let routes = Router::new().route("/", post(twice));
    let client = client(Stack::new().layer(database.clone()).layer(Transaction::new(database.pool())).app(routes));
    client.post("/").await.assert_status(200).assert_contains("taken already");
}

#[tokio::test]
async fn a_savepoint_can_be_rolled_back_alone() {
    async fn half(mut tx: Tx<Db>) -> Result<&'static str> {
        insert(&mut tx, "kept").await?;
        let mut inner = tx.begin().await?;
        sqlx::query("INSERT INTO guest (name) VALUES ('dropped')").execute(&mut *inner).await?;
        inner.rollback().await?;
        Ok("half")
    }
    let Some((config, _server)) = config() else { return };
    let database = database(&config);
    let routes = Router::new().route("/", post(half));
    let client = client(Stack::new().layer(database.clone()).layer(Transaction::new(database.pool())).app(routes));
    client.post("/").await.assert_status(200);
    assert_eq!(names(&database.pool()).await, ["kept"]);
}

#[tokio::test]
async fn a_commit_that_fails_is_the_answer_and_leaves_the_session_alone() {
    async fn befriend(session: Session, mut tx: Tx<Db>) -> Result<&'static str> {
        insert(&mut tx, "Ada").await?;
        sqlx::query("INSERT INTO friend (of) VALUES ('nobody')").execute(&mut *tx).await?;
        session.insert("friends", &1)?;
        Ok("befriended")
    }
    let Some((config, _server)) = config() else { return };
    let database = database(&config);
    let app = Stack::new()
        .layer(Sessions::new(MemoryStore::new()))
        .layer(database.clone())
        .layer(Transaction::new(database.pool()))
        .app(Router::new().route("/", post(befriend)));
    let client = client(app);
    let answer = client.post("/").await;
    answer.assert_status(500).assert_lacks("befriended");
    let error = format!("{:#}", answer.error().unwrap());
    assert!(error.starts_with("committing the request's transaction: "), "{error}");
    assert!(answer.error().unwrap().layer().unwrap().starts_with("Transaction"));
    assert_eq!(client.cookie("session"), None);
    assert!(names(&database.pool()).await.is_empty());
}

#[tokio::test]
async fn a_client_that_leaves_rolls_back_and_holds_nobody_up() {
    #[derive(Clone)]
    struct Signed(Arc<Notify>);

    async fn slow(State(signed): State<Signed>, mut tx: Tx<Db>) -> Result<()> {
        insert(&mut tx, "gone").await?;
        signed.0.notify_one();
        std::future::pending().await
    }
    let Some((config, _server)) = config() else { return };
    let database = database(&config);
    let signed = Signed(Arc::default());
    let routes = Router::new().route("/slow", post(slow)).route("/{how}", post(sign));
    let client = client(
        Stack::new()
            .layer(database.clone())
            .layer(State(signed.clone()))
            .layer(Transaction::new(database.pool()))
            .app(routes),
    );
    let request = {
        let client = client.clone();
        tokio::spawn(async move { client.post("/slow").await.status() })
    };
    signed.0.notified().await;
    request.abort();
    assert!(request.await.unwrap_err().is_cancelled());
    client.post("/good").await.assert_status(200);
    assert_eq!(names(&database.pool()).await, ["good"]);
}

#[tokio::test]
async fn what_takes_too_long_is_rolled_back_and_answered_503() {
    async fn endless(mut tx: Tx<Db>) -> Result<()> {
        insert(&mut tx, "late").await?;
        std::future::pending().await
    }
    let Some((config, _server)) = config() else { return };
    let database = database(&config);
    let limit = Duration::from_millis(40);
    let routes = Router::new().route("/endless", post(endless)).route("/{how}", post(sign));
    let app = Stack::new().layer(database.clone()).layer(Transaction::new(database.pool()).limit(limit)).app(routes);
    let client = client(app);
    let answer = client.post("/endless").await;
    answer.assert_status(503);
    let error = format!("{:#}", answer.error().unwrap());
    assert!(error.contains("answering within 40ms of the transaction's beginning"), "{error}");
    assert!(names(&database.pool()).await.is_empty());
}

#[tokio::test]
async fn a_transaction_that_outlives_its_answer_is_refused() {
    #[derive(Clone)]
    struct Kept(Arc<std::sync::Mutex<Option<oneshot::Sender<Tx<Db>>>>>);

    async fn lend(State(kept): State<Kept>, mut tx: Tx<Db>) -> Result<&'static str> {
        insert(&mut tx, "outlived").await?;
        kept.0.lock().unwrap().take().unwrap().send(tx).unwrap();
        Ok("answered")
    }
    let Some((config, _server)) = config() else { return };
    let database = database(&config);
    let (sender, receiver) = oneshot::channel();
    let kept = Kept(Arc::new(std::sync::Mutex::new(Some(sender))));
    let app = Stack::new()
        .layer(database.clone())
        .layer(State(kept))
        .layer(Transaction::new(database.pool()))
        .app(Router::new().route("/", post(lend)));
    let answer = client(app).post("/").await;
    answer.assert_status(500);
    let error = format!("{:#}", answer.error().unwrap());
    assert!(error.contains("still taken when its answer leaves"), "{error}");
    drop(receiver.await.unwrap());
    assert!(names(&database.pool()).await.is_empty());
}

#[tokio::test]
async fn no_free_connection_is_503_and_names_the_cause() {
    let Some((mut config, _server)) = config() else { return };
    (config.database.max_connections, config.database.acquire_timeout) = (1, Duration::from_millis(700));
    let database = database(&config);
    let routes = Router::new().route("/{how}", post(sign));
    let client = client(Stack::new().layer(database.clone()).layer(Transaction::new(database.pool())).app(routes));
    let taken = database.pool().acquire().await.unwrap();
    let answer = client.post("/good").await;
    answer.assert_status(503);
    let error = format!("{:#}", answer.error().unwrap());
    assert!(error.starts_with("beginning the request's transaction: pool timed out"), "{error}");
    drop(taken);
    client.post("/good").await.assert_status(200);
}

/// As a page does that wants to know who is signed in, after its handler had a transaction.
#[tokio::test]
async fn what_is_asked_beside_a_transaction_finds_a_connection_however_many_there_are() {
    async fn show(State(pool): State<Pool<Db>>, mut tx: Tx<Db>) -> Result<String> {
        let guests: i64 = sqlx::query_scalar("SELECT count(*) FROM guest").fetch_one(&mut *tx).await?;
        // All the others have begun that can.
        tokio::task::yield_now().await;
        let beside: i64 = sqlx::query_scalar("SELECT count(*) FROM guest").fetch_one(&pool).await?;
        Ok(format!("{guests} {beside}"))
    }
    for connections in [2, 5] {
        let Some((mut config, _server)) = config() else { return };
        config.database.max_connections = connections;
        let database = database(&config);
        let transaction = Transaction::new(database.pool());
        let app = Stack::new().layer(database.clone()).layer(transaction).app(Router::new().route("/", get(show)));
        let client = client(app);
        let mut requests = tokio::task::JoinSet::new();
        for _ in 0..4 * connections {
            let client = client.clone();
            requests.spawn(async move { client.get("/").await });
        }
        for page in requests.join_all().await {
            assert_eq!(page.text(), "0 0", "{:?}", page.error());
        }
    }
}

#[tokio::test]
async fn a_page_that_cannot_be_rendered_rolls_back() {
    struct Broken;

    impl Engine for Broken {
        fn contains(&self, _: &str) -> bool {
            true
        }

        fn render(&self, _: &Page<'_>) -> Result<String> {
            Err(Error::internal("the template is broken"))
        }
    }
    async fn show(mut tx: Tx<Db>) -> Result<View> {
        insert(&mut tx, "unseen").await?;
        Ok(View::new("x.html", ()))
    }
    let Some((config, _server)) = config() else { return };
    let database = database(&config);
    let app = Stack::new()
        .layer(database.clone())
        .layer(Transaction::new(database.pool()))
        .layer(Templates::new(Broken))
        .app(Router::new().route("/", post(show)));
    client(app).post("/").await.assert_status(500);
    assert!(names(&database.pool()).await.is_empty());
}

#[tokio::test]
async fn the_pool_is_the_state_of_all_below() {
    async fn count(State(pool): State<Pool<Db>>) -> Result<String> {
        let guests: i64 = sqlx::query_scalar("SELECT count(*) FROM guest").fetch_one(&pool).await?;
        Ok(format!("{guests} guests"))
    }
    let Some((config, _server)) = config() else { return };
    let routes = || Router::new().route("/", get(count));
    client(Stack::new().layer(database(&config)).app(routes())).get("/").await.assert_contains("0 guests");
    let problem = Stack::new().app(routes()).check().unwrap_err().to_string();
    assert!(problem.contains("needs `Pool<"), "{problem}");
}

#[tokio::test]
async fn what_does_not_fit_together_is_said_at_the_start() {
    async fn late_body(_tx: Tx<Db>, _form: Form<()>) {}
    let Some((config, _server)) = config() else { return };
    let database = database(&config);
    let transaction = || Transaction::new(database.pool());
    let problem = |app: Result<Arc<purlin::site::Site>>| app.unwrap_err().to_string();

    let routes = || Router::new().route("/{how}", post(sign));
    let missing = problem(Stack::new().app(routes()).check().map(Arc::new));
    assert!(missing.contains("add `.layer(Transaction::new(database.pool()))`"), "{missing}");

    let sessions = || Sessions::new(MemoryStore::new());
    let order = problem(Stack::new().layer(transaction()).layer(sessions()).app(routes()).check().map(Arc::new));
    assert!(order.contains("the layer Transaction") && order.contains("Sessions"), "{order}");
    assert!(order.contains("move the line"), "{order}");

    let routes = Router::new().route("/", post(late_body));
    let body = problem(Stack::new().layer(transaction()).app(routes).check().map(Arc::new));
    assert!(body.contains("reads the request's body by Form<()> after it has taken Tx<"), "{body}");
}

#[tokio::test]
async fn a_slow_body_is_read_before_the_transaction_begins() {
    async fn early_body(body: String, mut tx: Tx<Db>) -> Result<()> {
        insert(&mut tx, &body).await
    }
    let Some((config, _server)) = config() else { return };
    let database = database(&config);
    let app = Stack::new()
        .layer(database.clone())
        .layer(Transaction::new(database.pool()))
        .layer(BodyLimit::new(10))
        .app(Router::new().route("/", post(early_body)));
    let client = client(app);
    client.post("/").body("Ada").await.assert_status(200);
    client.post("/").body("more than ten bytes").await.assert_status(413);
    assert_eq!(names(&database.pool()).await, ["Ada"]);
}

/// The same database, as a site with other files finds it.
fn site(config: &Config, files: Files) -> Database<Db> {
    super::open(config, Assets::embedded(files)).unwrap()
}

fn start(database: &Database<Db>) -> Result<()> {
    purlin::site::Life::start(&Stack::new().layer(database.clone()).app(Router::new())).map(drop)
}

fn states(migrations: &[purlin::database::Migration]) -> Vec<(&str, MigrationState)> {
    migrations.iter().map(|migration| (&*migration.name, migration.state)).collect()
}

#[tokio::test]
async fn migrations_run_once_and_in_order() {
    let Some((config, _server)) = super::lasting() else { return };
    let first = site(&config, &[GUESTS]);
    assert_eq!(states(&first.migrations().await.unwrap()), [("0001_guest", MigrationState::Pending)]);
    start(&first).unwrap();
    assert_eq!(states(&first.migrations().await.unwrap()), [("0001_guest", MigrationState::Applied)]);

    let second = site(&config, &[GUESTS, FRIENDS, ("10_last.sql", b"ALTER TABLE friend ADD COLUMN since TEXT;")]);
    assert_eq!(
        states(&second.migrations().await.unwrap()),
        [
            ("0001_guest", MigrationState::Applied),
            ("0002_friend", MigrationState::Pending),
            ("10_last", MigrationState::Pending)
        ]
    );
    let ran = second.migrate().await.unwrap();
    assert_eq!(states(&ran), [("0002_friend", MigrationState::Applied), ("10_last", MigrationState::Applied)]);
    assert!(second.migrate().await.unwrap().is_empty());
    start(&second).unwrap();
    // A site that is older than its database starts, and says what it does not know.
    start(&first).unwrap();
    assert_eq!(states(&first.migrations().await.unwrap())[1], ("0002", MigrationState::Unknown));
}

#[tokio::test]
async fn a_migration_that_fails_leaves_nothing_and_is_named() {
    let Some((config, _server)) = super::lasting() else { return };
    let broken: Files =
        &[GUESTS, ("0002_x.sql", b"CREATE TABLE half (a TEXT); INSERT INTO nowhere VALUES (1);"), FRIEND_3];
    const FRIEND_3: (&str, &[u8]) = ("0003_friend.sql", FRIENDS.1);
    let error = format!("{:#}", start(&site(&config, broken)).unwrap_err());
    assert!(error.contains("running the migration 0002_x") && error.contains("nowhere"), "{error}");

    let mended: Files = &[GUESTS, ("0002_x.sql", b"CREATE TABLE half (a TEXT);"), FRIEND_3];
    let mended = site(&config, mended);
    assert_eq!(
        states(&mended.migrations().await.unwrap()),
        [
            ("0001_guest", MigrationState::Applied),
            ("0002_x", MigrationState::Pending),
            ("0003_friend", MigrationState::Pending)
        ]
    );
    start(&mended).unwrap();
}

#[tokio::test]
async fn a_changed_migration_stops_the_start() {
    let Some((mut config, _server)) = super::lasting() else { return };
    start(&site(&config, &[GUESTS])).unwrap();
    let changed = site(&config, &[("0001_guest.sql", b"CREATE TABLE guest (name TEXT, age INTEGER);")]);
    assert_eq!(states(&changed.migrations().await.unwrap()), [("0001_guest", MigrationState::Changed)]);
    let expected = "the migration 0001_guest was changed after it had run";
    let error = format!("{:#}", start(&changed).unwrap_err());
    assert!(error.contains(expected), "{error}");
    config.database.migrate_at_start = false;
    let changed = site(&config, &[("0001_guest.sql", b"CREATE TABLE guest (name TEXT, age INTEGER);")]);
    let error = format!("{:#}", start(&changed).unwrap_err());
    assert!(error.contains(expected), "{error}");
}

#[tokio::test]
async fn in_production_a_pending_migration_stops_the_start_until_it_is_run() {
    let Some((mut config, _server)) = super::lasting() else { return };
    start(&site(&config, &[GUESTS])).unwrap();
    config.environment = Environment::Production;
    config.database.migrate_at_start = false;
    let database = site(&config, &[GUESTS, FRIENDS]);
    let error = start(&database).unwrap_err().to_string();
    assert!(error.contains("lacks a migration: 0002_friend\n"), "{error}");
    assert!(error.contains("the command `migrate` first"), "{error}");
    database.migrate().await.unwrap();
    start(&database).unwrap();
}

#[tokio::test]
async fn a_migration_can_run_outside_of_a_transaction() {
    let Some((config, _server)) = super::lasting() else { return };
    start(&site(
        &config,
        &[GUESTS, ("0002_vacuum.sql", b"-- no-transaction\nVACUUM;"), ("0003_friend.sql", FRIENDS.1)],
    ))
    .unwrap();
}

#[tokio::test]
async fn two_that_migrate_at_the_same_time_run_each_migration_once() {
    let Some((config, _server)) = super::lasting() else { return };
    let databases: Vec<_> = (0..4).map(|_| site(&config, &[GUESTS, FRIENDS])).collect();
    let tasks: Vec<_> =
        databases.into_iter().map(|database| tokio::spawn(async move { database.migrate().await })).collect();
    let mut ran = 0;
    for task in tasks {
        ran += task.await.unwrap().unwrap().len();
    }
    assert_eq!(ran, 2);
}

#[tokio::test]
async fn a_url_of_something_else_is_refused_and_not_shown() {
    let Some((mut config, _server)) = config() else { return };
    config.database.temporary = false;
    for (url, found) in [
        ("", "found nothing: PURLIN__DATABASE__URL is not set"),
        ("mysql://me:hunter2@host/name", "found a URL that begins with `mysql:`"),
        ("me:hunter2@host/name", "found a URL that begins with `me:`"),
        ("hunter2", "found another text"),
    ] {
        config.database.url = purlin::config::Secret::new(url);
        let error = super::open(&config, Assets::embedded(&[])).unwrap_err();
        let shown = format!("{error:#} {error:?}");
        assert!(shown.contains("`database.url`: expected a URL such as ") && shown.contains(found), "{shown}");
        assert!(!shown.contains("hunter2"), "{shown}");
    }
}

#[test]
fn a_pool_without_a_runtime_is_an_error() {
    let Some((config, _server)) = config() else { return };
    let error = super::open(&config, Assets::embedded(&[])).unwrap_err();
    assert!(error.to_string().contains("there is no tokio runtime"), "{error:#}");
}
