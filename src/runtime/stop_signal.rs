//! The stop of a node, shared by its actors: if one actor fails, the node stops.
//!
//! ```text
//! running ──stop(), fail()──▶ stopping      no new work is admitted; the shutdown ends the actors in order
//!    └──────fence()─────────▶ fenced        tests only: nothing reaches a disk or another member any more
//! ```
//!
//! The first reason for a failure is kept. The fence is how a test crashes a node: it is raised
//! before the actors are dropped, so that nothing they do while they end has an effect.
//!
//! *What it does not do:* it ends no actor. The shutdown does, one after the other.

use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};

const RUNNING: u8 = 0;
const STOPPING: u8 = 1;

/// Shared stop state: running or stopping, the fence, and the first failure.
pub struct StopSignal {
    state: AtomicU8,
    fenced: AtomicBool,
    fatal: Mutex<Option<String>>,
    stop: mpsc::UnboundedSender<()>,
}

impl StopSignal {
    /// The signal of a running node, and the channel on which its shutdown waits.
    pub(crate) fn new() -> (StopSignal, mpsc::UnboundedReceiver<()>) {
        let (stop, stops) = mpsc::unbounded_channel();
        let state = AtomicU8::new(RUNNING);
        (StopSignal { state, fenced: AtomicBool::new(false), fatal: Mutex::new(None), stop }, stops)
    }

    /// Fails the node: it can't continue. Only the first reason is kept.
    pub(crate) fn fail(&self, reason: String) {
        if self.fenced() {
            return;
        }
        let mut fatal = self.fatal.lock();
        if fatal.is_none() {
            tracing::error!(reason, "the node stops");
            *fatal = Some(reason);
        }
        drop(fatal);
        self.stop();
    }

    /// Reports an actor that ended without a panic: expected while the node stops, otherwise a
    /// failure.
    pub(crate) fn actor_ended(&self, name: &str) {
        if self.is_running() {
            self.fail(format!("the {name} ended"));
        }
    }

    /// Stops the node: no new work is admitted.
    pub(crate) fn stop(&self) {
        self.state.store(STOPPING, Ordering::Release);
        // Without a shutdown task the node has stopped already.
        let _ = self.stop.send(());
    }

    /// Crashes the node: from now on it has no effect on disks and other members.
    #[cfg(feature = "testing")]
    pub(crate) fn fence(&self) {
        self.fenced.store(true, Ordering::SeqCst);
        self.state.store(STOPPING, Ordering::Release);
    }

    pub fn is_running(&self) -> bool {
        self.state.load(Ordering::Acquire) == RUNNING
    }

    pub fn fenced(&self) -> bool {
        self.fenced.load(Ordering::SeqCst)
    }

    /// Why the node failed, if it did.
    pub fn fatal(&self) -> Option<String> {
        self.fatal.lock().clone()
    }
}

/// Acknowledges a stop when it is dropped: keep it as long as any part of the stopped actor is
/// left.
#[derive(Debug)]
pub struct StopAck(#[allow(dead_code, reason = "dropping it is its use")] oneshot::Sender<()>);

impl StopAck {
    /// An acknowledgement, and a receiver that is closed when it is given.
    pub(crate) fn new() -> (StopAck, oneshot::Receiver<()>) {
        let (ack, acked) = oneshot::channel();
        (StopAck(ack), acked)
    }
}
