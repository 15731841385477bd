//! Members of different builds in one cluster: what a build does not know it neither appends nor skips.

use std::fmt::Debug;

use quorate::machine::{ApplyContext, CommandRef, Machine, Outcome, Replicated, command};
use quorate::node::{
    Client, ClientError, ClientOptions, Config, Consistency, Handle, Node, NodeBuilder,
    ProposeError, gateway,
};
use quorate::raft::{LogId, Membership, NodeId, Role};
use quorate::runtime::Placement;
use quorate::storage::Start;
use quorate::storage::memory::MemoryStorage;
use quorate::transport::{InProcessNetwork, NetworkOptions};
use quorate::web::{NotReady, not_ready};
use serde::{Deserialize, Serialize};

use crate::support::*;

/// A bank, built with the commands and the state given.
macro_rules! build {
    ($name:ident, $command:item, $state:item, $apply:expr) => {
        mod $name {
            use super::*;

            #[derive(Clone, Debug, Serialize, Deserialize)]
            $command

            #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
            $state

            impl Replicated for Bank {
                type Command = Command;
                type Reply = i64;

                fn apply(&mut self, command: Command, _context: &ApplyContext) -> i64 {
                    let apply: fn(&mut Bank, Command) = $apply;
                    apply(self, command);
                    self.total
                }
            }
        }
    };
}

build!(
    old,
    pub enum Command {
        Pay(i64),
    },
    pub struct Bank {
        pub total: i64,
    },
    |bank, Command::Pay(amount)| bank.total += amount
);
build!(
    newer,
    pub enum Command {
        Pay(i64),
        Collect { fee: i64 },
    },
    pub struct Bank {
        pub total: i64,
    },
    |bank, command| match command {
        Command::Pay(amount) => bank.total += amount,
        Command::Collect { fee } => bank.total -= fee,
    }
);
build!(
    renamed,
    pub enum Command {
        Deposit(i64),
    },
    pub struct Bank {
        pub total: i64,
    },
    |bank, Command::Deposit(amount)| bank.total += amount
);
build!(
    larger,
    pub enum Command {
        Pay(i64),
    },
    pub struct Bank {
        pub total: i64,
        pub payments: u64,
    },
    |bank, Command::Pay(amount)| {
        bank.total += amount;
        bank.payments += 1;
    }
);

/// Disks and a network, on which members of any build are started.
struct Site {
    disks: Vec<MemoryStorage>,
    network: InProcessNetwork,
    placement: Placement,
    config: Config,
}

impl Site {
    fn of(size: usize) -> Site {
        Site {
            disks: (0..size).map(|_| MemoryStorage::new()).collect(),
            network: InProcessNetwork::new(NetworkOptions { seed: 5, encode: true }),
            placement: Placement::virtual_time(),
            config: small(),
        }
    }

    async fn start<M: Machine + Default>(&self, node: NodeId) -> Node<M> {
        let members = Membership::of_voters(0..self.disks.len() as NodeId);
        NodeBuilder::new(node, M::default())
            .config(self.config.clone())
            .storage(self.disks[node as usize].clone())
            .transport(self.network.endpoint(node))
            .start_mode(Start::Bootstrap(members))
            .placement(self.placement.clone())
            .start()
            .await
            .unwrap()
    }

    /// Two members of one build, 0 and 1, of which one leads: members that are started later follow.
    async fn start_two<M: Machine + Default>(&self) -> [Node<M>; 2] {
        let two = [self.start(0).await, self.start(1).await];
        until("a leader", || two.iter().any(|node| leads(&node.handle()))).await;
        two
    }
}

fn leads<M: Machine>(handle: &Handle<M>) -> bool {
    let status = handle.status();
    status.running && status.raft.role == Role::Leader && status.raft.commit > 0
}

fn client<M: Machine>(nodes: &[Node<M>]) -> Client<M> {
    Client::new(nodes.iter().map(Node::handle).collect(), ClientOptions::default())
}

async fn state<M: Machine + Clone + Debug>(node: &Node<M>) -> M {
    node.handle().read(Consistency::Local, M::clone).await.expect("a local read")
}

/// Waits for a member to stop by itself, and says why it did.
async fn stops<M: Machine>(node: Node<M>) -> String {
    let handle = node.handle();
    until("it stops", || handle.status().fatal.is_some()).await;
    node.shutdown().await;
    let status = handle.status();
    assert_eq!(status.raft.counters.safety_alarms, 0);
    assert!(!status.running);
    status.fatal.expect("a reason")
}

fn assert_named(said: &str, parts: &[&str]) {
    for part in parts {
        assert!(said.contains(part), "{part:?} is not in {said:?}");
    }
}

#[test]
fn an_older_build_stops_at_a_command_it_does_not_know_and_the_others_go_on() {
    story(async {
        let site = Site::of(3);
        let two = site.start_two::<newer::Bank>().await;
        let behind = site.start::<old::Bank>(2).await;
        let client = client(&two);
        assert_eq!(client.execute(newer::Command::Pay(1000)).await, Ok(1000));
        let applies = || behind.handle().status().raft.applied;
        until("the old one takes part", || applies() == two[0].handle().status().raft.applied)
            .await;
        assert_eq!(state(&behind).await.total, 1000);
        let before = applies();
        assert_eq!(client.execute(newer::Command::Collect { fee: 30 }).await, Ok(970));

        let disk = behind.handle();
        let said = stops(behind).await;
        let place = format!("index {}, term ", before + 1);
        let words = ["unknown variant `Collect`", "old::Command", "start this member with", &place];
        assert_named(&said, &words);
        assert_eq!(disk.status().raft.applied, before, "nothing behind it is applied");

        // Again, and no other way; and not as a panic.
        let again = site.start::<old::Bank>(2).await;
        assert_eq!(stops(again).await, said);
        for paid in 1..=20 {
            assert_eq!(client.execute(newer::Command::Pay(1)).await, Ok(970 + paid));
        }
        let upgraded = site.start::<newer::Bank>(2).await;
        until("it catches up", || {
            upgraded.handle().status().raft.applied == two[0].handle().status().raft.last.index
        })
        .await;
        for node in [&two[0], &two[1], &upgraded] {
            assert_eq!(state(node).await, newer::Bank { total: 990 });
            assert_eq!(node.handle().status().raft.counters.safety_alarms, 0);
        }
        for node in two.into_iter().chain([upgraded]) {
            node.shutdown().await;
        }
    });
}

/// However a command comes: typed commands go the same way, but are always of the build's own type.
#[test]
fn a_leader_appends_no_command_that_its_own_build_cannot_decode() {
    story(async {
        let site = Site::of(1);
        let node = site.start::<old::Bank>(0).await;
        until("it leads", || leads(&node.handle())).await;
        let handle = node.handle();
        let open = handle.propose_data(CommandRef::OpenSession.encode()).await;
        let Ok(Outcome::SessionOpened(session)) = open else { panic!("{open:?}") };
        let last = handle.status().raft.last;
        let foreign = newer::Command::Collect { fee: 1 };
        let raw = command::encode_raw(&foreign).unwrap();
        let of_session = command::encode_session(session, 1, 1, &foreign).unwrap();
        for data in [raw.clone(), of_session, b"\x07".as_slice().into(), Default::default()] {
            let answers = [
                handle.propose_data(data.clone()).await.map(drop),
                handle.submit_data(data.clone()).map(drop),
            ];
            for answer in answers {
                assert!(matches!(&answer, Err(ProposeError::Rejected(_))), "{data:?}: {answer:?}");
            }
        }
        let Err(ProposeError::Rejected(why)) = handle.propose_data(raw.clone()).await else {
            panic!("not refused");
        };
        assert_named(&why, &["unknown variant `Collect`", "old::Bank"]);
        let actor = actix::Actor::start(handle.gateway());
        let answer = actor.send(gateway::ProposeData(raw)).await.unwrap();
        assert!(matches!(answer, Err(ProposeError::Rejected(_))), "{answer:?}");
        assert_eq!(handle.status().raft.last, last, "something was appended");
        assert_eq!(handle.propose(old::Command::Pay(5)).await, Ok(5));
        node.shutdown().await;
    });
}

/// Another member may have the build that it takes.
#[test]
fn a_member_that_does_not_lead_sends_a_command_it_does_not_know_to_the_leader() {
    story(async {
        let site = Site::of(3);
        let two = site.start_two::<newer::Bank>().await;
        let behind = site.start::<old::Bank>(2).await;
        until("it follows", || behind.handle().status().raft.leader.is_some()).await;
        let data = command::encode_raw(&newer::Command::Collect { fee: 1 }).unwrap();
        let answer = behind.handle().propose_data(data.clone()).await;
        assert!(
            matches!(answer, Err(ProposeError::NotLeader { leader: Some(0 | 1) })),
            "{answer:?}"
        );
        behind.shutdown().await;
        for node in two {
            node.shutdown().await;
        }
    });
}

#[test]
fn a_renamed_variant_stops_a_member_and_does_not_turn_its_sum_into_nothing() {
    story(async {
        let site = Site::of(1);
        let node = site.start::<old::Bank>(0).await;
        let payer = client(std::slice::from_ref(&node));
        assert_eq!(payer.execute(old::Command::Pay(1000)).await, Ok(1000));
        node.shutdown().await;

        let other = site.start::<renamed::Bank>(0).await;
        let reader = client(std::slice::from_ref(&other));
        let said = stops(other).await;
        assert_named(&said, &["unknown variant `Pay`, expected `Deposit`", "renamed::Command"]);
        let refused = reader.execute(renamed::Command::Deposit(1)).await;
        assert!(matches!(refused, Err(ClientError::NotExecuted { .. })), "{refused:?}");

        let node = site.start::<old::Bank>(0).await;
        let payer = client(std::slice::from_ref(&node));
        assert_eq!(payer.execute(old::Command::Pay(1)).await, Ok(1001));
        node.shutdown().await;
    });
}

#[test]
fn a_members_own_snapshot_of_another_build_stops_it_with_words_about_builds() {
    story(async {
        let site = Site::of(1);
        let node = site.start::<larger::Bank>(0).await;
        let payer = client(std::slice::from_ref(&node));
        assert_eq!(payer.execute(larger::Command::Pay(7)).await, Ok(7));
        let log_id: LogId = node.handle().snapshot().await.unwrap();
        node.shutdown().await;
        for _ in 0..2 {
            let said = stops(site.start::<old::Bank>(0).await).await;
            let snapshot =
                format!("this member's snapshot {log_id} can't be decoded by this build");
            assert_named(&said, &[&snapshot, "old::Bank", "start this member with"]);
        }
        let node = site.start::<larger::Bank>(0).await;
        until("it leads", || leads(&node.handle())).await;
        assert_eq!(state(&node).await, larger::Bank { total: 7, payments: 1 });
        node.shutdown().await;
    });
}

/// No alarm: nothing is wrong but the build. And no flood of snapshots: ten minutes see seven of them.
#[test]
fn a_member_that_cannot_decode_a_newer_builds_snapshot_says_so_and_is_sent_few() {
    story(async {
        let site = Site::of(3);
        let two = site.start_two::<larger::Bank>().await;
        let payer = client(&two);
        let compacted = || two.iter().all(|node| node.handle().status().raft.log_start.index > 0);
        while !compacted() {
            payer.execute(larger::Command::Pay(1)).await.unwrap();
        }
        let behind = site.start::<old::Bank>(2).await;
        let handle = behind.handle();
        until("it says so", || handle.status().needs_newer_build.is_some()).await;
        let said = handle.status().needs_newer_build.unwrap_or_default();
        assert_named(&said, &["can't be decoded by this build", "old::Bank", "start this member"]);

        let sent = || -> u64 {
            two.iter().map(|node| node.handle().status().raft.counters.snapshots_sent).sum()
        };
        let mut paid = 0;
        for _ in 0..600 {
            pass(std::time::Duration::from_secs(1)).await;
            paid = payer.execute(larger::Command::Pay(1)).await.unwrap();
            let status = handle.status();
            assert_eq!((status.raft.counters.safety_alarms, &status.fatal), (0, &None));
            let reasons = not_ready(&status);
            let installs = reasons.contains(&NotReady::Installing);
            assert!(reasons.contains(&NotReady::NeedsNewerBuild) || installs, "{reasons:?}");
            assert!(status.raft.applied == 0, "{status:?}");
        }
        assert!((2..=7).contains(&sent()), "{} snapshots in ten minutes", sent());
        behind.shutdown().await;

        let upgraded = site.start::<larger::Bank>(2).await;
        let soon = std::time::Duration::from_secs(5);
        let applied = || upgraded.handle().status().raft.applied;
        let goal = two[0].handle().status().raft.last.index;
        until_within("it catches up", soon, || applied() >= goal).await;
        assert_eq!(state(&upgraded).await.total, paid);
        assert_eq!(upgraded.handle().status().needs_newer_build, None);
        assert_eq!(not_ready(&upgraded.handle().status()), []);
        for node in two.into_iter().chain([upgraded]) {
            assert_eq!(node.handle().status().raft.counters.safety_alarms, 0);
            node.shutdown().await;
        }
    });
}
