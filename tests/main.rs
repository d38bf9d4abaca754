//! What Purlin promises, through its public API: a file per promise.

mod access_log;
#[cfg(all(feature = "auth", feature = "cookie-sessions"))]
mod auth;
mod blocking;
mod body_limit;
#[cfg(feature = "cache")]
mod cache;
mod capabilities;
mod cascade;
#[cfg(all(feature = "cgi", unix))]
mod cgi;
#[cfg(feature = "compression")]
mod compression;
mod contract;
mod cors;
#[cfg(feature = "tera")]
mod csrf;
#[cfg(feature = "database")]
mod database;
mod deadline;
// What a release build does not contain is not tested in one.
#[cfg(all(feature = "debugger", feature = "tera", debug_assertions))]
mod debugger;
#[cfg(feature = "deploy")]
mod deploy;
mod error_documents;
mod error_pages;
mod etags;
#[cfg(all(feature = "cgi", unix))]
mod fastcgi;
#[cfg(feature = "tera")]
mod forms;
mod forwards;
mod guide;
mod handlers;
mod hosts;
mod lint;
mod live_reload;
mod log;
mod method_override;
#[cfg(feature = "metrics")]
mod metrics;
#[cfg(feature = "cache")]
mod page_cache;
#[cfg(feature = "proxy")]
mod proxy;
mod rate_limit;
mod redirects;
#[cfg(all(feature = "redis", unix))]
mod redis;
mod report;
mod request_ids;
mod router;
#[cfg(all(feature = "auth", feature = "redis", unix))]
mod scaling;
mod security_headers;
mod server;
mod server_timing;
mod servers;
#[cfg(feature = "cookie-sessions")]
mod sessions;
#[cfg(any(feature = "sqlite", all(feature = "postgres", unix)))]
mod sessions_in_sql;
mod sse;
mod stack;
mod static_files;
#[cfg(feature = "tera")]
mod templates;
mod testing;
#[cfg(all(feature = "tls", unix))]
mod tls;
#[cfg(feature = "tower")]
mod tower;
#[cfg(feature = "opentelemetry")]
mod traces;
mod trusted_proxies;
#[cfg(feature = "multipart")]
mod uploads;
#[cfg(feature = "websocket")]
mod websocket;
#[cfg(all(feature = "wsgi", unix))]
mod wsgi;
