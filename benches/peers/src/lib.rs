//! What the benches beside the peers share: servers in processes of their own, and the load on them.

pub mod drive;
pub mod wire;
