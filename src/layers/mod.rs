//! The layers: one file, one struct, one `handle` each. None of them imports another.

mod access_log;
mod body_limit;
#[cfg(feature = "database")]
mod commit_when;
#[cfg(feature = "compression")]
mod compression;
mod deadline;
mod error_pages;
mod request_ids;
mod security_headers;
mod sessions;
mod static_files;
mod templates;
#[cfg(feature = "database")]
mod transaction;
#[cfg(feature = "multipart")]
mod uploads;

pub use access_log::AccessLog;
pub use body_limit::BodyLimit;
#[cfg(feature = "database")]
pub use commit_when::CommitWhen;
#[cfg(feature = "compression")]
pub use compression::Compression;
pub use deadline::Deadline;
pub use error_pages::ErrorPages;
pub use request_ids::RequestIds;
pub use security_headers::SecurityHeaders;
pub use sessions::Sessions;
pub use static_files::{FileService, StaticFiles};
pub use templates::Templates;
#[cfg(feature = "database")]
pub use transaction::Transaction;
#[cfg(feature = "multipart")]
pub use uploads::Uploads;
