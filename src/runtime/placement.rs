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
//! component, a thread shared with other nodes ([`super::shared_thread`]), or a virtual executor
//! under a paused clock. An actor does not know which: it does slow work in [`Executor::work`] and
//! sends what follows from it with [`Executor::emit`]. On a thread `work` takes its time; on a
//! virtual executor it is charged to a [`BusyClock`], so a test sees what slow work blocks.
//!
//! Tasks of a node run in a span `member` with the node's id, entered with each poll: each log line
//! names its member, also where several members share a process.
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

/// A component of a node. By default each has an executor of its own.
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

/// Which component of a node runs on which executor.
#[derive(Clone, Debug)]
pub struct Placement {
    mode: Mode,
    /// Components that run on the executor of another component.
    beside: BTreeMap<Component, Component>,
    /// Components whose executors are shared with other nodes.
    common: BTreeMap<Component, SharedThread>,
    warp: Option<Arc<SkewedClock>>,
}

impl Default for Placement {
    fn default() -> Placement {
        Placement::threads()
    }
}

impl Placement {
    /// Each component on a thread of its own, so that slow disks, slow state machines and large
    /// snapshots delay no other component. Only a log that never waits for a device
    /// ([`Storage::waits`](crate::storage::Storage::waits)) is written on the peer's thread.
    pub fn threads() -> Placement {
        Placement::of(Mode::Threads)
    }

    /// Like [`Placement::threads`], but the peers of all nodes that are given this placement or a
    /// clone of it share one thread. This is the placement of members in one process, such as those
    /// of a [`Cluster`](crate::node::Cluster).
    pub fn peers_in_common() -> Placement {
        Placement::threads().in_common(Component::Peer)
    }

    /// All components on the `LocalSet` on which the node is started, in real time. For tests, and
    /// for services that prefer fewer threads to isolation from slow work.
    pub fn shared() -> Placement {
        let placement = Placement::of(Mode::Local);
        Component::ALL
            .iter()
            .fold(placement, |placement, part| placement.with(*part, Component::Peer))
    }

    /// All components on the `LocalSet` on which the node is started, under tokio's paused clock,
    /// each component with a busy clock of its own. Use one placement and its clones for all nodes
    /// of a cluster: it holds the origin of wall time.
    #[cfg(feature = "testing")]
    pub fn virtual_time() -> Placement {
        Placement::of(Mode::Virtual(Instant::now()))
    }

    fn of(mode: Mode) -> Placement {
        Placement { mode, beside: BTreeMap::new(), common: BTreeMap::new(), warp: None }
    }

    /// Runs `part` on the executor of `beside`, wherever that runs. Calls for different components
    /// may come in any order; of several calls for the same component the last one applies.
    /// Components that are co-located in a cycle share one executor.
    #[must_use]
    pub fn with(mut self, part: Component, beside: Component) -> Placement {
        self.beside.insert(part, beside);
        self
    }

    /// The executor of `part`, identified by the component that it is named after.
    fn place_of(&self, part: Component) -> Component {
        let next = |part: Component| self.beside.get(&part).copied().unwrap_or(part);
        // After this many steps the end of the chain is reached, or a cycle.
        let end = Component::ALL.iter().fold(part, |at, _| next(at));
        let circle = Component::ALL.iter().scan(end, |at, _| {
            *at = next(*at);
            Some(*at)
        });
        circle.min().unwrap_or(end)
    }

    /// The shared thread of the executor, if other nodes run there, too.
    fn common_of(&self, executor: Component) -> Option<&SharedThread> {
        self.common
            .iter()
            .find(|(part, _)| self.place_of(**part) == executor)
            .map(|(_, common)| common)
    }

    /// Runs `part`, and the components on its executor, on one thread shared by all nodes that are
    /// given this placement or a clone of it, so that members of one process wake each other's
    /// threads less often. Slow work there delays all these nodes, including opening a storage and
    /// waiting for a disk, so it is meant for the peer. The thread ends with the last of the nodes.
    /// May be called before or after [`Placement::with`]. Without threads it has no effect: all
    /// components share one thread then.
    #[must_use]
    pub fn in_common(mut self, part: Component) -> Placement {
        self.common.insert(part, SharedThread::default());
        self
    }

    /// If writing the log never waits for a device, the persister needs no thread of its own.
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

    /// Nodes with this placement have a clock that is skewed as `warp` is.
    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn warped(mut self, warp: Arc<SkewedClock>) -> Placement {
        self.warp = Some(warp);
        self
    }

    /// Creates the executors. Threads are named after `node` and the executor.
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

/// The span of a member's log events. It has the level of an error, so that it is enabled whenever
/// an event in it is.
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

    /// Waits until the effects of all work have left.
    pub(crate) async fn idle(&self) {
        for busy in self.0.values().filter_map(|executor| executor.busy.as_ref()) {
            busy.idle().await;
        }
    }

    /// Suspends all executors for `time`, like those of a stopped process.
    #[cfg(feature = "testing")]
    pub(crate) fn pause(&self, time: Duration) {
        self.clocks().for_each(|busy| busy.pause(time));
    }

    /// When all work begun so far ends. `None` if no executor is busy.
    #[cfg(feature = "testing")]
    pub(crate) fn busy_until(&self) -> Option<Instant> {
        self.clocks().filter_map(|busy| busy.busy_until()).max()
    }

    /// The busy clocks, each once, even if several components share it.
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

    /// Ends all executors; tasks that still run there are dropped.
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
    /// Returns when no task of the node is left on any executor, except on those that were given
    /// up.
    pub(crate) async fn join(self) {
        for (thread, given_up) in self.threads {
            select(thread.join(), given_up.wait()).await;
        }
        self.local.join().await;
        for (lease, given_up) in &self.leases {
            select(lease.idle(), given_up.wait()).await;
        }
        // By now the task that ends the executors has done so, wherever it ran.
        for (lease, given_up) in &self.leases {
            select(lease.join(), given_up.wait()).await;
        }
    }
}

/// Whether the end of an executor is no longer awaited when its node stops, because work that hangs
/// there may never return. Clones belong to the same executor.
#[derive(Clone, Debug)]
pub(crate) struct GivenUp(Arc<Semaphore>);

impl Default for GivenUp {
    fn default() -> GivenUp {
        GivenUp(Arc::new(Semaphore::new(0)))
    }
}

impl GivenUp {
    /// Gives the executor up: its end is not awaited from now on.
    pub(crate) fn set(&self) {
        self.0.close();
    }

    /// Whether both belong to one executor.
    pub(crate) fn is_of_same_place(&self, other: &GivenUp) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    pub(crate) fn is_set(&self) -> bool {
        self.0.is_closed()
    }

    /// Returns when the executor is given up.
    async fn wait(&self) {
        // There are no permits: this returns when the semaphore is closed.
        let _: Result<_, AcquireError> = self.0.acquire().await;
    }
}

#[derive(Clone)]
enum Runner {
    Thread(ThreadHandle),
    Lease(Lease),
    Local(LocalTasks),
}

/// The executor of an actor.
#[derive(Clone)]
pub(crate) struct Executor {
    runner: Runner,
    /// `Some` on a virtual executor.
    busy: Option<Arc<BusyClock>>,
    /// The member's span.
    span: Span,
    given_up: GivenUp,
}

impl Executor {
    pub(crate) fn given_up(&self) -> &GivenUp {
        &self.given_up
    }

    /// Runs the future that `make` creates on this executor.
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

    /// Runs `f`, which takes its own time plus `cost`.
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

    /// Calls `effect` with `with` when the work done here so far has ended: on a real executor,
    /// immediately.
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

    /// When the executor is free again. `None` if it is not busy.
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

    /// The groups of components that share an executor, each in the order of [`Component::ALL`].
    fn groups(placement: &Placement) -> Vec<Vec<Component>> {
        let mut groups: BTreeMap<Component, Vec<Component>> = BTreeMap::new();
        for part in Component::ALL {
            groups.entry(placement.place_of(part)).or_default().push(part);
        }
        groups.into_values().collect()
    }

    type Call = fn(Placement) -> Placement;

    /// The calls in every possible order.
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

    /// An explicit placement of the log's writer is kept.
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
