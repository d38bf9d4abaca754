//! The thread that sees the frozen copies out: for their age, for their death, or when told.

use super::Frozen;
use crate::memory::Ended;
use std::ffi::c_int;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender, TryRecvError};
use std::thread::{self, JoinHandle};
use std::time::Instant;

/// One thread, asleep until something ends. It is the only one that kills and reaps, so no process is ever signalled by a
/// number that is somebody else's by now.
///
/// When dropped, it ends every copy and returns when they are reaped.
pub(crate) struct Keeper {
    // Both are taken apart by `drop`.
    sender: Option<Sender<Arc<Frozen>>>,
    thread: Option<JoinHandle<()>>,
    bell: Arc<Bell>,
}

impl Keeper {
    pub(crate) fn start() -> io::Result<Self> {
        let bell = Arc::new(Bell::new()?);
        let (sender, receiver) = mpsc::channel();
        let theirs = bell.clone();
        let thread = thread::Builder::new().name("purlin-debugger".into()).spawn(move || keep(&receiver, &theirs))?;
        Ok(Self { sender: Some(sender), thread: Some(thread), bell })
    }

    /// Takes charge of a copy. Does not block: the channel has no bound, and its receiver never sleeps in it.
    pub(crate) fn add(&self, frozen: Arc<Frozen>) {
        if let Some(sender) = &self.sender {
            // The thread ends only when this sender is gone.
            let _ = sender.send(frozen);
            self.bell.ring();
        }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.sender = None;
        self.bell.ring();
        if let Some(thread) = self.thread.take() {
            // It does not panic; and if it did, there would be nothing to do about it.
            let _ = thread.join();
        }
    }
}

fn keep(receiver: &Receiver<Arc<Frozen>>, bell: &Bell) {
    let mut kept: Vec<Arc<Frozen>> = Vec::new();
    let mut polled = Vec::new();
    loop {
        let closing = loop {
            match receiver.try_recv() {
                Ok(frozen) => kept.push(frozen),
                Err(TryRecvError::Empty) => break false,
                Err(TryRecvError::Disconnected) => break true,
            }
        };
        polled.clear();
        polled.push(libc::pollfd { fd: bell.0.as_raw_fd(), events: libc::POLLIN, revents: 0 });
        // No event is asked for: that the other end hung up is always told.
        polled.extend(kept.iter().map(|frozen| libc::pollfd { fd: frozen.socket(), events: 0, revents: 0 }));
        poll(&mut polled, if closing { Some(Instant::now()) } else { kept.iter().map(|frozen| frozen.until()).min() });
        if polled[0].revents != 0 {
            bell.silence();
        }
        let now = Instant::now();
        let mut polled = polled[1..].iter();
        kept.retain(|frozen| {
            let hung_up = polled.next().is_some_and(|polled| polled.revents != 0);
            if closing {
                frozen.end(Ended::Closed);
            } else if hung_up {
                // Unless a reason was given before: then this is its effect.
                frozen.end(Ended::Died);
            } else if frozen.until() <= now {
                frozen.end(Ended::Aged);
            }
            let ended = frozen.ended().is_some();
            if ended {
                frozen.reap();
            }
            !ended
        });
        if closing {
            return;
        }
    }
}

/// Waits until one of them has something to say, or the time has come.
fn poll(polled: &mut [libc::pollfd], until: Option<Instant>) {
    let timeout = until.map_or(-1, |until| {
        // Rounded up: waking too early would be to wake again at once.
        let milliseconds = until.saturating_duration_since(Instant::now()).as_nanos().div_ceil(1_000_000);
        c_int::try_from(milliseconds).unwrap_or(c_int::MAX)
    });
    // Failing (EINTR, ENOMEM) is to wake early, with nothing reported.
    polled.iter_mut().for_each(|polled| polled.revents = 0);
    // SAFETY: the pointer and the length are those of a slice.
    unsafe { libc::poll(polled.as_mut_ptr(), polled.len() as libc::nfds_t, timeout) };
}

/// What wakes the keeper out of its poll.
struct Bell(OwnedFd);

impl Bell {
    fn new() -> io::Result<Self> {
        // SAFETY: takes no pointer.
        let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: it was just opened, and is nobody else's.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    fn ring(&self) {
        let one = 1_u64;
        // SAFETY: eight bytes, as an eventfd wants. It fails only when it is ringing already.
        unsafe { libc::write(self.0.as_raw_fd(), (&raw const one).cast(), 8) };
    }

    fn silence(&self) {
        let mut count = 0_u64;
        // SAFETY: eight bytes, as an eventfd gives.
        unsafe { libc::read(self.0.as_raw_fd(), (&raw mut count).cast(), 8) };
    }
}
