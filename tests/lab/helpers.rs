//! The helpers that all scenarios are written with: one leader, one command, waiting for an index.
//!
//! The first question after a `Start` comes in the very moment of it, when no message can have been answered: it finds nothing, so
//! [`World::one`] begins with the wait behind it.

use std::collections::BTreeMap;
use std::time::Duration;

use quorate::raft::Term;
use tokio::time::Instant;

use crate::command::Command;
use crate::world::World;

/// E: the time in which a leader must be there.
pub const ELECTION_MS: u64 = 1_000;

impl World {
    /// Waits for a leader; two in one term are an error.
    pub async fn check_one_leader(&self) -> usize {
        for round in 0..10 {
            let pause = 450 + self.between(0, 99);
            match round {
                0 => self.sleep(pause).await,
                _ => self.wait_more(pause).await,
            }
            if let Some(leader) = self.newest_leader() {
                return leader;
            }
        }
        panic!("no leader after ten rounds");
    }

    fn newest_leader(&self) -> Option<usize> {
        let mut leaders: BTreeMap<Term, usize> = BTreeMap::new();
        for peer in self.connected() {
            if let Some((term, true)) = self.state(peer) {
                let other = leaders.insert(term, peer);
                assert!(other.is_none(), "peers {peer} and {other:?} both lead term {term}");
            }
        }
        leaders.into_values().next_back()
    }

    /// The term of all connected peers.
    pub fn check_terms(&self) -> Term {
        let terms = self.connected().into_iter().filter_map(|peer| self.state(peer));
        let mut terms = terms.map(|(term, _)| term);
        let first = terms.next().expect("a connected peer");
        assert!(terms.all(|term| term == first), "connected peers are in different terms");
        first
    }

    /// No connected peer leads.
    pub fn check_no_leader(&self) {
        for peer in self.connected() {
            let leads = self.state(peer).is_some_and(|(_, leads)| leads);
            assert!(!leads, "peer {peer} leads without a quorum");
        }
    }

    /// Gets `command` committed by at least `need` peers; returns its index.
    pub async fn one(&self, command: impl Into<Command>, need: usize, retry: bool) -> u64 {
        let command = command.into();
        let began = Instant::now();
        let mut starts = 0;
        while began.elapsed() < Duration::from_secs(10) {
            let Some(index) = self.start_somewhere(&mut starts, &command).await else {
                self.wait_more(50).await;
                continue;
            };
            if self.is_committed(index, &command, need).await {
                return index;
            }
            assert!(retry, "{command:?} was not committed by {need} peers");
        }
        panic!("{command:?} was not committed by {need} peers in 10 s");
    }

    /// The first connected peer that takes it, from the one behind the last asked.
    async fn start_somewhere(&self, starts: &mut usize, command: &Command) -> Option<u64> {
        for _ in self.all() {
            *starts = self.after(*starts, 1);
            if !self.is_connected(*starts) {
                continue;
            }
            if let Some(log_id) = self.start_at(*starts, command.clone()).await {
                return Some(log_id.index);
            }
        }
        None
    }

    async fn is_committed(&self, index: u64, command: &Command, need: usize) -> bool {
        let began = Instant::now();
        self.sleep(20).await;
        loop {
            let (count, there) = self.committed(index);
            if count >= need && there.as_ref() == Some(command) {
                return true;
            }
            if began.elapsed() >= Duration::from_secs(2) {
                return false;
            }
            self.wait_more(20).await;
        }
    }

    /// Waits until `need` peers have `index`. `None`: with `term`, some peer has gone on to a later one.
    pub async fn wait(&self, index: u64, need: usize, term: Option<Term>) -> Option<Command> {
        let mut pause = 10;
        for _ in 0..30 {
            if self.committed(index).0 >= need {
                break;
            }
            self.wait_more(pause).await;
            if pause < 1_000 {
                pause *= 2;
            }
            if term.is_some_and(|term| self.is_past(term)) {
                return None;
            }
        }
        let (count, command) = self.committed(index);
        assert!(count >= need, "only {count} of {need} peers have {index}");
        command
    }

    /// Whether a peer has gone on to a term after `term`.
    pub fn is_past(&self, term: Term) -> bool {
        self.all().filter_map(|peer| self.state(peer)).any(|(now, _)| now > term)
    }

    /// Crashes a peer, if it lives, starts it again and connects it.
    pub async fn restart(&self, peer: usize) {
        self.start(peer).await;
        self.connect(peer);
    }
}
