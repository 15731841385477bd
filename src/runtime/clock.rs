//! The time of one node, and the busy time of an executor.
//!
//! The protocol's time is microseconds since the node started. Under tokio's paused clock a
//! synchronous decode or fsync takes no time at all, so a test would not see a blocked loop.
//! [`BusyClock`] records until when an executor is busy: work charges it, messages to the
//! executor's actors wait until it is free, and messages sent by the work leave at its end.
//!
//! ```text
//!            work(60 s)                 busy until
//! executor  ────┤■■■■■■■■■■■■■■■■■■■■■■■■■■├──────────▶ time
//!              ▲ messages wait in stash  ▲ effects leave, then the stash is handled
//! ```
//!
//! *What it does not do:* a real executor has no busy clock; there the work itself takes the time.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::raft::Micros;

/// The start of virtual wall time: a moment in 2023, the same in every run.
const VIRTUAL_EPOCH_MS: u64 = 1_700_000_000_000;
/// Times are clamped to this value: about 140 years.
const FAR: Micros = 1 << 52;

/// A node's clock.
#[derive(Clone, Debug)]
pub(crate) struct Clock {
    origin: Instant,
    /// `Some`: wall time is virtual, too, and counted from this moment.
    virtual_origin: Option<Instant>,
    /// `Some`: the clock is skewed. With what it showed when this clock was set up.
    warp: Option<(Arc<SkewedClock>, Micros)>,
}

/// A virtual clock that may be wrong: fast, slow, or ahead after a jump. It outlives its node.
#[derive(Debug)]
pub struct SkewedClock {
    state: Mutex<WarpState>,
    /// Each reading of the clock takes this long, in microseconds, so time passes within a batch,
    /// as on a busy machine.
    toil: AtomicU64,
}

#[derive(Clone, Copy, Debug)]
struct WarpState {
    /// The moment of the last change of rate.
    since: Instant,
    /// The time shown at that moment, plus later jumps.
    shown: Micros,
    /// The rate, in thousandths.
    rate: u64,
    /// How far its wall time is ahead in addition, in milliseconds.
    wall_ahead_ms: u64,
}

#[cfg(any(test, feature = "testing"))]
impl Default for SkewedClock {
    /// A clock that is correct until it is changed.
    fn default() -> SkewedClock {
        let (since, shown) = (Instant::now(), 0);
        let state = WarpState { since, shown, rate: 1_000, wall_ahead_ms: 0 };
        SkewedClock { state: Mutex::new(state), toil: AtomicU64::new(0) }
    }
}

#[cfg_attr(
    not(any(test, feature = "testing")),
    expect(dead_code, reason = "only a simulation's clocks go wrong")
)]
impl SkewedClock {
    /// Changes the rate to 1000 + `by` thousandths: faster, or slower if `by` is negative.
    pub fn skew(&self, by: i64) {
        let shown = self.shows(Instant::now());
        let rate = 1_000u64.saturating_add_signed(by).max(1);
        let mut state = self.state.lock();
        (state.since, state.shown, state.rate) = (Instant::now(), shown, rate);
    }

    /// Moves the clock forwards.
    pub fn jump(&self, by: Micros) {
        self.state.lock().shown += by;
    }

    /// Sets the wall time ahead of the correct one by `by_ms`, unless it is ahead by more already.
    pub fn set_wall_ahead(&self, by_ms: u64) {
        let mut state = self.state.lock();
        state.wall_ahead_ms = state.wall_ahead_ms.max(by_ms);
    }

    fn wall_ms(&self) -> u64 {
        let ahead_ms = self.state.lock().wall_ahead_ms;
        VIRTUAL_EPOCH_MS + ahead_ms + self.shows(Instant::now()) / 1_000
    }

    /// Makes each reading of the clock take `each`.
    pub fn toil(&self, each: Micros) {
        self.toil.store(each, Ordering::Relaxed);
    }

    /// The time shown at that moment.
    pub fn shows(&self, at: Instant) -> Micros {
        let WarpState { since, shown, rate, .. } = *self.state.lock();
        shown + at.saturating_duration_since(since).as_micros() as Micros * rate / 1_000
    }

    /// The first moment at which it shows `micros`, at the current rate.
    fn moment(&self, micros: Micros) -> Instant {
        let WarpState { since, shown, rate, .. } = *self.state.lock();
        let ahead = micros.saturating_sub(shown).min(FAR);
        since + Duration::from_micros((ahead * 1_000).div_ceil(rate))
    }
}

impl Clock {
    pub(crate) fn new(virtual_origin: Option<Instant>) -> Clock {
        Clock { origin: Instant::now(), virtual_origin, warp: None }
    }

    /// The same clock, skewed as `warp` is.
    pub(crate) fn warped(mut self, warp: Option<Arc<SkewedClock>>) -> Clock {
        self.warp = warp.map(|warp| {
            let begun = warp.shows(Instant::now());
            (warp, begun)
        });
        self
    }

    /// Microseconds since this node started.
    pub(crate) fn now(&self) -> Micros {
        if let Some((warp, _)) = &self.warp {
            let toil = warp.toil.load(Ordering::Relaxed);
            if toil > 0 {
                warp.state.lock().shown += toil;
            }
        }
        self.at(Instant::now())
    }

    pub(crate) fn at(&self, instant: Instant) -> Micros {
        match &self.warp {
            Some((warp, begun)) => warp.shows(instant).saturating_sub(*begun),
            None => instant.saturating_duration_since(self.origin).as_micros() as Micros,
        }
    }

    /// The moment at which this node's time is `micros`.
    pub(crate) fn instant(&self, micros: Micros) -> Instant {
        if let Some((warp, begun)) = &self.warp {
            return warp.moment(begun + micros.min(FAR));
        }
        self.origin + Duration::from_micros(micros.min(FAR))
    }

    /// Milliseconds since 1970, for the timestamps of entries.
    #[expect(clippy::disallowed_methods, reason = "the one place that knows the wall clock")]
    pub(crate) fn wall_ms(&self) -> u64 {
        match (&self.warp, self.virtual_origin) {
            (Some((warp, _)), _) => warp.wall_ms(),
            (None, Some(origin)) => VIRTUAL_EPOCH_MS + origin.elapsed().as_millis() as u64,
            (None, None) => SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |since| since.as_millis() as u64),
        }
    }
}

type Effect = Box<dyn FnOnce() + Send>;

/// Until when a virtual executor is busy, and the effects that leave it then.
#[derive(Default)]
pub(crate) struct BusyClock {
    state: Mutex<BusyState>,
    changed: Notify,
}

#[derive(Default)]
struct BusyState {
    until: Option<Instant>,
    /// Effects with the end of the work that emitted them, when they leave: ascending, first in
    /// first out.
    effects: VecDeque<(Instant, Effect)>,
}

impl BusyClock {
    /// When the executor is free again. `None` if it is free now.
    pub(crate) fn busy_until(&self) -> Option<Instant> {
        self.state.lock().until.filter(|until| *until > Instant::now())
    }

    /// Charges `cost` to the executor, after its current work.
    pub(crate) fn charge(&self, cost: Duration) {
        let mut state = self.state.lock();
        let begin = state.until.map_or_else(Instant::now, |until| until.max(Instant::now()));
        state.until = Some(begin + cost);
    }

    /// Runs `effect` when the executor is free: immediately if it is free and no earlier effect
    /// waits.
    pub(crate) fn emit(&self, effect: impl FnOnce() + Send + 'static) {
        let mut state = self.state.lock();
        let now = Instant::now();
        let due = state.until.map_or(now, |until| until.max(now));
        if due == now && state.effects.is_empty() {
            drop(state);
            return effect();
        }
        state.effects.push_back((due, Box::new(effect)));
        self.changed.notify_one();
    }

    /// Suspends the executor for `time`: its current work ends later by that much, and no effect
    /// leaves before.
    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn pause(&self, time: Duration) {
        self.charge(time);
        self.state.lock().effects.iter_mut().for_each(|(due, _)| *due += time);
    }

    /// Waits until all effects have left.
    pub(crate) async fn idle(&self) {
        loop {
            let last = self.state.lock().effects.back().map(|(due, _)| *due);
            let Some(due) = last else { return };
            tokio::time::sleep_until(due).await;
            tokio::task::yield_now().await;
        }
    }

    /// Runs the effects when they are due. Runs as long as the executor.
    pub(crate) async fn drive(&self) {
        loop {
            let next = self.state.lock().effects.front().map(|(due, _)| *due);
            match next {
                None => self.changed.notified().await,
                Some(due) => {
                    tokio::time::sleep_until(due).await;
                    let paused = |(due, _): &(Instant, Effect)| *due > Instant::now();
                    if self.state.lock().effects.front().is_some_and(paused) {
                        continue;
                    }
                    // The lock is released before the effect runs: an effect may emit another.
                    let effect = self.state.lock().effects.pop_front();
                    if let Some((_, effect)) = effect {
                        effect();
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn effects_leave_at_the_end_of_their_work_and_in_order() {
        let (clock, seen) = (Arc::new(BusyClock::default()), Arc::new(Mutex::new(Vec::new())));
        let start = Instant::now();
        let note = |what: u32| {
            let seen = seen.clone();
            move || seen.lock().push((what, start.elapsed().as_millis()))
        };
        clock.emit(note(0));
        clock.charge(Duration::from_millis(20));
        clock.emit(note(1));
        clock.charge(Duration::from_millis(10));
        clock.emit(note(2));
        assert_eq!(clock.busy_until(), Some(start + Duration::from_millis(30)));
        let driver = tokio::spawn({
            let clock = clock.clone();
            async move { clock.drive().await }
        });
        tokio::time::sleep(Duration::from_millis(50)).await;
        driver.abort();
        assert_eq!(*seen.lock(), vec![(0, 0), (1, 20), (2, 30)]);
        assert_eq!(clock.busy_until(), None);
    }
}
