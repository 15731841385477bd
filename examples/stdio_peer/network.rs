//! A network behind standard output: a request is an `rpc` frame, its answer an `rpc_reply` frame.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use quorate::raft::NodeId;
use quorate::transport::{ReplyTo, RequestWire};
use tokio::time::Instant;

use super::frames::{Output, Said, end, note};

/// The harness answers within 7 s. A request without an answer after this time gets none.
const FORGET_AFTER: Duration = Duration::from_secs(15);

/// The connection to the other peers.
#[derive(Clone)]
pub struct Network {
    out: Output,
    asked: Arc<Mutex<Asked>>,
}

/// Requests without a reply. Ids increase, so the first is the oldest.
#[derive(Default)]
struct Asked {
    last_id: u64,
    open: BTreeMap<u64, (Instant, ReplyTo)>,
}

impl Network {
    pub fn new(out: Output) -> Network {
        Network { out, asked: Arc::default() }
    }

    /// Handles a reply. After a failure the request may have arrived and its reply been lost;
    /// repeating it is harmless.
    pub fn replied(&self, id: u64, ok: bool, reply: Bytes) {
        let mut asked = self.asked.lock();
        if id == 0 || id > asked.last_id {
            end(format!("a reply to request {id}, which was never made"));
        }
        // The request was already answered, or has expired.
        let Some((_, reply_to)) = asked.open.remove(&id) else { return };
        drop(asked);
        if !ok || reply.is_empty() {
            drop(reply_to);
        } else if let Err(error) = reply_to.answer(reply) {
            note(format!("the reply to request {id} is dropped: {error}"));
        }
    }
}

impl RequestWire for Network {
    fn request(&self, to: NodeId, request: Bytes, reply: ReplyTo) {
        let (mut asked, now) = (self.asked.lock(), Instant::now());
        while let Some(oldest) = asked.open.first_entry()
            && now.duration_since(oldest.get().0) > FORGET_AFTER
        {
            oldest.remove().1.give_up();
        }
        asked.last_id += 1;
        let id = asked.last_id;
        asked.open.insert(id, (now, reply));
        self.out.say(&Said::Rpc { id, peer: to }, &request);
    }
}
