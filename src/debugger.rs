//! The debugger in the browser: what the layer `Debugger` stands on. Debug builds only.
//!
//! The layer looks at each failed answer and keeps a [`Record`](record::Record) of it; the page at `/_debug/ID` shows it, and asks
//! the [`Engine`](engine::Engine) for the values of variables. All of it is behind the [`Guard`](guard::Guard).

mod console;
mod engine;
mod guard;
mod highlight;
mod page;
mod record;
mod tell;
mod workbench;

pub(crate) use engine::{Captured, Watching, capture};
pub(crate) use workbench::Workbench;
