//! Places of the site's own to keep sessions in: a file each. `src/stack.rs` says which is used.

