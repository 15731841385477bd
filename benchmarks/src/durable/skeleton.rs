//! No Raft: what three threads make durable when they do nothing else.
//!
//! ```text
//! clients ──▶ leader: what came meanwhile as one batch ─┬─▶ follower: write, sync ──╮ synced
//!    ▲                        │                         ╰─▶ follower: write, sync ──┤
//!    │                   write, sync                                                │
//!    ╰── answered: synced by the leader and one more ◀──────────────────────────────╯
//! ```
//! A batch is bytes that all three share: for each command a header with its number, its length and a CRC, then its
//! data. A follower that finds several batches writes them all before it syncs once. Files are preallocated with
//! zeros and written round and round.
//!
//! Not here: elections, terms, a log that could be read again, a state machine. Followers never fail.

use std::collections::VecDeque;
use std::io;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use actix_rt::SystemRunner;
use bytes::Bytes;
use tempfile::TempDir;
use tokio::sync::oneshot;

use super::Contestant;
use crate::load::{Load, Turn, client, conduct};
use crate::measure::Outcome;
use crate::place::Place;
use crate::ring::Ring;

/// A batch takes no further command when it has so many bytes.
const BATCH_BYTES: usize = 1 << 20;
/// Beside the leader.
const FOLLOWERS: usize = 2;

/// What the leader is told.
enum Event {
    /// By a client, who waits for the answer.
    Command(Bytes, oneshot::Sender<()>),
    /// By a follower: everything up to this batch.
    Synced(u64),
    /// By the owner: to end.
    Stop,
}

/// A batch and its number.
type Batch = (u64, Arc<Vec<u8>>);

/// Three threads.
pub struct Skeleton {
    runner: Rc<SystemRunner>,
    events: Sender<Event>,
    threads: Vec<JoinHandle<io::Result<()>>>,
    /// Behind the threads: it goes when they have ended.
    _folder: TempDir,
}

impl Skeleton {
    /// With a file of `ring_bytes` for each thread.
    pub fn new(place: &Place, runner: Rc<SystemRunner>, ring_bytes: u64) -> Outcome<Skeleton> {
        let folder = place.folder()?;
        let (events, told) = channel();
        let (mut followers, mut threads) = (Vec::new(), Vec::new());
        for number in 1..=FOLLOWERS {
            let (batches, taken) = channel();
            let ring = ring(folder.path(), number, ring_bytes)?;
            let synced = events.clone();
            threads.push(spawn(number, move || follow(ring, &taken, &synced))?);
            followers.push(batches);
        }
        let ring = ring(folder.path(), 0, ring_bytes)?;
        let leader =
            Leader { ring, followers, batch: 0, commands: 0, synced: 0, waiting: VecDeque::new() };
        threads.push(spawn(0, move || leader.lead(&told))?);
        Ok(Skeleton { runner, events, threads, _folder: folder })
    }
}

fn ring(folder: &Path, number: usize, bytes: u64) -> io::Result<Ring> {
    Ring::new(&folder.join(number.to_string()), bytes)
}

fn spawn(
    number: usize,
    work: impl FnOnce() -> io::Result<()> + Send + 'static,
) -> io::Result<JoinHandle<io::Result<()>>> {
    std::thread::Builder::new().name(format!("skeleton-{number}")).spawn(work)
}

impl Contestant for Skeleton {
    fn name(&self) -> &'static str {
        "skeleton"
    }

    fn turn(&mut self, load: &Load) -> Outcome<Turn> {
        let start = |phase| {
            let (events, payload) = (self.events.clone(), load.payload.clone());
            actix_rt::spawn(client(phase, async move || {
                let (answer, answered) = oneshot::channel();
                events.send(Event::Command(payload.clone(), answer)).map_err(|_| "it has ended")?;
                answered.await.map_err(|_| "it has ended")
            }))
        };
        self.runner.block_on(conduct(load, start))
    }
}

impl Drop for Skeleton {
    fn drop(&mut self) {
        // An ended leader is told nothing; followers end when it has.
        let _ = self.events.send(Event::Stop);
        for thread in self.threads.drain(..) {
            if !matches!(thread.join(), Ok(Ok(()))) {
                eprintln!("a thread of the skeleton failed");
            }
        }
    }
}

fn follow(mut ring: Ring, batches: &Receiver<Batch>, synced: &Sender<Event>) -> io::Result<()> {
    while let Ok((mut last, bytes)) = batches.recv() {
        ring.write(&bytes)?;
        for (number, bytes) in batches.try_iter() {
            ring.write(&bytes)?;
            last = number;
        }
        ring.sync()?;
        if synced.send(Event::Synced(last)).is_err() {
            break;
        }
    }
    Ok(())
}

struct Leader {
    ring: Ring,
    followers: Vec<Sender<Batch>>,
    /// Number of the last batch.
    batch: u64,
    /// Number of the last command.
    commands: u64,
    /// The last batch that a follower has synced.
    synced: u64,
    /// Who waits for which batch, oldest first. The leader itself has synced them all.
    waiting: VecDeque<(u64, Vec<oneshot::Sender<()>>)>,
}

impl Leader {
    fn lead(mut self, events: &Receiver<Event>) -> io::Result<()> {
        let (mut bytes, mut clients) = (Vec::new(), Vec::new());
        while let Ok(first) = events.recv() {
            let mut next = Some(first);
            while let Some(event) = next {
                match event {
                    Event::Stop => return Ok(()),
                    Event::Synced(batch) => self.synced = self.synced.max(batch),
                    Event::Command(data, client) => {
                        self.commands += 1;
                        put_frame(&mut bytes, self.commands, &data);
                        clients.push(client);
                    }
                }
                next = if bytes.len() < BATCH_BYTES { events.try_recv().ok() } else { None };
            }
            self.answer();
            if !clients.is_empty() {
                self.make_durable(std::mem::take(&mut bytes), std::mem::take(&mut clients))?;
            }
        }
        Ok(())
    }

    fn make_durable(
        &mut self,
        bytes: Vec<u8>,
        clients: Vec<oneshot::Sender<()>>,
    ) -> io::Result<()> {
        self.batch += 1;
        let shared = Arc::new(bytes);
        for follower in &self.followers {
            follower.send((self.batch, shared.clone())).map_err(io::Error::other)?;
        }
        self.ring.write(&shared)?;
        self.ring.sync()?;
        self.waiting.push_back((self.batch, clients));
        Ok(())
    }

    fn answer(&mut self) {
        while self.waiting.front().is_some_and(|(batch, _)| *batch <= self.synced) {
            for client in self.waiting.pop_front().into_iter().flat_map(|(_, clients)| clients) {
                // Who has gone needs no answer.
                let _ = client.send(());
            }
        }
    }
}

/// A command as it is written.
fn put_frame(out: &mut Vec<u8>, number: u64, data: &[u8]) {
    let begin = out.len();
    out.extend_from_slice(&number.to_le_bytes());
    out.extend_from_slice(&(data.len() as u32).to_le_bytes());
    let crc = crc32c::crc32c_append(crc32c::crc32c(&out[begin..]), data);
    out.extend_from_slice(&crc.to_le_bytes());
    out.extend_from_slice(data);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_is_answered_once_a_follower_has_synced() {
        let folder = tempfile::tempdir().unwrap();
        let (batches, sent) = channel();
        let (events, told) = channel();
        let ring = ring(folder.path(), 0, 1 << 20).unwrap();
        let followers = vec![batches];
        let leader =
            Leader { ring, followers, batch: 0, commands: 0, synced: 0, waiting: VecDeque::new() };
        let thread = spawn(0, move || leader.lead(&told)).unwrap();
        let (answer, mut answered) = oneshot::channel();
        events.send(Event::Command(Bytes::from_static(b"x"), answer)).unwrap();
        let (number, bytes) = sent.recv().unwrap();
        assert_eq!((number, bytes.len()), (1, 17));
        assert!(answered.try_recv().is_err());
        events.send(Event::Synced(1)).unwrap();
        assert_eq!(answered.blocking_recv(), Ok(()));
        events.send(Event::Stop).unwrap();
        thread.join().unwrap().unwrap();
    }
}
