//! Three members under load: each is killed and catches up by snapshot, all are killed at once, and the leader stands still
//! for ten seconds.
//!
//! `QUORATE_ROUNDS=10` kills ten times as often; `QUORATE_SEED` chooses what clients do, not when.

use std::time::{Duration, Instant};

use serde_json::Value;

use super::history::{Kind, Operation, check};
use super::load::{Client, Load};
use super::members::Members;

const CLIENTS: usize = 6;

/// How long the leader stands still: many election timeouts.
const STANDSTILL: Duration = Duration::from_secs(10);

/// More entries than can be under way when a member dies.
const MARGIN: u64 = 100;

const OPTIONS: [&str; 6] =
    ["--snapshot-bytes", "64KiB", "--heartbeat-ms", "50", "--election-ms", "250..500"];

#[test]
fn nothing_acknowledged_is_lost_and_no_read_is_stale_through_kills_and_standstills() {
    let mut members = Members::start(3, &OPTIONS);
    let load = Load::new(members.all_http());
    let seed = setting("QUORATE_SEED").unwrap_or(u64::from(std::process::id()));
    std::thread::scope(|scope| {
        // Ends the clients when a wait fails, too.
        let _ending = Ending(&load);
        for id in 0..CLIENTS {
            let load = &load;
            scope.spawn(move || Client::new(load, id, seed).run(id > 0));
        }
        for _ in 0..setting("QUORATE_ROUNDS").unwrap_or(1) {
            for id in 1..=3 {
                kill_and_catch_up(&mut members, id);
            }
            kill_all(&mut members);
        }
        stand_still(&members);
    });
    Client::new(&load, CLIENTS, seed).read_all();
    let history = load.history();
    eprintln!("QUORATE_SEED={seed}: {}", summary(&history));
    check(&history).unwrap_or_else(|why| panic!("{why}"));
    for id in 1..=3 {
        assert_eq!(members.terminate(id), Some(0), "{}", members.said(id));
    }
}

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

struct Ending<'a>(&'a Load);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// Keeps the member away until what it lacks is in no log any more.
fn kill_and_catch_up(members: &mut Members, id: usize) {
    members.until("somebody leads", |members| members.leader(0));
    let last = members.status(id).map_or(0, |status| index(&status, "/raft/last/index"));
    members.kill(id);
    let (_, status) = members.until("the others have a leader", |members| members.leader(id));
    let mark = last.max(index(&status, "/raft/last/index")) + MARGIN;
    let (_, status) = members.until("the log is cut behind the dead member", |members| {
        members.leader(id).filter(|(_, status)| index(status, "/raft/log_start/index") > mark)
    });
    members.restart(id);
    let goal = index(&status, "/raft/commit");
    members.until("the member has caught up", |members| {
        members.status(id).filter(|status| index(status, "/raft/applied") >= goal)
    });
    let status = members.status(id).unwrap();
    assert!(index(&status, "/raft/counters/installs_granted") > 0, "no snapshot: {status}");
}

/// What was acknowledged is in files, whoever still lives.
fn kill_all(members: &mut Members) {
    (1..=3).for_each(|id| members.kill(id));
    (1..=3).for_each(|id| members.restart(id));
    members.until("somebody leads again", |members| members.leader(0));
}

/// The leader stops without a word and goes on as if no time had passed.
fn stand_still(members: &Members) {
    let (old, before) = members.until("somebody leads", |members| members.leader(0));
    members.signal(old, "-STOP");
    let begun = Instant::now();
    let (_, status) = members.until("another leads", |members| members.leader(old));
    assert!(index(&status, "/raft/term") > index(&before, "/raft/term"));
    std::thread::sleep(STANDSTILL.saturating_sub(begun.elapsed()));
    let goal = members.leader(old).map_or(0, |(_, status)| index(&status, "/raft/commit"));
    members.signal(old, "-CONT");
    members.until("the old leader has caught up", |members| {
        members.status(old).filter(|status| index(status, "/raft/applied") >= goal)
    });
}

fn index(status: &Value, pointer: &str) -> u64 {
    status.pointer(pointer).and_then(Value::as_u64).unwrap_or_else(|| panic!("{pointer}: {status}"))
}

fn summary(history: &[Operation]) -> String {
    let count = |wanted: fn(&Kind) -> bool| history.iter().filter(|o| wanted(&o.kind)).count();
    format!(
        "{} writes acknowledged, {} in doubt, {} reads",
        count(|kind| matches!(kind, Kind::Write(Some(_)))),
        count(|kind| matches!(kind, Kind::Write(None))),
        count(|kind| matches!(kind, Kind::Read(_))),
    )
}
