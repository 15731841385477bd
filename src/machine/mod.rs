//! The replicated state: the traits of a service's state machine, and the replica around it.
//!
//! ```text
//! Entry ──▶ Replica ──▶ command ──▶ sessions ──▶ Machine::apply ──▶ reply ──▶ Outcome
//!              │        (header)    (executed      (the service)   (bytes, cached
//!              │                     before?)                       in the session)
//!              ╰──▶ view: sessions + Machine::view ──▶ encode, on another thread ──▶ snapshot
//! ```
//! | file | idea |
//! |---|---|
//! | `mod.rs` | the two traits that a service chooses from, and the context of `apply` |
//! | `command.rs` | the format of an entry's data |
//! | `sessions.rs` | at-most-once execution, cached replies, log time that all replicas agree on |
//! | `replica.rs` | machine, sessions and the last applied entry, changed and saved together |
//! | `codec/` | encoding and decoding of values, within limits |
//! | `word_count.rs`, `key_value.rs` | two machines that are ready to use |
//! | `none.rs` | no machine: for nodes whose state is kept by the service |
//!
//! # Writing a machine
//! ```
//! use quorate::machine::{ApplyContext, Replicated};
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Clone, Default, Serialize, Deserialize)]
//! struct Counter {
//!     total: u64,
//! }
//!
//! #[derive(Serialize, Deserialize)]
//! struct Add(u64);
//!
//! impl Replicated for Counter {
//!     type Command = Add;
//!     type Reply = u64;
//!
//!     fn apply(&mut self, command: Add, _context: &ApplyContext) -> u64 {
//!         self.total += command.0;
//!         self.total
//!     }
//! }
//! ```
//! [`Replicated`] requires one method; views and snapshots come from `Clone` and serde. A state
//! that is too large to clone implements [`Machine`] instead: see [`WordCount`] for one on a
//! persistent map.
//!
//! *What it does not do:* it has no actors, no log and no disk, and does not catch a panic inside
//! `apply`: the state could be partly changed.

use std::cell::RefCell;
use std::io::{Read, Write};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::raft::random::mix;
use crate::raft::{Index, Random, Term};

pub mod codec;
pub mod command;
mod key_value;
mod map;
mod none;
mod replica;
mod sessions;
mod word_count;

pub use codec::CodecError;
pub use command::CommandRef;
pub use key_value::{KeyValue, KeyValueCommand, KeyValueReply};
pub use none::NoMachine;
pub(crate) use replica::check_command;
pub use replica::{
    Outcome, Replica, ReplicaView, Undecodable, decode_replica, digest, encode_replica,
};
pub use sessions::{SessionConfig, SessionCounters, SessionId};
pub use word_count::{Increment, WordCount};

/// A replicated state in the usual way: cloned for a snapshot, saved and loaded by serde.
///
/// # Must be deterministic
/// [`Replicated::apply`] runs once per command on every replica, in the same order, and must
/// produce the same state and the same reply everywhere. It may use its state, the command and the
/// [`ApplyContext`]; not the clock, not random numbers of its own, not files, not the order of a
/// `HashMap` (std's differs from process to process; iterate a `BTreeMap`). Replicas are compared
/// by a digest of their encoding: keep the state itself in ordered collections, or equal states
/// will look different. The serde derives of a state are a file format: with compact arrays a field
/// may be added at the end with `#[serde(default)]`, but fields must not be reordered.
///
/// # What may be slow
/// `apply` delays later commands and local reads of this replica, and nothing else: elections,
/// replication and commits continue. It should still take microseconds. A panic in it stops the
/// node, and the restarted node applies the same command again: return errors as replies.
///
/// # What runs concurrently
/// Only `apply` accesses the state. For a snapshot the state is **cloned between two commands, on
/// the thread that applies**, and the clone is encoded on another thread while `apply` continues;
/// loading also happens on that other thread. So a clone of a large state is a pause, and
/// temporarily a second copy in memory: a map of a million short strings takes about 100 ms and as
/// much memory again. For such states implement [`Machine`] over a persistent map (`rpds`, `im`),
/// or wrap large parts in `Arc`.
pub trait Replicated: Clone + Serialize + DeserializeOwned + Send + 'static {
    /// The commands that change the state. Sent and stored as MessagePack: variants by name, fields
    /// by position. A member stops at a committed command that its build can't decode, so variants
    /// may be added, but not renamed or removed.
    type Command: Serialize + DeserializeOwned + Send + 'static;
    /// The reply to a command. Cached in the client's session until the client has received it:
    /// keep it small, below [`SessionConfig::reply_bytes`].
    type Reply: Serialize + DeserializeOwned + Send + 'static;

    /// Executes one committed command. See the trait for the restrictions.
    fn apply(&mut self, command: Self::Command, context: &ApplyContext) -> Self::Reply;
}

/// A replicated state with its own O(1) view and its own snapshot format.
///
/// The rules of [`Replicated`] about determinism and duration of `apply` apply here too.
///
/// | method | runs | may take |
/// |---|---|---|
/// | `apply`, `view` | on the applier, between commands | microseconds |
/// | `encode`, `decode` | on the snapshotter's thread, concurrently with `apply` | minutes |
/// | dropping a view or a machine | mostly on the snapshotter's thread | seconds |
///
/// Every [`Replicated`] type is a `Machine`; implement one of the two.
pub trait Machine: Sized + Send + 'static {
    /// The commands that change the state. Sent and stored as MessagePack.
    type Command: Serialize + DeserializeOwned + Send + 'static;
    /// The reply to a command. Cached in the client's session until the client has received it:
    /// keep it small.
    type Reply: Serialize + DeserializeOwned + Send + 'static;
    /// The state after one command, unaffected by later ones.
    type View: Send + 'static;

    /// Executes one committed command. Deterministic: see [`Replicated`].
    fn apply(&mut self, command: Self::Command, context: &ApplyContext) -> Self::Reply;

    /// The state now, to be encoded later while `apply` continues. The applier waits for it, so it
    /// should be O(1).
    fn view(&self) -> Self::View;

    /// Writes the view. Equal states must give equal bytes on every replica: sort unordered
    /// collections.
    fn encode(view: &Self::View, out: &mut dyn Write) -> Result<(), CodecError>;

    /// Reads what [`Machine::encode`] wrote, up to the end of `input`, into a new machine. The
    /// bytes have passed checksums, but may come from another version or a faulty member: invalid
    /// bytes are an error, never a panic, and memory must not be allocated by the lengths in them
    /// (see [`codec::read_bytes`]).
    fn decode(input: &mut dyn Read) -> Result<Self, CodecError>;
}

impl<R: Replicated> Machine for R {
    type Command = <R as Replicated>::Command;
    type Reply = <R as Replicated>::Reply;
    type View = R;

    fn apply(&mut self, command: Self::Command, context: &ApplyContext) -> Self::Reply {
        Replicated::apply(self, command, context)
    }

    fn view(&self) -> R {
        self.clone()
    }

    fn encode(view: &R, out: &mut dyn Write) -> Result<(), CodecError> {
        codec::encode_to(view, out)
    }

    fn decode(input: &mut dyn Read) -> Result<R, CodecError> {
        codec::decode_from(input)
    }
}

/// The inputs of a command besides the state: the same on every replica.
#[derive(Debug)]
pub struct ApplyContext {
    /// The index of the command's entry: unique, and increasing.
    pub index: Index,
    /// The term of the command's entry.
    pub term: Term,
    /// Log time in milliseconds since 1970: close to the leader's clock when it received the
    /// command, and monotonic. Not exact: a leader's wrong clock shifts it by up to
    /// [`SessionConfig::max_time_step_ms`], and lets it run up to twice as fast as real time. After
    /// an outage of the whole cluster it is behind, and catches up at that rate.
    pub time_ms: u64,
    random: RefCell<Random>,
}

impl ApplyContext {
    /// The context of the command at (`index`, `term`) in cluster `cluster`; also for tests of
    /// machines.
    pub fn new(index: Index, term: Term, time_ms: u64, cluster: u64) -> ApplyContext {
        let random = RefCell::new(Random::new(mix(cluster ^ mix(index))));
        ApplyContext { index, term, time_ms, random }
    }

    /// The next random number of this command, the same on every replica. Well distributed, but not
    /// secret: it can be computed from the cluster's id and the index.
    pub fn random(&self) -> u64 {
        self.random.borrow_mut().next()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_numbers_depend_on_cluster_and_index_alone() {
        let take = |index, term, time_ms, cluster| {
            let context = ApplyContext::new(index, term, time_ms, cluster);
            [context.random(), context.random(), context.random()]
        };
        assert_eq!(take(5, 1, 10, 99), take(5, 2, 20, 99));
        assert_ne!(take(5, 1, 10, 99), take(6, 1, 10, 99));
        assert_ne!(take(5, 1, 10, 99), take(5, 1, 10, 98));
        let [first, second, third] = take(5, 1, 10, 99);
        assert!(first != second && second != third);
    }
}
