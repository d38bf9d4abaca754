//! What the engine finds in a process that was stopped: this one.
#![cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
// Variables are there to be looked at from outside.
#![allow(missing_docs, clippy::useless_vec)]

mod damage;
mod evaluate;
mod frames;
mod lacks;
mod support;
mod values;
