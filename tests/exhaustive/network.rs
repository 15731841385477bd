//! Messages under way: any of them may arrive next, and one that never arrives is lost.
//!
//! They have no order, so the explorer's choices cover all reordering. A link holds a few messages:
//! a further one pushes out the oldest, which is then lost. States with the same messages are
//! equal, whatever the order in which these were sent.

use std::hash::{Hash, Hasher};

use quorate::raft::{Envelope, NodeId};

use crate::fingerprint::{Hashed, mix};

/// A message under way.
pub type Message = Hashed<Envelope>;

/// All messages under way, in the order in which they were sent.
#[derive(Clone, Debug, Default)]
pub struct Network(Vec<Message>);

impl Network {
    /// Sends a message on a link that holds `room` messages; returns whether another one was pushed
    /// out.
    pub fn send(&mut self, message: Message, room: usize) -> bool {
        let link = (message.from, message.to);
        let on_link = |known: &Message| (known.from, known.to) == link;
        let full = self.0.iter().filter(|known| on_link(known)).count() >= room;
        if full {
            let oldest = self.0.iter().position(on_link).unwrap_or_default();
            self.0.remove(oldest);
        }
        self.0.push(message);
        full
    }

    pub fn remove(&mut self, message: &Message) {
        if let Some(at) = self.0.iter().position(|known| known.hash == message.hash) {
            self.0.remove(at);
        }
    }

    /// Takes the oldest message between two of `nodes`.
    pub fn take_among(&mut self, nodes: &[NodeId]) -> Option<Message> {
        let within =
            |message: &Message| nodes.contains(&message.from) && nodes.contains(&message.to);
        let at = self.0.iter().position(within)?;
        Some(self.0.remove(at))
    }

    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// Every message once, however many copies there are.
    pub fn distinct(&self) -> impl Iterator<Item = &Message> {
        let earlier = |at: usize, message: &Message| {
            self.0[..at].iter().any(|known| known.hash == message.hash)
        };
        self.0
            .iter()
            .enumerate()
            .filter(move |(at, message)| !earlier(*at, message))
            .map(|(_, m)| m)
    }
}

impl Hash for Network {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let sum = self.0.iter().fold(0u64, |sum, message| sum.wrapping_add(mix(message.hash)));
        (self.0.len(), sum).hash(state);
    }
}

impl PartialEq for Network {
    fn eq(&self, other: &Network) -> bool {
        let hashes = |network: &Network| {
            let mut hashes: Vec<u64> = network.0.iter().map(|message| message.hash).collect();
            hashes.sort_unstable();
            hashes
        };
        hashes(self) == hashes(other)
    }
}
