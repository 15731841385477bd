//! What clients are told: exactly once, never a crossed reply, never a stale read, whatever happens to members and network.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use quorate::machine::{
    ApplyContext, CommandRef, Increment, Outcome, Replicated, SessionConfig, WordCount, command,
};
use quorate::node::{
    Client, ClientError, ClientOptions, Cluster, Config, Consistency, ProposeError, ReadError,
};
use quorate::raft::{NodeId, Role};
use quorate::runtime::Placement;
use quorate::transport::{InProcessNetwork, LinkFaults, NetworkOptions};
use serde::{Deserialize, Serialize};
use tokio::task::{JoinHandle, spawn_local};
use tokio::time::Instant;

use crate::support::*;

/// Remembers who executed what how often, and answers with what it was asked: a crossed reply shows.
#[derive(Clone, Default, Serialize, Deserialize)]
struct Ledger {
    times: BTreeMap<(u64, u64), u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Deed {
    client: u64,
    number: u64,
}

impl Replicated for Ledger {
    type Command = Deed;
    type Reply = (Deed, u64);

    fn apply(&mut self, deed: Deed, _context: &ApplyContext) -> (Deed, u64) {
        let times = self.times.entry((deed.client, deed.number)).or_default();
        *times += 1;
        (deed, *times)
    }
}

async fn ledger(size: u64, config: Config) -> Cluster<Ledger> {
    Cluster::builder(size, Ledger::default)
        .config(config)
        .placement(Placement::virtual_time())
        .network(InProcessNetwork::new(NetworkOptions { seed: 11, encode: true }))
        .start()
        .await
        .unwrap()
}

fn leads(cluster: &Cluster<Ledger>) -> Option<NodeId> {
    let statuses = cluster.ids().into_iter().filter_map(|node| cluster.status(node));
    let leaders = statuses.filter(|s| s.running && s.raft.role == Role::Leader);
    leaders.max_by_key(|status| status.raft.term).map(|status| status.node)
}

/// Does deeds one after the other until told to stop; returns how many.
fn busy(client: Client<Ledger>, id: u64, stop: Rc<Cell<bool>>) -> JoinHandle<u64> {
    spawn_local(async move {
        let mut number = 0;
        while !stop.get() {
            let deed = Deed { client: id, number };
            assert_eq!(client.execute(deed).await, Ok((deed, 1)), "executed once, its own reply");
            number += 1;
        }
        number
    })
}

/// CL01, CL03, CL05, LR02: leaders crash and are cut off while the network loses, repeats and reorders.
#[test]
fn commands_are_executed_exactly_once_through_crashes_and_losses() {
    story(async {
        let cluster = ledger(3, small()).await;
        let stop = Rc::new(Cell::new(false));
        let clients: Vec<Client<Ledger>> = (0..6)
            .map(|seed| cluster.client(ClientOptions { seed, ..ClientOptions::default() }))
            .collect();
        let busy: Vec<_> =
            (0..6).map(|id| busy(clients[id as usize].clone(), id, stop.clone())).collect();
        for round in 0..8 {
            cluster.network().set_faults(LinkFaults {
                drop_probability: 0.1,
                duplicate_probability: 0.2,
                min_delay: Duration::ZERO,
                max_delay: Duration::from_millis(20),
            });
            until("a leader", || leads(&cluster).is_some()).await;
            let leader = leads(&cluster).unwrap();
            let before: u64 = clients.iter().map(|client| client.metrics().replies).sum();
            if round % 2 == 0 {
                cluster.crash_member(leader).await;
            } else {
                cluster.network().isolate(leader);
            }
            until("others go on", || {
                clients.iter().map(|client| client.metrics().replies).sum::<u64>() > before + 60
            })
            .await;
            cluster.start_member(leader).await.unwrap();
            cluster.network().rejoin(leader);
        }
        cluster.network().heal();
        stop.set(true);
        let mut done = BTreeMap::new();
        for (id, worker) in (0u64..).zip(busy) {
            done.insert(id, worker.await.unwrap());
        }
        let retries: u64 = clients.iter().map(|client| client.metrics().retries).sum();
        assert!(retries > 20, "{retries} retries prove nothing");
        assert!(clients.iter().all(|client| client.metrics().sessions == 1));
        until("everybody caught up", || {
            let goal = leads(&cluster).map(|l| cluster.status(l).unwrap().raft.last.index);
            cluster.ids().iter().all(|n| Some(cluster.status(*n).unwrap().raft.applied) == goal)
        })
        .await;
        for node in cluster.ids() {
            let read = |ledger: &Ledger| ledger.times.clone();
            let times = cluster.handle(node).unwrap().read(Consistency::Local, read).await.unwrap();
            assert_eq!(times.len() as u64, done.values().sum::<u64>(), "node {node}");
            assert!(times.values().all(|times| *times == 1), "node {node}");
            let status = cluster.status(node).unwrap();
            assert_eq!(status.raft.counters.safety_alarms, 0);
            assert_eq!(status.proposals_in_flight, 0);
        }
        cluster.shutdown().await;
    });
}

/// CL06, CL11, CL03: many commands at once through clones of one client, beyond its window, through a change of leader.
#[test]
fn a_cloned_client_pipelines() {
    story(async {
        let cluster = ledger(3, small()).await;
        let client = cluster.client(ClientOptions { window: 16, ..ClientOptions::default() });
        cluster
            .network()
            .set_faults(LinkFaults::delay(Duration::from_millis(1), Duration::from_millis(10)));
        let mut workers = Vec::new();
        for number in 0..400 {
            let client = client.clone();
            let deed = Deed { client: number % 7, number };
            workers.push(spawn_local(async move { (deed, client.execute(deed).await) }));
        }
        until("some are done", || client.metrics().replies > 50).await;
        cluster.crash_member(leads(&cluster).unwrap()).await;
        for worker in workers {
            let (deed, reply) = worker.await.unwrap();
            assert_eq!(reply, Ok((deed, 1)));
        }
        assert_eq!((client.metrics().replies, client.metrics().sessions), (400, 1));
        cluster.shutdown().await;
    });
}

/// CL06: a client that gives up on commands half-way does not block those behind them.
#[test]
fn commands_given_up_do_not_hold_the_window() {
    story(async {
        let cluster = ledger(3, small()).await;
        let client = cluster.client(ClientOptions { window: 4, ..ClientOptions::default() });
        for number in 0..100 {
            let deed = Deed { client: 0, number };
            let waits = Duration::from_micros(100 * (number % 5));
            let _ = tokio::time::timeout(waits, client.execute(deed)).await;
        }
        let deed = Deed { client: 1, number: 1 };
        assert_eq!(client.execute(deed).await, Ok((deed, 1)));
        let leader = cluster.handle(leads(&cluster).unwrap()).unwrap();
        let times = leader.read(Consistency::Linearizable, |l: &Ledger| l.times.clone()).await;
        assert!(times.unwrap().values().all(|times| *times == 1));
        cluster.shutdown().await;
    });
}

/// CL07, CL08: a session that was idle for too long is over everywhere at the same entry; its late commands are not
/// executed; its client opens another.
#[test]
fn an_expired_session_executes_nothing() {
    story(async {
        let sessions = SessionConfig {
            session_timeout_ms: 5_000,
            max_time_step_ms: 60_000,
            ..SessionConfig::default()
        };
        let cluster = words(3).config(Config { sessions, ..small() }).start().await.unwrap();
        let leader = leader(&cluster).await;
        let handle = cluster.handle(leader).unwrap();
        let Ok(Outcome::SessionOpened(session)) =
            handle.propose_data(CommandRef::OpenSession.encode()).await
        else {
            panic!("no session");
        };
        let data = |sequence| {
            let increment = Increment { word: "word".into() };
            command::encode_session(session, sequence, 1, &increment).unwrap()
        };
        let reply = handle.propose_data(data(1)).await.unwrap();
        assert!(matches!(reply, Outcome::Reply(_)));
        assert_eq!(handle.propose_data(data(1)).await, Ok(reply), "a retry gets the same reply");
        let idle = client(&cluster);
        count(&idle, "idle", 1).await;
        pass(Duration::from_secs(6)).await;
        assert_eq!(handle.propose_data(data(1)).await, Ok(Outcome::SessionExpired));
        assert_eq!(handle.propose_data(data(2)).await, Ok(Outcome::SessionExpired));
        let unknown = command::encode_session(9_999, 1, 1, &Increment { word: "word".into() });
        assert_eq!(handle.propose_data(unknown.unwrap()).await, Ok(Outcome::SessionExpired));
        count(&idle, "idle", 1).await;
        assert_eq!(idle.metrics().sessions, 2);
        all_caught_up(&cluster).await;
        for node in cluster.ids() {
            assert_eq!(counted(&cluster, node, "word").await, 1);
            assert_eq!(counted(&cluster, node, "idle").await, 2);
            assert_eq!(status(&cluster, node).sessions.sessions_expired, 2, "node {node}");
        }
        cluster.shutdown().await;
    });
}

/// CL08: more sessions than there is room for: the least recently used goes, its client opens another, nothing is executed
/// twice.
#[test]
fn the_least_recently_used_session_makes_room() {
    story(async {
        let sessions = SessionConfig { max_sessions: 3, ..SessionConfig::default() };
        let cluster = words(3).config(Config { sessions, ..small() }).start().await.unwrap();
        let clients: Vec<_> = (0..5).map(|_| client(&cluster)).collect();
        for _ in 0..4 {
            for client in &clients {
                count(client, "word", 1).await;
            }
        }
        all_caught_up(&cluster).await;
        for node in cluster.ids() {
            assert_eq!(counted(&cluster, node, "word").await, 20);
            let sessions = status(&cluster, node).sessions;
            assert_eq!(
                (sessions.sessions_live, sessions.sessions_evicted),
                (3, 17),
                "{sessions:?}"
            );
        }
        cluster.shutdown().await;
    });
}

/// CL02: limits are told at once, and what was refused is not executed.
#[test]
fn beyond_the_limits_the_answer_is_busy() {
    story(async {
        let config = Config { proposals_in_flight: 8, reads_in_flight: 4, ..small() };
        let cluster = words(3).config(config).start().await.unwrap();
        let client = client(&cluster);
        count(&client, "before", 1).await;
        let leader = leader(&cluster).await;
        let handle = cluster.handle(leader).unwrap();
        cluster.network().isolate(leader);
        let (mut proposals, mut refused) = (Vec::new(), 0);
        for _ in 0..20 {
            match handle.submit(Increment { word: "word".into() }) {
                Ok(proposal) => proposals.push(proposal),
                Err(error) => {
                    assert_eq!(error, ProposeError::Busy);
                    refused += 1;
                }
            }
        }
        assert_eq!((proposals.len(), refused), (8, 12));
        assert_eq!(handle.status().proposals_in_flight, 8);
        let reads: Vec<_> = (0..10)
            .map(|_| {
                let handle = handle.clone();
                spawn_local(async move {
                    handle.read(Consistency::Linearizable, |state| state.len()).await
                })
            })
            .collect();
        let mut busy = 0;
        for read in reads {
            match read.await.unwrap() {
                Err(ReadError::Busy) => busy += 1,
                Err(ReadError::NotLeader { .. } | ReadError::TimedOut) => {}
                other => panic!("{other:?} without a quorum"),
            }
        }
        assert_eq!(busy, 6);
        for proposal in proposals {
            assert_eq!(proposal.reply().await, Err(ProposeError::Unknown));
        }
        cluster.network().heal();
        all_caught_up(&cluster).await;
        assert!(counted(&cluster, leader, "word").await <= 8, "what was refused was executed");
        assert_eq!(handle.status().proposals_in_flight, 0);
        cluster.shutdown().await;
    });
}

/// Uncommitted bytes are bounded: a leader without its followers refuses at its limit, and is open again behind it.
#[test]
fn a_leader_bounds_what_is_uncommitted() {
    story(async {
        let config = Config { uncommitted_bytes: 4_000, ..small() };
        let cluster = words(3).config(config).start().await.unwrap();
        let client = client(&cluster);
        count(&client, "before", 1).await;
        let leader = leader(&cluster).await;
        let handle = cluster.handle(leader).unwrap();
        cluster.network().isolate(leader);
        let (mut taken, mut busy) = (Vec::new(), 0);
        for _ in 0..20 {
            let mut proposal = handle.submit(Increment { word: vec![b'x'; 1_000] }).unwrap();
            match proposal.appended().await {
                Some(_) => taken.push(proposal),
                None => {
                    assert_eq!(proposal.reply().await, Err(ProposeError::Busy));
                    busy += 1;
                }
            }
        }
        assert!(busy >= 15 && !taken.is_empty(), "{} taken, {busy} busy", taken.len());
        cluster.network().heal();
        count(&client, "after", 5).await;
        for proposal in taken {
            // Committed by this leader, or by nobody can say whom.
            let reply = proposal.reply().await;
            assert!(matches!(reply, Ok(_) | Err(ProposeError::Unknown)), "{reply:?}");
        }
        let too_large = handle.propose(Increment { word: vec![0; 100_000] }).await;
        assert!(matches!(too_large, Err(ProposeError::Rejected(_))), "{too_large:?}");
        cluster.shutdown().await;
    });
}

/// CL02, CL04: a proposal whose leader can't commit it is `Unknown` when its time is up, and not before.
#[test]
fn a_proposal_without_a_quorum_times_out_as_unknown() {
    story(async {
        let cluster = words(3).start().await.unwrap();
        let client = client(&cluster);
        count(&client, "before", 1).await;
        let leader = leader(&cluster).await;
        cluster.network().isolate(leader);
        let began = Instant::now();
        let handle = cluster.handle(leader).unwrap();
        let reply = handle.propose(Increment { word: "word".into() }).await;
        assert_eq!(reply, Err(ProposeError::Unknown));
        let waited = began.elapsed();
        assert!(waited >= Duration::from_secs(10), "a definite time-out after {waited:?}");
        assert!(waited < Duration::from_secs(11), "{waited:?}");
        // The quorum check made it step down meanwhile, and it knows of nobody who leads.
        let reply = handle.propose(Increment { word: "word".into() }).await;
        assert_eq!(reply, Err(ProposeError::NotLeader { leader: None }));
        cluster.network().heal();
        all_caught_up(&cluster).await;
        assert_eq!(counted(&cluster, leader, "word").await, 0, "truncated by the new leader");
        cluster.shutdown().await;
    });
}

/// CL02: a client that finds nobody says so, and says whether it can have been executed.
#[test]
fn a_client_without_a_cluster_gives_up_truthfully() {
    story(async {
        let cluster = words(3).start().await.unwrap();
        let options = ClientOptions { timeout: Duration::from_secs(5), ..ClientOptions::default() };
        let client = cluster.client(options);
        count(&client, "word", 1).await;
        let leader = leader(&cluster).await;
        for other in cluster.ids().into_iter().filter(|node| *node != leader) {
            cluster.stop_member(other).await;
        }
        let lost = client.execute(Increment { word: "word".into() }).await;
        assert!(matches!(lost, Err(ClientError::Unknown { .. })), "{lost:?}");
        cluster.stop_member(leader).await;
        let began = Instant::now();
        let never = client.execute(Increment { word: "word".into() }).await;
        assert!(matches!(never, Err(ClientError::NotExecuted { .. })), "{never:?}");
        assert!(began.elapsed() < Duration::from_secs(6));
        cluster.shutdown().await;
    });
}

/// RD08: a follower says who leads; nobody is left waiting.
#[test]
fn a_follower_refuses_reads_and_proposals_and_names_the_leader() {
    story(async {
        let cluster = words(3).start().await.unwrap();
        let client = client(&cluster);
        count(&client, "word", 3).await;
        all_caught_up(&cluster).await;
        let leader = leader(&cluster).await;
        for follower in cluster.ids().into_iter().filter(|node| *node != leader) {
            let handle = cluster.handle(follower).unwrap();
            let read = handle.read(Consistency::Linearizable, |state| state.get(b"word")).await;
            assert_eq!(read, Err(ReadError::NotLeader { leader: Some(leader) }));
            let reply = handle.propose(Increment { word: "word".into() }).await;
            assert_eq!(reply, Err(ProposeError::NotLeader { leader: Some(leader) }));
            assert_eq!(counted(&cluster, follower, "word").await, 3);
        }
        cluster.shutdown().await;
    });
}

/// RD01, RD04, RD08: the old leader of a minority never answers a read with what it was; it fails it.
#[test]
fn a_cut_off_leader_serves_no_linearizable_read() {
    story(async {
        let cluster = words(5).start().await.unwrap();
        let client = client(&cluster);
        count(&client, "word", 5).await;
        let old = leader(&cluster).await;
        let others: Vec<NodeId> = cluster.ids().into_iter().filter(|node| *node != old).collect();
        cluster.network().partition(&[&[old], &others]);
        let handle = cluster.handle(old).unwrap();
        let reading = handle.clone();
        let early = spawn_local(async move {
            reading.read(Consistency::Linearizable, |state| state.get(b"word")).await
        });
        count(&client, "word", 1).await;
        assert!(matches!(early.await.unwrap(), Err(ReadError::NotLeader { .. })));
        let late = handle.read(Consistency::Linearizable, |state| state.get(b"word")).await;
        assert!(matches!(late, Err(ReadError::NotLeader { .. })), "{late:?}");
        assert_eq!(counted(&cluster, old, "word").await, 5, "a local read may be old");
        let new = leader(&cluster).await;
        let read = cluster.handle(new).unwrap();
        let read = read.read(Consistency::Linearizable, |state| state.get(b"word")).await;
        assert_eq!(read, Ok(6));
        cluster.network().heal();
        all_caught_up(&cluster).await;
        cluster.shutdown().await;
    });
}

/// RD01, RD07, PS21: a restarted cluster never answers a linearizable read from before it has caught up with itself.
#[test]
fn reads_after_a_restart_see_everything_acknowledged() {
    story(async {
        let cluster = words(3).start().await.unwrap();
        let client = client(&cluster);
        for round in 1..=5 {
            count(&client, "word", 50).await;
            for node in cluster.ids() {
                cluster.crash_member(node).await;
            }
            for node in cluster.ids() {
                cluster.delays(node).unwrap().set_apply(Duration::from_millis(50));
                cluster.start_member(node).await.unwrap();
            }
            // Everybody is asked all the time: whoever answers has it all.
            let mut answers = 0;
            while answers < 3 {
                for node in cluster.ids() {
                    let handle = cluster.handle(node).unwrap();
                    let read = handle.read(Consistency::Linearizable, |s| s.get(b"word")).await;
                    if let Ok(seen) = read {
                        assert_eq!(seen, 50 * round, "an old state answered");
                        answers += 1;
                    }
                }
                pass(Duration::from_millis(3)).await;
            }
            cluster.ids().iter().for_each(|node| {
                cluster.delays(*node).unwrap().set_apply(Duration::ZERO);
            });
        }
        cluster.shutdown().await;
    });
}

/// RD03, RD09: reads race writes through late and repeated messages, cuts and slow members: none goes back behind what was
/// acknowledged when it began.
#[test]
fn linearizable_reads_never_go_back() {
    story(async {
        let cluster: Rc<Cluster<WordCount>> = Rc::new(words(3).start().await.unwrap());
        let writer = client(&cluster);
        count(&writer, "word", 1).await;
        let (acknowledged, stop) = (Rc::new(Cell::new(1)), Rc::new(Cell::new(false)));
        let reads: Vec<_> = cluster
            .ids()
            .into_iter()
            .map(|node| {
                let (cluster, acknowledged, stop) =
                    (cluster.clone(), acknowledged.clone(), stop.clone());
                spawn_local(async move {
                    let mut answered = 0;
                    while !stop.get() {
                        let before: u64 = acknowledged.get();
                        let handle = cluster.handle(node).unwrap();
                        let read = handle
                            .read(Consistency::Linearizable, |state| state.get(b"word"))
                            .await;
                        if let Ok(seen) = read {
                            assert!(seen >= before, "{seen} read, {before} acknowledged");
                            answered += 1;
                        }
                        tokio::time::sleep(Duration::from_millis(2)).await;
                    }
                    answered
                })
            })
            .collect();
        let faults = LinkFaults {
            drop_probability: 0.02,
            duplicate_probability: 0.3,
            min_delay: Duration::ZERO,
            max_delay: Duration::from_millis(150),
        };
        for round in 0..6 {
            cluster.network().set_faults(faults);
            let leader = leader(&cluster).await;
            if round % 2 == 1 {
                cluster.network().cut_one_way((leader + 1) % 3, leader);
            }
            for _ in 0..20 {
                count(&writer, "word", 1).await;
                acknowledged.set(acknowledged.get() + 1);
            }
            cluster.network().heal();
            let leader = self::leader(&cluster).await;
            cluster.network().isolate(leader);
            for _ in 0..10 {
                count(&writer, "word", 1).await;
                acknowledged.set(acknowledged.get() + 1);
            }
            cluster.network().rejoin(leader);
        }
        stop.set(true);
        let mut answered = 0;
        for read in reads {
            answered += read.await.unwrap();
        }
        assert!(answered > 100, "{answered} reads prove nothing");
        assert_eq!(acknowledged.get(), 181);
        assert_healthy(&cluster);
        cluster.shutdown().await;
    });
}

/// RD10: a lone member is its own quorum.
#[test]
fn a_lone_member_serves_itself() {
    story(async {
        let cluster = words(1).start().await.unwrap();
        let client = client(&cluster);
        count(&client, "word", 700).await;
        let handle = cluster.handle(0).unwrap();
        let read = handle.read(Consistency::Linearizable, |state| state.get(b"word")).await;
        assert_eq!(read, Ok(700));
        cluster.crash_member(0).await;
        cluster.start_member(0).await.unwrap();
        count(&client, "word", 1).await;
        assert_eq!(counted(&cluster, 0, "word").await, 701);
        assert_eq!(client.metrics().sessions, 1, "the session is in the snapshot");
        cluster.shutdown().await;
    });
}
