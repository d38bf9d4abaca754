//! Reads the variables of a failed request from a frozen copy of the process that served it.
//!
//! No debugger is started and no right to trace is needed: the process copies itself, the copy serves its memory over a
//! socket, and the variables are decoded from the debug information of the executable. Of use to any Rust server.

#![deny(unsafe_op_in_unsafe_fn)]

pub mod memory;
