//! The state shared by all components of one transport: the local member, the table of other
//! members, the connections.
//!
//! Actors send from their own threads, connections run on the transport's thread; this is the only
//! state that both access. Every lock is held for a few lines, and none while an inbox is called.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::{Mutex, RwLock};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::raft::{Body, Envelope, Incarnation, NodeId, Request, RequestId};
use crate::runtime::member_span;
use crate::transport::{Inbox, wire};

use super::callers::Callers;
use super::counters::{Counts, TcpCounters, add};
use super::credit::Gate;
use super::handshake::Lane;
use super::notices::Notices;
use super::options::TcpOptions;
use super::outbox::{Outbox, OutboxLimits, request_id};

pub(crate) struct Shared {
    pub(crate) options: TcpOptions,
    /// The local member's span, for tasks on the transport's thread.
    pub(crate) span: tracing::Span,
    local: Mutex<Local>,
    /// Held while a start is attached or detached, so that the links end with the same start.
    attaching: Mutex<()>,
    members: RwLock<BTreeMap<NodeId, Arc<Member>>>,
    pub(crate) callers: Callers,
    pub(crate) counts: Counts,
    pub(crate) notices: Notices,
}

#[derive(Default)]
struct Local {
    attachments: u64,
    attached: Option<Attached>,
}

/// One start of the local member.
#[derive(Clone)]
pub(crate) struct Attached {
    /// Distinguishes the starts.
    pub(crate) number: u64,
    pub(crate) inbox: Inbox,
}

impl Attached {
    pub(crate) fn incarnation(&self) -> Incarnation {
        self.inbox.incarnation()
    }
}

/// Another member.
pub(crate) struct Member {
    pub(crate) node: NodeId,
    address: Mutex<String>,
    /// By lane.
    links: [Link; 2],
    gates: [Arc<Gate>; 2],
    removed: AtomicBool,
}

/// The outbound connection to a member over one lane, as senders see it.
pub(crate) struct Link {
    pub(crate) outbox: Mutex<Outbox>,
    /// Notified when the link's task has to check for changes.
    pub(crate) stir: Notify,
    /// Notified when the member has connected to us: retry at once.
    pub(crate) heard: Notify,
}

impl Member {
    fn new(node: NodeId, address: String, options: &TcpOptions) -> Member {
        let limits = OutboxLimits {
            messages: options.outbox_messages,
            bytes: options.outbox_bytes,
            age: options.outbox_age,
        };
        let link = || Link {
            outbox: Mutex::new(Outbox::new(limits)),
            stir: Notify::new(),
            heard: Notify::new(),
        };
        Member {
            node,
            address: Mutex::new(address),
            links: [link(), link()],
            gates: [(); 2].map(|()| Arc::new(Gate::new(options.window_bytes))),
            removed: AtomicBool::new(false),
        }
    }

    pub(crate) fn address(&self) -> String {
        self.address.lock().clone()
    }

    pub(crate) fn link(&self, lane: Lane) -> &Link {
        &self.links[lane as usize]
    }

    pub(crate) fn gate(&self, lane: Lane) -> &Arc<Gate> {
        &self.gates[lane as usize]
    }

    pub(crate) fn is_removed(&self) -> bool {
        self.removed.load(Ordering::Acquire)
    }

    /// Records that the member is alive: it has just connected.
    pub(crate) fn heard_of(&self) {
        self.links.iter().for_each(|link| link.heard.notify_one());
    }

    fn hand_over(&self, attachment: u64) {
        for link in &self.links {
            link.outbox.lock().hand_over(attachment);
            link.stir.notify_one();
        }
    }
}

/// Why an envelope was not queued.
enum Unsent {
    Unknown,
    Full,
    Unsendable,
}

impl Shared {
    pub(crate) fn new(options: TcpOptions) -> Shared {
        Shared {
            notices: Notices::new(options.notice_interval),
            callers: Callers::new(options.pending_connections),
            span: member_span(options.node),
            options,
            local: Mutex::default(),
            attaching: Mutex::default(),
            members: RwLock::default(),
            counts: Counts::default(),
        }
    }

    pub(crate) fn attached(&self) -> Option<Attached> {
        self.local.lock().attached.clone()
    }

    pub(crate) fn is_attached(&self, number: u64) -> bool {
        self.local.lock().attached.as_ref().is_some_and(|attached| attached.number == number)
    }

    /// Attaches a new start of the local member, and ends the connections of the last one.
    pub(crate) fn attach(&self, inbox: Inbox) -> u64 {
        let _attaching = self.attaching.lock();
        let number = {
            let mut local = self.local.lock();
            local.attachments += 1;
            let number = local.attachments;
            local.attached = Some(Attached { number, inbox });
            number
        };
        self.hand_over(number);
        number
    }

    pub(crate) fn detach(&self, number: u64) {
        let _attaching = self.attaching.lock();
        {
            let mut local = self.local.lock();
            // The end of a former start must not detach a member that has been started again
            // meanwhile.
            if local.attached.as_ref().is_none_or(|attached| attached.number != number) {
                return;
            }
            local.attached = None;
        }
        self.hand_over(0);
    }

    fn hand_over(&self, attachment: u64) {
        self.members().iter().for_each(|member| member.hand_over(attachment));
        self.callers.dismiss(|_| true);
    }

    /// Sets the member's address; `Some` if the member itself is new.
    pub(crate) fn set_member(&self, node: NodeId, address: String) -> Option<Arc<Member>> {
        let mut members = self.members.write();
        if let Some(member) = members.get(&node) {
            *member.address.lock() = address;
            member.heard_of();
            return None;
        }
        let member = Arc::new(Member::new(node, address, &self.options));
        let attachment = self.attached().map_or(0, |attached| attached.number);
        member.hand_over(attachment);
        members.insert(node, Arc::clone(&member));
        Some(member)
    }

    pub(crate) fn remove_member(&self, node: NodeId) {
        let removed = self.members.write().remove(&node);
        if let Some(member) = removed {
            member.removed.store(true, Ordering::Release);
            member.hand_over(0);
            self.callers.dismiss(|caller| caller == node);
        }
    }

    pub(crate) fn member(&self, node: NodeId) -> Option<Arc<Member>> {
        self.members.read().get(&node).cloned()
    }

    fn members(&self) -> Vec<Arc<Member>> {
        self.members.read().values().cloned().collect()
    }

    /// Queues an envelope of the attachment `number`, or informs its sender that it will not
    /// arrive.
    pub(crate) fn send(&self, number: u64, envelope: Envelope) {
        if !self.is_attached(number) {
            return;
        }
        let (to, request) = (envelope.to, request_id(&envelope));
        if let Err(why) = self.queue(number, envelope) {
            let count = match why {
                Unsent::Unknown => &self.counts.dropped_unknown,
                Unsent::Full => &self.counts.dropped_full,
                Unsent::Unsendable => &self.counts.dropped_unsendable,
            };
            add(count, 1);
            self.undelivered(number, request.map(|id| (to, id)));
        }
    }

    /// Reports to the start `number` of the local member, if it is still attached, the requests
    /// that will not arrive.
    fn undelivered(&self, number: u64, requests: impl IntoIterator<Item = (NodeId, RequestId)>) {
        let Some(attached) = self.attached().filter(|it| it.number == number) else { return };
        requests.into_iter().for_each(|(to, id)| attached.inbox.undelivered(to, id));
    }

    fn queue(&self, number: u64, envelope: Envelope) -> Result<(), Unsent> {
        let members = self.members.read();
        let member = members.get(&envelope.to).ok_or(Unsent::Unknown)?;
        let size_bytes = wire::size_bound(&envelope);
        if size_bytes > self.options.max_frame_bytes {
            self.too_large(&envelope, size_bytes);
            return Err(Unsent::Unsendable);
        }
        let link = member.link(lane_of(&envelope));
        if !link.outbox.lock().push(number, envelope, size_bytes, Instant::now()) {
            return Err(Unsent::Full);
        }
        link.stir.notify_one();
        Ok(())
    }

    fn too_large(&self, envelope: &Envelope, size_bytes: usize) {
        if let Some(suppressed) = self.notices.due(Some(envelope.to), "too large", Instant::now()) {
            tracing::error!(
                to = envelope.to,
                size_bytes,
                max_frame_bytes = self.options.max_frame_bytes,
                suppressed,
                "a message is larger than a frame may be and is never sent: raise max_frame_bytes on every member, or lower \
                 command_bytes, append_bytes or snapshot_chunk_bytes"
            );
        }
    }

    /// Informs the sender of envelopes that will not be sent.
    pub(crate) fn give_up(&self, attachment: u64, envelopes: &[Envelope]) {
        if !envelopes.is_empty() {
            add(&self.counts.dropped_late, envelopes.len() as u64);
            let requests = envelopes.iter().filter_map(|it| Some((it.to, request_id(it)?)));
            self.undelivered(attachment, requests);
        }
    }

    pub(crate) fn counters(&self) -> TcpCounters {
        let mut counters = self.counts.read();
        (counters.pending_connections, counters.incoming_connections) = self.callers.numbers();
        for member in self.members() {
            for link in &member.links {
                let outbox = link.outbox.lock();
                counters.queued_messages += outbox.len() as u64;
                counters.queued_bytes += outbox.bytes() as u64;
            }
            counters.unhandled_bytes +=
                member.gates.iter().map(|gate| gate.unhandled()).sum::<u64>();
        }
        counters
    }
}

/// Snapshot chunks have a lane of their own; all else, including their answers, is small and uses
/// the main lane.
pub(crate) fn lane_of(envelope: &Envelope) -> Lane {
    match envelope.body {
        Body::Request(Request::Snapshot(_)) => Lane::Chunks,
        Body::Request(_) | Body::Answer { .. } => Lane::Main,
    }
}
