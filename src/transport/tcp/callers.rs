//! The table of inbound connections: pending before the handshake, then one per member and lane.
//!
//! ```text
//! accepted ─▶ pending ──hello──▶ seated (member, lane) ─▶ closed
//!               │ the oldest, if there are too many      │ replaced by a newer one of the
//!               ▼                                        ▼ same member and lane
//!             dropped                                  dropped
//! ```
//! So the number of connections is at most that of pending ones plus two per member, whatever
//! connects.

use std::collections::BTreeMap;

use parking_lot::Mutex;
use tokio::task::AbortHandle;

use crate::raft::{Incarnation, NodeId};

use super::handshake::{Lane, Refusal, Refused};

#[derive(Debug)]
pub(crate) struct Callers {
    max_pending: usize,
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    next: u64,
    /// In order of arrival.
    pending: BTreeMap<u64, AbortHandle>,
    seats: BTreeMap<(NodeId, Lane), Seat>,
}

#[derive(Debug)]
struct Seat {
    caller: u64,
    incarnation: Incarnation,
    task: AbortHandle,
}

impl Table {
    fn take(&mut self, who: impl Fn(NodeId) -> bool) -> Vec<Seat> {
        let (gone, stay) =
            std::mem::take(&mut self.seats).into_iter().partition(|((node, _), _)| who(*node));
        self.seats = stay;
        BTreeMap::into_values(gone).collect()
    }
}

impl Callers {
    pub(crate) fn new(max_pending: usize) -> Callers {
        Callers { max_pending, table: Mutex::default() }
    }

    /// The number of a new connection.
    pub(crate) fn next(&self) -> u64 {
        let mut table = self.table.lock();
        table.next += 1;
        table.next
    }

    /// Adds the task of a new connection. Returns whether an older one was dropped.
    pub(crate) fn add(&self, caller: u64, task: AbortHandle) -> bool {
        let evicted = {
            let mut table = self.table.lock();
            let full = table.pending.len() >= self.max_pending;
            let evicted = if full { table.pending.pop_first() } else { None };
            table.pending.insert(caller, task);
            evicted
        };
        evicted.inspect(|(_, task)| task.abort()).is_some()
    }

    /// Registers the connection as that of this member and lane, unless a later start of the member
    /// has one.
    pub(crate) fn seat(
        &self,
        caller: u64,
        member: (NodeId, Lane),
        incarnation: Incarnation,
    ) -> Result<(), Refused> {
        let before = {
            let mut table = self.table.lock();
            if let Some(seat) = table.seats.get(&member)
                && seat.incarnation > incarnation
            {
                let text = format!(
                    "start {} of member {} is connected, you are its start {incarnation}; does an old process still run?",
                    seat.incarnation, member.0
                );
                return Err(Refused::new(Refusal::Outdated, text));
            }
            // Without a task the connection is being dropped at this moment.
            let Some(task) = table.pending.remove(&caller) else { return Ok(()) };
            table.seats.insert(member, Seat { caller, incarnation, task })
        };
        if let Some(before) = before {
            before.task.abort();
        }
        Ok(())
    }

    /// Ends the connections of the members that `who` selects.
    pub(crate) fn dismiss(&self, who: impl Fn(NodeId) -> bool) {
        let gone: Vec<Seat> = {
            let mut table = self.table.lock();
            table.take(who)
        };
        gone.iter().for_each(|seat| seat.task.abort());
    }

    /// Removes a connection that has ended.
    pub(crate) fn remove(&self, caller: u64) {
        let mut table = self.table.lock();
        table.pending.remove(&caller);
        table.seats.retain(|_, seat| seat.caller != caller);
    }

    /// The numbers of pending connections and of members' connections.
    pub(crate) fn numbers(&self) -> (u64, u64) {
        let table = self.table.lock();
        (table.pending.len() as u64, table.seats.len() as u64)
    }
}
