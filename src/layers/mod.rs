//! The layers: one file, one struct, one `handle` each. None of them imports another.

mod access_log;
#[cfg(feature = "auth")]
mod basic_auth;
#[cfg(feature = "auth")]
mod bearer_auth;
mod blocking;
mod body_limit;
#[cfg(feature = "cache")]
mod cache_for;
#[cfg(feature = "database")]
mod commit_when;
#[cfg(feature = "compression")]
mod compression;
mod cors;
mod csrf;
mod csrf_exempt;
mod deadline;
#[cfg(feature = "debugger")]
mod debugger;
mod error_documents;
mod error_pages;
mod etags;
mod field_limit;
mod forwards;
mod lint;
mod live_reload;
mod method_override;
#[cfg(feature = "metrics")]
mod metrics;
#[cfg(feature = "cache")]
mod page_cache;
mod rate_limit;
mod redirects;
mod request_ids;
#[cfg(feature = "auth")]
mod require;
mod security_headers;
mod server_timing;
mod sessions;
#[cfg(feature = "auth")]
mod sign_in;
mod static_files;
mod templates;
#[cfg(feature = "opentelemetry")]
mod traces;
#[cfg(feature = "database")]
mod transaction;
mod trusted_proxies;
#[cfg(feature = "multipart")]
mod uploads;
mod when;
#[cfg(all(unix, feature = "workers"))]
mod workers;

pub use access_log::AccessLog;
#[cfg(feature = "auth")]
pub use basic_auth::BasicAuth;
#[cfg(feature = "auth")]
pub use bearer_auth::BearerAuth;
pub use blocking::Blocking;
pub use body_limit::BodyLimit;
#[cfg(feature = "cache")]
pub use cache_for::CacheFor;
#[cfg(feature = "database")]
pub use commit_when::CommitWhen;
#[cfg(feature = "compression")]
pub use compression::Compression;
pub use cors::Cors;
pub use csrf::Csrf;
pub use csrf_exempt::CsrfExempt;
pub use deadline::Deadline;
#[cfg(feature = "debugger")]
pub use debugger::Debugger;
pub use error_documents::ErrorDocuments;
pub use error_pages::ErrorPages;
pub use etags::ETags;
pub use field_limit::FieldLimit;
pub use forwards::Forwards;
pub use lint::Lint;
pub use live_reload::LiveReload;
pub use method_override::MethodOverride;
#[cfg(feature = "metrics")]
pub use metrics::Metrics;
#[cfg(feature = "cache")]
pub use page_cache::PageCache;
pub use rate_limit::RateLimit;
pub use redirects::{Redirects, Slash};
pub use request_ids::RequestIds;
#[cfg(feature = "auth")]
pub use require::Require;
pub use security_headers::SecurityHeaders;
pub use server_timing::ServerTiming;
pub use sessions::Sessions;
#[cfg(feature = "auth")]
pub use sign_in::SignIn;
pub use static_files::{FileService, StaticFiles};
pub use templates::Templates;
#[cfg(feature = "opentelemetry")]
pub use traces::Traces;
#[cfg(feature = "database")]
pub use transaction::Transaction;
pub use trusted_proxies::TrustedProxies;
#[cfg(feature = "multipart")]
pub use uploads::Uploads;
pub use when::{When, lacking};
#[cfg(all(unix, feature = "workers"))]
pub use workers::Workers;
