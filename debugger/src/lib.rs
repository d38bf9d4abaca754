//! Reads the variables of a failed request from a frozen copy of the process that served it.
//!
//! No debugger is started and no right to trace is needed: at the moment of failure the process copies itself with `fork`,
//! the copy serves its memory over a socket, and the variables are decoded from the debug information of the executable, at
//! leisure, while the server answers on. Of use to any Rust server.
//!
//! ```
//! use purlin_debugger::{Limits, Memory, Snapshots, capture};
//!
//! let snapshots = Snapshots::new(Limits::new())?;
//! let mut answer = 42_u64;
//! let address = &raw const answer as u64;
//!
//! // Somewhere below a watched request, something fails:
//! let capture = snapshots.scope(|| capture()).expect("this thread is watched");
//! answer = 0;
//!
//! match capture.memory {
//!     Ok(snapshot) => {
//!         let mut bytes = [0; 8];
//!         snapshot.read(address, &mut bytes)?;
//!         assert_eq!(u64::from_ne_bytes(bytes), 42); // as it was, not as it is
//!         assert!(!capture.registers.is_empty());
//!     }
//!     Err(refusal) => println!("no snapshot: {refusal}"),
//! }
//! # assert_eq!(answer, 0);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! What it read is then shown at leisure, on a thread of its own:
//!
//! ```
//! use purlin_debugger::{Capture, Class, Image, Inspector, Roots, frames};
//!
//! fn page(image: &Image, capture: &Capture) {
//!     let roots = Roots { own: vec![env!("CARGO_MANIFEST_DIR").into()], ..Roots::default() };
//!     let Ok(memory) = &capture.memory else { return };
//!     let secret = |name: &str| name.contains("password");
//!     let inspector = Inspector::new(image, memory).mask(&secret);
//!     for frame in frames(image, &capture.registers, &roots) {
//!         println!("{} {:?}:{:?}", frame.function, frame.file, frame.line);
//!         if frame.class == Class::Own {
//!             for value in inspector.variables(&frame).values {
//!                 println!("  {}: {} = {}", value.name, value.type_name, value.text);
//!             }
//!             match inspector.evaluate(&frame, "items.iter().map(|i| i.price).sum()") {
//!                 Ok(value) => println!("  = {}", value.text),
//!                 Err(mistake) => println!("  {mistake}"), // no variable `items` (there are: ...)
//!             }
//!         }
//!     }
//! }
//! # let snapshots = purlin_debugger::Snapshots::new(purlin_debugger::Limits::new())?;
//! # if let Ok(image) = Image::open() { page(&image, &snapshots.scope(|| purlin_debugger::capture()).unwrap()); }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Where it works
//!
//! Snapshots are taken on Linux, on x86_64 and aarch64. Everywhere else the crate compiles, and each capture says why it
//! holds nothing ([`Refusal::Unsupported`]).
//!
//! # What it must not be used for
//!
//! A snapshot holds everything that the process held: keys, sessions, passwords. Whoever can read one can read them. This
//! crate only reads and bounds; who may look is for its user to decide, and a release build should not contain it.

#![deny(unsafe_op_in_unsafe_fn)]

mod capture;
mod evaluate;
mod frames;
mod image;
mod layout;
mod live;
mod memory;
mod reader;
mod snapshot;
mod types;
mod values;
mod variables;

#[cfg(not(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64"))))]
mod elsewhere;
#[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
mod linux;

pub use capture::{Capture, Watch, capture, capture_panics, take_panicked};
pub use evaluate::{Candidate, Completion, Mistake, check};
pub use frames::{Class, Frame, Roots, frames};
pub use image::{Image, Lack};
pub use live::LiveMemory;
pub use memory::{Ended, Memory, Registers, Unreadable};
pub use reader::Bounds;
pub use snapshot::{Limits, Refusal, Snapshot, Snapshots};
pub use values::{Inspector, Listing, MASK, Value};

#[cfg(not(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64"))))]
use elsewhere as system;
#[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
use linux as system;
