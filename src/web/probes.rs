//! Whether a member is ready for traffic, and the reasons if it is not.

use serde::Serialize;

use crate::node::NodeStatus;
use crate::raft::{InstallStatus, Role};

/// A member that has applied this many entries fewer than it has committed would answer with stale
/// state: it is not ready.
const BEHIND_ENTRIES: u64 = 10_000;

/// Why a member is not ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum NotReady {
    /// It was stopped, or is stopping.
    Stopped,
    /// It has failed; the reason is in the log of the process.
    Failed,
    /// It knows of no leader: commands and linearizable reads would be refused.
    NoLeader,
    /// Its storage was damaged and it has not caught up.
    Recovering,
    /// It is so far behind that it receives a snapshot, or is about to switch to one.
    Installing,
    /// It needs a snapshot that its build can't decode: run the build of the other members.
    NeedsNewerBuild,
    /// It has many committed entries to apply.
    Behind,
}

/// All reasons why a member with this status should get no traffic; empty if it is ready.
/// Leadership does not matter: a member that is not the leader redirects to the leader.
pub fn not_ready(status: &NodeStatus) -> Vec<NotReady> {
    let raft = &status.raft;
    if !status.running {
        return vec![if status.fatal.is_some() { NotReady::Failed } else { NotReady::Stopped }];
    }
    let campaigns = matches!(raft.role, Role::PreCandidate | Role::Candidate);
    let installs =
        matches!(raft.install, InstallStatus::Receiving { .. } | InstallStatus::Pending { .. });
    let reasons = [
        (raft.leader.is_none() || campaigns, NotReady::NoLeader),
        (raft.recovering, NotReady::Recovering),
        (installs, NotReady::Installing),
        (raft.undecodable.is_some(), NotReady::NeedsNewerBuild),
        (raft.commit.saturating_sub(raft.applied) > BEHIND_ENTRIES, NotReady::Behind),
    ];
    reasons.into_iter().filter(|(holds, _)| *holds).map(|(_, reason)| reason).collect()
}
