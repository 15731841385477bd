//! What the others' disks say of one member: which of its losses somebody will notice (PS20). For both tiers.
//!
//! ```text
//!   a disk is copied in life 4; the member starts again, 5, and again, 6: that is what all others remember
//!   the copy takes its place ──▶ life 5: lower than what is remembered, and the member is told
//!        before it has been told and has that on disk, it starts once more
//!                            ──▶ life 6: the very one that is remembered; nobody sees that it is another one
//! ```
//! What lies beyond that is in `docs/guarantees.md`, "What cannot be noticed".

use crate::raft::{Incarnation, KnownPeers, NodeId, created_at_ms};

/// The life of a member that each of the others remembers; 0: none.
#[derive(Clone, Debug)]
pub(super) struct Remembered(Vec<Incarnation>);

impl Remembered {
    /// `disks`: what those of all members say, from member 0 on.
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

    /// Whether all know the directory that this life is of, so that they would notice another one in its place.
    pub(super) fn is_known(&self, life: Incarnation) -> bool {
        self.0.iter().all(|known| *known > 0 && created_at_ms(*known) == created_at_ms(life))
    }

    /// Whether all would notice an earlier life in the place of this one: a copy starts once before anybody hears of it.
    pub(super) fn tells_apart(&self, life: Incarnation, earlier: Incarnation) -> bool {
        earlier + 1 < life && self.0.iter().all(|known| *known == life)
    }

    /// Whether anybody takes this life for the one that it remembers.
    pub(super) fn has(&self, life: Incarnation) -> bool {
        self.0.contains(&life)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raft::{PeerRecord, unborn};

    const MEMBER: NodeId = 1;

    fn by(lives: [Incarnation; 3]) -> Remembered {
        let known = lives.map(|life| KnownPeers::from([(MEMBER, PeerRecord::new(life))]));
        Remembered::of(MEMBER, &known)
    }

    /// A copy of life 4 starts as 5, which all tell from 6, and next as 6, which nobody does (PS20).
    #[test]
    fn ps20_a_copy_that_starts_as_often_is_the_life_that_is_remembered() {
        let remembered = by([6, 0, 6]);
        assert!(remembered.tells_apart(6, 4) && !remembered.has(5));
        assert!(!remembered.tells_apart(6, 5) && remembered.has(6));
        assert!(!by([6, 0, 5]).tells_apart(6, 4));
    }

    /// What a member remembers of itself counts for nothing, and every other one has to know.
    #[test]
    fn ps20_a_directory_is_known_to_all_others_or_not() {
        let (first, second) = (unborn(1_000) + 1, unborn(2_000) + 1);
        assert!(by([first, second, first + 3]).is_known(first + 3));
        assert!(!by([first, first, second]).is_known(first));
        assert!(!by([first, first, 0]).is_known(first));
    }
}
