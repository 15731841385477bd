//! A command's span, from the proposal to the answer.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use quorate::machine::{ApplyContext, Replicated};
use quorate::node::{Cluster, Config, ProposeError};
use quorate::raft::Role;
use quorate::runtime::Placement;
use serde::{Deserialize, Serialize};
use tracing::field::{Field, Visit};
use tracing::{Event, Metadata, Subscriber, span};

use crate::support::{story, until};

/// One collector at a time: where two come and go, `tracing` may miss that somebody listens to what is said for the first time.
static COLLECTING: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    COLLECTING.lock().unwrap_or_else(PoisonError::into_inner)
}

type Fields = BTreeMap<&'static str, String>;

/// A span as it was seen.
#[derive(Default)]
struct Seen {
    name: &'static str,
    parent: Option<u64>,
    fields: Fields,
    events: Vec<Fields>,
    handles: u64,
}

/// Keeps the spans of one thread, and what happened in them.
#[derive(Clone, Default)]
struct Collector {
    next: Arc<AtomicU64>,
    spans: Arc<Mutex<BTreeMap<u64, Seen>>>,
    entered: Arc<Mutex<Vec<u64>>>,
}

struct Into<'a>(&'a mut Fields);

impl Visit for Into<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0.insert(field.name(), format!("{value:?}"));
    }
}

impl Collector {
    fn current(&self) -> Option<u64> {
        self.entered.lock().unwrap().last().copied()
    }

    fn with(&self, id: u64, then: impl FnOnce(&mut Seen)) {
        then(self.spans.lock().unwrap().get_mut(&id).expect("a span of this collector"));
    }
}

impl Subscriber for Collector {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        ["quorate::command", module_path!()].contains(&metadata.target())
    }

    fn new_span(&self, new: &span::Attributes<'_>) -> span::Id {
        let id = self.next.fetch_add(1, Ordering::Relaxed) + 1;
        let parent = new.parent().map(span::Id::into_u64);
        let parent = parent.or(self.current().filter(|_| new.is_contextual()));
        let name = new.metadata().name();
        let mut seen = Seen { name, parent, handles: 1, ..Seen::default() };
        new.record(&mut Into(&mut seen.fields));
        self.spans.lock().unwrap().insert(id, seen);
        span::Id::from_u64(id)
    }

    fn record(&self, id: &span::Id, values: &span::Record<'_>) {
        self.with(id.into_u64(), |seen| values.record(&mut Into(&mut seen.fields)));
    }

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut fields = Fields::new();
        event.record(&mut Into(&mut fields));
        let parent = event.parent().map(span::Id::into_u64);
        if let Some(span) = parent.or(self.current().filter(|_| event.is_contextual())) {
            self.with(span, |seen| seen.events.push(fields));
        }
    }

    fn enter(&self, id: &span::Id) {
        self.entered.lock().unwrap().push(id.into_u64());
    }

    fn exit(&self, id: &span::Id) {
        assert_eq!(self.entered.lock().unwrap().pop(), Some(id.into_u64()));
    }

    fn clone_span(&self, id: &span::Id) -> span::Id {
        self.with(id.into_u64(), |seen| seen.handles += 1);
        id.clone()
    }

    fn try_close(&self, id: span::Id) -> bool {
        self.with(id.into_u64(), |seen| seen.handles -= 1);
        self.spans.lock().unwrap()[&id.into_u64()].handles == 0
    }
}

/// A counter that says something while it counts.
#[derive(Clone, Default, Serialize, Deserialize)]
struct Talkative(u64);

impl Replicated for Talkative {
    type Command = u64;
    type Reply = u64;

    fn apply(&mut self, add: u64, _: &ApplyContext) -> u64 {
        tracing::info!(add, "counting");
        self.0 += add;
        self.0
    }
}

fn talkative(size: u64) -> quorate::node::ClusterBuilder<Talkative> {
    let config = Config { seed: 7, ..Config::default() };
    Cluster::builder(size, Talkative::default).config(config).placement(Placement::virtual_time())
}

fn messages(seen: &Seen) -> Vec<&str> {
    seen.events.iter().map(|event| &event["message"][..]).collect()
}

/// The only `command` span there is.
fn command(collector: &Collector, look: impl FnOnce(&Seen)) {
    let spans = collector.spans.lock().unwrap();
    let commands: Vec<_> = spans.values().filter(|seen| seen.name == "command").collect();
    assert_eq!(commands.len(), 1);
    look(commands[0]);
}

/// Listens on this thread. Other tests may meet the places that tell something for the first time just now, while nobody
/// listens: what they found out about them is forgotten.
fn collect(collector: &Collector) -> tracing::subscriber::DefaultGuard {
    let guard = tracing::subscriber::set_default(collector.clone());
    tracing::callsite::rebuild_interest_cache();
    guard
}

#[test]
fn a_requests_span_shows_its_command_from_the_proposal_to_the_answer() {
    let _alone = alone();
    story(async {
        let cluster = talkative(1).start().await.unwrap();
        let handle = cluster.handle(0).unwrap();
        until("it leads", || handle.status().raft.role == Role::Leader).await;
        let collector = Collector::default();
        let collecting = collect(&collector);
        let request = tracing::info_span!("request");
        let mut proposal = request.in_scope(|| handle.submit(5)).unwrap();
        let log_id = proposal.appended().await.unwrap();
        assert_eq!(proposal.reply().await, Ok(5));
        drop(collecting);

        let request = request.id().expect("collected").into_u64();
        command(&collector, |seen| {
            assert_eq!(seen.parent, Some(request), "the request's own span is around it");
            assert_eq!(
                messages(seen),
                ["proposed", "appended", "replicated", "counting", "applied"]
            );
            let known = |fields: &Fields, field| fields.get(field).cloned();
            let expected = [
                ("node", "0".to_string()),
                ("term", log_id.term.to_string()),
                ("role", "Leader".to_string()),
                ("index", log_id.index.to_string()),
            ];
            for (field, value) in expected {
                assert_eq!(known(&seen.fields, field), Some(value.clone()), "{field} of the span");
                for event in [1, 2, 4].map(|number| &seen.events[number]) {
                    assert_eq!(known(event, field), Some(value.clone()), "{field} of {event:?}");
                }
            }
            assert_eq!(seen.handles, 0, "the span ends with the answer");
        });
        cluster.shutdown().await;
    });
}

#[test]
fn a_refused_commands_span_says_why() {
    let _alone = alone();
    story(async {
        let cluster = talkative(2).start().await.unwrap();
        let handle = cluster.handle(0).unwrap();
        cluster.stop_member(1).await;
        handle.propose(1).await.expect_err("nobody leads");
        let collector = Collector::default();
        let collecting = collect(&collector);
        let refused = handle.propose(1).await;
        drop(collecting);
        assert!(matches!(refused, Err(ProposeError::NotLeader { .. })), "{refused:?}");
        command(&collector, |seen| {
            assert_eq!(messages(seen), ["proposed", "failed"]);
            assert!(seen.events[1]["error"].contains("does not lead"), "{:?}", seen.events[1]);
            assert!(seen.fields["role"] != "Leader" && seen.handles == 0);
        });
        cluster.shutdown().await;
    });
}
