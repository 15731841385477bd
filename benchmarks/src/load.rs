//! Clients that wait for each reply before they send the next command, and what a turn of theirs comes to.
//!
//! ```text
//! start ── warm-up ──▶ measured ── length ──▶ over: each client ends with the reply it waits for
//!                          └ replies that arrive in between count, over the time in between ┘
//! ```
//! Both sides are loaded by this code. A client reads the clock for one call in a few, so that reading it is no part of
//! what is compared.
//!
//! Not here: how a command is proposed, and on which thread a client stands. That is a contestant's own.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::task::JoinHandle;

use crate::measure::{Latencies, Outcome, Stopwatch, micros};
use crate::system;

/// One call in so many is timed.
const TIMED: u64 = 8;

const WARM_UP: u8 = 0;
const MEASURED: u8 = 1;
const OVER: u8 = 2;

/// What a contestant is loaded with in a turn.
pub struct Load {
    /// So many at once.
    pub clients: usize,
    /// Every command's content.
    pub payload: Bytes,
    /// Not counted, ahead of what is.
    pub warm_up: Duration,
    /// Counted.
    pub length: Duration,
}

/// What all clients of a turn look at.
#[derive(Clone, Default)]
pub struct Phase(Arc<Shared>);

#[derive(Default)]
struct Shared {
    phase: AtomicU8,
    clients: AtomicU64,
}

impl Phase {
    fn now(&self) -> u8 {
        self.0.phase.load(Ordering::Relaxed)
    }

    fn enter(&self, phase: u8) {
        self.0.phase.store(phase, Ordering::Relaxed);
    }

    /// A client's number. Many go in step, and without one they would all time the same few moments.
    fn join(&self) -> u64 {
        self.0.clients.fetch_add(1, Ordering::Relaxed)
    }
}

/// What one client has seen.
#[derive(Default)]
pub struct Calls {
    replies: u64,
    timed: Vec<Duration>,
}

/// What all clients have seen in a turn.
pub struct Turn {
    /// Replies a second.
    pub commits_per_s: f64,
    /// Half of the calls took at most this.
    pub p50_us: f64,
    /// All but a hundredth of the calls took at most this.
    pub p99_us: f64,
    /// What the processors gave to this process for a commit, clients included.
    pub cpu_us: f64,
}

/// Calls, and calls again when the reply is there, until the turn is over.
pub async fn client<E: ToString>(
    phase: Phase,
    mut call: impl AsyncFnMut() -> Result<(), E>,
) -> Result<Calls, String> {
    let mut calls = Calls::default();
    for number in phase.join().. {
        let stopwatch = (number % TIMED == 0).then(Stopwatch::start);
        call().await.map_err(|error| error.to_string())?;
        match phase.now() {
            MEASURED => {
                calls.replies += 1;
                calls.timed.extend(stopwatch.map(|stopwatch| stopwatch.elapsed()));
            }
            WARM_UP => {}
            _ => break,
        }
    }
    Ok(calls)
}

/// Leads a turn: `start` starts a client, so many times as there are to be.
pub async fn conduct(
    load: &Load,
    mut start: impl FnMut(Phase) -> JoinHandle<Result<Calls, String>>,
) -> Outcome<Turn> {
    conduct_until(load, tokio::time::sleep(load.length), &mut start).await
}

/// The same, with a turn that lasts until `over`.
pub async fn conduct_until(
    load: &Load,
    over: impl Future<Output = ()>,
    mut start: impl FnMut(Phase) -> JoinHandle<Result<Calls, String>>,
) -> Outcome<Turn> {
    let phase = Phase::default();
    let clients: Vec<_> = (0..load.clients).map(|_| start(phase.clone())).collect();
    tokio::time::sleep(load.warm_up).await;
    phase.enter(MEASURED);
    let (stopwatch, cpu) = (Stopwatch::start(), system::on_cpu());
    over.await;
    phase.enter(OVER);
    let (took, cpu) = (stopwatch.elapsed(), system::on_cpu().saturating_sub(cpu));
    let mut all = Vec::new();
    for client in clients {
        all.push(client.await??);
    }
    turn(&all, took, cpu)
}

fn turn(all: &[Calls], took: Duration, cpu: Duration) -> Outcome<Turn> {
    let replies: u64 = all.iter().map(|calls| calls.replies).sum();
    let mut timed = all.iter().flat_map(|calls| &calls.timed).copied().peekable();
    if timed.peek().is_none() {
        return Err("no call was timed: the turns are too short".into());
    }
    let latencies = Latencies::of(timed);
    Ok(Turn {
        commits_per_s: replies as f64 / took.as_secs_f64(),
        p50_us: latencies.percentile_us(0.5),
        p99_us: latencies.percentile_us(0.99),
        cpu_us: micros(cpu) / replies as f64,
    })
}

#[cfg(test)]
impl Load {
    /// Enough to see that it runs.
    pub fn small() -> Load {
        let length = Duration::from_millis(50);
        Load { clients: 3, payload: Bytes::from_static(b"x"), warm_up: length / 2, length }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::rc::Rc;

    use super::*;

    fn run<T>(future: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        runtime.unwrap().block_on(tokio::task::LocalSet::new().run_until(future))
    }

    #[test]
    fn a_client_has_one_call_under_way() {
        let (under_way, most) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
        let turn = run(conduct(&Load::small(), |phase| {
            let (under_way, most) = (under_way.clone(), most.clone());
            tokio::task::spawn_local(client(phase, async move || {
                under_way.set(under_way.get() + 1);
                most.set(most.get().max(under_way.get()));
                tokio::task::yield_now().await;
                under_way.set(under_way.get() - 1);
                Ok::<_, String>(())
            }))
        }));
        let turn = turn.unwrap();
        assert_eq!((most.get(), under_way.get()), (3, 0));
        assert!(turn.commits_per_s > 0.0 && turn.p50_us <= turn.p99_us);
    }

    #[test]
    fn a_refused_call_fails_the_turn() {
        let refused = async || Err::<(), _>("refused");
        let turn =
            run(conduct(&Load::small(), |phase| tokio::task::spawn_local(client(phase, refused))));
        assert_eq!(turn.err().map(|error| error.to_string()).as_deref(), Some("refused"));
    }
}
