//! An observer of the peer's state, batch by batch.

use std::fmt;
use std::sync::Arc;

use crate::machine::{Machine, Outcome, Replica, Undecodable};
#[cfg(any(test, feature = "testing"))]
use crate::raft::LogId;
use crate::raft::{Entry, Observation, Raft};

/// Observes the peer's state at the end of each of its batches: after everything that the batch
/// received is decided, and before any of its results is sent to a disk, another member or the
/// state machine. The default observer does nothing.
///
/// The function runs on the peer's loop: it should be short, and a panic in it stops the node.
#[derive(Clone, Default)]
pub struct Observer {
    batches: Option<Watch>,
    #[cfg(any(test, feature = "testing"))]
    pub(super) states: Option<Arc<dyn StateWatch>>,
}

type Watch = Arc<dyn Fn(&Observation<'_>) + Send + Sync>;

/// Observes what the default apply side does.
#[cfg(any(test, feature = "testing"))]
pub trait StateWatch: Send + Sync {
    /// Whether to apply this entry to copies of the state first, to check that it is deterministic.
    fn wants_proof(&self, entry: &Entry) -> bool;
    /// Two copies of one state differ after the same entry.
    fn differs(&self, what: String);
    /// An entry was applied, with this outcome.
    fn applied(&self, entry: &Entry, outcome: &Outcome);
    /// The apply side starts from the state at `log_id`, with this digest.
    fn restored(&self, log_id: LogId, digest: u32);
    /// The state at `log_id`, with this digest, replaced another one.
    fn installed(&self, log_id: LogId, digest: u32);
    /// A snapshot is taken of the state at `log_id`, with this digest.
    fn viewed(&self, log_id: LogId, digest: u32);
}

impl Observer {
    /// Calls `watch` at the end of each batch.
    pub fn new(watch: impl Fn(&Observation<'_>) + Send + Sync + 'static) -> Observer {
        Observer {
            batches: Some(Arc::new(watch)),
            #[cfg(any(test, feature = "testing"))]
            states: None,
        }
    }

    /// Also reports to `states` what the default apply side does.
    #[cfg(any(test, feature = "testing"))]
    #[doc(hidden)]
    pub fn with_states(mut self, states: Arc<dyn StateWatch>) -> Observer {
        self.states = Some(states);
        self
    }

    pub(super) fn show(&self, raft: &Raft) {
        if let Some(watch) = &self.batches {
            watch(&raft.observe());
        }
    }
}

/// Reports of the apply side. They do nothing without a `StateWatch`.
impl Observer {
    pub(crate) fn applies<M: Machine>(
        &self,
        replica: &mut Replica<M>,
        entry: &Entry,
    ) -> Result<Outcome, Undecodable> {
        #[cfg(any(test, feature = "testing"))]
        if let Some(states) = &self.states {
            if states.wants_proof(entry)
                && let Err(what) = replica.applies_alike(entry)
            {
                states.differs(what);
            }
            let outcome = replica.apply(entry)?;
            states.applied(entry, &outcome);
            return Ok(outcome);
        }
        replica.apply(entry)
    }

    /// Like `applies`, if no caller waits for the outcome.
    pub(crate) fn applies_unanswered<M: Machine>(
        &self,
        replica: &mut Replica<M>,
        entry: &Entry,
    ) -> Result<(), Undecodable> {
        #[cfg(any(test, feature = "testing"))]
        if self.states.is_some() {
            return self.applies(replica, entry).map(drop);
        }
        replica.apply_unanswered(entry)
    }

    /// The apply side starts from this state.
    #[doc(hidden)]
    pub fn restored<M: Machine>(&self, _replica: &Replica<M>) {
        #[cfg(any(test, feature = "testing"))]
        self.tell(_replica, |states, log_id, digest| states.restored(log_id, digest));
    }

    /// This state replaced another one.
    #[doc(hidden)]
    pub fn installed<M: Machine>(&self, _replica: &Replica<M>) {
        #[cfg(any(test, feature = "testing"))]
        self.tell(_replica, |states, log_id, digest| states.installed(log_id, digest));
    }

    /// A snapshot is taken of this state.
    #[doc(hidden)]
    pub fn viewed<M: Machine>(&self, _replica: &Replica<M>) {
        #[cfg(any(test, feature = "testing"))]
        self.tell(_replica, |states, log_id, digest| states.viewed(log_id, digest));
    }

    #[cfg(any(test, feature = "testing"))]
    fn tell<M: Machine>(
        &self,
        replica: &Replica<M>,
        tell: impl FnOnce(&dyn StateWatch, LogId, u32),
    ) {
        if let Some(states) = &self.states {
            match replica.digest() {
                Ok(digest) => tell(&**states, replica.applied(), digest),
                Err(error) => {
                    states.differs(format!(
                        "the state at {} has no encoding: {error}",
                        replica.applied()
                    ));
                }
            }
        }
    }
}

impl fmt::Debug for Observer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Observer")
    }
}
