//! Whole replicas: entries are applied, outcomes and digests checked, snapshots saved and loaded.

use proptest::prelude::*;

use super::*;
use crate::machine::codec::DEPTH_LIMIT;
use crate::machine::command::{encode_raw, encode_session};
use crate::machine::{Increment, KeyValue, KeyValueCommand, Replicated, WordCount};

const CONFIG: SessionConfig = SessionConfig {
    max_sessions: 3,
    session_timeout_ms: 50,
    max_time_step_ms: 20,
    sequence_window: 4,
    reply_bytes: 1000,
};
const CLUSTER: u64 = 77;

fn word_count() -> Replica<WordCount> {
    Replica::new(WordCount::default(), CONFIG, CLUSTER)
}

/// Applies `data` as the next entry, stamped `stamp_ms`.
fn apply_at<M: Machine>(replica: &mut Replica<M>, stamp_ms: u64, data: Bytes) -> Outcome {
    replica.apply(&next_entry(replica, EntryKind::Command, stamp_ms, data)).unwrap()
}

fn apply<M: Machine>(replica: &mut Replica<M>, data: Bytes) -> Outcome {
    apply_at(replica, 1000, data)
}

fn next_entry<M: Machine>(
    replica: &Replica<M>,
    kind: EntryKind,
    stamp_ms: u64,
    data: Bytes,
) -> Entry {
    Entry { log_id: LogId::new(1, replica.applied().index + 1), kind, stamp_ms, data }
}

fn open<M: Machine>(replica: &mut Replica<M>) -> SessionId {
    match apply(replica, CommandRef::OpenSession.encode()) {
        Outcome::SessionOpened(session) => session,
        other => panic!("not opened: {other:?}"),
    }
}

fn word(word: &str) -> Increment {
    Increment { word: word.into() }
}

fn reply(value: u64) -> Outcome {
    Outcome::Reply(codec::encode(&value).unwrap().into())
}

fn saved<M: Machine>(view: &ReplicaView<M>) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode_replica(view, &mut bytes).unwrap();
    bytes
}

fn loaded<M: Machine>(bytes: &[u8]) -> Result<Replica<M>, CodecError> {
    decode_replica(&mut &bytes[..], CONFIG, CLUSTER)
}

fn reloaded<M: Machine>(replica: &Replica<M>) -> Replica<M> {
    loaded(&saved(&replica.view())).unwrap()
}

#[test]
fn raw_commands_are_executed_each_time() {
    let mut replica = word_count();
    assert_eq!(apply(&mut replica, encode_raw(&word("a")).unwrap()), reply(1));
    assert_eq!(apply(&mut replica, encode_raw(&word("a")).unwrap()), reply(2));
    assert_eq!(replica.machine().get(b"a"), 2);
}

#[test]
fn cl01_sn08_a23_a_retry_after_snapshot_and_restart_is_not_executed_again() {
    let mut replica = word_count();
    let session = open(&mut replica);
    let command = encode_session(session, 1, 1, &word("a")).unwrap();
    assert_eq!(apply(&mut replica, command.clone()), reply(1));
    // The reply is lost, the node restarts from a snapshot, the client retries.
    let mut restarted: Replica<WordCount> = reloaded(&replica);
    assert_eq!(apply(&mut restarted, command.clone()), reply(1));
    assert_eq!(apply(&mut restarted, command), reply(1));
    assert_eq!(restarted.machine().get(b"a"), 1);
    assert_eq!(restarted.counters().duplicates_suppressed, 2);
}

#[test]
fn a22_a_snapshot_holds_data_versions_sessions_and_time() {
    let mut replica = Replica::new(KeyValue::default(), CONFIG, CLUSTER);
    let session = open(&mut replica);
    let put = KeyValueCommand::Put { key: b"k".to_vec(), value: b"v".to_vec() };
    let outcome = apply_at(&mut replica, 1015, encode_session(session, 2, 2, &put).unwrap());
    let mut restored: Replica<KeyValue> = reloaded(&replica);
    assert_eq!(restored.machine().get(b"k"), Some((&b"v"[..], 2)));
    assert_eq!(restored.log_time_ms(), 1015);
    assert_eq!(restored.digest().unwrap(), replica.digest().unwrap());
    assert_eq!(apply(&mut restored, encode_session(session, 2, 2, &put).unwrap()), outcome);
    assert_eq!(
        apply(&mut restored, encode_session(session, 1, 1, &put).unwrap()),
        Outcome::SequenceTooOld
    );
}

#[test]
fn a20_sn19_a_view_is_the_state_of_one_entry_and_says_which() {
    let mut replica = word_count();
    let session = open(&mut replica);
    for sequence in 1..=3 {
        apply(&mut replica, encode_session(session, sequence, 1, &word("a")).unwrap());
    }
    let view = replica.view();
    let before = saved(&view);
    for sequence in 2..=40 {
        apply(&mut replica, encode_session(session, sequence, sequence, &word("a")).unwrap());
    }
    open(&mut replica);
    assert_eq!(saved(&view), before);
    assert_eq!(view.applied(), LogId::new(1, 4));
    let restored: Replica<WordCount> = loaded(&before).unwrap();
    assert_eq!((restored.applied(), restored.machine().get(b"a")), (view.applied(), 3));
}

#[test]
fn a64_an_empty_snapshot_is_told_apart() {
    assert!(matches!(loaded::<WordCount>(&[]), Err(CodecError::Empty)));
}

#[test]
fn a65_a_damaged_snapshot_is_an_error_at_every_length_and_never_a_state() {
    let mut replica = word_count();
    let session = open(&mut replica);
    apply(&mut replica, encode_session(session, 1, 1, &word("a")).unwrap());
    let whole = saved(&replica.view());
    for length in 1..whole.len() {
        let error = loaded::<WordCount>(&whole[..length]).err();
        assert!(error.is_some(), "{length} of {} bytes were accepted", whole.len());
    }
    let longer = [&whole[..], &[0]].concat();
    assert!(matches!(loaded::<WordCount>(&longer), Err(CodecError::TrailingBytes { .. })));
    let mut newer = whole.clone();
    newer[3] = VERSION + 1;
    assert!(matches!(loaded::<WordCount>(&newer), Err(CodecError::Version { .. })));
    // The state of another machine does not decode as this one's.
    assert!(loaded::<KeyValue>(&whole).is_err());
}

#[test]
fn cl03_a_covered_waiter_gets_its_own_reply_or_unknown() {
    let mut replica = word_count();
    let (one, two) = (open(&mut replica), open(&mut replica));
    let of = |session, sequence, text| encode_session(session, sequence, 1, &word(text)).unwrap();
    apply(&mut replica, of(one, 1, "a"));
    apply(&mut replica, of(two, 1, "a"));
    apply(&mut replica, of(one, 2, "a"));
    let restored: Replica<WordCount> = reloaded(&replica);
    assert_eq!(restored.covered_reply(&of(two, 1, "a")), reply(2));
    assert_eq!(restored.covered_reply(&of(one, 1, "a")), reply(1));
    assert_eq!(restored.covered_reply(&of(one, 2, "a")), reply(3));
    let no_proof = [
        of(two, 2, "a"),
        of(99, 1, "a"),
        encode_raw(&word("a")).unwrap(),
        CommandRef::OpenSession.encode(),
        Bytes::new(),
    ];
    for data in no_proof {
        assert_eq!(restored.covered_reply(&data), Outcome::Unknown, "{data:?}");
    }
}

#[test]
fn cl08_a_closed_or_unknown_session_executes_nothing() {
    let mut replica = word_count();
    let session = open(&mut replica);
    let close = CommandRef::CloseSession { session }.encode();
    assert_eq!(apply(&mut replica, close.clone()), Outcome::SessionClosed);
    assert_eq!(apply(&mut replica, close), Outcome::SessionExpired);
    for session in [session, 9000] {
        let outcome = apply(&mut replica, encode_session(session, 1, 1, &word("a")).unwrap());
        assert_eq!(outcome, Outcome::SessionExpired);
    }
    assert!(replica.machine().is_empty());
}

/// Two builds of one machine: the new one has an additional variant, and a renamed one.
mod builds {
    use super::*;

    #[derive(Clone, Default, serde::Serialize, serde::Deserialize)]
    pub(super) struct Account(pub(super) i64);

    #[derive(serde::Serialize, serde::Deserialize)]
    pub(super) enum Old {
        Pay(i64),
    }

    #[derive(serde::Serialize, serde::Deserialize)]
    pub(super) enum New {
        Pay(i64),
        Collect { amount: i64 },
    }

    #[derive(serde::Serialize, serde::Deserialize)]
    pub(super) enum Renamed {
        Deposit(i64),
    }

    /// A build whose command has an additional field.
    #[derive(serde::Serialize, serde::Deserialize)]
    pub(super) struct Longer(pub(super) i64, pub(super) i64);

    #[derive(serde::Serialize, serde::Deserialize)]
    pub(super) struct Shorter {
        pub(super) amount: i64,
    }

    impl Replicated for Account {
        type Command = Old;
        type Reply = i64;

        fn apply(&mut self, Old::Pay(amount): Old, _context: &ApplyContext) -> i64 {
            self.0 += amount;
            self.0
        }
    }
}

/// A build must not skip a command that it can't decode, in whatever form: its state would diverge
/// from that of the others.
#[test]
fn a_command_that_this_build_cannot_decode_is_an_error_with_words_and_changes_nothing() {
    use builds::{Account, New, Old, Renamed};
    let mut replica = Replica::new(Account::default(), CONFIG, CLUSTER);
    let session = open(&mut replica);
    assert_eq!(apply(&mut replica, encode_session(session, 1, 1, &Old::Pay(1000)).unwrap()), {
        Outcome::Reply(codec::encode(&1000).unwrap().into())
    });
    let before = saved(&replica.view());
    let newer = New::Collect { amount: 5 };
    let header = Bytes::from_static(b"\x09\x00");
    for (data, words) in [
        (encode_raw(&newer).unwrap(), "unknown variant `Collect`"),
        (encode_session(session, 2, 2, &newer).unwrap(), "unknown variant `Collect`"),
        // A copy of an executed command, and a command of an ended session: a build that can't
        // decode them can't know that.
        (encode_session(session, 1, 1, &newer).unwrap(), "unknown variant `Collect`"),
        (encode_session(session + 9, 1, 1, &newer).unwrap(), "unknown variant `Collect`"),
        (encode_raw(&Renamed::Deposit(5)).unwrap(), "unknown variant `Deposit`"),
        (header, "a command has format version 9, this build reads 1"),
        (Bytes::new(), "the input is empty"),
    ] {
        for answered in [true, false] {
            let mut entry = next_entry(&replica, EntryKind::Command, 5_000, data.clone());
            entry.log_id.term = 3;
            let error = match answered {
                true => replica.apply(&entry).unwrap_err(),
                false => replica.apply_unanswered(&entry).unwrap_err(),
            };
            assert_eq!(error.log_id(), LogId::new(3, 3));
            let said = error.to_string();
            for part in ["index 3, term 3", words, "builds::Old", "start this member with"] {
                assert!(said.contains(part), "{part:?} is not in {said:?}");
            }
            assert!(saved(&replica.view()) == before, "{words}: the state has changed");
        }
    }
    assert_eq!(replica.machine().0, 1000);
    assert_eq!(apply(&mut replica, encode_session(session, 2, 2, &Old::Pay(-1)).unwrap()), {
        Outcome::Reply(codec::encode(&999).unwrap().into())
    });
}

/// Rules for decoding another build's commands: variants by name, fields by position, no leftover
/// bytes.
#[test]
fn variants_go_by_name_and_fields_by_position_and_no_field_may_be_left_over() {
    use builds::{Longer, New, Old, Shorter};
    let decodes = |bytes: Vec<u8>| {
        (codec::decode::<Shorter>(&bytes).is_ok(), codec::decode::<Longer>(&bytes).is_ok())
    };
    assert_eq!(decodes(codec::encode(&Longer(1, 2)).unwrap()), (false, true));
    assert_eq!(decodes(codec::encode(&Shorter { amount: 1 }).unwrap()), (true, false));
    let pay = codec::encode(&New::Pay(7)).unwrap();
    assert!(matches!(codec::decode::<Old>(&pay), Ok(Old::Pay(7))));
    assert!(codec::decode::<(i64,)>(&codec::encode(&(1, 2)).unwrap()).is_err());
    // Types that read less than the whole value.
    for bytes in [codec::encode(&[1, 2]).unwrap(), codec::encode(&"text").unwrap()] {
        assert!(codec::decode::<()>(&bytes).is_err(), "{bytes:?}");
        assert!(codec::decode::<Option<()>>(&bytes).is_err(), "{bytes:?}");
    }
}

proptest! {
    #[test]
    fn garbage_is_an_error_that_changes_nothing_or_a_command(
        bytes in proptest::collection::vec(any::<u8>(), 0..40), plausible in any::<bool>()
    ) {
        let mut replica = word_count();
        open(&mut replica);
        let before = saved(&replica.view());
        let data = if plausible { [&[1, 0][..], &bytes].concat() } else { bytes };
        let entry = next_entry(&replica, EntryKind::Command, 1000, data.into());
        match replica.apply(&entry) {
            Ok(_) => prop_assert_eq!(replica.applied(), entry.log_id),
            Err(_) => prop_assert_eq!(saved(&replica.view()), before),
        }
    }
}

/// A machine whose reply has the length given by the command.
#[derive(Clone, Default, serde::Serialize, serde::Deserialize)]
struct Echo(u64);

impl Replicated for Echo {
    type Command = usize;
    type Reply = String;

    fn apply(&mut self, length: usize, _context: &ApplyContext) -> String {
        self.0 += 1;
        "x".repeat(length)
    }
}

#[test]
fn a_reply_above_the_limit_is_replaced_by_an_error_that_is_kept_in_its_place() {
    let mut replica = Replica::new(Echo::default(), CONFIG, CLUSTER);
    let session = open(&mut replica);
    // A string of 997 bytes takes 1000 bytes with its marker.
    let longest = encode_session(session, 1, 1, &997usize).unwrap();
    assert!(matches!(apply(&mut replica, longest), Outcome::Reply(reply) if reply.len() == 1000));
    let too_long = Outcome::ReplyTooLong { limit: 1000 };
    for (sequence, length) in [(2, 998), (3, 40_000_000)] {
        let command = encode_session(session, sequence, 1, &(length as usize)).unwrap();
        assert_eq!(apply(&mut replica, command.clone()), too_long);
        assert_eq!(apply(&mut replica, command.clone()), too_long, "a copy");
        assert_eq!(replica.covered_reply(&command), too_long);
        let mut restored: Replica<Echo> = reloaded(&replica);
        assert_eq!(apply(&mut restored, command), too_long, "a copy behind a snapshot");
        assert_eq!(restored.digest().unwrap(), {
            apply(&mut replica, encode_session(session, sequence, 1, &(length as usize)).unwrap());
            replica.digest().unwrap()
        });
    }
    assert_eq!(apply(&mut replica, encode_raw(&998usize).unwrap()), too_long, "without a session");
    assert_eq!(replica.machine().0, 4, "each was executed once");
    assert!(saved(&replica.view()).len() < 2_000, "nothing of a long reply is kept");
    assert!(replica.scratch.capacity() < 100_000, "{}", replica.scratch.capacity());
}

#[test]
fn a_covered_command_whose_sequence_another_one_took_is_told_so() {
    let mut replica = word_count();
    let session = open(&mut replica);
    let of = |text| encode_session(session, 1, 1, &word(text)).unwrap();
    assert_eq!(apply(&mut replica, of("a")), reply(1));
    assert_eq!(apply(&mut replica, of("b")), Outcome::SequenceReused);
    assert_eq!(replica.covered_reply(&of("b")), Outcome::SequenceReused);
    assert_eq!(replica.covered_reply(&of("a")), reply(1));
    assert_eq!(replica.machine().get(b"b"), 0);
}

#[test]
fn blank_entries_advance() {
    let mut replica = word_count();
    let entry = next_entry(&replica, EntryKind::Blank, 1000, Bytes::new());
    assert_eq!(replica.apply(&entry).unwrap(), Outcome::Blank);
    assert_eq!((replica.applied(), replica.log_time_ms()), (LogId::new(1, 1), 0));
}

#[test]
#[should_panic(expected = "entry 1@1 cannot follow 1@1")]
fn ps21_an_entry_is_not_applied_twice() {
    let mut replica = word_count();
    let entry = next_entry(&replica, EntryKind::Blank, 1000, Bytes::new());
    let _ = replica.apply(&entry);
    let _ = replica.apply(&entry);
}

#[test]
#[should_panic(expected = "entry 2@1 cannot follow 0@0")]
fn ps21_no_entry_is_left_out() {
    let mut entry = next_entry(&word_count(), EntryKind::Blank, 1000, Bytes::new());
    entry.log_id.index = 2;
    let _ = word_count().apply(&entry);
}

/// A serde machine that records its context, and can return a reply that can't be encoded.
#[derive(Clone, Default, serde::Serialize, serde::Deserialize)]
struct Journal(Vec<(u64, u64, u64, u64)>);

#[derive(serde::Serialize, serde::Deserialize)]
struct Deep(Vec<Deep>);

impl Replicated for Journal {
    type Command = bool;
    type Reply = Deep;

    fn apply(&mut self, answer_too_deep: bool, context: &ApplyContext) -> Deep {
        self.0.push((context.index, context.term, context.time_ms, context.random()));
        let levels = if answer_too_deep { DEPTH_LIMIT } else { 1 };
        (0..levels).fold(Deep(vec![]), |inner, _| Deep(vec![inner]))
    }
}

#[test]
fn a_reply_without_encoding_is_said_so_and_the_command_stays_executed_once() {
    let mut replica = Replica::new(Journal::default(), CONFIG, CLUSTER);
    let session = open(&mut replica);
    let command = encode_session(session, 1, 1, &true).unwrap();
    assert_eq!(apply(&mut replica, command.clone()), Outcome::ReplyUnencodable);
    let mut restored: Replica<Journal> = reloaded(&replica);
    assert_eq!(apply(&mut restored, command.clone()), Outcome::ReplyUnencodable);
    assert_eq!(restored.covered_reply(&command), Outcome::ReplyUnencodable);
    assert_eq!(restored.machine().0.len(), 1);
}

#[test]
fn a_machine_by_serde_sees_log_time_and_comes_back() {
    let mut replica = Replica::new(Journal::default(), CONFIG, CLUSTER);
    for stamp_ms in [1000, 900, 5000] {
        apply_at(&mut replica, stamp_ms, encode_raw(&false).unwrap());
    }
    let restored: Replica<Journal> = reloaded(&replica);
    assert_eq!(restored.machine().0, replica.machine().0);
    let times: Vec<u64> = restored.machine().0.iter().map(|(_, _, time_ms, _)| *time_ms).collect();
    assert_eq!(times, [1000, 1000, 1020]);
}

/// The action of an entry in the property test; sessions are numbered in the order of opening.
#[derive(Clone, Debug)]
enum Act {
    Open,
    Close(usize),
    Count { session: usize, sequence: u64, low_water: u64, word: u8 },
    CountRaw(u8),
    Blank,
}

fn any_act() -> impl Strategy<Value = Act> {
    let count =
        (0..6usize, 1..9u64, 0..9u64, 0..4u8).prop_map(|(session, sequence, low_water, word)| {
            Act::Count { session, sequence, low_water: low_water.min(sequence), word }
        });
    prop_oneof![
        2 => Just(Act::Open),
        1 => (0..6usize).prop_map(Act::Close),
        8 => count,
        1 => (0..4u8).prop_map(Act::CountRaw),
        1 => Just(Act::Blank),
    ]
}

fn log_of(acts: &[(Act, u64)]) -> Vec<Entry> {
    let mut opened = Vec::new();
    let mut stamp_ms = 1000;
    let entry_of = |(index, (act, step_ms)): (usize, &(Act, u64))| {
        let index = index as u64 + 1;
        // Stamps advance by up to 40 ms, and sometimes go back.
        stamp_ms = (stamp_ms + step_ms).saturating_sub(10);
        let named =
            |opened: &[u64], nth: usize| opened.iter().rev().nth(nth).copied().unwrap_or(999);
        let word = |word: u8| Increment { word: vec![word] };
        let data = match act {
            Act::Open => {
                opened.push(index);
                CommandRef::OpenSession.encode()
            }
            Act::Close(nth) => CommandRef::CloseSession { session: named(&opened, *nth) }.encode(),
            Act::Count { session, sequence, low_water, word: byte } => {
                encode_session(named(&opened, *session), *sequence, *low_water, &word(*byte))
                    .unwrap()
            }
            Act::CountRaw(byte) => encode_raw(&word(*byte)).unwrap(),
            Act::Blank => Bytes::new(),
        };
        let kind = if matches!(act, Act::Blank) { EntryKind::Blank } else { EntryKind::Command };
        Entry { log_id: LogId::new(1 + index / 10, index), kind, stamp_ms, data }
    };
    acts.iter().enumerate().map(entry_of).collect()
}

proptest! {
    /// CL07, A22: replicas agree after every entry, and one loaded from a snapshot at any entry
    /// continues like the others: same outcomes, same evictions and expiries, same digests.
    #[test]
    fn replicas_agree_wherever_one_was_loaded_from_a_snapshot(
        acts in proptest::collection::vec((any_act(), 0..50u64), 1..80), cut in any::<prop::sample::Index>()
    ) {
        let log = log_of(&acts);
        let (mut straight, mut restarted) = (word_count(), word_count());
        let cut = cut.index(log.len());
        for (position, entry) in log.iter().enumerate() {
            if position == cut {
                restarted = reloaded(&restarted);
            }
            let (of_one, of_other) = (straight.apply(entry).unwrap(), restarted.apply(entry).unwrap());
            prop_assert_eq!(of_one, of_other, "at {}", entry.log_id);
            prop_assert_eq!(straight.digest().unwrap(), restarted.digest().unwrap(), "at {}", entry.log_id);
        }
    }

    /// CL01: of all copies of one (session, sequence), at most one is executed.
    #[test]
    fn no_sequence_is_executed_twice(acts in proptest::collection::vec((any_act(), 0..30u64), 1..80)) {
        let mut replica = word_count();
        let mut executed = std::collections::BTreeSet::new();
        let total = |replica: &Replica<WordCount>| replica.machine().iter().map(|(_, count)| count).sum::<u64>();
        for entry in log_of(&acts) {
            let before = total(&replica);
            replica.apply(&entry).unwrap();
            if let (1.., Ok(CommandRef::Session { session, sequence, .. })) =
                (total(&replica) - before, CommandRef::decode(&entry.data))
            {
                prop_assert!(executed.insert((session, sequence)), "twice: {} of {}", sequence, session);
            }
        }
    }

    #[test]
    fn hostile_snapshots_never_panic(
        acts in proptest::collection::vec((any_act(), 0..30u64), 1..20),
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4)
    ) {
        let mut replica = word_count();
        log_of(&acts).iter().for_each(|entry| drop(replica.apply(entry)));
        let mut bytes = saved(&replica.view());
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        // Damaged bytes that still decode give a state, which must be usable.
        if let Ok(mut replica) = loaded::<WordCount>(&bytes) {
            if replica.applied().index < u64::MAX {
                let entry = next_entry(&replica, EntryKind::Command, 5000, CommandRef::OpenSession.encode());
                let log_id = LogId::new(replica.applied().term, entry.log_id.index);
                replica.apply(&Entry { log_id, ..entry }).unwrap();
            }
            reloaded(&replica);
        }
        let _ = loaded::<KeyValue>(&bytes);
        let _ = loaded::<Journal>(&bytes);
    }
}
