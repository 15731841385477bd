//! Why a node did not start, and why a client gave up.

use crate::raft::NodeId;
use crate::settings::SettingError;
use crate::storage::StorageError;

use super::config::ConfigError;

/// Why a node did not start. Nothing was changed that a later start would miss.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// A limit does not fit the others.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Storage could not be opened.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The system gave no thread.
    #[error("can't start the node's threads: {0}")]
    Threads(#[from] std::io::Error),
    /// The transport can receive for another member alone.
    #[error(
        "node {node} can't start on a transport of member {member}: give it one that was made for its own id"
    )]
    Transport {
        /// The node.
        node: NodeId,
        /// Whom the transport was made for.
        member: NodeId,
    },
    /// The builder lacks something.
    #[error("the node is not complete: {0}")]
    Incomplete(&'static str),
}

/// Why a client gave up on a command.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The client's options do not work: not executed.
    #[error("these client options do not work: {0}")]
    Options(#[from] SettingError),
    /// No attempt succeeded in time, and none can have been executed.
    #[error("not executed: no member took the command in time (last answer: {last})")]
    NotExecuted {
        /// What the last attempt said.
        last: String,
    },
    /// No attempt succeeded in time, or the session ended, and an attempt may have been executed.
    #[error("the outcome is unknown: an attempt may have been applied (last answer: {last})")]
    Unknown {
        /// What the last attempt said.
        last: String,
    },
    /// The command itself was refused, by whichever member: not executed.
    #[error("the command was refused: {0}")]
    Rejected(String),
    /// The command was executed, but its reply is not readable.
    #[error("the command was applied, but its reply is not readable: {0}")]
    ReplyUnreadable(String),
    /// The command was executed, but its reply is longer than `SessionConfig::reply_bytes`.
    #[error("the command was applied, but its reply has more than {limit} bytes")]
    ReplyTooLong {
        /// That limit.
        limit: usize,
    },
}
