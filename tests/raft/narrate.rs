//! Messages, durable steps and events in a few words.

use quorate::raft::*;

/// A message, with its term.
pub fn message(envelope: &Envelope) -> String {
    let term = envelope.term;
    match &envelope.body {
        Body::Request(request) => format!("{}  [term {term}]", self::request(request)),
        Body::Answer { answer, .. } => format!("{}  [term {term}]", self::answer(answer)),
    }
}

/// The kind of a message, for a script's `kind=`.
pub fn kind(envelope: &Envelope) -> &'static str {
    match &envelope.body {
        Body::Request(Request::PreVote { .. }) => "prevote_request",
        Body::Request(Request::Vote { .. }) => "vote_request",
        Body::Request(Request::Append(append)) if append.entries.is_empty() => "heartbeat",
        Body::Request(Request::Append(_)) => "append",
        Body::Request(Request::Snapshot(_)) => "chunk",
        Body::Request(Request::Identify(_)) => "identify_request",
        Body::Request(Request::RecoveryQuery) => "recovery_request",
        Body::Answer { answer, .. } => match answer {
            Answer::PreVote { .. } => "prevote_answer",
            Answer::Vote { .. } => "vote_answer",
            Answer::Append(_) => "append_answer",
            Answer::Snapshot(_) => "chunk_answer",
            Answer::Identify { .. } => "identify_answer",
            Answer::RecoveryQuery { .. } => "recovery_answer",
        },
    }
}

/// A heartbeat, or an accepted AppendEntries: reported only if something follows from it.
pub fn is_routine(envelope: &Envelope) -> bool {
    match &envelope.body {
        Body::Request(Request::Append(append)) => append.entries.is_empty(),
        Body::Answer { answer: Answer::Append(answer), .. } => {
            answer.outcome == AppendOutcome::Accepted
                && answer.report.install == InstallStatus::None
        }
        _ => false,
    }
}

fn request(request: &Request) -> String {
    match request {
        Request::PreVote { campaign_term, last } => {
            format!("pre-vote for term {campaign_term}? last {last}")
        }
        Request::Vote { last } => format!("vote? last {last}"),
        Request::Append(append) if append.entries.is_empty() => {
            format!("heartbeat after {}, commit {}", append.prev, append.commit)
        }
        Request::Append(append) => format!(
            "append {} after {}, commit {}",
            entries(append.entries.iter()),
            append.prev,
            append.commit
        ),
        Request::Snapshot(chunk) => format!(
            "snapshot {}, bytes {}..{} of {}",
            chunk.meta.log_id,
            chunk.offset,
            chunk.offset + chunk.data.len() as u64,
            chunk.meta.size_bytes
        ),
        Request::Identify(record) => format!(
            "identify yourself: incarnation {}, acknowledged {}",
            start_number(record.incarnation),
            record.acknowledged
        ),
        Request::RecoveryQuery => "recovery query".into(),
    }
}

fn answer(answer: &Answer) -> String {
    match answer {
        Answer::PreVote { granted: true, .. } => "pre-vote granted".into(),
        Answer::PreVote { granted: false, .. } => "pre-vote refused".into(),
        Answer::Vote { granted: true, .. } => "vote granted".into(),
        Answer::Vote { granted: false, .. } => "vote refused".into(),
        Answer::Identify { predecessor } => {
            format!("predecessor: incarnation {}", start_number(*predecessor))
        }
        Answer::RecoveryQuery { last, leads } => {
            format!("last {last}{}", if *leads { ", leads" } else { "" })
        }
        Answer::Append(AppendAnswer { report, outcome }) => {
            let outcome = match outcome {
                AppendOutcome::Accepted => "accepted".into(),
                AppendOutcome::Rejected { refused, hint } => {
                    format!("rejected at {refused}, try after {hint}")
                }
                AppendOutcome::Busy => "busy".into(),
                AppendOutcome::Stale => "stale".into(),
            };
            format!("{outcome}, {}", self::report(report))
        }
        Answer::Snapshot(SnapshotAnswer { report, outcome, .. }) => {
            let outcome = match outcome {
                ChunkOutcome::Continue { offset } => format!("continue at {offset}"),
                ChunkOutcome::Unwanted => "unwanted".into(),
                ChunkOutcome::Corrupt => "corrupt".into(),
                ChunkOutcome::Stale => "stale".into(),
            };
            format!("{outcome}, {}", self::report(report))
        }
    }
}

fn report(report: &FollowerReport) -> String {
    let install = match report.install {
        InstallStatus::None => String::new(),
        InstallStatus::Receiving { index, bytes } => format!(", {bytes} bytes of {index}"),
        InstallStatus::Pending { index } => format!(", {index} pending"),
        InstallStatus::Refused { commit } => format!(", refused at commit {commit}"),
        InstallStatus::Undecodable { index } => format!(", {index} undecodable"),
    };
    let recovering = if report.recovering { ", recovering" } else { "" };
    format!("matched {}{install}{recovering}", report.matched)
}

/// Entries: `4@2 blank, 5@2 x`.
pub fn entries<'a>(entries: impl Iterator<Item = &'a Entry>) -> String {
    let entry = |entry: &Entry| match entry.kind {
        EntryKind::Blank => format!("{} blank", entry.log_id),
        EntryKind::Command => {
            format!("{} {}", entry.log_id, String::from_utf8_lossy(&entry.data))
        }
    };
    entries.map(entry).collect::<Vec<_>>().join(", ")
}

/// What a durable step changes. `None`: nothing.
pub fn change(change: &LogChange) -> Option<String> {
    let mut parts = Vec::new();
    if let Some(life) = change.life {
        parts.push(match (life.loss, life.doubted_by) {
            (Some(_), _) => "that it lost data".to_owned(),
            (None, Some(by)) => format!("that n{by} doubts it"),
            (None, None) => "that nothing is missing".to_owned(),
        });
    }
    if let Some(HardState { term, vote }) = change.hard_state {
        let vote = vote.map_or("no vote".to_owned(), |vote| format!("vote n{vote}"));
        parts.push(format!("term {term}, {vote}"));
    }
    if let Some(install) = &change.install {
        let rest = if install.keep_suffix { "keeps the log behind it" } else { "drops the log" };
        parts.push(format!("snapshot {} (received), {rest}", install.meta.log_id));
    }
    if let Some(meta) = &change.snapshot {
        parts.push(format!("snapshot {} (own)", meta.log_id));
    }
    if let Some(from) = change.truncate_from {
        parts.push(format!("truncation from {from}"));
    }
    if !change.append.is_empty() {
        parts.push(entries(change.append.iter()));
    }
    if let Some(through) = change.purge_through {
        parts.push(format!("purge through {through}"));
    }
    (!parts.is_empty()).then(|| parts.join("; "))
}

/// An event. `None`: other lines show it.
pub fn event(event: &Event) -> Option<String> {
    Some(match event {
        Event::RoleChanged { role: Role::Follower, term, leader: Some(leader) } => {
            format!("follows n{leader} in term {term}")
        }
        Event::RoleChanged { role, term, .. } => {
            format!("is {} in term {term}", role_name(*role))
        }
        Event::Truncated { from } => format!("truncates its log from {from}"),
        Event::SnapshotInstalled { through } => format!("has its log begin behind {through}"),
        Event::SnapshotCurrent(log_id) => format!("has {log_id} as its current snapshot"),
        Event::SnapshotRefused(log_id) => format!("refuses its own snapshot of {log_id}"),
        Event::StaleDirectory => "finds that its directory is an older copy".into(),
        Event::Alarm(what) => format!("raises an alarm: {what}"),
        // The change of the role and the durable step show them.
        Event::Deposed | Event::Persisted(_) => return None,
    })
}

pub fn role_name(role: Role) -> &'static str {
    match role {
        Role::Follower => "follower",
        Role::PreCandidate => "pre-candidate",
        Role::Candidate => "candidate",
        Role::Leader => "leader",
    }
}
