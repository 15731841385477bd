//! Who watches a peer, turn by turn.

use std::fmt;
use std::sync::Arc;

use crate::raft::{Observation, Raft};

/// Is shown the peer's state at the end of each of its turns: after all that the turn brought in is decided, and before
/// anything of it leaves for a disk, another member or the state machine. Shows nothing unless it is given a function.
///
/// The function runs on the peer's loop: it should be short, and a panic in it stops the node.
#[derive(Clone, Default)]
pub struct Observer(Option<Watch>);

type Watch = Arc<dyn Fn(&Observation<'_>) + Send + Sync>;

impl Observer {
    /// Shows everything to `watch`.
    pub fn new(watch: impl Fn(&Observation<'_>) + Send + Sync + 'static) -> Observer {
        Observer(Some(Arc::new(watch)))
    }

    pub(super) fn show(&self, raft: &Raft) {
        if let Some(watch) = &self.0 {
            watch(&raft.observe());
        }
    }
}

impl fmt::Debug for Observer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Observer")
    }
}
