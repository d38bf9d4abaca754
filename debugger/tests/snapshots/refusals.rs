//! Why there is none, as a sentence that a page can show.

use super::{alone, children, descriptors, freeze, limits, snapshots};
use purlin_debugger::{Memory, Refusal};
use std::fs::File;
use std::hint::black_box;

/// Makes a system call fail in this process from now on, as a sandbox does.
pub(super) fn forbid(call: libc::c_long, errno: i32) {
    let step = |code: u32, yes, no, k| libc::sock_filter { code: code as u16, jt: yes, jf: no, k };
    let program = [
        // The number of the call is the first word of what a filter sees.
        step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
        step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 1, call as u32),
        step(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ERRNO | errno as u32),
        step(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog { len: program.len() as u16, filter: program.as_ptr().cast_mut() };
    unsafe {
        assert_eq!(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
        let flags = libc::SECCOMP_FILTER_FLAG_TSYNC;
        let result = libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &raw const program);
        assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
    }
}

fn refusal(snapshots: &purlin_debugger::Snapshots) -> Refusal {
    let captured = snapshots.capture().expect("this thread is not capturing");
    assert!(!captured.registers.is_empty(), "frames there are always");
    captured.memory.expect_err("it is refused")
}

#[test]
fn a_process_that_is_too_large_is_not_copied() {
    alone("refusals::a_process_that_is_too_large_is_not_copied", || {
        let snapshots = snapshots(limits().resident_bytes(64 << 20));
        drop(freeze(&snapshots));
        let large = black_box(vec![1_u8; 96 << 20]);
        let refusal = refusal(&snapshots);
        let Refusal::Resident { found, limit } = refusal else { panic!("{refusal}") };
        assert_eq!(limit, 64 << 20);
        assert!((90 << 20..160 << 20).contains(&found), "{found}");
        let text = refusal.to_string();
        assert!(text.starts_with("the process has ") && text.ends_with(" MiB resident, the limit is 64 MiB"), "{text}");
        assert!(refusal.is_lasting());
        drop(black_box(large));
        drop(freeze(&snapshots));
    });
}

#[test]
fn none_are_taken_when_none_may_be() {
    let off = snapshots(limits().snapshots(0));
    assert_eq!(refusal(&off), Refusal::Off);
    assert_eq!(refusal(&off).to_string(), "snapshots are switched off: the limit of their number is 0");
    let never = snapshots(limits().per_second(0));
    assert_eq!(refusal(&never), Refusal::Rate { limit: 0 });
}

#[test]
fn a_system_that_allows_no_process_is_a_reason() {
    alone("refusals::a_system_that_allows_no_process_is_a_reason", || {
        let before = descriptors(std::process::id());
        let snapshots = snapshots(limits());
        drop(freeze(&snapshots));
        forbid(libc::SYS_clone, libc::EAGAIN);
        let refusal = refusal(&snapshots);
        assert_eq!(refusal, Refusal::Failed { step: "fork", errno: libc::EAGAIN });
        let text = refusal.to_string();
        assert!(text.starts_with("the system refused the snapshot: fork: "), "{text}");
        assert!(refusal.is_lasting());
        drop(snapshots);
        assert_eq!((descriptors(std::process::id()), children()), (before, vec![]));
    });
}

#[test]
fn too_many_open_files_are_a_reason() {
    alone("refusals::too_many_open_files_are_a_reason", || {
        let snapshots = snapshots(limits());
        let files: Vec<File> = (0..10).map(|_| File::open("/dev/null").expect("there is one")).collect();
        let limit = libc::rlimit { rlim_cur: 10, rlim_max: 10 };
        assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) }, 0);
        assert_eq!(refusal(&snapshots), Refusal::Failed { step: "socketpair", errno: libc::EMFILE });
        drop(files);
        drop(freeze(&snapshots));
    });
}

/// Linux before 5.9, and sandboxes that do not know the call.
#[test]
fn where_many_descriptors_cannot_be_closed_at_once_they_are_closed_one_by_one() {
    alone("refusals::where_many_descriptors_cannot_be_closed_at_once_they_are_closed_one_by_one", || {
        let snapshots = snapshots(limits());
        let _files: Vec<File> = (0..100).map(|_| File::open("/dev/null").expect("there is one")).collect();
        forbid(libc::SYS_close_range, libc::ENOSYS);
        let (snapshot, mut byte) = (freeze(&snapshots), [0]);
        let value = black_box(6_u8);
        snapshot.read(&raw const value as u64, &mut byte).expect("it is alive");
        assert_eq!(descriptors(snapshot.pid()), 1);
    });
}

/// The fallback when everything else is refused: the live memory, in the function that captured.
#[test]
fn what_is_refused_for_good_can_be_read_on_the_spot() {
    let snapshots = snapshots(limits().snapshots(0));
    let value = black_box(8_u8);
    let captured = snapshots.scope(purlin_debugger::capture).expect("it is watched");
    assert!(captured.memory.is_err_and(|refusal| refusal.is_lasting()));
    let mut byte = [0];
    let memory = purlin_debugger::LiveMemory::new().expect("some way of reading");
    memory.read(&raw const value as u64, &mut byte).expect("it is here");
    assert_eq!(byte, [8]);
}
