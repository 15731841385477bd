//! Applies one verified frame after the other: the log's state, and the positions of its entries.
//!
//! The first segment's checkpoint replaces everything before it; entries that it counts and that
//! are in no segment must later be purged. A later checkpoint must match the state read before it,
//! except for what the start that wrote it changed: a start that continues behind damage records
//! that as a data loss.
//!
//! *What it does not do:* handle bytes that do not verify.

use std::collections::VecDeque;

use super::super::log_state::LogState;
use super::index::Stage;
use super::record::{Record, Records};
use super::segment::{FrameHead, HEADER_BYTES, Position};
use crate::raft::{Incarnation, Index, LogId, LogOutline};

/// The log as far as it was read.
#[derive(Default)]
pub(crate) struct Replay {
    /// The log without its entries.
    pub state: LogState,
    /// Sizes of the entries, in bytes.
    pub sizes_bytes: VecDeque<u32>,
    /// Positions of the entries.
    pub stage: Stage,
    /// Where the log continues.
    pub end: Position,
    /// A later frame confirms the log as durable up to here; what is behind may so far only be
    /// cached.
    pub synced: Position,
    /// The incarnation that wrote the last frame.
    pub incarnation: Incarnation,
    /// Segments read so far, oldest first.
    pub segments: VecDeque<u64>,
    /// Entries up to here were in segments that were not read; valid only if they are purged later.
    missing_through: Index,
}

impl Replay {
    /// Applies a frame. `Err`: why it does not fit. The state must not be used then, because the
    /// frame may have been applied in part.
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

    /// The oldest segment's checkpoint replaces everything before it; a later one must match what
    /// was read. Only a start that continued behind damage changed something in between.
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

    /// Whether a frame was applied.
    pub(crate) fn has_begun(&self) -> bool {
        self.end != Position::default()
    }

    /// Number of the log's entries that were read.
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

    /// The missing entries, first and last.
    pub(crate) fn missing(&self) -> Option<(Index, Index)> {
        let start = self.state.start.index;
        (self.missing_through > start).then_some((start + 1, self.missing_through))
    }

    /// Purges the missing entries if the current snapshot covers them. Returns whether none is
    /// missing any more.
    pub(crate) fn purge_missing(&mut self) -> bool {
        let Some((_, index)) = self.missing() else { return true };
        let Some(term) = self.state.term_at(index) else { return false };
        let purged = self.state.purge(LogId { term, index }).is_ok();
        self.drop_purged();
        purged
    }

    /// Replaces the state by one without entries: a snapshot alone, or nothing.
    pub(crate) fn reset(&mut self, state: LogState) {
        self.state = state;
        self.drop_entries();
        self.segments.clear();
        self.end = Position::default();
        self.synced = Position::default();
    }

    /// The outline of the log for the protocol.
    pub(crate) fn outline(&mut self) -> LogOutline {
        let sizes_bytes = std::mem::take(&mut self.sizes_bytes).into();
        LogOutline { start: self.state.start, runs: self.state.runs.clone(), sizes_bytes }
    }
}
