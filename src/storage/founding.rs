//! The bootstrap record: the owner of a storage, and the first members of its cluster.
//!
//! It is written once, before anything else, and compared at every start: a directory that was
//! copied, mixed up or bootstrapped with other members must not be used (PS20).

use super::{Identity, Start};
use crate::raft::{Membership, is_possible_creation};

/// Written when a storage is created: the base record (index 0, term 0) with its owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Founding {
    /// The owner.
    pub identity: Identity,
    /// The members the cluster began with.
    pub base: Membership,
}

impl Founding {
    /// The record of a new storage. The error says why it can't be created and how to correct it.
    pub(crate) fn new(identity: Identity, base: Membership) -> Result<Founding, String> {
        if !is_possible_creation(identity.created_at_ms) {
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

    /// Checks that `identity` may start on this storage with `start`. The error says why not and
    /// how to correct it.
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

/// Why [`Start::Open`] refuses a storage without a bootstrap record.
pub(crate) const NOTHING_TO_OPEN: &str = "holds no node's state: begin a cluster with Start::Bootstrap. If this node took part \
     before, its state is lost; starting it anew under the same id could lose acknowledged entries";
