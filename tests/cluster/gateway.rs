//! A handle as an actor: every operation as a message.

use actix::Actor;
use bytes::Bytes;
use quorate::machine::{Increment, Outcome, WordCount, command};
use quorate::node::gateway::{
    GetStatus, Propose, ProposeData, Read, Submit, SubmitData, TakeSnapshot,
};
use quorate::node::{Consistency, ProposeError, ReadError, SnapshotError};

use crate::support::*;

fn increment() -> Increment {
    Increment { word: "word".into() }
}

fn encoded() -> Bytes {
    command::encode_raw(&increment()).expect("encodes")
}

#[test]
fn every_operation_of_a_handle_has_its_message() {
    story(async {
        let cluster = words(1).start().await.unwrap();
        let leading = leader(&cluster).await;
        let gateway = cluster.handle(leading).unwrap().gateway().start();

        assert_eq!(gateway.send(Propose::<WordCount>(increment())).await.unwrap(), Ok(1));
        let mut proposal = gateway.send(Submit::<WordCount>(increment())).await.unwrap().unwrap();
        let appended = proposal.appended().await.expect("durable");
        assert_eq!(proposal.reply().await, Ok(2));
        let outcome = gateway.send(ProposeData(encoded())).await.unwrap();
        assert!(matches!(outcome, Ok(Outcome::Reply(_))), "{outcome:?}");
        let begun = gateway.send(SubmitData::<WordCount>::new(encoded())).await.unwrap();
        assert_eq!(begun.unwrap().reply().await, Ok(4));
        for consistency in [Consistency::Local, Consistency::Linearizable] {
            let read = Read::new(consistency, |state: &WordCount| state.get(b"word"));
            assert_eq!(gateway.send(read).await.unwrap(), Ok(4));
        }
        let taken = gateway.send(TakeSnapshot).await.unwrap().unwrap();
        assert_eq!(taken.index, appended.index + 2);
        let status = gateway.send(GetStatus).await.unwrap();
        assert_eq!((status.node, status.raft.snapshot), (leading, taken));
        cluster.shutdown().await;
    });
}

/// Sent in a row and awaited from the last to the first: executed as they were sent.
#[test]
fn commands_are_appended_in_the_order_of_their_messages() {
    story(async {
        let cluster = words(3).start().await.unwrap();
        let leading = leader(&cluster).await;
        let gateway = cluster.handle(leading).unwrap().gateway().start();
        client(&cluster).execute(increment()).await.unwrap();
        let mut sent = Vec::new();
        for _ in 0..50 {
            // Enqueued at the first poll: so each is polled once, here.
            let mut request = Box::pin(gateway.send(Propose::<WordCount>(increment())));
            let early = tokio::time::timeout(std::time::Duration::ZERO, &mut request).await;
            assert!(early.is_err(), "answered before it can have been replicated");
            sent.push(request);
        }
        for (times, request) in (2..52_u64).rev().zip(sent.into_iter().rev()) {
            assert_eq!(request.await.unwrap(), Ok(times));
        }
        cluster.shutdown().await;
    });
}

/// CL04: the node's end answers everybody; the gateway goes on and says so.
#[test]
fn a_gateway_outlives_its_node_and_says_so() {
    story(async {
        let cluster = words(1).start().await.unwrap();
        let gateway = cluster.handle(leader(&cluster).await).unwrap().gateway().start();
        cluster.shutdown().await;
        let proposed = gateway.send(Propose::<WordCount>(increment())).await.unwrap();
        assert_eq!(proposed, Err(ProposeError::Fatal));
        assert_eq!(gateway.send(ProposeData(encoded())).await.unwrap(), Err(ProposeError::Fatal));
        let read = Read::new(Consistency::Local, |_: &WordCount| ());
        assert_eq!(gateway.send(read).await.unwrap(), Err(ReadError::Fatal));
        assert_eq!(gateway.send(TakeSnapshot).await.unwrap(), Err(SnapshotError::Fatal));
        assert!(!gateway.send(GetStatus).await.unwrap().running);
    });
}
