//! Errors of starting a node and of a client.

use crate::raft::NodeId;
use crate::settings::SettingError;
use crate::storage::StorageError;

use super::config::ConfigError;

/// The reason why a node did not start. A later start finds everything it needs unchanged.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// A setting contradicts another one or is out of range.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The storage could not be opened.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The operating system could not start a thread.
    #[error("can't start the node's threads: {0}")]
    Threads(#[from] std::io::Error),
    /// The transport can receive only for another member.
    #[error(
        "node {node} can't start on a transport of member {member}: give it one that was made for its own id"
    )]
    Transport {
        /// The id of the node.
        node: NodeId,
        /// The member that the transport was made for.
        member: NodeId,
    },
    /// A required part of the builder is missing.
    #[error("the node is not complete: {0}")]
    Incomplete(&'static str),
}

/// The reason why a client gave up on a command.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The client's options are invalid. The command was not executed.
    #[error("these client options do not work: {0}")]
    Options(#[from] SettingError),
    /// No attempt succeeded in time, and none can have been executed.
    #[error("not executed: no member took the command in time (last answer: {last})")]
    NotExecuted {
        /// The error of the last attempt.
        last: String,
    },
    /// No attempt succeeded in time, or the session ended, and an attempt may have been executed.
    #[error("the outcome is unknown: an attempt may have been applied (last answer: {last})")]
    Unknown {
        /// The error of the last attempt.
        last: String,
    },
    /// A member refused the command itself. It was not executed.
    #[error("the command was refused: {0}")]
    Rejected(String),
    /// The command was executed, but its reply cannot be decoded.
    #[error("the command was applied, but its reply is not readable: {0}")]
    ReplyUnreadable(String),
    /// The command was executed, but its reply is longer than `SessionConfig::reply_bytes`.
    #[error("the command was applied, but its reply has more than {limit} bytes")]
    ReplyTooLong {
        /// The value of that limit, in bytes.
        limit: usize,
    },
}
