//! Where a node's actors run.
//!
//! ```text
//! component    default executor    actors there
//! Peer         peer                peer, ticker, shutdown
//! Persister    persister           persister; on the peer's executor if the log is in memory
//! Reader       reader              reader: old log entries, chunks of snapshots
//! Applier      applier             apply queue, applier: the state machine
//! Snapshotter  snapshotter         snapshotter: encode, decode, drop of old states
//! ```
//!
//! A [`Placement`] maps each component to an executor: a thread of its own, the executor of another
//! component, a thread shared with other nodes ([`super::shared_thread`]), or a virtual executor under a
//! paused clock. An actor does not know which: it does slow work in [`Executor::work`] and sends what
//! follows from it with [`Executor::emit`]. On a thread `work` takes its time; on a virtual executor it is
//! charged to a [`BusyClock`], so a test sees what slow work blocks.
//!
//! Tasks of a node run in a span `member` with the node's id, entered with each poll: each log line names
//! its member, also where several members share a process.
//!
//! *What it does not do:* it moves nothing while a node runs.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{AcquireError, Semaphore};
use tokio::time::Instant;
use tracing::{Instrument, Span};

use super::clock::{BusyClock, Clock, SkewedClock};
use super::local_tasks::LocalTasks;
use super::select::select;
use super::shared_thread::{Lease, SharedThread};
use super::thread::{self, LocalFuture, ThreadEnd, ThreadHandle};

/// What has an executor of its own by default.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Component {
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

impl Component {
    const ALL: [Component; 5] = [
        Component::Peer,
        Component::Persister,
        Component::Reader,
        Component::Applier,
        Component::Snapshotter,
    ];

    fn name(self) -> &'static str {
        match self {
            Component::Peer => "peer",
            Component::Persister => "persister",
            Component::Reader => "reader",
            Component::Applier => "applier",
            Component::Snapshotter => "snapshotter",
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
    beside: BTreeMap<Component, Component>,
    /// The parts whose executors are those of other nodes too.
    common: BTreeMap<Component, SharedThread>,
    warp: Option<Arc<SkewedClock>>,
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
        Placement::threads().in_common(Component::Peer)
    }

    /// Everything on the `LocalSet` of whoever starts the node, in real time. For tests, and for services that
    /// would rather save threads than hide slow work.
    pub fn shared() -> Placement {
        let placement = Placement::of(Mode::Local);
        Component::ALL
            .iter()
            .fold(placement, |placement, part| placement.with(*part, Component::Peer))
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

    /// Runs `part` on the executor of `beside`, wherever `beside` is put itself. Calls for several
    /// parts may come in any order; of two for the same part the last one counts. Parts put beside
    /// each other in a circle share one executor.
    #[must_use]
    pub fn with(mut self, part: Component, beside: Component) -> Placement {
        self.beside.insert(part, beside);
        self
    }

    /// The executor on which `part` runs, as the part after which it is named.
    fn place_of(&self, part: Component) -> Component {
        let next = |part: Component| self.beside.get(&part).copied().unwrap_or(part);
        // Behind so many steps it is at the end of its way, or within a circle.
        let end = Component::ALL.iter().fold(part, |at, _| next(at));
        let circle = Component::ALL.iter().scan(end, |at, _| {
            *at = next(*at);
            Some(*at)
        });
        circle.min().unwrap_or(end)
    }

    /// Which thread the executor is on, if other nodes run there too.
    fn common_of(&self, executor: Component) -> Option<&SharedThread> {
        self.common
            .iter()
            .find(|(part, _)| self.place_of(**part) == executor)
            .map(|(_, common)| common)
    }

    /// All nodes that get this placement or a clone of it have one thread in common for `part`, and for what runs on its executor:
    /// members of one process wake each other less. What takes long there delays all of them, a storage that is opened or a disk
    /// that is waited for included, so it is meant for the peer. The thread ends with the last of the nodes.
    /// It may be called before or after [`Placement::with`]. Without threads nothing changes: all
    /// is on one then.
    #[must_use]
    pub fn in_common(mut self, part: Component) -> Placement {
        self.common.insert(part, SharedThread::default());
        self
    }

    /// Where a log is written without waiting for a device, the persister needs no thread of its own.
    pub(crate) fn for_log(self, waits: bool) -> Placement {
        let executor = self.place_of(Component::Persister);
        let shares =
            Component::ALL.into_iter().filter(|part| self.place_of(*part) == executor).count();
        let own_thread =
            matches!(self.mode, Mode::Threads) && shares == 1 && self.common_of(executor).is_none();
        match !waits && own_thread {
            true => self.with(Component::Persister, Component::Peer),
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
    pub(crate) fn warped(mut self, warp: Arc<SkewedClock>) -> Placement {
        self.warp = Some(warp);
        self
    }

    /// Makes the executors. Threads are named after `node` and the executor.
    pub(crate) fn open(&self, node: u64) -> io::Result<(Executors, JoinHandles)> {
        let span = member_span(node);
        let mut made = BTreeMap::new();
        let mut ends = JoinHandles::default();
        for executor in Component::ALL.map(|part| self.place_of(part)) {
            if made.contains_key(&executor) {
                continue;
            }
            let given_up = GivenUp::default();
            let (runner, busy) = match (self.mode, self.common_of(executor)) {
                (Mode::Threads, None) => {
                    let (handle, end) =
                        thread::spawn(format!("quorate-{node}-{}", executor.name()))?;
                    ends.threads.push((end, given_up.clone()));
                    (Runner::Thread(handle), None)
                }
                (Mode::Threads, Some(common)) => {
                    let lease = common.lease(&format!("quorate-{}s", executor.name()))?;
                    ends.leases.push((lease.clone(), given_up.clone()));
                    (Runner::Lease(lease), None)
                }
                (Mode::Local, _) => (Runner::Local(ends.local.clone()), None),
                (Mode::Virtual(_), _) => {
                    (Runner::Local(ends.local.clone()), Some(virtual_clock(&ends.local, &span)))
                }
            };
            made.insert(executor, Executor { runner, busy, span: span.clone(), given_up });
        }
        let place_of = |part: Component| made[&self.place_of(part)].clone();
        Ok((Executors(Component::ALL.map(|part| (part, place_of(part))).into()), ends))
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

/// A node's executors.
#[derive(Clone)]
pub(crate) struct Executors(BTreeMap<Component, Executor>);

impl Executors {
    pub(crate) fn of(&self, part: Component) -> &Executor {
        &self.0[&part]
    }

    /// Waits until all work's effects have left.
    pub(crate) async fn idle(&self) {
        for busy in self.0.values().filter_map(|executor| executor.busy.as_ref()) {
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
        for busy in self.0.values().filter_map(|executor| executor.busy.as_ref()) {
            if !clocks.iter().any(|known| Arc::ptr_eq(known, busy)) {
                clocks.push(busy);
            }
        }
        clocks.into_iter().map(|busy| &**busy)
    }

    /// Ends all of them: what still runs there is dropped.
    pub(crate) fn exit(&self) {
        for executor in self.0.values() {
            match &executor.runner {
                Runner::Thread(thread) => thread.exit(),
                Runner::Lease(lease) => lease.exit(),
                Runner::Local(tasks) => tasks.abort(),
            }
        }
    }
}

/// Waits for the end of a node's executors.
#[derive(Default)]
pub(crate) struct JoinHandles {
    threads: Vec<(ThreadEnd, GivenUp)>,
    leases: Vec<(Lease, GivenUp)>,
    local: LocalTasks,
}

impl JoinHandles {
    /// Returns when nothing of the node is left on any executor, apart from those that were given up.
    pub(crate) async fn join(self) {
        for (thread, given_up) in self.threads {
            select(thread.join(), given_up.wait()).await;
        }
        self.local.join().await;
        for (lease, given_up) in &self.leases {
            select(lease.idle(), given_up.wait()).await;
        }
        // Whoever ends the executors has done so by now, wherever it ran.
        for (lease, given_up) in &self.leases {
            select(lease.join(), given_up.wait()).await;
        }
    }
}

/// Whether an executor is waited for at its node's end. What hangs there may never return. Clones are
/// of the same executor.
#[derive(Clone, Debug)]
pub(crate) struct GivenUp(Arc<Semaphore>);

impl Default for GivenUp {
    fn default() -> GivenUp {
        GivenUp(Arc::new(Semaphore::new(0)))
    }
}

impl GivenUp {
    /// The executor is not waited for from now on.
    pub(crate) fn set(&self) {
        self.0.close();
    }

    /// Whether both are of one executor.
    pub(crate) fn is_of_same_place(&self, other: &GivenUp) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    pub(crate) fn is_set(&self) -> bool {
        self.0.is_closed()
    }

    /// Returns when the executor is given up.
    async fn wait(&self) {
        // There is no permit: this ends when the semaphore is closed.
        let _: Result<_, AcquireError> = self.0.acquire().await;
    }
}

#[derive(Clone)]
enum Runner {
    Thread(ThreadHandle),
    Lease(Lease),
    Local(LocalTasks),
}

/// Where an actor runs.
#[derive(Clone)]
pub(crate) struct Executor {
    runner: Runner,
    /// `Some` on a virtual executor.
    busy: Option<Arc<BusyClock>>,
    /// The member's.
    span: Span,
    given_up: GivenUp,
}

impl Executor {
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
            Runner::Lease(lease) => lease.run(make),
            Runner::Local(tasks) => tasks.run(make()),
        }
    }

    /// Does `f`, which takes as long as it takes and `cost` on top of it.
    pub(crate) fn work<T>(&self, cost: Duration, f: impl FnOnce() -> T) -> T {
        match &self.busy {
            Some(busy) => busy.charge(cost),
            #[expect(
                clippy::disallowed_methods,
                reason = "a real executor is delayed by blocking its thread"
            )]
            None if !cost.is_zero() => std::thread::sleep(cost),
            None => {}
        }
        f()
    }

    /// Does `effect` with `with` when the work done here so far is over: on a real executor that is now.
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

    /// When the executor is free again, if it is busy.
    pub(crate) fn busy_until(&self) -> Option<Instant> {
        self.busy.as_ref()?.busy_until()
    }
}

#[cfg(test)]
mod tests {
    use std::thread::ThreadId;

    use tokio::sync::oneshot;

    use super::*;

    async fn thread_of(executors: &Executors, part: Component) -> ThreadId {
        let (to, told) = oneshot::channel();
        executors.of(part).run(move || {
            Box::pin(async move {
                let _ = to.send(std::thread::current().id());
            })
        });
        told.await.expect("an executor that runs")
    }

    #[tokio::test]
    async fn nodes_share_what_they_have_in_common_and_nothing_else() {
        let placement = Placement::peers_in_common().for_log(false);
        let (one, one_ends) = placement.open(1).expect("threads");
        let (two, two_ends) = placement.clone().open(2).expect("threads");
        let peer = thread_of(&one, Component::Peer).await;
        assert_eq!(thread_of(&two, Component::Peer).await, peer);
        assert_eq!(
            thread_of(&two, Component::Persister).await,
            peer,
            "a log that waits for nothing"
        );
        for part in [Component::Reader, Component::Applier, Component::Snapshotter] {
            assert_ne!(thread_of(&one, part).await, thread_of(&two, part).await, "{part:?}");
        }
        one.exit();
        one_ends.join().await;
        assert_eq!(thread_of(&two, Component::Peer).await, peer);
        two.exit();
        two_ends.join().await;
    }

    /// Which parts share an executor, each group in the order of its parts.
    fn groups(placement: &Placement) -> Vec<Vec<Component>> {
        let mut groups: BTreeMap<Component, Vec<Component>> = BTreeMap::new();
        for part in Component::ALL {
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
        use Component::*;
        let chain: [Call; 4] = [
            |placement| placement.with(Reader, Applier),
            |placement| placement.with(Applier, Persister),
            |placement| placement.with(Persister, Peer),
            |placement| placement.in_common(Reader),
        ];
        for placement in in_every_order(&chain) {
            let expected = [vec![Peer, Persister, Reader, Applier], vec![Snapshotter]];
            assert_eq!(groups(&placement), expected);
            let executor = placement.place_of(Peer);
            assert!(
                placement.common_of(executor).is_some()
                    && placement.common_of(Snapshotter).is_none()
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
        let placement = Placement::threads().in_common(Component::Persister).for_log(false);
        let (executors, ends) = placement.open(1).expect("threads");
        assert_ne!(
            thread_of(&executors, Component::Persister).await,
            thread_of(&executors, Component::Peer).await
        );
        executors.exit();
        ends.join().await;
    }
}
