//! Parts of a peer's state: each has private fields, its own invariants, and no knowledge of
//! [`Raft`](super::Raft). The rules beside this folder use them.

mod apply_window;
mod steps;

pub(super) use apply_window::ApplyWindow;
pub(super) use steps::{PersistMark, Steps};
