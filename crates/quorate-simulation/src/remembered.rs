//! What the others' disks record of one member: which of its losses other members would notice
//! (PS20). Used by both tiers.
//!
//! ```text
//! a disk is copied in incarnation 4; the member restarts twice, 5 and 6: all others remember 6
//! the copy is the disk now   ──▶ incarnation 5: lower than 6; the member is informed
//!        before that is durable on its disk, it restarts once more
//!                            ──▶ incarnation 6: the remembered one; the loss goes unnoticed
//! ```
//! Other losses are described in `docs/guarantees.md`, "What cannot be noticed".

use quorate::raft::{Incarnation, KnownPeers, NodeId, created_at_ms};

/// The incarnation of a member that each of the others remembers; 0: none.
#[derive(Clone, Debug)]
pub(super) struct Remembered(Vec<Incarnation>);

impl Remembered {
    /// `disks`: the records of all members, from member 0 on.
    pub(super) fn of<'a>(
        member: NodeId,
        disks: impl IntoIterator<Item = &'a KnownPeers>,
    ) -> Remembered {
        let others = (0..).zip(disks).filter(|(other, _)| *other != member);
        let life = |(_, known): (NodeId, &KnownPeers)| {
            known.get(&member).map_or(0, |known| known.incarnation)
        };
        Remembered(others.map(life).collect())
    }

    /// Whether all others know the directory of this incarnation, so that they would notice another
    /// one in its place.
    pub(super) fn is_known(&self, life: Incarnation) -> bool {
        self.0.iter().all(|known| *known > 0 && created_at_ms(*known) == created_at_ms(life))
    }

    /// Whether all others would notice an earlier incarnation in place of this one. A copy starts
    /// once before any other member hears of it.
    pub(super) fn tells_apart(&self, life: Incarnation, earlier: Incarnation) -> bool {
        earlier + 1 < life && self.0.iter().all(|known| *known == life)
    }

    /// Whether any member would take this incarnation for the one that it remembers.
    pub(super) fn has(&self, life: Incarnation) -> bool {
        self.0.contains(&life)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quorate::raft::{PeerRecord, unborn};

    const MEMBER: NodeId = 1;

    fn by(lives: [Incarnation; 3]) -> Remembered {
        let known = lives.map(|life| KnownPeers::from([(MEMBER, PeerRecord::new(life))]));
        Remembered::of(MEMBER, &known)
    }

    /// A copy of incarnation 4 starts as 5, which all others distinguish from 6, and next as 6,
    /// which none does (PS20).
    #[test]
    fn ps20_a_copy_that_starts_as_often_is_the_life_that_is_remembered() {
        let remembered = by([6, 0, 6]);
        assert!(remembered.tells_apart(6, 4) && !remembered.has(5));
        assert!(!remembered.tells_apart(6, 5) && remembered.has(6));
        assert!(!by([6, 0, 5]).tells_apart(6, 4));
    }

    /// What a member remembers of itself does not count, and all others have to know the directory.
    #[test]
    fn ps20_a_directory_is_known_to_all_others_or_not() {
        let (first, second) = (unborn(1_000) + 1, unborn(2_000) + 1);
        assert!(by([first, second, first + 3]).is_known(first + 3));
        assert!(!by([first, first, second]).is_known(first));
        assert!(!by([first, first, 0]).is_known(first));
    }
}
