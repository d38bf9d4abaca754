//! The bytes of one connection: timed, and read along by the gate.

use super::Limits;
use super::connection::{Entry, Half};
use super::gate::Gate;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};
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

/// Up to how many bytes are copied in order to write them at once.
const SMALL: usize = 2048;

/// As many bytes of answers to requests that came together are written at once.
const TOGETHER: usize = 16 * 1024;

const TOO_SLOW: &[u8] = b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";

const TOO_LONG: &[u8] = b"HTTP/1.1 414 URI Too Long\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";

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
    /// The last answer is on its way; so many bytes have been thrown away since.
    lingering: Option<usize>,
    /// Small pieces, put together to be written, and how many of their bytes were.
    small: Vec<u8>,
    sent: usize,
    /// Something has come to them since they were last to be written.
    grown: bool,
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
            small: Vec::new(),
            sent: 0,
            grown: false,
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

    /// Until when this is waited for.
    fn deadline(&mut self, expected: Await) -> Instant {
        if let Some((same, deadline)) = self.reading
            && same == expected
        {
            return self.no_later(expected, deadline);
        }
        let deadline = match expected {
            // A client that has just connected has a request in mind.
            Await::Request(0) => self.entry.slot().since() + self.limits.header_timeout,
            Await::Request(_) => self.entry.slot().since() + self.limits.idle_timeout,
            Await::Head(_) => Instant::now() + self.limits.header_timeout,
            Await::Body => Instant::now() + self.limits.body_timeout,
            Await::End => Instant::now() + LINGER,
        };
        self.reading = Some((expected, deadline));
        self.no_later(expected, deadline)
    }

    /// The drain, which begins at any time, waits less long for another request.
    fn no_later(&self, expected: Await, deadline: Instant) -> Instant {
        match expected {
            Await::Request(_) => self.entry.slot().rests_until().map_or(deadline, |rested| rested.min(deadline)),
            _ => deadline,
        }
    }

    /// Whether the client has kept quiet for too long. `Ok`: an idle connection, which just ends.
    fn poll_silence(&mut self, cx: &mut Context<'_>, expected: Await) -> Poll<io::Result<()>> {
        let deadline = self.deadline(expected);
        if Instant::now() < deadline {
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
                slot.note("the head of a request took too long");
                if self.is_quiet() {
                    return self.poll_last_answer(cx, TOO_SLOW).map(Err);
                }
            }
            Await::Body => slot.note("the body of a request took too long"),
            Await::End => slot.note("the client does not close the connection"),
        }
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }

    /// Nothing is being answered, and no answer is on its way.
    fn is_quiet(&self) -> bool {
        self.writing.is_none() && !self.entry.slot().is_busy()
    }

    /// Answers past hyper, which has nothing to say at the moment, and ends. As much as the socket takes: a client which does
    /// not take even that loses nothing.
    fn poll_last_answer(&mut self, cx: &mut Context<'_>, answer: &[u8]) -> Poll<io::Error> {
        let _ = stream!(&mut self.io, io => Pin::new(io).poll_write(cx, answer));
        let _ = stream!(&mut self.io, io => Pin::new(io).poll_shutdown(cx));
        self.lingering = Some(0);
        self.poll_linger(cx).map(|()| io::ErrorKind::TimedOut.into())
    }

    /// Throws away what the client is still sending, for a while: a socket closed with unread bytes in it is reset, and the
    /// answer (413, say) would be lost on its way.
    fn poll_linger(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut bytes = [0; 4096];
        while self.lingering.is_some_and(|seen| seen < LINGER_BYTES) {
            let mut buf = ReadBuf::new(&mut bytes);
            match stream!(&mut self.io, io => Pin::new(io).poll_read(cx, &mut buf)) {
                Poll::Ready(Ok(())) if !buf.filled().is_empty() => {
                    self.lingering = self.lingering.map(|seen| seen + buf.filled().len());
                }
                Poll::Ready(_) => break,
                Poll::Pending => return self.poll_silence(cx, Await::End).map(|_| ()),
            }
        }
        Poll::Ready(())
    }

    /// Has the task woken at `deadline`, or before.
    fn wake_at(&mut self, cx: &mut Context<'_>, deadline: Instant) {
        let timer = match &mut self.timer {
            // An upgraded connection has left the task that the timer would wake.
            Some(timer) if timer.deadline() <= deadline && !timer.is_elapsed() && !self.entry.slot().is_upgraded() => {
                return;
            }
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

    /// What the client is being waited for, if anything: while something is answered or written, it is the client that waits.
    fn expected(&self) -> Option<Await> {
        let slot = self.entry.slot();
        if slot.is_upgraded() || self.writing.is_some() {
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
            Some(Await::Request(slot.served()))
        }
    }

    fn poll_quiet_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(expected) = self.expected() else {
            self.reading = None;
            return Poll::Pending;
        };
        match ready!(self.poll_silence(cx, expected)) {
            // The connection's driver sees right after this poll that it was told to end.
            Ok(()) => Poll::Pending,
            Err(error) => Poll::Ready(Err(error)),
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

    /// The server has cut a connection that was upgraded. Asked after the waker was left, or the word could come in between.
    fn cut_off(&self, half: Half, cx: &Context<'_>) -> io::Result<()> {
        let slot = self.entry.slot();
        if slot.is_upgraded() {
            slot.wakes(half, cx);
            if slot.is_cut_off() {
                return Err(io::ErrorKind::ConnectionAborted.into());
            }
        }
        Ok(())
    }

    /// Writes the small pieces.
    fn poll_small(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.entry.slot().keeps(false);
        while self.sent < self.small.len() {
            let written = stream!(&mut self.io, io => Pin::new(io).poll_write(cx, &self.small[self.sent..]));
            match ready!(self.wrote(cx, written))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => self.sent += written,
            }
        }
        self.sent = 0;
        self.small.clear();
        self.small.shrink_to(SMALL);
        Poll::Ready(Ok(()))
    }

    /// Whether the answer that has just come may wait for the next one, so that both are written at once: the request for that is
    /// here, whole but for its body, and nobody else is being answered. If nothing new has come since then, its handler waits; one that
    /// works instead has both answered when it is done.
    fn waits_for_more(&mut self) -> bool {
        let slot = self.entry.slot();
        std::mem::take(&mut self.grown)
            && self.small.len() < TOGETHER
            && slot.served() < self.gate.heads()
            && !slot.is_busy()
            && !slot.is_upgraded()
    }

    fn wrote(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if written.is_pending() {
            return self.poll_stalled(cx);
        }
        if self.writing.take().is_some() {
            self.entry.slot().rests();
        }
        written
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        // hyper ends without a flush where the next request is none: to it, what waits here has been sent.
        if self.sent < self.small.len() {
            let mut cx = Context::from_waker(Waker::noop());
            let _ = stream!(&mut self.io, io => Pin::new(io).poll_write(&mut cx, &self.small[self.sent..]));
        }
        if self.writing.is_some() {
            self.entry.slot().leaves_unwritten();
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.lingering.is_some() {
            ready!(this.poll_linger(cx));
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        this.cut_off(Half::Read, cx)?;
        if !this.small.is_empty() && this.entry.slot().is_upgraded() {
            // Who has taken the connection over may wait for an answer to what has not left yet.
            let _ = this.poll_small(cx)?;
        }
        let before = buf.filled().len();
        if !this.ahead.is_empty() {
            let taken = this.ahead.len().min(buf.remaining());
            buf.put_slice(&this.ahead[..taken]);
            this.ahead.drain(..taken);
        } else {
            match stream!(&mut this.io, io => Pin::new(io).poll_read(cx, buf)) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(error) => return Poll::Ready(error),
                // To who reads it now, the end of the server is the end of the client.
                Poll::Pending if this.entry.slot().ends_upgraded() => {
                    return Poll::Ready(Ok(()));
                }
                Poll::Pending => return this.poll_quiet_read(cx),
            }
        }
        if this.entry.slot().is_upgraded() {
            return Poll::Ready(Ok(()));
        }
        if let Err(spoilt) = this.gate.see(&buf.filled()[before..]) {
            this.entry.slot().note(spoilt.why);
            // So hyper answers 400 itself, when what came before is answered; or the body breaks off.
            buf.set_filled(before + spoilt.at);
            if buf.remaining() < SPOILT.len() {
                return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
            }
            buf.put_slice(SPOILT);
        }
        if this.gate.request_line() >= this.limits.max_header_bytes && this.is_quiet() {
            // hyper would find the head too large; that it is the target helps whoever sent a form by GET (RFC 9110 §15.5.15).
            this.entry.slot().note("the target is too long");
            buf.set_filled(before);
            return this.poll_last_answer(cx, TOO_LONG).map(Err);
        }
        // The time for a head runs from its first byte; every other wait begins anew.
        if this.version == Version::Http1 && !this.gate.in_head() {
            this.reading = None;
        }
        Poll::Ready(Ok(()))
    }
}

/// What hyper refuses wherever it stands: in a head, which ends with it; in the size of a chunk, its extension, the line after
/// it, and in a trailer, where it takes a CR that no LF follows.
const SPOILT: &[u8] = b"\0\r\0\n\n";

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.cut_off(Half::Write, cx)?;
        let length: usize = slices.iter().map(|slice| slice.len()).sum();
        // Who has taken the connection over need not flush.
        let at_once = length > SMALL || this.entry.slot().is_upgraded();
        if at_once || this.sent > 0 || this.small.len() + length > TOGETHER {
            ready!(this.poll_small(cx))?;
        }
        if !at_once {
            // A head and a small body: the kernel takes one piece for less than it takes a list of two.
            slices.iter().for_each(|slice| this.small.extend_from_slice(slice));
            this.grown = true;
            return Poll::Ready(Ok(length));
        }
        let written = stream!(&mut this.io, io => Pin::new(io).poll_write_vectored(cx, slices));
        this.wrote(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        stream!(&self.io, io => io.is_write_vectored())
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.small.is_empty() {
            if this.waits_for_more() {
                this.entry.slot().keeps(true);
                return Poll::Ready(Ok(()));
            }
            ready!(this.poll_small(cx))?;
        }
        let flushed = stream!(&mut this.io, io => Pin::new(io).poll_flush(cx));
        // A socket has nothing to flush. TLS has, and what it holds is no less for the client to take.
        if flushed.is_pending() {
            return this.poll_stalled(cx).map_ok(drop);
        }
        if matches!(this.io, Stream::Other(_)) && this.writing.take().is_some() {
            this.entry.slot().rests();
        }
        // hyper does not read again for the next request: it waits for the wake-up of the read that found nothing while the
        // last one was answered. The wait for it begins here.
        if this.reading.is_none()
            && let Some(expected @ Await::Request(_)) = this.expected()
        {
            if this.entry.slot().is_wanted() && expected != Await::Request(0) {
                this.entry.slot().tell();
            }
            let deadline = this.deadline(expected);
            this.wake_at(cx, deadline);
        }
        flushed
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.lingering.is_none() {
            ready!(this.poll_small(cx))?;
            let shut = stream!(&mut this.io, io => Pin::new(io).poll_shutdown(cx));
            if shut.is_pending() {
                return this.poll_stalled(cx).map_ok(drop);
            }
            ready!(shut)?;
            if this.version == Version::Http2 || this.gate.is_between() {
                return Poll::Ready(Ok(()));
            }
            this.reading = None;
            this.lingering = Some(0);
        }
        this.poll_linger(cx).map(Ok)
    }
}
