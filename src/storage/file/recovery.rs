//! Reads the log back: every segment once, in order, nothing changed.
//!
//! ```text
//! 1 .. k        left over behind a gap: removed before, the removal of others became durable first
//! m  m+1 .. n   replayed; the checkpoint of m stands for what is not there any more
//! ```
//! What can be wrong, and what it means:
//!
//! | where | what |
//! |---|---|
//! | any segment but the newest | corruption: it was durable before the next one was begun |
//! | the newest, before the highest `synced through` of any frame that verifies | corruption (PS06) |
//! | the newest, behind that | a write that was never acknowledged: cut whole (PS05) |
//! | the newest, nothing usable in it | a crash while it was begun: the one before goes on (PS14) |
//! | a frame that verifies and does not fit | corruption |
//!
//! Corruption is an error that names the place; nothing is cut, nobody starts on it. What is cut is reported.
//!
//! Not here: any change of a file. [`FileLog`](super::log::FileLog) repairs what this found once all is checked.

use std::collections::VecDeque;
use std::ops::ControlFlow;

use super::super::log_state::LogState;
use super::super::{Identity, StorageError};
use super::directory::{Layout, refused};
use super::env::Files;
use super::index::Stage;
use super::record::{Record, Records};
use super::scanner::Scanner;
use super::segment::{self, FrameHead, HEADER_BYTES, HeaderFlaw, Position};
use crate::raft::{Index, LogOutline};

/// What the log holds, and what is to be repaired before it can go on.
pub(crate) struct Replayed {
    /// The log without its entries.
    pub state: LogState,
    /// Sizes of the entries.
    pub sizes_bytes: VecDeque<u32>,
    /// Where the entries are.
    pub stage: Stage,
    /// Number of the last frame.
    pub batch: u64,
    /// Where the log goes on.
    pub end: Position,
    /// Up to here a later frame vouches for the log's being durable; what is behind may so far only be cached.
    pub synced: Position,
    /// Bytes behind the end that belong to an unfinished write.
    pub torn_bytes: u64,
    /// Segments to be removed: left over, or begun and never used.
    pub useless: Vec<u64>,
    /// The oldest segment in use.
    pub oldest: u64,
}

impl Replayed {
    /// What the protocol gets to know about it.
    pub(crate) fn outline(&mut self) -> LogOutline {
        let sizes_bytes = std::mem::take(&mut self.sizes_bytes).into();
        LogOutline { start: self.state.start, runs: self.state.runs.clone(), sizes_bytes }
    }
}

/// Reads the log of the directory.
pub(crate) fn replay(
    files: &Files,
    layout: &Layout,
    identity: Identity,
) -> Result<Replayed, StorageError> {
    let names = files.list(&layout.log())?;
    let numbers: Vec<u64> = names.iter().filter_map(|name| Layout::segment_number(name)).collect();
    let Some(&newest) = numbers.last() else {
        let what =
            "holds no segment though the node was founded: its log is lost; replace this node";
        return Err(damaged(layout.log().display().to_string(), 0, what));
    };
    let gap =
        numbers.windows(2).rposition(|two| two[0] + 1 != two[1]).map_or(0, |before| before + 1);
    let (left_over, used) = numbers.split_at(gap);
    let mut replay = Replay::default();
    for &number in used {
        let file = files.open_read(&layout.segment(number))?;
        let mut scan =
            Scan { scanner: Scanner::new(file, number), identity, is_newest: number == newest };
        scan.read_into(&mut replay)?;
    }
    let oldest = used[0];
    replay.finish(layout, oldest, left_over)
}

/// The log as far as it has been read.
#[derive(Default)]
struct Replay {
    state: LogState,
    sizes_bytes: VecDeque<u32>,
    /// Entries up to here stood in segments that are gone: fine if they turn out to be purged.
    missing_through: Index,
    stage: Stage,
    batch: u64,
    synced: Position,
    end: Position,
    begun: bool,
    torn_bytes: u64,
    unused_newest: Option<u64>,
}

impl Replay {
    /// Takes over a frame. `Err`: why it does not fit.
    fn frame(&mut self, head: FrameHead, payload: &[u8]) -> Result<(), String> {
        if self.begun && head.batch != self.batch + 1 {
            return Err(format!("frame {} follows frame {}", head.batch, self.batch));
        }
        let opens_segment = head.at.offset == HEADER_BYTES as u64;
        if self.begun && opens_segment && head.synced != self.end {
            return Err(format!(
                "the segment before was left at {:?}, it ends at {:?}",
                head.synced, self.end
            ));
        }
        let mut records = Records::from(payload, 0);
        while let Some((place, record)) = records.next().map_err(|flaw| flaw.0.to_string())? {
            let is_checkpoint = matches!(record, Record::Checkpoint(_));
            if is_checkpoint != (opens_segment && place == 0) {
                return Err(
                    "a checkpoint belongs at the beginning of a segment, and only there".into()
                );
            }
            self.record(record, head.at, place)?;
        }
        self.begun = true;
        self.batch = head.batch;
        self.synced = self.synced.max(head.synced);
        self.end = Position { segment: head.at.segment, offset: head.end() };
        Ok(())
    }

    fn record(&mut self, record: Record<'_>, frame: Position, place: usize) -> Result<(), String> {
        match record {
            Record::Checkpoint(state) => return self.checkpoint(state),
            Record::Life(life) => self.state.set_life(life)?,
            Record::Acquaintance(node, acquaintance) => self.state.remember(node, acquaintance),
            Record::HardState(hard_state) => self.state.set_hard_state(hard_state)?,
            Record::Snapshot(meta) => self.state.record_snapshot(&meta)?,
            Record::FallBack(older) => self.state.fall_back(older.as_ref())?,
            Record::Install(install) => {
                self.state.install(&install)?;
                if !install.keep_suffix {
                    self.stage.cut(0);
                    self.sizes_bytes.clear();
                    self.missing_through = 0;
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
        while self.sizes_bytes.len() > self.present() {
            self.sizes_bytes.pop_front();
        }
        Ok(())
    }

    /// The oldest segment's stands for what came before; a later one must say what was read.
    fn checkpoint(&mut self, state: LogState) -> Result<(), String> {
        state.check()?;
        if self.begun && state != self.state {
            return Err(format!(
                "the checkpoint {state:?} differs from what came before it, {:?}",
                self.state
            ));
        }
        if !self.begun {
            self.missing_through = state.last;
            self.state = state;
        }
        Ok(())
    }

    /// How many entries of the log have been seen.
    fn present(&self) -> usize {
        (self.state.last - self.state.start.index.max(self.missing_through)) as usize
    }

    fn finish(
        self,
        layout: &Layout,
        oldest: u64,
        left_over: &[u64],
    ) -> Result<Replayed, StorageError> {
        let log = layout.log().display().to_string();
        if !self.begun {
            return Err(damaged(
                log,
                0,
                "no segment begins as it should: the log is lost; replace this node",
            ));
        }
        if self.missing_through > self.state.start.index {
            let (first, last) = (self.state.start.index + 1, self.missing_through);
            let what = format!(
                "entries {first} to {last} stood in segments before {oldest}, which are missing: restore them, or \
                 replace this node"
            );
            return Err(damaged(log, 0, what));
        }
        let useless = left_over.iter().copied().chain(self.unused_newest).collect();
        let Replay { state, sizes_bytes, stage, batch, synced, end, torn_bytes, .. } = self;
        Ok(Replayed { state, sizes_bytes, stage, batch, synced, end, torn_bytes, useless, oldest })
    }
}

/// One segment being replayed.
struct Scan {
    scanner: Scanner,
    identity: Identity,
    is_newest: bool,
}

impl Scan {
    fn read_into(&mut self, replay: &mut Replay) -> Result<(), StorageError> {
        let length = self.scanner.refresh()?;
        if self.header(replay, length)?.is_break() {
            return Ok(());
        }
        let mut offset = HEADER_BYTES as u64;
        while offset < length || offset == HEADER_BYTES as u64 {
            match self.scanner.frame(offset)? {
                Ok((head, payload)) => match replay.frame(head, payload) {
                    Ok(()) => offset = head.end(),
                    Err(breach) => return Err(self.corrupt(offset, &breach)),
                },
                Err(flaw) => return self.broken_off(replay, offset, length, flaw),
            }
        }
        Ok(())
    }

    fn header(
        &mut self,
        replay: &mut Replay,
        length: u64,
    ) -> Result<ControlFlow<()>, StorageError> {
        let (identity, segment) = (self.identity, self.scanner.segment());
        match segment::check_header(self.scanner.bytes(0, HEADER_BYTES)?, identity, segment) {
            Ok(()) => Ok(ControlFlow::Continue(())),
            Err(HeaderFlaw::Refused(what)) => Err(refused(self.scanner.path().as_ref(), what)),
            Err(HeaderFlaw::Damaged(flaw)) => {
                self.broken_off(replay, 0, length, flaw).map(|()| ControlFlow::Break(()))
            }
        }
    }

    /// What stands at `offset` does not verify: the end of the log, or damage.
    fn broken_off(
        &mut self,
        replay: &mut Replay,
        offset: u64,
        length: u64,
        flaw: &str,
    ) -> Result<(), StorageError> {
        let segment = self.scanner.segment();
        let here = Position { segment, offset };
        let vouched =
            replay.synced.max(self.scanner.synced_behind(offset + 1)?.unwrap_or_default());
        if !self.is_newest || vouched > here {
            return Err(self.corrupt(offset, flaw));
        }
        let path = self.scanner.path();
        if offset <= HEADER_BYTES as u64 {
            tracing::warn!(path, "a segment that was begun and never used is removed");
            replay.unused_newest = Some(segment);
        } else {
            let bytes = length - offset;
            tracing::warn!(
                path,
                offset,
                bytes,
                flaw,
                "an unfinished write at the end of the log is cut off"
            );
            replay.torn_bytes = bytes;
        }
        Ok(())
    }

    fn corrupt(&self, offset: u64, flaw: &str) -> StorageError {
        let what = format!(
            "the log {flaw}, before its durable end: acknowledged entries may be lost, nothing was changed; restore \
             this directory from an intact copy, or replace this node"
        );
        damaged(self.scanner.path(), offset, what)
    }
}

fn damaged(path: String, offset: u64, what: impl Into<String>) -> StorageError {
    StorageError::Damaged { path, offset, what: what.into() }
}
