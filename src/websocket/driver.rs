//! The connection itself: reads, writes, answers pings, closes in order, and passes messages to and from its handles.

use super::frame::{Decoder, Encoder, Fault, Heard};
use super::{CloseFrame, Gone, Message};
use crate::lock::locked;
use bytes::BytesMut;
use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

/// How many messages wait for their reader, or their way out.
const MESSAGES: usize = 16;

/// How many bytes of them do before others have to wait.
const BYTES: usize = 64 * 1024;

/// How much is read at a time.
const PIECE: usize = 16 * 1024;

/// How long the handler has to answer what was said before the end.
const ANSWERING: Duration = Duration::from_secs(1);

/// How long the other side has to close, too, or to hang up.
const CLOSING: Duration = Duration::from_secs(5);

/// What both ends of a conversation use.
pub(super) trait Io: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Io for T {}

/// What a driver and its handles share.
#[derive(Default)]
pub(super) struct Shared(Mutex<State>);

#[derive(Default)]
struct State {
    inbox: VecDeque<Message>,
    inbox_bytes: usize,
    outbox: VecDeque<Message>,
    outbox_bytes: usize,
    /// Whether all that was in the outbox has been written.
    written: bool,
    reader: Option<Waker>,
    writers: Vec<Waker>,
    driver: Option<Waker>,
    /// What the handler closes with, and whether it does.
    close: Option<Option<CloseFrame>>,
    /// The connection has ended, or is about to: nothing is sent any more.
    over: Option<CloseFrame>,
    /// Why it failed; told once.
    fault: Option<Gone>,
    no_reader: bool,
    /// Nothing more is heard: it ends when the handler has read what was.
    ending: bool,
    handles: usize,
}

impl State {
    fn wake_driver(&mut self) {
        self.driver.take().into_iter().for_each(Waker::wake);
    }

    fn wake_handles(&mut self) {
        self.reader.take().into_iter().chain(self.writers.drain(..)).for_each(Waker::wake);
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Shared")
    }
}

/// One of those that use a connection; when none is left, it is closed.
#[derive(Debug)]
pub(super) struct Handle(Arc<Shared>);

impl Handle {
    pub(super) fn new(shared: &Arc<Shared>) -> Self {
        locked(&shared.0).handles += 1;
        Self(shared.clone())
    }

    pub(super) fn poll_next(&self, cx: &mut Context<'_>) -> Poll<Result<Option<Message>, Gone>> {
        let mut state = locked(&self.0.0);
        if let Some(message) = state.inbox.pop_front() {
            state.inbox_bytes -= message.len();
            state.wake_driver();
            return Poll::Ready(Ok(Some(message)));
        }
        if let Some(fault) = state.fault.take() {
            return Poll::Ready(Err(fault));
        }
        if state.over.is_some() {
            return Poll::Ready(Ok(None));
        }
        state.reader = Some(cx.waker().clone());
        if state.ending {
            state.wake_driver();
        }
        Poll::Pending
    }

    /// Takes the message once there is room for it.
    pub(super) fn poll_send(&self, message: &mut Option<Message>, cx: &mut Context<'_>) -> Poll<Result<(), Gone>> {
        let mut state = locked(&self.0.0);
        if let Some(over) = &state.over {
            return Poll::Ready(Err(Gone::closed(over)));
        }
        if state.close.is_some() {
            return Poll::Ready(Err(Gone::by_us()));
        }
        if state.outbox.len() >= MESSAGES || state.outbox_bytes >= BYTES {
            state.writers.push(cx.waker().clone());
            return Poll::Pending;
        }
        if let Some(message) = message.take() {
            state.outbox_bytes += message.len();
            state.outbox.push_back(message);
            state.written = false;
            state.wake_driver();
        }
        Poll::Ready(Ok(()))
    }

    pub(super) fn poll_flush(&self, cx: &mut Context<'_>) -> Poll<Result<(), Gone>> {
        let mut state = locked(&self.0.0);
        if state.outbox.is_empty() && state.written {
            return Poll::Ready(Ok(()));
        }
        if let Some(over) = &state.over {
            return Poll::Ready(Err(Gone::closed(over)));
        }
        state.writers.push(cx.waker().clone());
        Poll::Pending
    }

    pub(super) fn close(&self, frame: Option<CloseFrame>) {
        let mut state = locked(&self.0.0);
        state.close.get_or_insert(frame);
        state.wake_driver();
    }

    pub(super) fn poll_over(&self, cx: &mut Context<'_>) -> Poll<CloseFrame> {
        let mut state = locked(&self.0.0);
        match &state.over {
            Some(over) => Poll::Ready(over.clone()),
            None => {
                state.writers.push(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    pub(super) fn over(&self) -> Option<CloseFrame> {
        locked(&self.0.0).over.clone()
    }

    /// Nobody reads any more: what arrives is thrown away.
    pub(super) fn no_reader(&self) {
        let mut state = locked(&self.0.0);
        state.no_reader = true;
        state.inbox.clear();
        state.inbox_bytes = 0;
        state.wake_driver();
    }
}

impl Clone for Handle {
    fn clone(&self) -> Self {
        Self::new(&self.0)
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        let mut state = locked(&self.0.0);
        state.handles -= 1;
        if state.handles == 0 {
            state.wake_driver();
        }
    }
}

/// How far the end has come.
#[derive(Debug, PartialEq)]
enum Phase {
    Open,
    /// A close frame was sent, and one is waited for.
    Closing,
    /// Both were sent, or nothing more is to be said: what is written leaves, and then the connection.
    Ending,
    /// All is written; the other side hangs up, so that nothing that was written gets lost.
    HangingUp,
}

/// A connection.
pub(super) struct Driver {
    io: Box<dyn Io>,
    decoder: Decoder,
    encoder: Encoder,
    shared: Arc<Shared>,
    input: BytesMut,
    output: BytesMut,
    phase: Phase,
    keep_alive: Duration,
    heard: Instant,
    /// When it was asked whether anybody is there.
    pinged: Option<Instant>,
    /// The most that waited to be written since the room for it was made.
    largest: usize,
    /// Until when the end may take.
    until: Instant,
    timer: Pin<Box<Sleep>>,
    stopping: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    unflushed: bool,
    /// How it ends, once the handler has answered what was said before.
    end: Option<Result<Option<CloseFrame>, Fault>>,
}

impl Driver {
    pub(super) fn new(
        io: Box<dyn Io>,
        input: BytesMut,
        decoder: Decoder,
        encoder: Encoder,
        keep_alive: Duration,
        stopping: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
        shared: Arc<Shared>,
    ) -> Self {
        let now = Instant::now();
        Self {
            io,
            decoder,
            encoder,
            shared,
            input,
            output: BytesMut::new(),
            phase: Phase::Open,
            keep_alive,
            heard: now,
            pinged: None,
            largest: 0,
            until: now,
            timer: Box::pin(tokio::time::sleep_until(now)),
            stopping,
            unflushed: false,
            end: None,
        }
    }

    /// Says that it is over, and why; what was said first stays.
    fn over(&mut self, frame: CloseFrame, fault: Option<Gone>) {
        let mut state = locked(&self.shared.0);
        if state.over.is_none() {
            state.over = Some(frame);
            state.fault = fault;
        }
        state.outbox.clear();
        state.outbox_bytes = 0;
        state.wake_handles();
    }

    /// Sends a close frame as the last thing that is sent.
    fn send_close(&mut self, frame: Option<&CloseFrame>, phase: Phase) {
        if self.phase == Phase::Open {
            self.encoder.close(frame, &mut self.output);
            self.until = Instant::now() + CLOSING;
        }
        self.phase = phase;
    }

    /// Nothing that follows is heard.
    fn ends(&mut self, end: Result<Option<CloseFrame>, Fault>) {
        self.input.clear();
        self.until = Instant::now() + ANSWERING;
        self.end = Some(end);
        locked(&self.shared.0).ending = true;
    }

    /// Ends, if the handler waits for more, and what it has said is written.
    fn end(&mut self) -> bool {
        let Some(end) = &self.end else { return false };
        let answered = {
            let state = locked(&self.shared.0);
            let read = state.inbox.is_empty() && (state.reader.is_some() || state.no_reader);
            read && state.outbox.is_empty()
        };
        if !answered && self.phase == Phase::Open && Instant::now() < self.until {
            return false;
        }
        match end.clone() {
            Ok(frame) => {
                // The same code is the answer (§5.5.1).
                let answer = frame.as_ref().map(|frame| CloseFrame { code: frame.code, reason: String::new() });
                self.send_close(answer.as_ref(), Phase::Ending);
                self.over(frame.unwrap_or(CloseFrame { code: 1005, reason: String::new() }), None);
            }
            Err(fault) => self.fail(fault),
        }
        self.end = None;
        true
    }

    fn fail(&mut self, fault: Fault) {
        let Fault { code, reason } = fault;
        let frame = CloseFrame { code, reason };
        let gone = Gone::fault(&frame);
        self.send_close(Some(&frame), Phase::Ending);
        self.over(frame, Some(gone));
    }

    /// What the handles want; true when something was done.
    fn take_outgoing(&mut self) -> bool {
        let mut state = locked(&self.shared.0);
        let mut done = false;
        if self.phase != Phase::Open {
            return false;
        }
        while self.output.len() < BYTES
            && let Some(message) = state.outbox.pop_front()
        {
            state.outbox_bytes -= message.len();
            self.encoder.message(&message, &mut self.output);
            done = true;
        }
        if done {
            state.writers.drain(..).for_each(Waker::wake);
        }
        if state.outbox.is_empty() && (state.close.is_some() || state.handles == 0) {
            let normal = || CloseFrame { code: 1000, reason: String::new() };
            let frame = state.close.take().unwrap_or_else(|| Some(normal()));
            // A handler that has closed hears no more.
            state.close = Some(frame.clone());
            drop(state);
            self.send_close(frame.as_ref(), Phase::Closing);
            return true;
        }
        done
    }

    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        while !self.output.is_empty() {
            self.largest = self.largest.max(self.output.len());
            let written = ready!(Pin::new(&mut self.io).poll_write(cx, &self.output))?;
            if written == 0 {
                return Poll::Ready(Err(std::io::ErrorKind::WriteZero.into()));
            }
            let _ = self.output.split_to(written);
            self.unflushed = true;
            // Whoever takes what is written is there, however slowly: the end waits for it, and so does the ping behind it.
            let now = Instant::now();
            if self.phase != Phase::Open {
                self.until = now + CLOSING;
            } else if self.output.len() >= BYTES {
                self.heard = now;
                self.pinged = None;
            }
        }
        // The room of one large message is not kept by everybody who has ever got one.
        if self.largest > PIECE {
            self.output = BytesMut::new();
            self.largest = 0;
        }
        if self.unflushed {
            ready!(Pin::new(&mut self.io).poll_flush(cx))?;
            self.unflushed = false;
        }
        let mut state = locked(&self.shared.0);
        if state.outbox.is_empty() && !state.written {
            state.written = true;
            state.writers.drain(..).for_each(Waker::wake);
        }
        Poll::Ready(Ok(()))
    }

    /// Whether somebody has room for a further message. Without it nothing is read, and the other side has to wait.
    fn has_room(&mut self, cx: &mut Context<'_>) -> bool {
        let mut state = locked(&self.shared.0);
        state.driver = Some(cx.waker().clone());
        let full = state.inbox.len() >= MESSAGES || state.inbox_bytes >= BYTES;
        !full || state.no_reader || self.phase != Phase::Open
    }

    fn hear(&mut self, heard: Heard) {
        match heard {
            Heard::Message(message) => {
                let mut state = locked(&self.shared.0);
                if self.phase == Phase::Open && !state.no_reader && state.over.is_none() {
                    state.inbox_bytes += message.len();
                    state.inbox.push_back(message);
                    state.reader.take().into_iter().for_each(Waker::wake);
                }
            }
            Heard::Ping(payload) if self.phase == Phase::Open => self.encoder.pong(&payload, &mut self.output),
            Heard::Ping(_) | Heard::Pong => {}
            Heard::Close(frame) => self.ends(Ok(frame)),
        }
    }

    /// Reads and decodes; `Ready(false)` at the end of what the other side says.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<std::io::Result<bool>> {
        match self.decoder.next(&mut self.input) {
            Ok(Some(heard)) => {
                self.hear(heard);
                return Poll::Ready(Ok(true));
            }
            Ok(None) => {}
            Err(fault) => {
                self.ends(Err(fault));
                return Poll::Ready(Ok(true));
            }
        }
        if self.input.is_empty() {
            self.input = BytesMut::new();
        }
        let mut piece = [0; PIECE];
        let mut buffer = ReadBuf::new(&mut piece);
        ready!(Pin::new(&mut self.io).poll_read(cx, &mut buffer))?;
        self.heard = Instant::now();
        self.pinged = None;
        self.input.extend_from_slice(buffer.filled());
        Poll::Ready(Ok(!buffer.filled().is_empty()))
    }

    /// Waits until the other side has nothing more to say, without a look at it.
    fn poll_hang_up(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut piece = [0; 4096];
        loop {
            let mut buffer = ReadBuf::new(&mut piece);
            match Pin::new(&mut self.io).poll_read(cx, &mut buffer) {
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {}
                Poll::Ready(_) => return Poll::Ready(()),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// Until when something has to happen, and what it is otherwise; true when it is over.
    fn poll_time(&mut self, cx: &mut Context<'_>) -> bool {
        loop {
            let at = match self.phase {
                _ if self.end.is_some() => self.until,
                Phase::Open if self.keep_alive.is_zero() => return false,
                // So long that it never comes.
                Phase::Open => match self.pinged.unwrap_or(self.heard).checked_add(self.keep_alive) {
                    Some(at) => at,
                    None => return false,
                },
                _ => self.until,
            };
            if self.timer.deadline() != at {
                self.timer.as_mut().reset(at);
            }
            if self.timer.as_mut().poll(cx).is_pending() {
                return false;
            }
            if self.end.is_some() {
                cx.waker().wake_by_ref();
                return false;
            }
            if self.phase != Phase::Open || self.pinged.is_some() {
                return true;
            }
            // It has its time from now, however late it leaves.
            self.pinged = Some(Instant::now());
            self.encoder.ping(&mut self.output);
            // It has to leave, and more may happen.
            cx.waker().wake_by_ref();
        }
    }

    fn poll_drive(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.phase == Phase::Open
            && let Some(stopping) = &mut self.stopping
            && stopping.as_mut().poll(cx).is_ready()
        {
            self.stopping = None;
            while self.take_outgoing() && self.phase == Phase::Open {}
            let frame = CloseFrame { code: 1001, reason: "the server is going away".to_owned() };
            self.send_close(Some(&frame), Phase::Closing);
            self.over(frame, None);
        }
        let mut turns = 0;
        loop {
            let room = self.has_room(cx);
            let mut done = self.take_outgoing() | self.end();
            if self.phase != Phase::HangingUp {
                match self.poll_write(cx) {
                    Poll::Ready(Ok(())) if self.phase == Phase::Ending => {
                        if Pin::new(&mut self.io).poll_shutdown(cx).is_ready() {
                            self.phase = Phase::HangingUp;
                            done = true;
                        }
                    }
                    Poll::Ready(Ok(())) | Poll::Pending => {}
                    Poll::Ready(Err(_)) => return Poll::Ready(()),
                }
            }
            match self.phase {
                Phase::HangingUp => return self.poll_hang_up(cx),
                Phase::Ending => {}
                _ if self.end.is_some() => {}
                // Whoever asks much and takes no answer is not read any further.
                _ if room && self.output.len() < BYTES => match self.poll_read(cx) {
                    Poll::Ready(Ok(true)) => done = true,
                    Poll::Ready(Ok(false) | Err(_)) => return Poll::Ready(()),
                    Poll::Pending => {}
                },
                // It is the handler that keeps quiet, and not the other side.
                _ if !room => self.heard = Instant::now(),
                _ => {}
            }
            turns += 1;
            if !done {
                return Poll::Pending;
            }
            if turns == 64 {
                // Others want a turn.
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
        }
    }
}

impl Future for Driver {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        let ended = this.poll_drive(cx).is_ready() || this.poll_time(cx);
        if !ended {
            return Poll::Pending;
        }
        // Nobody said goodbye: RFC 6455 §7.1.5 has a code for that, which is never sent.
        this.over(CloseFrame { code: 1006, reason: String::new() }, None);
        Poll::Ready(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::websocket::frame::Role;
    use tokio::io::AsyncReadExt;

    /// All that a client gets which takes 20,000 bytes of a long message at a time, and how long that takes.
    async fn taken_slowly(ends: bool, pause: Duration) -> (usize, Duration) {
        let (near, mut far) = tokio::io::duplex(20_000);
        let shared = Arc::new(Shared::default());
        let handle = Handle::new(&shared);
        let (decoder, encoder) = (Decoder::new(Role::Server, 1000, None), Encoder::new(Role::Server, None));
        let keep_alive = Duration::from_secs(30);
        let driver = Driver::new(Box::new(near), BytesMut::new(), decoder, encoder, keep_alive, None, shared);
        let driver = tokio::spawn(driver);
        let mut message = Some(Message::from(vec![7; 500_000]));
        std::future::poll_fn(|cx| handle.poll_send(&mut message, cx)).await.unwrap();
        let kept = (!ends).then(|| handle.clone());
        drop(handle);
        let (began, mut taken) = (Instant::now(), 0);
        let mut piece = vec![0; 20_000];
        while taken < 500_010 {
            tokio::time::sleep(pause).await;
            match far.read(&mut piece).await.unwrap() {
                0 => break,
                some => taken += some,
            }
        }
        drop((kept, far));
        driver.await.unwrap();
        (taken, began.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn the_end_waits_for_whoever_takes_what_was_sent_before_it() {
        // The head of the frame, and the frame of the end.
        let (taken, took) = taken_slowly(true, Duration::from_secs(4)).await;
        assert_eq!(taken, 500_000 + 10 + 4);
        assert!(took > Duration::from_secs(90), "{took:?}");
        // Who takes nothing for five seconds is not waited for.
        assert!(taken_slowly(true, Duration::from_secs(6)).await.0 < 100_000);
    }

    #[tokio::test(start_paused = true)]
    async fn who_takes_a_long_message_slowly_is_there() {
        let (taken, took) = taken_slowly(false, Duration::from_secs(10)).await;
        assert!(taken >= 500_010, "{taken}");
        assert!(took > Duration::from_secs(200), "{took:?}");
    }
}
