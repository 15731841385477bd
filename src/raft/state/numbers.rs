//! Numbers that this incarnation uses once each: of requests, reads from storage, tickets of
//! linearizable reads, and transfers.

use crate::raft::ready::ReadTicket;

/// The next number of each kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in crate::raft) struct Numbers {
    request: u64,
    log_read: u64,
    ticket: ReadTicket,
    transfer: u64,
}

impl Numbers {
    pub(in crate::raft) fn new() -> Numbers {
        Numbers { request: 1, log_read: 1, ticket: 1, transfer: 1 }
    }

    /// The place of the next request: the upper part of its id.
    pub(in crate::raft) fn next_request(&self) -> u64 {
        self.request
    }

    pub(in crate::raft) fn take_request(&mut self) -> u64 {
        take(&mut self.request)
    }

    pub(in crate::raft) fn take_log_read(&mut self) -> u64 {
        take(&mut self.log_read)
    }

    pub(in crate::raft) fn take_ticket(&mut self) -> ReadTicket {
        take(&mut self.ticket)
    }

    pub(in crate::raft) fn take_transfer(&mut self) -> u64 {
        take(&mut self.transfer)
    }

    /// No read from storage is under way: their numbers begin anew.
    #[cfg(feature = "testing")]
    pub(in crate::raft) fn forget_log_reads(&mut self) {
        self.log_read = 1;
    }
}

fn take(next: &mut u64) -> u64 {
    let number = *next;
    *next += 1;
    number
}
