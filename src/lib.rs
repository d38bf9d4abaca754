//! Purlin: a full-stack web framework that is nothing but an ordinary chain of layers.
//!
//! A site is a [`Stack`]: layers, outermost first, around a [`Router`]. A layer is a type with one method,
//! [`Middleware::handle`]; everything a full-stack framework does stands in the site's own `src/stack.rs` as one such
//! line, to be moved, removed or replaced.
//!
//! ```
//! use purlin::layers::{AccessLog, RequestIds};
//! use purlin::{Path, Router, Stack, get};
//!
//! async fn hello(Path(name): Path<String>) -> String {
//!     format!("Hello, {name}!")
//! }
//!
//! let app = Stack::new()
//!     .layer(RequestIds::new())
//!     .layer(AccessLog::new())
//!     .app(Router::new().route("/hello/{name}", get(hello)));
//! # app.check().unwrap();
//! ```
//!
//! # The map
//!
//! - Core: [`service`] (the contract), [`stack`], [`site`] (what an application is made of), [`request`], [`response`],
//!   [`body`], [`error`].
//! - Nouns: [`router`], [`handler`](mod@handler), [`extract`], [`form`], [`template`], [`session`], `auth`, [`config`],
//!   [`assets`], [`cookie`], [`csrf`], [`report`], [`sse`] (server-sent events), `upload` (forms with files), [`pool`] (threads for what
//!   blocks), [`rate`], [`timing`], `metrics`, `traces`, and the hard parts of HTTP: [`negotiate`], [`conditional`], [`freshness`], [`range`],
//!   [`media_type`], `trace_context` and [`lint`] (what is forbidden).
//! - Applications put together: [`hosts`], [`cascade`], [`forward`], [`document`], [`forwarded`], [`capabilities`], `proxy`,
//!   `cgi`, `fastcgi`, `websocket` and `wsgi`.
//! - [`layers`]: one file, one struct, one `handle` each.
//! - Edges: [`server`], `notify` (systemd), [`run()`] (the command line of a site), `deploy` (applications from a file), [`log`],
//!   [`testing`], and tower both ways.
//!
//! [`guide`] is the guide: from the first site to several machines, and how to replace each layer.

pub mod body;
pub mod error;
mod panic;
mod recording;
pub mod request;
pub mod response;
pub mod service;
pub mod site;
pub mod stack;

mod ahead;
pub mod assets;
#[cfg(feature = "auth")]
pub mod auth;
#[cfg(feature = "cache")]
pub mod cache;
pub mod capabilities;
pub mod cascade;
#[cfg(all(feature = "cgi", unix))]
pub mod cgi;
pub mod conditional;
pub mod config;
pub mod cookie;
mod cors;
#[cfg(all(unix, feature = "workers"))]
mod crossing;
pub mod csrf;
#[cfg(feature = "database")]
pub mod database;
#[cfg(all(feature = "debugger", debug_assertions))]
mod debugger;
pub mod document;
#[cfg(debug_assertions)]
mod editor;
#[cfg(feature = "compression")]
mod encode;
mod excerpt;
pub mod extract;
mod failure;
#[cfg(all(feature = "cgi", unix))]
pub mod fastcgi;
mod files;
pub mod form;
pub mod forward;
pub mod forwarded;
pub mod freshness;
pub mod handler;
pub mod hosts;
pub mod lint;
#[cfg(debug_assertions)]
mod live;
mod lock;
pub mod media_type;
// `Csrf` and `MethodOverride` read ahead by it.
#[cfg(feature = "metrics")]
pub mod metrics;
#[cfg_attr(not(feature = "multipart"), allow(dead_code))]
mod multipart;
mod nearest;
pub mod negotiate;
#[cfg(unix)]
pub mod notify;
#[cfg(any(feature = "opentelemetry", feature = "webhook"))]
mod outbound;
#[cfg(feature = "cache")]
pub mod pages;
mod paths;
pub mod pool;
#[cfg(feature = "proxy")]
pub mod proxy;
mod race;
pub mod range;
pub mod rate;
#[cfg(feature = "redis")]
mod redis_link;
mod replay;
pub mod report;
mod rewrite;
pub mod router;
#[cfg(any(feature = "auth", feature = "cookie-sessions"))]
pub mod seal;
pub mod session;
mod spare;
pub mod sse;
// What starts other programs: which of it is used depends on the features.
#[cfg(unix)]
// A program is started in many ways, of which no feature alone has all.
#[cfg_attr(not(all(feature = "workers", feature = "wsgi")), allow(dead_code))]
mod spawn;
mod static_urls;
#[cfg(unix)]
#[cfg_attr(not(all(feature = "workers", feature = "wsgi")), allow(dead_code))]
mod supervisor;
pub mod template;
pub mod timing;
#[cfg(feature = "opentelemetry")]
pub mod trace_context;
#[cfg(feature = "opentelemetry")]
pub mod traces;
#[cfg(feature = "multipart")]
pub mod upload;

#[cfg(feature = "websocket")]
pub mod websocket;
#[cfg(all(feature = "wsgi", unix))]
pub mod wsgi;

pub mod layers;

// A chapter leads to others by their names: to modules here, which rustdoc checks, and to files where it is read as a file, by its
// last lines. Of two definitions of a name Markdown takes the first. (The line of an example that fails is counted from the first
// line of `chapters.txt`.)
#[doc = include_str!("../docs/chapters.txt")]
#[doc = include_str!("../docs/guide.md")]
pub mod guide {
    #[doc = include_str!("../docs/chapters.txt")]
    #[doc = include_str!("../docs/first_site.md")]
    pub mod first_site {}

    #[doc = include_str!("../docs/chapters.txt")]
    #[doc = include_str!("../docs/dev.md")]
    pub mod dev {}

    #[doc = include_str!("../docs/chapters.txt")]
    #[doc = include_str!("../docs/adding.md")]
    pub mod adding {}

    #[doc = include_str!("../docs/chapters.txt")]
    #[doc = include_str!("../docs/stack.md")]
    pub mod stack {}

    #[doc = include_str!("../docs/chapters.txt")]
    #[doc = include_str!("../docs/replacing.md")]
    pub mod replacing {}

    #[doc = include_str!("../docs/chapters.txt")]
    #[doc = include_str!("../docs/layers.md")]
    pub mod layers {}

    #[doc = include_str!("../docs/chapters.txt")]
    #[doc = include_str!("../docs/writing_a_layer.md")]
    pub mod writing_a_layer {}

    #[doc = include_str!("../docs/chapters.txt")]
    #[doc = include_str!("../docs/composing.md")]
    pub mod composing {}

    #[doc = include_str!("../docs/chapters.txt")]
    #[doc = include_str!("../docs/handlers.md")]
    pub mod handlers {}

    #[doc = include_str!("../docs/chapters.txt")]
    #[doc = include_str!("../docs/templates.md")]
    pub mod templates {}

    #[doc = include_str!("../docs/chapters.txt")]
    #[doc = include_str!("../docs/forms.md")]
    pub mod forms {}

    #[doc = include_str!("../docs/chapters.txt")]
    #[doc = include_str!("../docs/sessions.md")]
    pub mod sessions {}

    #[doc = include_str!("../docs/chapters.txt")]
    #[doc = include_str!("../docs/sign_in.md")]
    pub mod sign_in {}

    #[doc = include_str!("../docs/chapters.txt")]
    #[doc = include_str!("../docs/database.md")]
    pub mod database {}

    #[doc = include_str!("../docs/chapters.txt")]
    #[doc = include_str!("../docs/errors.md")]
    pub mod errors {}

    #[doc = include_str!("../docs/chapters.txt")]
    #[doc = include_str!("../docs/pages.md")]
    pub mod pages {}

    #[cfg(feature = "websocket")]
    #[doc = include_str!("../docs/chapters.txt")]
    #[doc = include_str!("../docs/realtime.md")]
    pub mod realtime {}

    #[doc = include_str!("../docs/chapters.txt")]
    #[doc = include_str!("../docs/network.md")]
    pub mod network {}

    #[doc = include_str!("../docs/chapters.txt")]
    #[doc = include_str!("../docs/configuration.md")]
    pub mod configuration {}

    #[doc = include_str!("../docs/chapters.txt")]
    #[doc = include_str!("../docs/testing.md")]
    pub mod testing {}

    #[doc = include_str!("../docs/chapters.txt")]
    #[doc = include_str!("../docs/running.md")]
    pub mod running {}

    #[doc = include_str!("../docs/chapters.txt")]
    #[doc = include_str!("../docs/deployment.md")]
    pub mod deployment {}

    #[doc = include_str!("../docs/chapters.txt")]
    #[doc = include_str!("../docs/scaling.md")]
    pub mod scaling {}

    #[doc = include_str!("../docs/chapters.txt")]
    #[doc = include_str!("../docs/from_axum.md")]
    pub mod from_axum {}

    #[doc = include_str!("../docs/chapters.txt")]
    #[doc = include_str!("../docs/from_flask.md")]
    pub mod from_flask {}

    #[doc = include_str!("../docs/chapters.txt")]
    #[doc = include_str!("../docs/from_pylons.md")]
    pub mod from_pylons {}

    #[doc = include_str!("../docs/chapters.txt")]
    #[doc = include_str!("../docs/from_rails.md")]
    pub mod from_rails {}
}

#[cfg(feature = "deploy")]
pub mod deploy;
#[cfg(feature = "tower")]
pub mod interop;
pub mod log;
mod run;
pub mod server;
pub mod testing;

pub use assets::Assets;
pub use body::Body;
pub use cascade::Cascade;
pub use config::Config;
pub use csrf::CsrfToken;
pub use error::{Context, Error, Result};
pub use excerpt::Excerpt;
pub use extract::{Cookies, Form, FromRequest, Json, Path, Query, State, Urls};
#[cfg(feature = "multipart")]
pub use extract::{Multipart, MultipartForm};
pub use form::Submitted;
pub use handler::{Handler, handler};
pub use hosts::Hosts;
#[cfg(feature = "tower")]
pub use interop::{tower, tower_service};
pub use request::{Connection, Request, RequestExt, RequestId};
pub use response::{Html, IntoResponse, Redirect, Response, ResponseExt, html, text};
pub use router::{MatchedRoute, Route, Router, TrailingSlash, any, delete, get, head, options, patch, post, put};
pub use run::run;
pub use server::Server;
pub use service::{BoxMiddleware, BoxService, Middleware, Next, Service};
pub use session::Session;
pub use stack::{App, Stack};
pub use static_urls::StaticUrls;
pub use template::View;
#[cfg(feature = "multipart")]
pub use upload::Upload;

pub use bytes::Bytes;
pub use http::{self, HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};
pub use purlin_embed::{embed, test};
#[cfg(feature = "database")]
pub use sqlx;
pub use tracing;
