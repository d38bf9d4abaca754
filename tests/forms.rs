//! Forms: read as structs, looked at as a whole, and shown again with everything that was typed.

use purlin::config::Secret;
use purlin::form::{Fields, Filled, Problems, Rules, Submitted};
use purlin::layers::{FieldLimit, Templates};
use purlin::template::Tera;
use purlin::testing::Client;
use purlin::{Assets, Form, IntoResponse, Query, Redirect, Response, Router, Stack, View, get, post};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::num::NonZeroU32;

/// Reads a form as a `T`: its `Debug`, or what is wrong, field by field.
fn read<T: for<'de> Deserialize<'de> + Debug>(form: &str) -> String {
    struct Any<T>(T);
    impl<T> Rules for Any<T> {}
    impl<'de, T: Deserialize<'de>> Deserialize<'de> for Any<T> {
        fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
            T::deserialize(from).map(Self)
        }
    }
    let fields = Fields::parse(form.as_bytes(), 1000).unwrap();
    let mut form = match Submitted::<Any<T>>::of(&fields) {
        Ok(form) => form,
        Err(error) => return format!("{} {}", error.status().as_u16(), error.message()),
    };
    match form.accept() {
        Some(Any(value)) => format!("{value:?}"),
        None => {
            let problems = form.filled().problems().iter();
            problems.map(|problem| format!("{}: {}", problem.field, problem.code)).collect::<Vec<_>>().join(", ")
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Colour {
    Red,
    Green,
}

#[derive(Debug, Deserialize)]
#[allow(dead_code)]
struct Plain {
    name: String,
    age: Option<u8>,
    agree: bool,
}

#[derive(Debug, Deserialize)]
#[allow(dead_code)]
struct Order {
    address: Address,
    #[serde(default)]
    note: String,
    lines: Vec<Line>,
    tags: Vec<String>,
    stock: BTreeMap<String, u32>,
    billing: Option<Address>,
}

#[derive(Debug, Deserialize)]
#[allow(dead_code)]
struct Address {
    city: String,
    zip: Option<u32>,
}

#[derive(Debug, Deserialize)]
#[allow(dead_code)]
struct Line {
    name: String,
    count: u8,
    gift: bool,
}

#[derive(Debug, Deserialize)]
#[allow(dead_code)]
struct Few {
    colour: Colour,
    sizes: Vec<u8>,
    pair: Option<(u8, u8)>,
    one: NonZeroU32,
    letter: char,
    price: f32,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(dead_code)]
enum Pay {
    Cash,
    Card { number: u64, name: String },
    Code(String),
}

#[derive(Debug, Deserialize)]
#[allow(dead_code)]
struct Bill {
    pay: Pay,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(dead_code)]
struct Strict {
    name: String,
}

#[test]
fn names_mean_what_the_table_says() {
    let table = [
        // One value
        (read::<Plain> as fn(&str) -> String, "name=Ada", "Plain { name: \"Ada\", age: None, agree: false }"),
        (read::<Plain>, "name=+Ada+&age=+42+&agree=on", "Plain { name: \" Ada \", age: Some(42), agree: true }"),
        (read::<Plain>, "name=&age=&agree=true", "Plain { name: \"\", age: None, agree: true }"),
        (read::<Plain>, "name=a&agree=false&x=1&x[y]=2", "Plain { name: \"a\", age: None, agree: false }"),
        (read::<Plain>, "agree=perhaps&age=x", "agree: yes_or_no, age: number, name: missing"),
        (read::<Plain>, "name=a&age=256", "age: range"),
        (read::<Plain>, "name=a&age=-1", "age: range"),
        (read::<Plain>, "name=a&age=1.5", "age: whole"),
        (read::<Plain>, "name=a&age=1&age=2", "age: once"),
        (read::<Plain>, "name=a&name=b", "name: once"),
        (read::<Plain>, "name=a&age[x]=1", "age: shape"),
        (read::<Plain>, "name=a%00b", "name: character"),
        (read::<BTreeMap<String, char>>, "a=b&b=%00", "b: character"),
        // Fields below fields, and lists
        (
            read::<Order>,
            "address[city]=Paris&lines[0][name]=Tea&lines[0][count]=2&lines[0][gift]=on&lines[10][name]=Milk\
             &lines[10][count]=1&lines[9][name]=Egg&lines[9][count]=6&tags[]=a&tags[]=b&stock[tea]=3&billing[city]=",
            "Order { address: Address { city: \"Paris\", zip: None }, note: \"\", lines: [Line { name: \"Tea\", count: 2, \
             gift: true }, Line { name: \"Egg\", count: 6, gift: false }, Line { name: \"Milk\", count: 1, gift: false }], \
             tags: [\"a\", \"b\"], stock: {\"tea\": 3}, billing: None }",
        ),
        (
            read::<Order>,
            "address[city]=a&tags=a&tags=b&billing[city]=b&billing[zip]=1",
            "Order { address: Address { city: \"a\", zip: None }, note: \"\", lines: [], tags: [\"a\", \"b\"], stock: {}, \
             billing: Some(Address { city: \"b\", zip: Some(1) }) }",
        ),
        (read::<Order>, "", "address[city]: missing"),
        (
            read::<Order>,
            "address[city]=a&address[zip]=x&lines[7][name]=a&lines[7][count]=x&lines[3][count]=300&stock[a]=-1",
            "address[zip]: number, lines[7][count]: number, lines[3][count]: range, lines[3][name]: missing, stock[a]: range",
        ),
        (read::<Order>, "address=a", "address: shape, address[city]: missing"),
        (read::<Order>, "address[city]=a&lines=x&stock[a]=1", "lines: shape, lines: missing"),
        (read::<Order>, "address[city]=a&lines[x][name]=a&stock[a]=1", "lines: shape"),
        (
            read::<Order>,
            "lines[][name]=a",
            "400 the field \"lines[][name]\" has a list without a number in its middle: write `lines[0][name]` for \
             `lines[][name]`",
        ),
        // Types
        (
            read::<Few>,
            "colour=red&sizes=1&sizes=2&pair[0]=1&pair[1]=2&one=7&letter=%C3%BC&price=1e2",
            "Few { colour: Red, sizes: [1, 2], pair: Some((1, 2)), one: 7, letter: 'ü', price: 100.0 }",
        ),
        (
            read::<Few>,
            "colour=blue&sizes=1&sizes=x&sizes=300&pair=1&one=0&letter=ab&price=NaN",
            "colour: choice, sizes: number, sizes: range, pair: rule, one: rule, letter: character, price: number",
        ),
        (
            read::<Few>,
            "colour=&sizes=&one=x&letter=&price=1e300",
            "colour: missing, one: number, letter: missing, price: number",
        ),
        (read::<Few>, "colour=green&sizes=&one=1&letter=a&price=1&pair=1&pair=2&pair=3", "pair: shape"),
        (read::<Bill>, "pay=cash", "Bill { pay: Cash }"),
        (read::<Bill>, "pay[card][number]=7&pay[card][name]=A", "Bill { pay: Card { number: 7, name: \"A\" } }"),
        (read::<Bill>, "pay[code]=x", "Bill { pay: Code(\"x\") }"),
        (read::<Bill>, "pay[card][number]=x", "pay[card][number]: number, pay[card][name]: missing"),
        (read::<Bill>, "pay[cheque]=x", "pay: shape"),
        (read::<Strict>, "name=a&csrf_token=x&_method=PUT", "Strict { name: \"a\" }"),
        (read::<Strict>, "name=a&b=1", "400 unknown field `b`, expected one of name"),
        // Without a struct
        (
            read::<BTreeMap<String, String>>,
            "b=1&a=2&b=3&c.d=4&e[=5",
            "{\"a\": \"2\", \"b\": \"3\", \"c.d\": \"4\", \"e[\": \"5\"}",
        ),
        (read::<BTreeMap<u8, BTreeMap<String, u8>>>, "7[a]=1&8[b]=2", "{7: {\"a\": 1}, 8: {\"b\": 2}}"),
        (read::<BTreeMap<u8, u8>>, "x=1&2=3&y=4", "x: rule, y: rule"),
        (read::<Vec<(String, u8)>>, "b=1&a=2&b=3", "[(\"b\", 1), (\"a\", 2), (\"b\", 3)]"),
        (
            read::<serde_json::Value>,
            "a=1&b=2&b=3&c[0]=4&c[1]=5&d[x][y]=6",
            "Object {\"a\": String(\"1\"), \"b\": String(\"3\"), \"c\": Array [String(\"4\"), String(\"5\")], \
             \"d\": Object {\"x\": Object {\"y\": String(\"6\")}}}",
        ),
        (read::<()>, "a=1", "()"),
    ];
    let found = table.map(|(read, form, expected)| (form, read(form), expected));
    let wrong: Vec<_> = found.iter().filter(|(_, found, expected)| found != expected).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

impl Rules for Order {
    fn check(&self, problems: &mut Problems) {
        for (at, line) in self.lines.iter().enumerate() {
            problems.unless(line.count > 1, format!("lines[{at}][count]"), "We sell two or more.");
            problems.unless(!line.name.is_empty(), format!("lines[{at}][name]"), "Of what?");
        }
        for (at, tag) in self.tags.iter().enumerate() {
            problems.unless(tag.len() < 3, format!("tags[{at}]"), "A tag is short.");
        }
        problems.unless(self.lines.len() < 3, "", "That is more than we can carry.");
        problems.unless(self.address.city != "Atlantis", "address[city]", "We do not deliver there.");
    }
}

fn problems<T: serde::de::DeserializeOwned + Rules>(form: &str) -> String {
    let form = Submitted::<T>::of(&Fields::parse(form.as_bytes(), 1000).unwrap()).unwrap();
    let problems = form.filled().problems().iter();
    problems.map(|problem| format!("{}: {}", problem.field, problem.message)).collect::<Vec<_>>().join(" | ")
}

#[test]
fn rules_and_types_are_told_together_each_at_its_field() {
    let table = [
        ("address[city]=a", ""),
        ("address[city]=Atlantis", "address[city]: We do not deliver there."),
        // Places in the value are numbers in the form.
        (
            "address[city]=a&lines[7][name]=&lines[7][count]=2&lines[4][name]=b&lines[4][count]=1",
            "lines[7][name]: Of what? | lines[4][count]: We sell two or more.",
        ),
        (
            "address[city]=a&lines[1][name]=&lines[1][count]=2&lines[2][name]=b&lines[2][count]=x",
            "lines[1][name]: Of what? | lines[2][count]: Please enter a number.",
        ),
        ("address[city]=a&tags[]=abc&tags[]=b&tags[]=abcd", "tags: A tag is short."),
        // What was put in place of a letter (one piece) is not complained of; the rest is.
        (
            "address[city]=Atlantis&lines[0][name]=&lines[0][count]=x",
            "address[city]: We do not deliver there. | lines[0][name]: Of what? | lines[0][count]: Please enter a number.",
        ),
        // Of the form as a whole nothing is said while a part of it is made up.
        (
            "address[city]=a&lines[0][name]=a&lines[0][count]=2&lines[1][name]=a&lines[1][count]=2&lines[2][name]=a\
             &lines[2][count]=2",
            ": That is more than we can carry.",
        ),
        (
            "address[city]=a&lines[0][name]=a&lines[0][count]=2&lines[1][name]=a&lines[1][count]=2&lines[2][name]=a\
             &lines[2][count]=x",
            "lines[2][count]: Please enter a number.",
        ),
    ];
    for (form, expected) in table {
        assert_eq!(problems::<Order>(form), expected, "{form}");
    }
}

/// A type with a rule of its own.
#[derive(Debug, Deserialize)]
#[serde(try_from = "String")]
#[allow(dead_code)]
struct Slug(String);

impl TryFrom<String> for Slug {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, &'static str> {
        if text.chars().all(|c| c.is_ascii_lowercase()) { Ok(Self(text)) } else { Err("a slug has small letters only") }
    }
}

#[derive(Debug, Deserialize)]
#[allow(dead_code)]
struct Parsed {
    first: Slug,
    inner: Inner,
    list: Vec<Slug>,
    second: Slug,
    count: u8,
    secret_word: Option<Secret>,
}

#[derive(Debug, Deserialize)]
#[allow(dead_code)]
struct Inner {
    slug: Slug,
    count: u8,
}

impl Rules for Parsed {}

#[derive(Deserialize)]
struct Rows {
    rows: Vec<Inner>,
}

impl Rules for Rows {
    fn check(&self, problems: &mut Problems) {
        for (at, row) in self.rows.iter().enumerate() {
            problems.unless(row.count > 0, format!("rows[{at}][count]"), "One at least.");
        }
    }
}

#[test]
fn rules_of_types_are_told_together_too() {
    let slug = "A slug has small letters only.";
    let number = "Please enter a number.";
    assert_eq!(
        problems::<Parsed>("first=A&inner[slug]=B&inner[count]=x&list=a&list=C&second=D&count=y"),
        format!(
            "first: {slug} | inner[slug]: {slug} | inner[count]: {number} | list: {slug} | second: {slug} | count: {number}"
        )
    );
    // A row that cannot be read does not move what is said of the others.
    assert_eq!(
        problems::<Rows>("rows[4][slug]=A&rows[4][count]=1&rows[6][slug]=b&rows[6][count]=0"),
        format!("rows[4][slug]: {slug} | rows[6][count]: One at least.")
    );
    assert_eq!(problems::<Parsed>("first=a&inner[slug]=b&inner[count]=1&list=a&second=d&count=1"), "");
    assert_eq!(
        problems::<Parsed>("inner[count]=1"),
        "inner[slug]: Please fill in this field. | first: Please fill in this field. | second: Please fill in this field. | \
         count: Please fill in this field."
    );
}

/// The whole form has a rule.
#[derive(Debug, Deserialize)]
#[serde(try_from = "Dates")]
#[allow(dead_code)]
struct Stay {
    nights: u32,
}

#[derive(Deserialize)]
struct Dates {
    from: u32,
    to: u32,
}

impl TryFrom<Dates> for Stay {
    type Error = String;

    fn try_from(Dates { from, to }: Dates) -> Result<Self, String> {
        to.checked_sub(from)
            .map(|nights| Self { nights })
            .ok_or_else(|| format!("you leave on {to}, before you arrive"))
    }
}

impl Rules for Stay {}

#[test]
fn a_rule_of_the_whole_is_a_problem_of_no_field() {
    assert_eq!(problems::<Stay>("from=3&to=2"), ": You leave on 2, before you arrive.");
    assert_eq!(problems::<Stay>("from=3&to=5"), "");
}

#[tokio::test]
async fn an_attack_is_refused_with_the_right_status() {
    async fn take(Form(fields): Form<BTreeMap<String, String>>) -> String {
        fields.len().to_string()
    }
    async fn submitted(mut form: Submitted<Order>) -> String {
        format!("{:?}", form.accept().is_some())
    }
    async fn ask(Query(fields): Query<BTreeMap<String, String>>) -> String {
        fields.len().to_string()
    }
    let routes = Router::new()
        .route("/form", post(take))
        .route("/submitted", post(submitted))
        .route("/more", post(take).layer(FieldLimit::new(20_000)))
        .route("/query", get(ask));
    let client = Client::new(Stack::new().app(routes));
    let many: String = (0..10_000).map(|n| format!("f{n}=x&")).collect();
    let same: String = "f=x&".repeat(10_000);
    let deep = format!("a{}=x", "[b]".repeat(80));
    let long = format!("{}=x", "a".repeat(300));
    let rows: String = (0..900).map(|n| format!("lines[{n}][count]=x&")).collect();
    let table = [
        ("/form", &many, 413, "The form has more than 1000 fields."),
        ("/submitted", &many, 413, "The form has more than 1000 fields."),
        ("/form", &same, 413, "The form has more than 1000 fields."),
        ("/form", &deep, 400, "The form has fields that are nested too deep."),
        ("/submitted", &deep, 400, "The form has fields that are nested too deep."),
        ("/form", &long, 400, "The name of a field in the form is too long."),
        ("/more", &many, 200, "10000"),
        ("/more", &same, 200, "1"),
        ("/submitted", &rows, 200, "false"),
    ];
    for (path, form, status, expected) in table {
        let request = client.post(path).header("content-type", "application/x-www-form-urlencoded");
        let page = request.body(form.clone()).await;
        let found = page.error().and_then(|error| error.public_message()).unwrap_or(page.text());
        assert_eq!((page.status().as_u16(), found), (status, expected), "{path} {}", &form[..20]);
    }
    client.get(&format!("/query?{}", "a&".repeat(1500))).await.assert_status(400);
    client.get(&format!("/query?{deep}")).await.assert_status(400);
}

#[derive(Debug, Deserialize)]
#[allow(dead_code)]
struct Account {
    email: String,
    age: Option<u8>,
    new_password: String,
    password_again: String,
    pin: Secret,
}

impl Rules for Account {
    fn check(&self, problems: &mut Problems) {
        problems.unless(self.email.contains('@'), "email", "An address has an @.");
    }
}

#[test]
fn what_is_secret_is_never_shown_again_nor_told() {
    let sent = "email=ada&age=x&new_password=hunter2&password_again=hunter3&pin=1815&csrf_token=t0ken&_method=PUT";
    let form = Submitted::<Account>::of(&Fields::parse(sent.as_bytes(), 100).unwrap()).unwrap();
    let shown = serde_json::to_string(form.filled()).unwrap();
    assert!(shown.contains("\"ada\"") && shown.contains("\"x\""), "{shown}");
    for secret in ["hunter2", "hunter3", "1815", "t0ken", "PUT"] {
        assert!(!shown.contains(secret), "{secret} in {shown}");
    }
    for shown in [format!("{form:?}"), format!("{:?}", form.filled())] {
        assert!(!shown.contains("hunter") && !shown.contains("ada"), "{shown}");
    }
}

#[test]
fn a_list_of_secrets_is_secret_by_its_type() {
    #[derive(Debug, Deserialize)]
    #[allow(dead_code)]
    struct Recovery {
        codes: Vec<Secret>,
        answers: BTreeMap<String, Secret>,
        age: u8,
    }
    impl Rules for Recovery {}
    for codes in ["codes=hunter2&codes=hunter3", "codes[]=hunter2&codes[]=hunter3", "codes[0]=hunter2&codes[1]=hunter3"]
    {
        let sent = format!("{codes}&answers[pet]=hunter4&age=x");
        let form = Submitted::<Recovery>::of(&Fields::parse(sent.as_bytes(), 100).unwrap()).unwrap();
        let shown = serde_json::to_string(form.filled()).unwrap();
        assert!(shown.contains("\"x\"") && !shown.contains("hunter"), "{shown}");
    }
}

#[cfg(feature = "auth")]
#[test]
fn a_password_is_secret_by_its_type_whatever_its_field_is_called() {
    use purlin::auth::Password;
    #[derive(Debug, Deserialize)]
    #[allow(dead_code)]
    struct Change {
        old: Password,
        new: Option<Password>,
        age: u8,
    }
    impl Rules for Change {}
    let long = "hunter2".repeat(200);
    for sent in ["old=hunter2&new=hunter3&age=x", &format!("old={long}&age=x")] {
        let form = Submitted::<Change>::of(&Fields::parse(sent.as_bytes(), 100).unwrap()).unwrap();
        let shown = serde_json::to_string(form.filled()).unwrap();
        assert!(shown.contains("\"x\"") && !shown.contains("hunter"), "{shown}");
    }
    let error = |sent: &str| {
        let error = purlin::Error::from(serde_json::from_str::<Password>(sent).unwrap_err());
        format!("{error:#}")
    };
    assert!(!error(&format!("\"{long}\"")).contains("hunter"));
    assert_eq!(serde_json::from_str::<Password>("\"x\"").unwrap(), Password::new("x").unwrap());
}

#[cfg(feature = "auth")]
#[tokio::test]
async fn a_password_that_is_too_long_is_not_told() {
    async fn take(Form(_): Form<BTreeMap<String, purlin::auth::Password>>) {}
    let client = Client::new(Stack::new().app(Router::new().route("/", post(take))));
    let page = client.post("/").form(&[("old", "hunter2".repeat(200))]).await;
    let told = format!("{:#} {:?}", page.error().unwrap(), page.error().unwrap().public_message());
    assert!(page.status() == 400 && told.contains("1024 bytes") && !told.contains("hunter"), "{told}");
}

#[tokio::test]
async fn a_secret_that_does_not_fit_is_not_in_the_log() {
    #[derive(Deserialize)]
    #[allow(dead_code)]
    struct SignIn {
        password: Slug,
    }
    async fn take(Form(_): Form<SignIn>) {}
    let client = Client::new(Stack::new().app(Router::new().route("/", post(take))));
    let page = client.post("/").form(&[("password", "HUNTER2")]).await;
    let told = format!("{:#} {:?}", page.error().unwrap(), page.error().unwrap().public_message());
    assert!(page.status() == 400 && !told.contains("HUNTER2"), "{told}");
}

const PAGES: Assets = Assets::embedded(&[
    (
        "book.html",
        br#"<!DOCTYPE html><title>Book</title>
{% <forms.form action="/book" summary={true}> %}
{{ <forms.input name="email" label="E-mail" type="email" hint="We write to nobody else." autocomplete="email" required={true} disabled={false} /> }}
{{ <forms.input name="age" label="Age" inputmode="numeric" /> }}
{{ <forms.input name="word" label="Word" type="password" /> }}
{{ <forms.textarea name="message" label="Message" rows="4" /> }}
{{ <forms.select name="country" label="Country" options={["England", "France"]} empty="Please choose" /> }}
{{ <forms.select name="sizes" label="Sizes" options={[{"value": 1, "label": "small"}, {"value": 2, "label": "large"}]} value={[2]} multiple={true} /> }}
{{ <forms.radios name="way" legend="How?" options={["post", "courier"]} value="post" /> }}
{{ <forms.checkboxes name="tags[]" legend="Tags" options={["a", "b", "c"]} /> }}
{{ <forms.checkbox name="agree" label="I agree" /> }}
{{ <forms.checkbox name="news" label="News" checked={true} /> }}
{% for row in form.rows["lines"] | default(value=[0]) %}
{{ <forms.input name={"lines[" ~ row ~ "][name]"} label="Name" /> }}
{{ <forms.input name={"lines[" ~ row ~ "][count]"} label="Count" value="1" /> }}
{% endfor %}
{{ <forms.hidden name="back" value="/home" /> }}
{{ <forms.submit label="Send" class="wide" /> }}
{% </forms.form> %}"#,
    ),
]);

#[derive(Debug, Default, Deserialize, Serialize)]
struct Booking {
    email: String,
    age: Option<u8>,
    #[serde(default, skip_serializing)]
    word: String,
    message: String,
    country: Option<String>,
    sizes: Vec<u8>,
    way: String,
    tags: Vec<String>,
    agree: bool,
    news: bool,
    lines: Vec<Item>,
    back: String,
}

#[derive(Debug, Default, Deserialize, Serialize)]
struct Item {
    name: String,
    count: u8,
}

impl Rules for Booking {
    fn check(&self, problems: &mut Problems) {
        problems.unless(self.email.contains('@'), "email", "An address has an @.");
        problems.unless(self.country.is_some(), "country", "Where do you live?");
        problems.unless(!self.sizes.is_empty(), "sizes", "Which size?");
        problems.unless(self.way != "courier", "way", "The courier is ill.");
        problems.unless(!self.tags.contains(&"b".to_owned()), "tags", "No b today.");
        problems.unless(self.agree, "agree", "Please agree.");
        problems.unless(self.word == "open sesame", "word", "That is not the word.");
    }
}

fn page(form: impl Into<Filled>) -> View {
    View::new("book.html", ()).form(form)
}

async fn show() -> View {
    page(Filled::new())
}

async fn edit() -> purlin::Result<View> {
    let booking = Booking {
        email: "ada@example.org".into(),
        sizes: vec![1],
        way: "courier".into(),
        tags: vec!["a".into(), "c".into()],
        agree: true,
        lines: vec![Item { name: "Tea".into(), count: 2 }, Item { name: "\"Milk\"".into(), count: 1 }],
        message: "\nHello <b>".into(),
        ..Booking::default()
    };
    Ok(page(Filled::of(&booking)?))
}

async fn book(mut form: Submitted<Booking>) -> Response {
    let Some(booking) = form.accept() else {
        return page(form).into_response();
    };
    if booking.email == "taken@example.org" {
        form.refuse("email", "There is a booking with this address.");
        return page(form).into_response();
    }
    Redirect::see_other(format!("/thanks/{}", booking.lines.len())).into_response()
}

fn site() -> Client {
    let routes = Router::new().route("/book", get(show).post(book)).route("/edit", get(edit));
    Client::new(
        Stack::new()
            .layer(purlin::layers::Sessions::new(purlin::session::MemoryStore::new()))
            .layer(purlin::layers::Csrf::new())
            .layer(Templates::new(Tera::new(PAGES)))
            .app(routes),
    )
}

#[tokio::test]
async fn a_form_comes_back_as_it_was_filled_in_with_what_is_wrong_beside_each_field() {
    let client = site();
    let page = client.get("/book").await;
    page.assert_status(200).assert_lacks("aria-invalid").assert_lacks("problem");
    let form = page.form(0).set("email", "ada \"<lovelace>\"").set("age", "x").set("word", "hunter2");
    let form =
        form.set("message", "\nHello").set("country", "France").set("lines[0][count]", "300").set("way", "courier");
    let answer = form.set("tags[]", "b").uncheck("news").submit().await;

    answer.assert_status(422).assert_lacks("hunter2");
    let value = |selector: &str| answer.select(selector)[0].attr("value").map(str::to_owned);
    assert_eq!(value("#email").as_deref(), Some("ada \"<lovelace>\""));
    assert_eq!(value("#age").as_deref(), Some("x"));
    assert_eq!(value("#word"), None);
    assert_eq!(value("#lines-0-count").as_deref(), Some("300"));
    assert_eq!(value("select#country option[selected]").as_deref(), Some("France"));
    assert_eq!(value("select#sizes option[selected]").as_deref(), Some("2"));
    assert_eq!(value("input[name=way][checked]").as_deref(), Some("courier"));
    assert_eq!(value("input[type=checkbox][checked]").as_deref(), Some("b"));
    answer.assert_contains("<textarea id=\"message\" name=\"message\" rows=\"4\">\n\r\nHello</textarea>");

    // Each message beside its field, tied to it, and in the order of the page with a link to it above.
    for (field, described_by, message) in [
        ("email", "email-hint email-problem", "An address has an @."),
        ("age", "age-problem", "Please enter a number."),
        ("word", "word-problem", "That is not the word."),
        ("agree", "agree-problem", "Please agree."),
        ("lines-0-count", "lines-0-count-problem", "Please enter a number from 0 to 255."),
    ] {
        let input = &answer.select(&format!("#{field}"))[0];
        assert_eq!(input.attr("aria-invalid"), Some("true"), "{field}");
        assert_eq!(input.attr("aria-describedby"), Some(described_by));
        assert_eq!(answer.select(&format!("#{field}-problem"))[0].text(), message);
    }
    assert_eq!(answer.select("fieldset[role=radiogroup]")[0].attr("aria-describedby"), Some("way-problem"));
    assert_eq!(answer.select("fieldset[role=radiogroup]")[0].attr("aria-invalid"), Some("true"));
    let invalid = answer.select("input[type=checkbox][aria-invalid]");
    assert_eq!(invalid.iter().filter(|one| one.attr("name") == Some("tags[]")).count(), 3);
    let links: Vec<_> = answer.select(".problems a").iter().map(|link| link.attr("href").unwrap().to_owned()).collect();
    assert_eq!(links, ["#email", "#age", "#word", "#way", "#tags", "#lines-0-count", "#agree"]);
    for link in links {
        assert_eq!(answer.select(&link).len(), 1, "{link} leads to one field");
    }
    assert_eq!(answer.select(".problems")[0].attr("role"), Some("alert"));

    // Mended, and the handler has a rule of its own.
    let form = answer.form(0).set("email", "taken@example.org").set("age", "").set("word", "open sesame");
    let form = form.set("lines[0][count]", "3").set("way", "post").uncheck("tags[]").check("agree");
    let answer = form.submit().await;
    answer.assert_status(422).assert_contains("There is a booking with this address.");
    assert_eq!(answer.select(".problem").len(), 1);
    assert!(
        !answer.select("input[name=agree][checked]").is_empty()
            && answer.select("input[name=news][checked]").is_empty()
    );
    answer
        .form(0)
        .set("email", "ada@example.org")
        .set("word", "open sesame")
        .submit()
        .await
        .assert_redirect("/thanks/1");
}

#[tokio::test]
async fn a_form_begins_with_the_values_of_what_is_to_be_changed() {
    let page = site().get("/edit").await;
    page.assert_status(200);
    let value = |selector: &str| page.select(selector)[0].attr("value").map(str::to_owned);
    assert_eq!(value("#email").as_deref(), Some("ada@example.org"));
    assert_eq!(value("#lines-1-name").as_deref(), Some("\"Milk\""));
    assert_eq!(value("#lines-1-count").as_deref(), Some("1"));
    assert_eq!(value("select#sizes option[selected]").as_deref(), Some("1"));
    assert_eq!(value("input[name=way][checked]").as_deref(), Some("courier"));
    let ticked = page.select("input[type=checkbox][checked]");
    let ticked: Vec<_> = ticked.iter().filter_map(|one| one.attr("value")).collect();
    assert_eq!(ticked, ["a", "c", "true"]);
    page.assert_contains(">\n\nHello &lt;b&gt;</textarea>");
    assert!(page.select("#lines-2-name").is_empty());
}

#[test]
fn a_password_of_a_value_is_no_beginning_of_a_form() {
    let form = Filled::of(
        &serde_json::json!({ "name": "Ada", "account": { "password": "hunter2", "list": [1, true, null] } }),
    );
    let form = form.unwrap();
    assert_eq!((form.value("name"), form.value("account[password]")), (Some("Ada"), None));
    let shown = serde_json::to_value(&form).unwrap();
    assert_eq!(shown["values"]["account[list]"], serde_json::json!(["1", "true"]));
    assert_eq!(Filled::of(&BTreeMap::from([("price", 0.1_f32)])).unwrap().value("price"), Some("0.1"));
    assert!(Filled::of(&BTreeMap::from([("id", u128::MAX)])).is_err());
    assert_eq!(shown["filled"], true);
    assert!(!shown.to_string().contains("hunter2"));
}

#[test]
fn a_site_says_what_is_wrong_in_its_own_words_and_gives_ids_a_prefix() {
    let fields = Fields::parse(b"name=a&age=x", 10).unwrap();
    let form = Submitted::<Guest>::of(&fields).unwrap();
    let form = Filled::from(form).prefix("left-").say(|problem| match problem.code {
        "number" => Some("Bitte eine Zahl.".into()),
        _ => None,
    });
    let shown = serde_json::to_value(&form).unwrap();
    assert_eq!(
        shown["problems"],
        serde_json::json!([
            { "field": "name", "label": "Name", "id": "left-name", "code": "rule", "message": "A name has two letters." },
            { "field": "age", "label": "Age", "id": "left-age", "code": "number", "message": "Bitte eine Zahl." },
        ])
    );
    assert_eq!(shown["messages"]["age"], serde_json::json!(["Bitte eine Zahl."]));
}

#[derive(Debug, Deserialize)]
#[allow(dead_code)]
struct Guest {
    name: String,
    age: u8,
}

impl Rules for Guest {
    fn check(&self, problems: &mut Problems) {
        problems.unless(self.name.len() > 1, "name", "A name has two letters.");
    }
}

#[tokio::test]
async fn a_component_that_lacks_its_form_says_so() {
    async fn page() -> View {
        View::new("book.html", ())
    }
    let app = Stack::new()
        .layer(purlin::layers::Sessions::new(purlin::session::MemoryStore::new()))
        .layer(purlin::layers::Csrf::new())
        .layer(Templates::new(Tera::new(PAGES)))
        .app(Router::new().route("/", get(page)));
    let page = Client::new(app).get("/").expect_status(500).await;
    let told = page.error().unwrap().message();
    assert!(told.contains("implicit argument `form`"), "{told}");
}

#[tokio::test]
async fn a_template_of_the_sites_own_takes_the_place_of_ours() {
    const OWN: Assets = Assets::embedded(&[
        ("page.html", b"{{ <forms.submit label='Go' /> }}"),
        // What the other file of ours leans on is then the site's affair too.
        ("purlin/form.html", b""),
        (
            "purlin/forms.html",
            b"{% component forms.submit(label) %}<button class=mine>{{ label }}</button>{% endcomponent %}",
        ),
    ]);
    let app = Stack::new()
        .layer(Templates::new(Tera::new(OWN)))
        .app(Router::new().route("/", get(async || View::new("page.html", ()))));
    Client::new(app).get("/").await.assert_contains("<button class=mine>Go</button>");
}

#[cfg(feature = "validation")]
mod validation {
    use super::*;

    #[derive(Debug, Deserialize, garde::Validate)]
    #[allow(dead_code)]
    struct Party {
        #[garde(length(chars, min = 1, max = 5))]
        name: String,
        #[garde(email)]
        email: String,
        #[garde(range(min = 1, max = 8))]
        seats: u8,
        #[garde(dive)]
        guests: Vec<Person>,
        #[garde(dive)]
        host: Person,
        #[garde(inner(length(min = 2)))]
        tags: Vec<String>,
        #[garde(skip)]
        note: Option<String>,
    }

    #[derive(Debug, Deserialize, garde::Validate)]
    #[allow(dead_code)]
    struct Person {
        #[garde(length(min = 1), ascii)]
        name: String,
        #[garde(range(max = 120))]
        age: u8,
    }

    impl Rules for Party {
        fn check(&self, problems: &mut Problems) {
            problems.validate(self);
        }
    }

    #[test]
    fn rules_of_garde_are_told_beside_their_fields() {
        let good = "name=Ada&email=a@b.org&seats=2&host[name]=a&host[age]=1&guests[3][name]=b&guests[3][age]=2&tags=ab";
        assert_eq!(problems::<Party>(good), "");
        let bad = "name=Adalbert&email=a&seats=9&host[name]=&host[age]=x&guests[3][name]=b&guests[3][age]=121\
                   &guests[7][name]=%C3%BC&guests[7][age]=1&tags=ab&tags=c";
        assert_eq!(
            problems::<Party>(bad),
            "name: This must have a length of at most 5. | email: An e-mail address has an @ in it, as name@example.org. | \
             seats: This must be 8 or less. | host[name]: Please fill in this field. | host[age]: Please enter a number. | \
             guests[3][age]: This must be 120 or less. | guests[7][name]: Please use the letters a to z without accents. | \
             tags: This must have a length of at least 2."
        );
    }
}
