//! The role of a member in the current term, with the data that only this role has.
//!
//! ```text
//!              no leader heard        quorum would vote       quorum votes
//!   Follower ───────────────▶ PreCandidate ──────▶ Candidate ────────────▶ Leader
//!      ▲                           │                   │                     │
//!      └── a leader, a higher term, a lost vote ───────┴── or no quorum ─────┘
//! ```
//! A change of the role drops the data of the role before, so no role sees what another has left.

use std::collections::BTreeMap;

use super::leading::Leading;
use super::progress::Progress;
use crate::raft::ready::Role;
use crate::raft::types::NodeId;

/// The role, and its data.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(in crate::raft) enum RoleState {
    /// Follows `leader`, if it knows one.
    Follower { leader: Option<NodeId> },
    /// Asks whether an election could be won.
    PreCandidate(Votes),
    /// Asks for votes.
    Candidate(Votes),
    /// Leads.
    Leader(Box<Leading>),
}

/// The answers in one half of a campaign.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(in crate::raft) struct Votes {
    granted: BTreeMap<NodeId, bool>,
    /// Answers to requests before this place are of an earlier campaign, or its first half (EL13).
    pub first_request: u64,
}

impl Votes {
    pub(in crate::raft) fn new(first_request: u64) -> Votes {
        Votes { granted: BTreeMap::new(), first_request }
    }

    /// `node` has answered.
    pub(in crate::raft) fn record(&mut self, node: NodeId, granted: bool) {
        self.granted.insert(node, granted);
    }

    /// `node` has answered an earlier round. Its answer to this one, if there is one, stands.
    pub(in crate::raft) fn record_earlier(&mut self, node: NodeId, granted: bool) {
        self.granted.entry(node).or_insert(granted);
    }

    /// The answer of `node`, if it has answered.
    pub(in crate::raft) fn of(&self, node: NodeId) -> Option<bool> {
        self.granted.get(&node).copied()
    }
}

impl RoleState {
    pub(in crate::raft) fn kind(&self) -> Role {
        match self {
            RoleState::Follower { .. } => Role::Follower,
            RoleState::PreCandidate(_) => Role::PreCandidate,
            RoleState::Candidate(_) => Role::Candidate,
            RoleState::Leader(_) => Role::Leader,
        }
    }

    pub(in crate::raft) fn is_leader(&self) -> bool {
        matches!(self, RoleState::Leader(_))
    }

    pub(in crate::raft) fn is_follower(&self) -> bool {
        matches!(self, RoleState::Follower { .. })
    }

    /// The leader's data, if this member leads.
    pub(in crate::raft) fn leading(&self) -> Option<&Leading> {
        match self {
            RoleState::Leader(leading) => Some(leading),
            _ => None,
        }
    }

    /// The leader's data, if this member leads.
    pub(in crate::raft) fn leading_mut(&mut self) -> Option<&mut Leading> {
        match self {
            RoleState::Leader(leading) => Some(leading),
            _ => None,
        }
    }

    /// The leader's view of `node`, if this member leads.
    pub(in crate::raft) fn progress(&self, node: NodeId) -> Option<&Progress> {
        self.leading().and_then(|leading| leading.progress(node))
    }

    /// The leader's view of `node`, if this member leads.
    pub(in crate::raft) fn progress_mut(&mut self, node: NodeId) -> Option<&mut Progress> {
        self.leading_mut().and_then(|leading| leading.progress_mut(node))
    }

    /// The leader's view of the other members. Nothing if this member does not lead.
    pub(in crate::raft) fn members(&self) -> impl Iterator<Item = (NodeId, &Progress)> {
        self.leading().into_iter().flat_map(Leading::members)
    }

    /// The leader's view of the other members. Nothing if this member does not lead.
    pub(in crate::raft) fn members_mut(&mut self) -> impl Iterator<Item = (NodeId, &mut Progress)> {
        self.leading_mut().into_iter().flat_map(Leading::members_mut)
    }

    /// The answers in the campaign under way, if there is one.
    pub(in crate::raft) fn votes_mut(&mut self) -> Option<&mut Votes> {
        match self {
            RoleState::PreCandidate(votes) | RoleState::Candidate(votes) => Some(votes),
            _ => None,
        }
    }

    /// The answer of `node` in the campaign under way, if it has answered.
    pub(in crate::raft) fn vote_of(&self, node: NodeId) -> Option<bool> {
        self.votes().and_then(|votes| votes.of(node))
    }

    /// The answers in the campaign under way, if there is one.
    pub(in crate::raft) fn votes(&self) -> Option<&Votes> {
        match self {
            RoleState::PreCandidate(votes) | RoleState::Candidate(votes) => Some(votes),
            _ => None,
        }
    }
}
