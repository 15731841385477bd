//! What can come in at an open port: each is refused with its reason, and the cluster does not notice.

use std::time::Duration;

use quorate::raft::{Body, Envelope, LogId, NodeId, PeerRecord, Request, Term};
use quorate::transport::tcp::Refusal;
use quorate::transport::{Inbox, TcpOptions, TcpTransport, Transport, wire};
use tokio::time::sleep;

use crate::lines;
use crate::raw::{CHUNKS, Hello, MAIN, Raw, Reply};
use crate::support::*;

/// A member that everybody knows and nobody is: we are it.
const ABSENT: NodeId = 9;

/// Three members, of whom the first is attacked.
struct Attacked {
    world: World,
    term: Term,
    leader: NodeId,
}

impl Attacked {
    async fn start() -> Attacked {
        Attacked::start_with(|_| ()).await
    }

    async fn start_with(change: fn(&mut TcpOptions)) -> Attacked {
        let world = World::start_with(3, patient(), change).await;
        for node in world.ids() {
            world.transport(node).set_peer(ABSENT, "127.0.0.1:9");
        }
        count(&world.client(), "before", 10).await;
        world.all_have("before", 10).await;
        let leader = world.leader().await;
        Attacked { term: world.status(leader).raft.term, leader, world }
    }

    async fn dial(&self) -> Raw {
        Raw::dial(self.world.homes[&1].address).await
    }

    /// What comes back to these first bytes.
    async fn greet(&self, bytes: &[u8]) -> Reply {
        let mut raw = self.dial().await;
        raw.say(bytes).await;
        let reply = raw.reply().await;
        raw.closed().await;
        reply
    }

    /// Gets through the handshake as the absent member.
    async fn enter(&self) -> Raw {
        Raw::enter(self.world.homes[&1].address, Hello::new(ABSENT, 1)).await.0
    }

    fn refused(&self, why: Refusal) -> u64 {
        self.world.transport(1).counters().refused.get(&why).copied().unwrap_or(0)
    }

    /// The cluster goes on under the same leader.
    async fn end(self) {
        count(&self.world.client(), "after", 20).await;
        self.world.all_have("after", 20).await;
        let status = self.world.status(self.leader);
        assert_eq!((status.raft.term, self.world.leader().await), (self.term, self.leader));
        self.world.end().await;
    }
}

fn vote_of_the_absent() -> Envelope {
    let body = Body::Request(Request::Vote { last: LogId::BASE });
    Envelope {
        cluster: CLUSTER,
        group: 0,
        from: ABSENT,
        to: 1,
        incarnation: 1,
        term: 1,
        id: 1,
        body,
    }
}

#[tokio::test]
async fn lr26_every_wrong_hello_is_refused_with_its_reason() {
    let attacked = Attacked::start().await;
    let fine = Hello::new(ABSENT, 1);
    let mut reserved = fine.bytes();
    reserved[60] = 1;
    let wrong: [(Refusal, &str, Vec<u8>); 12] = [
        (Refusal::Magic, "quorate cluster", b"GET / HTTP/1.1\r\nHost: me\r\n\r\n".to_vec()),
        (Refusal::Magic, "address", vec![0; 4096]),
        (Refusal::Version, "wire versions 9 to 12", Hello { versions: [9, 12], ..fine }.bytes()),
        (Refusal::Version, "wire versions 0 to 0", Hello { versions: [0, 0], ..fine }.bytes()),
        (Refusal::Malformed, "4097 bytes", Hello { length: 4097, ..fine }.bytes()),
        (Refusal::Malformed, "71 bytes", Hello { length: 71, ..fine }.bytes()),
        (Refusal::Malformed, "lane 2", Hello { lane: 2, ..fine }.bytes()),
        (Refusal::Malformed, "reserved", reserved),
        (
            Refusal::Cluster,
            "of cluster 42, you are of cluster 43",
            Hello { cluster: 43, ..fine }.bytes(),
        ),
        (Refusal::Receiver, "member 1, you want member 2", Hello { to: 2, ..fine }.bytes()),
        (Refusal::Myself, "check the ids", Hello { from: 1, ..fine }.bytes()),
        (Refusal::Stranger, "lacks member 77", Hello { from: 77, ..fine }.bytes()),
    ];
    for (why, words, bytes) in wrong {
        let before = attacked.refused(why);
        let reply = attacked.greet(&bytes).await;
        assert_eq!(reply.code, why.code(), "{reply:?}");
        assert!(reply.text.contains(words), "{reply:?}");
        assert_eq!(attacked.refused(why), before + 1);
    }
    attacked.end().await;
}

/// A later version's hello may be longer, and may offer ours besides its own.
#[tokio::test]
async fn a_hello_of_a_later_version_that_speaks_ours_is_accepted() {
    let attacked = Attacked::start().await;
    let hello = Hello { length: 4096, versions: [1, 200], ..Hello::new(ABSENT, 1) };
    let mut bytes = hello.bytes();
    bytes.resize(4096, 0xee);
    let mut raw = attacked.dial().await;
    raw.say(&bytes).await;
    assert_eq!(raw.reply().await.code, 0);
    attacked.end().await;
}

#[tokio::test]
async fn who_says_nothing_or_too_little_is_sent_away() {
    let attacked = Attacked::start().await;
    let mut raws = Vec::new();
    for bytes in [&b""[..], b"QRTWIR", b"QRTWIRE\n", &Hello::new(ABSENT, 1).bytes()[..71]] {
        let mut raw = attacked.dial().await;
        raw.say(bytes).await;
        raws.push(raw);
    }
    for mut raw in raws {
        assert_eq!(raw.reply().await.code, Refusal::Silent.code());
        raw.closed().await;
    }
    attacked.end().await;
}

fn remembered(incarnation: u64, index: u64) -> Body {
    let acknowledged = LogId::new(1, index);
    Body::Request(Request::Identify(PeerRecord { incarnation, acknowledged }))
}

#[tokio::test]
async fn lr26_every_wrong_frame_ends_its_connection_with_its_reason() {
    let attacked = Attacked::start().await;
    let foreign = |change: fn(&mut Envelope)| {
        let mut envelope = vote_of_the_absent();
        change(&mut envelope);
        let frame = wire::encode(&envelope).expect("encodes");
        [&(frame.len() as u32).to_le_bytes()[..], &frame].concat()
    };
    let truncated = [&40u32.to_le_bytes()[..], &[1; 40]].concat();
    let noise: Vec<u8> =
        (0..3000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let garbage = [&3000u32.to_le_bytes()[..], &noise].concat();
    let wrong: [(Refusal, Vec<u8>); 12] = [
        (Refusal::Undecodable, foreign(|envelope| envelope.term = (1 << 62) + 1)),
        (Refusal::Undecodable, foreign(|envelope| envelope.term = Term::MAX)),
        (Refusal::Undecodable, foreign(|envelope| envelope.body = remembered(u64::MAX - 1, 1))),
        (Refusal::Undecodable, foreign(|envelope| envelope.body = remembered(1, u64::MAX))),
        (Refusal::Oversized, ((8 << 20) + 1u32).to_le_bytes().to_vec()),
        (Refusal::Oversized, vec![0xff; 5000]),
        (Refusal::Undecodable, truncated),
        (Refusal::Undecodable, garbage),
        (Refusal::Foreign, foreign(|envelope| envelope.from = 2)),
        (Refusal::Foreign, foreign(|envelope| envelope.cluster += 1)),
        (Refusal::Foreign, foreign(|envelope| envelope.to = 3)),
        (Refusal::Foreign, foreign(|envelope| envelope.incarnation = 7)),
    ];
    for (why, bytes) in wrong {
        let mut raw = attacked.enter().await;
        raw.say(&bytes).await;
        let word = raw.last_word().await;
        assert_eq!(word.code, why.code(), "{word:?}");
        raw.closed().await;
    }
    assert_eq!(attacked.refused(Refusal::Oversized), 2);
    attacked.end().await;
}

#[tokio::test]
async fn a_frame_one_byte_at_a_time_does_not_take_for_ever() {
    let attacked = Attacked::start().await;
    let mut raw = attacked.enter().await;
    let buffered = || attacked.world.transport(1).counters().buffer_bytes;
    let before = buffered();
    // It claims the most that is allowed; memory follows what comes.
    raw.say(&(8u32 << 20).to_le_bytes()).await;
    while attacked.refused(Refusal::Slow) == 0 {
        raw.say(&[1]).await;
        assert!(buffered() <= before + (64 << 10), "{} bytes", buffered());
        sleep(Duration::from_millis(5)).await;
    }
    // Bytes may have met the closed connection, and what it said last is lost then.
    raw.closed().await;
    attacked.end().await;
}

#[tokio::test]
async fn who_stops_within_a_frame_is_told_so() {
    let attacked = Attacked::start().await;
    let mut raw = attacked.enter().await;
    raw.say(&1000u32.to_le_bytes()).await;
    raw.say(&[1; 500]).await;
    assert_eq!(raw.last_word().await.code, Refusal::Slow.code());
    raw.closed().await;
    attacked.end().await;
}

#[tokio::test]
async fn a_connection_that_ends_in_a_frame_leaves_nothing_behind() {
    let attacked = Attacked::start().await;
    for (number, lane) in [MAIN, CHUNKS].into_iter().enumerate() {
        let hello = Hello { lane, ..Hello::new(ABSENT, 1) };
        let (mut raw, _) = Raw::enter(attacked.world.homes[&1].address, hello).await;
        raw.say(&1000u32.to_le_bytes()).await;
        raw.say(&[1; 500]).await;
        drop(raw);
        let counters = || attacked.world.transport(1).counters();
        until("the cut was seen", || counters().cut_frames == number as u64 + 1).await;
    }
    attacked.end().await;
}

/// Two real transports that do not belong together: each side knows why.
#[tokio::test]
async fn both_ends_know_why_a_member_is_refused() {
    lines::keep();
    let attacked = Attacked::start().await;
    let address = attacked.world.homes[&1].address.to_string();
    let stranger = |node, cluster, to: NodeId| {
        let peers = [(to, address.clone())].into();
        TcpOptions { cluster, peers, ..options(node) }
    };
    let cases = [
        (Refusal::Cluster, stranger(2, CLUSTER + 1, 1)),
        (Refusal::Stranger, stranger(77, CLUSTER, 1)),
        (Refusal::Receiver, stranger(2, CLUSTER, 3)),
    ];
    for (why, options) in cases {
        let before = attacked.refused(why);
        let to = *options.peers.keys().next().expect("one");
        let envelope =
            Envelope { cluster: options.cluster, from: options.node, to, ..vote_of_the_absent() };
        let transport = TcpTransport::bind(options).expect("a free port");
        transport.attach(envelope.from, Inbox::new(|_| (), |_, _| ()));
        until("it was told why", || {
            transport.send(envelope.clone());
            transport.counters().refused_by_others.contains_key(&why)
        })
        .await;
        assert!(attacked.refused(why) > before);
        let said = format!("why={:?}", why.name());
        lines::find(&["refused a connection", &said, "text="]);
        lines::find(&["no connection to a member", &said, "it refuses us"]);
        transport.shutdown().await;
    }
    attacked.end().await;
}

/// So many connections that say nothing, a byte at a time, or nonsense, while the cluster goes on.
async fn flood(connections: usize) {
    // None of them is sent away for its silence: the most that may wait is reached however slowly
    // they come.
    let attacked =
        Attacked::start_with(|options| options.handshake_timeout = Duration::from_secs(120)).await;
    let address = attacked.world.homes[&1].address;
    let counters = || attacked.world.transport(1).counters();
    let mut raws: Vec<Raw> = Vec::new();
    let client = attacked.world.client();
    let (mut most_pending, mut most_buffered) = (0, 0);
    let hello = Hello::new(ABSENT, 1).bytes();
    for number in 0..connections {
        let mut raw = Raw::dial(address).await;
        match number % 3 {
            0 => true,
            1 => raw.say(&hello[..1]).await,
            _ => raw.say(b"nonsense").await,
        };
        raws.push(raw);
        if number % 100 == 0 {
            count(&client, "meanwhile", 1).await;
            most_pending = most_pending.max(counters().pending_connections);
            most_buffered = most_buffered.max(counters().buffer_bytes);
        }
    }
    // A byte more for everybody; most are not listened to any more.
    for raw in &mut raws {
        raw.say(&hello[1..2]).await;
    }
    count(&client, "meanwhile", 20).await;
    until("all of them came in", || counters().callers as usize >= connections).await;
    let counters = counters();
    assert!(most_pending <= 256, "{most_pending}");
    assert!(most_buffered <= 1 << 20, "{most_buffered}");
    assert!(counters.callers_evicted > 0, "{counters:?}");
    println!("{connections} connections: {counters:?}");
    attacked.end().await;
}

#[tokio::test]
async fn a_flood_of_connections_disturbs_nobody() {
    flood(2000).await;
}

#[tokio::test]
#[ignore = "ten thousand open files"]
async fn ten_thousand_connections_disturb_nobody() {
    flood(10_000).await;
}
