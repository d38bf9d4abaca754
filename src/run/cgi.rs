//! A site that a web server starts for one request: it is a CGI program then, whatever its command line says.

use super::{Assembly, warn};
use crate::config::Config;
use crate::{Context as _, Result, Server, log};

/// Whether this process is a CGI program: its environment says so (RFC 3875 §4.1.4).
pub(super) fn is_asked() -> bool {
    std::env::var("GATEWAY_INTERFACE").is_ok_and(|gateway| gateway.starts_with("CGI/"))
}

/// Answers the request. Nothing but the answer goes to standard output.
///
/// The arguments are not looked at: some web servers make them of the query (§4.4), and so the client would choose the command.
pub(super) fn answer(stack: Assembly) -> Result<()> {
    let config = Config::load()?;
    log::start(&config.log)?;
    warn(&config);
    let server = Server::from_config(&config.server);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("starting the runtime")?;
    let answered = runtime.block_on(async { server.answer_cgi(stack(config, None)?).await });
    // A read of standard input that nobody waits for must not keep the process.
    runtime.shutdown_background();
    answered
}
