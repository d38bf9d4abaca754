//! The frozen copy: a fork of this process that serves its memory, and does nothing else.
//!
//! The two talk over a pair of sockets of the `SEQPACKET` kind, which keeps the borders of messages and reports when the
//! other end is gone. So the copy needs no right to be traced, and ends by itself when its parent ends, however that happens.
//! `PR_SET_PDEATHSIG` would not do: it fires when the *thread* that forked ends.

use crate::memory::{Ended, Unreadable};
use std::ffi::{CStr, c_int};
use std::io;
use std::mem::size_of;
use std::net::Shutdown;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{PoisonError, RwLock};
use std::time::{Duration, Instant};

/// What is read at a time, and so what the parent keeps. Either all of it can be read, or nothing: no page is smaller.
pub(crate) const PAGE: usize = 4096;

/// What the copies are called in `ps`; the kernel takes 15 bytes.
const NAME: &CStr = c"purlin-snapshot";

/// How much longer than its parent says the copy waits before it ends by itself. The parent's clock decides while it runs; this
/// one is for a parent that was stopped.
const GRACE: Duration = Duration::from_secs(5);

/// A year: beyond, clocks would have to be asked whether they reach that far.
const LONGEST: Duration = Duration::from_secs(365 * 86_400);

/// What the parent asks: `number` tells late answers from the one awaited.
#[repr(C)]
struct Question {
    number: u64,
    address: u64,
}

const ANSWER_HEAD: usize = 2 * size_of::<u64>();

/// How an answer begins; the page follows if `readable` is 1.
#[repr(C)]
struct AnswerHead {
    number: u64,
    readable: u64,
}

/// A frozen copy of this process, as its parent holds it. Its process is reaped by the [`Keeper`](super::Keeper) alone.
pub(crate) struct Frozen {
    pid: libc::pid_t,
    // std has no type for SEQPACKET; of a datagram socket's methods only `send` and `recv` are used, which are the same calls.
    // None once the process is reaped: whoever still holds the copy holds no descriptor.
    socket: RwLock<Option<UnixDatagram>>,
    patience: Duration,
    until: Instant,
    ended: AtomicU8,
}

impl Frozen {
    /// Forks. `age` bounds the life of the copy, `answer_within` each of its answers.
    ///
    /// # Errors
    ///
    /// The system call that failed, and how.
    pub(crate) fn take(age: Duration, answer_within: Duration) -> Result<Self, (&'static str, io::Error)> {
        let age = age.min(LONGEST);
        let (ours, theirs) = pair().map_err(|error| ("socketpair", error))?;
        let socket = UnixDatagram::from(ours);
        let patience = answer_within.max(Duration::from_millis(1));
        socket.set_read_timeout(Some(patience)).map_err(|error| ("setsockopt", error))?;
        socket.set_write_timeout(Some(patience)).map_err(|error| ("setsockopt", error))?;
        let pid = fork(theirs.as_raw_fd(), age.saturating_add(GRACE)).map_err(|error| ("fork", error))?;
        let socket = RwLock::new(Some(socket));
        Ok(Self { pid, socket, patience, until: Instant::now() + age, ended: AtomicU8::new(0) })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.pid.unsigned_abs()
    }

    /// When it is to end for its age.
    pub(super) fn until(&self) -> Instant {
        self.until
    }

    /// To poll on, by the keeper, which is the one to close it.
    pub(super) fn socket(&self) -> c_int {
        self.socket.read().unwrap_or_else(PoisonError::into_inner).as_ref().map_or(-1, AsRawFd::as_raw_fd)
    }

    /// How it ended, if it has.
    pub(crate) fn ended(&self) -> Option<Ended> {
        [None, Some(Ended::Evicted), Some(Ended::Aged), Some(Ended::Died), Some(Ended::Closed)]
            [usize::from(self.ended.load(Ordering::Acquire))]
    }

    /// Ends it; the first reason given is the one that is kept. The copy leaves as soon as it sees that nobody listens, and the
    /// keeper's poll returns.
    pub(crate) fn end(&self, reason: Ended) {
        let reason = match reason {
            Ended::Evicted => 1,
            Ended::Aged => 2,
            Ended::Died => 3,
            Ended::Closed => 4,
        };
        if self.ended.compare_exchange(0, reason, Ordering::AcqRel, Ordering::Acquire).is_err() {
            return;
        }
        // Not waited for: who writes is the keeper, which closes it.
        if let Ok(Some(socket)) = self.socket.try_read().as_deref() {
            // It fails only when the copy is gone already.
            let _ = socket.shutdown(Shutdown::Both);
        }
    }

    /// Reads the page that begins at `address`; none where nothing can be read. Two calls at once would take each other's
    /// answers: the caller sees to that.
    pub(crate) fn page(&self, number: u64, address: u64) -> Result<Option<Box<[u8; PAGE]>>, Unreadable> {
        let socket = self.socket.read().unwrap_or_else(PoisonError::into_inner);
        let Some(socket) = &*socket else { return Err(self.gone()) };
        let mut question = [0; size_of::<Question>()];
        question[..8].copy_from_slice(&number.to_ne_bytes());
        question[8..].copy_from_slice(&address.to_ne_bytes());
        let asked = Instant::now();
        self.retried(|| socket.send(&question))?;
        let mut answer = [0; ANSWER_HEAD + PAGE];
        loop {
            let length = self.retried(|| socket.recv(&mut answer))?;
            if length == 0 {
                return Err(self.gone());
            }
            let word = |at: usize| u64::from_ne_bytes(answer[at..at + 8].try_into().expect("eight bytes were cut out"));
            if length >= ANSWER_HEAD && word(0) == number {
                let page = answer[ANSWER_HEAD..].first_chunk().expect("the array was made with room for a page");
                let readable = word(8) == 1 && length == answer.len();
                return Ok(readable.then(|| Box::new(*page)));
            }
            // The late answer to a question that was given up.
            if asked.elapsed() > self.patience {
                return Err(Unreadable::Late);
            }
        }
    }

    fn retried(&self, mut call: impl FnMut() -> io::Result<usize>) -> Result<usize, Unreadable> {
        loop {
            match call() {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Err(Unreadable::Late),
                Err(_) => return Err(self.gone()),
                Ok(length) => return Ok(length),
            }
        }
    }

    fn gone(&self) -> Unreadable {
        self.end(Ended::Died);
        Unreadable::Ended(self.ended().unwrap_or(Ended::Died))
    }

    /// Sees to it that the process is gone and leaves no zombie. Only the keeper calls it, once.
    pub(super) fn reap(&self) {
        // 0: not ended yet. Hence not reaped by anyone, hence the number is still its own, and may be sent a signal. Anything
        // else: reaped now, or ECHILD, when something in this process waits for whatever there is.
        if wait(self.pid, libc::WNOHANG) == 0 {
            // SAFETY: takes no pointer.
            unsafe { libc::kill(self.pid, libc::SIGKILL) };
            wait(self.pid, 0);
        }
        *self.socket.write().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

/// Waits for this one process and no other: `waitpid(-1)` would take the children of the application from it. `__WALL`, since
/// a copy made without an exit signal is otherwise passed over.
fn wait(pid: libc::pid_t, flags: c_int) -> libc::pid_t {
    let mut status = 0;
    loop {
        // SAFETY: `status` is valid for writing.
        let result = unsafe { libc::waitpid(pid, &raw mut status, libc::__WALL | flags) };
        if result != -1 || io::Error::last_os_error().kind() != io::ErrorKind::Interrupted {
            return result;
        }
    }
}

fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let mut fds = [0; 2];
    // SAFETY: `fds` has room for the two numbers.
    let result =
        unsafe { libc::socketpair(libc::AF_UNIX, libc::SOCK_SEQPACKET | libc::SOCK_CLOEXEC, 0, fds.as_mut_ptr()) };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call succeeded, so both are open and nobody else's.
    Ok(unsafe { (OwnedFd::from_raw_fd(fds[0]), OwnedFd::from_raw_fd(fds[1])) })
}

/// Every signal there is, as the kernel's own set: libc leaves out two that it uses itself.
const ALL_SIGNALS: u64 = !0;

/// Replaces the signals that this thread holds back, and gives those before.
fn block(signals: u64) -> u64 {
    let (size, mut before) = (size_of::<u64>(), 0_u64);
    // SAFETY: both sets live on this stack and are of the size that the kernel is told.
    unsafe { libc::syscall(libc::SYS_rt_sigprocmask, SET_MASK, &raw const signals, &raw mut before, size) };
    before
}

const SET_MASK: usize = libc::SIG_SETMASK as usize;

/// Makes the copy, which serves at `socket` and never returns from here; gives the parent its number.
fn fork(socket: c_int, life: Duration) -> io::Result<libc::pid_t> {
    // The copy has the handlers of the process, which write into pipes that the two share: a Ctrl-C would be handled twice. So
    // before there is a copy, its signals are blocked, and stay so.
    let before = block(ALL_SIGNALS);
    // Not libc's `fork`: that runs the handlers of `pthread_atfork`, takes locks of malloc and stdio, and its child would raise
    // SIGCHLD and be found by an application that waits for any child.
    // SAFETY: without flags this is a fork with no exit signal: the copy has its own memory and descriptors, so whatever it
    // does is not seen here. What it may do is limited, since locks that other threads held stay locked in it: it calls
    // `serve` alone, which keeps to that.
    let pid = unsafe { libc::syscall(libc::SYS_clone, 0_usize, 0_usize, 0_usize, 0_usize, 0_usize) };
    if pid == 0 {
        // SAFETY: this is the copy, with all signals blocked; `socket` is open in it since it is in the parent.
        unsafe { serve(socket, life.as_secs()) }
    }
    let result = if pid < 0 { Err(io::Error::last_os_error()) } else { Ok(pid as libc::pid_t) };
    block(before);
    result
}

/// The whole life of the copy: answers questions until nobody asks any more.
///
/// Nothing here may allocate, lock, panic or unwind. The functions called are on POSIX's list of those that a signal handler
/// may call (`signal-safety(7)`), or system calls and nothing else.
///
/// # Safety
///
/// Only for the copy: closes every descriptor but `socket`, and ends the process.
unsafe fn serve(socket: c_int, seconds: u64) -> ! {
    // SAFETY: all pointers below are to locals which outlive the calls they are given to, or to constants, with their right
    // sizes; the one exception is the address asked for, which the kernel checks: it answers EFAULT where nothing is mapped.
    unsafe {
        close_all_but(socket);
        libc::prctl(libc::PR_SET_NAME, NAME.as_ptr());
        // Under want of memory, the copies are the first to go, before the server they are of.
        let file = libc::open(c"/proc/self/oom_score_adj".as_ptr(), libc::O_WRONLY);
        if file >= 0 {
            libc::write(file, c"1000".as_ptr().cast(), 4);
            libc::close(file);
        }
        let end = now().saturating_add(seconds);
        loop {
            let left = end.saturating_sub(now());
            if left == 0 {
                libc::_exit(0);
            }
            let mut poll = libc::pollfd { fd: socket, events: libc::POLLIN, revents: 0 };
            // At most a day at a time, which is within an int.
            if libc::poll(&raw mut poll, 1, left.min(86_400) as c_int * 1000) <= 0 {
                // Timed out, or interrupted (stopped and continued): looks at the clock again.
                continue;
            }
            let mut question = Question { number: 0, address: 0 };
            let size = size_of::<Question>();
            if libc::read(socket, (&raw mut question).cast(), size) != size as isize {
                // 0: the parent is gone, or wants no more.
                libc::_exit(0);
            }
            let mut head = AnswerHead { number: question.number, readable: 1 };
            // Only through this pointer from here on, as the kernel does.
            let head = &raw mut head;
            let mut parts = [
                libc::iovec { iov_base: head.cast(), iov_len: ANSWER_HEAD },
                libc::iovec { iov_base: question.address as *mut _, iov_len: PAGE },
            ];
            // musl's has fields of padding, so it cannot be written out.
            let mut message: libc::msghdr = std::mem::zeroed();
            message.msg_iov = (&raw mut parts).cast();
            message.msg_iovlen = 2;
            if libc::sendmsg(socket, &raw const message, libc::MSG_NOSIGNAL) < 0 {
                (*head).readable = 0;
                message.msg_iovlen = 1;
                if libc::sendmsg(socket, &raw const message, libc::MSG_NOSIGNAL) < 0 {
                    libc::_exit(0);
                }
            }
        }
    }
}

/// Closes what was inherited: listeners, whose port could otherwise not be bound again; sockets, whose clients would wait for
/// their end; pipes, whose readers would.
///
/// # Safety
///
/// Only for the copy.
unsafe fn close_all_but(kept: c_int) {
    let (below, above) = (kept as usize, kept as usize + 1);
    // SAFETY: no pointer but to a local. Nothing in the copy uses the descriptors that are closed.
    unsafe {
        let closed = below == 0 || libc::syscall(libc::SYS_close_range, 0_usize, below - 1, 0_usize) == 0;
        if closed && libc::syscall(libc::SYS_close_range, above, u32::MAX as usize, 0_usize) == 0 {
            return;
        }
        // Linux before 5.9 has no close_range, and a sandbox may not know it. The limit may have been lowered below a number
        // in use, hence the floor; and may be a thousand millions, hence the ceiling.
        let mut limit: libc::rlimit = std::mem::zeroed();
        libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit);
        let end = limit.rlim_cur.clamp(1 << 16, 1 << 20) as c_int;
        let mut fd = 0;
        while fd < end {
            if fd != kept {
                libc::close(fd);
            }
            fd = fd.wrapping_add(1);
        }
    }
}

/// Seconds of the clock that does not jump.
fn now() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is valid for writing.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    time.tv_sec as u64
}
