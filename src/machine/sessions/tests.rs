//! Each rule of the session table separately.

use super::saved::TOO_LONG;
use super::*;
use crate::machine::codec::{CodecError, write_bytes, write_u64};

const CONFIG: SessionConfig = SessionConfig {
    max_sessions: 3,
    session_timeout_ms: 1000,
    max_time_step_ms: 100,
    sequence_window: 4,
    reply_bytes: 100,
};

/// A session table and the entries applied to it: each call is one entry.
struct World {
    sessions: Sessions,
    index: Index,
    term: Term,
    clock_ms: u64,
}

impl World {
    fn new() -> World {
        World { sessions: Sessions::new(CONFIG), index: 0, term: 1, clock_ms: 50_000 }
    }

    fn entry(&mut self) -> Index {
        self.index += 1;
        self.sessions.advance(self.term, self.clock_ms);
        self.index
    }

    fn open(&mut self) -> SessionId {
        let index = self.entry();
        self.sessions.open(index)
    }

    fn admit(&mut self, id: SessionId, sequence: u64, low_water: u64) -> Admission {
        let index = self.entry();
        self.sessions.admit(id, sequence, low_water, command(sequence), index)
    }

    /// Executes like a replica; recording a second reply for a sequence would panic.
    fn run(&mut self, id: SessionId, sequence: u64, low_water: u64) -> Admission {
        let admission = self.admit(id, sequence, low_water);
        if admission == Admission::Execute {
            self.sessions.record(id, sequence, command(sequence), reply(sequence));
        }
        admission
    }

    /// Applies entries until log time has advanced by `ms`.
    fn pass(&mut self, ms: u64) {
        self.clock_ms += ms;
        while self.sessions.time_ms() < self.clock_ms {
            self.entry();
        }
    }

    fn is_live(&self, id: SessionId) -> bool {
        self.sessions.table.contains_key(&id)
    }
}

fn reply(sequence: u64) -> KeptReply {
    KeptReply::Encoded(Bytes::from(format!("reply {sequence}")))
}

fn command(sequence: u64) -> CommandDigest {
    CommandDigest::of(&sequence.to_le_bytes())
}

/// Three leaders in turn, with clocks that are decades ahead; each proposes 5,000 commands a second
/// for 10 s.
#[test]
fn a_leader_with_a_wrong_clock_moves_log_time_by_one_step_and_twice_what_has_passed() {
    const YEARS_MS: u64 = 20 * 365 * 24 * 3_600 * 1_000;
    let config = SessionConfig::default();
    let mut sessions = Sessions::new(config);
    sessions.advance(1, 50_000);
    let id = sessions.open(1);
    let (mut index, mut bound_ms) = (1, 50_000);
    for term in 2..=4 {
        // The next leader's clock is wrong, too.
        bound_ms += config.max_time_step_ms;
        for micros in (0..10_000_000u64).step_by(200) {
            index += 1;
            let passed_ms = micros / 1_000;
            sessions.advance(term, 50_000 + term * YEARS_MS + passed_ms);
            assert!(sessions.time_ms() <= bound_ms + 2 * passed_ms, "{micros} us into term {term}");
        }
        bound_ms += 2 * 10_000;
    }
    assert!(sessions.table.contains_key(&id), "a session idle for 30 s of 30 min has ended");
    assert!(index > 100_000);
}

#[test]
fn log_time_catches_up_after_an_outage() {
    let mut sessions = Sessions::new(CONFIG);
    sessions.advance(1, 50_000);
    // The cluster is up again a day later, with a command every 20 ms.
    let day_ms = 24 * 3_600 * 1_000;
    for passed_ms in (0..2 * day_ms).step_by(20) {
        sessions.advance(2, 50_000 + day_ms + passed_ms);
        if sessions.time_ms() == 50_000 + day_ms + passed_ms {
            assert!(passed_ms <= day_ms, "{passed_ms}");
            return;
        }
    }
    panic!("log time is still at {}", sessions.time_ms());
}

#[test]
fn a_sequence_that_comes_again_with_another_command_gets_no_reply() {
    let mut world = World::new();
    let id = world.open();
    assert_eq!(world.run(id, 1, 1), Admission::Execute);
    let index = world.entry();
    assert_eq!(world.sessions.admit(id, 1, 1, command(2), index), Admission::Reused);
    let reloaded = reloaded(&world);
    world.sessions = reloaded;
    let index = world.entry();
    assert_eq!(world.sessions.admit(id, 1, 1, command(2), index), Admission::Reused);
    assert_eq!(world.run(id, 1, 1), Admission::Duplicate(reply(1)));
    assert_eq!(world.sessions.counters().duplicates_suppressed, 1, "a mistake is no duplicate");
}

fn reloaded(world: &World) -> Sessions {
    let mut bytes = Vec::new();
    world.sessions.view().encode(&mut bytes).unwrap();
    Sessions::decode(&mut &bytes[..], CONFIG, world.index).unwrap()
}

#[test]
fn replies_of_every_kind_and_log_time_come_back() {
    let mut world = World::new();
    let id = world.open();
    world.clock_ms += 70;
    let kept = [reply(1), KeptReply::Unencodable, KeptReply::TooLong];
    for (sequence, reply) in (1..).zip(&kept) {
        assert_eq!(world.admit(id, sequence, 1), Admission::Execute);
        world.sessions.record(id, sequence, command(sequence), reply.clone());
    }
    let mut reloaded = reloaded(&world);
    assert_eq!(reloaded.time, world.sessions.time);
    for (sequence, reply) in (1..).zip(kept) {
        let admission = reloaded.admit(id, sequence, 1, command(sequence), world.index + sequence);
        assert_eq!(admission, Admission::Duplicate(reply));
    }
}

#[test]
fn cl01_a_copy_gets_the_cached_reply_and_is_not_executed() {
    let mut world = World::new();
    let id = world.open();
    assert_eq!(world.run(id, 1, 1), Admission::Execute);
    assert_eq!(world.run(id, 1, 1), Admission::Duplicate(reply(1)));
    assert_eq!(world.sessions.counters().duplicates_suppressed, 1);
}

#[test]
fn cl06_sequences_arrive_in_any_order() {
    let mut world = World::new();
    let id = world.open();
    for sequence in [4, 2, 3, 1] {
        assert_eq!(world.run(id, sequence, 1), Admission::Execute, "sequence {sequence}");
    }
    for sequence in 1..=4 {
        assert_eq!(world.run(id, sequence, 1), Admission::Duplicate(reply(sequence)));
    }
}

#[test]
fn cl06_the_low_water_mark_frees_replies_and_closes_the_past() {
    let mut world = World::new();
    let id = world.open();
    for sequence in 1..=3 {
        world.run(id, sequence, 1);
    }
    assert_eq!(world.run(id, 4, 3), Admission::Execute);
    let session = world.sessions.table.get(&id).unwrap();
    assert_eq!(
        session.executed.iter().map(|executed| executed.sequence).collect::<Vec<_>>(),
        [3, 4]
    );
    assert_eq!(world.run(id, 2, 1), Admission::TooOld, "executed before");
    assert_eq!(world.run(id, 6, 6), Admission::Execute);
    assert_eq!(
        world.run(id, 5, 5),
        Admission::TooOld,
        "never executed, and given up by the client"
    );
}

#[test]
fn cl11_every_reply_of_a_pipelining_client_is_kept() {
    let mut world = World::new();
    let id = world.open();
    for sequence in 1..=4 {
        world.run(id, sequence, 1);
    }
    for sequence in 1..=4 {
        assert_eq!(world.run(id, sequence, 1), Admission::Duplicate(reply(sequence)));
    }
}

#[test]
fn the_window_bounds_what_is_cached() {
    let mut world = World::new();
    let id = world.open();
    assert_eq!(world.run(id, 5, 1), Admission::WindowExceeded);
    assert_eq!(world.run(id, 5, 2), Admission::Execute);
    assert_eq!(world.run(id, u64::MAX, 1), Admission::WindowExceeded);
    assert_eq!(world.run(id, u64::MAX, u64::MAX), Admission::Execute);
}

#[test]
fn cl08_an_unknown_closed_or_expired_session_executes_nothing() {
    let mut world = World::new();
    let id = world.open();
    assert_eq!(world.run(id + 7, 1, 1), Admission::Expired);
    assert_eq!(world.run(id, 1, 1), Admission::Execute);
    world.pass(1000);
    assert_eq!(world.run(id, 1, 1), Admission::Expired, "a retry after expiry");
    let id = world.open();
    assert!(world.sessions.close(id));
    assert!(!world.sessions.close(id));
    assert_eq!(world.run(id, 1, 1), Admission::Expired);
    assert_eq!(world.sessions.counters().sessions_expired, 1);
}

#[test]
fn cl08_a_full_table_drops_the_least_recently_used() {
    let mut world = World::new();
    let [first, second, third] = [world.open(), world.open(), world.open()];
    world.run(first, 1, 1);
    world.run(third, 1, 1);
    let fourth = world.open();
    assert_eq!(
        [first, second, third, fourth].map(|id| world.is_live(id)),
        [true, false, true, true]
    );
    world.admit(first, 1, 1);
    world.open();
    assert_eq!([first, third, fourth].map(|id| world.is_live(id)), [true, false, true]);
    let counters = world.sessions.counters();
    assert_eq!(
        (counters.sessions_opened, counters.sessions_evicted, counters.sessions_live),
        (5, 2, 3)
    );
}

#[test]
fn cl07_log_time_never_runs_back_and_never_jumps() {
    let mut sessions = Sessions::new(CONFIG);
    let mut at = |stamp_ms| {
        sessions.advance(1, stamp_ms);
        sessions.time_ms()
    };
    assert_eq!(at(50_000), 50_000, "the first stamp is taken as it is");
    assert_eq!(at(50_040), 50_040);
    assert_eq!(at(10), 50_040, "a clock that is behind");
    assert_eq!(at(u64::MAX), 50_140, "a clock that is far ahead: one step");
    assert_eq!(at(50_141), 50_141);
}

#[test]
fn cl07_one_wrong_clock_ends_no_session() {
    let mut world = World::new();
    let id = world.open();
    world.sessions.advance(1, u64::MAX);
    assert!(world.is_live(id));
}

#[test]
fn only_idle_time_counts() {
    let mut world = World::new();
    let (busy, idle) = (world.open(), world.open());
    for sequence in 1..=20 {
        world.pass(90);
        assert_eq!(world.run(busy, sequence, sequence), Admission::Execute);
    }
    assert!(world.is_live(busy) && !world.is_live(idle));
    world.pass(999);
    assert!(world.is_live(busy));
    world.pass(1);
    assert!(!world.is_live(busy));
    assert_eq!(world.sessions.queue.len(), 0);
}

#[test]
fn closing_leaves_nothing_in_the_queue() {
    let mut world = World::new();
    for _ in 0..100 {
        let id = world.open();
        world.run(id, 1, 1);
        assert!(world.sessions.close(id));
    }
    assert!(world.sessions.queue.is_empty() && world.sessions.table.is_empty());
}

#[test]
fn a_view_shares_the_table_and_keeps_it() {
    let mut world = World::new();
    let id = world.open();
    world.run(id, 1, 1);
    let view = world.sessions.view();
    assert!(view.table.ptr_eq(&world.sessions.table), "taking a view copied the table");
    world.run(id, 2, 2);
    world.open();
    assert_eq!(view.table.size(), 1);
    let executed = &view.table.get(&id).unwrap().executed;
    assert_eq!((executed.len(), &executed[0].reply), (1, &reply(1)));
}

#[test]
fn a65_a_table_that_contradicts_itself_is_refused() {
    // Log time 100; sessions as (id, mark, index and time of the last use, replies as
    // (sequence, bytes)).
    type Written<'a> = (u64, u64, u64, u64, &'a [u64]);
    let decode = |sessions: &[Written<'_>]| {
        let mut bytes = Vec::new();
        for number in [100, 1, 90, 90, sessions.len() as u64] {
            write_u64(&mut bytes, number).unwrap();
        }
        for (id, low_water, last_used, last_used_ms, replies) in sessions {
            for field in [id, low_water, last_used, last_used_ms, &(replies.len() as u64)] {
                write_u64(&mut bytes, *field).unwrap();
            }
            for sequence in *replies {
                write_u64(&mut bytes, *sequence).unwrap();
                bytes.extend([0; 17]);
                write_bytes(&mut bytes, b"reply").unwrap();
            }
        }
        Sessions::decode(&mut &bytes[..], CONFIG, 20)
    };
    assert!(decode(&[(1, 1, 10, 90, &[1, 3]), (2, 5, 20, 100, &[])]).is_ok());
    let refused: [&[Written<'_>]; 9] = [
        &[(0, 1, 10, 90, &[])],
        &[(2, 1, 10, 90, &[]), (1, 1, 11, 90, &[])],
        &[(2, 1, 10, 90, &[]), (2, 1, 11, 90, &[])],
        &[(5, 1, 4, 90, &[])],
        &[(5, 1, 21, 90, &[])],
        &[(5, 1, 10, 101, &[])],
        &[(1, 1, 10, 90, &[]), (2, 1, 10, 90, &[])],
        &[(1, 3, 10, 90, &[2])],
        &[(1, 1, 10, 90, &[2, 2])],
    ];
    for sessions in refused {
        assert!(
            matches!(decode(sessions), Err(CodecError::Invalid { .. })),
            "{sessions:?} was accepted"
        );
    }
}

#[test]
fn a_log_time_before_its_terms_begin_and_an_unknown_kind_of_reply_are_refused() {
    let decode = |numbers: &[u64], rest: &[u8]| {
        let mut bytes = Vec::new();
        numbers.iter().for_each(|number| write_u64(&mut bytes, *number).unwrap());
        bytes.extend(rest);
        Sessions::decode(&mut &bytes[..], CONFIG, 20)
    };
    let session = [100, 1, 90, 90, 1, 1, 1, 10, 90, 1, 1];
    assert!(decode(&[100, 1, 100, 0, 0], &[]).is_ok());
    assert!(matches!(decode(&[100, 1, 101, 0, 0], &[]), Err(CodecError::Invalid { .. })));
    let kind = |kind| [&[0; 16][..], &[kind]].concat();
    assert!(decode(&session, &kind(TOO_LONG)).is_ok());
    assert!(matches!(decode(&session, &kind(3)), Err(CodecError::Invalid { .. })));
    assert!(matches!(decode(&session, &[0; 16]), Err(CodecError::Truncated { .. })));
}
