//! The queue of messages to one member over one lane.
//!
//! Bounded by messages, by bytes and by age: a message that has waited too long is dropped, so
//! nothing is delivered minutes late after a member came back. Senders never wait: a message
//! without room is refused.
//!
//! An outbox belongs to one *attachment* of the local member. Messages of an earlier one are
//! dropped.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use crate::raft::{Body, Envelope, RequestId};

/// A queued envelope.
#[derive(Debug)]
struct Mail {
    envelope: Envelope,
    size_bytes: usize,
    since: Instant,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct OutboxLimits {
    pub(crate) messages: usize,
    pub(crate) bytes: usize,
    pub(crate) age: Duration,
}

#[derive(Debug)]
pub(crate) struct Outbox {
    limits: OutboxLimits,
    /// The attachment whose messages are queued.
    attachment: u64,
    mail: VecDeque<Mail>,
    bytes: usize,
}

/// The id of a request; `None` for an answer, whose sender waits for nothing.
pub(crate) fn request_id(envelope: &Envelope) -> Option<RequestId> {
    matches!(envelope.body, Body::Request(_)).then_some(envelope.id)
}

impl Outbox {
    pub(crate) fn new(limits: OutboxLimits) -> Outbox {
        Outbox { limits, attachment: 0, mail: VecDeque::new(), bytes: 0 }
    }

    /// Queues an envelope of at most `size_bytes`, if there is room and it is of the present
    /// attachment; `false` if not.
    #[must_use]
    pub(crate) fn push(
        &mut self,
        attachment: u64,
        envelope: Envelope,
        size_bytes: usize,
        now: Instant,
    ) -> bool {
        let full =
            self.mail.len() >= self.limits.messages || self.bytes + size_bytes > self.limits.bytes;
        if full || attachment != self.attachment {
            return false;
        }
        self.bytes += size_bytes;
        self.mail.push_back(Mail { envelope, size_bytes, since: now });
        true
    }

    /// Removes the oldest envelope, if it is not larger than `size_bytes`.
    pub(crate) fn pop_within(&mut self, size_bytes: usize) -> Option<Envelope> {
        self.mail.front().filter(|mail| mail.size_bytes <= size_bytes)?;
        self.pop()
    }

    /// Removes the envelopes that have waited too long.
    pub(crate) fn expire(&mut self, now: Instant) -> Vec<Envelope> {
        let mut expired = Vec::new();
        while self.mail.front().is_some_and(|mail| now - mail.since >= self.limits.age) {
            expired.extend(self.pop());
        }
        expired
    }

    /// Removes all envelopes.
    pub(crate) fn clear(&mut self) -> Vec<Envelope> {
        self.bytes = 0;
        self.mail.drain(..).map(|mail| mail.envelope).collect()
    }

    /// Changes the attachment that the outbox belongs to.
    pub(crate) fn hand_over(&mut self, attachment: u64) {
        self.clear();
        self.attachment = attachment;
    }

    /// The time at which the oldest envelope will have waited too long.
    pub(crate) fn next_expiry(&self) -> Option<Instant> {
        Some(self.mail.front()?.since + self.limits.age)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.mail.is_empty()
    }

    pub(crate) fn attachment(&self) -> u64 {
        self.attachment
    }

    pub(crate) fn len(&self) -> usize {
        self.mail.len()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    fn pop(&mut self) -> Option<Envelope> {
        let mail = self.mail.pop_front()?;
        self.bytes -= mail.size_bytes;
        Some(mail.envelope)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raft::{LogId, Request};

    fn vote(id: RequestId) -> Envelope {
        let body = Body::Request(Request::Vote { last: LogId::BASE });
        Envelope { cluster: 1, group: 0, from: 1, to: 2, incarnation: 1, term: 1, id, body }
    }

    fn ids(envelopes: Vec<Envelope>) -> Vec<RequestId> {
        envelopes.into_iter().map(|envelope| envelope.id).collect()
    }

    fn outbox(messages: usize, bytes: usize) -> Outbox {
        let limits = OutboxLimits { messages, bytes, age: Duration::from_secs(1) };
        let mut outbox = Outbox::new(limits);
        outbox.hand_over(1);
        outbox
    }

    #[test]
    fn a_full_outbox_refuses_by_messages_and_by_bytes() {
        let now = Instant::now();
        let (mut few, mut small) = (outbox(2, 1000), outbox(9, 100));
        assert!([1, 2].into_iter().all(|id| few.push(1, vote(id), 10, now)));
        assert!(!few.push(1, vote(3), 10, now));
        assert!(small.push(1, vote(1), 60, now));
        assert!(!small.push(1, vote(2), 41, now));
        assert_eq!(small.pop_within(59), None);
        assert_eq!(small.pop_within(60), Some(vote(1)));
        assert!(small.push(1, vote(2), 100, now), "room again");
    }

    #[test]
    fn what_waited_too_long_comes_out_as_expired() {
        let began = Instant::now();
        let mut outbox = outbox(9, 1000);
        for (id, later_ms) in [(1, 0), (2, 600), (3, 900)] {
            let now = began + Duration::from_millis(later_ms);
            assert!(outbox.push(1, vote(id), 10, now));
        }
        assert_eq!(outbox.next_expiry(), Some(began + Duration::from_secs(1)));
        assert_eq!(ids(outbox.expire(began + Duration::from_millis(1600))), [1, 2]);
        assert_eq!((outbox.len(), outbox.bytes()), (1, 10));
    }

    #[test]
    fn an_earlier_attachments_mail_is_neither_kept_nor_taken() {
        let now = Instant::now();
        let mut outbox = outbox(9, 1000);
        assert!(outbox.push(1, vote(1), 10, now));
        outbox.hand_over(2);
        assert!(outbox.is_empty() && outbox.bytes() == 0);
        assert!(!outbox.push(1, vote(2), 10, now));
    }
}
