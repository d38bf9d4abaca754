//! Frozen copies of the process: how many there may be, what one costs at most, and the reasons why there is none.

use crate::memory::{Ended, Memory, Unreadable};
use crate::system::{self, Frozen, Keeper, PAGE};
use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, TryLockError};
use std::time::{Duration, Instant};

/// Bounds of what snapshots may cost.
///
/// ```
/// use purlin_debugger::Limits;
/// use std::time::Duration;
///
/// let limits = Limits::new().snapshots(2).age(Duration::from_secs(60));
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    snapshots: usize,
    per_second: usize,
    resident_bytes: u64,
    total_bytes: u64,
    age: Duration,
    answer_within: Duration,
}

impl Limits {
    /// All of them at their defaults.
    pub fn new() -> Self {
        Self {
            snapshots: 10,
            per_second: 10,
            resident_bytes: 1 << 30,
            total_bytes: 2 << 30,
            age: Duration::from_secs(600),
            answer_within: Duration::from_secs(2),
        }
    }

    /// How many snapshots there are at a time; 10 by default, and none at all with 0. A further one ends the one whose last
    /// reading, or else making, is longest ago. Of a large process there are fewer: see [`total_bytes`](Limits::total_bytes).
    pub fn snapshots(mut self, count: usize) -> Self {
        self.snapshots = count;
        self
    }

    /// How many are taken within any second; 10 by default. What fails beyond that gets no snapshot, so a storm of failures
    /// costs as much as ten.
    pub fn per_second(mut self, count: usize) -> Self {
        self.per_second = count;
        self
    }

    /// How much memory the process may have resident to be copied; 1 GiB by default. Counted is anonymous memory, since mapped
    /// files cost a copy nothing. Each snapshot takes up to this much more, as the process changes what the two share; and the
    /// process stands still for as long as the copy is prepared, some 20 milliseconds at 1 GiB.
    pub fn resident_bytes(mut self, bytes: u64) -> Self {
        self.resident_bytes = bytes;
        self
    }

    /// How much memory all snapshots may come to, if the process changed all that it shares with them; 2 GiB by default: twenty
    /// of a process that has 100 MiB resident, two of one that has 1 GiB. There may always be one.
    pub fn total_bytes(mut self, bytes: u64) -> Self {
        self.total_bytes = bytes;
        self
    }

    /// How long a snapshot is kept; 10 minutes by default.
    pub fn age(mut self, age: Duration) -> Self {
        self.age = age;
        self
    }

    /// How long a read waits for the snapshot's answer; 2 seconds by default. An answer takes some 10 microseconds.
    pub fn answer_within(mut self, time: Duration) -> Self {
        self.answer_within = time;
        self
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self::new()
    }
}

/// Why a failure has no snapshot. Its text is a sentence for the page.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Refusal {
    /// There is no way to take one on this platform.
    Unsupported,
    /// [`Limits::snapshots`] is 0.
    Off,
    /// Another thread was just taking one: a failing request does not wait for that.
    Busy,
    /// Too many were taken within the last second.
    Rate {
        /// [`Limits::per_second`].
        limit: usize,
    },
    /// The process is too large.
    Resident {
        /// Its anonymous memory, in bytes.
        found: u64,
        /// [`Limits::resident_bytes`].
        limit: u64,
    },
    /// The system does not allow it: a limit of processes, descriptors or memory, or a sandbox.
    Failed {
        /// The system call.
        step: &'static str,
        /// What it answered.
        errno: i32,
    },
}

impl Refusal {
    /// Whether the next failure will be refused for the same reason. Then the eager mode is what is left:
    /// [`LiveMemory`](crate::LiveMemory), read on the spot.
    pub fn is_lasting(&self) -> bool {
        !matches!(self, Self::Busy | Self::Rate { .. })
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Unsupported => write!(
                f,
                "not supported here: snapshots are taken on Linux on x86_64 or aarch64, and this is {} on {}",
                std::env::consts::OS,
                std::env::consts::ARCH
            ),
            Self::Off => f.write_str("snapshots are switched off: the limit of their number is 0"),
            Self::Busy => f.write_str("another snapshot was being taken at that moment"),
            Self::Rate { limit } => write!(f, "the limit of {limit} snapshots a second was reached"),
            Self::Resident { found, limit } => {
                write!(f, "the process has {} resident, the limit is {}", Bytes(found), Bytes(limit))
            }
            Self::Failed { step, errno } => {
                write!(f, "the system refused the snapshot: {step}: {}", io::Error::from_raw_os_error(errno))
            }
        }
    }
}

impl std::error::Error for Refusal {}

/// 1.4 GiB; whole numbers without a fraction. Rounded up, so that what is beyond a limit looks it.
struct Bytes(u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [(1 << 30, "GiB"), (1 << 20, "MiB")];
        let (unit, name) = units.into_iter().find(|unit| self.0 >= unit.0).unwrap_or((1 << 10, "KiB"));
        let tenths = self.0.saturating_mul(10).div_ceil(unit);
        match tenths % 10 {
            0 => write!(f, "{} {name}", tenths / 10),
            fraction => write!(f, "{}.{fraction} {name}", tenths / 10),
        }
    }
}

/// The snapshots of a server, within their [`Limits`]. Clones share them.
///
/// A thread named `purlin-debugger` sees the copies out; it sleeps until one ends. When the last clone is dropped all of them
/// end, and are reaped before the drop returns. When the process ends, in whatever way, they end by themselves.
#[derive(Clone)]
pub struct Snapshots {
    pub(crate) shared: Arc<Shared>,
}

pub(crate) struct Shared {
    limits: Limits,
    keeper: Keeper,
    taken: Mutex<Taken>,
    clock: Arc<AtomicU64>,
}

#[derive(Default)]
struct Taken {
    /// When, within the last second.
    recent: VecDeque<Instant>,
    /// Those that have not ended, and some that have.
    alive: Vec<Arc<Kept>>,
}

/// A copy, and when it was last of use.
struct Kept {
    frozen: Arc<Frozen>,
    /// By `clock`, which goes on by one with each use of any.
    used: AtomicU64,
    clock: Arc<AtomicU64>,
}

impl Kept {
    fn touch(&self) {
        self.used.store(self.clock.fetch_add(1, Ordering::Relaxed), Ordering::Relaxed);
    }
}

impl Snapshots {
    /// Starts the thread; takes no snapshot yet.
    ///
    /// To be called after the process has become what it stays: a server that forks into the background leaves the thread
    /// behind.
    ///
    /// # Errors
    ///
    /// The system allows no thread, or no descriptor.
    pub fn new(limits: Limits) -> io::Result<Self> {
        let keeper = Keeper::start()?;
        let mut taken = Taken::default();
        // So that taking one need not allocate under the lock.
        taken.recent.reserve(limits.per_second.min(1024));
        taken.alive.reserve(limits.snapshots.min(1024));
        let shared = Shared { limits, keeper, taken: Mutex::new(taken), clock: Arc::default() };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// How many snapshots are alive now.
    pub fn count(&self) -> usize {
        let taken = self.shared.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.alive.iter().filter(|kept| kept.frozen.ended().is_none()).count()
    }
}

impl fmt::Debug for Snapshots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Snapshots").field("limits", &self.shared.limits).finish_non_exhaustive()
    }
}

impl Shared {
    /// Copies the process, or says why not. Never waits for a lock.
    pub(crate) fn take(&self) -> Result<Snapshot, Refusal> {
        if !system::SUPPORTED {
            return Err(Refusal::Unsupported);
        }
        let limits = &self.limits;
        if limits.snapshots == 0 {
            return Err(Refusal::Off);
        }
        let mut taken = match self.taken.try_lock() {
            Ok(taken) => taken,
            // What a panic left behind is still a list of copies.
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return Err(Refusal::Busy),
        };
        let now = Instant::now();
        while taken.recent.front().is_some_and(|&at| now.duration_since(at) >= Duration::from_secs(1)) {
            taken.recent.pop_front();
        }
        if taken.recent.len() >= limits.per_second {
            return Err(Refusal::Rate { limit: limits.per_second });
        }
        // Where it cannot be found out (no /proc), fork will say whether there is room.
        let found = system::resident().unwrap_or(0);
        if found > limits.resident_bytes {
            return Err(Refusal::Resident { found, limit: limits.resident_bytes });
        }
        taken.recent.push_back(now);
        let fitting = limits.total_bytes / found.max(1);
        taken.make_room(limits.snapshots.min(usize::try_from(fitting).unwrap_or(usize::MAX)).max(1));
        let frozen = Frozen::take(limits.age, limits.answer_within)
            .map_err(|(step, error)| Refusal::Failed { step, errno: error.raw_os_error().unwrap_or(0) })?;
        let frozen = Arc::new(frozen);
        self.keeper.add(frozen.clone());
        let kept = Arc::new(Kept { frozen, used: AtomicU64::new(0), clock: self.clock.clone() });
        kept.touch();
        taken.alive.push(kept.clone());
        Ok(Snapshot { kept, taken: now, pages: Mutex::default() })
    }
}

impl Taken {
    /// Leaves room for one more.
    fn make_room(&mut self, limit: usize) {
        self.alive.retain(|kept| kept.frozen.ended().is_none());
        while self.alive.len() >= limit {
            // `limit` is at least 1, so there is one.
            let used = |kept: &Arc<Kept>| kept.used.load(Ordering::Relaxed);
            let Some(oldest) = (0..self.alive.len()).min_by_key(|&at| used(&self.alive[at])) else { return };
            self.alive.swap_remove(oldest).frozen.end(Ended::Evicted);
        }
    }
}

/// The memory of this process as it was at one moment.
///
/// It is a process of its own that shares all memory until one of the two changes it, and answers questions for its content;
/// `ps` shows it as `purlin-snapshot`. What is read comes in pages of 4096 bytes, which are kept: an engine may read byte by
/// byte. Dropping it ends the process. Reading may wait, at most [`Limits::answer_within`], so it is work for a thread of its
/// own and not for a task.
///
/// Not frozen is memory that is shared with other processes, and the other threads are not in it: their stacks are.
pub struct Snapshot {
    kept: Arc<Kept>,
    taken: Instant,
    pages: Mutex<Pages>,
}

/// What was read. Since nothing changes there, what is once known stays so; what cannot be read, too.
#[derive(Default)]
struct Pages {
    known: HashMap<u64, Option<Box<[u8; PAGE]>>>,
    questions: u64,
}

/// 16 MiB: then all are forgotten, and asked for again.
const KNOWN_PAGES: usize = 4096;

impl Snapshot {
    /// How long ago it was taken.
    pub fn age(&self) -> Duration {
        self.taken.elapsed()
    }

    /// How it ended, if it has: then nothing can be read any more, save what was.
    pub fn ended(&self) -> Option<Ended> {
        self.kept.frozen.ended()
    }

    /// The number of its process, for a debugger of the developer's choice: `gdb /proc/PID/exe PID`.
    pub fn pid(&self) -> u32 {
        self.kept.frozen.pid()
    }
}

impl Memory for Snapshot {
    fn read(&self, address: u64, buffer: &mut [u8]) -> Result<(), Unreadable> {
        self.kept.touch();
        let mut pages = self.pages.lock().unwrap_or_else(PoisonError::into_inner);
        let mut filled = 0;
        while filled < buffer.len() {
            let at = address.checked_add(filled as u64).ok_or(Unreadable::Unmapped { address: u64::MAX })?;
            let offset = (at % PAGE as u64) as usize;
            let page =
                pages.page(&self.kept.frozen, at - offset as u64)?.ok_or(Unreadable::Unmapped { address: at })?;
            let length = (PAGE - offset).min(buffer.len() - filled);
            buffer[filled..filled + length].copy_from_slice(&page[offset..offset + length]);
            filled += length;
        }
        Ok(())
    }
}

impl Pages {
    fn page(&mut self, frozen: &Frozen, address: u64) -> Result<Option<&[u8; PAGE]>, Unreadable> {
        if !self.known.contains_key(&address) {
            self.questions += 1;
            let page = frozen.page(self.questions, address)?;
            if self.known.len() >= KNOWN_PAGES {
                self.known.clear();
            }
            self.known.insert(address, page);
        }
        Ok(self.known[&address].as_deref())
    }
}

impl Drop for Snapshot {
    fn drop(&mut self) {
        // The reason does not matter: nobody is left to ask for it.
        self.kept.frozen.end(Ended::Closed);
    }
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Snapshot").field("age", &self.age()).field("ended", &self.ended()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_told_as_people_say_them() {
        for (bytes, text) in [
            (0, "0 KiB"),
            (700 << 10, "700 KiB"),
            (64 << 20, "64 MiB"),
            ((64 << 20) + 1, "64.1 MiB"),
            (1 << 30, "1 GiB"),
            (1_503_238_553, "1.4 GiB"),
            (5 << 40, "5120 GiB"),
        ] {
            assert_eq!(Bytes(bytes).to_string(), text);
        }
        let refusal = Refusal::Resident { found: 1_503_238_553, limit: 1 << 30 };
        assert_eq!(refusal.to_string(), "the process has 1.4 GiB resident, the limit is 1 GiB");
    }
}
