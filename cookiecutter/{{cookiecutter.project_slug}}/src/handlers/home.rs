//! The welcome page with its session counter, and a handler that fails.

use purlin::site::Site;
use purlin::{Context, Result, Session, View};
use serde::Serialize;
use std::sync::Arc;

#[derive(Serialize)]
struct Home {
    visits: i64,
    development: bool,
    layers: Vec<Layer>,
}

#[derive(Serialize)]
struct Layer {
    name: String,
    place: String,
}

/// `GET /`: counts the visits of this session, and shows the stack while you develop.
pub async fn show(session: Session, site: Arc<Site>) -> Result<View> {
    let visits = session.increment("visits", 1)?;
    let layers = site.layers().iter();
    let layers = layers
        .map(|layer| Layer {
            name: layer.name.clone(),
            place: layer.place.to_string(),
        })
        .collect();
    Ok(View::new(
        "home.html",
        Home {
            visits,
            development: cfg!(debug_assertions),
            layers,
        },
    ))
}

/// `GET /fail`: a failure on purpose, to meet the page it gets. Delete it, and its route.
pub async fn fail() -> Result<View> {
    let booking = [("name", "Ada"), ("guests", "three hundred")];
    let (_, number) = booking[1];
    let guests: u8 = number.parse().context("reading the number of guests")?;
    Ok(View::new("home.html", guests.to_string()))
}
