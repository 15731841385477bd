//! What no correct member says, or not yet: ignored and counted, never the end of a node.

use std::time::Duration;

use quorate::raft::*;

use crate::puppet::*;
use crate::support::*;

/// PS01, EL23: requests for votes leave once the own vote is durable; no answer before that makes a leader.
#[test]
fn votes_for_requests_that_have_not_left_count_for_nothing() {
    story(async {
        let puppet = Puppet::start(small()).await;
        puppet.append(LEADER, 1, &History::of(&[(1, 5)]), 0, 5, 5).await;
        puppet.delays.set_fsync(Duration::from_secs(1));
        let requests = |wanted: fn(&Request) -> bool| -> Vec<Envelope> {
            let sent = puppet.strings.sent().into_iter();
            sent.filter(|e| matches!(&e.body, Body::Request(request) if wanted(request))).collect()
        };
        let pre_votes = || requests(|request| matches!(request, Request::PreVote { .. }));
        let votes = || requests(|request| matches!(request, Request::Vote { .. }));
        until("it campaigns", || pre_votes().len() >= 2).await;
        let asked = pre_votes();
        for request in &asked[asked.len() - 2..] {
            let answer = Answer::PreVote { campaign_term: 2, granted: true };
            puppet.reply_to(request, request.to, answer);
        }
        until("it is a candidate", || puppet.status().raft.role == Role::Candidate).await;
        // Its requests wait for the disk, behind its own vote. Guessed answers do not.
        let last = asked[asked.len() - 1].id;
        for (id, from) in [(last + 1, LEADER), (last + 2, OTHER)] {
            let answer = Answer::Vote { granted: true, held: None };
            let body = Body::Answer { asker_incarnation: asked[0].incarnation, answer };
            puppet.strings.deliver(envelope(from, 2, id, body));
        }
        pass(Duration::from_millis(100)).await;
        let status = puppet.status();
        assert_eq!((status.raft.role, status.fatal), (Role::Candidate, None));
        until("it asks for votes", || votes().len() >= 2).await;
        assert_eq!(puppet.status().raft.role, Role::Candidate);
        for request in votes() {
            puppet.reply_to(&request, request.to, Answer::Vote { granted: true, held: None });
        }
        until("it leads", || puppet.status().raft.role == Role::Leader).await;
        puppet.shutdown().await;
    });
}

/// LR26, EL25, AC16, LR21: of another cluster, group, member or life; for nobody; terms from nowhere.
#[test]
fn messages_that_are_not_for_this_node_change_nothing() {
    story(async {
        let history = History::of(&[(1, 5)]);
        let puppet = Puppet::start(small()).await;
        puppet.append(LEADER, 1, &history, 0, 5, 5).await;
        let vote = Body::Request(Request::Vote { last: LogId::new(9, 99) });
        let own_life = puppet.status().incarnation;
        let odd: [&dyn Fn(&mut Envelope); 9] = [
            &|envelope| envelope.cluster = 9,
            &|envelope| envelope.group = 1,
            &|envelope| envelope.to = 7,
            &|envelope| envelope.from = 7,
            &|envelope| envelope.from = NODE,
            &|envelope| envelope.term = u64::MAX,
            &|envelope| envelope.incarnation = 0,
            &|envelope| {
                let answer = Answer::Vote { granted: true, held: None };
                envelope.body = Body::Answer { asker_incarnation: 77, answer };
            },
            &move |envelope| {
                let answer = Answer::Vote { granted: true, held: None };
                envelope.id = u64::MAX;
                envelope.body = Body::Answer { asker_incarnation: own_life, answer };
            },
        ];
        let before = puppet.status().raft;
        for change in odd {
            let mut odd = envelope(OTHER, 2, 1_000, vote.clone());
            // First something right, so that the sender's life is known.
            puppet.say(OTHER, 1, Request::PreVote { campaign_term: 1, last: LogId::BASE });
            change(&mut odd);
            puppet.strings.deliver(odd);
        }
        let ignored = |raft: &RaftStatus| raft.counters.ignored_messages;
        until("all are ignored", || {
            ignored(&puppet.status().raft) == ignored(&before) + odd.len() as u64
        })
        .await;
        let after = puppet.status().raft;
        assert_eq!(
            (after.term, after.vote, after.leader),
            (before.term, before.vote, before.leader)
        );
        assert_eq!(after.counters.safety_alarms, 0);
        puppet.shutdown().await;
    });
}

/// LR09, LR11: entries with gaps, with falling terms, behind nothing, against what is committed.
#[test]
fn senseless_entries_are_ignored() {
    story(async {
        let history = History::of(&[(1, 10)]);
        let puppet = Puppet::start(small()).await;
        puppet.append(LEADER, 1, &history, 0, 5, 5).await;
        until("applied", || puppet.status().raft.applied == 5).await;
        let odd: [&dyn Fn(&mut Append); 5] = [
            &|append| append.prev.index = 3,
            &|append| append.prev = LogId::new(1, u64::MAX),
            &|append| append.prev.term = 2,
            &|append| append.commit = 1_000,
            &|append| append.leader_last = 1,
        ];
        let before = puppet.status().raft.counters.ignored_messages;
        for change in odd {
            let Request::Append(mut append) = entries(&history, 5, 8, 8) else { unreachable!() };
            change(&mut append);
            puppet.say(LEADER, 1, Request::Append(append));
        }
        until("all are ignored", || {
            puppet.status().raft.counters.ignored_messages == before + odd.len() as u64
        })
        .await;
        assert_eq!(puppet.status().raft.last.index, 5);
        // Against what is committed: an alarm.
        let other = History::of(&[(1, 2), (2, 8)]);
        puppet.say(OTHER, 2, entries(&other, 2, 6, 6));
        until("an alarm", || puppet.status().raft.counters.safety_alarms == 1).await;
        assert_eq!(puppet.status().raft.last.index, 5);
        assert_eq!(puppet.counted("4@1").await, 1);
        puppet.shutdown().await;
    });
}
