//! Two transports without nodes: order, limits, ages, ends.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use quorate::raft::*;
use quorate::transport::tcp::Refusal;
use quorate::transport::{Inbox, Receipt, TcpOptions, TcpTransport, Transport};

use crate::proxy::Proxy;
use crate::raw::{Hello, Raw};
use crate::support::{CLUSTER, hold, options, until};

/// A transport with somebody attached who writes everything down.
struct End {
    transport: TcpTransport,
    seen: Arc<Mutex<Seen>>,
}

#[derive(Default)]
struct Seen {
    received: Vec<Envelope>,
    undelivered: Vec<(NodeId, RequestId)>,
    /// Kept, as long as `keeps`: nothing counts as handled.
    receipts: Vec<Receipt>,
    keeps: bool,
}

impl End {
    fn new(node: NodeId, change: impl FnOnce(&mut TcpOptions)) -> End {
        let mut options = options(node);
        change(&mut options);
        let transport = TcpTransport::bind(options).expect("a free port");
        let end = End { transport, seen: Arc::default() };
        end.attach(&end.transport, node, 1);
        end
    }

    fn attach(&self, transport: &TcpTransport, node: NodeId, incarnation: Incarnation) {
        let (seen, undelivered) = (Arc::clone(&self.seen), Arc::clone(&self.seen));
        let deliver = move |envelope, receipt| {
            let mut seen = seen.lock();
            seen.received.push(envelope);
            if seen.keeps {
                seen.receipts.push(receipt);
            }
        };
        let inbox = Inbox::with_receipts(deliver, move |to, id| {
            undelivered.lock().undelivered.push((to, id));
        });
        transport.attach(node, inbox.of_incarnation(incarnation));
    }

    fn knows(&self, node: NodeId, other: &End) {
        self.transport.set_peer(node, other.transport.local_addr().to_string());
    }

    fn send(&self, ids: impl IntoIterator<Item = RequestId>) {
        ids.into_iter().for_each(|id| self.transport.send(vote(id)));
    }

    fn ids(&self) -> Vec<RequestId> {
        self.seen.lock().received.iter().map(|envelope| envelope.id).collect()
    }

    fn received(&self) -> usize {
        self.seen.lock().received.len()
    }

    fn undelivered(&self) -> Vec<(NodeId, RequestId)> {
        self.seen.lock().undelivered.clone()
    }
}

fn envelope(id: RequestId, body: Body) -> Envelope {
    Envelope { cluster: CLUSTER, group: 0, from: 1, to: 2, incarnation: 1, term: 1, id, body }
}

fn vote(id: RequestId) -> Envelope {
    envelope(id, Body::Request(Request::Vote { last: LogId::BASE }))
}

fn chunk(id: RequestId, data_bytes: usize) -> Envelope {
    let membership = Membership::of_voters([1, 2]);
    let meta = SnapshotMeta { log_id: LogId::new(1, 9), membership, size_bytes: 1 << 30 };
    let data = Bytes::from(vec![7; data_bytes]);
    let chunk = SnapshotChunk { meta, transfer: 1, offset: 0, data, crc: 0, round: 1 };
    envelope(id, Body::Request(Request::Snapshot(chunk)))
}

fn append(id: RequestId, entry_bytes: usize, entries: u64) -> Envelope {
    let data = Bytes::from(vec![7; entry_bytes]);
    let entry = |index| {
        let log_id = LogId::new(1, index);
        Entry { log_id, kind: EntryKind::Command, stamp_ms: 0, data: data.clone() }
    };
    let append = Append {
        prev: LogId::BASE,
        entries: (1..=entries).map(entry).collect(),
        commit: 0,
        leader_last: 0,
        leader_durable: 0,
        round: 0,
    };
    envelope(id, Body::Request(Request::Append(append)))
}

/// Member 1 knows member 2 and the other way round.
fn pair_with(change: impl Fn(&mut TcpOptions)) -> (End, End) {
    let (a, b) = (End::new(1, &change), End::new(2, &change));
    a.knows(2, &b);
    b.knows(1, &a);
    (a, b)
}

fn pair() -> (End, End) {
    pair_with(|_| ())
}

#[tokio::test]
async fn what_is_sent_arrives_as_it_was_and_in_order() {
    let (a, b) = pair();
    let sent: Vec<Envelope> = (0..3000).map(|id| append(id, id as usize % 50, id % 5)).collect();
    sent.iter().for_each(|envelope| a.transport.send(envelope.clone()));
    until("all arrived", || b.received() == sent.len()).await;
    assert!(b.seen.lock().received == sent);
    let counters = a.transport.counters();
    assert!(counters.writes < 1500, "many frames go with one write: {counters:?}");
    assert_eq!((counters.calls, counters.outgoing_connections), (1, 1));
    assert_eq!(b.transport.counters().bytes_received, counters.bytes_sent);
}

#[tokio::test]
async fn frames_of_every_size_up_to_the_cap_pass_and_a_larger_one_is_not_sent() {
    let (a, b) = pair_with(|options| options.max_frame_bytes = 1 << 20);
    let sizes = [0, 1, 4 << 10, 64 << 10, (64 << 10) + 1, 300 << 10, (1 << 20) - 200];
    for (id, size) in sizes.into_iter().enumerate() {
        a.transport.send(append(id as u64, size, 1));
    }
    a.transport.send(append(99, 1 << 20, 1));
    assert_eq!(a.undelivered(), [(2, 99)]);
    until("all arrived", || b.received() == sizes.len()).await;
    assert_eq!(a.transport.counters().dropped_unsendable, 1);
}

/// AC10: pieces of snapshots go another way. That way is shut here, and everything else passes.
#[tokio::test]
async fn ac10_a_chunk_that_does_not_get_through_delays_nothing_else() {
    let (a, b) = pair_with(hold);
    let proxy = Proxy::start(b.transport.local_addr()).await;
    proxy.trouble.chunks_held.store(true, Ordering::Relaxed);
    a.transport.set_peer(2, proxy.address.to_string());
    a.transport.send(chunk(1000, 4 << 20));
    for id in 0..50 {
        a.send([id]);
        until("the heartbeat arrived", || b.received() as u64 == id + 1).await;
    }
    assert_eq!(b.ids(), (0..50).collect::<Vec<_>>(), "the chunk is still on its way");
    proxy.trouble.chunks_held.store(false, Ordering::Relaxed);
    until("the chunk arrived", || b.received() == 51).await;
    assert_eq!(b.ids().last(), Some(&1000));
}

/// Whoever does not handle what it gets is sent no more than the window, however long it takes and however often it is
/// called; what had to wait too long is given up.
#[tokio::test]
async fn ac01_what_is_not_handled_is_bounded_by_the_window() {
    let (a, b) = pair_with(|options| {
        (options.max_frame_bytes, options.window_bytes) = (32 << 10, 64 << 10);
        options.outbox_age = Duration::from_secs(2);
    });
    b.seen.lock().keeps = true;
    let unhandled = || b.transport.counters().unhandled_bytes;
    (0..40).for_each(|id| a.transport.send(append(id, 8000, 1)));
    until("the window is full", || unhandled() > (64 << 10) - 8400).await;
    until("the rest was given up", || a.undelivered().len() + b.received() == 40).await;
    let first = b.received();
    assert!((6..=7).contains(&first), "{first} frames");

    // A connection more does not mean a window more.
    a.attach(&a.transport, 1, 1);
    (40..80).for_each(|id| a.transport.send(append(id, 8000, 1)));
    until("that was given up too", || a.undelivered().len() + b.received() == 80).await;
    assert!(unhandled() <= 64 << 10, "{} bytes", unhandled());
    assert_eq!(b.received(), first);

    let receipts = std::mem::take(&mut b.seen.lock().receipts);
    b.seen.lock().keeps = false;
    drop(receipts);
    (80..120).for_each(|id| a.transport.send(append(id, 8000, 1)));
    until("it goes on", || b.ids().last() == Some(&119)).await;
    until("all is handled", || unhandled() == 0).await;
}

#[tokio::test]
async fn who_sends_more_than_allowed_is_disconnected() {
    let (a, b) = pair_with(|options| {
        (options.max_frame_bytes, options.window_bytes) = (32 << 10, 64 << 10);
    });
    b.seen.lock().keeps = true;
    let (mut raw, limit) = Raw::enter(b.transport.local_addr(), Hello::new(1, 2)).await;
    assert_eq!(limit, 64 << 10);
    let frame = quorate::transport::wire::encode(&append(1, 8000, 1)).expect("encodes");
    for _ in 0..8 {
        raw.say_frame(&frame).await;
    }
    assert_eq!(raw.last_word().await.code, Refusal::Overrun.code());
    assert!(b.transport.counters().unhandled_bytes <= 64 << 10);
    drop(a);
}

/// A member that is not there: its requests are reported, its answers are forgotten, and later ones reach it when it is.
#[tokio::test]
async fn what_can_not_be_delivered_is_reported_and_never_comes_late() {
    let (a, b) = pair();
    let address = b.transport.local_addr();
    b.transport.shutdown().await;
    a.send(0..3);
    let answer = Answer::Vote { granted: true, held: None };
    a.transport.send(envelope(7, Body::Answer { asker_incarnation: 1, answer }));
    until("all given up", || a.undelivered() == [(2, 0), (2, 1), (2, 2)]).await;
    let unknown = Envelope { to: 3, ..vote(9) };
    a.transport.send(unknown);
    assert_eq!(a.undelivered().last(), Some(&(3, 9)));

    let later = End::new(2, |options| options.listen = address.to_string());
    later.knows(1, &a);
    let mut id = 100;
    until("the member is reached", || {
        a.send([id]);
        id += 1;
        later.received() > 0
    })
    .await;
    assert!(later.ids().iter().all(|&id| id >= 100), "{:?}", later.ids());
}

#[tokio::test]
async fn a_full_outbox_refuses_and_reports() {
    let (a, b) = pair_with(|options| {
        options.outbox_messages = 10;
        options.outbox_age = Duration::from_secs(60);
    });
    // A port where somebody listens and never answers.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    a.transport.set_peer(2, silent.local_addr().expect("an address").to_string());
    a.send(0..25);
    assert_eq!(a.undelivered(), (10..25).map(|id| (2, id)).collect::<Vec<_>>());
    assert_eq!(a.transport.counters().queued_messages, 10);
    drop(b);
}

#[tokio::test]
async fn a_new_address_is_used_at_the_next_attempt() {
    let (a, b) = pair();
    a.send([1]);
    until("it arrived", || b.received() == 1).await;
    let moved = End::new(2, |_| ());
    moved.knows(1, &a);
    a.knows(2, &moved);
    b.transport.shutdown().await;
    let mut id = 10;
    until("the new place is reached", || {
        a.send([id]);
        id += 1;
        moved.received() > 0
    })
    .await;
}

#[tokio::test]
async fn a_name_is_looked_up() {
    let (a, b) = pair();
    a.transport.set_peer(2, format!("localhost:{}", b.transport.local_addr().port()));
    a.send([1]);
    until("it arrived", || b.received() == 1).await;
}

/// A start of the member ends what the one before it had, connections too; the earlier clone is dumb.
#[tokio::test]
async fn ac16_a_new_start_takes_over() {
    let (a, b) = pair();
    a.send([1]);
    until("it arrived", || b.received() == 1).await;
    let second = a.transport.clone();
    a.attach(&second, 1, 2);
    a.send([2]);
    a.transport.detach(1);
    let hello = Envelope { incarnation: 2, ..vote(3) };
    second.send(hello);
    until("it arrived", || b.received() == 2).await;
    assert_eq!(b.ids(), [1, 3]);
    second.detach(1);
    second.send(vote(4));
    until("nobody is connected", || b.transport.counters().incoming_connections == 0).await;
    assert_eq!(b.ids(), [1, 3]);
}

#[tokio::test]
async fn who_is_not_attached_is_not_heard() {
    let (a, b) = pair();
    b.transport.detach(2);
    a.send([1]);
    until("it was given up", || a.undelivered() == [(2, 1)]).await;
    let refused = a.transport.counters().refused_by_others;
    assert!(refused.contains_key(&Refusal::NotRunning), "{refused:?}");
    b.attach(&b.transport, 2, 1);
    let mut id = 10;
    until("it is heard", || {
        a.send([id]);
        id += 1;
        b.received() > 0
    })
    .await;
}

/// A wire that has gone dead without a word is found out on both ends.
#[tokio::test]
async fn a_dead_wire_is_noticed_on_both_ends() {
    let (a, b) = pair_with(|options| {
        options.alive_interval = Duration::from_millis(50);
        options.dead_after = Duration::from_millis(400);
    });
    let proxy = Proxy::start(b.transport.local_addr()).await;
    a.transport.set_peer(2, proxy.address.to_string());
    a.send([1]);
    until("it arrived", || b.received() == 1).await;
    proxy.trouble.dead.store(true, Ordering::Relaxed);
    until("the caller noticed", || a.transport.counters().outgoing_connections == 0).await;
    until("the called noticed", || b.transport.counters().incoming_connections == 0).await;
}

/// Two with nothing to say stay connected.
#[tokio::test]
async fn silence_is_not_death() {
    let (a, b) = pair_with(|options| {
        options.alive_interval = Duration::from_millis(20);
        options.dead_after = Duration::from_secs(2);
    });
    a.send([1]);
    until("it arrived", || b.received() == 1).await;
    let begun = tokio::time::Instant::now();
    until("twice the time of death", || begun.elapsed() > Duration::from_secs(4)).await;
    let counters = a.transport.counters();
    assert_eq!((counters.calls, counters.outgoing_connections), (1, 1), "{counters:?}");
}

#[tokio::test]
async fn the_newest_connection_of_a_member_counts_and_an_older_start_is_turned_away() {
    let (_a, b) = pair();
    let address = b.transport.local_addr();
    let hello = |incarnation| Hello { incarnation, ..Hello::new(1, 2) };
    let (mut first, _) = Raw::enter(address, hello(5)).await;
    let (mut second, _) = Raw::enter(address, hello(5)).await;
    first.closed().await;
    let mut old = Raw::dial(address).await;
    old.say(&hello(4).bytes()).await;
    let reply = old.reply().await;
    assert_eq!(reply.code, Refusal::Outdated.code(), "{reply:?}");
    let (_third, _) = Raw::enter(address, hello(6)).await;
    second.closed().await;
    until("one is left", || b.transport.counters().incoming_connections == 1).await;
}

#[tokio::test]
async fn the_end_frees_the_address() {
    let (a, b) = pair();
    a.send([1]);
    until("it arrived", || b.received() == 1).await;
    let address = b.transport.local_addr();
    b.transport.shutdown().await;
    std::net::TcpListener::bind(address).expect("the address is free");
    let (address, transport) = (a.transport.local_addr(), a.transport.clone());
    drop(a);
    drop(transport);
    until("a dropped one ends too", || std::net::TcpListener::bind(address).is_ok()).await;
}

#[test]
fn it_starts_without_any_runtime_and_listens_on_the_loopback_only() {
    let end = End::new(1, |_| ());
    assert!(end.transport.local_addr().ip().is_loopback());
    let taken = TcpTransport::bind(TcpOptions {
        listen: end.transport.local_addr().to_string(),
        ..options(2)
    });
    let error = taken.expect_err("the port is taken").to_string();
    assert!(error.contains(&end.transport.local_addr().to_string()), "{error}");
}
