//! Where a node's actors run.
//!
//! ```text
//! part         default place (own thread)   who stands there
//! Peer         peer                         peer, ticker, director
//! Persister    persister                    persister: the log's fsync; beside the peer if the log is in memory
//! Reader       reader                       reader: old log entries, snapshot pieces
//! Applier      applier                      apply queue, applier: the state machine
//! Snapshotter  snapshotter                  snapshotter: encode, decode, freeing old states
//! ```
//!
//! A [`Placement`] is handed to the node. Actors never ask where they are: what takes long goes through
//! [`Place::work`], what follows from it through [`Place::emit`]. On a thread `work` takes the time it takes, on a
//! virtual place it charges a [`BusyClock`]. So the same actors show under a paused clock what they block.
//!
//! What runs on a node's places runs in a span `member` with the node's id, entered once each time
//! a task is polled: a line that is logged there says whose it is, several members in one process
//! included.
//!
//! A place may be [`super::common`] to several nodes of a process: each then has a seat on one thread.
//!
//! *What it does not do:* it moves nothing while a node runs.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{AcquireError, Semaphore};
use tokio::time::Instant;
use tracing::{Instrument, Span};

use super::clock::{BusyClock, Clock, Warp};
use super::common::{Common, Seat};
use super::local_tasks::LocalTasks;
use super::race::race;
use super::thread::{self, LocalFuture, ThreadEnd, ThreadHandle};

/// What has a place of its own by default.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Part {
    /// The protocol's loop, with the ticker.
    Peer,
    /// The log's writer.
    Persister,
    /// The reader of old entries and stored snapshots.
    Reader,
    /// The state machine, with the queue before it.
    Applier,
    /// Encoding, decoding and storing snapshots.
    Snapshotter,
}

impl Part {
    const ALL: [Part; 5] =
        [Part::Peer, Part::Persister, Part::Reader, Part::Applier, Part::Snapshotter];

    fn name(self) -> &'static str {
        match self {
            Part::Peer => "peer",
            Part::Persister => "persister",
            Part::Reader => "reader",
            Part::Applier => "applier",
            Part::Snapshotter => "snapshotter",
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Mode {
    Threads,
    Local,
    /// With the moment at which virtual wall time begins.
    #[cfg_attr(
        not(feature = "testing"),
        expect(dead_code, reason = "only tests stand outside of real time")
    )]
    Virtual(Instant),
}

/// Which part of a node runs where.
#[derive(Clone, Debug)]
pub struct Placement {
    mode: Mode,
    /// The parts that were put beside another one.
    beside: BTreeMap<Part, Part>,
    /// The parts whose places are those of other nodes too.
    common: BTreeMap<Part, Common>,
    warp: Option<Arc<Warp>>,
}

impl Default for Placement {
    fn default() -> Placement {
        Placement::threads()
    }
}

impl Placement {
    /// Every part on a thread of its own: slow disks, slow state machines and large snapshots delay nobody else. Only a log that
    /// never waits for a device ([`Storage::waits`](crate::storage::Storage::waits)) is written on the peer's thread.
    pub fn threads() -> Placement {
        Placement::of(Mode::Threads)
    }

    /// As [`Placement::threads`], but for the peers of all nodes that get this placement or a clone of it: they have one thread in
    /// common. What members of one process have, a [`Cluster`](crate::node::Cluster)'s among them.
    pub fn peers_in_common() -> Placement {
        Placement::threads().in_common(Part::Peer)
    }

    /// Everything on the `LocalSet` of whoever starts the node, in real time. For tests, and for services that
    /// would rather save threads than hide slow work.
    pub fn shared() -> Placement {
        let placement = Placement::of(Mode::Local);
        Part::ALL.iter().fold(placement, |placement, part| placement.with(*part, Part::Peer))
    }

    /// Everything on the `LocalSet` of whoever starts the node, under tokio's paused clock, each part with a
    /// busy clock of its own. Keep and clone it for all nodes of a cluster: it holds the origin of wall time.
    #[cfg(feature = "testing")]
    pub fn virtual_time() -> Placement {
        Placement::of(Mode::Virtual(Instant::now()))
    }

    fn of(mode: Mode) -> Placement {
        Placement { mode, beside: BTreeMap::new(), common: BTreeMap::new(), warp: None }
    }

    /// Runs `part` on the place of `beside`, wherever `beside` is put itself. Calls for several
    /// parts may come in any order; of two for the same part the last one counts. Parts put beside
    /// each other in a circle share one place.
    #[must_use]
    pub fn with(mut self, part: Part, beside: Part) -> Placement {
        self.beside.insert(part, beside);
        self
    }

    /// The place on which `part` runs, as the part after which it is named.
    fn place_of(&self, part: Part) -> Part {
        let next = |part: Part| self.beside.get(&part).copied().unwrap_or(part);
        // Behind so many steps it is at the end of its way, or within a circle.
        let end = Part::ALL.iter().fold(part, |at, _| next(at));
        let circle = Part::ALL.iter().scan(end, |at, _| {
            *at = next(*at);
            Some(*at)
        });
        circle.min().unwrap_or(end)
    }

    /// Which thread the place is on, if other nodes run there too.
    fn common_of(&self, place: Part) -> Option<&Common> {
        self.common
            .iter()
            .find(|(part, _)| self.place_of(**part) == place)
            .map(|(_, common)| common)
    }

    /// All nodes that get this placement or a clone of it have one thread in common for `part`, and for what runs on its place:
    /// members of one process wake each other less. What takes long there delays all of them, a storage that is opened or a disk
    /// that is waited for included, so it is meant for the peer. The thread ends with the last of the nodes.
    /// It may be called before or after [`Placement::with`]. Without threads nothing changes: all
    /// is on one then.
    #[must_use]
    pub fn in_common(mut self, part: Part) -> Placement {
        self.common.insert(part, Common::default());
        self
    }

    /// Where a log is written without waiting for a device, the persister needs no thread of its own.
    pub(crate) fn for_log(self, waits: bool) -> Placement {
        let place = self.place_of(Part::Persister);
        let shares = Part::ALL.into_iter().filter(|part| self.place_of(*part) == place).count();
        let own_thread =
            matches!(self.mode, Mode::Threads) && shares == 1 && self.common_of(place).is_none();
        match !waits && own_thread {
            true => self.with(Part::Persister, Part::Peer),
            false => self,
        }
    }

    pub(crate) fn clock(&self) -> Clock {
        let origin = match self.mode {
            Mode::Virtual(origin) => Some(origin),
            Mode::Threads | Mode::Local => None,
        };
        Clock::new(origin).warped(self.warp.clone())
    }

    /// Nodes that are placed like this have a clock that goes as wrong as `warp` does.
    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn warped(mut self, warp: Arc<Warp>) -> Placement {
        self.warp = Some(warp);
        self
    }

    /// Makes the places. Threads are named after `node` and the place.
    pub(crate) fn open(&self, node: u64) -> io::Result<(Places, Ends)> {
        let span = member_span(node);
        let mut made = BTreeMap::new();
        let mut ends = Ends::default();
        for place in Part::ALL.map(|part| self.place_of(part)) {
            if made.contains_key(&place) {
                continue;
            }
            let given_up = GivenUp::default();
            let (runner, busy) = match (self.mode, self.common_of(place)) {
                (Mode::Threads, None) => {
                    let (handle, end) = thread::spawn(format!("quorate-{node}-{}", place.name()))?;
                    ends.threads.push((end, given_up.clone()));
                    (Runner::Thread(handle), None)
                }
                (Mode::Threads, Some(common)) => {
                    let seat = common.seat(&format!("quorate-{}s", place.name()))?;
                    ends.seats.push((seat.clone(), given_up.clone()));
                    (Runner::Seat(seat), None)
                }
                (Mode::Local, _) => (Runner::Local(ends.local.clone()), None),
                (Mode::Virtual(_), _) => {
                    (Runner::Local(ends.local.clone()), Some(virtual_clock(&ends.local, &span)))
                }
            };
            made.insert(place, Place { runner, busy, span: span.clone(), given_up });
        }
        let place_of = |part: Part| made[&self.place_of(part)].clone();
        Ok((Places(Part::ALL.map(|part| (part, place_of(part))).into()), ends))
    }
}

/// The span of everything that a member logs. It has the level of an error, so that every line that
/// is wanted is in it.
pub(crate) fn member_span(node: u64) -> Span {
    tracing::error_span!(parent: None, "member", node)
}

fn virtual_clock(local: &LocalTasks, span: &Span) -> Arc<BusyClock> {
    let busy = Arc::new(BusyClock::default());
    let driver = busy.clone();
    local.run(Box::pin(async move { driver.drive().await }.instrument(span.clone())));
    busy
}

/// A node's places.
#[derive(Clone)]
pub(crate) struct Places(BTreeMap<Part, Place>);

impl Places {
    pub(crate) fn of(&self, part: Part) -> &Place {
        &self.0[&part]
    }

    /// Waits until all work's effects have left.
    pub(crate) async fn idle(&self) {
        for busy in self.0.values().filter_map(|place| place.busy.as_ref()) {
            busy.idle().await;
        }
    }

    /// All of them stand still for `time`, as those of a stopped process.
    #[cfg(feature = "testing")]
    pub(crate) fn pause(&self, time: Duration) {
        self.clocks().for_each(|busy| busy.pause(time));
    }

    /// When all work begun so far is done, if any is.
    #[cfg(feature = "testing")]
    pub(crate) fn busy_until(&self) -> Option<Instant> {
        self.clocks().filter_map(|busy| busy.busy_until()).max()
    }

    /// Each once, however many parts stand there.
    #[cfg(feature = "testing")]
    fn clocks(&self) -> impl Iterator<Item = &BusyClock> {
        let mut clocks: Vec<&Arc<BusyClock>> = Vec::new();
        for busy in self.0.values().filter_map(|place| place.busy.as_ref()) {
            if !clocks.iter().any(|known| Arc::ptr_eq(known, busy)) {
                clocks.push(busy);
            }
        }
        clocks.into_iter().map(|busy| &**busy)
    }

    /// Ends all of them: what still runs there is dropped.
    pub(crate) fn exit(&self) {
        for place in self.0.values() {
            match &place.runner {
                Runner::Thread(thread) => thread.exit(),
                Runner::Seat(seat) => seat.exit(),
                Runner::Local(tasks) => tasks.abort(),
            }
        }
    }
}

/// Waits for the end of a node's places.
#[derive(Default)]
pub(crate) struct Ends {
    threads: Vec<(ThreadEnd, GivenUp)>,
    seats: Vec<(Seat, GivenUp)>,
    local: LocalTasks,
}

impl Ends {
    /// Returns when nothing of the node is left on any place, apart from those that were given up.
    pub(crate) async fn join(self) {
        for (thread, given_up) in self.threads {
            race(thread.join(), given_up.wait()).await;
        }
        self.local.join().await;
        for (seat, given_up) in &self.seats {
            race(seat.idle(), given_up.wait()).await;
        }
        // Whoever ends the places has done so by now, wherever it ran.
        for (seat, given_up) in &self.seats {
            race(seat.join(), given_up.wait()).await;
        }
    }
}

/// Whether a place is waited for at its node's end. What hangs there may never return. Clones are
/// of the same place.
#[derive(Clone, Debug)]
pub(crate) struct GivenUp(Arc<Semaphore>);

impl Default for GivenUp {
    fn default() -> GivenUp {
        GivenUp(Arc::new(Semaphore::new(0)))
    }
}

impl GivenUp {
    /// The place is not waited for from now on.
    pub(crate) fn set(&self) {
        self.0.close();
    }

    /// Whether both are of one place.
    pub(crate) fn is_of_same_place(&self, other: &GivenUp) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    pub(crate) fn is_set(&self) -> bool {
        self.0.is_closed()
    }

    /// Returns when the place is given up.
    async fn wait(&self) {
        // There is no permit: this ends when the semaphore is closed.
        let _: Result<_, AcquireError> = self.0.acquire().await;
    }
}

#[derive(Clone)]
enum Runner {
    Thread(ThreadHandle),
    Seat(Seat),
    Local(LocalTasks),
}

/// Where an actor runs.
#[derive(Clone)]
pub(crate) struct Place {
    runner: Runner,
    /// `Some` on a virtual place.
    busy: Option<Arc<BusyClock>>,
    /// The member's.
    span: Span,
    given_up: GivenUp,
}

impl Place {
    pub(crate) fn given_up(&self) -> &GivenUp {
        &self.given_up
    }

    /// Runs the future that `make` makes here.
    pub(crate) fn run(&self, make: impl FnOnce() -> LocalFuture + Send + 'static) {
        let span = self.span.clone();
        let make = move || -> LocalFuture {
            let future = span.in_scope(make);
            Box::pin(future.instrument(span))
        };
        match &self.runner {
            Runner::Thread(thread) => thread.run(make),
            Runner::Seat(seat) => seat.run(make),
            Runner::Local(tasks) => tasks.run(make()),
        }
    }

    /// Does `f`, which takes as long as it takes and `cost` on top of it.
    pub(crate) fn work<T>(&self, cost: Duration, f: impl FnOnce() -> T) -> T {
        match &self.busy {
            Some(busy) => busy.charge(cost),
            #[expect(
                clippy::disallowed_methods,
                reason = "a real place is delayed by blocking its thread"
            )]
            None if !cost.is_zero() => std::thread::sleep(cost),
            None => {}
        }
        f()
    }

    /// Does `effect` with `with` when the work done here so far is over: on a real place that is now.
    pub(crate) fn emit<T: Clone + Send + 'static>(
        &self,
        with: &T,
        effect: impl FnOnce(&T) + Send + 'static,
    ) {
        match &self.busy {
            None => effect(with),
            Some(busy) => {
                let with = with.clone();
                busy.emit(move || effect(&with));
            }
        }
    }

    /// When the place is free again, if it is busy.
    pub(crate) fn busy_until(&self) -> Option<Instant> {
        self.busy.as_ref()?.busy_until()
    }
}

#[cfg(test)]
mod tests {
    use std::thread::ThreadId;

    use tokio::sync::oneshot;

    use super::*;

    async fn thread_of(places: &Places, part: Part) -> ThreadId {
        let (to, told) = oneshot::channel();
        places.of(part).run(move || {
            Box::pin(async move {
                let _ = to.send(std::thread::current().id());
            })
        });
        told.await.expect("a place that runs")
    }

    #[tokio::test]
    async fn nodes_share_what_they_have_in_common_and_nothing_else() {
        let placement = Placement::peers_in_common().for_log(false);
        let (one, one_ends) = placement.open(1).expect("threads");
        let (two, two_ends) = placement.clone().open(2).expect("threads");
        let peer = thread_of(&one, Part::Peer).await;
        assert_eq!(thread_of(&two, Part::Peer).await, peer);
        assert_eq!(thread_of(&two, Part::Persister).await, peer, "a log that waits for nothing");
        for part in [Part::Reader, Part::Applier, Part::Snapshotter] {
            assert_ne!(thread_of(&one, part).await, thread_of(&two, part).await, "{part:?}");
        }
        one.exit();
        one_ends.join().await;
        assert_eq!(thread_of(&two, Part::Peer).await, peer);
        two.exit();
        two_ends.join().await;
    }

    /// Which parts share a place, each group in the order of its parts.
    fn groups(placement: &Placement) -> Vec<Vec<Part>> {
        let mut groups: BTreeMap<Part, Vec<Part>> = BTreeMap::new();
        for part in Part::ALL {
            groups.entry(placement.place_of(part)).or_default().push(part);
        }
        groups.into_values().collect()
    }

    type Call = fn(Placement) -> Placement;

    /// The calls in every order.
    fn in_every_order(calls: &[Call]) -> Vec<Placement> {
        if calls.is_empty() {
            return vec![Placement::threads()];
        }
        let but = |left_out: usize| {
            let rest = calls.iter().enumerate().filter(move |(at, _)| *at != left_out);
            rest.map(|(_, call)| *call).collect::<Vec<Call>>()
        };
        let last = |at: usize| in_every_order(&but(at)).into_iter().map(calls[at]);
        (0..calls.len()).flat_map(last).collect()
    }

    #[test]
    fn the_order_of_calls_does_not_matter() {
        use Part::*;
        let chain: [Call; 4] = [
            |placement| placement.with(Reader, Applier),
            |placement| placement.with(Applier, Persister),
            |placement| placement.with(Persister, Peer),
            |placement| placement.in_common(Reader),
        ];
        for placement in in_every_order(&chain) {
            let expected = [vec![Peer, Persister, Reader, Applier], vec![Snapshotter]];
            assert_eq!(groups(&placement), expected);
            let place = placement.place_of(Peer);
            assert!(
                placement.common_of(place).is_some() && placement.common_of(Snapshotter).is_none()
            );
            assert_eq!(groups(&placement.for_log(false)), expected);
        }
        let circle: [Call; 4] = [
            |placement| placement.with(Reader, Applier),
            |placement| placement.with(Applier, Snapshotter),
            |placement| placement.with(Snapshotter, Applier),
            |placement| placement.with(Persister, Persister),
        ];
        for placement in in_every_order(&circle) {
            let expected = [vec![Peer], vec![Persister], vec![Reader, Applier, Snapshotter]];
            assert_eq!(groups(&placement), expected);
        }
        let moved = Placement::threads().with(Reader, Applier).with(Reader, Peer);
        assert_eq!(groups(&moved)[0], [Peer, Reader], "the last word on a part counts");
    }

    /// Where the log's writer was put on purpose it stays.
    #[tokio::test]
    async fn a_persister_in_common_stays_there() {
        let placement = Placement::threads().in_common(Part::Persister).for_log(false);
        let (places, ends) = placement.open(1).expect("threads");
        assert_ne!(thread_of(&places, Part::Persister).await, thread_of(&places, Part::Peer).await);
        places.exit();
        ends.join().await;
    }
}
