//! A node's status as Prometheus text (exposition format 0.0.4).
//!
//! Names begin with `quorate_`, counters end in `_total`, times are in seconds. Each sample carries
//! the member's id, to distinguish several members of one process. Prometheus reads each number as
//! an `f64`: a number that can exceed 2^53 is split into parts that can't.

use std::fmt::{Display, Write};

use crate::node::NodeStatus;
use crate::raft::{InstallStatus, Role, created_at_ms, start_number};

/// The content type of the page.
pub(super) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// `status` as Prometheus text.
pub fn metrics(status: &NodeStatus) -> String {
    let mut page = Page { out: String::new(), node: status.node.to_string() };
    node(&mut page, status);
    protocol(&mut page, status);
    counts(&mut page, status);
    page.out
}

fn node(page: &mut Page, status: &NodeStatus) {
    page.gauge("running", "Whether the node runs.", u8::from(status.running));
    page.gauge("failed", "Whether the node could not go on.", u8::from(status.fatal.is_some()));
    let incarnation = status.incarnation;
    page.gauge("start_number", "Starts on the node's storage.", start_number(incarnation));
    let founded = created_at_ms(incarnation) as f64 / 1000.0;
    page.gauge("storage_founded_timestamp_seconds", "When the storage was founded.", founded);
    page.gauge("proposals_in_flight", "Proposals that wait.", status.proposals_in_flight);
    page.gauge("reads_in_flight", "Reads under way.", status.reads_in_flight);
    page.gauge("apply_queue_items", "Items in the apply queue.", status.apply_queue_items);
    page.count("log_writes", "Writes of the log, one fsync each.", status.log_writes);
    page.count("log_steps", "Durable steps in those writes.", status.log_steps);
    let longest = [
        ("loop_stall", "the consensus loop did not get to its work", status.max_loop_stall_ms),
        ("install", "a received snapshot waited for its decision", status.max_install_ms),
        ("persist", "a durable step took", status.max_persist_ms),
    ];
    for (name, what, millis) in longest {
        let help = format!("The longest time that {what}.");
        page.gauge(&format!("{name}_max_seconds"), &help, millis / 1000.0);
    }
    let sessions = &status.sessions;
    page.gauge("sessions_live", "Sessions open now.", sessions.sessions_live);
    page.count("sessions_opened", "Sessions opened.", sessions.sessions_opened);
    page.count("sessions_expired", "Sessions idle for too long.", sessions.sessions_expired);
    page.count("sessions_evicted", "Sessions ended for new ones.", sessions.sessions_evicted);
    let duplicates = sessions.duplicates_suppressed;
    page.count("duplicates_suppressed", "Commands not executed twice.", duplicates);
}

fn protocol(page: &mut Page, status: &NodeStatus) {
    let raft = &status.raft;
    page.role(raft.role);
    page.gauge("term", "The term.", raft.term);
    let known = u8::from(raft.leader.is_some());
    page.gauge("leader_known", "Whether the term's leader is known.", known);
    page.gauge("voters", "Members whose votes count.", raft.membership.voters.len());
    page.gauge("last_index", "The log's last entry.", raft.last.index);
    page.gauge("persisted_index", "Last durable entry of the own log.", raft.persisted);
    page.gauge("commit_index", "Last committed entry.", raft.commit);
    page.gauge("dispatched_index", "Last entry dispatched to the apply queue.", raft.dispatched);
    page.gauge("applied_index", "Last applied entry.", raft.applied);
    page.gauge("snapshot_index", "Last entry of the current snapshot.", raft.snapshot.index);
    page.gauge("log_start_index", "The entry before the log's first.", raft.log_start.index);
    page.gauge("log_bytes", "Bytes in the log.", raft.log_bytes);
    page.gauge("recovering", "Whether a loss is made good.", u8::from(raft.recovering));
    let installs =
        matches!(raft.install, InstallStatus::Receiving { .. } | InstallStatus::Pending { .. });
    page.gauge("installing", "Whether a snapshot is received or waits.", u8::from(installs));
    let needs = u8::from(raft.undecodable.is_some());
    page.gauge("needs_newer_build", "Whether this build can't decode a needed snapshot.", needs);
}

fn counts(page: &mut Page, status: &NodeStatus) {
    let counters = &status.raft.counters;
    page.gauge("max_log_bytes", "The most bytes the log has held.", counters.max_log_bytes);
    let counts = [
        ("elections_won", "Elections won.", counters.elections_won),
        ("campaigns", "Rounds of pre-votes begun.", counters.campaigns),
        ("snapshots_taken", "Own snapshots that became current.", counters.snapshots_taken),
        ("snapshots_sent", "Snapshots sent to their end.", counters.snapshots_sent),
        ("installs_offered", "Received snapshots offered.", counters.installs_offered),
        ("installs_granted", "Offers granted.", counters.installs_granted),
        ("installs_refused", "Offers that commits had passed.", counters.installs_refused),
        ("installs_withdrawn", "Of those, before the question.", counters.installs_withdrawn),
        ("installs_superseded", "Offers replaced by newer ones.", counters.installs_superseded),
        ("fast_forwards", "Snapshots the log made needless.", counters.fast_forwards),
        ("entries_compacted", "Entries removed behind snapshots.", counters.entries_compacted),
        ("purges_pinned", "Purges that a transfer put off.", counters.purges_pinned),
        ("truncations", "Times own entries gave way.", counters.truncations),
        ("ignored_messages", "Messages that made no sense.", counters.ignored_messages),
        ("safety_alarms", "What a correct cluster never shows.", counters.safety_alarms),
    ];
    for (name, help, value) in counts {
        page.count(name, help, value);
    }
}

/// The text written so far.
struct Page {
    out: String,
    node: String,
}

impl Page {
    fn gauge(&mut self, name: &str, help: &str, value: impl Display) {
        self.head(name, "gauge", help);
        self.sample(name, value);
    }

    fn count(&mut self, name: &str, help: &str, value: u64) {
        let name = format!("{name}_total");
        self.head(&name, "counter", help);
        self.sample(&name, value);
    }

    fn sample(&mut self, name: &str, value: impl Display) {
        let labels = format!("node=\"{}\"", self.node);
        self.line(format_args!("quorate_{name}{{{labels}}} {value}"));
    }

    /// One sample per role, of which one is 1.
    fn role(&mut self, now: Role) {
        self.head("role", "gauge", "The role: 1 for the one the node has.");
        let roles = [
            ("follower", Role::Follower),
            ("pre_candidate", Role::PreCandidate),
            ("candidate", Role::Candidate),
            ("leader", Role::Leader),
        ];
        for (name, role) in roles {
            let held = u8::from(role == now);
            let labels = format!("node=\"{}\",role=\"{name}\"", self.node);
            self.line(format_args!("quorate_role{{{labels}}} {held}"));
        }
    }

    fn head(&mut self, name: &str, kind: &str, help: &str) {
        self.line(format_args!("# HELP quorate_{name} {help}\n# TYPE quorate_{name} {kind}"));
    }

    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        // Writing to a string does not fail.
        let _ = writeln!(self.out, "{line}");
    }
}
