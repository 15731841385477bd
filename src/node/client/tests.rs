//! Tests of the client against a member whose answers the test gives, one attempt at a time.

use actix::{Actor, Context, Handler, Message};
use tokio::task::{JoinHandle, LocalSet, spawn_local};

use crate::actors::context::NodeContext;
use crate::machine::{Increment, WordCount, codec};
use crate::messages::{Proposal, Proposals, ProposalsEnd, Reply};
use crate::node::config::Config;
use crate::node::handle::Limits;
use crate::raft::RaftStatus;
use crate::runtime::clock::Clock;
use crate::runtime::stop_signal::StopSignal;

use super::*;

/// Receives messages for a member and does nothing.
struct Deaf;

impl Actor for Deaf {
    type Context = Context<Deaf>;
}

impl<M: Message<Result = ()>> Handler<M> for Deaf {
    type Result = ();

    fn handle(&mut self, _: M, _: &mut Context<Deaf>) {}
}

/// A member whose answers the test gives.
struct Scripted {
    proposed: ProposalsEnd,
    waiting: Vec<Proposal>,
}

impl Scripted {
    fn start() -> (Scripted, Client<WordCount>) {
        let deaf = Deaf.start();
        let config = Config::default();
        let (stop_signal, _) = StopSignal::new();
        let shared = NodeContext::new(
            0,
            1,
            Arc::new(stop_signal),
            RaftStatus::default(),
            config.proposals_in_flight,
            config.reads_in_flight,
        );
        let (proposals, proposed) = Proposals::new(Arc::new(deaf.clone()));
        let handle = Handle {
            peer: Arc::new(deaf.clone()),
            proposals,
            apply_side: deaf.recipient(),
            shared: Arc::new(shared),
            limits: Limits { command_bytes: 1000, timeout: 1_000_000 },
            understands: None,
            clock: Clock::new(None),
            machine: std::marker::PhantomData,
        };
        (Scripted { proposed, waiting: Vec::new() }, Client::connect([handle]))
    }

    /// Waits for the next attempt; returns its command and the channel for the answer.
    async fn next(&mut self) -> (CommandRef, Reply) {
        while self.waiting.is_empty() {
            self.proposed.take(&mut self.waiting);
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let Proposal { data, reply } = self.waiting.remove(0);
        (CommandRef::decode(&data).expect("a command"), reply)
    }

    async fn opens(&mut self, session: SessionId) {
        let (command, reply) = self.next().await;
        assert_eq!(command, CommandRef::OpenSession);
        reply.answer(Outcome::SessionOpened(session));
    }

    /// Waits for an attempt at a session's command; returns its session, sequence, low-water mark
    /// and the channel for the answer.
    async fn command(&mut self) -> ([u64; 3], Reply) {
        match self.next().await {
            (CommandRef::Session { session, sequence, low_water, .. }, reply) => {
                ([session, sequence, low_water], reply)
            }
            other => panic!("no command in a session: {other:?}"),
        }
    }

    /// Whether an attempt arrives within ten virtual minutes.
    async fn is_asked_again(&mut self) -> bool {
        tokio::time::timeout(Duration::from_secs(600), self.next()).await.is_ok()
    }
}

type Execution = JoinHandle<Result<u64, ClientError>>;

fn execute(client: &Client<WordCount>) -> Execution {
    let client = client.clone();
    spawn_local(async move { client.execute(Increment { word: b"word".to_vec() }).await })
}

fn counted(count: u64) -> Outcome {
    Outcome::Reply(codec::encode(&count).expect("a number").into())
}

fn story(story: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime");
    LocalSet::new().block_on(&runtime, story);
}

#[test]
fn a_ticket_of_an_old_session_does_not_free_the_same_number_in_the_new_one() {
    story(async {
        let (mut member, client) = Scripted::start();
        let [first, second] = [execute(&client), execute(&client)];
        member.opens(7).await;
        let (place, held) = member.command().await;
        assert_eq!(place, [7, 1, 1]);
        let (place, reply) = member.command().await;
        assert_eq!(place, [7, 2, 1]);
        // The session is over while the first command is still in flight in it.
        reply.answer(Outcome::SessionExpired);
        member.opens(9).await;
        let (place, kept) = member.command().await;
        assert_eq!(place, [9, 1, 1]);
        drop(held);
        first.abort();
        assert!(first.await.is_err_and(|error| error.is_cancelled()));
        let third = execute(&client);
        let (place, reply) = member.command().await;
        assert_eq!(place, [9, 2, 1], "the reply to 1 is still wanted");
        reply.answer(counted(2));
        kept.answer(counted(1));
        assert_eq!((second.await.unwrap(), third.await.unwrap()), (Ok(1), Ok(2)));
        let fourth = execute(&client);
        let (place, reply) = member.command().await;
        assert_eq!(place, [9, 3, 3]);
        reply.answer(counted(3));
        assert_eq!(fourth.await.unwrap(), Ok(3));
    });
}

/// After an install, a timeout or a dropped reply, a command that may have been executed is not
/// tried under another session's number.
#[test]
fn what_is_in_doubt_when_its_session_ends_stays_in_doubt_and_is_not_executed_again() {
    let doubts: [fn(Reply); 3] = [
        |reply| reply.answer(Outcome::Unknown),
        |mut reply| reply.mark_appended(crate::raft::LogId::new(1, 5)),
        |reply| {
            spawn_local(async move {
                tokio::time::sleep(Duration::from_secs(30)).await;
                drop(reply);
            });
        },
    ];
    for doubt in doubts {
        story(async move {
            let (mut member, client) = Scripted::start();
            let execution = execute(&client);
            member.opens(7).await;
            let (place, reply) = member.command().await;
            assert_eq!(place, [7, 1, 1]);
            doubt(reply);
            let (place, reply) = member.command().await;
            assert_eq!(place, [7, 1, 1], "the same number once more");
            reply.answer(Outcome::SessionExpired);
            let outcome = execution.await.unwrap();
            assert!(matches!(outcome, Err(ClientError::Unknown { .. })), "{outcome:?}");
            assert!(!member.is_asked_again().await, "executed once more");
        });
    }
}

/// A command that was certainly not executed is tried in a new session.
#[test]
fn what_was_certainly_not_executed_goes_into_a_new_session() {
    story(async {
        let (mut member, client) = Scripted::start();
        let execution = execute(&client);
        member.opens(7).await;
        member.command().await.1.refuse(ProposeError::Busy);
        member.command().await.1.answer(Outcome::SessionExpired);
        member.opens(9).await;
        let (place, reply) = member.command().await;
        assert_eq!(place, [9, 1, 1]);
        reply.answer(counted(1));
        assert_eq!(execution.await.unwrap(), Ok(1));
    });
}

/// A leader of an older build may refuse a copy of a command that a newer one has accepted.
#[test]
fn a_refusal_behind_an_attempt_in_doubt_is_not_told_as_not_executed() {
    story(async {
        let (mut member, client) = Scripted::start();
        for (first, in_doubt) in [(Outcome::Unknown, true), (counted(1), false)] {
            let execution = execute(&client);
            if in_doubt {
                member.opens(7).await;
                member.command().await.1.answer(first);
                member.command().await.1.refuse(ProposeError::Rejected("unknown here".into()));
                let outcome = execution.await.unwrap();
                assert!(matches!(outcome, Err(ClientError::Unknown { .. })), "{outcome:?}");
            } else {
                member.command().await.1.refuse(ProposeError::Rejected("unknown here".into()));
                let outcome = execution.await.unwrap();
                assert!(matches!(outcome, Err(ClientError::Rejected(_))), "{outcome:?}");
            }
        }
    });
}

#[test]
fn a_reply_that_was_too_long_and_a_number_taken_twice_are_typed_errors() {
    story(async {
        let (mut member, client) = Scripted::start();
        let execution = execute(&client);
        member.opens(7).await;
        member.command().await.1.answer(Outcome::ReplyTooLong { limit: 10 });
        assert_eq!(execution.await.unwrap(), Err(ClientError::ReplyTooLong { limit: 10 }));
        let taken = decode_reply::<WordCount>(Outcome::SequenceReused);
        assert_eq!(taken, Err(ProposeError::SequenceReused));
        assert!(!ProposeError::SequenceReused.may_have_applied());
        assert!(ProposeError::ReplyTooLong { limit: 10 }.may_have_applied());
    });
}

const LONG: Duration = Duration::MAX;
const NONE: Duration = Duration::ZERO;

fn with(change: impl FnOnce(&mut ClientOptions)) -> ClientOptions {
    let mut options = ClientOptions::default();
    change(&mut options);
    options
}

/// Tests each option at the ends of its type, with the expected result. A new field needs a row
/// here.
#[test]
fn no_option_stops_the_client_at_the_ends_of_its_range() {
    type Change = fn(&mut ClientOptions);
    let refused: &[(&str, Change)] = &[
        ("timeout", |o| o.timeout = NONE),
        ("timeout", |o| o.timeout = LONG),
        ("attempt_timeout", |o| o.attempt_timeout = NONE),
        ("attempt_timeout", |o| o.attempt_timeout = LONG),
        ("backoff_min", |o| o.backoff_min = NONE),
        ("backoff_min", |o| (o.backoff_min, o.backoff_max) = (LONG, LONG)),
        ("backoff_max", |o| o.backoff_max = NONE),
        ("backoff_max", |o| o.backoff_max = LONG),
        ("window", |o| o.window = 0),
    ];
    for (setting, change) in refused {
        let error = with(change).validate().expect_err(setting);
        assert_eq!(error.setting(), *setting, "{error}");
    }
    assert_eq!(with(|o| o.window = u64::MAX).validate(), Ok(()));
}

#[tokio::test]
async fn a_client_whose_options_do_not_work_says_so_and_executes_nothing() {
    let client: Client<WordCount> = Client::new(Members::default(), with(|o| o.window = 0));
    let error = client.execute(Increment { word: b"word".to_vec() }).await.expect_err("no window");
    let said = "these client options do not work: window is 0, and must be at least 1";
    assert_eq!(error.to_string(), said);
}
