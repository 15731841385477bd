//! Takes over one verified frame after the other: what the log amounts to, and where its entries are.
//!
//! The first segment's checkpoint stands for all that is not there any more; entries that it counts and that are
//! nowhere must turn out to be purged. A later checkpoint must say what was read before it, apart from what the start
//! that wrote it changed: who goes on behind damage says so by a new life.
//!
//! Not here: bytes that do not verify, and what they mean.

use std::collections::VecDeque;

use super::super::log_state::LogState;
use super::index::Stage;
use super::record::{Record, Records};
use super::segment::{FrameHead, HEADER_BYTES, Position};
use crate::raft::{Incarnation, Index, LogId, LogOutline};

/// The log as far as it has been read.
#[derive(Default)]
pub(crate) struct Replay {
    /// The log without its entries.
    pub state: LogState,
    /// Sizes of the entries.
    pub sizes_bytes: VecDeque<u32>,
    /// Where the entries are.
    pub stage: Stage,
    /// Where the log goes on.
    pub end: Position,
    /// Up to here a later frame vouches for the log's being durable; what is behind may so far only be cached.
    pub synced: Position,
    /// The start that wrote the last frame.
    pub incarnation: Incarnation,
    /// Segments that were read, oldest first.
    pub segments: VecDeque<u64>,
    /// Entries up to here stood in segments that were not read: fine if they turn out to be purged.
    missing_through: Index,
}

impl Replay {
    /// Takes over a frame. `Err`: why it does not fit; what was taken over before is of no use then, for half of the frame
    /// may be in it.
    pub(crate) fn frame(&mut self, head: FrameHead, payload: &[u8]) -> Result<(), String> {
        let opens_segment = head.at.offset == HEADER_BYTES as u64;
        if self.has_begun() && opens_segment && head.synced != self.end {
            return Err(format!(
                "says that the segment before ended at {}, it ends at {}",
                head.synced, self.end
            ));
        }
        let mut records = Records::from(payload, 0);
        while let Some((place, record)) = records.next().map_err(|flaw| flaw.0.to_string())? {
            let is_checkpoint = matches!(record, Record::Checkpoint(_));
            if is_checkpoint != (opens_segment && place == 0) {
                return Err(
                    "has a checkpoint elsewhere than at the beginning of a segment, or none there"
                        .into(),
                );
            }
            self.record(record, head.at, place)?;
        }
        if head.incarnation != self.state.life.incarnation {
            let incarnation = head.incarnation;
            return Err(format!("has a frame of start {incarnation} in {:?}", self.state.life));
        }
        if opens_segment {
            self.segments.push_back(head.at.segment);
        }
        self.incarnation = head.incarnation;
        self.synced = self.synced.max(head.synced);
        self.end = Position { segment: head.at.segment, offset: head.end() };
        Ok(())
    }

    fn record(&mut self, record: Record<'_>, frame: Position, place: usize) -> Result<(), String> {
        match record {
            Record::Checkpoint(state) => return self.checkpoint(state),
            Record::Life(life) => self.state.set_life(life)?,
            Record::Peer(node, peer_record) => self.state.remember(node, peer_record),
            Record::HardState(hard_state) => self.state.set_hard_state(hard_state)?,
            Record::Snapshot(meta) => self.state.record_snapshot(&meta)?,
            Record::FallBack(older) => self.state.fall_back(older.as_ref())?,
            Record::Install(install) => {
                self.state.install(&install)?;
                if !install.keep_suffix {
                    self.drop_entries();
                }
            }
            Record::Truncate(from) => {
                self.state.truncate(from)?;
                self.stage.cut(from);
                self.missing_through = self.missing_through.min(from - 1);
                self.sizes_bytes.truncate(self.present());
            }
            Record::Entry(entry) => {
                self.state.append(entry.log_id)?;
                self.stage.entry(entry.log_id.index, frame, place);
                self.sizes_bytes.push_back(entry.size_bytes() as u32);
            }
            Record::Purge(through) => self.state.purge(through)?,
        }
        self.drop_purged();
        Ok(())
    }

    /// The oldest segment's stands for what came before; a later one must say what was read. Only a start that went on
    /// behind damage changed something in between.
    fn checkpoint(&mut self, state: LogState) -> Result<(), String> {
        state.check()?;
        if !self.has_begun() {
            self.missing_through = state.last;
            self.state = state;
            return Ok(());
        }
        let read = LogState {
            life: state.life,
            hard_state: state.hard_state,
            known_peers: state.known_peers.clone(),
            snapshot: state.snapshot.clone(),
            ..self.state.clone()
        };
        let goes_on = state.life.loss.is_some() && state == read;
        if state != self.state && !goes_on {
            return Err(format!(
                "has a checkpoint, {state:?}, that differs from what came before it, {:?}",
                self.state
            ));
        }
        self.state = state;
        Ok(())
    }

    /// Whether a frame was taken over.
    pub(crate) fn has_begun(&self) -> bool {
        self.end != Position::default()
    }

    /// How many entries of the log have been seen.
    fn present(&self) -> usize {
        (self.state.last - self.state.start.index.max(self.missing_through)) as usize
    }

    fn drop_purged(&mut self) {
        while self.sizes_bytes.len() > self.present() {
            self.sizes_bytes.pop_front();
        }
    }

    fn drop_entries(&mut self) {
        self.stage.cut(0);
        self.sizes_bytes.clear();
        self.missing_through = 0;
    }

    /// The entries that should be there and are not: first and last.
    pub(crate) fn missing(&self) -> Option<(Index, Index)> {
        let start = self.state.start.index;
        (self.missing_through > start).then_some((start + 1, self.missing_through))
    }

    /// Forgets the missing entries where the current snapshot covers them. Whether there are none any more.
    pub(crate) fn purge_missing(&mut self) -> bool {
        let Some((_, index)) = self.missing() else { return true };
        let Some(term) = self.state.term_at(index) else { return false };
        let purged = self.state.purge(LogId { term, index }).is_ok();
        self.drop_purged();
        purged
    }

    /// Nothing but the snapshot, or nothing at all: its entries are of no use.
    pub(crate) fn reset(&mut self, state: LogState) {
        self.state = state;
        self.drop_entries();
        self.segments.clear();
        self.end = Position::default();
        self.synced = Position::default();
    }

    /// What the protocol gets to know about it.
    pub(crate) fn outline(&mut self) -> LogOutline {
        let sizes_bytes = std::mem::take(&mut self.sizes_bytes).into();
        LogOutline { start: self.state.start, runs: self.state.runs.clone(), sizes_bytes }
    }
}
