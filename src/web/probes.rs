//! Whether a member should get traffic, and if not, why.

use serde::Serialize;

use crate::node::NodeStatus;
use crate::raft::{InstallStatus, Role};

/// A member that has committed so many entries more than it has applied answers with an old state: it is not ready.
const BEHIND_ENTRIES: u64 = 10_000;

/// Why a member is not ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum NotReady {
    /// It was stopped, or is being stopped.
    Stopped,
    /// It could not go on; the reason stands in the log of the process.
    Failed,
    /// It knows of no leader: commands and linearizable reads would be refused.
    NoLeader,
    /// Its storage was damaged and it has not caught up.
    Recovering,
    /// It is so far behind that it is being sent a snapshot, or is about to switch to one.
    Installing,
    /// It needs a snapshot that its build can't decode: start it with the build of the other members.
    NeedsNewerBuild,
    /// It has much to apply yet.
    Behind,
}

/// All reasons why a member that stands like this should get no traffic; none if it should. Whether it leads does not matter: a
/// member that does not lead knows who does.
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
