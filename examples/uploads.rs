//! An album that visitors add photos to: `cargo run --example uploads --features multipart`, then http://127.0.0.1:8000/

use purlin::header::{CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use purlin::layers::{BodyLimit, ErrorPages, Templates, Uploads};
use purlin::template::Tera;
use purlin::{
    Assets, Config, Context, Error, HeaderValue, MultipartForm, Path, Redirect, Response, Result, Router, Service,
    Stack, State, StatusCode, View, get, post,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Photos by their numbers: what a visitor calls a file is shown, and no path is made of it.
struct Album {
    folder: PathBuf,
    photos: Mutex<BTreeMap<usize, Photo>>,
    next: AtomicUsize,
}

#[derive(Clone, Serialize)]
struct Photo {
    title: String,
    file_name: String,
    kind: &'static str,
}

impl Album {
    fn photos(&self) -> MutexGuard<'_, BTreeMap<usize, Photo>> {
        self.photos.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn path(&self, number: usize) -> PathBuf {
        self.folder.join(number.to_string())
    }
}

#[derive(Deserialize)]
struct Entry {
    title: String,
}

async fn show(State(album): State<Arc<Album>>) -> View {
    #[derive(Serialize)]
    struct Page {
        photos: BTreeMap<usize, Photo>,
    }
    View::new("album.html", Page { photos: album.photos().clone() })
}

async fn add(
    State(album): State<Arc<Album>>,
    MultipartForm(entry, mut files): MultipartForm<Entry>,
) -> Result<Redirect> {
    let mut upload = files.require("photo")?;
    let Some(kind) = upload.detected_type().filter(|kind| kind.starts_with("image/")) else {
        let found = format!("expected an image, found {upload:?}");
        return Err(Error::new(StatusCode::UNPROCESSABLE_ENTITY, found).public("Please choose an image."));
    };
    let number = album.next.fetch_add(1, Ordering::Relaxed);
    upload.replace(album.path(number)).await?;
    album.photos().insert(number, Photo { title: entry.title, file_name: upload.file_name(), kind });
    Ok(Redirect::see_other("/"))
}

async fn photo(State(album): State<Arc<Album>>, Path(number): Path<usize>) -> Result<Response> {
    let kind = album.photos().get(&number).or_404()?.kind;
    let mut response = Response::new(tokio::fs::read(album.path(number)).await?.into());
    // Its type is what was found in it, and a browser is to look for no other.
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    Ok(response)
}

fn stack_in(folder: PathBuf, config: &Config) -> Result<impl Service + use<>> {
    let templates = Assets::embedded(&[(
        "album.html",
        br#"<!doctype html><html lang="en"><title>Album</title>
<form method="post" enctype="multipart/form-data">
  <label>Title <input name="title" required></label>
  <label>Photo <input type="file" name="photo" accept="image/*" required></label>
  <button>Add</button>
</form>
{% for number, photo in photos %}<figure>
  <img src="/photos/{{ number }}" alt="{{ photo.title }}"><figcaption>{{ photo.title }} ({{ photo.file_name }})</figcaption>
</figure>{% endfor %}"#,
    )]);
    // In the folder where the photos are kept: they need another name then, and no copy.
    let uploads = Uploads::from_config(&config.uploads).folder(&folder).max_parts(2);
    let album = post(add).layer(BodyLimit::new(20 << 20)).layer(uploads).get(show);
    Ok(Stack::new()
        .layer(ErrorPages::new().details(config.errors.details))
        .layer(BodyLimit::new(config.body_limit))
        .layer(State(Arc::new(Album { folder, photos: Mutex::default(), next: AtomicUsize::new(0) })))
        .layer(Templates::new(Tera::new(templates)))
        .app(Router::new().route("/", album).route("/photos/{number}", get(photo))))
}

fn stack(config: Config) -> Result<impl Service> {
    stack_in(std::env::temp_dir().join("purlin-album"), &config)
}

fn main() -> std::process::ExitCode {
    purlin::run(stack)
}

#[tokio::test]
async fn a_photo_is_added_shown_and_sent_as_what_it_is() {
    let folder = std::env::temp_dir().join(format!("purlin-album-{}", std::process::id()));
    let client = purlin::testing::Client::new(stack_in(folder.clone(), &Config::default()).unwrap());
    let page = client.get("/").await;
    let image = b"\x89PNG\r\n\x1a\n and so on".repeat(10_000);
    let form = || page.form(0).set("title", "My <cat>");
    form().file("photo", "../cat.html", "text/html", &image).submit().await.assert_redirect("/");
    client.get("/").await.assert_contains("My &lt;cat&gt; (cat.html)");
    let photo = client.get("/photos/0").await;
    photo.assert_header("content-type", "image/png").assert_header("x-content-type-options", "nosniff");
    assert_eq!(photo.bytes()[..], image);

    form().file("photo", "cat.png", "image/png", "<script>").submit().await.assert_status(422);
    form().submit().await.assert_status(422).assert_contains("Please choose a file.");
    let names: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["0"]);
    std::fs::remove_dir_all(folder).unwrap();
}
