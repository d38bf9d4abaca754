//! CGI/1.1 (RFC 3875), with the feature `cgi`, on unix: programs that answer requests, and the parts that they are made of.
//!
//! - [`Cgi`] starts a program for each request: one program, or the scripts of a folder. [`FastCgi`](crate::fastcgi::FastCgi) asks
//!   a server of such programs instead, as php-fpm.
//! - [`Variables`] is a request as meta-variables (§4.1), [`HeadReader`] reads what a program answers (§6). Both know nothing of
//!   processes.
//! - The other way round, a site is a CGI program itself where a web server starts it as one: [`run`](crate::run()) sees that by
//!   `GATEWAY_INTERFACE`, and [`Server::answer_cgi`](crate::Server::answer_cgi) does it without `run`.

mod head;
mod input;
mod output;
mod program;
mod scripts;
mod variables;

pub use head::{Head, HeadError, HeadReader};
pub use program::Cgi;
pub use variables::{RemoteUser, Script, Variables};

pub(crate) use input::{Input, Progress, Spool};
pub(crate) use output::{Output, channel};
pub(crate) use program::Log;
pub(crate) use scripts::{Found, find, plain_path};
pub(crate) use variables::split_mount;
