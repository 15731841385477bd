//! What clients did: operations with the moments between which each was under way.
//!
//! Moments are totally ordered: virtual time first, then the order in which they were told. Of two operations, one is
//! before the other if it returned before the other was invoked; in between lies the freedom that a checker searches.
//!
//! *What it does not do:* it does not judge, and reads no clock.

/// Who asked; any number that tells clients apart. For reports only: nothing is derived from it.
pub type ClientId = u64;

/// A moment of the simulation. No two events share one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment {
    /// Virtual time in microseconds.
    pub micros: u64,
    /// The number of the event, unique in its history: what happened first among events of one microsecond.
    pub sequence: u64,
}

/// Gives out moments in order.
#[derive(Clone, Debug, Default)]
pub(super) struct Sequence {
    latest_micros: u64,
    next: u64,
}

impl Sequence {
    /// The moment of an event at `now`, in microseconds.
    ///
    /// # Panics
    /// If `now` is before the previous event's: order would be lost.
    pub(super) fn moment(&mut self, now: u64) -> Moment {
        assert!(now >= self.latest_micros, "{now} µs comes after {} µs", self.latest_micros);
        self.latest_micros = now;
        self.next += 1;
        Moment { micros: now, sequence: self.next }
    }
}

/// An operation's name, valid for the history or checker that gave it, until the operation is resolved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OperationId {
    pub(super) partition: u32,
    pub(super) place: u32,
    pub(super) number: u64,
}

/// What became of an operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate<Outcome> {
    /// Under way. At the end of a history the same as unknown.
    Open,
    /// It was executed, once, before `at`.
    Answered {
        /// What the client was told.
        outcome: Outcome,
        /// When.
        at: Moment,
    },
    /// Nobody knows: it takes effect once, at any time from its invocation on, or never.
    Unknown,
    /// It was certainly not executed and never will be.
    Failed,
}

/// One operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record<Operation, Outcome> {
    /// Who asked.
    pub client: ClientId,
    /// For what.
    pub operation: Operation,
    /// When.
    pub invoked: Moment,
    /// And what became of it.
    pub fate: Fate<Outcome>,
}

impl<Operation, Outcome> Record<Operation, Outcome> {
    /// What the client was told, if it was.
    pub fn outcome(&self) -> Option<&Outcome> {
        match &self.fate {
            Fate::Answered { outcome, .. } => Some(outcome),
            _ => None,
        }
    }

    /// Ends it.
    ///
    /// # Panics
    /// If it has ended before: nobody is answered twice.
    pub(super) fn resolve(&mut self, fate: Fate<Outcome>) {
        let is_open = matches!(self.fate, Fate::Open);
        assert!(is_open, "the operation of client {} at {:?} has ended", self.client, self.invoked);
        self.fate = fate;
    }
}

/// All operations of a run, kept.
#[derive(Clone, Debug)]
pub struct History<Operation, Outcome> {
    records: Vec<Record<Operation, Outcome>>,
    sequence: Sequence,
}

impl<Operation, Outcome> Default for History<Operation, Outcome> {
    fn default() -> Self {
        History { records: Vec::new(), sequence: Sequence::default() }
    }
}

impl<Operation, Outcome> History<Operation, Outcome> {
    /// One in which nothing happened yet.
    pub fn new() -> Self {
        History::default()
    }

    /// `client` asks at `now` (virtual microseconds, never running backwards).
    pub fn invoke(&mut self, client: ClientId, operation: Operation, now: u64) -> OperationId {
        let invoked = self.sequence.moment(now);
        let number = self.records.len() as u64;
        self.records.push(Record { client, operation, invoked, fate: Fate::Open });
        OperationId { partition: 0, place: 0, number }
    }

    /// The client was answered at `now`.
    pub fn complete(&mut self, id: OperationId, outcome: Outcome, now: u64) {
        let at = self.sequence.moment(now);
        self.resolve(id, Fate::Answered { outcome, at });
    }

    /// It was certainly not executed and never will be.
    pub fn fail(&mut self, id: OperationId) {
        self.resolve(id, Fate::Failed);
    }

    /// Nobody will ever be told what became of it. What is never resolved counts as this.
    pub fn abandon(&mut self, id: OperationId) {
        self.resolve(id, Fate::Unknown);
    }

    /// The operations, in order of invocation.
    pub fn records(&self) -> &[Record<Operation, Outcome>] {
        &self.records
    }

    pub(super) fn into_records(self) -> Vec<Record<Operation, Outcome>> {
        self.records
    }

    fn resolve(&mut self, id: OperationId, fate: Fate<Outcome>) {
        self.records[id.number as usize].resolve(fate);
    }
}
