//! A single pass over a directory: what a start would decide, and the state of every file.
//!
//! *What it does not do:* repeat the pass.

use std::collections::BTreeSet;
use std::io::{self, ErrorKind};
use std::path::Path;

use super::super::super::StorageError;
use super::super::directory::Layout;
use super::super::recovery::{self, Damage, Recovery};
use super::super::scanner::Scanner;
use super::super::segment::{self, HEADER_BYTES, HeaderFlaw};
use super::super::snapshots;
use super::super::verdict::{self, Examined, Onwards, Verdict};
use super::Inspector;
use super::report::{
    EndReport, Finding, Inspection, LogReport, Outcome, SegmentReport, SegmentState,
    SnapshotReport, SnapshotState, SpareReport,
};
use super::walk::{self, Walk};
use crate::raft::{Life, LogId, Loss, SnapshotMeta};

/// A pass in progress.
pub(super) struct Look<'a> {
    inspector: &'a Inspector,
    report: Inspection,
}

impl Look<'_> {
    pub(super) fn at(inspector: &Inspector) -> Result<Inspection, StorageError> {
        let founding = &inspector.founding;
        let report = Inspection {
            directory: inspector.layout.root().display().to_string(),
            in_use: false,
            cluster: founding.identity.cluster,
            node: founding.identity.node,
            members: founding.base.clone(),
            outcome: Outcome::Sound,
            findings: Vec::new(),
            notes: Vec::new(),
            log: None,
            end: None,
            segments: Vec::new(),
            spares: Vec::new(),
            snapshots: Vec::new(),
        };
        let mut look = Look { inspector, report };
        match recovery::recover(&inspector.files, &inspector.layout, founding.identity) {
            Ok(recovery) => look.judge(recovery)?,
            Err(error) => look.give_up(error)?,
        }
        look.look_at_other_files()?;
        Ok(look.report)
    }

    /// Reports what a start would decide, and the reasons.
    fn judge(&mut self, mut recovery: Recovery) -> Result<(), StorageError> {
        let identity = self.inspector.founding.identity;
        let end = recovery.beyond.as_ref().unwrap_or(&recovery.log);
        let (state, end_at) = (end.state.clone(), end.end);
        self.report.log = end.has_begun().then(|| LogReport {
            state: (&state).into(),
            entries: end.sizes_bytes.len() as u64,
            entries_bytes: end.sizes_bytes.iter().map(|&bytes| u64::from(bytes)).sum(),
        });
        let damages: Vec<Damage> =
            recovery.damage.iter().chain(&recovery.further).cloned().collect();
        let may_lose = self.has_others();
        let verdict = self.look_at_snapshots(state.snapshot.as_ref(), |snapshots, path| {
            verdict::reach(&mut recovery, snapshots, path, identity, may_lose).map(Some)
        })?;
        if state.life.loss.is_some() && self.report.outcome == Outcome::Sound {
            self.report.outcome = Outcome::Recovering;
        }
        let advice = self.advice();
        let found = damages.iter().map(|damage| finding(damage, advice));
        let lost = state.life.loss.map(|loss| lost(self.inspector.layout.root(), loss));
        self.report.findings.extend(found.chain(lost));
        self.report.notes.extend(recovery.unfinished.as_ref().map(unfinished));
        self.report.notes.extend(recovery.marks.flaw().as_ref().map(one_copy));
        self.report.end = recovery.marks.mark().map(|mark| EndReport {
            through: mark.through,
            last: mark.last,
            start: mark.incarnation.into(),
            is_sealed: recovery.damage.is_none() && recovery.marks.is_sealed_at(end_at),
        });
        self.survey(&Parts::new(&recovery, verdict.as_ref(), state.life))?;
        self.find_further_gaps(&damages, advice);
        Ok(())
    }

    /// Reports a log that can't be read at all.
    fn give_up(&mut self, error: StorageError) -> Result<(), StorageError> {
        if is_about_the_call(&error) {
            return Err(error);
        }
        let why = error.to_string();
        let (path, offset, what) = match error {
            StorageError::Refused { path, what } => (path, 0, what),
            StorageError::Damaged { path, offset, what } => (path, offset, what),
            StorageError::Io { path, source, .. } => (path, 0, format!("can't be read: {source}")),
        };
        self.report.outcome = Outcome::Refused { why };
        let advice = "no node starts here before that is put right".into();
        self.report.findings.push(Finding { path, offset, what, advice });
        self.survey(&Parts::default())?;
        self.look_at_snapshots(None, |_, _| Ok(None)).map(drop)
    }

    fn has_others(&self) -> bool {
        let founding = &self.inspector.founding;
        founding.base.voters.iter().any(|&voter| voter != founding.identity.node)
    }

    fn advice(&self) -> &'static str {
        match self.report.outcome {
            Outcome::Sound | Outcome::Recovering => "nothing",
            Outcome::FallsBack { older: LogId::BASE } => {
                "start the node: the log reaches back to its beginning, nothing is lost"
            }
            Outcome::FallsBack { .. } => "start the node: an older snapshot stands in",
            Outcome::Covered => "start the node: a snapshot covers it, nothing is lost",
            Outcome::CatchesUp { .. } => "start the node: it catches up from the others",
            Outcome::Refused { .. } if self.has_others() => "see why a start would be refused",
            Outcome::Refused { .. } => {
                "there are no others to catch up from: put an intact copy of the directory in its place; what was \
                 acknowledged since it was made is lost"
            }
        }
    }

    /// Lets `reach` decide with the snapshots it reads; then reads the others completely.
    fn look_at_snapshots(
        &mut self,
        named: Option<&SnapshotMeta>,
        reach: impl FnOnce(&mut Examined<'_>, &Path) -> Result<Option<Verdict>, StorageError>,
    ) -> Result<Option<Verdict>, StorageError> {
        let Inspector { files, layout, founding } = self.inspector;
        snapshots::examine(files, layout, founding.identity.cluster, |snapshots, path| {
            let (verdict, failed) = match reach(snapshots, path) {
                Ok(verdict) => (verdict, None),
                Err(error) if is_about_the_call(&error) => return Err(error),
                Err(error) => {
                    self.report.outcome = Outcome::Refused { why: error.to_string() };
                    (None, Some(error))
                }
            };
            if let Some(verdict) = &verdict {
                self.report.outcome = outcome(verdict);
            }
            let named_id = named.map(|meta| meta.log_id);
            let ids: BTreeSet<LogId> = snapshots.stored().iter().copied().chain(named_id).collect();
            for id in ids {
                let path = layout.snapshot(id);
                // A snapshot that a start could not read is not read again.
                let failed = failed.as_ref().filter(|failed| is_about(failed, &path));
                let verified = match (failed, snapshots.verify(id)) {
                    (Some(failed), _) => Err(Damage::new(&path, 0, failed.to_string())),
                    (None, Ok(verified)) => verified,
                    (None, Err(error)) if is_about_the_call(&error) => return Err(error),
                    (None, Err(error)) => Err(Damage::new(&path, 0, error.to_string())),
                };
                self.report_snapshot(id, named, verified)?;
            }
            self.report.snapshots.sort_by_key(|snapshot| snapshot.log_id);
            Ok(verdict)
        })
    }

    fn report_snapshot(
        &mut self,
        id: LogId,
        named: Option<&SnapshotMeta>,
        verified: Result<SnapshotMeta, Damage>,
    ) -> Result<(), StorageError> {
        let path = self.inspector.layout.snapshot(id);
        let state = match named.map(|named| named.log_id) {
            Some(current) if current == id => SnapshotState::Current,
            Some(current) if id.index < current.index => SnapshotState::Older,
            _ => SnapshotState::Orphan,
        };
        let is_meant = |meta: &SnapshotMeta| {
            let named = named.filter(|named| named.log_id == id);
            meta.log_id == id && named.is_none_or(|named| named.membership == meta.membership)
        };
        let verified = verified.and_then(|meta| {
            let other = "is another snapshot than its name or the log says";
            if is_meant(&meta) { Ok(meta) } else { Err(Damage::new(&path, 0, other)) }
        });
        if let Err(damage) = &verified {
            let advice = match state {
                SnapshotState::Current => self.advice(),
                SnapshotState::Older => {
                    "remove it while the node is stopped: it can't stand in for the current one"
                }
                SnapshotState::Orphan | SnapshotState::Unfinished => "nothing: no record needs it",
            };
            let Inspection { findings, notes, .. } = &mut self.report;
            let is_needless = state == SnapshotState::Orphan;
            if is_needless { notes } else { findings }.push(finding(damage, advice));
        }
        self.report.snapshots.push(SnapshotReport {
            path: path.display().to_string(),
            file_bytes: self.inspector.file_bytes(&path)?,
            log_id: Some(id),
            state,
            flaw: verified.as_ref().err().map(|damage| damage.what.clone()),
            verified: verified.ok(),
        });
        Ok(())
    }

    fn survey(&mut self, parts: &Parts) -> Result<(), StorageError> {
        let Inspector { files, layout, .. } = self.inspector;
        let names = files.list(&layout.log())?;
        for number in names.iter().filter_map(|name| Layout::segment_number(name)) {
            let mut scanner = self.inspector.scanner(number)?;
            let mut report = SegmentReport {
                number,
                path: scanner.path(),
                file_bytes: scanner.refresh()?,
                state: parts.state_of(number),
                used_bytes: 0,
                frames: 0,
                first: None,
                last: None,
                follows: None,
                flaw: None,
                gaps: Vec::new(),
            };
            match self.survey_one(scanner, parts.end_of(number), &mut report) {
                Err(error) if is_about_the_call(&error) => return Err(error),
                Err(error) => {
                    let damage = Damage::new(&layout.segment(number), 0, error.to_string());
                    self.report.findings.push(finding(&damage, "look after the disk"));
                    report.flaw = Some(damage.what);
                }
                Ok(()) => {}
            }
            self.report.segments.push(report);
        }
        Ok(())
    }

    fn survey_one(
        &self,
        mut scanner: Scanner,
        end: Option<u64>,
        report: &mut SegmentReport,
    ) -> Result<(), StorageError> {
        let header = scanner.bytes(0, HEADER_BYTES)?;
        let identity = self.inspector.founding.identity;
        let checked = segment::check_header(header, identity, report.number);
        report.flaw = checked.err().map(|flaw| match flaw {
            HeaderFlaw::Damaged(what) | HeaderFlaw::Refused(what) => what.to_owned(),
        });
        walk::survey(Walk::begin(scanner)?, end, report)
    }

    /// Recovery names the first damage of each segment; the walk also finds the damage behind it.
    fn find_further_gaps(&mut self, damages: &[Damage], advice: &str) {
        let Inspection { segments, findings, .. } = &mut self.report;
        for damage in damages {
            let segment = segments.iter().find(|segment| segment.path == damage.path);
            let gaps = segment.into_iter().flat_map(|segment| &segment.gaps);
            let further = gaps.filter(|gap| gap.offset > damage.offset);
            findings.extend(further.map(|gap| Finding {
                path: damage.path.clone(),
                offset: gap.offset,
                what: format!("holds no frame that verifies for {} bytes", gap.bytes),
                advice: advice.to_owned(),
            }));
        }
    }

    fn look_at_other_files(&mut self) -> Result<(), StorageError> {
        let Inspector { files, layout, .. } = self.inspector;
        for name in files.list(&layout.log())?.iter().filter(|name| Layout::is_spare(name)) {
            let path = layout.log().join(name);
            if let Some(file_bytes) = self.inspector.file_bytes(&path)? {
                let path = path.display().to_string();
                self.report.spares.push(SpareReport { path, file_bytes });
            }
        }
        let names = files.list(&layout.snapshots())?;
        for name in names.iter().filter(|name| Layout::is_snapshot_tmp(name)) {
            let path = layout.snapshots().join(name);
            self.report.snapshots.push(SnapshotReport {
                path: path.display().to_string(),
                file_bytes: self.inspector.file_bytes(&path)?,
                log_id: None,
                state: SnapshotState::Unfinished,
                verified: None,
                flaw: None,
            });
        }
        Ok(())
    }
}

/// The file was removed, or this user may not read it: no statement about its bytes.
fn is_about_the_call(error: &StorageError) -> bool {
    let is = |source: &io::Error| {
        [ErrorKind::NotFound, ErrorKind::PermissionDenied].contains(&source.kind())
    };
    matches!(error, StorageError::Io { source, .. } if is(source))
}

/// Whether the call on this file failed.
fn is_about(error: &StorageError, path: &Path) -> bool {
    matches!(error, StorageError::Io { path: at, .. } if *at == path.display().to_string())
}

fn finding(damage: &Damage, advice: &str) -> Finding {
    let Damage { path, offset, what } = damage.clone();
    Finding { path, offset, what, advice: advice.to_owned() }
}

fn lost(root: &Path, loss: Loss) -> Finding {
    let vote = if loss.forgot_vote { ", and may have forgotten a vote" } else { "" };
    let what =
        format!("this member has lost something{vote}: it does not count before it has caught up");
    let advice = "let it run beside the others until it has caught up".into();
    Finding { path: root.display().to_string(), offset: 0, what, advice }
}

fn unfinished(damage: &Damage) -> Finding {
    let Damage { path, offset, what } = damage.clone();
    let what = format!("{what}: the last write was never finished, nothing of it was acknowledged");
    Finding { path, offset, what, advice: "nothing: the next start cuts it off".into() }
}

fn one_copy(damage: &Damage) -> Finding {
    let Damage { path, offset, what } = damage.clone();
    let what = format!("one of two copies {what}; the other one counts");
    let advice =
        "nothing after a power loss, the next start writes it again; else look after the disk"
            .into();
    Finding { path, offset, what, advice }
}

fn outcome(verdict: &Verdict) -> Outcome {
    let state = &verdict.log.state;
    match verdict.onwards {
        Onwards::Elsewhere => {
            Outcome::CatchesUp { last: state.last, loss: state.life.loss.unwrap_or_default() }
        }
        Onwards::Here { fell_back: true, .. } => Outcome::FallsBack {
            older: state.snapshot.as_ref().map_or(LogId::BASE, |meta| meta.log_id),
        },
        Onwards::Here { purged: true, .. } => Outcome::Covered,
        Onwards::Here { .. } => Outcome::Sound,
    }
}

/// The log's segments, and the end of the log's part of each.
#[derive(Default)]
struct Parts {
    is_known: bool,
    used: BTreeSet<u64>,
    ends: Vec<(u64, u64)>,
    newest: Option<u64>,
    unused: Option<u64>,
    rest_stays: bool,
}

impl Parts {
    fn new(recovery: &Recovery, verdict: Option<&Verdict>, before: Life) -> Parts {
        let links = &recovery.chain.links;
        let mut parts = Parts {
            is_known: true,
            used: links.iter().map(|link| link.segment).collect(),
            ends: links.iter().filter_map(|link| Some((link.segment, link.end?))).collect(),
            newest: None,
            unused: recovery.chain.unused,
            rest_stays: before.loss.is_some(),
        };
        if let Some(Verdict { log, onwards, .. }) = verdict {
            parts.used = log.segments.iter().copied().collect();
            parts.ends.retain(|&(segment, _)| segment != log.end.segment);
            parts.ends.push((log.end.segment, log.end.offset));
            match onwards {
                Onwards::Here { .. } => parts.newest = Some(log.end.segment),
                Onwards::Elsewhere => parts.rest_stays = true,
            }
        }
        parts
    }

    fn state_of(&self, segment: u64) -> SegmentState {
        match () {
            () if !self.is_known => SegmentState::Unknown,
            () if self.unused == Some(segment) => SegmentState::Unused,
            () if self.newest == Some(segment) => SegmentState::Newest,
            () if self.used.contains(&segment) => SegmentState::InUse,
            () if self.rest_stays => SegmentState::SetAside,
            () => SegmentState::LeftOver,
        }
    }

    fn end_of(&self, segment: u64) -> Option<u64> {
        self.ends.iter().find(|(number, _)| *number == segment).map(|(_, end)| *end)
    }
}
