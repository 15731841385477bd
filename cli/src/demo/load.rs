//! The load: clients that count the words of a text, with one command per word, through the public
//! client.
//!
//! The schedule of faults releases words in portions, so that there is load while faults happen,
//! however fast the machine is.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use quorate::machine::{Increment, WordCount};
use quorate::node::Client;
use tokio::sync::Semaphore;

use super::Failure;
use super::acks::AckLog;
use super::text::Text;

/// The text being counted, and the progress.
pub struct Load {
    text: Text,
    released: Semaphore,
    released_total: AtomicUsize,
    taken: AtomicUsize,
    acknowledged: AtomicU64,
    acks: Option<AckLog>,
}

impl Load {
    /// Initially no words are released.
    pub fn new(text: Text, acks: Option<AckLog>) -> Arc<Load> {
        Arc::new(Load {
            text,
            released: Semaphore::new(0),
            released_total: AtomicUsize::new(0),
            taken: AtomicUsize::new(0),
            acknowledged: AtomicU64::new(0),
            acks,
        })
    }

    /// The text.
    pub fn text(&self) -> &Text {
        &self.text
    }

    /// Number of commands acknowledged so far.
    pub fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Ordering::Relaxed)
    }

    /// Number of words not released yet.
    pub fn left(&self) -> usize {
        self.text.len() - self.released_total.load(Ordering::Relaxed)
    }

    /// Number of words released and not acknowledged yet.
    pub fn under_way(&self) -> u64 {
        self.released_total.load(Ordering::Relaxed) as u64 - self.acknowledged()
    }

    /// Releases up to `words` more words; returns how many were released.
    pub fn release(&self, words: usize) -> usize {
        let words = words.min(self.left());
        self.released_total.fetch_add(words, Ordering::Relaxed);
        self.released.add_permits(words);
        words
    }

    /// Stops releasing: clients end when they have taken all released words.
    pub fn end(&self) {
        if self.taken.load(Ordering::Relaxed) >= self.released_total.load(Ordering::Relaxed) {
            self.released.close();
        }
    }

    async fn take(&self) -> Option<usize> {
        self.released.acquire().await.ok()?.forget();
        let number = self.taken.fetch_add(1, Ordering::Relaxed);
        if number + 1 >= self.text.len() {
            self.released.close();
        }
        Some(number)
    }

    /// Runs one client, which takes and counts words one after the other until there are none.
    pub async fn count(
        self: Arc<Load>,
        number: u64,
        client: Client<WordCount>,
    ) -> Result<(), Failure> {
        let mut sequence = 0;
        while let Some(at) = self.take().await {
            let Some(word) = self.text.word(at) else { continue };
            sequence += 1;
            if let Some(acks) = &self.acks {
                acks.sent(number, sequence, word)?;
            }
            let command = Increment { word: word.to_vec() };
            client
                .execute(command)
                .await
                .map_err(|error| Failure(format!("client {number}: {error}")))?;
            self.acknowledged.fetch_add(1, Ordering::Relaxed);
            if let Some(acks) = &self.acks {
                acks.acknowledged(number, sequence, word)?;
            }
        }
        Ok(())
    }
}
