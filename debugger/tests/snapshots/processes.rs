//! The frozen copy among other processes: what it holds, what it hears, when it ends.

use super::{alone, children, descriptors, eventually, freeze, limits, process, snapshots, started};
use purlin_debugger::{Ended, Memory, Refusal, Unreadable};
use std::hint::black_box;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

/// Makes sure that the copy has come as far as to answer.
fn settle(snapshot: &purlin_debugger::Snapshot) {
    snapshot.read(&raw const *snapshot as u64, &mut [0]).expect("it is alive");
}

#[test]
fn it_holds_nothing_open_but_its_socket() {
    let snapshots = snapshots(limits());
    let snapshot = freeze(&snapshots);
    settle(&snapshot);
    assert_eq!(descriptors(snapshot.pid()), 1);
}

#[test]
fn it_is_known_by_its_name_and_first_to_go_for_want_of_memory() {
    let snapshots = snapshots(limits());
    let snapshot = freeze(&snapshots);
    settle(&snapshot);
    let file = |name| std::fs::read_to_string(format!("/proc/{}/{name}", snapshot.pid())).expect("it is alive");
    assert_eq!(file("comm"), "purlin-snapshot\n");
    assert_eq!(file("oom_score_adj"), "1000\n");
}

#[test]
fn a_port_can_be_bound_again_while_it_lives() {
    let snapshots = snapshots(limits());
    let listener = TcpListener::bind("127.0.0.1:0").expect("some port is free");
    let address = listener.local_addr().expect("it is bound");
    let snapshot = freeze(&snapshots);
    settle(&snapshot);
    drop(listener);
    TcpListener::bind(address).expect("the snapshot does not hold it");
    assert_eq!(snapshot.ended(), None);
}

#[test]
fn a_client_sees_the_end_of_its_connection_while_it_lives() {
    let snapshots = snapshots(limits());
    let listener = TcpListener::bind("127.0.0.1:0").expect("some port is free");
    let mut client = TcpStream::connect(listener.local_addr().expect("it is bound")).expect("it listens");
    client.set_read_timeout(Some(Duration::from_secs(10))).expect("a time that can be set");
    let (mut server, _) = listener.accept().expect("a client is there");
    let snapshot = freeze(&snapshots);
    settle(&snapshot);
    server.write_all(b"bye").expect("the client is there");
    // Without a shutdown: the last descriptor of it has to be closed.
    drop(server);
    let mut text = String::new();
    client.read_to_string(&mut text).expect("the end comes");
    assert_eq!((text.as_str(), snapshot.ended()), ("bye", None));
}

#[test]
fn it_outlives_the_thread_that_failed() {
    let snapshots = snapshots(limits());
    let snapshot = std::thread::scope(|scope| scope.spawn(|| freeze(&snapshots)).join()).expect("it does not panic");
    let value = black_box(4_u8);
    settle(&snapshot);
    assert_eq!((value, snapshot.ended()), (4, None));
}

/// Whose parent dies becomes a child of this process, instead of one that may not reap it.
fn be_the_heir() {
    assert_eq!(unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) }, 0);
}

/// Waits for the end of a process whose parent is dead.
fn inherit(pid: u32) {
    let mut status = 0;
    eventually("the snapshot is dead", || unsafe {
        libc::waitpid(pid as libc::pid_t, &raw mut status, libc::__WALL | libc::WNOHANG) == pid as libc::pid_t
    });
    assert!(libc::WIFEXITED(status), "by itself: {status:#x}");
}

#[test]
fn it_dies_with_its_parent_also_when_that_is_killed() {
    let test = "processes::it_dies_with_its_parent_also_when_that_is_killed";
    be_the_heir();
    let Some((mut parent, _output, said)) = started(test) else {
        let snapshots = snapshots(limits());
        let snapshot = freeze(&snapshots);
        settle(&snapshot);
        println!("says {}", snapshot.pid());
        // Until it is killed.
        let _ = std::io::stdin().read(&mut [0]);
        return;
    };
    let pid = said.parse().expect("a number");
    assert!(process(pid).is_some_and(|(_, its_parent)| its_parent == parent.id()));
    parent.kill().expect("it is ours to kill");
    parent.wait().expect("it was killed");
    inherit(pid);
}

#[test]
fn it_dies_with_its_parent_when_that_exits_without_a_word() {
    let test = "processes::it_dies_with_its_parent_when_that_exits_without_a_word";
    be_the_heir();
    let Some((mut parent, _output, said)) = started(test) else {
        let snapshots = snapshots(limits());
        let snapshot = freeze(&snapshots);
        settle(&snapshot);
        println!("says {}", snapshot.pid());
        std::process::exit(0);
    };
    let pid = said.parse().expect("a number");
    assert!(parent.wait().expect("it exits").success());
    inherit(pid);
}

#[test]
fn one_that_was_killed_is_reaped_and_says_so() {
    let snapshots = snapshots(limits());
    let snapshot = freeze(&snapshots);
    settle(&snapshot);
    unsafe { libc::kill(snapshot.pid() as libc::pid_t, libc::SIGKILL) };
    eventually("it is reaped", || process(snapshot.pid()).is_none());
    assert_eq!(snapshot.ended(), Some(Ended::Died));
    assert_eq!(snapshots.count(), 0);
    assert_eq!(snapshot.read(8, &mut [0]), Err(Unreadable::Ended(Ended::Died)));
}

#[test]
fn one_that_was_stopped_is_late_and_recovers() {
    let snapshots = snapshots(limits().answer_within(Duration::from_millis(20)));
    let values: Vec<u8> = (0..5).flat_map(|n| [n; 4096]).collect();
    let snapshot = freeze(&snapshots);
    let mut byte = [0];
    let mut read = |n: usize| snapshot.read(&raw const values[n * 4096] as u64, &mut byte).map(|()| byte[0]);
    eventually("it answers", || read(0) == Ok(0));
    let signal = |signal| unsafe { libc::kill(snapshot.pid() as libc::pid_t, signal) };
    signal(libc::SIGSTOP);
    eventually("it is stopped", || process(snapshot.pid()).is_some_and(|(state, _)| state == 'T'));
    for n in 1..4 {
        assert_eq!(read(n), Err(Unreadable::Late));
    }
    signal(libc::SIGCONT);
    // Its late answers are not taken for those asked for now.
    for n in [4, 3, 2, 1] {
        let mut answer = Err(Unreadable::Late);
        eventually("it answers again", || {
            answer = read(n);
            answer != Err(Unreadable::Late)
        });
        assert_eq!(answer, Ok(n as u8));
    }
}

/// `kill`ing a whole group, closing the terminal, Ctrl-C and Ctrl-Z: what becomes of the server is the server's affair.
#[test]
fn no_signal_but_the_two_that_cannot_be_refused_disturbs_it() {
    let snapshots = snapshots(limits());
    let snapshot = freeze(&snapshots);
    // Also before it has come to anything.
    for signal in (1..=64).filter(|signal| ![libc::SIGKILL, libc::SIGSTOP].contains(signal)) {
        unsafe { libc::kill(snapshot.pid() as libc::pid_t, signal) };
    }
    settle(&snapshot);
    assert_eq!(snapshot.ended(), None);
}

#[test]
fn its_parent_hears_nothing_of_its_signals_nor_it_of_its_parents() {
    alone("processes::its_parent_hears_nothing_of_its_signals_nor_it_of_its_parents", || {
        static HEARD: AtomicUsize = AtomicUsize::new(0);
        extern "C" fn hear(_: libc::c_int) {
            // What tokio does: into a pipe that a forked process would share.
            unsafe { libc::write(PIPE[1].load(Ordering::SeqCst) as libc::c_int, b"!".as_ptr().cast(), 1) };
            HEARD.fetch_add(1, Ordering::SeqCst);
        }
        static PIPE: [AtomicUsize; 2] = [const { AtomicUsize::new(0) }; 2];
        let mut fds = [0; 2];
        assert_eq!(unsafe { libc::pipe2(fds.as_mut_ptr(), libc::O_NONBLOCK | libc::O_CLOEXEC) }, 0);
        (0..2).for_each(|end| PIPE[end].store(fds[end] as usize, Ordering::SeqCst));
        let written = || {
            let mut bytes = [0_u8; 64];
            unsafe { libc::read(fds[0], bytes.as_mut_ptr().cast(), 64) }.max(0)
        };
        let signals =
            [libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGCHLD, libc::SIGUSR1, libc::SIGTSTP, libc::SIGQUIT];
        let handler = hear as extern "C" fn(libc::c_int) as libc::sighandler_t;
        for signal in signals {
            assert_ne!(unsafe { libc::signal(signal, handler) }, libc::SIG_ERR);
        }
        let mask = || {
            let status = std::fs::read_to_string("/proc/thread-self/status").expect("/proc is there");
            status.lines().find(|line| line.starts_with("SigBlk")).map(str::to_owned)
        };
        let before = mask();

        let snapshots = snapshots(limits());
        let snapshot = freeze(&snapshots);
        settle(&snapshot);
        assert_eq!(mask(), before, "the signals of the thread are as they were");

        for signal in signals {
            unsafe { libc::kill(snapshot.pid() as libc::pid_t, signal) };
        }
        settle(&snapshot);
        assert_eq!((HEARD.load(Ordering::SeqCst), written()), (0, 0));

        // Ctrl-C goes to the whole group: the server hears it once.
        assert_eq!(unsafe { libc::setpgid(0, 0) }, 0);
        let in_group = freeze(&snapshots);
        settle(&in_group);
        unsafe { libc::kill(0, libc::SIGINT) };
        eventually("the parent hears it", || HEARD.load(Ordering::SeqCst) == 1);
        settle(&in_group);
        assert_eq!(written(), 1);

        let pids = [snapshot.pid(), in_group.pid()];
        drop((snapshot, in_group));
        eventually("they are gone", || pids.iter().all(|&pid| process(pid).is_none()));
        assert_eq!(HEARD.load(Ordering::SeqCst), 1, "their end raises no SIGCHLD");
    });
}

#[test]
fn the_application_and_it_do_not_take_each_others_children() {
    alone("processes::the_application_and_it_do_not_take_each_others_children", || {
        let snapshots = snapshots(limits());
        let snapshot = freeze(&snapshots);
        let mut status = 0;
        // An application that waits for whatever there is finds nothing to wait for.
        assert_eq!(unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG) }, -1);
        assert_eq!(std::io::Error::last_os_error().raw_os_error(), Some(libc::ECHILD));
        let mut own = Command::new("sh").args(["-c", "read line; exit 7"]).stdin(std::process::Stdio::piped()).spawn();
        let own = own.as_mut().expect("there is a shell");
        drop(snapshot);
        eventually("the snapshot is reaped", || children() == [own.id()]);
        drop(own.stdin.take());
        assert_eq!(own.wait().expect("it is still ours").code(), Some(7));
    });
}

/// Threads that allocate, fork, fail and read, all at once, and signals on top.
#[test]
fn many_threads_at_once_lose_nothing() {
    alone("processes::many_threads_at_once_lose_nothing", || {
        const THREADS: usize = 8;
        const SNAPSHOTS: usize = 40;
        extern "C" fn ignore(_: libc::c_int) {}
        unsafe { libc::signal(libc::SIGUSR1, ignore as extern "C" fn(libc::c_int) as libc::sighandler_t) };
        let before = descriptors(std::process::id());
        let snapshots = snapshots(limits().snapshots(4));
        let (taken, busy, over) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicBool::new(false));
        /// Tells the thread that only makes noise, also when a test fails.
        struct Over<'a>(&'a AtomicBool);
        impl Drop for Over<'_> {
            fn drop(&mut self) {
                self.0.store(true, Ordering::SeqCst);
            }
        }
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut kept = Vec::new();
                for n in 0.. {
                    // The locks of the allocator and of stdio are held in most moments.
                    kept.push(vec![n as u8; 1 + n % 5000]);
                    if kept.len() > 1000 {
                        kept.clear();
                    }
                    eprint!("{}", if n % 100_000 == 0 { "." } else { "" });
                    if n % 64 == 0 {
                        unsafe { libc::kill(libc::getpid(), libc::SIGUSR1) };
                    }
                    if over.load(Ordering::SeqCst) {
                        return;
                    }
                }
            });
            let _over = Over(&over);
            let threads: Vec<_> = (0..THREADS)
                .map(|thread| {
                    let (snapshots, taken, busy) = (&snapshots, &taken, &busy);
                    scope.spawn(move || {
                        let mut round = 0;
                        while round < SNAPSHOTS {
                            let expected = (thread * SNAPSHOTS + round) as u64;
                            let mut value = black_box(expected);
                            let at = &raw const value as u64;
                            let captured = snapshots.capture().expect("this thread is not capturing");
                            *black_box(&mut value) = u64::MAX;
                            assert!(!captured.registers.is_empty());
                            match captured.memory {
                                Ok(snapshot) => {
                                    round += 1;
                                    taken.fetch_add(1, Ordering::SeqCst);
                                    let mut bytes = [0; 8];
                                    match snapshot.read(at, &mut bytes) {
                                        Ok(()) => assert_eq!(u64::from_ne_bytes(bytes), expected),
                                        Err(error) => assert_eq!(error, Unreadable::Ended(Ended::Evicted)),
                                    }
                                }
                                Err(refusal) => {
                                    assert_eq!(refusal, Refusal::Busy);
                                    busy.fetch_add(1, Ordering::SeqCst);
                                    std::thread::yield_now();
                                }
                            }
                        }
                    })
                })
                .collect();
            for thread in threads {
                thread.join().expect("it does not panic");
            }
        });
        let (taken, busy) = (taken.into_inner(), busy.into_inner());
        assert_eq!(taken, THREADS * SNAPSHOTS);
        drop(snapshots);
        assert_eq!(children(), []);
        assert_eq!(descriptors(std::process::id()), before);
        println!("{taken} taken, {busy} refused");
    });
}

/// A server all of whose requests fail, and are captured: each gets its answer, and the end of its connection.
#[test]
fn a_server_that_fails_all_the_time_answers_each_request() {
    alone("processes::a_server_that_fails_all_the_time_answers_each_request", || {
        const CLIENTS: usize = 6;
        const REQUESTS: usize = 60;
        let before = descriptors(std::process::id());
        let snapshots = snapshots(limits());
        let listener = TcpListener::bind("127.0.0.1:0").expect("some port is free");
        let address = listener.local_addr().expect("it is bound");
        let taken = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..CLIENTS {
                let (listener, snapshots, taken) = (&listener, &snapshots, &taken);
                scope.spawn(move || {
                    for _ in 0..REQUESTS {
                        let (mut server, _) = listener.accept().expect("a client comes");
                        let mut request = [0; 4];
                        server.read_exact(&mut request).expect("it asks");
                        let captured = snapshots.capture().expect("this thread is not capturing");
                        taken.fetch_add(usize::from(captured.memory.is_ok()), Ordering::SeqCst);
                        server.write_all(&request).expect("it waits for that");
                    }
                });
                scope.spawn(move || {
                    for number in 0..REQUESTS as u32 {
                        let mut client = TcpStream::connect(address).expect("it listens");
                        client.set_read_timeout(Some(Duration::from_secs(20))).expect("a time that can be set");
                        client.write_all(&number.to_ne_bytes()).expect("the server is there");
                        let mut answer = Vec::new();
                        client.read_to_end(&mut answer).expect("an answer, and its end");
                        assert_eq!(answer, number.to_ne_bytes());
                    }
                });
            }
        });
        // Most were in each other's way.
        assert_ne!(taken.into_inner(), 0);
        drop((snapshots, listener));
        assert_eq!((children(), descriptors(std::process::id())), (vec![], before));
    });
}
