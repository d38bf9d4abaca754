//! The page {{ path }}.

use purlin::View;

/// `GET {{ path }}`
pub async fn show() -> View {
    View::new("{{ name.snake }}.html", ())
}
