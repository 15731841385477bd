//! A service's own actor where the usual applier stands: it keeps its state itself and asks CondInstallSnapshot itself.
//!
//! What happens between an offer and its decision is in `by_hand.rs`; here a whole cluster lives on such actors.

use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, ActorContext, Context, Handler};
use parking_lot::Mutex;
use quorate::actors::ApplySide;
use quorate::machine::{NoMachine, Outcome};
use quorate::messages::{
    ApplyLink, ApplyMessage, ApplyWork, BoxedState, CommittedBatch, OfferedSnapshot, StateView,
};
use quorate::node::{Config, Handle, Node, NodeBuilder, ProposeError};
use quorate::raft::{Entry, Index, LogId, Membership, NodeId, Role};
use quorate::runtime::Placement;
use quorate::storage::Start;
use quorate::storage::memory::MemoryStorage;
use quorate::transport::{InProcessNetwork, NetworkOptions};

use crate::support::{pass, small, story, until};

/// The state: all that was ever said, in order. Its snapshot is its own format.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Diary {
    lines: Vec<(Index, Vec<u8>)>,
    applied: LogId,
}

impl Diary {
    fn write(&mut self, entry: &Entry) -> bool {
        if entry.log_id.index <= self.applied.index {
            return false;
        }
        assert_eq!(entry.log_id.index, self.applied.index + 1, "entries come in order");
        self.applied = entry.log_id;
        if !entry.data.is_empty() {
            self.lines.push((entry.log_id.index, entry.data.to_vec()));
        }
        true
    }

    fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(&(self.applied.term, self.applied.index, &self.lines)).unwrap()
    }

    fn decode(bytes: &[u8]) -> Diary {
        let (term, index, lines) = serde_json::from_slice(bytes).unwrap();
        Diary { lines, applied: LogId::new(term, index) }
    }
}

/// The actor. Takes a snapshot unasked behind every 40 entries.
struct Keeper {
    link: ApplyLink,
    diary: Arc<Mutex<Diary>>,
    offer: Option<OfferedSnapshot>,
    unasked_behind: Index,
}

impl Actor for Keeper {
    type Context = Context<Keeper>;

    fn started(&mut self, _context: &mut Context<Keeper>) {
        if !self.link.restores() {
            self.link.pull();
        }
    }
}

impl Handler<ApplyMessage> for Keeper {
    type Result = ();

    fn handle(&mut self, message: ApplyMessage, context: &mut Context<Keeper>) {
        match message {
            ApplyMessage::Restored { log_id, state } => {
                self.switch(log_id, state);
                self.link.pull();
            }
            ApplyMessage::Work(ApplyWork::Entries(batch)) => self.apply(batch),
            ApplyMessage::Work(ApplyWork::Offer(offer)) => {
                self.link.cond_install(offer.meta.log_id);
                self.offer = Some(offer);
            }
            ApplyMessage::Work(ApplyWork::TakeSnapshot) => {
                self.hand_out_view();
                self.link.pull();
            }
            ApplyMessage::Decision(decision) => {
                let offer = self.offer.take().expect("one offer at a time");
                assert_eq!(offer.meta.log_id, decision.log_id);
                if decision.granted {
                    self.switch(decision.log_id, offer.shadow);
                    self.link.applied(decision.log_id.index);
                } else {
                    self.link.retire(offer.shadow);
                }
                self.link.pull();
            }
            ApplyMessage::Stop(_) => context.stop(),
            _ => {}
        }
    }
}

impl Keeper {
    fn apply(&mut self, batch: CommittedBatch) {
        let mut diary = self.diary.lock();
        let written: Vec<bool> = batch.entries.iter().map(|entry| diary.write(entry)).collect();
        let (first, applied) = (batch.entries[0].log_id.index, diary.applied.index);
        drop(diary);
        for (index, reply) in batch.replies {
            if written[(index - first) as usize] {
                reply.answer(Outcome::Reply(index.to_le_bytes().to_vec().into()));
            }
        }
        self.link.applied(applied);
        if applied >= self.unasked_behind + 40 {
            self.unasked_behind = applied;
            self.hand_out_view();
        }
        self.link.pull();
    }

    fn hand_out_view(&self) {
        let diary = self.diary.lock().clone();
        self.link.snapshot(StateView::new(diary.applied, move |out| {
            out.write_all(&diary.encode()).map_err(Into::into)
        }));
    }

    fn switch(&mut self, log_id: LogId, state: BoxedState) {
        let Some(new) = state.downcast::<Diary>() else { panic!("not a diary") };
        assert_eq!(new.applied, log_id);
        *self.diary.lock() = *new;
    }
}

struct Member {
    node: Option<Node<NoMachine>>,
    handle: Handle<NoMachine>,
    diary: Arc<Mutex<Diary>>,
    disk: MemoryStorage,
}

async fn start(
    id: NodeId,
    disk: MemoryStorage,
    network: &InProcessNetwork,
    at: &Placement,
) -> Member {
    let diary = Arc::new(Mutex::new(Diary::default()));
    let kept = diary.clone();
    let keeper = move |link| {
        let keeper = Keeper { link, diary: kept, offer: None, unasked_behind: 0 };
        let decode = |input: &mut dyn std::io::Read| {
            let mut bytes = Vec::new();
            input.read_to_end(&mut bytes)?;
            Ok(BoxedState::new(Diary::decode(&bytes)))
        };
        ApplySide { recipient: keeper.start().recipient(), decode: Box::new(decode) }
    };
    let node = NodeBuilder::with_apply_side(id, keeper)
        // Only what the keeper does unasked triggers a snapshot.
        .config(Config { snapshot_bytes: None, trailing_entries: 10, ..small() })
        .storage(disk.clone())
        .transport(network.endpoint(id))
        .start_mode(Start::Bootstrap(Membership::of_voters(0..3)))
        .placement(at.clone())
        .start()
        .await
        .unwrap();
    Member { handle: node.handle(), node: Some(node), diary, disk }
}

fn leader(members: &[Member]) -> Option<usize> {
    members.iter().position(|member| {
        let status = member.handle.status();
        status.running && status.raft.role == Role::Leader
    })
}

/// Says `lines` lines to whoever leads.
async fn say(members: &[Member], lines: u64) {
    for line in 0..lines {
        loop {
            until("somebody leads", || leader(members).is_some()).await;
            let handle = &members[leader(members).unwrap()].handle;
            match handle.propose_data(line.to_be_bytes().to_vec().into()).await {
                Ok(Outcome::Reply(_)) => break,
                Err(ProposeError::NotLeader { .. } | ProposeError::Busy) => {
                    pass(Duration::from_millis(5)).await
                }
                other => panic!("{other:?}"),
            }
        }
    }
}

/// A13, A14, A53 to A57, A72: entries, unasked snapshots, an install by agreement, a start from a snapshot.
#[test]
fn a_services_own_actor_keeps_the_contract() {
    story(async {
        let network = InProcessNetwork::new(NetworkOptions { seed: 2, encode: true });
        let at = Placement::virtual_time();
        let mut members = Vec::new();
        for id in 0..3 {
            members.push(start(id, MemoryStorage::new(), &network, &at).await);
        }
        say(&members, 30).await;
        let behind = (leader(&members).unwrap() + 1) % 3;
        network.isolate(behind as u64);
        say(&members, 300).await;
        let taken = members[leader(&members).unwrap()].handle.status().raft.counters;
        assert!(taken.snapshots_taken >= 5, "{taken:?}");
        network.heal();
        until("installed", || members[behind].handle.status().raft.counters.installs_granted == 1)
            .await;
        say(&members, 20).await;
        let goal = members[leader(&members).unwrap()].handle.status().raft.last.index;
        let caught_up =
            |members: &[Member]| members.iter().all(|m| m.diary.lock().applied.index == goal);
        until("all have all", || caught_up(&members)).await;
        assert_eq!(members[0].diary.lock().lines.len(), 350);
        assert_eq!(*members[0].diary.lock(), *members[1].diary.lock());
        assert_eq!(*members[0].diary.lock(), *members[2].diary.lock());

        // A start from the snapshot: the state comes before any work.
        members[behind].node.take().unwrap().crash().await;
        let disk = members[behind].disk.clone();
        members[behind] = start(behind as u64, disk, &network, &at).await;
        until("all have all again", || members[behind].diary.lock().applied.index >= goal).await;
        assert_eq!(
            members[behind].diary.lock().lines,
            members[(behind + 1) % 3].diary.lock().lines
        );
        for member in &mut members {
            let status = member.handle.status();
            assert_eq!((status.fatal, status.raft.counters.safety_alarms), (None, 0));
            member.node.take().unwrap().shutdown().await;
        }
    });
}
