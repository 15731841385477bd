//! Floods: far more than a member can take. What does not fit is refused at the door, the rest is answered, and the leader
//! stays the leader.

use std::time::Duration;

use quorate::machine::Increment;
use quorate::node::{Config, Consistency, ProposeError, ReadError};
use tokio::task::spawn_local;
use tokio::time::Instant;

use crate::support::*;

const MILLION: u64 = 1_000_000;

/// AC01, AC08, CL04, B2: a million proposals as fast as they can be made. Beyond the admission nothing reaches a mailbox.
#[test]
fn a_million_proposals_are_refused_or_answered() {
    story(async {
        let config = Config { proposals_in_flight: 2_000, ..small() };
        let cluster = words(3).config(config).start().await.unwrap();
        let client = client(&cluster);
        count(&client, "before", 1).await;
        let leader = leader(&cluster).await;
        let term = status(&cluster, leader).raft.term;
        let handle = cluster.handle(leader).unwrap();
        let (mut taken, mut refused) = (Vec::new(), 0);
        for round in 0..100 {
            for _ in 0..MILLION / 100 {
                match handle.submit(Increment { word: vec![round] }) {
                    Ok(proposal) => taken.push(spawn_local(proposal.reply())),
                    Err(ProposeError::Busy) => refused += 1,
                    Err(error) => panic!("{error:?}"),
                }
            }
            assert!(handle.status().proposals_in_flight <= 2_000);
            pass(Duration::from_millis(5)).await;
        }
        assert_eq!(taken.len() as u64 + refused, MILLION);
        let (mut replies, mut busy) = (0, 0);
        for reply in taken {
            match reply.await.unwrap() {
                Ok(_) => replies += 1,
                // The log's own limits, behind the door.
                Err(ProposeError::Busy) => busy += 1,
                other => panic!("{other:?} from a leader that stayed one"),
            }
        }
        assert!(replies > 10_000, "{replies} replies, {busy} busy, {refused} refused");
        let status = status(&cluster, leader);
        assert_eq!((status.raft.term, status.proposals_in_flight), (term, 0));
        assert!(status.max_loop_stall_ms <= 10.0, "stalled for {} ms", status.max_loop_stall_ms);
        let log_bytes = status.raft.counters.max_log_bytes;
        assert!(log_bytes < 100_000, "the log grew to {log_bytes} bytes");
        all_caught_up(&cluster).await;
        for node in cluster.ids() {
            let read = |state: &quorate::machine::WordCount| state.iter().map(|(_, n)| n).sum();
            let sum: u64 =
                cluster.handle(node).unwrap().read(Consistency::Local, read).await.unwrap();
            assert_eq!(sum, replies + 1, "node {node}");
        }
        assert_healthy(&cluster);
        cluster.shutdown().await;
    });
}

/// RD08, AC08: the same with reads; all of one moment share one round of messages.
#[test]
fn a_flood_of_reads_shares_its_rounds() {
    story(async {
        let cluster = words(3).config(Config { reads_in_flight: 5_000, ..small() }).start();
        let cluster = cluster.await.unwrap();
        let client = client(&cluster);
        count(&client, "word", 3).await;
        all_caught_up(&cluster).await;
        let leader = leader(&cluster).await;
        let (term, sent) = (status(&cluster, leader).raft.term, cluster.network().counters().sent);
        let began = Instant::now();
        let reads: Vec<_> = (0..50_000)
            .map(|_| {
                let handle = cluster.handle(leader).unwrap();
                spawn_local(async move {
                    handle.read(Consistency::Linearizable, |state| state.get(b"word")).await
                })
            })
            .collect();
        let (mut answered, mut busy) = (0, 0);
        for read in reads {
            match read.await.unwrap() {
                Ok(seen) => {
                    assert_eq!(seen, 3);
                    answered += 1;
                }
                Err(ReadError::Busy) => busy += 1,
                Err(error) => panic!("{error:?}"),
            }
        }
        assert!(answered >= 5_000 && busy > 0, "{answered} answered, {busy} busy");
        assert!(began.elapsed() < Duration::from_secs(1));
        let messages = cluster.network().counters().sent - sent;
        assert!(messages < answered / 10, "{messages} messages for {answered} reads");
        assert_eq!(status(&cluster, leader).raft.term, term);
        assert_eq!(status(&cluster, leader).reads_in_flight, 0);
        cluster.shutdown().await;
    });
}
