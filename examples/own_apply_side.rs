//! A service's own actor in place of the default applier: it receives committed entries and offered
//! snapshots, and asks whether to install a snapshot. The contract is on
//! [`quorate::messages::ApplyMessage`]; this example implements all of it.

use actix::{Actor, ActorContext, Context, Handler};
use bytes::Bytes;
use quorate::actors::ApplySide;
use quorate::machine::{Outcome, codec};
use quorate::messages::{
    ApplyLink, ApplyMessage, ApplyWork, BoxedState, CommittedBatch, OfferedSnapshot, StateView,
};
use quorate::node::NodeBuilder;
use quorate::raft::{EntryKind, InstallDecision, LogId, Membership};
use quorate::storage::{Start, memory::MemoryStorage};
use quorate::transport::InProcessNetwork;

type Lines = Vec<String>;

/// Stores the committed lines.
struct Journal {
    link: ApplyLink,
    lines: Lines,
    applied: LogId,
    offered: Option<OfferedSnapshot>,
}

impl Journal {
    fn apply(&mut self, batch: CommittedBatch) {
        let mut replies = batch.replies.into_iter().peekable();
        for entry in &batch.entries {
            // Entries that an installed snapshot covers may have been queued before it.
            let covered = entry.log_id.index <= self.applied.index;
            if !covered {
                self.applied = entry.log_id;
            }
            if !covered && entry.kind == EntryKind::Command {
                self.lines.push(String::from_utf8_lossy(&entry.data).into_owned());
            }
            if let Some((_, reply)) = replies.next_if(|(index, _)| *index == entry.log_id.index) {
                let number = Bytes::from(self.lines.len().to_string());
                reply.answer(if covered { Outcome::Unknown } else { Outcome::Reply(number) });
            }
        }
        self.link.applied(self.applied.index);
        self.link.pull();
    }

    fn switch_to(&mut self, log_id: LogId, state: BoxedState) {
        self.lines = *state.downcast::<Lines>().expect("what `decode` made");
        self.applied = log_id;
    }

    fn decided(&mut self, decision: InstallDecision) {
        if let Some(offer) = self.offered.take()
            && decision.granted
        {
            self.switch_to(decision.log_id, offer.shadow);
            self.link.applied(decision.log_id.index);
        }
        self.link.pull();
    }

    fn take_snapshot(&self) {
        let lines = self.lines.clone();
        let view = StateView::new(self.applied, move |out| codec::encode_to(&lines, out));
        // Await the returned value to know when the snapshot is durable.
        drop(self.link.snapshot(view));
        self.link.pull();
    }
}

impl Actor for Journal {
    type Context = Context<Journal>;

    fn started(&mut self, _: &mut Context<Journal>) {
        if !self.link.restores() {
            self.link.pull();
        }
    }
}

impl Handler<ApplyMessage> for Journal {
    type Result = ();

    fn handle(&mut self, message: ApplyMessage, context: &mut Context<Journal>) {
        match message {
            ApplyMessage::Restored { log_id, state } => {
                self.switch_to(log_id, state);
                self.link.pull();
            }
            ApplyMessage::Work(ApplyWork::Entries(batch)) => self.apply(batch),
            ApplyMessage::Work(ApplyWork::Offer(offer)) => {
                self.link.cond_install(offer.meta.log_id);
                self.offered = Some(offer);
            }
            ApplyMessage::Work(ApplyWork::TakeSnapshot) => self.take_snapshot(),
            ApplyMessage::Decision(decision) => self.decided(decision),
            ApplyMessage::Stop(_) => context.stop(),
            _ => {}
        }
    }
}

#[actix_rt::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let start = |link| {
        let journal = Journal { link, lines: Lines::new(), applied: LogId::BASE, offered: None };
        let decode = Box::new(|input: &mut dyn std::io::Read| {
            codec::decode_from::<Lines>(input).map(BoxedState::new)
        });
        ApplySide { recipient: journal.start().recipient(), decode }
    };
    let node = NodeBuilder::with_apply_side(0, start)
        .storage(MemoryStorage::new())
        .transport(InProcessNetwork::default().endpoint(0))
        .start_mode(Start::Bootstrap(Membership::of_voters([0])))
        .start()
        .await?;
    let handle = node.handle();
    while handle.status().raft.leader.is_none() {
        actix_rt::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    for line in ["first", "second"] {
        if let Outcome::Reply(number) = handle.propose_data(line.into()).await? {
            println!("{line} is line {}", String::from_utf8_lossy(&number));
        }
    }
    println!("a snapshot reaches to {}", handle.snapshot().await?);
    node.shutdown().await;
    Ok(())
}
