//! Clients: each has one request under way, until it is answered or given up, and records
//! everything in the history.
//!
//! Most clients have a session and let [`Client`] retry. Some talk to members directly, and record
//! only what is certain. During a retry storm, a client does not wait, and retries in its own
//! session.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{sleep, timeout};

use quorate::hooks::decode_reply;
use quorate::machine::{CommandRef, Machine, command};
use quorate::node::{
    Client, ClientError, ClientOptions, Consistency, Members, ProposeError, ReadError,
};
use quorate::raft::{Micros, NodeId};

use super::super::MILLISECOND;
use super::super::linearizability::{Checker, Model, OperationId};
use super::super::random::Dice;
use super::super::request::{Asks, Request, Turn};
use super::watch::Watch;

/// A client that talks to members directly gives up after this many tries.
const TRIES_MAX: u32 = 60;
/// Of this many clients, the last one talks to members directly.
const DIRECT_EVERY: u64 = 5;

pub(super) type Workload<M, L> = Rc<dyn Fn(&mut Dice, Turn) -> Request<M, L>>;

/// All clients and their history.
pub(super) struct Clients<M: Machine, L: Model> {
    pub members: Members<M>,
    pub watch: Watch,
    pub workload: Workload<M, L>,
    pub checker: RefCell<Option<Checker<L>>>,
    /// Whether clients begin no new requests.
    pub closing: Cell<bool>,
    pub nodes: u64,
    /// Sessions, each with the clients that share it.
    pub groups: Vec<Group<M>>,
    /// The probability, in thousandths, that a client without a session opens one and leaves it.
    pub evicts: u64,
    /// The longest time between two requests of one client.
    pub think: Micros,
    /// How long a client waits for a silent member.
    pub patience: Duration,
    pub next: Cell<u64>,
    pub answered: Cell<u64>,
    pub given_up: Cell<u64>,
}

/// The result of a request.
enum Ended<Outcome> {
    Answered(Outcome),
    /// It may have been executed, and may yet be.
    Unknown,
    /// It has certainly not been executed.
    Not,
}

/// One client.
struct Asker<M: Machine> {
    number: u64,
    target: NodeId,
    group: Group<M>,
}

/// The sessions of clients that share them.
pub(super) struct Group<M: Machine> {
    calm: Client<M>,
    stormy: Client<M>,
}

impl<M: Machine> Clone for Group<M> {
    fn clone(&self) -> Group<M> {
        Group { calm: self.calm.clone(), stormy: self.stormy.clone() }
    }
}

impl<M: Machine> Group<M> {
    pub(super) fn new(members: &Members<M>, patience: Duration, seed: u64) -> Group<M> {
        let options = ClientOptions {
            timeout: Duration::from_secs(15),
            attempt_timeout: patience,
            seed,
            ..ClientOptions::default()
        };
        let few = Duration::from_millis(1);
        let hasty = ClientOptions { attempt_timeout: 5 * few, backoff_min: few, ..options };
        Group {
            calm: Client::new(members.clone(), options),
            stormy: Client::new(members.clone(), hasty),
        }
    }
}

impl<M: Machine, L: Model> Clients<M, L>
where
    L::Outcome: Send + 'static,
{
    /// Runs one client.
    pub(super) async fn live(self: Rc<Self>, number: u64, mut dice: Dice) {
        let group = &self.groups[number as usize % self.groups.len()];
        let mut asker = Asker { number, target: dice.below(self.nodes), group: group.clone() };
        loop {
            sleep(Duration::from_micros(dice.between(MILLISECOND, self.think))).await;
            if self.closing.get() {
                return;
            }
            self.ask(&mut asker, &mut dice).await;
        }
    }

    async fn ask(&self, asker: &mut Asker<M>, dice: &mut Dice) {
        let number = self.next.get();
        self.next.set(number + 1);
        let Request { operation, asks } =
            (self.workload)(dice, Turn { client: asker.number, number });
        let invoke =
            |checker: &mut Checker<L>| checker.invoke(asker.number, operation, self.watch.now());
        let Some(id) = self.checker.borrow_mut().as_mut().map(invoke) else { return };
        let is_direct = asker.number % DIRECT_EVERY == DIRECT_EVERY - 1;
        let ended = match asks {
            Asks::Command(command, told) if is_direct => {
                if dice.chance(self.evicts) {
                    self.open_and_leave(asker.target).await;
                }
                self.propose(asker, command).await.map(told)
            }
            Asks::Command(command, told) => self.execute(asker, command).await.map(told),
            Asks::Read(seen) => self.read(asker, seen).await,
        };
        self.written_down(asker.number, id, ended);
    }

    fn written_down(&self, client: u64, id: OperationId, ended: Ended<L::Outcome>) {
        let mut checker = self.checker.borrow_mut();
        let Some(checker) = checker.as_mut() else { return };
        let mut watched = self.watch.lock();
        let now = watched.now();
        let count = |cell: &Cell<u64>| cell.set(cell.get() + 1);
        let kind = match &ended {
            Ended::Answered(_) => 1,
            Ended::Unknown => 2,
            Ended::Not => 3,
        };
        watched.trace.mix([now, client, kind]);
        if watched.invariants.has_given_up() {
            return;
        }
        drop(watched);
        match ended {
            Ended::Answered(outcome) => {
                count(&self.answered);
                checker.complete(id, outcome, now);
            }
            Ended::Unknown => {
                count(&self.given_up);
                checker.abandon(id);
            }
            Ended::Not => {
                count(&self.given_up);
                checker.fail(id);
            }
        }
    }

    fn is_storm(&self) -> bool {
        self.watch.lock().conditions.member(0).storm
    }

    async fn execute(&self, asker: &Asker<M>, command: M::Command) -> Ended<M::Reply> {
        let Group { calm, stormy } = &asker.group;
        let client = if self.is_storm() { stormy } else { calm };
        match client.execute(command).await {
            Ok(reply) => Ended::Answered(reply),
            Err(ClientError::NotExecuted { last } | ClientError::Unknown { last })
                if last == ProposeError::SequenceRefused.to_string() =>
            {
                self.watch.report_breach("a number that is waited for is not freed", last);
                Ended::Unknown
            }
            Err(ClientError::NotExecuted { .. }) => Ended::Not,
            Err(
                error @ (ClientError::Options(_)
                | ClientError::Rejected(_)
                | ClientError::ReplyUnreadable(_)),
            ) => {
                self.watch.report_breach("commands are understood", error.to_string());
                Ended::Unknown
            }
            Err(_) => Ended::Unknown,
        }
    }

    /// Opens a session that stays unused and evicts another one. Any result is ignored.
    async fn open_and_leave(&self, node: NodeId) {
        let Some(handle) = self.members.get(node) else { return };
        let opened = handle.propose_data(CommandRef::OpenSession.encode());
        let _ = timeout(self.patience, opened).await;
    }

    async fn propose(&self, asker: &mut Asker<M>, command: M::Command) -> Ended<M::Reply> {
        let data = match command::encode_raw(&command) {
            Ok(data) => data,
            Err(error) => {
                self.watch.report_breach("commands are understood", error.to_string());
                return Ended::Not;
            }
        };
        for _ in 0..TRIES_MAX {
            let Some(handle) = self.members.get(asker.target) else { return Ended::Not };
            let outcome = handle.propose_data(data.clone()).await;
            match outcome.and_then(decode_reply::<M>) {
                Ok(reply) => return Ended::Answered(reply),
                Err(error) if error.may_have_applied() => return Ended::Unknown,
                Err(ProposeError::NotLeader { leader }) => self.turn_to(asker, leader),
                Err(ProposeError::Busy) => {}
                Err(_) => self.turn_to(asker, None),
            }
            self.pause().await;
        }
        Ended::Not
    }

    async fn read(
        &self,
        asker: &mut Asker<M>,
        seen: impl Fn(&M) -> L::Outcome + Send + Sync + 'static,
    ) -> Ended<L::Outcome> {
        let seen = Arc::new(seen);
        for _ in 0..TRIES_MAX {
            let Some(handle) = self.members.get(asker.target) else { return Ended::Not };
            let (seen, watch) = (seen.clone(), self.watch.clone());
            let mark = watch.lock().invariants.read_arrives(asker.target);
            let read = handle.read(Consistency::Linearizable, move |machine| {
                watch.lock().invariants.read_confirmed(mark);
                seen(machine)
            });
            match timeout(self.patience, read).await {
                Ok(Ok(outcome)) => return Ended::Answered(outcome),
                Ok(Err(ReadError::NotLeader { leader })) => self.turn_to(asker, leader),
                Ok(Err(ReadError::Busy)) => {}
                _ => self.turn_to(asker, None),
            }
            self.pause().await;
        }
        Ended::Not
    }

    fn turn_to(&self, asker: &mut Asker<M>, leader: Option<NodeId>) {
        asker.target = leader.unwrap_or((asker.target + 1) % self.nodes);
    }

    async fn pause(&self) {
        let millis = if self.is_storm() { 1 } else { 40 };
        sleep(Duration::from_millis(millis)).await;
    }
}

impl<Outcome> Ended<Outcome> {
    fn map<Other>(self, change: impl FnOnce(Outcome) -> Other) -> Ended<Other> {
        match self {
            Ended::Answered(outcome) => Ended::Answered(change(outcome)),
            Ended::Unknown => Ended::Unknown,
            Ended::Not => Ended::Not,
        }
    }
}
