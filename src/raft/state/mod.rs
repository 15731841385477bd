//! Parts of a peer's state: each has private fields, its own invariants, and no knowledge of
//! [`Raft`](super::Raft). The rules beside this folder use them.
//!
//! | file | content |
//! |---|---|
//! | `terms` | term and vote, and how far other members may raise the term |
//! | `role` | the role in the current term, and the votes of a campaign |
//! | `leading` | what only a leader has: its view of the members, its batch, its pending reads |
//! | `progress` | a leader's view of one member |
//! | `batching` | proposals that wait for others |
//! | `pending_reads` | reads that wait for a round of answers |
//! | `election_timer` | the election timeout, and what silence means after a stall |
//! | `campaign` | which members a campaign asks, and when it asks them again |
//! | `agreement` | how far the own log matches the leader's in this term |
//! | `snapshots` | the current snapshot, and as far as it is durable |
//! | `peer_records` | the records of the other members |
//! | `steps` | durable steps: the one being built, and those under way |
//! | `apply_window` | entries that are dispatched to the state machine and not applied yet |
//! | `quorum`, `numbers` | majorities; numbers used once |

mod agreement;
mod apply_window;
mod batching;
mod campaign;
mod election_timer;
mod leading;
mod numbers;
mod peer_records;
mod pending_reads;
mod progress;
pub(super) mod quorum;
mod role;
mod snapshots;
mod steps;
pub(super) mod terms;

pub(super) use agreement::Agreement;
pub(super) use apply_window::ApplyWindow;
pub(super) use campaign::Campaign;
pub(super) use election_timer::ElectionTimer;
pub(super) use leading::Leading;
pub(super) use numbers::Numbers;
pub(super) use peer_records::PeerRecords;
pub(super) use progress::{Progress, ProgressState, Transfer, TransferStep};
pub(super) use role::{RoleState, Votes};
pub(super) use snapshots::Snapshots;
pub(super) use steps::{PersistMark, Steps};
pub(super) use terms::{TERM_LEAP_MAX, Terms};
