//! What a member knows of its peers' directories, and what happens when a peer comes back with
//! less.
//!
//! ```text
//!   M: its directory was wiped, copied or rolled back     X: has a record of an earlier incarnation of M
//!     │ ── any message ───────────────────────────────▶ │  ignored: M may have forgotten promises
//!     │ ◀── Identify: X's record of M ───────────────── │
//!   notes its data loss, durably                          │
//!     │ ── Identify: M acknowledges that incarnation ─▶ │  X takes M's messages again, as of a
//!     │                                                   │  member that recovers
//! ```
//! An incarnation is the time at which a directory was created, and the number of the start on it.
//! If a member's incarnation rises on the same directory, the member was restarted. If it did not
//! rise, or the directory is another one, peers ignore the member until it acknowledges the
//! incarnation they know. What the member does about its loss, and when it counts again, is in
//! `recovering.rs`.
//!
//! The word of one peer is no proof. A loss that one peer alone remembers is noted with that peer's
//! id, and dismissed if no other peer confirms it (decision 019).
//!
//! Records of peers go to disk with the next step that has another reason: no message waits for
//! them. A member relies on no record that is not durable.

use std::collections::{BTreeMap, BTreeSet};

use super::core::Raft;
use super::message::{Answer, Body, Envelope, Request};
use super::steps::place;
use super::types::{
    Incarnation, Index, Life, Loss, Micros, NodeId, PeerRecord, created_at_ms,
    is_possible_creation, start_number,
};

/// The loss that a member assumes when peers report one: they do not know what else it held.
const FORGOTTEN: Loss = Loss { forgot_vote: true, last: None };

/// A start that a single peer remembers is believed, beside one that two remember, if it is at most
/// this far above the own start: an older copy of a directory is behind by so many starts at most.
const STARTS_BELIEVED: u64 = 1 << 10;

/// A claim is ignored if it leaves fewer later creation times than this to a directory.
const CREATIONS_KEPT: u64 = 1 << 10;

/// What peers have claimed, since this start, about earlier contents of the own directory.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Claims {
    /// Starts that this directory has not made, by the peer that claims to remember them.
    pub(super) later_starts: BTreeMap<NodeId, Incarnation>,
    /// When the present loss was noticed, or when this start began with it.
    pub(super) doubted_at: Micros,
    /// Peers whose report of a loss was dismissed. Their reports are ignored until the next start.
    pub(super) disbelieved: BTreeSet<NodeId>,
}

impl Raft {
    /// Whether the sender's incarnation is the known one, or a legitimate successor of it.
    pub(super) fn is_identified(&mut self, envelope: &Envelope) -> bool {
        let (from, incarnation) = (envelope.from, envelope.incarnation);
        match self.peers.get(from) {
            Some(known) if follows(incarnation, known.incarnation) => {
                if self.is_tainted(envelope) {
                    self.ignore(envelope, "sent before its sender detected its data loss");
                    return false;
                }
                if incarnation > known.incarnation {
                    self.peers.set(from, PeerRecord { incarnation, ..known });
                }
                true
            }
            Some(known) if acknowledges(envelope, known.incarnation) => {
                tracing::warn!(node = self.config.node, from, "has lost data and has detected it");
                self.peers.set(from, PeerRecord::new(incarnation));
                true
            }
            // Taken from an unidentified sender, too: two members that both lost data must not wait
            // for each other.
            Some(_) if matches!(envelope.body, Body::Request(Request::Identify(_))) => true,
            Some(_) => {
                self.ignore(envelope, "not from the known incarnation of its sender");
                if !self.has_just_identified(from) {
                    self.remind(from);
                }
                false
            }
            None => {
                self.peers.set(from, PeerRecord::new(incarnation));
                true
            }
        }
    }

    /// Whether this answers a request from before the sender acknowledged its earlier incarnation.
    /// Such a vote may be its second one in that term.
    fn is_tainted(&self, envelope: &Envelope) -> bool {
        matches!(envelope.body, Body::Answer { .. })
            && self.peers.is_tainted(envelope.from, place(envelope.id))
    }

    /// Whether the known incarnation of this member has checked its record within an election
    /// timeout. A message of another incarnation is then a late one. Without this limit, a member
    /// that is restarted while many of its messages are delayed would be sent its record for each
    /// of them, and each of its answers to that would void the requests in flight.
    fn has_just_identified(&self, node: NodeId) -> bool {
        let timeout = self.config.election_timeout_max;
        let identified_at = self.peers.identified_at(node);
        identified_at.is_some_and(|at| self.now.saturating_sub(at) <= timeout)
    }

    /// Sends `node` the record of it: it may have lost what the record says.
    pub(super) fn remind(&mut self, node: NodeId) {
        if let Some(known) = self.peers.get(node) {
            self.ask(node, Request::Identify(known));
        }
    }

    /// Whether a member whose log ends at `last` lacks entries that it is known to have
    /// acknowledged. If so, it is sent its record. The member decides whether it lost them; a late
    /// message does no harm.
    pub(super) fn remind_if_lacking(&mut self, node: NodeId, last: Index) -> bool {
        let known = self.peers.get(node);
        let lacks = known.is_some_and(|known| last < known.acknowledged.index);
        if lacks {
            self.remind(node);
        }
        lacks
    }

    /// A leader records how far each member has acknowledged committed entries: those it never
    /// truncates. At most once in an election timeout, with a step that has another reason.
    pub(super) fn remember_acknowledged(&mut self) {
        let interval = self.config.election_timeout_max;
        if !self.role.is_leader() || !self.peers.are_acknowledgements_due(self.now, interval) {
            return;
        }
        for (node, progress) in self.role.members().filter(|(_, progress)| progress.counts()) {
            let Some(known) = self.peers.get(node) else { continue };
            let acknowledged = progress.matched.min(self.log.commit());
            let is_news = acknowledged > known.acknowledged.index
                && acknowledged >= self.log.start().index
                && progress.matched_in == Some(known.incarnation);
            if is_news {
                let acknowledged = self.log.id_at(acknowledged);
                self.peers.set(node, PeerRecord { acknowledged, ..known });
            }
        }
    }

    /// A peer sends its record of this member.
    pub(super) fn on_identify(&mut self, request: &Envelope, known: PeerRecord) {
        let from = request.from;
        if known.incarnation > self.life.incarnation {
            return self.on_later_start(request, known.incarnation);
        }
        let life = self.checked_against(from, known);
        if life != self.life && self.claims.disbelieved.contains(&from) {
            return self.ignore(request, "reports a data loss that no other member confirms");
        }
        if life != self.life {
            self.on_loss_noticed(from, life);
        }
        if self.incarnation < known.incarnation {
            // Peers ignore this incarnation from now on: the next start answers.
            return;
        }
        let answer = Answer::Identify { predecessor: self.life.predecessor };
        // The loss must be durable before a peer takes this member's messages again.
        self.answer_after_persist(request, answer);
    }

    /// A peer reports a start that this directory has not made. Either the directory is an older
    /// copy, or it was empty and the clock went back, or the peer is wrong. If two peers remember
    /// it, or the only peer, the node ends and its next start rises above that one. If one of
    /// several remembers it, the node ends once; the next start is in doubt, and no single peer
    /// ends it again.
    fn on_later_start(&mut self, request: &Envelope, claimed: Incarnation) {
        let from = request.from;
        if !is_possible_creation(created_at_ms(claimed) + CREATIONS_KEPT) {
            return self.ignore(request, "reports an incarnation close to the maximum");
        }
        let own = self.life.incarnation;
        let later = &mut self.claims.later_starts;
        let is_news = later.insert(from, claimed).is_none();
        later.retain(|_, claimed| *claimed > own);
        if let Some(agreed) = self.agreed_start(from) {
            let doubted = self.claims.later_starts.len() == 1
                && self.others > 1
                && self.life.doubted_by.is_none();
            let life = Life {
                // The next start rises above it.
                incarnation: agreed,
                predecessor: self.life.predecessor.max(agreed),
                loss: Some(FORGOTTEN),
                doubted_by: doubted.then_some(from),
            };
            return self.on_loss_noticed(from, life);
        }
        if is_news {
            self.alarm(format!(
                "node {from} alone remembers start {} of a directory born at {}; this is start {} of one born at {}. It is not \
                 believed again: if this directory is an older copy, start the member on an empty one",
                start_number(claimed),
                created_at_ms(claimed),
                start_number(own),
                created_at_ms(own),
            ));
        }
        self.ignore(request, "reports a start that this directory has not made");
    }

    /// The start above which the next one has to rise, if the claims of `from` and others are
    /// believed.
    fn agreed_start(&self, from: NodeId) -> Option<Incarnation> {
        let own = self.life.incarnation;
        let is_near = |claimed: &Incarnation| {
            created_at_ms(*claimed) == created_at_ms(own) && claimed - own <= STARTS_BELIEVED
        };
        let claims = &self.claims.later_starts;
        let near = claims.values().copied().filter(is_near).max();
        let mut all: Vec<Incarnation> = claims.values().copied().collect();
        all.sort_unstable();
        // The highest start that two peers, or the only peer, remember.
        let shared = all.iter().copied().nth_back(usize::from(self.others > 1));
        if shared.is_some() {
            return shared.max(near);
        }
        let confirms = self.life.doubted_by.is_some_and(|first| first != from);
        let is_first = self.life.loss.is_none() && !self.claims.disbelieved.contains(&from);
        all.last().copied().filter(|_| confirms || is_first)
    }

    /// The incarnation record of this member, given that `by` has the record `known` of it.
    fn checked_against(&self, by: NodeId, known: PeerRecord) -> Life {
        let life = self.life;
        if life.doubted_by.is_some_and(|first| first != by) && self.is_less_than(known) {
            let predecessor = life.predecessor.max(known.incarnation);
            let predecessor =
                if self.is_of_same_directory(known) { life.predecessor } else { predecessor };
            return Life { predecessor, doubted_by: None, ..life };
        }
        let acknowledged = known.incarnation <= life.predecessor;
        let is_own = !acknowledged && follows(life.incarnation, known.incarnation);
        let lacks = || self.held().is_some_and(|held| known.acknowledged.index > held.index);
        if acknowledged || is_own && !lacks() {
            return life;
        }
        let alone = self.others > 1 && (life.loss.is_none() || life.doubted_by == Some(by));
        Life {
            predecessor: if is_own { life.predecessor } else { known.incarnation },
            loss: Some(FORGOTTEN),
            doubted_by: alone.then_some(by),
            ..life
        }
    }

    /// Whether this directory is not the recorded one, or holds less. A directory that has risen to
    /// a start that peers claimed may have got another creation time by that: then records of its
    /// own earlier starts are no sign of a loss.
    fn is_less_than(&self, known: PeerRecord) -> bool {
        let has_risen =
            created_at_ms(self.life.predecessor) == created_at_ms(self.life.incarnation);
        let is_another = !has_risen && !self.is_of_same_directory(known);
        is_another || known.acknowledged.index > self.log.last_index()
    }

    fn is_of_same_directory(&self, known: PeerRecord) -> bool {
        created_at_ms(known.incarnation) == created_at_ms(self.life.incarnation)
    }

    /// A member has checked the record of it. Answers to earlier requests do not count: it may have
    /// given them without knowing of its loss.
    pub(super) fn on_identified(&mut self, answer: &Envelope) {
        self.peers.identified(answer.from, self.numbers.next_request(), self.now);
    }

    fn on_loss_noticed(&mut self, by: NodeId, life: Life) {
        let (node, earlier) = (self.config.node, self.life);
        tracing::error!(
            node,
            by,
            ?earlier,
            ?life,
            "this directory is not the one that others remember, or holds less: it takes no part until it has caught up"
        );
        self.life = life;
        self.steps.change().life = Some(life);
        self.claims.doubted_at = self.now;
        self.begin_recovering();
        if !self.role.is_follower() {
            self.become_follower(None);
        }
    }
}

/// Whether `incarnation` is `known`, or a later start on the same directory.
fn follows(incarnation: Incarnation, known: Incarnation) -> bool {
    incarnation == known
        || incarnation > known && created_at_ms(incarnation) == created_at_ms(known)
}

/// Whether a new incarnation acknowledges the incarnation that is known here.
fn acknowledges(envelope: &Envelope, known: Incarnation) -> bool {
    matches!(envelope.body, Body::Answer { answer: Answer::Identify { predecessor }, .. }
        if envelope.incarnation > known && predecessor >= known)
}
