//! Commands at a fixed pace, whatever becomes of them, and what the machine did to timers and memory meanwhile.
//!
//! ```text
//! due      |    |    |    |    |    |    |      every so many microseconds
//! sent     |    |    |             ||||  |      late if the sender was
//! answered  |    |    |              ||||  |
//!          └ a latency reaches from due to answered: a stall is seen by every command that was due in it
//! ```
//! The probe is a thread that sleeps a millisecond at a time. How late it wakes is what processors that are busy do to
//! everybody, so no latency below that says anything of ours.
//!
//! Not here: what is sent. Who starts the pace says so.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::Duration;

use quorate::machine::{KeyValue, KeyValueCommand};
use quorate::node::{Handle, Proposal};
use tokio::runtime::Builder;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::measure::{Outcome, Stopwatch};
use crate::system;

/// The probe sleeps so long.
const NAP: Duration = Duration::from_millis(1);
/// It asks for the memory once in so many naps.
const MEMORY_NAPS: u64 = 5;
/// So many samples are kept together. In one list they would be copied each time it grows, for up to half a second, and
/// whoever is answered meanwhile would seem to have waited that long.
const PIECE: usize = 4096;

/// A command that was answered.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// When it was to be sent.
    pub due: Duration,
    /// From then to its answer.
    pub took: Duration,
}

/// A command under way, and when it was due.
type UnderWay = (Duration, Proposal<KeyValue>);

/// Commands that are being sent.
pub struct Pace {
    stop: Arc<AtomicBool>,
    sender: JoinHandle<u64>,
    collector: JoinHandle<(Vec<Sample>, u64)>,
}

impl Pace {
    /// Sends what `make` makes to `leader`, so many a second by `clock`.
    pub fn start(
        clock: Stopwatch,
        rate: f64,
        leader: Handle<KeyValue>,
        make: impl FnMut() -> KeyValueCommand + Send + 'static,
    ) -> io::Result<Pace> {
        let stop = Arc::new(AtomicBool::new(false));
        let (sent, under_way) = unbounded_channel();
        let sender = Sender { clock, rate, leader, stop: stop.clone(), sent };
        let runtime = Builder::new_current_thread().build()?;
        let sender = spawn("pace", move || sender.send(make))?;
        let collector = spawn("replies", move || runtime.block_on(collect(clock, under_way)))?;
        Ok(Pace { stop, sender, collector })
    }

    /// Ends the sending, and waits for the answers under way. All that came, and how many commands failed.
    pub fn end(self) -> Outcome<(Vec<Sample>, u64)> {
        self.stop.store(true, Relaxed);
        let refused = self.sender.join().map_err(|_| "the sender panicked")?;
        let (samples, failed) = self.collector.join().map_err(|_| "the collector panicked")?;
        Ok((samples, refused + failed))
    }
}

fn spawn<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<JoinHandle<T>> {
    std::thread::Builder::new().name(name.into()).spawn(work)
}

struct Sender {
    clock: Stopwatch,
    rate: f64,
    leader: Handle<KeyValue>,
    stop: Arc<AtomicBool>,
    sent: UnboundedSender<UnderWay>,
}

impl Sender {
    /// Sends until it is stopped. How many commands were refused at once.
    fn send(self, mut make: impl FnMut() -> KeyValueCommand) -> u64 {
        let (begin, mut refused) = (self.clock.elapsed(), 0);
        for number in 0_u32.. {
            if self.stop.load(Relaxed) {
                break;
            }
            let due = begin + Duration::from_secs_f64(f64::from(number) / self.rate);
            sleep_until(self.clock, due);
            match self.leader.submit(make()) {
                // The collector ends behind the sender.
                Ok(proposal) => drop(self.sent.send((due, proposal))),
                Err(_) => refused += 1,
            }
        }
        refused
    }
}

/// Commands are answered in the order in which they were sent, so one is waited for at a time.
async fn collect(
    clock: Stopwatch,
    mut under_way: UnboundedReceiver<UnderWay>,
) -> (Vec<Sample>, u64) {
    let (mut full, mut piece, mut failed) = (Vec::new(), Vec::with_capacity(PIECE), 0);
    while let Some((due, proposal)) = under_way.recv().await {
        match proposal.outcome().await {
            Ok(_) => piece.push(Sample { due, took: clock.elapsed().saturating_sub(due) }),
            Err(_) => failed += 1,
        }
        if piece.len() == PIECE {
            full.push(std::mem::replace(&mut piece, Vec::with_capacity(PIECE)));
        }
    }
    full.push(piece);
    (full.concat(), failed)
}

fn sleep_until(clock: Stopwatch, due: Duration) {
    let now = clock.elapsed();
    if due > now {
        system::pause(due - now);
    }
}

/// What the probe saw at a moment.
#[derive(Clone, Copy, Debug)]
pub struct Glance {
    /// When.
    pub at: Duration,
    /// So late it woke.
    pub late: Duration,
    /// The process's memory, if it asked.
    pub anonymous_bytes: Option<u64>,
}

/// A probe at work.
pub struct Probe {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Vec<Glance>>,
}

impl Probe {
    /// Looks around, by `clock`.
    pub fn start(clock: Stopwatch) -> io::Result<Probe> {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = spawn("probe", move || look(clock, &stopped))?;
        Ok(Probe { stop, thread })
    }

    /// All that it saw.
    pub fn end(self) -> Outcome<Vec<Glance>> {
        self.stop.store(true, Relaxed);
        Ok(self.thread.join().map_err(|_| "the probe panicked")?)
    }
}

fn look(clock: Stopwatch, stop: &AtomicBool) -> Vec<Glance> {
    let mut glances = Vec::new();
    for nap in 0_u64.. {
        if stop.load(Relaxed) {
            break;
        }
        let due = clock.elapsed() + NAP;
        system::pause(NAP);
        let at = clock.elapsed();
        let asks = nap % MEMORY_NAPS == 0;
        let anonymous_bytes = asks.then(system::anonymous_bytes_about).and_then(Result::ok);
        glances.push(Glance { at, late: at.saturating_sub(due), anonymous_bytes });
    }
    glances
}
