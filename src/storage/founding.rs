//! Whose storage this is, and with which members its cluster began.
//!
//! Written once, before anything else can be, and compared at every start: a directory that was copied, mixed
//! up or bootstrapped with another list must not take part (PS20).

use super::{Identity, Start};
use crate::raft::{Membership, is_possible_birth};

/// What is written when storage is founded: the base record (index 0, term 0) with its owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Founding {
    /// The owner.
    pub identity: Identity,
    /// The members the cluster began with.
    pub base: Membership,
}

impl Founding {
    /// A storage founded now; otherwise why not and what to do.
    pub(crate) fn new(identity: Identity, base: Membership) -> Result<Founding, String> {
        if !is_possible_birth(identity.created_at_ms) {
            return Err(format!(
                "can't be founded {} ms after 1970, as the clock says: members tell each other's lives apart by their births, \
                 which can be told until 2109; set the clock",
                identity.created_at_ms
            ));
        }
        if !base.contains(identity.node) {
            return Err(format!(
                "can't be founded for node {}, which is none of the members {base}: start the node under the id of a member, \
                 or found the cluster with a list that has it",
                identity.node
            ));
        }
        Ok(Founding { identity, base })
    }

    /// Whether `identity` may start on this storage in the way of `start`; otherwise why not and what to do.
    pub(crate) fn check(&self, identity: Identity, start: &Start) -> Result<(), String> {
        let own = self.identity;
        if own.cluster != identity.cluster {
            let (stored, given) = (own.cluster, identity.cluster);
            return Err(format!(
                "belongs to cluster {stored}, not to {given}: use this node's own storage"
            ));
        }
        if own.node != identity.node {
            let (stored, given) = (own.node, identity.node);
            return Err(format!(
                "belongs to node {stored}, not to {given}: use this node's own storage"
            ));
        }
        match start {
            Start::Bootstrap(members) if *members != self.base => Err(format!(
                "was bootstrapped with {}, not with {members}: start with the first list, or with Start::Open",
                self.base
            )),
            _ => Ok(()),
        }
    }
}

/// Why storage without a founding record is not opened by [`Start::Open`].
pub(crate) const NOTHING_TO_OPEN: &str = "holds no node's state: begin a cluster with Start::Bootstrap. If this node took part \
     before, its state is lost; starting it anew under the same id could lose acknowledged entries";
