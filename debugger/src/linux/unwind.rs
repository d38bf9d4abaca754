//! The frames of the current thread, by the unwinder that panics use.

use crate::memory::Registers;
use std::ffi::{c_int, c_void};

/// DWARF numbers of the registers that keep frames: System V ABI for x86_64, figure 3.36; DWARF for the Arm 64-bit
/// Architecture, §4.1.
#[cfg(target_arch = "x86_64")]
mod number {
    pub(super) const FRAME_POINTER: i32 = 6; // rbp
    pub(super) const BASE: i32 = 3; // rbx
}
#[cfg(target_arch = "aarch64")]
mod number {
    pub(super) const FRAME_POINTER: i32 = 29; // x29
    pub(super) const BASE: i32 = 19; // x19
}

/// The unwinder's state; only ever behind its pointer.
#[repr(C)]
struct Context {
    _private: [u8; 0],
}

const CONTINUE: c_int = 0; // _URC_NO_REASON
const STOP: c_int = 5; // _URC_END_OF_STACK

// Itanium C++ ABI, exception handling, §1.3 and §1.6. libgcc's and LLVM's unwinder both have them, and one of the two is part
// of every program that std is: std's own backtraces call them.
unsafe extern "C" {
    fn _Unwind_Backtrace(each: extern "C" fn(*mut Context, *mut c_void) -> c_int, data: *mut c_void) -> c_int;
    fn _Unwind_GetIPInfo(context: *mut Context, before_instruction: *mut c_int) -> usize;
    fn _Unwind_GetCFA(context: *mut Context) -> usize;
    fn _Unwind_GetGR(context: *mut Context, register: c_int) -> usize;
}

struct Walk<'a> {
    frames: &'a mut [Registers],
    count: usize,
    below: u64,
}

/// Fills `frames` with those of the current thread, innermost first, and says how many there are. Frames are left out up to
/// the one that `below` is an address in: a local variable of the function that wants to see its callers only.
pub(crate) fn unwind(frames: &mut [Registers], below: u64) -> usize {
    let mut walk = Walk { frames, count: 0, below };
    // SAFETY: `step` takes the `data` given here for the `Walk` it is, the walk outlives the call, and nothing else uses it
    // meanwhile.
    unsafe { _Unwind_Backtrace(step, (&raw mut walk).cast()) };
    walk.count
}

/// Notes one frame. Must not panic: it is called by C.
extern "C" fn step(context: *mut Context, data: *mut c_void) -> c_int {
    // SAFETY: `unwind` passes its own `Walk`, which lives until `_Unwind_Backtrace` returns, and is not used by anyone else
    // until then.
    let walk = unsafe { &mut *data.cast::<Walk<'_>>() };
    let mut before_instruction = 0;
    // SAFETY: the unwinder lends a valid context for the time of this call. Asking for a general register is allowed for those
    // that every frame preserves, whose place the unwinder knows in each frame; both numbers are of that kind.
    let (ip, sp, frame_pointer, base) = unsafe {
        (
            _Unwind_GetIPInfo(context, &raw mut before_instruction) as u64,
            // Of a frame being visited, the ABI's "canonical frame address" is the one of the frame it called: this
            // frame's own stack pointer at that call. Both unwinders agree.
            _Unwind_GetCFA(context) as u64,
            _Unwind_GetGR(context, number::FRAME_POINTER) as u64,
            _Unwind_GetGR(context, number::BASE) as u64,
        )
    };
    if ip == 0 {
        return STOP;
    }
    // The stack grows down: a frame whose lowest address is below the mark is the mark's own, or was called by it.
    if sp <= walk.below {
        return CONTINUE;
    }
    let Some(frame) = walk.frames.get_mut(walk.count) else {
        return STOP;
    };
    walk.count += 1;
    // A return address may be the first of the next function, when the call was the last thing of its own.
    *frame = Registers { ip: if before_instruction == 0 { ip - 1 } else { ip }, sp, frame_pointer, base };
    CONTINUE
}
