//! What members remember of each other, and what they do when one comes back with less (PS20).
//!
//! ```text
//!   M, its directory wiped, copied or rolled back        X, which remembers an earlier life of M
//!        │ ── anything ──────────────────────────────────▶ │  not taken: M may have forgotten what it promised
//!        │ ◀── Acquainted: the life and log X remembers ── │
//!   notes its loss, durably                                │
//!        │ ── Acquainted: it accounts for that life ─────▶ │  takes M again, as one that recovers
//! ```
//! A member of the same birth whose incarnation rises has only been restarted. One that does not is no longer the node
//! that others know: it is not listened to before it accounts for the life they remember. What it does about its loss,
//! and when it counts again, is in `recovering.rs`.
//!
//! One member's word is no proof: a loss that nobody else remembers is noted with that member's name, and dismissed if
//! nothing comes of it (decision 019).
//!
//! What is remembered goes to disk with the next step that there is anyway: nothing waits for it, and nobody relies on
//! a member's word before that word was written down.

use std::collections::{BTreeMap, BTreeSet};

use super::core::Raft;
use super::message::{Answer, Body, Envelope, Request};
use super::outbox::place;
use super::ready::Role;
use super::types::{
    Acquaintance, Incarnation, Index, Life, Loss, Micros, NodeId, birth_ms, is_possible_birth,
    start_number,
};

/// What a member must take for lost by the word of others: they do not know what it had beside what they remember.
const FORGOTTEN: Loss = Loss { forgot_vote: true, last: None };

/// Beside a start that two members remember, one that a single member remembers is believed if it is no further than so much above
/// the own one: as an older copy of a directory may be behind.
const STARTS_BELIEVED: u64 = 1 << 10;

/// So many births, each with its starts, are left to a directory whatever others claim.
const BIRTHS_KEPT: u64 = 1 << 10;

/// What others say in this life of what the own directory held before.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Claims {
    /// The starts that the own directory has not made, by the member that remembers it.
    pub(super) later_starts: BTreeMap<NodeId, Incarnation>,
    /// When the loss that is being made good was noticed, or this life began with it.
    pub(super) doubted_at: Micros,
    /// Members whose word of a loss came to nothing: it is not taken again in this life.
    pub(super) disbelieved: BTreeSet<NodeId>,
}

impl Raft {
    /// Whether a message comes from the life of its sender that is known here, or from one that rightly follows it.
    pub(super) fn is_acquainted(&mut self, envelope: &Envelope) -> bool {
        let (from, incarnation) = (envelope.from, envelope.incarnation);
        match self.acquaintances.get(&from) {
            Some(known) if follows(incarnation, known.incarnation) => {
                if self.is_tainted(envelope) {
                    self.ignore(envelope, "said before its sender knew of its loss");
                    return false;
                }
                if incarnation > known.incarnation {
                    self.remember(from, Acquaintance { incarnation, ..*known });
                }
                true
            }
            Some(known) if accounts_for(envelope, known.incarnation) => {
                tracing::warn!(
                    node = self.config.node,
                    from,
                    "has lost what it held, and knows it"
                );
                self.remember(from, Acquaintance::new(incarnation));
                true
            }
            // What it remembers is worth hearing, whatever it forgot: two that both lost something must get past each other.
            Some(_) if matches!(envelope.body, Body::Request(Request::Acquainted(_))) => true,
            Some(_) => {
                self.ignore(envelope, "not of the life of its sender that is known here");
                self.remind(from);
                false
            }
            None => {
                self.remember(from, Acquaintance::new(incarnation));
                true
            }
        }
    }

    /// Whether this answers what was asked before the sender accounted for its earlier life: a vote that it gave in this
    /// life, not knowing of another that it had given.
    fn is_tainted(&self, envelope: &Envelope) -> bool {
        let since = self.accounted_at.get(&envelope.from);
        matches!(envelope.body, Body::Answer { .. })
            && since.is_some_and(|&since| place(envelope.id) < since)
    }

    fn remember(&mut self, node: NodeId, acquaintance: Acquaintance) {
        self.acquaintances.insert(node, acquaintance);
        self.unwritten.insert(node, acquaintance);
    }

    /// Tells `node` what is remembered of it: it may have lost that.
    pub(super) fn remind(&mut self, node: NodeId) {
        if let Some(&known) = self.acquaintances.get(&node) {
            self.ask(node, Request::Acquainted(known));
        }
    }

    /// Whether a member whose log ends at `last` does not hold any more what it is known to have acknowledged: then it is
    /// told. It knows whether it lost that; what is late does no harm.
    pub(super) fn remind_if_lacking(&mut self, node: NodeId, last: Index) -> bool {
        let known = self.acquaintances.get(&node);
        let lacks = known.is_some_and(|known| last < known.acknowledged.index);
        if lacks {
            self.remind(node);
        }
        lacks
    }

    /// A leader remembers, of what members acknowledged, the part that is committed: that can't be taken back. Once in a
    /// while, with a step that is made anyway.
    pub(super) fn remember_acknowledged(&mut self) {
        if self.role != Role::Leader || self.now < self.remember_at {
            return;
        }
        self.remember_at = self.now + self.config.election_timeout_max;
        for (node, progress) in self.progress.iter().filter(|(_, progress)| progress.counts()) {
            let Some(known) = self.acquaintances.get_mut(node) else { continue };
            let acknowledged = progress.matched.min(self.log.commit());
            let is_news = acknowledged > known.acknowledged.index
                && acknowledged >= self.log.start().index
                && progress.matched_in == Some(known.incarnation);
            if is_news {
                known.acknowledged = self.log.id_at(acknowledged);
                self.unwritten.insert(*node, *known);
            }
        }
    }

    /// Another member remembers this of the own node.
    pub(super) fn on_acquainted(&mut self, request: &Envelope, known: Acquaintance) {
        let from = request.from;
        if known.incarnation > self.life.incarnation {
            return self.on_later_start(request, known.incarnation);
        }
        let life = self.accounting(from, known);
        if life != self.life && self.claims.disbelieved.contains(&from) {
            return self.ignore(request, "remembers a loss that nobody confirms");
        }
        if life != self.life {
            self.on_loss_noticed(from, life);
        }
        if self.incarnation < known.incarnation {
            // Nobody listens to this life any more: the next one answers.
            return;
        }
        let answer = Answer::Acquainted { predecessor: self.life.predecessor };
        // The loss must survive a crash before anybody listens to this member again.
        self.answer_after_persist(request, answer);
    }

    /// A member remembers a start that this directory has not made: an older copy, or an empty one whose clock went back, or
    /// the member is wrong. The node ends, and its next start rises above that one, by the word of two members or of the only
    /// other one. By the word of one alone it ends once: the next start is in doubt, and not ended so again.
    fn on_later_start(&mut self, request: &Envelope, claimed: Incarnation) {
        let from = request.from;
        if !is_possible_birth(birth_ms(claimed) + BIRTHS_KEPT) {
            return self.ignore(request, "remembers a start that no other could follow for long");
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
                // Lower than what is remembered: the next start rises above it.
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
                birth_ms(claimed),
                start_number(own),
                birth_ms(own),
            ));
        }
        self.ignore(request, "remembers a start that this directory has not made");
    }

    /// The start above which the next one has to rise, if what `from` and others claim is to be believed.
    fn agreed_start(&self, from: NodeId) -> Option<Incarnation> {
        let own = self.life.incarnation;
        let is_near = |claimed: &Incarnation| {
            birth_ms(*claimed) == birth_ms(own) && claimed - own <= STARTS_BELIEVED
        };
        let claims = &self.claims.later_starts;
        let near = claims.values().copied().filter(is_near).max();
        let mut all: Vec<Incarnation> = claims.values().copied().collect();
        all.sort_unstable();
        // As far as two of them reach, or the only other member.
        let shared = all.iter().copied().nth_back(usize::from(self.others > 1));
        if shared.is_some() {
            return shared.max(near);
        }
        let confirms = self.life.doubted_by.is_some_and(|first| first != from);
        let is_first = self.life.loss.is_none() && !self.claims.disbelieved.contains(&from);
        all.last().copied().filter(|_| confirms || is_first)
    }

    /// What this life is, after all, if the member `by` remembers `known` of it.
    fn accounting(&self, by: NodeId, known: Acquaintance) -> Life {
        let life = self.life;
        if life.doubted_by.is_some_and(|first| first != by) && self.is_less_than(known) {
            let predecessor = life.predecessor.max(known.incarnation);
            let predecessor = if self.is_born_with(known) { life.predecessor } else { predecessor };
            return Life { predecessor, doubted_by: None, ..life };
        }
        let accounted = known.incarnation <= life.predecessor;
        let is_own = !accounted && follows(life.incarnation, known.incarnation);
        let lacks = || self.held().is_some_and(|held| known.acknowledged.index > held.index);
        if accounted || is_own && !lacks() {
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

    /// Whether this directory is another one than the one remembered, or holds less. One that has risen to the start that others
    /// claimed may have got another birth with that: then its own earlier starts are no sign of a loss.
    fn is_less_than(&self, known: Acquaintance) -> bool {
        let has_risen = birth_ms(self.life.predecessor) == birth_ms(self.life.incarnation);
        let is_another = !has_risen && !self.is_born_with(known);
        is_another || known.acknowledged.index > self.log.last_index()
    }

    fn is_born_with(&self, known: Acquaintance) -> bool {
        birth_ms(known.incarnation) == birth_ms(self.life.incarnation)
    }

    /// A member has judged what is remembered of it. What it was asked before it may have answered without knowing of its
    /// loss: the answers do not count.
    pub(super) fn on_accounted(&mut self, answer: &Envelope) {
        self.accounted_at.insert(answer.from, self.next_request);
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
        self.step_change.life = Some(life);
        self.claims.doubted_at = self.now;
        self.begin_recovering();
        if self.role != Role::Follower {
            self.become_follower(None);
        }
    }
}

/// Whether `incarnation` is `known`, or a later start on the same directory.
fn follows(incarnation: Incarnation, known: Incarnation) -> bool {
    incarnation == known || incarnation > known && birth_ms(incarnation) == birth_ms(known)
}

/// Whether this is a new life's word that it accounts for the life known here.
fn accounts_for(envelope: &Envelope, known: Incarnation) -> bool {
    matches!(envelope.body, Body::Answer { answer: Answer::Acquainted { predecessor }, .. }
        if envelope.incarnation > known && predecessor >= known)
}
