//! The operations of clients, each with the moments between which it was under way.
//!
//! Moments are totally ordered: by virtual time, then by the order in which they were reported. An
//! operation precedes another one if it returned before the other was invoked; for all other pairs
//! the checker searches both orders.
//!
//! *What it does not do:* it does not check anything, and reads no clock.

/// A number that identifies a client, used in reports only.
pub type ClientId = u64;

/// A moment of the simulation. No two events share one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment {
    /// Virtual time in microseconds.
    pub micros: u64,
    /// The number of the event, unique in its history: orders events of one microsecond.
    pub sequence: u64,
}

/// Issues moments in order.
#[derive(Clone, Debug, Default)]
pub(super) struct Sequence {
    latest_micros: u64,
    next: u64,
}

impl Sequence {
    /// The moment of an event at `now`, in microseconds.
    ///
    /// # Panics
    /// If `now` is before the previous event's time: the order would be lost.
    pub(super) fn moment(&mut self, now: u64) -> Moment {
        assert!(now >= self.latest_micros, "{now} µs comes after {} µs", self.latest_micros);
        self.latest_micros = now;
        self.next += 1;
        Moment { micros: now, sequence: self.next }
    }
}

/// The id of an operation, valid in its history or checker until the operation is resolved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OperationId {
    pub(super) partition: u32,
    pub(super) place: u32,
    pub(super) number: u64,
}

/// The result of an operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate<Outcome> {
    /// Under way. At the end of a history this is the same as unknown.
    Open,
    /// It was executed, once, before `at`.
    Answered {
        /// The outcome that the client received.
        outcome: Outcome,
        /// The time of its return.
        at: Moment,
    },
    /// Unknown: it takes effect once, at any time from its invocation on, or never.
    Unknown,
    /// It was certainly not executed and never will be.
    Failed,
}

/// One operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record<Operation, Outcome> {
    /// The client.
    pub client: ClientId,
    /// The operation.
    pub operation: Operation,
    /// The time of its invocation.
    pub invoked: Moment,
    /// The result.
    pub fate: Fate<Outcome>,
}

impl<Operation, Outcome> Record<Operation, Outcome> {
    /// The outcome that the client received, if any.
    pub fn outcome(&self) -> Option<&Outcome> {
        match &self.fate {
            Fate::Answered { outcome, .. } => Some(outcome),
            _ => None,
        }
    }

    /// Sets the result.
    ///
    /// # Panics
    /// If the operation was resolved before.
    pub(super) fn resolve(&mut self, fate: Fate<Outcome>) {
        let is_open = matches!(self.fate, Fate::Open);
        assert!(is_open, "the operation of client {} at {:?} has ended", self.client, self.invoked);
        self.fate = fate;
    }
}

/// All operations of a run.
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
    /// An empty history.
    pub fn new() -> Self {
        History::default()
    }

    /// `client` invokes an operation at `now` (virtual microseconds, never decreasing).
    pub fn invoke(&mut self, client: ClientId, operation: Operation, now: u64) -> OperationId {
        let invoked = self.sequence.moment(now);
        let number = self.records.len() as u64;
        self.records.push(Record { client, operation, invoked, fate: Fate::Open });
        OperationId { partition: 0, place: 0, number }
    }

    /// The client received the outcome at `now`.
    pub fn complete(&mut self, id: OperationId, outcome: Outcome, now: u64) {
        let at = self.sequence.moment(now);
        self.resolve(id, Fate::Answered { outcome, at });
    }

    /// The operation was certainly not executed and never will be.
    pub fn fail(&mut self, id: OperationId) {
        self.resolve(id, Fate::Failed);
    }

    /// The outcome will never be known. An operation that is never resolved counts as this.
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
