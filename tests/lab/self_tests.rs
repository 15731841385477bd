//! The lab itself: does its network keep its rules, does it see what is wrong, is a run a function of its seed?

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use quorate::actors::Observer;
use quorate::machine::NoMachine;
use quorate::node::{Config, Node, NodeBuilder};
use quorate::raft::{
    Answer, AppendAnswer, AppendOutcome, Body, Entry, EntryKind, Envelope, FollowerReport,
    HardState, InstallStatus, LogChange, LogId, Membership, NodeId, Request,
};
use quorate::runtime::Placement;
use quorate::storage::Start;
use quorate::transport::{Inbox, Transport, wire};
use tokio::task::LocalSet;
use tokio::time::{Instant, sleep};

use crate::command::Command;
use crate::dice::Dice;
use crate::disk::Disk;
use crate::invariants::Watch;
use crate::ledger::Ledger;
use crate::network::Network;
use crate::runs::{Scenario, Script, run};
use crate::scenarios::SCENARIOS;
use crate::scenarios::pauses::leaders_lost;
use crate::service::ServiceParts;
use crate::world::{Terms, World, config};

fn in_virtual_time<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    LocalSet::new().block_on(&runtime, future)
}

async fn pass(millis: u64) {
    sleep(Duration::from_millis(millis)).await;
}

// ---- the network ---------------------------------------------------------------------------------

/// Two members made by hand: 0 asks, 1 answers when the test says so.
struct Pair {
    network: Network,
    /// Answers that reached member 0, and requests that it heard to have failed: their ids, and when.
    answered: Arc<Mutex<Vec<(u64, u128)>>>,
    failed: Arc<Mutex<Vec<(u64, u128)>>>,
    /// Requests that reached member 1.
    asked: Arc<Mutex<Vec<(u64, u128)>>>,
}

impl Pair {
    fn new(reliable: bool) -> Pair {
        let network = Network::new(2, reliable, Dice::new(7, 1), Watch::new(2));
        let [answered, failed, asked] = [(); 3].map(|()| Arc::default());
        let pair = Pair { network, answered, failed, asked };
        let (answered, failed) = (note(&pair.answered), note(&pair.failed));
        let inbox = Inbox::new(move |envelope| answered(envelope.id), move |_, id| failed(id));
        pair.network.attach(0, inbox);
        pair.start_member_1();
        [0, 1].into_iter().for_each(|member| pair.network.connect(member));
        pair
    }

    fn start_member_1(&self) {
        let asked = note(&self.asked);
        self.network.attach(1, Inbox::new(move |envelope| asked(envelope.id), |_, _| {}));
    }

    fn ask(&self, id: u64) -> usize {
        let request = Request::PreVote { campaign_term: 1, last: LogId::BASE };
        self.send(0, 1, id, Body::Request(request))
    }

    fn answer(&self, id: u64) -> usize {
        let answer = Answer::PreVote { campaign_term: 1, granted: true };
        self.send(1, 0, id, Body::Answer { asker_incarnation: 1, answer })
    }

    fn send(&self, from: NodeId, to: NodeId, id: u64, body: Body) -> usize {
        let envelope =
            Envelope { cluster: 0, group: 0, from, to, incarnation: 1, term: 0, id, body };
        let bytes = wire::encode(&envelope).unwrap().len();
        self.network.send(envelope);
        bytes
    }
}

fn note(list: &Arc<Mutex<Vec<(u64, u128)>>>) -> impl Fn(u64) + Send + Sync + 'static {
    let (list, began) = (list.clone(), Instant::now());
    move |id| list.lock().push((id, began.elapsed().as_millis()))
}

#[test]
fn a_reliable_link_takes_no_time_and_counts_both_ways() {
    in_virtual_time(async {
        let pair = Pair::new(true);
        let request = pair.ask(1);
        assert_eq!(*pair.asked.lock(), [(1, 0)]);
        assert_eq!(pair.network.traffic().bytes, request as u64);
        let answer = pair.answer(1);
        // An answer to nothing, or a second one, is nothing.
        pair.answer(1);
        pair.answer(2);
        assert_eq!(*pair.answered.lock(), [(1, 0)]);
        let traffic = pair.network.traffic();
        assert_eq!((traffic.rpcs, traffic.bytes), (1, (request + answer) as u64));
        assert_eq!(pair.network.received(), 1);
    });
}

#[test]
fn requests_to_a_dead_or_cut_off_member_count_and_fail_within_seven_seconds() {
    in_virtual_time(async {
        let pair = Pair::new(true);
        pair.network.disconnect(1);
        pair.ask(1);
        pair.network.connect(1);
        pair.network.detach(1);
        pair.ask(2);
        pair.start_member_1();
        assert!(pair.asked.lock().is_empty() && pair.failed.lock().is_empty());
        pass(7_000).await;
        assert!(pair.asked.lock().is_empty());
        let mut failed: Vec<u64> = pair.failed.lock().iter().map(|(id, _)| *id).collect();
        failed.sort();
        assert_eq!(failed, [1, 2]);
        assert_eq!(pair.network.traffic().rpcs, 2);
        assert_eq!(pair.network.received(), 0, "no request has reached the new instance");
    });
}

#[test]
fn a_link_that_is_cut_while_the_handler_runs_is_seen_every_100_ms() {
    in_virtual_time(async {
        let pair = Pair::new(true);
        pair.ask(1);
        pass(120).await;
        pair.network.disconnect(0);
        pass(40).await;
        pair.network.connect(0);
        pass(60).await;
        pair.network.disconnect(0);
        assert!(pair.failed.lock().is_empty(), "it worked again when it was looked at");
        pass(100).await;
        assert_eq!(*pair.failed.lock(), [(1, 300)]);
        pair.answer(1);
        assert!(pair.answered.lock().is_empty());
    });
}

#[test]
fn a_reply_over_a_cut_link_or_of_another_instance_fails() {
    in_virtual_time(async {
        let pair = Pair::new(true);
        pair.ask(1);
        pair.network.disconnect(1);
        let bytes = pair.network.traffic().bytes;
        pair.answer(1);
        assert_eq!(*pair.failed.lock(), [(1, 0)]);
        pair.network.connect(1);
        let request = pair.ask(2);
        pair.network.detach(1);
        pair.start_member_1();
        pair.answer(2);
        assert_eq!(*pair.failed.lock(), [(1, 0), (2, 0)]);
        assert!(pair.answered.lock().is_empty());
        assert_eq!(pair.network.traffic().bytes, bytes + request as u64, "no answer counts");
    });
}

#[test]
fn an_unreliable_link_delays_and_loses_as_much_as_it_should() {
    in_virtual_time(async {
        let pair = Pair::new(false);
        for id in 0..10_000 {
            pair.ask(id);
        }
        pass(27).await;
        let asked = pair.asked.lock().clone();
        assert!((8_800..9_200).contains(&asked.len()), "{} of 10,000 arrived", asked.len());
        assert!(asked.iter().any(|(_, at)| *at == 26) && asked.iter().any(|(_, at)| *at == 0));
        for (id, _) in asked {
            pair.answer(id);
        }
        let answered = pair.answered.lock().len();
        assert!((7_900..8_300).contains(&answered), "{answered} of 10,000 were answered");
        assert_eq!(pair.failed.lock().len() + answered, 10_000);
    });
}

#[test]
fn long_reordering_holds_two_of_three_replies_back() {
    in_virtual_time(async {
        let pair = Pair::new(true);
        pair.network.set_long_reordering();
        for id in 0..3_000 {
            pair.ask(id);
            pair.answer(id);
        }
        let at_once = pair.answered.lock().len();
        assert!((900..1_100).contains(&at_once), "{at_once} of 3,000 came at once");
        pass(199).await;
        assert_eq!(pair.answered.lock().len(), at_once);
        pass(2_000).await;
        assert_eq!(pair.answered.lock().len(), 3_000);
    });
}

// ---- the checks ----------------------------------------------------------------------------------

fn sees(watch: &Watch, what: &str) {
    let breach = watch.first_breach().unwrap_or_else(|| panic!("nothing is seen of: {what}"));
    assert!(breach.contains(what), "{breach} instead of: {what}");
}

/// A node that takes itself for the whole cluster, whatever the watch knows.
async fn loner(node: NodeId, watch: &Watch) -> Node<NoMachine> {
    let watching = watch.clone();
    let ledger = Ledger::new(3, watch.clone());
    let life = ledger.begin(node as usize);
    let watch = watch.clone();
    let parts =
        ServiceParts { peer: node as usize, life, ledger, watch: watch.clone(), snapshots: false };
    NodeBuilder::with_apply_side(node, move |link| parts.start(link))
        .config(config())
        .storage(Disk::new(node as usize, watch.clone()))
        .transport(Network::new(3, true, Dice::new(1, 1), watch))
        .start_mode(Start::Bootstrap(Membership::of_voters([node])))
        .placement(Placement::virtual_time())
        .observer(Observer::new(move |observation| watching.observed(observation)))
        .start()
        .await
        .expect("a node starts")
}

#[test]
fn two_leaders_of_a_term_are_seen() {
    in_virtual_time(async {
        let watch = Watch::new(3);
        let _first = loner(0, &watch).await;
        pass(1_000).await;
        assert_eq!(watch.first_breach(), None);
        let _second = loner(1, &watch).await;
        pass(1_000).await;
        sees(&watch, "two leaders of term 1");
    });
}

#[test]
fn a_commit_without_a_quorum_is_seen() {
    in_virtual_time(async {
        let watch = Watch::new(3);
        let node = loner(0, &watch).await;
        pass(1_000).await;
        assert_eq!(watch.first_breach(), None);
        let mut proposal =
            node.handle().submit_data(Command::Number(1).encode()).expect("a leader");
        proposal.appended().await;
        pass(10).await;
        sees(&watch, "only 1 disks hold the 1 committed entries");
    });
}

fn entry(term: u64, index: u64, data: &'static str) -> Entry {
    let (log_id, data) = (LogId::new(term, index), Bytes::from_static(data.as_bytes()));
    Entry { log_id, kind: EntryKind::Command, stamp_ms: 0, data }
}

fn append(entries: &[Entry]) -> [LogChange; 1] {
    [LogChange { append: entries.to_vec().into(), ..LogChange::default() }]
}

#[test]
fn logs_that_do_not_match_are_seen() {
    in_virtual_time(async {
        let others: [&[Entry]; 2] =
            [&[entry(1, 1, "a"), entry(2, 2, "c")], &[entry(2, 1, "x"), entry(2, 2, "b")]];
        for other in others {
            let watch = Watch::new(2);
            watch.writes(0, &append(&[entry(1, 1, "a"), entry(2, 2, "b")]), Instant::now());
            assert_eq!(watch.first_breach(), None);
            watch.writes(1, &append(other), Instant::now());
            sees(&watch, "peer 1 writes 2@2");
        }
    });
}

#[test]
fn words_that_are_not_durable_are_seen() {
    in_virtual_time(async {
        let says = |watch: &Watch, body| {
            let (cluster, group, incarnation, term, id) = (0, 0, 1, 3, 1);
            watch.sent(&Envelope { cluster, group, from: 0, to: 1, incarnation, term, id, body });
        };
        let answer = |answer| Body::Answer { asker_incarnation: 1, answer };
        let matched = |matched| {
            let report = FollowerReport {
                matched,
                install: InstallStatus::None,
                recovering: false,
                round: 0,
            };
            answer(Answer::Append(AppendAnswer { report, outcome: AppendOutcome::Accepted }))
        };
        let watch = Watch::new(2);
        says(&watch, Body::Request(Request::PreVote { campaign_term: 4, last: LogId::BASE }));
        sees(&watch, "a message of what is not durable");
        for body in [
            Body::Request(Request::Vote { last: LogId::BASE }),
            answer(Answer::Vote { granted: true, held: None }),
            matched(1),
        ] {
            let watch = Watch::new(2);
            let hard_state = Some(HardState { term: 3, vote: None });
            let later = Instant::now() + Duration::from_millis(5);
            watch.writes(0, &[LogChange { hard_state, ..LogChange::default() }], later);
            pass(6).await;
            says(&watch, matched(0));
            says(&watch, answer(Answer::Vote { granted: false, held: None }));
            assert_eq!(watch.first_breach(), None);
            says(&watch, body);
            sees(&watch, "a message of what is not durable");
        }
    });
}

/// A3, A2, A1 and A4, each with the books that break it.
#[test]
fn applies_out_of_order_or_of_different_commands_are_seen() {
    in_virtual_time(async {
        let number = Command::Number;
        let breaks = |what: &str, write: &dyn Fn(&Ledger, u64)| {
            let watch = Watch::new(2);
            let ledger = Ledger::new(2, watch.clone());
            let life = ledger.begin(0);
            ledger.begin(1);
            ledger.apply(1, 1, 1, number(7));
            ledger.apply(0, life, 1, number(7));
            assert_eq!((watch.first_breach(), ledger.committed(1)), (None, (2, Some(number(7)))));
            write(&ledger, life);
            sees(&watch, what);
        };
        breaks("A3", &|ledger, life| ledger.apply(0, life, 1, number(7)));
        breaks("A3", &|ledger, life| ledger.apply(0, life, 3, number(8)));
        breaks("A1", &|ledger, life| {
            ledger.apply(0, life, 2, number(8));
            ledger.apply(1, 1, 2, number(9));
        });
        breaks("A4", &|ledger, life| ledger.take(0, life, 2, 3, &[number(7), number(8)]));
        breaks("A4", &|ledger, life| ledger.take(0, life, 2, 2, &[number(7)]));
        breaks("A1", &|ledger, life| ledger.take(0, life, 1, 1, &[number(8)]));
    });
}

// ---- the world -----------------------------------------------------------------------------------

const THREE: Terms = Terms { peers: 3, reliable: true, snapshots: false, slow: None };

/// Without this no crash would mean anything.
#[test]
fn what_a_crash_finds_unsaved_is_lost() {
    in_virtual_time(async {
        for lets_it_be_saved in [false, true] {
            let world = World::start_all(THREE, 1).await;
            world.one(1, 3, true).await;
            let leader = world.check_one_leader().await;
            world.disconnect(leader);
            let before = world.largest_state_bytes();
            let start = world.start_at(leader, Command::Text("x".repeat(1_000)));
            if lets_it_be_saved {
                assert!(start.await.is_some());
            } else {
                let mut start = std::pin::pin!(start);
                assert!(
                    futures_once(start.as_mut()).await.is_none(),
                    "it takes a few turns to save"
                );
            }
            world.crash(leader).await;
            world.start(leader).await;
            assert_eq!(world.largest_state_bytes() > before + 1_000, lets_it_be_saved);
            world.finish().await;
        }
    });
}

/// Polls a future once.
async fn futures_once<F: Future>(mut future: std::pin::Pin<&mut F>) -> Option<F::Output> {
    std::future::poll_fn(|task| match future.as_mut().poll(task) {
        std::task::Poll::Ready(output) => std::task::Poll::Ready(Some(output)),
        std::task::Poll::Pending => std::task::Poll::Ready(None),
    })
    .await
}

#[test]
fn one_seed_is_one_run() {
    let named = |name: &str| SCENARIOS.iter().find(|scenario| scenario.name == name).expect("one");
    for name in ["unreliable_churn", "snapshot_install_un_crash", "figure8_unreliable"] {
        let run = |seed| run(named(name), seed).expect("a good run");
        let [first, again, other] = [3, 3, 4].map(run);
        assert_eq!(first, again, "{name}: one seed, two runs");
        assert_ne!(first, other, "{name}: two seeds, one run");
    }
}

/// Otherwise the slow scenarios would prove nothing about conditional installs.
#[test]
fn slow_installs_are_granted_and_refused() {
    let slow = SCENARIOS
        .iter()
        .filter(|scenario| scenario.terms.snapshots && scenario.terms.slow.is_some());
    let runs =
        slow.flat_map(|scenario| (1..=10).map(|seed| run(scenario, seed).expect("a good run")));
    let (mut installs, mut refusals) = (0, 0);
    for figures in runs {
        installs += figures.installs;
        refusals += figures.refusals;
    }
    assert!(installs > 100 && refusals > 0, "{installs} granted, {refusals} refused");
}

#[test]
fn a_scenario_that_fails_says_why() {
    let script: Script = |world| {
        Box::pin(async move {
            world.all().for_each(|peer| world.disconnect(peer));
            world.check_one_leader().await;
        })
    };
    let scenario = Scenario { name: "hopeless", terms: THREE, script };
    assert_eq!(run(&scenario, 1), Err("no leader after ten rounds".into()));
}

/// With election timeouts barely longer than a heartbeat, pauses that the scenarios of pauses allow cost leaders their place.
#[test]
fn timeouts_barely_longer_than_a_heartbeat_do_not_survive_pauses() {
    let millis = Duration::from_millis;
    let short =
        Config { election_timeout_min: millis(290), election_timeout_max: millis(390), ..config() };
    for peers in [3, 5] {
        let lost = in_virtual_time(async {
            let terms = Terms { peers, ..THREE };
            let world = World::start_with(short.clone(), terms, 1).await;
            let lost = leaders_lost(&world, 20).await;
            world.finish().await;
            lost
        });
        assert!(lost >= 5, "only {lost} of 60 pauses are seen");
    }
}
