//! Clients: each has one operation under way, retries it until it is answered or given up, and
//! records it in the history.
//!
//! ```text
//!        think            propose / read_index           reply
//! idle ──────▶ asking ─────────────────────▶ waiting ─────────▶ idle
//!                 ▲   not leader, busy, dead     │ unknown, timeout
//!                 └──────── a little later ◀─────┘
//! ```
//! A write has a session, so it may be retried; a read changes nothing. An operation that a client
//! gives up has an unknown outcome: it may take effect at any later time.

use quorate::raft::{Index, LogId, Micros, NodeId, Refusal};

use super::super::MILLISECOND;
use super::super::linearizability::{Checker, OperationId, Verdict};
use super::machine::{Command, REGISTERS, Reply};
use super::registers::{Asked, Registers, Told};
use super::world::{Happening, WAKING, World};

/// A client gives up after this many tries.
const TRIES_MAX: u32 = 40;

/// What waits for an answer: a client, and the number of its try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Waiter {
    client: usize,
    attempt: u64,
}

/// All clients and their history.
pub(super) struct Clients {
    all: Vec<Client>,
    pub(super) checker: Checker<Registers>,
    /// Whether clients begin no new operations.
    closing: bool,
    next_value: u64,
    /// The number of operations answered.
    pub(super) answered: u64,
    /// The number of operations given up.
    pub(super) given_up: u64,
    /// The longest time between operations.
    think: Micros,
}

impl Default for Clients {
    fn default() -> Clients {
        Clients {
            all: Vec::new(),
            checker: Checker::new(Registers),
            closing: false,
            next_value: 1,
            answered: 0,
            given_up: 0,
            think: 300 * MILLISECOND,
        }
    }
}

impl Clients {
    /// Whether the history could have been seen from one copy. Called once, at the end.
    pub(super) fn verdict(&mut self) -> Verdict<u64> {
        std::mem::replace(&mut self.checker, Checker::new(Registers)).finish()
    }
}

#[derive(Debug)]
struct Client {
    target: NodeId,
    session: Option<u64>,
    sequence: u64,
    doing: Option<Doing>,
    /// Counts the client's steps: an event of an earlier step is late and ignored.
    attempt: u64,
}

/// A client's operation.
#[derive(Clone, Copy, Debug)]
struct Doing {
    what: Asked,
    /// `None` while the client opens a session for it.
    operation: OperationId,
    tries: u32,
    /// Whether a command of it was appended on any member.
    appended: bool,
}

/// The result of a try.
enum Ended {
    Answered(Reply),
    Read(u64),
    /// It may have been executed.
    Unknown,
    /// It has certainly not been executed.
    Not(Option<NodeId>),
}

impl World {
    /// Starts the clients.
    pub(super) fn admit_clients(&mut self, count: usize, think: Micros) {
        self.clients.think = think;
        for client in 0..count {
            let target = self.streams.clients.below(self.nodes.len() as u64);
            self.clients.all.push(Client {
                target,
                session: None,
                sequence: 0,
                doing: None,
                attempt: 0,
            });
            self.wake_later(client, think);
        }
    }

    /// Clients finish their operations, and begin no new ones.
    pub(super) fn close_clients(&mut self) {
        self.clients.closing = true;
    }

    /// Whether no operation is under way.
    pub(super) fn clients_are_idle(&self) -> bool {
        self.clients.all.iter().all(|client| client.doing.is_none())
    }

    fn wake_later(&mut self, client: usize, longest: Micros) {
        let delay = self.streams.clients.between(1, longest.max(1));
        let known = &mut self.clients.all[client];
        known.attempt += 1;
        self.agenda.plan(self.now + delay, Happening::Client(client, known.attempt));
    }

    /// A client continues, with a new operation or with another try.
    pub(super) fn client_wakes(&mut self, client: usize, attempt: u64) {
        if self.clients.all[client].attempt != attempt {
            return;
        }
        if self.clients.all[client].doing.is_none() {
            if self.clients.closing {
                return;
            }
            self.begin_operation(client);
        }
        self.try_once(client);
    }

    fn begin_operation(&mut self, client: usize) {
        let dice = &mut self.streams.clients;
        let register = dice.below(REGISTERS);
        let what = match dice.below(10) {
            0..=3 => Asked::Read { register },
            kind => {
                let value = self.clients.next_value;
                self.clients.next_value += 1;
                if kind < 8 {
                    Asked::Put { register, value }
                } else {
                    Asked::Swap { register, value }
                }
            }
        };
        let operation = self.clients.checker.invoke(client as u64, what, self.now);
        let known = &mut self.clients.all[client];
        if !matches!(what, Asked::Read { .. }) {
            known.sequence += 1;
        }
        known.doing = Some(Doing { what, operation, tries: 0, appended: false });
    }

    fn try_once(&mut self, client: usize) {
        let known = &mut self.clients.all[client];
        known.attempt += 1;
        let waiter = Waiter { client, attempt: known.attempt };
        let (target, session, sequence) = (known.target, known.session, known.sequence);
        let Some(doing) = &mut known.doing else { return };
        let paused_until = self.conditions.member(target).paused_until;
        if paused_until > self.now && self.streams.clients.chance(500) {
            // The request waits, and is handled among other inputs that have arrived meanwhile:
            // perhaps before any timeout is noticed.
            let at = paused_until + self.streams.clients.between(0, WAKING);
            return self.agenda.plan(at, Happening::Client(client, waiter.attempt));
        }
        doing.tries += 1;
        if doing.tries > TRIES_MAX {
            return self.give_up(client);
        }
        let what = doing.what;
        let storm = self.conditions.member(target).storm;
        let patience = if storm { 5 * MILLISECOND } else { 1_500 * MILLISECOND };
        self.agenda.plan(self.now + patience, Happening::Client(client, waiter.attempt));
        let is_up = self.conditions.member(target).paused_until <= self.now;
        let taken = match what {
            _ if !is_up || !self.lives(target) => Err(Refusal::NotLeader(None)),
            Asked::Read { .. } => self.ask_read(target, waiter),
            what => self.ask_write(target, waiter, what, session, sequence),
        };
        if let Err(refusal) = taken {
            let hint = match refusal {
                Refusal::NotLeader(hint) => Ended::Not(hint),
                Refusal::Busy => Ended::Not(Some(target)),
            };
            self.end_try(waiter, hint);
        }
    }

    fn ask_read(&mut self, target: NodeId, waiter: Waiter) -> Result<(), Refusal> {
        // The answer may come in the same turn.
        let now = self.nodes[target as usize].clock.at(self.now);
        let node = &mut self.nodes[target as usize];
        let Some(raft) = &mut node.raft else { return Err(Refusal::NotLeader(None)) };
        let ticket = raft.read_index(now)?;
        let mark = self.invariants.read_arrives(target);
        node.asked.insert(ticket, (waiter, mark));
        self.end_turn(target);
        Ok(())
    }

    fn ask_write(
        &mut self,
        target: NodeId,
        waiter: Waiter,
        what: Asked,
        session: Option<u64>,
        sequence: u64,
    ) -> Result<(), Refusal> {
        let command = match (what, session) {
            (Asked::Put { register, value } | Asked::Swap { register, value }, Some(session)) => {
                Command::Swap { session, sequence, register, value }
            }
            _ => Command::Open,
        };
        let node = &mut self.nodes[target as usize];
        let now = node.clock.at(self.now);
        let Some(raft) = &mut node.raft else { return Err(Refusal::NotLeader(None)) };
        let log_id = raft.propose(now, now / MILLISECOND, command.encode())?;
        node.waiters.insert(log_id, waiter);
        if let (Command::Swap { .. }, Some(doing)) =
            (command, &mut self.clients.all[waiter.client].doing)
        {
            doing.appended = true;
        }
        self.end_turn(target);
        Ok(())
    }

    // ---- answers -------------------------------------------------------------------------

    /// The entry with this log id was applied here, with this reply.
    pub(super) fn answer_waiter(&mut self, id: NodeId, log_id: LogId, reply: Option<Reply>) {
        let waiters = &self.nodes[id as usize].waiters;
        if waiters.is_empty() {
            return;
        }
        let due: Vec<LogId> =
            waiters.keys().copied().filter(|asked| asked.index <= log_id.index).collect();
        for asked in due {
            let ended = match reply {
                Some(reply) if asked == log_id => Ended::Answered(reply),
                // Another entry is committed at this index: the command is not in the committed
                // log.
                _ if asked.index == log_id.index => Ended::Not(None),
                _ => Ended::Unknown,
            };
            if let Some(waiter) = self.nodes[id as usize].waiters.remove(&asked) {
                self.end_try(waiter, ended);
            }
        }
    }

    /// The outcomes of these proposals can't be known here any more.
    pub(super) fn unknown_waiters(&mut self, id: NodeId, which: impl Fn(LogId) -> bool) {
        let waiters = &mut self.nodes[id as usize].waiters;
        let gone: Vec<LogId> = waiters.keys().copied().filter(|log_id| which(*log_id)).collect();
        for log_id in gone {
            if let Some(waiter) = self.nodes[id as usize].waiters.remove(&log_id) {
                self.end_try(waiter, Ended::Unknown);
            }
        }
    }

    /// The node is dead.
    pub(super) fn forget_waiters(&mut self, id: NodeId) {
        self.unknown_waiters(id, |_| true);
        let node = self.node(id);
        let reads = std::mem::take(&mut node.asked).into_values().map(|(waiter, _)| waiter);
        let confirmed = std::mem::take(&mut node.confirmed).into_iter().map(|(_, waiter)| waiter);
        for waiter in reads.chain(confirmed).collect::<Vec<_>>() {
            self.end_try(waiter, Ended::Unknown);
        }
    }

    pub(super) fn read_confirmed(&mut self, id: NodeId, ticket: u64, index: Index) {
        let node = &mut self.nodes[id as usize];
        let Some((waiter, mark)) = node.asked.remove(&ticket) else { return };
        self.invariants.read_confirmed(mark);
        node.confirmed.push((index, waiter));
        let applied = node.machine.applied.index;
        self.answer_reads(id, applied);
    }

    pub(super) fn read_failed(&mut self, id: NodeId, ticket: u64) {
        if let Some((waiter, _)) = self.node(id).asked.remove(&ticket) {
            self.end_try(waiter, Ended::Unknown);
        }
    }

    /// Answers reads that waited for an index up to `applied` (RD07).
    pub(super) fn answer_reads(&mut self, id: NodeId, applied: Index) {
        let node = self.node(id);
        if node.confirmed.is_empty() {
            return;
        }
        let due: Vec<Waiter> = node
            .confirmed
            .extract_if(.., |(index, _)| *index <= applied)
            .map(|(_, waiter)| waiter)
            .collect();
        for waiter in due {
            let doing = self.clients.all[waiter.client].doing;
            if let Some(Doing { what: Asked::Read { register }, .. }) = doing {
                let value = self.nodes[id as usize].machine.register(register);
                self.end_try(waiter, Ended::Read(value));
            }
        }
    }

    fn end_try(&mut self, waiter: Waiter, ended: Ended) {
        let size = self.nodes.len() as u64;
        let known = &mut self.clients.all[waiter.client];
        if known.attempt != waiter.attempt {
            return;
        }
        let Some(doing) = known.doing else { return };
        match ended {
            Ended::Answered(Reply::Opened(session)) => {
                (known.session, known.sequence) = (Some(session), 1);
                self.wake_later(waiter.client, 1);
            }
            Ended::Answered(Reply::Expired) => self.expired(waiter.client, doing),
            Ended::Answered(Reply::Previous(previous)) => {
                let told = match doing.what {
                    Asked::Put { .. } => Told::Done,
                    _ => Told::Value(previous),
                };
                self.told(waiter.client, doing, told);
            }
            Ended::Read(value) => self.told(waiter.client, doing, Told::Value(value)),
            Ended::Unknown => self.wake_later(waiter.client, 50 * MILLISECOND),
            Ended::Not(hint) => {
                known.target = hint.unwrap_or((known.target + 1) % size);
                self.wake_later(waiter.client, 60 * MILLISECOND);
            }
        }
    }

    fn told(&mut self, client: usize, doing: Doing, told: Told) {
        self.clients.checker.complete(doing.operation, told, self.now);
        self.clients.answered += 1;
        self.trace.mix([self.now, client as u64, doing.tries.into()]);
        self.end_operation(client);
    }

    /// The session has expired. Whether an earlier try was executed before is unknown.
    fn expired(&mut self, client: usize, doing: Doing) {
        self.clients.all[client].session = None;
        if doing.tries > 1 {
            self.clients.checker.abandon(doing.operation);
            self.clients.given_up += 1;
            return self.end_operation(client);
        }
        // It was never tried before: try again, in a new session.
        self.wake_later(client, 1);
    }

    fn give_up(&mut self, client: usize) {
        let known = &mut self.clients.all[client];
        known.session = None;
        let Some(doing) = known.doing else { return };
        if doing.appended {
            self.clients.checker.abandon(doing.operation);
        } else {
            self.clients.checker.fail(doing.operation);
        }
        self.clients.given_up += 1;
        self.end_operation(client);
    }

    fn end_operation(&mut self, client: usize) {
        self.clients.all[client].doing = None;
        let think = self.clients.think;
        self.wake_later(client, think);
    }
}
