//! The errors that replies carry: why a proposal, a read or a request for a snapshot was not answered,
//! and what may have happened nevertheless.

use crate::machine::CodecError;
use crate::raft::NodeId;

/// Why a proposal got no reply.
///
/// The question that matters is whether it may have been executed: see [`ProposeError::may_have_applied`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProposeError {
    /// This member does not lead; the command was not and will not be executed by this attempt.
    #[error("this member does not lead{}", hint(.leader))]
    NotLeader {
        /// Who leads, if known.
        leader: Option<NodeId>,
    },
    /// A limit is reached; not executed. Try again a little later.
    #[error("a limit is reached, or the leader is not ready yet: try again a little later")]
    Busy,
    /// The node stops or has stopped; not executed.
    #[error("the node has stopped: see its status for the reason")]
    Fatal,
    /// It may have been executed, may be later, or never.
    #[error("the outcome is unknown: the command may have been applied")]
    Unknown,
    /// The session is unknown or has expired: not executed by this attempt.
    #[error("the session has expired")]
    SessionExpired,
    /// The sequence is outside of the session's window: not executed by this attempt.
    #[error("the sequence is outside of the session's window")]
    SequenceRefused,
    /// Another command was executed under this sequence of the session: this one was not executed.
    #[error("another command was executed under this sequence of the session")]
    SequenceReused,
    /// The command can't be encoded, is too large, or can't be decoded by the leader's build: not executed.
    #[error("the command was refused: {0}")]
    Rejected(String),
    /// It was executed, but its reply can't be encoded or decoded.
    #[error("the command was applied, but its reply is not readable: {0}")]
    ReplyUnreadable(String),
    /// It was executed, but its reply is longer than `SessionConfig::reply_bytes`.
    #[error("the command was applied, but its reply has more than {limit} bytes")]
    ReplyTooLong {
        /// That limit.
        limit: usize,
    },
}

impl ProposeError {
    /// Whether the command may have been executed, or may be yet.
    pub fn may_have_applied(&self) -> bool {
        matches!(
            self,
            ProposeError::Unknown
                | ProposeError::ReplyUnreadable(_)
                | ProposeError::ReplyTooLong { .. }
        )
    }
}

fn hint(leader: &Option<NodeId>) -> String {
    leader.map(|leader| format!("; node {leader} does")).unwrap_or_default()
}

/// Why a read did not run. Reads change nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// This member does not lead, or leads no more.
    #[error("this member does not lead{}", hint(.leader))]
    NotLeader {
        /// Who leads, if known.
        leader: Option<NodeId>,
    },
    /// The leader has not committed in its term yet, or there are too many reads.
    #[error("a limit is reached, or the leader is not ready yet: try again a little later")]
    Busy,
    /// The node stops or has stopped.
    #[error("the node has stopped: see its status for the reason")]
    Fatal,
    /// Not confirmed and applied in time.
    #[error("the read was not confirmed and applied in time")]
    TimedOut,
}

/// Why there is no snapshot.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SnapshotError {
    /// Nothing has been applied yet.
    #[error("nothing has been applied yet: there is nothing to take a snapshot of")]
    NothingApplied,
    /// The apply side did not make one.
    #[error("the apply side did not make a snapshot")]
    Declined,
    /// A snapshot of the same entry, or of a later one, is there already or was made meanwhile. Nothing changed.
    #[error("there is a snapshot of this entry or of a later one already")]
    Outdated,
    /// It covers more than was reported applied, or an entry that the log does not hold. Nothing changed.
    #[error("it does not cover what was applied here")]
    Refused,
    /// The node stops or has stopped.
    #[error("the node has stopped: see its status for the reason")]
    Fatal,
}

impl From<CodecError> for ProposeError {
    fn from(error: CodecError) -> ProposeError {
        ProposeError::Rejected(error.to_string())
    }
}
