//! The effect of each fault, in virtual time; no effect without faults; reproducibility by the
//! seed.

use std::future::Future;

use super::*;
use crate::raft::{Answer, Append, Entry, EntryKind, LogId, Request};

type Log<T> = Arc<Mutex<Vec<T>>>;

/// A member that records what it receives, and when (in ms since the test began).
struct Member {
    endpoint: Endpoint,
    received: Log<(u64, RequestId)>,
    undelivered: Log<(NodeId, RequestId)>,
}

impl Member {
    fn attach(network: &InProcessNetwork, node: NodeId) -> Member {
        let endpoint = network.endpoint(node);
        let (received, undelivered) = (Log::default(), Log::default());
        let begin = Instant::now();
        let (to_received, to_undelivered) = (Arc::clone(&received), Arc::clone(&undelivered));
        let inbox = Inbox::new(
            move |envelope: Envelope| {
                assert_eq!(
                    envelope,
                    request(envelope.from, node, envelope.id),
                    "altered on the way"
                );
                to_received.lock().push((begin.elapsed().as_millis() as u64, envelope.id));
            },
            move |to, id| to_undelivered.lock().push((to, id)),
        );
        endpoint.attach(node, inbox);
        Member { endpoint, received, undelivered }
    }

    fn send(&self, to: NodeId, ids: impl IntoIterator<Item = RequestId>) {
        for id in ids {
            self.endpoint.send(request(self.endpoint.node(), to, id));
        }
    }

    fn received_ids(&self) -> Vec<RequestId> {
        self.received.lock().iter().map(|&(_, id)| id).collect()
    }

    fn take_ids(&self) -> Vec<RequestId> {
        std::mem::take(&mut *self.received.lock()).into_iter().map(|(_, id)| id).collect()
    }
}

fn request(from: NodeId, to: NodeId, id: RequestId) -> Envelope {
    let data = Bytes::copy_from_slice(&id.to_le_bytes());
    let entry =
        Entry { log_id: LogId::new(1, id + 1), kind: EntryKind::Command, stamp_ms: 0, data };
    let append = Append {
        prev: LogId::new(1, id),
        entries: vec![entry].into(),
        commit: 0,
        leader_last: 0,
        leader_durable: 0,
        round: 0,
    };
    let body = Body::Request(Request::Append(append));
    Envelope { cluster: 1, group: 0, from, to, incarnation: 1, term: 1, id, body }
}

fn answer(from: NodeId, to: NodeId, id: RequestId) -> Envelope {
    let body =
        Body::Answer { asker_incarnation: 1, answer: Answer::Vote { granted: true, held: None } };
    Envelope { body, ..request(from, to, id) }
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// Runs a test as simulated nodes run: one thread, a LocalSet, paused time.
fn in_virtual_time<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, test)
}

/// Longer than every delay in these tests.
async fn all_delays_over() {
    tokio::time::sleep(Duration::from_secs(10)).await;
}

fn assert_all_accounted_for(network: &InProcessNetwork) {
    let counters = network.counters();
    let NetworkCounters { sent, duplicated, delivered, dropped, undelivered, in_flight, .. } =
        counters;
    assert_eq!(sent + duplicated, delivered + dropped + undelivered + in_flight, "{counters:?}");
}

fn three(options: NetworkOptions) -> (InProcessNetwork, Member, Member, Member) {
    let network = InProcessNetwork::new(options);
    let [a, b, c] = [1, 2, 3].map(|node| Member::attach(&network, node));
    (network, a, b, c)
}

#[test]
fn without_faults_everything_arrives_at_once_and_in_order() {
    // There is no runtime here: nothing may need one.
    for encode in [false, true] {
        let (network, a, b, c) = three(NetworkOptions { encode, ..NetworkOptions::default() });
        a.send(2, 0..100);
        c.send(2, 100..110);
        assert_eq!(b.received_ids(), (0..110).collect::<Vec<_>>());
        assert!(a.received_ids().is_empty());
        let counters = network.counters();
        assert_eq!((counters.sent, counters.delivered), (110, 110));
        let frame_bytes = wire::encode(&request(1, 2, 0)).unwrap().len() as u64;
        assert_eq!(counters.encoded_bytes, if encode { 110 * frame_bytes } else { 0 });
    }
}

#[test]
fn in_process_members_share_the_payload() {
    let network = InProcessNetwork::default();
    let received = Log::<Envelope>::default();
    let to_received = Arc::clone(&received);
    let (a, b) = (network.endpoint(1), network.endpoint(2));
    a.attach(1, Inbox::new(|_| (), |_, _| ()));
    b.attach(2, Inbox::new(move |envelope| to_received.lock().push(envelope), |_, _| ()));
    let sent = request(1, 2, 7);
    a.send(sent.clone());
    let first_entry = |envelope: &Envelope| match &envelope.body {
        Body::Request(Request::Append(append)) => std::ptr::from_ref(&append.entries[0]),
        other => panic!("{other:?}"),
    };
    assert_eq!(first_entry(&sent), first_entry(&received.lock()[0]));
}

#[test]
fn a_link_cut_one_way_still_carries_the_other() {
    let (network, a, b, _) = three(NetworkOptions::default());
    network.cut_one_way(1, 2);
    a.send(2, [1]);
    b.send(1, [2]);
    assert_eq!((a.take_ids(), b.take_ids()), (vec![2], vec![]));
    assert_eq!(*a.undelivered.lock(), [], "a cut is silent");
    network.reconnect(2, 1);
    a.send(2, [3]);
    assert_eq!(b.take_ids(), [3]);
    assert_eq!(network.counters().dropped, 1);
    assert_all_accounted_for(&network);
}

#[test]
fn a_cut_pair_still_reaches_others_until_healed() {
    let (network, a, b, c) = three(NetworkOptions::default());
    network.cut(1, 2);
    a.send(2, [1]);
    b.send(1, [2]);
    a.send(3, [3]);
    b.send(3, [4]);
    assert_eq!((a.take_ids(), b.take_ids(), c.take_ids()), (vec![], vec![], vec![3, 4]));
    network.heal();
    a.send(2, [5]);
    b.send(1, [6]);
    assert_eq!((a.take_ids(), b.take_ids()), (vec![6], vec![5]));
}

#[test]
fn an_isolated_member_reaches_nobody_and_hears_nobody() {
    let (network, a, b, c) = three(NetworkOptions::default());
    network.isolate(1);
    a.send(2, [1]);
    c.send(1, [2]);
    b.send(3, [3]);
    let newcomer = Member::attach(&network, 4);
    newcomer.send(1, [4]);
    assert_eq!((a.take_ids(), b.take_ids(), c.take_ids()), (vec![], vec![], vec![3]));
    network.rejoin(1);
    a.send(4, [5]);
    newcomer.send(1, [6]);
    assert_eq!((newcomer.take_ids(), a.take_ids()), (vec![5], vec![6]));
}

#[test]
fn a_partition_parts_groups_and_nothing_else() {
    let (network, a, b, c) = three(NetworkOptions::default());
    let d = Member::attach(&network, 4);
    network.partition(&[&[1, 2], &[3]]);
    for (member, others) in [(&a, [2, 3, 4]), (&b, [1, 3, 4]), (&c, [1, 2, 4]), (&d, [1, 2, 3])] {
        for to in others {
            member.send(to, [member.endpoint.node()]);
        }
    }
    assert_eq!(a.take_ids(), [2, 4]);
    assert_eq!(b.take_ids(), [1, 4]);
    assert_eq!(c.take_ids(), [4], "4 is in no group");
    assert_eq!(d.take_ids(), [1, 2, 3]);
}

#[test]
fn a_delay_lies_in_its_range_and_reorders() {
    in_virtual_time(async {
        let (network, a, b, _) = three(NetworkOptions { seed: 5, encode: true });
        network.set_faults(LinkFaults::delay(ms(20), ms(50)));
        a.send(2, 0..200);
        assert_eq!(network.counters().in_flight, 200);
        all_delays_over().await;
        let received = b.received.lock().clone();
        assert_eq!(received.len(), 200);
        // Timers have a resolution of one millisecond.
        assert!(received.iter().all(|&(at_ms, _)| (20..=51).contains(&at_ms)), "{received:?}");
        assert!(received.is_sorted_by_key(|&(at_ms, _)| at_ms));
        assert!(
            !received.is_sorted_by_key(|&(_, id)| id),
            "200 random delays left the order alone"
        );
        assert_eq!(network.counters().delayed, 200);
        assert_all_accounted_for(&network);
    });
}

#[test]
fn an_equal_delay_keeps_the_order() {
    in_virtual_time(async {
        let (network, a, b, c) = three(NetworkOptions::default());
        network.set_faults(LinkFaults::delay(ms(5), ms(5)));
        for id in 0..50 {
            a.send(2, [2 * id]);
            c.send(2, [2 * id + 1]);
        }
        all_delays_over().await;
        assert_eq!(*b.received.lock(), (0..100).map(|id| (5, id)).collect::<Vec<_>>());
    });
}

#[test]
fn losses_come_as_often_as_asked_for() {
    let (network, a, b, c) = three(NetworkOptions { seed: 1, encode: false });
    network.set_link_faults(1, 2, LinkFaults::loss(0.3));
    a.send(2, 0..1000);
    c.send(2, 1000..1010);
    let lost = 1010 - b.received_ids().len();
    assert!((250..350).contains(&lost), "{lost} of 1000 at 30 %");
    assert!(
        b.received_ids().ends_with(&(1000..1010).collect::<Vec<_>>()),
        "the other link is sound"
    );
    assert!(b.received_ids().is_sorted(), "what passes is in order");
    assert_eq!(network.counters().dropped, lost as u64);
    assert_eq!(*a.undelivered.lock(), [], "loss is silent");
    network.set_faults(LinkFaults::loss(1.0));
    c.send(2, [5000]);
    assert!(!b.received_ids().contains(&5000));
}

#[test]
fn duplicates_come_twice_each_with_its_own_delay() {
    in_virtual_time(async {
        let (network, a, b, _) = three(NetworkOptions { seed: 2, encode: true });
        let delay = LinkFaults::delay(ms(1), ms(40));
        network.set_faults(LinkFaults { duplicate_probability: 0.5, ..delay });
        a.send(2, 0..400);
        all_delays_over().await;
        let mut arrivals = BTreeMap::<RequestId, Vec<u64>>::new();
        for &(at_ms, id) in b.received.lock().iter() {
            arrivals.entry(id).or_default().push(at_ms);
        }
        assert_eq!(arrivals.len(), 400, "nothing is lost");
        let twice: Vec<_> = arrivals.values().filter(|times| times.len() == 2).collect();
        assert!((150..250).contains(&twice.len()), "{} of 400 at 50 %", twice.len());
        assert!(twice.iter().any(|times| times[0] != times[1]));
        assert_eq!(network.counters().duplicated, twice.len() as u64);
        assert_all_accounted_for(&network);
    });
}

#[test]
fn a_cut_loses_what_is_under_way() {
    in_virtual_time(async {
        let (network, a, b, c) = three(NetworkOptions::default());
        network.set_faults(LinkFaults::delay(ms(10), ms(10)));
        a.send(2, [1]);
        a.send(3, [2]);
        tokio::time::sleep(ms(5)).await;
        network.cut_one_way(1, 2);
        all_delays_over().await;
        assert_eq!((b.received_ids(), c.received_ids()), (vec![], vec![2]));
        assert_eq!(network.counters().dropped, 1);
    });
}

#[test]
fn a_missing_member_is_reported_to_the_asker_alone() {
    in_virtual_time(async {
        let (network, a, b, _) = three(NetworkOptions::default());
        a.send(9, [1]);
        a.endpoint.send(answer(1, 9, 2));
        assert_eq!(*a.undelivered.lock(), [(9, 1)], "at once, for the request only");
        network.set_faults(LinkFaults::delay(ms(10), ms(10)));
        a.send(2, [3]);
        b.endpoint.detach(2);
        assert_eq!(*a.undelivered.lock(), [(9, 1)]);
        all_delays_over().await;
        assert_eq!(*a.undelivered.lock(), [(9, 1), (2, 3)], "gone before the message came");
        assert_eq!(network.counters().undelivered, 3);
        assert_all_accounted_for(&network);
    });
}

/// AC16: an endpoint of a former start neither sends nor receives, nor detaches the present one.
#[test]
fn ac16_a_former_endpoint_is_fenced() {
    let (network, a, b, _) = three(NetworkOptions::default());
    let reborn = Member::attach(&network, 2);
    b.send(1, [1]);
    b.endpoint.detach(2);
    a.send(2, [2]);
    reborn.send(1, [3]);
    assert_eq!(
        (a.received_ids(), b.received_ids(), reborn.received_ids()),
        (vec![3], vec![], vec![2])
    );
    reborn.endpoint.detach(2);
    reborn.send(1, [4]);
    a.send(2, [5]);
    assert_eq!((a.received_ids(), reborn.received_ids()), (vec![3], vec![2]));
    assert_eq!(*a.undelivered.lock(), [(2, 5)]);
    assert_eq!(network.counters().dropped, 2);
}

/// What a member sent before it crashed still arrives: it was in flight.
#[test]
fn what_is_under_way_outlives_its_sender() {
    in_virtual_time(async {
        let network = InProcessNetwork::default();
        network.set_faults(LinkFaults::delay(ms(10), ms(10)));
        let b = Member::attach(&network, 2);
        let node = tokio::task::LocalSet::new();
        let of_node = network.clone();
        node.run_until(async move { Member::attach(&of_node, 1).send(2, [1]) }).await;
        network.endpoint(1).attach(1, Inbox::new(|_| (), |_, _| ()));
        drop(node);
        all_delays_over().await;
        assert_eq!(b.received_ids(), [1]);
    });
}

/// An inbox is called without a lock: it may send, detach, or change the faults.
#[test]
fn an_inbox_may_use_the_network() {
    let network = InProcessNetwork::default();
    let a = Member::attach(&network, 1);
    let b = network.endpoint(2);
    let (of_b, of_network) = (b.clone(), network.clone());
    let bounce = move |envelope: Envelope| {
        of_b.send(request(2, 1, envelope.id));
        of_network.cut_one_way(2, 1);
        of_b.detach(2);
    };
    b.attach(2, Inbox::new(bounce, |_, _| ()));
    a.send(2, [1, 2]);
    assert_eq!(a.received_ids(), [1]);
    assert_eq!(*a.undelivered.lock(), [(2, 2)]);
}

#[test]
fn an_endpoint_is_of_one_member() {
    let network = InProcessNetwork::default();
    let (endpoint, b) = (network.endpoint(1), Member::attach(&network, 2));
    assert_eq!(endpoint.member(), Some(1));
    endpoint.attach(2, Inbox::new(|_| panic!("the mail of member 2"), |_, _| ()));
    Member::attach(&network, 1).send(2, [1]);
    assert_eq!(b.received_ids(), [1]);
}

/// All deliveries on a network with every fault at once.
fn trace(seed: u64, encode: bool) -> Vec<Vec<(u64, RequestId)>> {
    in_virtual_time(async {
        let (network, a, b, c) = three(NetworkOptions { seed, encode });
        let delay = LinkFaults::delay(Duration::ZERO, ms(30));
        network.set_faults(LinkFaults {
            drop_probability: 0.2,
            duplicate_probability: 0.2,
            ..delay
        });
        for round in 0..50 {
            a.send(2, [round]);
            b.send(3, [round]);
            c.send(1, [round]);
            tokio::time::sleep(ms(3)).await;
        }
        all_delays_over().await;
        assert_all_accounted_for(&network);
        [a, b, c].iter().map(|member| member.received.lock().clone()).collect()
    })
}

#[test]
fn the_seed_decides_everything() {
    let first = trace(7, false);
    assert_eq!(first, trace(7, false));
    assert_eq!(first, trace(7, true), "encoding changes bytes, not events");
    assert_ne!(first, trace(8, false));
    assert_ne!(first[0], first[1], "links do not share a stream");
}

/// What happens on one link does not depend on what is sent over others.
#[test]
fn a_link_has_chance_of_its_own() {
    let passed = |others: bool| {
        let (network, a, b, c) = three(NetworkOptions { seed: 3, encode: false });
        network.set_faults(LinkFaults::loss(0.5));
        for id in 0..100 {
            a.send(2, [id]);
            if others {
                c.send(1, [id]);
                a.send(3, [id]);
            }
        }
        b.received_ids()
    };
    assert_eq!(passed(false), passed(true));
}
