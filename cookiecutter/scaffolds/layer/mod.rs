//! Layers of the site's own: a file each. They stand in `src/stack.rs` beside Purlin's.

