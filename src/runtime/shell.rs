//! The one actix actor there is: a shell around plain code.
//!
//! What an actor does is a [`Role`]: `on` handles one message, `flush` carries out what a turn has collected.
//! The shell adds what actix needs, the same for all:
//!
//! - **A turn** is what is handled between two flushes. actix drains a mailbox before it polls an actor's futures, so
//!   one permanent future ([`TurnEnd`]) sees the drained mailbox and flushes once for all of it: the peer's `Ready`,
//!   the persister's group commit. Under a flood the turn is cut after [`TURN_MESSAGES`] messages or [`TURN_MICROS`].
//! - **A gate**: on a busy virtual place messages wait in a stash, first in first out, until the place is free.
//! - **A watch**: an actor that panics, be it while it is made, or ends unasked, stops its node (AC03).
//!
//! *What it does not do:* no `ctx.wait`, no supervisor, no IO in `stopped`: dropping a live context runs
//! `stopped` (AC09), and so it does nothing.

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
use actix::{
    Actor, ActorContext, ActorFuture, Addr, AsyncContext, Context, Handler, Message, Recipient,
};
use tokio::time::Sleep;

use crate::raft::Micros;

use super::clock::Clock;
use super::lifeline::{Lifeline, StopAck};
use super::placement::Place;

/// A turn is cut after so many messages ..
const TURN_MESSAGES: u32 = 256;
/// .. or so many microseconds.
const TURN_MICROS: Micros = 1000;

/// What an actor does, apart from being one.
pub(crate) trait Role: Unpin + 'static {
    /// What it is told.
    type Message: Message<Result = ()> + Send + Unpin + 'static;
    /// What it is called where its end is reported.
    const NAME: &'static str;

    /// Handles one message.
    fn on(&mut self, message: Self::Message, now: Micros) -> Flow;

    /// Carries out what the turn has collected.
    fn flush(&mut self, _turn: Turn) {}
}

/// Whether an actor goes on.
pub(crate) enum Flow {
    Go,
    /// It ends after this message; the acknowledgement goes out when it is gone.
    Stop(StopAck),
}

/// A turn that ends.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Turn {
    /// When its first message was handled.
    pub(crate) began: Micros,
    /// When its last message was: now, nearly.
    pub(crate) now: Micros,
    /// `true`: the mailbox is empty. `false`: the turn was cut.
    pub(crate) drained: bool,
}

/// Whether an actor is at work on a message, to be seen from other threads.
#[derive(Clone)]
pub(crate) struct Activity {
    name: &'static str,
    at_work: Arc<AtomicBool>,
}

impl Activity {
    fn new(name: &'static str) -> Activity {
        Activity { name, at_work: Arc::default() }
    }

    /// Which actor it is.
    pub(crate) fn name(&self) -> &'static str {
        self.name
    }

    /// It is handling a message, being made, or ending.
    pub(crate) fn is_at_work(&self) -> bool {
        self.at_work.load(Relaxed)
    }

    fn set(&self, at_work: bool) {
        self.at_work.store(at_work, Relaxed);
    }
}

/// An actor's address before the actor exists.
pub(crate) struct Slot<R: Role> {
    address: Addr<Shell<R>>,
    mailbox: AddressReceiver<Shell<R>>,
    activity: Activity,
}

impl<R: Role> Slot<R> {
    pub(crate) fn new() -> Slot<R> {
        // `do_send` ignores the capacity: the limits stand in `Config`.
        let (sender, mailbox) = channel(16);
        Slot { address: Addr::new(sender), mailbox, activity: Activity::new(R::NAME) }
    }

    pub(crate) fn activity(&self) -> Activity {
        self.activity.clone()
    }

    pub(crate) fn recipient(&self) -> Recipient<R::Message> {
        self.address.clone().recipient()
    }

    /// Starts the actor on `place` with the role that `make` makes there.
    pub(crate) fn start(
        self,
        place: &Place,
        clock: Clock,
        lifeline: Arc<Lifeline>,
        make: impl FnOnce() -> R + Send + 'static,
    ) {
        let (mailbox, own_place, activity) = (self.mailbox, place.clone(), self.activity);
        let life = move || {
            activity.set(true);
            let role = make();
            activity.set(false);
            let shell = Shell {
                role,
                activity,
                place: own_place,
                clock,
                stash: VecDeque::new(),
                turn: None,
                end: None,
            };
            Context::with_receiver(mailbox).into_future(shell)
        };
        place.run(move || Box::pin(watch(R::NAME, life, lifeline)));
    }
}

/// Makes an actor, runs it to its end and reports an end that nobody asked for. The actor is kept until that is reported:
/// what is noticed by its being dropped is not taken for the reason.
async fn watch<F: Future<Output = ()> + Unpin>(
    name: &'static str,
    make: impl FnOnce() -> F,
    lifeline: Arc<Lifeline>,
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
        None => lifeline.actor_ended(name),
        Some(panic) => lifeline.fail(format!("the {name} panicked: {panic}")),
    }
}

/// What `f` returns, or with which words it panicked. Nothing that it worked on is used again then, so no broken
/// state is seen.
pub(crate) fn caught<T>(f: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(f)).map_err(|panic| panic_text(panic.as_ref()).to_owned())
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no text")
}

pub(crate) struct Shell<R: Role> {
    role: R,
    activity: Activity,
    place: Place,
    clock: Clock,
    /// What came while the place was busy.
    stash: VecDeque<R::Message>,
    turn: Option<OpenTurn>,
    /// Set once the actor is to end. Dropped with the shell, and only then.
    end: Option<StopAck>,
}

struct OpenTurn {
    began: Micros,
    /// When its last message was handled.
    last: Micros,
    messages: u32,
}

impl<R: Role> Shell<R> {
    fn receive(&mut self, message: R::Message) {
        let now = self.clock.now();
        let turn = self.turn.get_or_insert(OpenTurn { began: now, last: now, messages: 0 });
        turn.last = now;
        turn.messages += 1;
        let cut = turn.messages >= TURN_MESSAGES || now.saturating_sub(turn.began) >= TURN_MICROS;
        self.activity.set(true);
        if let Flow::Stop(ack) = self.role.on(message, now) {
            // It is at work until nothing of it is left.
            return self.end = Some(ack);
        }
        self.activity.set(false);
        if cut {
            self.flush(false);
        }
    }

    fn flush(&mut self, drained: bool) {
        if let Some(turn) = self.turn.take() {
            self.activity.set(true);
            self.role.flush(Turn { began: turn.began, now: turn.last, drained });
            self.activity.set(false);
        }
    }

    /// The place was busy: a turn that is open has become older.
    fn waited(&mut self) {
        if let Some(turn) = &mut self.turn {
            turn.last = self.clock.now();
        }
    }

    /// Whether anything waits for the place to be free: messages, a flush, or the end.
    fn has_more(&self) -> bool {
        self.turn.is_some() || !self.stash.is_empty() || self.end.is_some()
    }
}

impl<R: Role> Actor for Shell<R> {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.spawn(TurnEnd { wake: None });
    }
}

impl<R: Role> Handler<R::Message> for Shell<R> {
    type Result = ();

    fn handle(&mut self, message: R::Message, _ctx: &mut Self::Context) {
        if self.end.is_some() {
            // Dropping it answers whoever waits for it.
        } else if !self.stash.is_empty() || self.place.busy_until().is_some() {
            self.stash.push_back(message);
        } else {
            self.receive(message);
        }
    }
}

/// The permanent future of every actor: polled whenever the mailbox has been drained.
struct TurnEnd {
    /// Wakes the actor when its busy place is free.
    wake: Option<Pin<Box<Sleep>>>,
}

impl<R: Role> ActorFuture<Shell<R>> for TurnEnd {
    type Output = ();

    fn poll(
        mut self: Pin<&mut Self>,
        shell: &mut Shell<R>,
        ctx: &mut Context<Shell<R>>,
        task: &mut TaskContext<'_>,
    ) -> Poll<()> {
        while shell.has_more() {
            if let Some(until) = shell.place.busy_until() {
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
                Some(message) => shell.receive(message),
                None => shell.flush(true),
            }
        }
        self.wake = None;
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU32;

    use tokio::sync::oneshot;

    use super::*;
    use crate::runtime::{Part, Placement};

    #[derive(Debug, Message)]
    #[rtype(result = "()")]
    struct Ping(#[expect(dead_code, reason = "dropping it is its use")] oneshot::Sender<()>);

    struct Listener;

    impl Role for Listener {
        type Message = Ping;
        const NAME: &'static str = "listener";

        fn on(&mut self, _ping: Ping, _now: Micros) -> Flow {
            Flow::Go
        }
    }

    /// AC03, AC15: an actor that can't even be made fails its node, and its thread goes on.
    #[tokio::test]
    async fn a_panic_while_an_actor_is_made_is_reported() {
        let (places, ends) = Placement::threads().open(0).expect("threads");
        let (lifeline, mut stops) = Lifeline::new();
        let lifeline = Arc::new(lifeline);
        let (place, clock) = (places.of(Part::Peer), Placement::threads().clock());
        let broken = Slot::<Listener>::new();
        let recipient = broken.recipient();
        let (ping, pinged) = oneshot::channel();
        recipient.do_send(Ping(ping));
        broken.start(place, clock.clone(), lifeline.clone(), || panic!("out of luck"));
        assert!(pinged.await.is_err(), "whoever waits is told");
        let told = tokio::time::timeout(std::time::Duration::from_secs(20), stops.recv()).await;
        assert!(told.is_ok(), "the node is not told to stop");
        let fatal = lifeline.fatal().unwrap_or_default();
        assert_eq!(fatal, "the listener panicked: out of luck");
        let whole = Slot::<Listener>::new();
        let (ping, pinged) = oneshot::channel();
        let recipient = whole.recipient();
        recipient.do_send(Ping(ping));
        whole.start(place, clock, lifeline, || Listener);
        assert!(pinged.await.is_err(), "handled and dropped");
        assert!(recipient.connected(), "by an actor that lives on the same thread");
        places.exit();
        ends.join().await;
    }

    /// Sends itself the next message with each one that it handles.
    struct Restless {
        own: Recipient<Again>,
        left: u32,
        unflushed: u32,
        longest: Arc<AtomicU32>,
        ended: Option<oneshot::Sender<()>>,
    }

    #[derive(Debug, Message)]
    #[rtype(result = "()")]
    struct Again;

    impl Role for Restless {
        type Message = Again;
        const NAME: &'static str = "restless";

        fn on(&mut self, _again: Again, _now: Micros) -> Flow {
            self.unflushed += 1;
            self.longest.fetch_max(self.unflushed, Relaxed);
            match self.left.checked_sub(1) {
                Some(left) => {
                    self.left = left;
                    self.own.do_send(Again);
                }
                None => drop(self.ended.take()),
            }
            Flow::Go
        }

        fn flush(&mut self, _turn: Turn) {
            self.unflushed = 0;
        }
    }

    /// AC06: what a turn has collected leaves, and the clock is looked at, however many messages
    /// wait.
    #[tokio::test]
    async fn a_mailbox_that_never_drains_is_cut_into_turns() {
        let (places, ends) = Placement::threads().open(0).expect("threads");
        let lifeline = Arc::new(Lifeline::new().0);
        let slot = Slot::<Restless>::new();
        let (own, longest) = (slot.recipient(), Arc::new(AtomicU32::new(0)));
        let (ended, at_end) = oneshot::channel();
        let role = Restless {
            own: own.clone(),
            left: 20_000,
            unflushed: 0,
            longest: longest.clone(),
            ended: Some(ended),
        };
        slot.start(places.of(Part::Peer), Placement::threads().clock(), lifeline, || role);
        own.do_send(Again);
        assert!(at_end.await.is_err(), "dropped at the end");
        assert!(longest.load(Relaxed) <= TURN_MESSAGES, "{longest:?} messages in a turn");
        places.exit();
        ends.join().await;
    }
}
