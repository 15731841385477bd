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
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use quorate::machine::{KeyValue, KeyValueCommand};
use quorate::node::Handle;
use tokio::runtime::{Builder, Runtime};

use crate::measure::{Outcome, Stopwatch};
use crate::system;

/// The probe sleeps so long.
const NAP: Duration = Duration::from_millis(1);
/// It asks for the memory once in so many naps.
const MEMORY_NAPS: u64 = 5;
/// Replies that have not come so long after the last command never will.
const PATIENCE: Duration = Duration::from_secs(60);

/// A command that was answered.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// When it was to be sent.
    pub due: Duration,
    /// From then to its answer.
    pub took: Duration,
}

/// What became of the commands.
#[derive(Default)]
struct Counts {
    answered: Mutex<Vec<Sample>>,
    under_way: AtomicU64,
    failed: AtomicU64,
    stop: AtomicBool,
}

/// Commands that are being sent.
pub struct Pace {
    counts: Arc<Counts>,
    sender: JoinHandle<()>,
    /// Where replies are waited for.
    _replies: Replies,
}

/// A thread of its own, which ends with the value, on whichever thread that is dropped.
struct Replies(Option<Runtime>);

impl Drop for Replies {
    fn drop(&mut self) {
        self.0.take().into_iter().for_each(Runtime::shutdown_background);
    }
}

impl Pace {
    /// Sends what `make` makes to `leader`, so many a second by `clock`.
    pub fn start(
        clock: Stopwatch,
        rate: f64,
        leader: Handle<KeyValue>,
        make: impl FnMut() -> KeyValueCommand + Send + 'static,
    ) -> io::Result<Pace> {
        let counts = Arc::new(Counts::default());
        let runtime = Builder::new_multi_thread().worker_threads(1).build()?;
        let sender = Sender {
            clock,
            rate,
            leader,
            counts: counts.clone(),
            replies: runtime.handle().clone(),
        };
        let sender =
            std::thread::Builder::new().name("pace".into()).spawn(move || sender.send(make))?;
        Ok(Pace { counts, sender, _replies: Replies(Some(runtime)) })
    }

    /// Ends the sending, and waits for the answers under way. All that came, and how many commands failed.
    pub fn end(self) -> Outcome<(Vec<Sample>, u64)> {
        self.counts.stop.store(true, Relaxed);
        self.sender.join().map_err(|_| "the sender panicked")?;
        let stopwatch = Stopwatch::start();
        while self.counts.under_way.load(Relaxed) > 0 {
            if stopwatch.elapsed() > PATIENCE {
                return Err("commands are not answered".into());
            }
            system::pause(NAP);
        }
        let answered = std::mem::take(
            &mut *self.counts.answered.lock().unwrap_or_else(PoisonError::into_inner),
        );
        Ok((answered, self.counts.failed.load(Relaxed)))
    }
}

struct Sender {
    clock: Stopwatch,
    rate: f64,
    leader: Handle<KeyValue>,
    counts: Arc<Counts>,
    /// Where replies are waited for.
    replies: tokio::runtime::Handle,
}

impl Sender {
    fn send(self, mut make: impl FnMut() -> KeyValueCommand) {
        let begin = self.clock.elapsed();
        for number in 0_u32.. {
            if self.counts.stop.load(Relaxed) {
                break;
            }
            let due = begin + Duration::from_secs_f64(f64::from(number) / self.rate);
            sleep_until(self.clock, due);
            self.send_one(due, make());
        }
    }

    fn send_one(&self, due: Duration, command: KeyValueCommand) {
        let Ok(proposal) = self.leader.submit(command) else {
            self.counts.failed.fetch_add(1, Relaxed);
            return;
        };
        let (counts, clock) = (self.counts.clone(), self.clock);
        counts.under_way.fetch_add(1, Relaxed);
        self.replies.spawn(async move {
            match proposal.outcome().await {
                Ok(_) => {
                    let sample = Sample { due, took: clock.elapsed().saturating_sub(due) };
                    counts.answered.lock().unwrap_or_else(PoisonError::into_inner).push(sample);
                }
                Err(_) => drop(counts.failed.fetch_add(1, Relaxed)),
            }
            counts.under_way.fetch_sub(1, Relaxed);
        });
    }
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
        let thread = std::thread::Builder::new()
            .name("probe".into())
            .spawn(move || look(clock, &stopped))?;
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
