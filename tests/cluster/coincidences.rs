//! What comes together: two things in one turn, or in turns of one moment.

use quorate::machine::Increment;
use quorate::messages::ApplyWork;
use quorate::node::{Consistency, Handle};
use quorate::raft::*;
use tokio::task::{spawn_local, yield_now};

use crate::puppet::*;
use crate::support::*;

/// Lets every actor have its turns, without any time passing.
async fn turns() {
    for _ in 0..50 {
        yield_now().await;
    }
}

/// The node leads in a term in which it has committed.
async fn leading() -> Puppet {
    let puppet = Puppet::start(small()).await;
    puppet.elect().await;
    puppet.acknowledge(OTHER, 1).await;
    puppet
}

/// Requests of AppendEntries to the other member, among what the node has sent since `from`.
fn appends(puppet: &Puppet, from: usize) -> Vec<(Envelope, Append)> {
    let to_other = puppet.strings.sent().into_iter().skip(from).filter(|sent| sent.to == OTHER);
    to_other
        .filter_map(|request| match &request.body {
            Body::Request(Request::Append(append)) => {
                let append = append.clone();
                Some((request, append))
            }
            _ => None,
        })
        .collect()
}

/// A68, B12: what a follower holds back never becomes one batch with what comes behind an install's
/// gap, whatever the turns.
#[test]
fn what_is_held_back_stays_apart_from_what_follows_an_install() {
    story(async {
        let history = History::of(&[(1, 20)]);
        let (puppet, hand) = Puppet::start_by_hand(small()).await;
        puppet.append(LEADER, 1, &history, 0, 5, 5).await;
        assert_eq!(hand.apply_entries(1).await, history.id(5));
        puppet.send_snapshot(LEADER, 1, 1, &history.snapshot(10)).await;
        let offer = hand.pull_offer().await;
        // Each in turns of its own, all within the moment in which a follower holds back what
        // comes.
        for last in 6..=8 {
            puppet.say(LEADER, 1, entries(&history, last - 1, last, last));
            turns().await;
        }
        assert_eq!(puppet.status().raft.dispatched, 8);
        hand.link().cond_install(offer.meta.log_id);
        turns().await;
        for last in 11..=13 {
            puppet.say(LEADER, 1, entries(&history, last - 1, last, last));
            turns().await;
        }
        assert!(hand.next_decision().await.granted);
        hand.link().applied(10);
        let mut next = 0;
        while next <= 13 {
            let ApplyWork::Entries(batch) = hand.pull().await else { panic!("entries are there") };
            let indexes: Vec<Index> = batch.entries.iter().map(|e| e.log_id.index).collect();
            let through = indexes[0] + indexes.len() as Index;
            assert_eq!(indexes, (indexes[0]..through).collect::<Vec<_>>(), "a gap within a batch");
            assert!(
                indexes[0] == next || next == 0 || (next, indexes[0]) == (9, 11),
                "{indexes:?}"
            );
            next = through;
        }
        puppet.shutdown().await;
    });
}

/// CL03, A67: in one turn an entry is committed and a later leader shows up. The entry is committed
/// all the same, and so whoever waits for it gets its reply.
#[test]
fn an_entry_committed_in_the_turn_that_deposes_the_leader_is_answered() {
    story(async {
        let puppet = leading().await;
        let handle: Handle<_> = puppet.handle();
        let before = puppet.strings.sent().len();
        let command = Increment { word: "once".into() };
        let reply = spawn_local(async move { handle.propose(command).await });
        turns().await;
        let sent = appends(&puppet, before);
        let (request, append) =
            sent.iter().find(|(_, append)| !append.entries.is_empty()).expect("it is sent");
        let term = request.term;
        puppet.acknowledge_one(request, append, 2);
        puppet.say(OTHER, term + 1, heartbeat());
        assert_eq!(reply.await.expect("no panic"), Ok(1));
        until("deposed", || puppet.status().raft.term > term).await;
        puppet.shutdown().await;
    });
}

/// RD03: the answer to a round of messages that left before a read came does not confirm the read,
/// however near the two are.
#[test]
fn a_read_of_a_later_turn_waits_for_a_later_round() {
    story(async {
        let puppet = leading().await;
        let read = || {
            let handle: Handle<_> = puppet.handle();
            let count = |_: &quorate::machine::WordCount| ();
            spawn_local(async move { handle.read(Consistency::Linearizable, count).await })
        };
        let before = puppet.strings.sent().len();
        let early = read();
        turns().await;
        let first_round = appends(&puppet, before);
        assert!(!first_round.is_empty(), "no round for the first read");
        let late = read();
        turns().await;
        let before = puppet.strings.sent().len() - appends(&puppet, before).len();
        first_round.iter().for_each(|(asked, append)| puppet.acknowledge_one(asked, append, 1));
        turns().await;
        assert!(early.is_finished(), "confirmed by its own round");
        assert!(!late.is_finished(), "confirmed by a round that had begun before it came");
        appends(&puppet, before)
            .iter()
            .for_each(|(asked, append)| puppet.acknowledge_one(asked, append, 1));
        turns().await;
        assert!(late.is_finished());
        assert_eq!((early.await.unwrap(), late.await.unwrap()), (Ok(()), Ok(())));
        puppet.shutdown().await;
    });
}
