//! The welcome page with its session counter, and two ways to fail.

use purlin::timing::{Timings, Way};
use purlin::{Context, Result, Session, View};
use serde::Serialize;

#[derive(Serialize)]
struct Home {
    visits: i64,
    way: Option<Way>,
}

/// `GET /`: counts the visits of this session; while you develop, shows the way of its request.
pub async fn show(session: Session, timings: Timings) -> Result<View> {
    let visits = session.increment("visits", 1)?;
    let way = timings.way_in();
    let way = way.map(|way| way.then("templates/home.html"));
    Ok(View::new("home.html", Home { visits, way }))
}

/// `GET /fail`: a failure on purpose, to meet the page it gets. Delete it, and its route.
pub async fn fail() -> Result<View> {
    let booking = [("name", "Ada"), ("guests", "three hundred")];
    let (_, number) = booking[1];
    let guests: u8 = number.parse().context("reading the number of guests")?;
    Ok(View::new("home.html", guests.to_string()))
}

/// `GET /fail/page`: a page whose template misses what it shows. Delete it, and its route.
pub async fn fail_page() -> View {
    View::new("home.html", ())
}
