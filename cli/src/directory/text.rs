//! Formats an inspection as text.
//!
//! JSON output is not made here; it is the serialized report.

use std::io::{self, Write};

use quorate::raft::{EntryKind, LogId, Loss, SnapshotMeta};
use quorate::storage::file::inspection::{
    EndReport, Finding, FrameReport, Holding, Inspection, LifeReport, LogReport, Outcome,
    RecordReport, SegmentReport, SegmentState, SnapshotReport, SnapshotState, StartReport,
    StateReport, Stretch,
};

/// Writes all of it except the records.
pub fn inspection(out: &mut impl Write, inspection: &Inspection) -> io::Result<()> {
    let Inspection { directory, cluster, node, members, .. } = inspection;
    writeln!(out, "{directory}: node {node} of cluster {cluster}, which began with {members}")?;
    if inspection.in_use {
        writeln!(out, "{IN_USE}")?;
    }
    writeln!(out)?;
    match &inspection.log {
        Some(log) => log_of(out, log)?,
        None => writeln!(out, "{:<14}nothing that can be read", "log")?,
    }
    end_mark(out, inspection.end.as_ref())?;
    segments(out, &inspection.segments)?;
    let spare_bytes: u64 = inspection.spares.iter().map(|spare| spare.file_bytes).sum();
    writeln!(out, "\n{:<14}{}, {spare_bytes} bytes", "spare files", inspection.spares.len())?;
    if inspection.snapshots.is_empty() {
        writeln!(out, "{:<14}none", "snapshots")?;
    }
    inspection.snapshots.iter().try_for_each(|snapshot| snapshot_file(out, snapshot))?;
    writeln!(out)?;
    findings(out, inspection)?;
    writeln!(out, "{}", conclusion(inspection))
}

const IN_USE: &str = "in use by a running node: the end may be moving";

/// Writes whether the directory is valid, and otherwise where it is not and what to do.
pub fn verdict(out: &mut impl Write, inspection: &Inspection) -> io::Result<()> {
    let Inspection { directory, segments, snapshots, .. } = inspection;
    let in_use = if inspection.in_use { format!(", {IN_USE}") } else { String::new() };
    let entries = inspection.log.as_ref().map_or(0, |log| log.entries);
    writeln!(
        out,
        "{directory}: read {} of log with {entries} entries, {}{in_use}",
        count(segments.len(), "file"),
        count(snapshots.len(), "snapshot")
    )?;
    findings(out, inspection)?;
    writeln!(out, "{}", conclusion(inspection))
}

fn findings(out: &mut impl Write, inspection: &Inspection) -> io::Result<()> {
    let marked = |mark| move |finding| (mark, finding);
    let all = inspection.findings.iter().map(marked("wrong"));
    for (mark, finding) in all.chain(inspection.notes.iter().map(marked("note"))) {
        let Finding { path, offset, what, advice } = finding;
        writeln!(out, "{mark}: {path} at byte {offset}: {what}\n       to do: {advice}")?;
    }
    Ok(())
}

fn conclusion(inspection: &Inspection) -> String {
    let start = if inspection.in_use { "the next start" } else { "a start" };
    let nothing = if inspection.findings.is_empty() { "nothing is wrong; " } else { "" };
    let what = match &inspection.outcome {
        Outcome::Sound => "goes on as it was".to_owned(),
        Outcome::Recovering => "goes on catching up from the others".to_owned(),
        Outcome::FallsBack { older: LogId::BASE } => {
            "goes on without a snapshot: the log reaches back to its beginning".to_owned()
        }
        Outcome::FallsBack { older } => format!("goes on from the older snapshot {older}"),
        Outcome::Covered => "goes on without the damaged part, and nothing is lost".to_owned(),
        Outcome::CatchesUp { last, loss } => format!(
            "goes on from entry {last} and catches up from the others: {}; a node that is told to \
             refuse damage does not start",
            lost(*loss)
        ),
        Outcome::Refused { why } => format!("is refused: {why}"),
        other => format!("ends with {other:?}"),
    };
    format!("{nothing}{start} {what}")
}

fn log_of(out: &mut impl Write, log: &LogReport) -> io::Result<()> {
    let state = &log.state;
    writeln!(out, "{:<14}{}", "life", life(&state.life))?;
    writeln!(out, "{:<14}{}", "term", term(state))?;
    writeln!(
        out,
        "{:<14}behind {} up to {}: {} entries, {} bytes",
        "log", state.start, state.last, log.entries, log.entries_bytes
    )?;
    writeln!(out, "{:<14}{}", "terms", terms(state))?;
    let snapshot = state.snapshot.as_ref().map_or("none".into(), meta);
    writeln!(out, "{:<14}{snapshot}", "snapshot")?;
    for known in &state.known_peers {
        let (node, start, acknowledged) = (known.node, start(known.start), known.acknowledged);
        writeln!(out, "{:<14}{node}: {start}, acknowledged {acknowledged}", "knows member")?;
    }
    Ok(())
}

fn end_mark(out: &mut impl Write, end: Option<&EndReport>) -> io::Result<()> {
    let Some(end) = end else {
        return writeln!(out, "{:<14}nothing that can be read", "end");
    };
    let sealed = if end.is_sealed { "sealed" } else { "not sealed" };
    writeln!(out, "{:<14}{sealed}, durable through {}, entry {}", "end", end.through, end.last)
}

fn segments(out: &mut impl Write, segments: &[SegmentReport]) -> io::Result<()> {
    writeln!(
        out,
        "\n{:>7}{:>12}{:>12}{:>8}  {:<20}{:<28}state",
        "segment", "file bytes", "used bytes", "frames", "entries", "follows"
    )?;
    for segment in segments {
        let dash = || "-".to_owned();
        let entries = segment.first.zip(segment.last);
        let entries = entries.map_or_else(dash, |(first, last)| format!("{first}..{last}"));
        let follows = segment.follows.map_or_else(dash, |before| before.to_string());
        let state = match segment.state {
            SegmentState::Newest => "newest",
            SegmentState::InUse => "in use",
            SegmentState::SetAside => "set aside",
            SegmentState::LeftOver => "left over",
            SegmentState::Unused => "unused",
            _ => "unknown",
        };
        let flaw = segment.flaw.as_ref().map_or(String::new(), |flaw| format!("; {flaw}"));
        let gaps = match segment.gaps.len() {
            0 => String::new(),
            gaps => format!("; {} without a whole frame", count(gaps, "stretch")),
        };
        writeln!(
            out,
            "{:>7}{:>12}{:>12}{:>8}  {entries:<20}{follows:<28}{state}{flaw}{gaps}",
            segment.number, segment.file_bytes, segment.used_bytes, segment.frames
        )?;
    }
    Ok(())
}

fn snapshot_file(out: &mut impl Write, snapshot: &SnapshotReport) -> io::Result<()> {
    let state = match snapshot.state {
        SnapshotState::Current => "current",
        SnapshotState::Older => "older",
        SnapshotState::Orphan => "orphan",
        _ => "unfinished",
    };
    let id = snapshot.log_id.map_or(String::new(), |id| format!("{id}, "));
    let size = snapshot.file_bytes.map_or("missing".into(), |bytes| format!("{bytes} bytes"));
    let verified = match (&snapshot.verified, &snapshot.flaw) {
        (Some(meta), _) => format!(", members {}, verified", meta.membership),
        (None, Some(flaw)) => format!(", {flaw}"),
        (None, None) => String::new(),
    };
    writeln!(out, "{:<14}{id}{size}, {state}{verified}", "snapshot file")
}

/// Writes a frame with its records, or the content of a gap.
pub fn stretch(out: &mut impl Write, segment: &SegmentReport, stretch: &Stretch) -> io::Result<()> {
    match stretch {
        Stretch::Frame(frame) => frame_of(out, frame),
        Stretch::Gap(gap) => {
            let holds = match gap.holds {
                Holding::Zeros => "zeros",
                Holding::EarlierSegment => "what the file held as an earlier segment",
                Holding::BrokenFrame => "a frame that does not verify",
                _ => "something that is no frame",
            };
            let is_behind = gap.offset >= segment.used_bytes;
            let end = if is_behind { ", behind the end" } else { ", BEFORE THE END" };
            writeln!(out, "{:>10} {:>9} bytes of {holds}{end}", gap.offset, gap.bytes)
        }
        other => writeln!(out, "{other:?}"),
    }
}

fn frame_of(out: &mut impl Write, frame: &FrameReport) -> io::Result<()> {
    let counts = if frame.counts { "" } else { ", not part of the log" };
    writeln!(
        out,
        "{:>10} {:>9} bytes in a frame of start {}, synced through {}{counts}",
        frame.offset, frame.bytes, frame.start.number, frame.synced_through
    )?;
    for stored in &frame.records {
        writeln!(out, "{:>11}{}", "", record(stored))?;
    }
    match &frame.flaw {
        Some(flaw) => writeln!(out, "{:>11}{flaw}", ""),
        None => Ok(()),
    }
}

fn record(record: &RecordReport) -> String {
    match record {
        RecordReport::Checkpoint(state) => format!(
            "checkpoint: {}, term {}, log behind {} up to {}, terms {}, snapshot {}, {} known",
            life(&state.life),
            term(state),
            state.start,
            state.last,
            terms(state),
            state.snapshot.as_ref().map_or("none".into(), meta),
            count(state.known_peers.len(), "member"),
        ),
        RecordReport::Life(of) => format!("life: {}", life(of)),
        RecordReport::Peer(known) => format!(
            "member {}: {}, acknowledged {}",
            known.node,
            start(known.start),
            known.acknowledged
        ),
        RecordReport::HardState { term, vote } => {
            format!(
                "term {term}, {}",
                vote.map_or("no vote".into(), |vote| format!("vote for {vote}"))
            )
        }
        RecordReport::Install { snapshot, keep_suffix } => {
            let rest = if *keep_suffix { "stay" } else { "go" };
            format!("install of {}; the entries behind it {rest}", meta(snapshot))
        }
        RecordReport::Snapshot(of) => format!("snapshot {}", meta(of)),
        RecordReport::Truncate { from } => format!("truncate from {from}"),
        RecordReport::Entry { log_id, kind: EntryKind::Blank, .. } => {
            format!("entry {log_id}, blank")
        }
        RecordReport::Entry { log_id, kind: EntryKind::Command, stamp_ms, data_bytes, data } => {
            format!("entry {log_id}, command, at {}, {data_bytes} bytes: {data}", date(*stamp_ms))
        }
        RecordReport::Purge { through } => format!("purge through {through}"),
        RecordReport::FallBack { snapshot } => {
            format!("fall back to {}", snapshot.as_ref().map_or("no snapshot".into(), meta))
        }
        other => format!("{other:?}"),
    }
}

fn meta(meta: &SnapshotMeta) -> String {
    let SnapshotMeta { log_id, size_bytes, membership } = meta;
    format!("{log_id}, {size_bytes} bytes, members {membership}")
}

fn term(state: &StateReport) -> String {
    match state.vote {
        Some(vote) => format!("{}, voted for {vote}", state.term),
        None => format!("{}, no vote", state.term),
    }
}

fn terms(state: &StateReport) -> String {
    let runs = state.runs.iter().map(|run| format!("{} from {}", run.term, run.first));
    let runs: Vec<String> = runs.collect();
    if runs.is_empty() { "none".into() } else { runs.join(", ") }
}

fn life(life: &LifeReport) -> String {
    let predecessor = life
        .predecessor
        .map_or(String::new(), |before| format!(", after a life {}", start(before)));
    let loss = life.loss.map_or(String::new(), |loss| format!(", {}", lost(loss)));
    format!("{}{predecessor}{loss}", start(life.start))
}

fn lost(loss: Loss) -> String {
    let vote = if loss.forgot_vote { " and maybe a vote" } else { "" };
    match loss.last {
        Some(LogId { term, index }) => format!("lost entries up to {index}@{term}{vote}"),
        None => format!("lost entries{vote}"),
    }
}

fn start(start: StartReport) -> String {
    format!(
        "start {} since {} ({} ms)",
        start.number,
        date(start.created_at_ms),
        start.created_at_ms
    )
}

fn count(count: usize, what: &str) -> String {
    let plural = match what {
        _ if count == 1 => "",
        what if what.ends_with('h') => "es",
        _ => "s",
    };
    format!("{count} {what}{plural}")
}

/// The date in UTC (days since 1970 to civil date, as in Howard Hinnant's `civil_from_days`).
fn date(ms: u64) -> String {
    let (seconds, days) = (ms / 1000 % 86_400, ms / 86_400_000 + 719_468);
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let from_march = (5 * day + 2) / 153;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let year = era * 400 + year + u64::from(month <= 2);
    format!(
        "{year}-{month:02}-{:02} {:02}:{:02}:{:02} UTC",
        day - (153 * from_march + 2) / 5 + 1,
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (ms, expected) in [
            (0, "1970-01-01 00:00:00 UTC"),
            (951_782_400_000, "2000-02-29 00:00:00 UTC"),
            (1_767_225_599_999, "2025-12-31 23:59:59 UTC"),
            (4_107_542_400_000, "2100-03-01 00:00:00 UTC"),
        ] {
            assert_eq!(date(ms), expected);
        }
    }

    #[test]
    fn things_are_counted_in_words() {
        assert_eq!(
            (count(1, "file"), count(2, "stretch")),
            ("1 file".into(), "2 stretches".into())
        );
    }
}
