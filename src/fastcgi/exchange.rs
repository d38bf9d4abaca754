//! One request and its answer over a connection to a FastCGI server, and the connections that are kept.

use super::record::{Decoder, End, Kind, Protocol, Record, begin, put_record, put_stream};
use super::{Connect, Connected, Duplex, Limits};
use crate::cgi::{Input, Log, Output, Progress};
use crate::race::{Either, first};
use crate::{Error, RequestId, Result};
use bytes::{Bytes, BytesMut};
use http::header::RETRY_AFTER;
use http::{HeaderValue, StatusCode};
use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Waker};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, ReadBuf, ReadHalf, WriteHalf};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until, timeout};

/// The only request of its connection. Servers that answer several at once on one are few, and none is PHP's.
const ID: u16 = 1;

/// How much is read at a time.
const PIECE: usize = 16 * 1024;

/// A request on its way. It has its permit until the answer is whole.
pub(super) struct Exchange {
    to: Arc<dyn Connect>,
    pool: Arc<Pool>,
    limits: Limits,
    id: Option<RequestId>,
    output: Output,
    progress: Progress,
    feeding: Option<JoinHandle<Fed>>,
    stderr: Stderr,
    from: Option<ReadHalf<Box<dyn Duplex>>>,
    permit: Option<OwnedSemaphorePermit>,
    /// By which it goes first, if that was looked for before.
    connected: Option<Connected>,
    /// What the request holds as long as the server is busy with it.
    _held: Option<Held>,
}

/// What a request holds until the server has done with it, also where the client has left before. Whoever leaves it in a request's
/// extensions has the server waited for, for as long as an answer may take.
#[derive(Clone)]
pub(crate) struct Held(
    #[allow(dead_code, reason = "it is let go of when it is dropped")] pub(crate) Arc<OwnedSemaphorePermit>,
);

/// How it went on one connection.
enum Ended {
    /// It is answered.
    Done,
    /// The connection was closed before anything came back; with the body, where nothing of it was sent.
    Lost(Option<Input>),
}

/// What has become of the sending.
struct Fed {
    to: WriteHalf<Box<dyn Duplex>>,
    /// The request's body, if not a byte of the request was sent.
    unsent: Option<Input>,
    whole: bool,
}

impl Exchange {
    pub(super) fn new(
        to: Arc<dyn Connect>,
        pool: Arc<Pool>,
        limits: Limits,
        id: Option<RequestId>,
        output: Output,
        held: Option<Held>,
        connected: Option<Connected>,
    ) -> Self {
        let stderr = Stderr { log: Log::new(to.name(), id.clone()), line: Vec::new(), last: VecDeque::new() };
        Self {
            to,
            pool,
            limits,
            id,
            output,
            progress: Progress::now(),
            feeding: None,
            stderr,
            from: None,
            permit: None,
            connected,
            _held: held,
        }
    }

    pub(super) async fn run(mut self, params: Bytes, input: Input, safe: bool) {
        let gone = self.output.gone();
        let ended = first(self.exchange(params, input, safe), gone).await;
        let feeding = self.feeding.take();
        let mut error = match ended {
            Either::Left(Ok(())) => return,
            Either::Left(Err(error)) => error,
            Either::Right(()) => {
                let to = abort(feeding).await;
                if let (Some(from), Some(_)) = (&mut self.from, &self._held) {
                    // A program that calculates is not stopped by that; until it has, it can answer nobody else.
                    let mut sink = tokio::io::sink();
                    let _ = timeout(self.limits.answer, tokio::io::copy(from, &mut sink)).await;
                }
                drop(to);
                let id = self.id.as_ref().map(RequestId::as_str);
                tracing::debug!(target: "purlin::cgi", program = self.to.name(), id, "the client has left: aborted");
                return;
            }
        };
        drop(abort(feeding).await);
        let words = self.stderr.last_words();
        if !words.is_empty() {
            error = error.context(format!("its standard error ended with:\n{words}"));
        }
        if self.output.has_begun() {
            // The server logs it, with the rest of what it knows.
            error = error.context(format!("asking {}", self.to.name()));
        }
        self.output.fail(error).await;
    }

    async fn exchange(&mut self, params: Bytes, input: Input, safe: bool) -> Result<()> {
        self.permit = Some(self.pool.permit(&self.limits).await?);
        let again = input.again().filter(|_| safe);
        let mut input = Some(input);
        if let Some(kept) = self.connected.take().or_else(|| self.pool.take())
            && let Some(first) = input.take()
        {
            match self.over(kept, &params, first).await? {
                Ended::Done => return Ok(()),
                // The server had closed it. By a new one then, and once: a request that kills who answers it is not to kill one
                // for each connection that is kept.
                Ended::Lost(unsent) => input = unsent.or(again),
            }
        }
        let Some(input) = input else { return Err(lost()) };
        let connected = connect(&*self.to, &self.limits).await?;
        match self.over(connected, &params, input).await? {
            Ended::Done => Ok(()),
            Ended::Lost(_) => Err(lost()),
        }
    }

    /// The whole exchange over one connection.
    async fn over(&mut self, connection: Connected, params: &Bytes, input: Input) -> Result<Ended> {
        let Connected { io, lease } = connection;
        let (from, to) = tokio::io::split(io);
        self.from = Some(from);
        let (failing, failed) = oneshot::channel();
        let mut failed = Some(failed);
        self.progress.moved();
        let keep = self.limits.keep > 0;
        // Beside what is read: a server may wait with reading until its answer is taken.
        self.feeding = Some(tokio::spawn(feed(to, keep, params.clone(), input, self.progress.clone(), failing)));
        let mut decoder = Decoder::new();
        let mut heard = false;
        loop {
            decoder.buffer().reserve(PIECE);
            let limit = if self.output.has_begun() { self.limits.idle } else { self.limits.answer };
            let Some(from) = &mut self.from else { return Err(lost()) };
            let reading = from.read_buf(decoder.buffer());
            let broken = async {
                if let Some(failing) = &mut failed
                    && let Ok(error) = failing.await
                {
                    return error;
                }
                // All of it was sent.
                failed = None;
                std::future::pending().await
            };
            let read = match first(reading, first(broken, self.progress.stalled(limit))).await {
                Either::Left(read) => read,
                Either::Right(Either::Left(error)) => return Err(error),
                Either::Right(Either::Right(())) => {
                    let what = if self.output.has_begun() { "no more of its answer" } else { "no answer" };
                    return Err(late(what, limit));
                }
            };
            if !matches!(read, Ok(1..)) {
                if !heard {
                    return Ok(Ended::Lost(self.unsent().await));
                }
                let closed = "the connection was closed before the answer was whole".to_owned();
                self.stderr.end();
                self.output.end(Some(closed)).await?;
                return Ok(Ended::Done);
            }
            heard = true;
            while let Some(Record { kind, request, content }) = decoder.record().map_err(bad)? {
                // Of the connection itself: it answers what was not asked.
                if request == 0 {
                    continue;
                }
                if request != ID {
                    let message = format!("expected records of the request {ID}, found one of {request}");
                    return Err(Error::new(StatusCode::BAD_GATEWAY, message));
                }
                match kind {
                    Kind::Stdout => self.output.take(content).await?,
                    Kind::Stderr => self.stderr.take(&content),
                    Kind::End => {
                        self.stderr.end();
                        self.ended(&content).await?;
                        if keep
                            && decoder.buffer().is_empty()
                            && let Some(from) = self.from.take()
                        {
                            self.keep(from, lease).await;
                        }
                        return Ok(Ended::Done);
                    }
                    other => {
                        let message = format!("expected an answer, found a record of the kind {other:?}");
                        return Err(Error::new(StatusCode::BAD_GATEWAY, message));
                    }
                }
            }
            // A client that is slow is none that the server keeps waiting.
            if self.output.has_begun() {
                self.progress.moved();
            }
        }
    }

    async fn ended(&mut self, content: &[u8]) -> Result<()> {
        let end = End::read(content)
            .ok_or_else(|| Error::new(StatusCode::BAD_GATEWAY, "expected the end of a request, found half of it"))?;
        match end.protocol {
            Protocol::Complete => {}
            Protocol::Overloaded => {
                return Err(Error::new(StatusCode::SERVICE_UNAVAILABLE, "the server has no room for the request")
                    .header(RETRY_AFTER, HeaderValue::from_static("1")));
            }
            other => {
                let message = format!("expected a request that is complete, found the protocol status {other:?}");
                return Err(Error::new(StatusCode::BAD_GATEWAY, message));
            }
        }
        let how = (end.app != 0).then(|| format!("it ended with status {}", end.app));
        self.output.end(how).await
    }

    /// The request's body, if the request could not be sent at all.
    async fn unsent(&mut self) -> Option<Input> {
        let feeding = self.feeding.take()?;
        // It is still at it, and so has sent something.
        if !feeding.is_finished() {
            let slow = timeout(Duration::from_millis(10), feeding).await;
            return slow.ok()?.ok()?.unsent;
        }
        feeding.await.ok()?.unsent
    }

    /// Keeps the connection, if all of the request was sent: the rest would be taken for the next one.
    async fn keep(&mut self, from: ReadHalf<Box<dyn Duplex>>, lease: Option<Box<dyn std::any::Any + Send>>) {
        let Some(feeding) = self.feeding.take() else { return };
        if !feeding.is_finished() {
            feeding.abort();
        }
        if let Ok(Fed { to, whole: true, .. }) = feeding.await {
            self.pool.keep(Connected { io: from.unsplit(to), lease }, self.limits.keep);
        }
    }
}

/// A new connection.
pub(super) async fn connect(to: &dyn Connect, limits: &Limits) -> Result<Connected> {
    match timeout(limits.connect, to.connect()).await {
        Ok(connected) => connected.map_err(|error| match error.status() {
            StatusCode::INTERNAL_SERVER_ERROR => error.status_code(StatusCode::BAD_GATEWAY),
            _ => error,
        }),
        Err(_) => Err(late("no connection", limits.connect)),
    }
}

/// Sends the request: in one piece, where its body is at hand and small.
async fn feed(
    mut to: WriteHalf<Box<dyn Duplex>>,
    keep: bool,
    params: Bytes,
    mut input: Input,
    progress: Progress,
    failing: oneshot::Sender<Error>,
) -> Fed {
    let mut bytes = BytesMut::with_capacity(params.len() + 256);
    put_record(&mut bytes, Kind::Begin, ID, &begin(keep));
    put_stream(&mut bytes, Kind::Params, ID, &params);
    put_record(&mut bytes, Kind::Params, ID, b"");
    if let Input::Whole(body) = &input
        && body.len() <= PIECE
    {
        put_stream(&mut bytes, Kind::Stdin, ID, body);
        put_record(&mut bytes, Kind::Stdin, ID, b"");
    }
    let at_once = matches!(&input, Input::Whole(body) if body.len() <= PIECE);
    let unsent = match to.write(&bytes).await {
        Ok(sent @ 1..) => {
            let rest = to.write_all(&bytes[sent..]).await;
            if rest.is_err() || at_once {
                return Fed { to, unsent: None, whole: rest.is_ok() };
            }
            false
        }
        _ => true,
    };
    if unsent {
        return Fed { to, unsent: Some(input), whole: false };
    }
    progress.moved();
    while let Some(piece) = progress.piece(&mut input).await {
        let piece = match piece {
            Ok(piece) => piece,
            Err(error) => {
                // The server waits for more than there is: it is told to give up.
                bytes.clear();
                put_record(&mut bytes, Kind::Abort, ID, b"");
                let _ = to.write_all(&bytes).await;
                // Nobody hears it, where the answer is whole.
                let _ = failing.send(error);
                return Fed { to, unsent: None, whole: false };
            }
        };
        bytes.clear();
        put_stream(&mut bytes, Kind::Stdin, ID, &piece);
        if to.write_all(&bytes).await.is_err() {
            // What is read says why.
            return Fed { to, unsent: None, whole: false };
        }
        progress.moved();
    }
    bytes.clear();
    put_record(&mut bytes, Kind::Stdin, ID, b"");
    let whole = to.write_all(&bytes).await.is_ok();
    Fed { to, unsent: None, whole }
}

/// Tells the server that nobody waits for the answer (§5.4). Where the request is still being sent, closing the connection does.
async fn abort(feeding: Option<JoinHandle<Fed>>) -> Option<WriteHalf<Box<dyn Duplex>>> {
    let feeding = feeding?;
    feeding.abort();
    let Fed { mut to, .. } = feeding.await.ok()?;
    let mut bytes = BytesMut::new();
    put_record(&mut bytes, Kind::Abort, ID, b"");
    let _ = timeout(Duration::from_millis(100), to.write_all(&bytes)).await;
    // Nothing more comes: so the server closes the connection when it has done.
    let _ = to.shutdown().await;
    Some(to)
}

fn bad(error: super::RecordError) -> Error {
    Error::from(error).status_code(StatusCode::BAD_GATEWAY)
}

fn lost() -> Error {
    Error::new(StatusCode::BAD_GATEWAY, "the connection was closed before it answered")
}

fn late(what: &str, limit: Duration) -> Error {
    Error::new(StatusCode::GATEWAY_TIMEOUT, format!("{what} within {limit:?}"))
}

/// What the server says on its standard error, in lines.
struct Stderr {
    log: Log,
    line: Vec<u8>,
    last: VecDeque<String>,
}

impl Stderr {
    const MAX_LINE: usize = 8 * 1024;
    const LAST: usize = 20;

    fn take(&mut self, content: &[u8]) {
        for byte in content {
            if *byte == b'\n' || self.line.len() >= Self::MAX_LINE {
                self.end();
            }
            if *byte != b'\n' {
                self.line.push(*byte);
            }
        }
    }

    /// A line has ended, or all of it.
    fn end(&mut self) {
        let line = String::from_utf8_lossy(&self.line).trim_end().to_owned();
        self.line.clear();
        if line.is_empty() {
            return;
        }
        self.log.line(&line);
        if self.last.len() == Self::LAST {
            self.last.pop_front();
        }
        self.last.push_back(line);
    }

    fn last_words(&mut self) -> String {
        self.end();
        self.last.iter().map(|line| format!("  {line}")).collect::<Vec<_>>().join("\n")
    }
}

/// For how long a connection is kept that nobody uses.
const KEPT_FOR: Duration = Duration::from_secs(10);

/// The connections to one server.
pub(super) struct Pool {
    idle: Mutex<Idle>,
    permits: Arc<Semaphore>,
}

/// Those that are kept, the one that was used last at the end.
#[derive(Default)]
struct Idle {
    connections: Vec<(Connected, Instant)>,
    /// A task closes them when their time is over.
    swept: bool,
}

impl Pool {
    pub(super) fn new(connections: usize) -> Self {
        let permits = Arc::new(Semaphore::new(connections.min(Semaphore::MAX_PERMITS)));
        Self { idle: Mutex::default(), permits }
    }

    async fn permit(&self, limits: &Limits) -> Result<OwnedSemaphorePermit> {
        match timeout(limits.connect, self.permits.clone().acquire_owned()).await {
            // Never closed.
            Ok(permit) => Ok(permit?),
            Err(_) => {
                let message = format!("{} connections are in use (`max_connections`)", limits.connections);
                Err(Error::new(StatusCode::SERVICE_UNAVAILABLE, message)
                    .header(RETRY_AFTER, HeaderValue::from_static("1")))
            }
        }
    }

    /// The one that was used last, of those that the server has not closed meanwhile.
    pub(super) fn take(&self) -> Option<Connected> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.connections.retain(|(_, since)| since.elapsed() < KEPT_FOR);
        while let Some((mut connection, _)) = idle.connections.pop() {
            let mut byte = [0];
            let mut byte = ReadBuf::new(&mut byte);
            let mut cx = Context::from_waker(Waker::noop());
            if Pin::new(&mut connection.io).poll_read(&mut cx, &mut byte).is_pending() {
                return Some(connection);
            }
        }
        None
    }

    fn keep(self: &Arc<Self>, connection: Connected, most: usize) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.connections.len() >= most {
            return;
        }
        idle.connections.push((connection, Instant::now()));
        if !std::mem::replace(&mut idle.swept, true) {
            tokio::spawn(sweep(Arc::downgrade(self)));
        }
    }
}

/// Closes connections that were idle for long enough, until none is left.
async fn sweep(pool: Weak<Pool>) {
    while let Some(pool) = pool.upgrade() {
        let next = {
            let mut idle = pool.idle.lock().unwrap_or_else(PoisonError::into_inner);
            idle.connections.retain(|(_, since)| since.elapsed() < KEPT_FOR);
            let Some((_, since)) = idle.connections.first() else {
                idle.swept = false;
                return;
            };
            *since + KEPT_FOR
        };
        drop(pool);
        sleep_until(next).await;
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").finish_non_exhaustive()
    }
}
