//! `Channel`: events for many listeners, of whom each gets what it has missed.

use super::{Event, IntoEvent};
use crate::Result;
use crate::lock::locked;
use bytes::Bytes;
use futures_core::Stream;
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

/// Events for everybody who listens, the last of them kept for those who come back.
///
/// An event that has no id of its own gets one, by which the channel knows what a client has missed that comes again:
/// [`EventSource::subscribe`](super::EventSource::subscribe) sends that first. Ids of one's own are found as long as their event is kept. A new listener gets what is published from now on.
/// Nobody is waited for: who reads more slowly than events are published, beyond what is kept, has missed the rest.
///
/// A channel is one process's: its ids name the process's run, so that an id of another one, or of the time before a restart, is
/// known to be that. Who comes with such an id, with one too old, or is too slow, gets the event of
/// [`when_missed`](Channel::when_missed) first, and then all that is kept: whoever shows the whole state of something reloads
/// it there. Between processes, publish what PostgreSQL's `LISTEN` or Redis's `SUBSCRIBE` tells in each.
///
/// A clone is the same channel; put one into a [`State`](crate::State).
///
/// ```
/// use purlin::sse::{Channel, Event, Events, EventSource};
/// use purlin::{State, StatusCode};
///
/// async fn say(State(room): State<Channel>, line: String) -> purlin::Result<StatusCode> {
///     room.publish(Event::new(line))?;
///     Ok(StatusCode::NO_CONTENT)
/// }
///
/// async fn listen(State(room): State<Channel>, events: EventSource) -> Events {
///     events.subscribe(&room)
/// }
/// # use purlin::{Router, Stack, get};
/// # let routes = Router::new().route("/room", get(listen).post(say));
/// # Stack::new().layer(State(Channel::new(100))).app(routes).check().unwrap();
/// ```
#[derive(Clone)]
pub struct Channel {
    shared: Arc<Shared>,
}

struct Shared {
    /// Which run of which process it is, in hexadecimal digits.
    run: String,
    events: usize,
    kept: Mutex<Kept>,
}

struct Kept {
    bytes: usize,
    most: usize,
    /// The number of the first that is kept.
    first: u64,
    events: VecDeque<Published>,
    when_missed: Option<Bytes>,
    /// Who waits for the next one, and how many listen.
    waiting: BTreeMap<u64, Waker>,
    listeners: u64,
    next_listener: u64,
}

/// An event as it is sent, and its id if that is not one of the channel's.
struct Published {
    bytes: Bytes,
    own_id: Option<String>,
}

impl Kept {
    /// The number of the one that comes next.
    fn next(&self) -> u64 {
        self.first + self.events.len() as u64
    }
}

impl Channel {
    /// A channel that keeps so many of the last events, at least one, and of those 1 MiB at most.
    pub fn new(events: usize) -> Self {
        // Only uniqueness hangs on it; without randomness the time will do.
        let run = getrandom::u64().unwrap_or_else(|_| {
            let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
            now.map_or(0, |now| now.as_nanos() as u64)
        });
        let kept = Kept {
            bytes: 0,
            most: 1 << 20,
            first: 1,
            events: VecDeque::new(),
            when_missed: None,
            waiting: BTreeMap::new(),
            listeners: 0,
            next_listener: 0,
        };
        Self { shared: Arc::new(Shared { run: format!("{run:016x}"), events, kept: Mutex::new(kept) }) }
    }

    /// How many bytes of events are kept; 1 MiB by default. The last event is kept whatever its length.
    pub fn memory(self, bytes: usize) -> Self {
        locked(&self.shared.kept).most = bytes;
        self
    }

    /// The event for a listener that has missed some which are not kept any more; none by default.
    ///
    /// # Errors
    ///
    /// An event that cannot be sent: see [`Event`].
    #[track_caller]
    pub fn when_missed(self, event: impl IntoEvent) -> Result<Self> {
        let bytes = event.into_event()?.to_bytes()?;
        locked(&self.shared.kept).when_missed = Some(bytes);
        Ok(self)
    }

    /// Sends an event to all who listen, and returns how many do.
    ///
    /// # Errors
    ///
    /// An event that cannot be sent: see [`Event`].
    #[track_caller]
    pub fn publish(&self, event: impl IntoEvent) -> Result<u64> {
        let mut event = event.into_event()?;
        let (waiting, listeners) = {
            let mut kept = locked(&self.shared.kept);
            let own_id = event.own_id().map(str::to_owned);
            if own_id.is_none() {
                event = event.id(format!("{}-{}", self.shared.run, kept.next()));
            }
            let bytes = event.to_bytes()?;
            kept.bytes += bytes.len();
            kept.events.push_back(Published { bytes, own_id });
            // The newest stays until the next one, for those who listen now.
            while kept.events.len() > self.shared.events.max(1) || (kept.bytes > kept.most && kept.events.len() > 1) {
                let Some(oldest) = kept.events.pop_front() else { break };
                kept.bytes -= oldest.bytes.len();
                kept.first += 1;
            }
            (std::mem::take(&mut kept.waiting), kept.listeners)
        };
        waiting.into_values().for_each(Waker::wake);
        Ok(listeners)
    }

    /// How many listen.
    pub fn listeners(&self) -> u64 {
        locked(&self.shared.kept).listeners
    }

    /// Listens from the event on that follows the one with this id; without an id, from the next one on.
    pub fn subscribe(&self, last_event_id: Option<&str>) -> Subscription {
        let mut kept = locked(&self.shared.kept);
        kept.listeners += 1;
        kept.next_listener += 1;
        let number = kept.next_listener;
        let after = last_event_id.map(|id| {
            let own = id.strip_prefix(self.shared.run.as_str()).and_then(|rest| rest.strip_prefix('-'));
            let own = own.and_then(|number| number.parse::<u64>().ok()).filter(|&number| number < kept.next());
            let given = || kept.events.iter().rposition(|event| event.own_id.as_deref() == Some(id));
            // Whatever is no id of an event, or not of this run, is as if it were before all.
            own.or_else(|| given().map(|at| kept.first + at as u64)).unwrap_or(0)
        });
        let next = after.map_or(kept.next(), |after| after + 1);
        // Nothing is missed as long as what follows is there. Of a foreign id nobody knows.
        let missed = after.is_some_and(|after| after == 0 || next < kept.first);
        drop(kept);
        Subscription { shared: self.shared.clone(), number, next, missed }
    }
}

impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kept = locked(&self.shared.kept);
        f.debug_struct("Channel")
            .field("events", &self.shared.events)
            .field("listeners", &kept.listeners)
            .finish_non_exhaustive()
    }
}

/// What one listener of a [`Channel`] gets: a stream of events, which never ends.
pub struct Subscription {
    shared: Arc<Shared>,
    number: u64,
    next: u64,
    missed: bool,
}

impl Subscription {
    /// Whether the listener has missed events that are not kept any more.
    pub fn has_missed(&self) -> bool {
        self.missed
    }
}

impl Stream for Subscription {
    type Item = Event;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        let this = &mut *self;
        let mut kept = locked(&this.shared.kept);
        if this.next < kept.first {
            this.missed = true;
            this.next = kept.first;
        }
        if std::mem::take(&mut this.missed)
            && let Some(event) = &kept.when_missed
        {
            return Poll::Ready(Some(Event::written(event.clone())));
        }
        let at = this.next - kept.first;
        match usize::try_from(at).ok().and_then(|at| kept.events.get(at)).map(|event| event.bytes.clone()) {
            Some(event) => {
                this.next += 1;
                Poll::Ready(Some(Event::written(event)))
            }
            None => {
                kept.waiting.insert(this.number, cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let mut kept = locked(&self.shared.kept);
        kept.listeners -= 1;
        kept.waiting.remove(&self.number);
    }
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription").field("missed", &self.missed).finish_non_exhaustive()
    }
}
