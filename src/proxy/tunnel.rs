//! A tunnel: two connections that have become something else than HTTP, joined.

use super::pool::Lease;
use crate::lock::locked;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, sleep, timeout};

/// Both ways, until both have ended, one fails, or nothing has passed for so long. Its place is taken until then.
pub(crate) async fn tunnel(client: OnUpgrade, server: OnUpgrade, limit: Duration, lease: Lease) {
    let upgrades = async { Ok::<_, hyper::Error>((client.await?, server.await?)) };
    // The client has to take the head of the answer first.
    let Ok(Ok((client, server))) = timeout(limit, upgrades).await else { return };
    let quiet = Arc::new(Mutex::new(Quiet { limit, until: Instant::now() + limit }));
    let mut client = Passing { io: TokioIo::new(client), quiet: quiet.clone() };
    let mut server = Passing { io: TokioIo::new(server), quiet: quiet.clone() };
    let mut copied = pin!(tokio::io::copy_bidirectional(&mut client, &mut server));
    let mut timer = pin!(sleep(limit));
    poll_fn(|cx| {
        // Which of them broke off makes no difference to the other.
        if copied.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        let until = locked(&quiet).until;
        if timer.deadline() != until {
            timer.as_mut().reset(until);
        }
        timer.as_mut().poll(cx)
    })
    .await;
    drop(lease);
}

/// How long one end of a tunnel may keep quiet after the other has ended.
const LINGER: Duration = Duration::from_secs(1);

/// Until when something has to pass through a tunnel.
struct Quiet {
    limit: Duration,
    until: Instant,
}

/// One end of a tunnel.
struct Passing {
    io: TokioIo<Upgraded>,
    quiet: Arc<Mutex<Quiet>>,
}

impl Passing {
    fn passed(&self, ended: bool) {
        let mut quiet = locked(&self.quiet);
        if ended {
            quiet.limit = quiet.limit.min(LINGER);
        }
        quiet.until = Instant::now() + quiet.limit;
    }
}

impl AsyncRead for Passing {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.io).poll_read(cx, buf);
        if read.is_ready() {
            self.passed(buf.filled().len() == before);
        }
        read
    }
}

impl AsyncWrite for Passing {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write(cx, bytes);
        if written.is_ready() {
            self.passed(false);
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
