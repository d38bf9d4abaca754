//! What is read: the bytes of the moment, errors where there are none.

use super::{freeze, limits, snapshots};
use purlin_debugger::{LiveMemory, Memory, Snapshot, Unreadable};
use std::hint::black_box;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicU64, Ordering};

fn number(memory: &impl Memory, at: *const u64) -> u64 {
    let mut bytes = [0; 8];
    memory.read(at as u64, &mut bytes).expect("it is mapped");
    u64::from_ne_bytes(bytes)
}

#[test]
fn values_are_those_of_the_moment_of_capture() {
    static GLOBAL: AtomicU64 = AtomicU64::new(1);
    let snapshots = snapshots(limits());
    let mut local = black_box(2_u64);
    let mut heap = black_box(vec![3_u64; 100_000]);
    let first = freeze(&snapshots);

    GLOBAL.store(10, Ordering::SeqCst);
    *black_box(&mut local) = 20;
    black_box(&mut heap).fill(30);
    let second = freeze(&snapshots);
    let (at, last) = (heap.as_ptr(), &raw const heap[99_999]);
    drop(black_box(heap));

    for (snapshot, values) in [(first, [1, 2, 3]), (second, [10, 20, 30])] {
        assert_eq!(number(&snapshot, GLOBAL.as_ptr()), values[0]);
        assert_eq!(number(&snapshot, &raw const local), values[1]);
        assert_eq!(number(&snapshot, at), values[2]);
        assert_eq!(number(&snapshot, last), values[2]);
    }
    assert_eq!(local, 20);
}

#[test]
fn a_long_value_is_read_across_pages() {
    let snapshots = snapshots(limits());
    let text: Vec<u8> = (0..1_000_000_u32).map(|n| (n % 251) as u8).collect();
    let snapshot = freeze(&snapshots);
    let mut copy = vec![0; text.len() - 5];
    snapshot.read(text.as_ptr() as u64 + 5, &mut copy).expect("it is mapped");
    assert_eq!(copy, text[5..]);
    snapshot.read(8, &mut []).expect("nothing can be read anywhere");
}

/// Three pages of which the middle one may not be read.
struct Hole(*mut u8);

impl Hole {
    const PAGE: usize = 1 << 16; // no Linux has larger ones

    fn new() -> Self {
        unsafe {
            let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
            let start = libc::mmap(null_mut(), 3 * Self::PAGE, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0);
            assert_ne!(start, libc::MAP_FAILED);
            start.cast::<u8>().write_bytes(7, 3 * Self::PAGE);
            assert_eq!(libc::mprotect(start.byte_add(Self::PAGE), Self::PAGE, libc::PROT_NONE), 0);
            Self(start.cast())
        }
    }
}

impl Drop for Hole {
    fn drop(&mut self) {
        unsafe { libc::munmap(self.0.cast(), 3 * Self::PAGE) };
    }
}

fn each_bad_address_is_an_error(memory: &dyn Memory, hole: &Hole) {
    let at = hole.0 as u64;
    let page = Hole::PAGE as u64;
    for (address, length) in [
        (0, 1),
        (8, 8),
        (0xdead_beef_dead_beef, 8),             // no address of any process
        (0xffff_8000_0000_0000, 16),            // the kernel's
        (u64::MAX, 1),                          // the last
        (u64::MAX - 3, 8),                      // beyond it
        (at + page, 1),                         // may not be read
        (at + page - 4, 8),                     // runs into it
        (at + 2 * page - 4, 8),                 // comes out of it
        (at + page - 5000, 3 * Hole::PAGE / 2), // a long way into it
    ] {
        let mut buffer = vec![0; length];
        let error = memory.read(address, &mut buffer).expect_err(&format!("{address:#x} cannot be read"));
        assert!(matches!(error, Unreadable::Unmapped { .. }), "{address:#x}: {error}");
        assert!(error.to_string().starts_with("no readable memory at 0x"), "{error}");
    }
    // None of these harmed what comes after.
    let mut byte = [0];
    for address in [at, at + page - 1, at + 2 * page, at + 3 * page - 1] {
        memory.read(address, &mut byte).expect("the pages around it can be read");
        assert_eq!(byte, [7]);
    }
}

#[test]
fn an_address_where_nothing_is_mapped_is_an_error() {
    let (snapshots, hole) = (snapshots(limits()), Hole::new());
    let snapshot = freeze(&snapshots);
    each_bad_address_is_an_error(&snapshot, &hole);
    // A second time, from what is remembered.
    each_bad_address_is_an_error(&snapshot, &hole);
    assert_eq!(snapshot.ended(), None);
}

#[test]
fn a_bad_address_of_the_live_process_is_an_error_too() {
    let (memory, hole) = (LiveMemory::new().expect("some way of reading"), Hole::new());
    each_bad_address_is_an_error(&memory, &hole);
    let value = black_box(5_u64);
    assert_eq!(number(&memory, &raw const value), 5);
}

/// Old sandboxes forbid the call that reads another process, even for oneself.
#[test]
fn the_live_process_is_read_through_a_pipe_where_the_call_is_forbidden() {
    super::alone("memory::the_live_process_is_read_through_a_pipe_where_the_call_is_forbidden", || {
        let before = super::descriptors(std::process::id());
        super::refusals::forbid(libc::SYS_process_vm_readv, libc::EPERM);
        let (memory, hole) = (LiveMemory::new().expect("a pipe"), Hole::new());
        assert_eq!(super::descriptors(std::process::id()), before + 2);
        each_bad_address_is_an_error(&memory, &hole);
        let text: Vec<u8> = (0..200_000_u32).map(|n| (n % 251) as u8).collect();
        let mut copy = vec![0; text.len() - 3];
        memory.read(text.as_ptr() as u64 + 3, &mut copy).expect("it is mapped");
        assert_eq!(copy, text[3..]);
    });
}

#[test]
fn more_is_read_than_is_remembered() {
    let snapshots = snapshots(limits());
    // 20 MiB of zeros, which take no memory, with a mark on each page.
    let mut pages = vec![0_u8; 20 << 20];
    pages.iter_mut().step_by(4096).enumerate().for_each(|(n, byte)| *byte = (n % 255) as u8 + 1);
    let snapshot = freeze(&snapshots);
    for _ in 0..2 {
        for (n, byte) in pages.iter().step_by(4096).enumerate() {
            let mut read = [0];
            snapshot.read(&raw const *byte as u64, &mut read).expect("it is mapped");
            assert_eq!(read, [(n % 255) as u8 + 1]);
        }
    }
}

#[test]
fn threads_may_read_one_snapshot_together() {
    fn shared<T: Send + Sync>() {}
    shared::<Snapshot>();
    let snapshots = snapshots(limits());
    let numbers: Vec<u64> = (0..100_000).collect();
    let snapshot = freeze(&snapshots);
    std::thread::scope(|scope| {
        for part in 0..4 {
            let (snapshot, numbers) = (&snapshot, &numbers);
            scope.spawn(move || {
                for at in (part..numbers.len()).step_by(97) {
                    assert_eq!(number(snapshot, &raw const numbers[at]), at as u64);
                }
            });
        }
    });
}
