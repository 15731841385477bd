//! One fate for all actors of a node.
//!
//! Whoever can't go on says so here, once; the first reason is kept. Admission of new work closes in the same
//! moment, and the director ([`super::director`]) stops the rest in order. A crash in a test raises the *fence*
//! first: nothing the node still does reaches disk or network, whatever its actors do while they are dropped (AC09).

use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};

const RUNNING: u8 = 0;
const STOPPING: u8 = 1;

/// How a node stands, shared by all its parts.
pub(crate) struct Lifeline {
    state: AtomicU8,
    fenced: AtomicBool,
    fatal: Mutex<Option<String>>,
    stop: mpsc::UnboundedSender<()>,
}

impl Lifeline {
    /// A running node's, and where its director hears that it is to stop.
    pub(crate) fn new() -> (Lifeline, mpsc::UnboundedReceiver<()>) {
        let (stop, stops) = mpsc::unbounded_channel();
        let state = AtomicU8::new(RUNNING);
        (Lifeline { state, fenced: AtomicBool::new(false), fatal: Mutex::new(None), stop }, stops)
    }

    /// The node can't go on.
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

    /// An actor ended without a panic: as it should when the node stops, else a failure.
    pub(crate) fn actor_ended(&self, name: &str) {
        if self.is_running() {
            self.fail(format!("the {name} ended"));
        }
    }

    /// The node is to stop: nothing new is taken from now on.
    pub(crate) fn stop(&self) {
        self.state.store(STOPPING, Ordering::Release);
        // Without a director the node has stopped already.
        let _ = self.stop.send(());
    }

    /// The node is dead to the world from this moment.
    #[cfg(feature = "testing")]
    pub(crate) fn fence(&self) {
        self.fenced.store(true, Ordering::SeqCst);
        self.state.store(STOPPING, Ordering::Release);
    }

    pub(crate) fn is_running(&self) -> bool {
        self.state.load(Ordering::Acquire) == RUNNING
    }

    pub(crate) fn fenced(&self) -> bool {
        self.fenced.load(Ordering::SeqCst)
    }

    /// Why the node failed, if it did.
    pub(crate) fn fatal(&self) -> Option<String> {
        self.fatal.lock().clone()
    }
}

/// Acknowledges a stop by being dropped: hold it for as long as anything of the stopped actor is left.
#[derive(Debug)]
pub struct StopAck(#[allow(dead_code, reason = "dropping it is its use")] oneshot::Sender<()>);

impl StopAck {
    /// An acknowledgement, and what ends when it is given.
    pub(crate) fn new() -> (StopAck, oneshot::Receiver<()>) {
        let (ack, acked) = oneshot::channel();
        (StopAck(ack), acked)
    }
}
