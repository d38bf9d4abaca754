//! Feeds systemd's watchdog, as long as the server accepts connections and answers.

use crate::config::Listen;
use crate::notify::Notify;
use std::io;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, sleep_until, timeout_at};

/// Asks whether the server is there (RFC 9110 §9.3.7), which the server answers by itself: no layer sees it, no log has it.
const ASK: &[u8] = b"OPTIONS * HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

/// Asks at each address, twice in the time that the watchdog waits. What hangs (the runtime, all of its threads blocked; the task
/// that accepts; the system's queue) is not fed for.
pub(super) async fn feed(notify: Notify, addresses: Vec<Listen>) {
    let Some(every) = notify.watchdog() else { return };
    let half = every / 2;
    loop {
        let next = Instant::now() + half;
        match all_answer(&addresses, next).await {
            Ok(()) => notify.fed(),
            Err(error) => {
                tracing::error!(target: "purlin::restart", %error, "the server does not answer itself: no word to the watchdog")
            }
        }
        sleep_until(next).await;
    }
}

async fn all_answer(addresses: &[Listen], until: Instant) -> io::Result<()> {
    for address in addresses {
        match timeout_at(until, answers(address)).await {
            Ok(answered) => answered?,
            Err(_) => return Err(io::Error::new(io::ErrorKind::TimedOut, format!("no answer from {address}"))),
        }
    }
    Ok(())
}

async fn answers(address: &Listen) -> io::Result<()> {
    match address {
        Listen::Tcp(address) => ask(tokio::net::TcpStream::connect(super::reachable(*address)).await?).await,
        // One without a path was made by somebody else.
        Listen::Unix(path) if !path.as_os_str().is_empty() => ask(tokio::net::UnixStream::connect(path).await?).await,
        _ => Ok(()),
    }
}

async fn ask(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> io::Result<()> {
    stream.write_all(ASK).await?;
    let mut answer = [0; 9];
    stream.read_exact(&mut answer).await?;
    match &answer {
        b"HTTP/1.1 " => Ok(()),
        other => {
            Err(io::Error::other(format!("expected an answer in HTTP/1.1, found {:?}", String::from_utf8_lossy(other))))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handler;
    use crate::server::Server;
    use std::time::Duration;

    #[tokio::test]
    async fn a_server_that_serves_answers_itself_and_one_that_only_listens_does_not() {
        let bound = Server::new().listen("127.0.0.1:0".parse().unwrap()).bind().unwrap();
        let addresses = bound.addresses().to_vec();
        let soon = || Instant::now() + Duration::from_millis(50);
        let error = all_answer(&addresses, soon()).await.unwrap_err();
        assert_eq!(error.to_string(), format!("no answer from {}", addresses[0]));
        let served = tokio::spawn(bound.serve(handler(async || "hello"), std::future::pending()));
        all_answer(&addresses, Instant::now() + Duration::from_secs(60)).await.unwrap();
        served.abort();
        let _ = served.await;
        assert!(all_answer(&addresses, soon()).await.is_err());
    }
}
