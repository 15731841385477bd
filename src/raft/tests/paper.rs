//! One test for each rule of the Raft paper's figure 2 (state, RPCs, rules for servers) and figure
//! 13 (InstallSnapshot), as this protocol has them: with a pre-vote, with hints for conflicts, with
//! installs that the state machine agrees to.

use super::hand::*;
use crate::raft::*;

// ---- figure 2, rules for all servers ---------------------------------------------------------

/// "If commitIndex > lastApplied: apply log[lastApplied]": in order, each entry once, nothing
/// beyond the commit index.
#[test]
fn all_servers_apply_what_is_committed_in_order_and_once() {
    let mut hand = Setup::of(3).start();
    hand.hear(1, 1, append(LogId::BASE, &[1, 1, 1], 2));
    hand.disk();
    assert_eq!(hand.dispatched(), [id(1, 1), id(2, 1)]);
    hand.hear(1, 1, append(id(3, 1), &[1], 4));
    hand.disk();
    assert_eq!(hand.dispatched(), [id(3, 1), id(4, 1)]);
}

/// "If RPC request or response contains term T > currentTerm: set currentTerm = T, convert to
/// follower": by any request of a leader or candidate, and by any answer.
#[test]
fn all_servers_adopt_a_higher_term_and_follow() {
    let requests = [heartbeat(LogId::BASE, 0), Request::Vote { last: LogId::BASE }];
    for request in requests {
        let mut hand = Setup::of(3).start();
        hand.campaign_for_votes();
        hand.hear(1, 7, request);
        assert_eq!((hand.role(), hand.term()), (Role::Follower, 7));
    }
    let mut leader = Setup::of(3).lead();
    leader.propose_many(1);
    let request = leader.appends(1).pop().expect("entries for member 1");
    let outcome = AppendOutcome::Stale;
    let answer = Answer::Append(AppendAnswer { report: report(0, 0), outcome });
    let answer = leader.answer_of(&request, 9, answer);
    leader.step(answer);
    assert_eq!((leader.role(), leader.term()), (Role::Follower, 9));
    assert_eq!(leader.steps[0].change.hard_state, Some(HardState { term: 9, vote: None }));
}

// ---- figure 2, followers ---------------------------------------------------------------------

/// "If election timeout elapses without receiving AppendEntries from current leader or granting
/// vote: convert to candidate": through the pre-vote.
#[test]
fn a_follower_whose_election_timeout_elapses_campaigns() {
    let mut hand = Setup::of(3).start();
    hand.hear(1, 1, heartbeat(LogId::BASE, 0));
    hand.after(299);
    assert_eq!(hand.role(), Role::Follower);
    hand.after(301);
    assert_eq!((hand.role(), hand.term()), (Role::PreCandidate, 1));
}

/// A member that has just started waits only for other members that start with it.
#[test]
fn a_follower_that_starts_campaigns_soon() {
    let mut hand = Setup::of(3).start();
    hand.after(300);
    assert_eq!((hand.role(), hand.term()), (Role::PreCandidate, 0));
}

/// AppendEntries from the leader restart the timeout, as does a granted vote, and nothing else
/// (EL07).
#[test]
fn a_followers_timeout_begins_anew_by_its_leader_and_by_granting_a_vote_el07() {
    let mut hand = Setup::of(3).start();
    for _ in 0..10 {
        hand.hear(1, 1, heartbeat(LogId::BASE, 0));
        hand.after(290);
        assert_eq!(hand.role(), Role::Follower, "the leader was heard 290 ms ago");
    }
    let mut hand = Setup::of(3).start();
    hand.hear(1, 0, heartbeat(LogId::BASE, 0));
    hand.after(290);
    hand.hear(1, 1, Request::Vote { last: LogId::BASE });
    hand.after(290);
    assert_eq!(hand.role(), Role::Follower, "a vote was granted 290 ms ago");
    // No vote is granted in term 1 any more, nor for a log that is behind.
    let mut hand = Setup::of(3).log(&[1]).start();
    hand.after(300);
    for _ in 0..7 {
        hand.after(100);
        hand.hear(2, hand.term() + 1, Request::Vote { last: LogId::BASE });
    }
    let campaigns = hand.status().counters.campaigns;
    assert_eq!(campaigns, 2, "refused candidates do not keep it from campaigning");
}

// ---- figure 2, candidates --------------------------------------------------------------------

/// "Increment currentTerm, vote for self, reset election timer, send RequestVote RPCs to all other
/// servers".
#[test]
fn a_candidate_raises_its_term_votes_for_itself_and_asks_all() {
    let mut hand = Setup::of(5).log(&[1, 3]).start();
    hand.campaign_for_votes();
    let own = HardState { term: 4, vote: Some(0) };
    assert_eq!(hand.steps[0].change.hard_state, Some(own));
    hand.sent.clear();
    hand.disk();
    let asked: Vec<_> = hand.sent.iter().map(|e| (e.to, e.term, e.body.clone())).collect();
    let vote = Body::Request(Request::Vote { last: id(2, 3) });
    assert_eq!(asked, [1, 2, 3, 4].map(|to| (to, 4, vote.clone())));
    hand.after(299);
    assert_eq!(hand.role(), Role::Candidate, "the timer was reset");
}

/// "If votes received from majority of servers: become leader": three of five, including its own.
#[test]
fn a_candidate_with_a_majority_of_votes_leads() {
    let mut hand = Setup::of(5).start();
    hand.campaign_for_votes();
    hand.disk();
    let requests = hand.votes_asked();
    hand.reply(&requests[0], Answer::Vote { granted: true, held: None });
    assert_eq!(hand.role(), Role::Candidate);
    hand.reply(&requests[1], Answer::Vote { granted: false, held: None });
    assert_eq!(hand.role(), Role::Candidate);
    hand.reply(&requests[2], Answer::Vote { granted: true, held: None });
    assert_eq!(hand.role(), Role::Leader);
}

/// "If AppendEntries RPC received from new leader: convert to follower" (EL06).
#[test]
fn a_candidate_follows_the_leader_of_its_term_el06() {
    let mut hand = Setup::of(3).start();
    hand.campaign_for_votes();
    hand.disk();
    hand.sent.clear();
    hand.hear(2, 1, append(LogId::BASE, &[1], 0));
    assert_eq!(hand.raft.role(), (Role::Follower, 1, Some(2)));
    hand.disk();
    assert_eq!(hand.append_answer().outcome, AppendOutcome::Accepted);
}

/// "If election timeout elapses: start new election".
#[test]
fn a_candidate_without_a_majority_begins_anew() {
    let mut hand = Setup::of(3).start();
    hand.campaign_for_votes();
    hand.disk();
    hand.sent.clear();
    hand.after(601);
    assert_eq!(hand.role(), Role::PreCandidate);
    hand.campaign_for_votes();
    assert_eq!((hand.role(), hand.term()), (Role::Candidate, 2));
}

// ---- figure 2, leaders -----------------------------------------------------------------------

/// "Upon election: send initial empty AppendEntries RPCs to each server; repeat during idle
/// periods": the first carry the blank entry.
#[test]
fn a_leader_sends_at_once_and_again_while_idle() {
    let mut hand = Setup::of(3).lead();
    let first: Vec<_> = hand.sent.iter().map(|e| (e.to, last_of(e))).collect();
    assert_eq!(first, [(1, 1), (2, 1)]);
    hand.accept_all(1);
    hand.accept_all(2);
    hand.sent.clear();
    for _ in 0..3 {
        hand.after(99);
        assert!(hand.sent.is_empty(), "not due yet");
        hand.after(1);
        let idle: Vec<_> = hand.sent.drain(..).collect();
        assert_eq!(idle.iter().map(|e| e.to).collect::<Vec<_>>(), [1, 2]);
        assert!(idle.iter().all(|e| append_of(e).entries.is_empty()));
        idle.iter().for_each(|request| hand.accept(request));
    }
}

/// "If command received from client: append entry to local log, respond after entry applied to
/// state machine".
#[test]
fn a_leader_appends_commands_and_hands_them_over_once_committed() {
    let mut hand = Setup::of(3).lead();
    assert_eq!(hand.propose(b"a"), Ok(id(2, 1)));
    assert_eq!(hand.steps[0].change.append.last().map(|e| e.data.to_vec()), Some(b"a".to_vec()));
    hand.disk();
    assert!(hand.out.apply.is_empty(), "not committed yet");
    hand.accept_all(1);
    assert_eq!(hand.dispatched(), [id(1, 1), id(2, 1)]);
}

/// "If last log index ≥ nextIndex: send AppendEntries starting at nextIndex. If successful: update
/// nextIndex and matchIndex" (A78): nothing is sent twice to a member that accepts it.
#[test]
fn a_leader_sends_from_next_on_and_success_moves_it_a78() {
    let mut hand = Setup::of(3).lead();
    hand.accept_all(1);
    hand.propose_many(2);
    let sent: Vec<_> = hand.appends(1).iter().map(|e| (append_of(e).prev, last_of(e))).collect();
    assert_eq!(sent, [(id(1, 1), 2), (id(2, 1), 3)]);
}

/// "If AppendEntries fails because of log inconsistency: decrement nextIndex and retry" (A78, B21):
/// by the hint.
#[test]
fn a_leader_backs_up_and_tries_again_when_refused_a78_b21() {
    let mut hand = Setup::of(3).log(&[1, 1, 2, 2]).lead();
    let first = hand.append(1);
    assert_eq!(append_of(&first).prev, id(4, 2));
    hand.reply(&first, rejected(0, 4, id(2, 1)));
    let second = hand.append(1);
    assert_eq!((append_of(&second).prev, last_of(&second)), (id(2, 1), 5));
    hand.accept(&second);
    assert_eq!(hand.status().commit, 5);
}

/// "If there exists an N > commitIndex, a majority of matchIndex[i] ≥ N, and log[N].term ==
/// currentTerm: set commitIndex" (A81, LR01): a quorum for an older term's entry commits nothing,
/// one for an entry of the own term commits all before it.
#[test]
fn a_leader_commits_own_term_entries_of_a_majority_a81_lr01() {
    let mut hand = Setup::of(3).log(&[1, 2]).lead();
    let request = hand.append(1);
    hand.reply(&request, rejected(0, 2, LogId::BASE));
    let retry = hand.append(1);
    let round = append_of(&retry).round;
    hand.reply(&retry, accepted(2, round));
    assert_eq!(hand.status().commit, 0, "entries of terms 1 and 2 on a majority, in term 3");
    hand.accept_all(1);
    let retry = hand.answer_of(&retry, 3, accepted(3, round));
    hand.step(retry);
    assert_eq!(hand.status().commit, 3);
}

// ---- figure 2, AppendEntries RPC -------------------------------------------------------------

/// "1. Reply false if term < currentTerm".
#[test]
fn append_entries_1_of_an_earlier_term_is_answered_and_refused() {
    let mut hand = Setup::of(3).term(5, None).start();
    hand.hear(1, 4, append(LogId::BASE, &[4], 1));
    assert_eq!(hand.sent[0].term, 5);
    assert_eq!(hand.append_answer().outcome, AppendOutcome::Stale);
    assert_eq!((hand.terms(), hand.status().leader), (vec![], None));
}

/// "2. Reply false if log doesn't contain an entry at prevLogIndex whose term matches prevLogTerm".
#[test]
fn append_entries_2_without_the_previous_entry_is_refused() {
    let mut hand = Setup::of(3).log(&[1, 1, 2]).start();
    for (prev, hint) in [(id(5, 3), id(3, 2)), (id(3, 3), id(3, 2)), (id(3, 1), id(2, 1))] {
        hand.hear(1, 3, append(prev, &[3], 0));
        hand.disk();
        let outcome = AppendOutcome::Rejected { refused: prev.index, hint };
        assert_eq!(hand.append_answer().outcome, outcome, "after {prev}");
    }
    assert_eq!(hand.terms(), [1, 1, 2], "a refused request changes nothing");
}

/// "3. If an existing entry conflicts with a new one: delete the existing entry and all that follow
/// it" (A79).
#[test]
fn append_entries_3_removes_what_conflicts_a79() {
    let mut hand = Setup::of(3).log(&[1, 1, 2, 2]).start();
    hand.hear(1, 3, append(id(2, 1), &[3], 0));
    assert_eq!(hand.terms(), [1, 1, 3]);
    let change = hand.steps[0].change.clone();
    assert_eq!((change.truncate_from, change.append), (Some(3), entries(3, &[3])));
    assert!(hand.out.events.contains(&Event::Truncated { from: 3 }));
    assert_eq!(hand.status().counters.truncations, 1);
}

/// "4. Append any new entries not already in the log": existing entries stay unchanged (LR02).
#[test]
fn append_entries_4_adds_only_what_is_not_there_lr02() {
    let mut hand = Setup::of(3).log(&[1, 1, 1, 1]).start();
    hand.hear(1, 1, append(id(1, 1), &[1, 1], 0));
    assert_eq!(hand.terms(), [1, 1, 1, 1]);
    assert!(hand.steps.is_empty(), "nothing to be made durable");
    hand.hear(1, 1, append(id(3, 1), &[1, 1], 0));
    assert_eq!(hand.steps[0].change.append, entries(5, &[1]));
}

/// "5. If leaderCommit > commitIndex, set commitIndex = min(leaderCommit, index of last new entry)"
/// (LR03): a heartbeat covers no more than its previous entry, whatever else is in the log.
#[test]
fn append_entries_5_commits_what_the_message_vouches_for_lr03() {
    let mut hand = Setup::of(3).log(&[1, 1, 1, 1]).start();
    let mut request = Append {
        prev: id(2, 1),
        entries: entries(3, &[]),
        commit: 2,
        leader_last: 4,
        leader_durable: 0,
        round: 0,
    };
    hand.hear(1, 2, Request::Append(request.clone()));
    assert_eq!(hand.status().commit, 2, "entries 3 and 4 may differ from the leader's");
    request.commit = 4;
    hand.hear(1, 2, Request::Append(request));
    assert_eq!(hand.status().commit, 2, "a message that vouches for more than it shows is ignored");
    assert_eq!(hand.status().counters.ignored_messages, 1);
    hand.hear(1, 2, append(id(4, 1), &[2], 4));
    assert_eq!(hand.status().commit, 4);
}

// ---- figure 2, RequestVote RPC ---------------------------------------------------------------

/// "1. Reply false if term < currentTerm".
#[test]
fn request_vote_1_of_an_earlier_term_is_refused() {
    let mut hand = Setup::of(3).term(5, None).start();
    hand.hear(1, 4, Request::Vote { last: id(9, 4) });
    assert_eq!(hand.sent[0].term, 5);
    assert!(!hand.vote());
    assert_eq!(hand.status().vote, None);
}

/// "2. If votedFor is null or candidateId, and candidate's log is at least as up-to-date as
/// receiver's log, grant vote".
#[test]
fn request_vote_2_is_granted_once_a_term_and_again_to_the_same() {
    let mut hand = Setup::of(3).start();
    for (from, granted) in [(1, true), (2, false), (1, true)] {
        hand.hear(from, 1, Request::Vote { last: LogId::BASE });
        hand.disk();
        assert_eq!(hand.vote(), granted, "to member {from}");
    }
}

/// §5.4.1: the log whose last entry has the later term is more up to date; with equal terms, the
/// longer log (EL04, EL05).
#[test]
fn request_vote_2_compares_the_last_terms_and_then_the_lengths_el04_el05() {
    let cases = [
        (id(9, 1), false),
        (id(2, 2), false),
        (id(3, 2), true),
        (id(4, 2), true),
        (id(1, 3), true),
    ];
    for (last, granted) in cases {
        let mut hand = Setup::of(3).log(&[1, 2, 2]).start();
        hand.hear(1, 4, Request::Vote { last });
        hand.disk();
        assert_eq!(hand.vote(), granted, "candidate's last is {last}");
    }
}

// ---- figure 13, InstallSnapshot RPC ----------------------------------------------------------

/// "1. Reply immediately if term < currentTerm".
#[test]
fn install_snapshot_1_of_an_earlier_term_is_refused() {
    let mut hand = Setup::of(3).term(5, None).start();
    let chunk = hand.chunk(id(10, 4), 1, 0, 50);
    hand.hear(1, 4, chunk);
    assert_eq!(hand.chunk_answer().outcome, ChunkOutcome::Stale);
    assert!(hand.out.snapshots.is_empty());
}

/// "2. Create new snapshot file if first chunk. 3. Write data into snapshot file at given offset.
/// 4. Reply and wait for more data chunks if done is false": the answer waits until the chunk is
/// stored.
#[test]
fn install_snapshot_2_3_4_stores_piece_after_piece() {
    let mut hand = Setup::of(3).start();
    for (offset, stored) in [(0, 60), (60, 99)] {
        let length = (stored - offset) as usize;
        let chunk = hand.chunk(id(10, 1), 1, offset, length);
        hand.hear(1, 1, chunk);
        hand.disk();
        let wanted = matches!(&hand.out.snapshots[..], [SnapshotJob::WriteChunk { offset: at, data, .. }]
            if *at == offset && data.len() == length);
        assert!(wanted, "{:?}", hand.out.snapshots);
        assert!(hand.sent.is_empty(), "answered before it is stored");
        hand.store(ChunkWritten::Partial(stored));
        let answer = hand.chunk_answer();
        assert_eq!(answer.outcome, ChunkOutcome::Continue { offset: stored });
        assert_eq!(answer.report.install, InstallStatus::Receiving { index: 10, bytes: stored });
    }
}

/// "5. Save snapshot file, discard any existing or partial snapshot with a smaller index".
#[test]
fn install_snapshot_5_drops_a_partial_one_and_the_ones_before() {
    let mut hand = Setup::of(3).start();
    let chunk = hand.chunk(id(10, 1), 1, 0, 60);
    hand.hear(1, 1, chunk);
    hand.store(ChunkWritten::Partial(60));
    let newer = hand.chunk(id(20, 1), 2, 0, 100);
    hand.hear(1, 1, newer);
    assert!(
        matches!(hand.out.snapshots.remove(0), SnapshotJob::AbortTransfer(key) if key.transfer == 1)
    );
    hand.store(ChunkWritten::Complete);
    hand.decode(id(20, 1));
    hand.cond_install(id(20, 1));
    hand.out.snapshots.clear();
    hand.disk();
    assert_eq!(hand.out.snapshots, [SnapshotJob::Current(id(20, 1))]);
}

/// "6. If existing log entry has same index and term as snapshot's last included entry, retain log
/// entries following it and reply": nothing needs to be installed, and what the snapshot covers is
/// committed (A51).
#[test]
fn install_snapshot_6_of_an_entry_in_the_log_only_moves_the_commit_index_a51() {
    let mut hand = Setup::of(3).log(&[1, 1, 1, 1]).start();
    let chunk = hand.chunk(id(3, 1), 1, 0, 100);
    hand.hear(1, 1, chunk);
    let answer = hand.chunk_answer();
    assert_eq!((answer.outcome, answer.report.matched), (ChunkOutcome::Unwanted, 3));
    assert_eq!((hand.status().commit, hand.terms()), (3, vec![1, 1, 1, 1]));
    assert!(hand.out.snapshots.is_empty() && hand.steps.is_empty());
    assert_eq!(hand.status().counters.fast_forwards, 1);
}

/// "7. Discard the entire log" (A58): in the step that makes the snapshot current, and only when
/// the state machine agrees.
#[test]
fn install_snapshot_7_discards_the_log_once_it_is_installed_a58() {
    let mut hand = Setup::of(3).log(&[1, 1, 2, 2]).start();
    hand.offer(1, 3, id(3, 3));
    assert_eq!(hand.terms(), [1, 1, 2, 2], "publishing changes nothing");
    assert_eq!(hand.cond_install(id(3, 3)), None, "not before it is durable");
    let status = hand.status();
    assert_eq!((status.log_start, status.last, status.commit), (id(3, 3), id(3, 3), 3));
    let install = hand.steps.back().and_then(|step| step.change.install.clone());
    assert_eq!(install.map(|install| install.keep_suffix), Some(false));
}

/// "8. Reset state machine using snapshot contents (and load snapshot's cluster configuration)".
#[test]
fn install_snapshot_8_lets_the_state_machine_switch_when_durable() {
    let mut hand = Setup::of(3).start();
    hand.offer(1, 1, id(10, 1));
    assert_eq!(hand.cond_install(id(10, 1)), None);
    hand.disk();
    assert_eq!(hand.decision(id(10, 1)), Some(true));
    assert_eq!(hand.status().membership, Membership::of_voters(0..3));
    assert_eq!(hand.status().snapshot, id(10, 1));
}
