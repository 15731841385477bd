//! A command's span. It travels through the node with the command's [`Reply`](super::Reply).
//!
//! ```text
//! the caller's span
//!   └─ command {node term role index}   proposed ─▶ appended ─▶ replicated ─▶ applied
//!                                            └─▶ failed: refused, or the outcome is unknown
//! ```
//! The span is a child of the caller's current span. It begins with the proposal and ends with the
//! answer. Each event has the fields node, term, role and index as far as they are known. Events
//! that a state machine logs while it applies the command are in the span, too. On the other
//! members the command has no span: spans are not sent to other members.
//!
//! Level and target: `quorate::command=debug`. If no subscriber enables them there is no span, and
//! the reply carries an empty pointer.

use tracing::Span;
use tracing::field::Empty;

use crate::raft::{LogId, NodeId, Role, Term};

use super::ProposeError;

const TARGET: &str = "quorate::command";

#[derive(Debug)]
pub(crate) struct Trace {
    span: Span,
    node: NodeId,
    role: Option<Role>,
    log_id: LogId,
}

impl Trace {
    /// Begins the span of a command that is proposed to `node`. `None` if no subscriber enables it.
    pub(crate) fn begin(node: NodeId) -> Option<Box<Trace>> {
        let span = tracing::debug_span!(
            target: TARGET, "command", node, term = Empty, role = Empty, index = Empty
        );
        if span.is_disabled() {
            return None;
        }
        tracing::debug!(target: TARGET, parent: &span, node, "proposed");
        Some(Box::new(Trace { span, node, role: None, log_id: LogId::BASE }))
    }

    /// The peer handles the command, in this role and term.
    pub(super) fn arrived(&mut self, role: Role, term: Term) {
        self.role = Some(role);
        self.log_id.term = term;
        self.span.record("role", tracing::field::debug(role));
        self.span.record("term", term);
    }

    /// The entry is in the leader's log; it is being replicated and written to disk.
    pub(super) fn appended(&mut self, log_id: LogId) {
        self.log_id = log_id;
        self.span.record("index", log_id.index);
        self.event("appended");
    }

    /// The entry is committed: durable on a quorum that includes this member.
    pub(super) fn replicated(&self) {
        self.event("replicated");
    }

    /// The state machine has executed the command.
    pub(super) fn applied(&self) {
        self.event("applied");
    }

    pub(super) fn failed(&self, error: &ProposeError) {
        let Trace { span, node, role, log_id: LogId { term, index } } = self;
        let (role, span) = (role.map(tracing::field::debug), span);
        tracing::debug!(
            target: TARGET, parent: span, node, term, role, index, %error, "failed"
        );
    }

    fn event(&self, what: &'static str) {
        let Trace { span, node, role, log_id: LogId { term, index } } = self;
        let (role, span) = (role.map(tracing::field::debug), span);
        tracing::debug!(target: TARGET, parent: span, node, term, role, index, "{what}");
    }

    /// The span, to be entered while the state machine executes the command.
    pub(super) fn span(&self) -> Span {
        self.span.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_nobody_listens_a_command_carries_nothing() {
        assert!(Trace::begin(0).is_none());
    }
}
