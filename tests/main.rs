//! What Purlin promises, through its public API: a file per promise.

mod stack;
