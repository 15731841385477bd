//! The errors of replies: why a proposal, a read or a request for a snapshot failed, and whether it
//! may have taken effect.

use crate::machine::CodecError;
use crate::raft::NodeId;

/// Why a proposal failed.
///
/// Use [`ProposeError::may_have_applied`] to tell whether the command may have been executed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProposeError {
    /// This member is not the leader; this attempt did not and will not execute the command.
    #[error("this member does not lead{}", hint(.leader))]
    NotLeader {
        /// The leader, if known.
        leader: Option<NodeId>,
    },
    /// A limit is reached, or the leader is not ready yet; not executed. Retry a little later.
    #[error("a limit is reached, or the leader is not ready yet: try again a little later")]
    Busy,
    /// The node is stopping or has stopped; not executed.
    #[error("the node has stopped: see its status for the reason")]
    Fatal,
    /// The outcome is unknown: the command may have been executed, may be executed later, or never.
    #[error("the outcome is unknown: the command may have been applied")]
    Unknown,
    /// The session is unknown or has expired; not executed by this attempt.
    #[error("the session has expired")]
    SessionExpired,
    /// The sequence number is outside the session's window; not executed by this attempt.
    #[error("the sequence is outside of the session's window")]
    SequenceRefused,
    /// Another command was executed under this sequence number of the session; this one was not
    /// executed.
    #[error("another command was executed under this sequence of the session")]
    SequenceReused,
    /// The command can't be encoded, is too large, or can't be decoded by the leader's build; not
    /// executed.
    #[error("the command was refused: {0}")]
    Rejected(String),
    /// The command was executed, but its reply can't be encoded or decoded.
    #[error("the command was applied, but its reply is not readable: {0}")]
    ReplyUnreadable(String),
    /// The command was executed, but its reply is longer than `SessionConfig::reply_bytes`.
    #[error("the command was applied, but its reply has more than {limit} bytes")]
    ReplyTooLong {
        /// The limit, in bytes.
        limit: usize,
    },
}

impl ProposeError {
    /// Whether the command may have been executed, or may still be executed.
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

/// Why a read did not run. A failed read has no effect.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// This member is not the leader, or stopped being it.
    #[error("this member does not lead{}", hint(.leader))]
    NotLeader {
        /// The leader, if known.
        leader: Option<NodeId>,
    },
    /// The leader has not committed an entry in its term yet, or too many reads are in flight.
    #[error("a limit is reached, or the leader is not ready yet: try again a little later")]
    Busy,
    /// The node is stopping or has stopped.
    #[error("the node has stopped: see its status for the reason")]
    Fatal,
    /// The read was not confirmed, or its index not applied, before its deadline.
    #[error("the read was not confirmed and applied in time")]
    TimedOut,
}

/// Why no snapshot was taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SnapshotError {
    /// No entry has been applied yet.
    #[error("nothing has been applied yet: there is nothing to take a snapshot of")]
    NothingApplied,
    /// The apply side declined to make a snapshot.
    #[error("the apply side did not make a snapshot")]
    Declined,
    /// A snapshot of the same or a later entry already exists, or was made in the meantime. Nothing
    /// changed.
    #[error("there is a snapshot of this entry or of a later one already")]
    Outdated,
    /// The snapshot covers more than was reported applied, or its last entry is not in the log.
    /// Nothing changed.
    #[error("it does not cover what was applied here")]
    Refused,
    /// The node is stopping or has stopped.
    #[error("the node has stopped: see its status for the reason")]
    Fatal,
}

impl From<CodecError> for ProposeError {
    fn from(error: CodecError) -> ProposeError {
        ProposeError::Rejected(error.to_string())
    }
}
