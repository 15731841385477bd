//! The actix actor that every part of a node runs in: a shell around plain code.
//!
//! An actor implements [`Receive`] for each type of message that it handles, and [`Behaviour`]:
//! what it does at the end of a batch. The shell adds what actix needs, the same for all:
//!
//! ```text
//! mailbox ─▶ receive, receive, .. ─▶ flush    one batch: until the mailbox is empty
//!    └─ while the executor is busy ─▶ stash ─▶ receive, ..
//! ```
//!
//! - **Batches.** actix drains a mailbox before it polls an actor's futures. One permanent future
//!   ([`BatchEnd`]) therefore sees the empty mailbox and flushes once for all messages: the peer
//!   handles one `Ready`, the persister commits one group. Under a flood a batch ends after
//!   [`BATCH_MESSAGES_MAX`] messages or [`BATCH_TIME_MAX`].
//! - **Busy executors.** On a busy virtual executor messages wait in a stash, first in first out.
//! - **Supervision.** An actor that panics, also while it is made, or that ends unasked stops its
//!   node.
//!
//! *What it does not do:* no `ctx.wait`, no supervisor, no IO in `stopped`. Dropping a live context
//! runs `stopped`, so `stopped` does nothing.

use std::any::Any;
use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context as TaskContext, Poll};

use actix::dev::channel::{AddressReceiver, channel};
use actix::{Actor, ActorContext, ActorFuture, Addr, AsyncContext, Context, Handler, Message};
use tokio::time::Sleep;

use crate::raft::Micros;

use super::clock::Clock;
use super::placement::Executor;
use super::stop_signal::{StopAck, StopSignal};

/// A batch ends after this many messages, even if the mailbox has more.
const BATCH_MESSAGES_MAX: u32 = 256;
/// A batch ends after this many microseconds, even if the mailbox has more.
const BATCH_TIME_MAX: Micros = 1000;

/// The behaviour of an actor apart from its messages.
pub(crate) trait Behaviour: Unpin + 'static {
    /// Its name in reports of its end.
    const NAME: &'static str;

    /// Called before each message.
    fn prepare(&mut self, _now: Micros) {}

    /// Ends a batch: processes what its messages have collected.
    fn flush(&mut self, _batch: Batch) {}
}

/// How an actor handles messages of one type.
pub(crate) trait Receive<M>: Behaviour {
    /// Handles one message.
    fn receive(&mut self, message: M, turn: &mut Turn);
}

/// The handling of one message.
pub(crate) struct Turn {
    /// The time at which it began.
    pub(crate) now: Micros,
    end: Option<StopAck>,
}

impl Turn {
    /// A turn at this time.
    pub(crate) fn at(now: Micros) -> Turn {
        Turn { now, end: None }
    }

    /// Ends the actor after this message. The acknowledgement is given when the actor is dropped.
    pub(crate) fn stop(&mut self, ack: StopAck) {
        self.end = Some(ack);
    }
}

/// A batch of messages that were handled consecutively, at its end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Batch {
    /// When its first message was handled.
    pub(crate) began: Micros,
    /// When its last message was handled: close to the current time.
    pub(crate) now: Micros,
    /// `true`: the mailbox is empty. `false`: the batch reached its limit, and more messages wait.
    pub(crate) drained: bool,
}

/// Whether an actor is working on a message, visible to other threads.
#[derive(Clone)]
pub(crate) struct Activity {
    name: &'static str,
    at_work: Arc<AtomicBool>,
}

impl Activity {
    fn new(name: &'static str) -> Activity {
        Activity { name, at_work: Arc::default() }
    }

    /// The name of the actor.
    pub(crate) fn name(&self) -> &'static str {
        self.name
    }

    /// Whether it is handling a message, being created, or ending.
    pub(crate) fn is_at_work(&self) -> bool {
        self.at_work.load(Relaxed)
    }

    fn set(&self, at_work: bool) {
        self.at_work.store(at_work, Relaxed);
    }
}

/// An actor's address before the actor exists.
pub(crate) struct UnstartedActor<R: Behaviour> {
    address: Addr<Shell<R>>,
    mailbox: AddressReceiver<Shell<R>>,
    activity: Activity,
}

impl<R: Behaviour> UnstartedActor<R> {
    pub(crate) fn new() -> UnstartedActor<R> {
        // `do_send` ignores the capacity: the limits are in `Config`.
        let (sender, mailbox) = channel(16);
        UnstartedActor { address: Addr::new(sender), mailbox, activity: Activity::new(R::NAME) }
    }

    pub(crate) fn activity(&self) -> Activity {
        self.activity.clone()
    }

    pub(crate) fn address(&self) -> Addr<Shell<R>> {
        self.address.clone()
    }

    /// Starts the actor on `executor` with the behaviour that `make` creates there.
    pub(crate) fn start(
        self,
        executor: &Executor,
        clock: Clock,
        stop_signal: Arc<StopSignal>,
        make: impl FnOnce() -> R + Send + 'static,
    ) {
        let (mailbox, own_executor, activity) = (self.mailbox, executor.clone(), self.activity);
        let life = move || {
            activity.set(true);
            let behaviour = make();
            activity.set(false);
            let shell = Shell {
                behaviour,
                activity,
                executor: own_executor,
                clock,
                stash: VecDeque::new(),
                batch: None,
                end: None,
            };
            Context::with_receiver(mailbox).into_future(shell)
        };
        executor.run(move || Box::pin(watch(R::NAME, life, stop_signal)));
    }
}

/// Creates an actor, runs it to its end and reports an unexpected end. The actor is kept until that
/// is reported, so that the effects of dropping it are not taken for the cause.
async fn watch<F: Future<Output = ()> + Unpin>(
    name: &'static str,
    make: impl FnOnce() -> F,
    stop_signal: Arc<StopSignal>,
) {
    let mut made = caught(make);
    let outcome = match &mut made {
        Ok(actor) => {
            poll_fn(|cx| match caught(|| Pin::new(&mut *actor).poll(cx)) {
                Ok(poll) => poll.map(|()| None),
                Err(panic) => Poll::Ready(Some(panic)),
            })
            .await
        }
        Err(panic) => Some(std::mem::take(panic)),
    };
    match outcome {
        None => stop_signal.actor_ended(name),
        Some(panic) => stop_signal.fail(format!("the {name} panicked: {panic}")),
    }
}

/// Returns the result of `f`, or its panic message. The values that `f` used are not used after a
/// panic, so no inconsistent state is visible.
pub(crate) fn caught<T>(f: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(f)).map_err(|panic| panic_text(panic.as_ref()).to_owned())
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no text")
}

pub(crate) struct Shell<R: Behaviour> {
    behaviour: R,
    activity: Activity,
    executor: Executor,
    clock: Clock,
    /// Messages that arrived while the executor was busy.
    stash: VecDeque<Stashed<R>>,
    batch: Option<OpenBatch>,
    /// Set when the actor is to end. It is dropped with the shell, and not before.
    end: Option<StopAck>,
}

/// Handles a message that had to wait.
type Stashed<R> = Box<dyn FnOnce(&mut Shell<R>)>;

struct OpenBatch {
    began: Micros,
    /// When its last message was handled.
    last: Micros,
    messages: u32,
}

impl<R: Behaviour> Shell<R> {
    fn receive<M>(&mut self, message: M)
    where
        R: Receive<M>,
    {
        let now = self.clock.now();
        let batch = self.batch.get_or_insert(OpenBatch { began: now, last: now, messages: 0 });
        batch.last = now;
        batch.messages += 1;
        let cut = batch.messages >= BATCH_MESSAGES_MAX
            || now.saturating_sub(batch.began) >= BATCH_TIME_MAX;
        self.activity.set(true);
        let mut turn = Turn::at(now);
        self.behaviour.prepare(now);
        self.behaviour.receive(message, &mut turn);
        if turn.end.is_some() {
            // The activity stays set until the actor is dropped.
            return self.end = turn.end;
        }
        self.activity.set(false);
        if cut {
            self.flush(false);
        }
    }

    fn flush(&mut self, drained: bool) {
        if let Some(batch) = self.batch.take() {
            self.activity.set(true);
            self.behaviour.flush(Batch { began: batch.began, now: batch.last, drained });
            self.activity.set(false);
        }
    }

    /// The executor was busy: advances the time of an open batch.
    fn waited(&mut self) {
        if let Some(batch) = &mut self.batch {
            batch.last = self.clock.now();
        }
    }

    /// Whether messages, a flush or the end wait for the executor to be free.
    fn has_more(&self) -> bool {
        self.batch.is_some() || !self.stash.is_empty() || self.end.is_some()
    }
}

impl<R: Behaviour> Actor for Shell<R> {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.spawn(BatchEnd { wake: None });
    }
}

impl<R: Receive<M>, M: Message<Result = ()> + 'static> Handler<M> for Shell<R> {
    type Result = ();

    fn handle(&mut self, message: M, _ctx: &mut Self::Context) {
        if self.end.is_some() {
            // Dropping the message answers its sender, if it waits.
        } else if !self.stash.is_empty() || self.executor.busy_until().is_some() {
            self.stash.push_back(Box::new(|shell| shell.receive(message)));
        } else {
            self.receive(message);
        }
    }
}

/// The permanent future of every actor: polled whenever the mailbox has been drained.
struct BatchEnd {
    /// Wakes the actor when its busy executor is free.
    wake: Option<Pin<Box<Sleep>>>,
}

impl<R: Behaviour> ActorFuture<Shell<R>> for BatchEnd {
    type Output = ();

    fn poll(
        mut self: Pin<&mut Self>,
        shell: &mut Shell<R>,
        ctx: &mut Context<Shell<R>>,
        task: &mut TaskContext<'_>,
    ) -> Poll<()> {
        while shell.has_more() {
            if let Some(until) = shell.executor.busy_until() {
                let mut wake = Box::pin(tokio::time::sleep_until(until));
                if wake.as_mut().poll(task).is_pending() {
                    self.wake = Some(wake);
                    return Poll::Pending;
                }
                shell.waited();
                continue;
            }
            if shell.end.is_some() {
                ctx.stop();
                break;
            }
            match shell.stash.pop_front() {
                Some(stashed) => stashed(shell),
                None => shell.flush(true),
            }
        }
        self.wake = None;
        Poll::Pending
    }
}

/// An actor of tests that ignores all messages.
#[cfg(test)]
pub(crate) struct Ignores;

#[cfg(test)]
impl Ignores {
    /// The address of one that is never started.
    pub(crate) fn address() -> Arc<Addr<Shell<Ignores>>> {
        Arc::new(UnstartedActor::new().address())
    }
}

#[cfg(test)]
impl Behaviour for Ignores {
    const NAME: &'static str = "ignores";
}

#[cfg(test)]
impl<M> Receive<M> for Ignores {
    fn receive(&mut self, _message: M, _turn: &mut Turn) {}
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU32;

    use tokio::sync::oneshot;

    use super::*;
    use crate::runtime::{Component, Placement};

    #[derive(Debug, Message)]
    #[rtype(result = "()")]
    struct Ping(#[expect(dead_code, reason = "dropping it is its use")] oneshot::Sender<()>);

    struct Listener;

    impl Behaviour for Listener {
        const NAME: &'static str = "listener";
    }

    impl Receive<Ping> for Listener {
        fn receive(&mut self, _ping: Ping, _turn: &mut Turn) {}
    }

    /// AC03, AC15: an actor that can't be created fails its node, and its thread continues.
    #[tokio::test]
    async fn a_panic_while_an_actor_is_made_is_reported() {
        let (executors, ends) = Placement::threads().open(0).expect("threads");
        let (stop_signal, mut stops) = StopSignal::new();
        let stop_signal = Arc::new(stop_signal);
        let (executor, clock) = (executors.of(Component::Peer), Placement::threads().clock());
        let broken = UnstartedActor::<Listener>::new();
        let address = broken.address();
        let (ping, pinged) = oneshot::channel();
        address.do_send(Ping(ping));
        broken.start(executor, clock.clone(), stop_signal.clone(), || panic!("out of luck"));
        assert!(pinged.await.is_err(), "the waiting sender is answered");
        let told = tokio::time::timeout(std::time::Duration::from_secs(20), stops.recv()).await;
        assert!(told.is_ok(), "the node is not told to stop");
        let fatal = stop_signal.fatal().unwrap_or_default();
        assert_eq!(fatal, "the listener panicked: out of luck");
        let whole = UnstartedActor::<Listener>::new();
        let (ping, pinged) = oneshot::channel();
        let address = whole.address();
        address.do_send(Ping(ping));
        whole.start(executor, clock, stop_signal, || Listener);
        assert!(pinged.await.is_err(), "handled and dropped");
        assert!(address.connected(), "by an actor that lives on the same thread");
        executors.exit();
        ends.join().await;
    }

    /// Sends itself another message with each one that it handles.
    struct Restless {
        own: Addr<Shell<Restless>>,
        left: u32,
        unflushed: u32,
        longest: Arc<AtomicU32>,
        ended: Option<oneshot::Sender<()>>,
    }

    #[derive(Debug, Message)]
    #[rtype(result = "()")]
    struct Again;

    impl Receive<Again> for Restless {
        fn receive(&mut self, _again: Again, _turn: &mut Turn) {
            self.unflushed += 1;
            self.longest.fetch_max(self.unflushed, Relaxed);
            match self.left.checked_sub(1) {
                Some(left) => {
                    self.left = left;
                    self.own.do_send(Again);
                }
                None => drop(self.ended.take()),
            }
        }
    }

    impl Behaviour for Restless {
        const NAME: &'static str = "restless";

        fn flush(&mut self, _batch: Batch) {
            self.unflushed = 0;
        }
    }

    /// AC06: a batch is flushed and the clock is read, however many messages wait.
    #[tokio::test]
    async fn a_mailbox_that_never_drains_is_cut_into_turns() {
        let (executors, ends) = Placement::threads().open(0).expect("threads");
        let stop_signal = Arc::new(StopSignal::new().0);
        let slot = UnstartedActor::<Restless>::new();
        let (own, longest) = (slot.address(), Arc::new(AtomicU32::new(0)));
        let (ended, at_end) = oneshot::channel();
        let role = Restless {
            own: own.clone(),
            left: 20_000,
            unflushed: 0,
            longest: longest.clone(),
            ended: Some(ended),
        };
        slot.start(
            executors.of(Component::Peer),
            Placement::threads().clock(),
            stop_signal,
            || role,
        );
        own.do_send(Again);
        assert!(at_end.await.is_err(), "dropped at the end");
        assert!(longest.load(Relaxed) <= BATCH_MESSAGES_MAX, "{longest:?} messages in a batch");
        executors.exit();
        ends.join().await;
    }
}
