//! The bytes of one connection: timed, and read along by the gate.

use super::Limits;
use super::connection::Entry;
use super::gate::Gate;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

/// What a connection can be made of; one type, so that hyper is compiled for one.
pub(super) enum Stream {
    Tcp(tokio::net::TcpStream),
    #[cfg(unix)]
    Unix(tokio::net::UnixStream),
    Other(Box<dyn Duplex>),
}

pub(super) trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

macro_rules! stream {
    ($stream:expr, $io:ident => $call:expr) => {
        match $stream {
            Stream::Tcp($io) => $call,
            #[cfg(unix)]
            Stream::Unix($io) => $call,
            Stream::Other($io) => $call,
        }
    };
}

/// How a connection begins that speaks HTTP/2 without having asked (RFC 9113 §3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// How long a connection that was told to end may take for it, and how long its last bytes are waited for.
const LINGER: Duration = Duration::from_secs(2);

/// How much of an unread request is thrown away so that its answer arrives.
const LINGER_BYTES: usize = 256 * 1024;

const TOO_SLOW: &[u8] = b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Version {
    Http1,
    Http2,
}

/// What the client is being waited for.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Await {
    /// The first byte of the next request, after so many.
    Request(u32),
    /// The rest of the head after so many.
    Head(u32),
    Body,
    /// The end of the connection.
    End,
}

/// A stream whose silences are limited.
///
/// There is one timer for each connection, and it is not touched by a request which arrives in one piece: a deadline is a
/// number noted down, and the timer, when it fires too early for it, is set again.
pub(super) struct Wire {
    io: Stream,
    entry: Entry,
    limits: Limits,
    version: Version,
    gate: Gate,
    /// What was read to find out the version.
    ahead: Vec<u8>,
    reading: Option<(Await, Instant)>,
    writing: Option<Instant>,
    timer: Option<Pin<Box<Sleep>>>,
    lingering: Option<usize>,
}

impl Wire {
    pub(super) fn new(io: Stream, entry: Entry, limits: Limits) -> Self {
        Self {
            io,
            entry,
            limits,
            version: Version::Http1,
            gate: Gate::new(),
            ahead: Vec::new(),
            reading: None,
            writing: None,
            timer: None,
            lingering: None,
        }
    }

    /// Finds out what the client speaks. An end before that is `None`.
    pub(super) async fn sniff(&mut self) -> io::Result<Option<Version>> {
        let mut buffer = vec![0; 2048];
        loop {
            let mut buf = ReadBuf::new(&mut buffer);
            let end = std::future::poll_fn(|cx| {
                if let Poll::Ready(result) = stream!(&mut self.io, io => Pin::new(io).poll_read(cx, &mut buf)) {
                    return Poll::Ready(result.map(|()| buf.filled().is_empty()));
                }
                // Nothing was said: nothing is lost. Some of it was said: it is waited for.
                if self.ahead.is_empty() && self.entry.slot().is_told() {
                    return Poll::Ready(Ok(true));
                }
                let expected = if self.ahead.is_empty() { Await::Request(0) } else { Await::Head(0) };
                self.poll_silence(cx, expected).map(|result| result.map(|()| true))
            });
            if end.await? {
                return Ok(None);
            }
            self.ahead.extend_from_slice(buf.filled());
            let known = self.ahead.len().min(PREFACE.len());
            if self.ahead[..known] != PREFACE[..known] {
                return Ok(Some(Version::Http1));
            }
            if known == PREFACE.len() {
                self.version = Version::Http2;
                self.gate.open();
                return Ok(Some(Version::Http2));
            }
        }
    }

    /// Whether the client has kept quiet for too long. `Ok`: an idle connection, which just ends.
    fn poll_silence(&mut self, cx: &mut Context<'_>, expected: Await) -> Poll<io::Result<()>> {
        let now = Instant::now();
        let deadline = match self.reading {
            Some((same, deadline)) if same == expected => deadline,
            _ => {
                let limit = match expected {
                    // A client that has just connected has a request in mind.
                    Await::Request(0) | Await::Head(_) => self.limits.header_timeout,
                    Await::Request(_) => self.limits.idle_timeout,
                    Await::Body => self.limits.body_timeout,
                    Await::End => LINGER,
                };
                if matches!(expected, Await::Request(_)) {
                    self.entry.rests(now);
                }
                let deadline = now + limit;
                self.reading = Some((expected, deadline));
                deadline
            }
        };
        if now < deadline {
            self.wake_at(cx, deadline);
            return Poll::Pending;
        }
        let slot = self.entry.slot();
        match expected {
            Await::Request(_) => {
                slot.tell();
                return Poll::Ready(Ok(()));
            }
            Await::Head(_) => {
                slot.note("the head of a request took too long: answered 408");
                // As much as the socket takes: there is nothing else in it, and a client which is not there loses nothing.
                let _ = stream!(&mut self.io, io => Pin::new(io).poll_write(cx, TOO_SLOW));
            }
            Await::Body => slot.note("the body of a request took too long"),
            Await::End => slot.note("the client does not close the connection"),
        }
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }

    /// Has the task woken at `deadline`, or before.
    fn wake_at(&mut self, cx: &mut Context<'_>, deadline: Instant) {
        let timer = match &mut self.timer {
            Some(timer) if timer.deadline() <= deadline && !timer.is_elapsed() => return,
            Some(timer) => {
                timer.as_mut().reset(deadline);
                timer
            }
            None => self.timer.insert(Box::pin(tokio::time::sleep_until(deadline))),
        };
        if timer.as_mut().poll(cx).is_ready() {
            cx.waker().wake_by_ref();
        }
    }

    fn poll_quiet_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let slot = self.entry.slot();
        // While something is being answered or written, it is the client that waits.
        let served = slot.served();
        let expected = if slot.is_upgraded() || self.writing.is_some() {
            None
        } else if self.gate.in_body() {
            Some(Await::Body)
        } else if self.gate.in_head() {
            Some(Await::Head(self.gate.heads()))
        } else if slot.is_busy() {
            None
        } else if slot.is_told() {
            Some(Await::End)
        } else {
            Some(Await::Request(served))
        };
        match expected {
            Some(expected) => match ready!(self.poll_silence(cx, expected)) {
                // The connection's driver sees right after this poll that it was told to end.
                Ok(()) => Poll::Pending,
                Err(error) => Poll::Ready(Err(error)),
            },
            None => {
                self.reading = None;
                Poll::Pending
            }
        }
    }

    /// Whether the client takes nothing for too long.
    fn poll_stalled(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let now = Instant::now();
        let limit = self.limits.write_timeout;
        let deadline = *self.writing.get_or_insert_with(|| now + limit);
        if now < deadline {
            self.wake_at(cx, deadline);
            return Poll::Pending;
        }
        self.entry.slot().note("the client does not take its answer");
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }

    fn wrote(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if written.is_pending() {
            return self.poll_stalled(cx);
        }
        self.writing = None;
        written
    }
}

impl AsyncRead for Wire {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        if !this.ahead.is_empty() {
            let taken = this.ahead.len().min(buf.remaining());
            buf.put_slice(&this.ahead[..taken]);
            this.ahead.drain(..taken);
        } else {
            match stream!(&mut this.io, io => Pin::new(io).poll_read(cx, buf)) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(error) => return Poll::Ready(error),
                Poll::Pending => return this.poll_quiet_read(cx),
            }
        }
        if let Err(spoilt) = this.gate.see(&buf.filled()[before..]) {
            this.entry.slot().note(spoilt.why);
            // hyper finds the NUL, and a head that ends: it answers 400 when what came before is answered.
            buf.set_filled(before + spoilt.at);
            if buf.remaining() < SPOILT.len() {
                return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
            }
            buf.put_slice(SPOILT);
        }
        // The time for a head runs from its first byte; every other wait begins anew.
        if this.version == Version::Http1 && !this.gate.in_head() {
            this.reading = None;
        }
        Poll::Ready(Ok(()))
    }
}

/// Neither a line nor the size of a chunk, with the end of a head after it.
const SPOILT: &[u8] = b"\0\n\n";

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = stream!(&mut this.io, io => Pin::new(io).poll_write(cx, bytes));
        this.wrote(cx, written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = stream!(&mut this.io, io => Pin::new(io).poll_write_vectored(cx, slices));
        this.wrote(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        stream!(&self.io, io => io.is_write_vectored())
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        stream!(&mut self.get_mut().io, io => Pin::new(io).poll_flush(cx))
    }

    /// Says goodbye. Where the client may still be sending, what it sends is thrown away for a while: a socket closed with
    /// unread bytes in it is reset, and the answer (413, say) would be lost on its way.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let mut seen = match this.lingering {
            Some(seen) => seen,
            None => {
                ready!(stream!(&mut this.io, io => Pin::new(io).poll_shutdown(cx)))?;
                if this.version == Version::Http2 || this.gate.is_between() {
                    return Poll::Ready(Ok(()));
                }
                this.reading = None;
                0
            }
        };
        let mut bytes = [0; 4096];
        loop {
            this.lingering = Some(seen);
            let mut buf = ReadBuf::new(&mut bytes);
            match stream!(&mut this.io, io => Pin::new(io).poll_read(cx, &mut buf)) {
                Poll::Ready(Ok(())) if buf.filled().is_empty() || seen > LINGER_BYTES => return Poll::Ready(Ok(())),
                Poll::Ready(Ok(())) => seen += buf.filled().len(),
                Poll::Ready(Err(_)) => return Poll::Ready(Ok(())),
                Poll::Pending => return this.poll_silence(cx, Await::End).map(|_| Ok(())),
            }
        }
    }
}
