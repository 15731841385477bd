//! Code of the service that never returns: the node ends without it.

use std::io::{Read, Write};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use quorate::machine::{ApplyContext, CodecError, Machine, codec};
use quorate::node::{Config, Consistency, Node, NodeBuilder, ReadError};
use quorate::raft::{Membership, Role};
use quorate::storage::Start;
use quorate::storage::file::FileStorage;
use quorate::transport::InProcessNetwork;
use tokio::time::timeout;

use crate::{quick, until};

/// Where calls hang.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Apply,
    Encode,
    Drop,
}

/// Calls at this place wait until it is opened.
struct Gate {
    place: Place,
    state: Mutex<GateState>,
    changed: Condvar,
}

#[derive(Default)]
struct GateState {
    is_open: bool,
    has_waiters: bool,
}

impl Gate {
    fn new(place: Place) -> Arc<Gate> {
        Arc::new(Gate { place, state: Mutex::default(), changed: Condvar::new() })
    }

    fn pass(&self, place: Place) {
        if place != self.place {
            return;
        }
        let mut state = self.state.lock().unwrap();
        state.has_waiters = true;
        while !state.is_open {
            state = self.changed.wait(state).unwrap();
        }
    }

    fn has_waiters(&self) -> bool {
        self.state.lock().unwrap().has_waiters
    }

    fn open(&self) {
        self.state.lock().unwrap().is_open = true;
        self.changed.notify_all();
    }
}

/// A sum.
struct Sum {
    value: u64,
    gate: Option<Arc<Gate>>,
}

impl Sum {
    fn of(gate: Option<&Arc<Gate>>) -> Sum {
        Sum { value: 0, gate: gate.cloned() }
    }

    fn pass(&self, place: Place) {
        self.gate.iter().for_each(|gate| gate.pass(place));
    }
}

struct SumView(u64, Option<Arc<Gate>>);

impl Machine for Sum {
    type Command = u64;
    type Reply = u64;
    type View = SumView;

    fn apply(&mut self, number: u64, _: &ApplyContext) -> u64 {
        self.pass(Place::Apply);
        self.value += number;
        self.value
    }

    fn view(&self) -> SumView {
        SumView(self.value, self.gate.clone())
    }

    fn encode(view: &SumView, out: &mut dyn Write) -> Result<(), CodecError> {
        view.1.iter().for_each(|gate| gate.pass(Place::Encode));
        codec::encode_to(&view.0, out)
    }

    fn decode(input: &mut dyn Read) -> Result<Sum, CodecError> {
        Ok(Sum { value: codec::decode_from(input)?, gate: None })
    }
}

impl Drop for Sum {
    fn drop(&mut self) {
        self.pass(Place::Drop);
    }
}

/// The only member of its cluster, leading.
async fn start(machine: Sum, dir: &std::path::Path) -> Node<Sum> {
    let network = InProcessNetwork::default();
    let config = Config { shutdown_timeout: Duration::from_millis(300), ..quick() };
    let node = NodeBuilder::new(1, machine)
        .config(config)
        .storage(FileStorage::new(dir))
        .transport(network.endpoint(1))
        .start_mode(Start::Bootstrap(Membership::of_voters([1])))
        .start()
        .await
        .expect("it starts");
    let handle = node.handle();
    until("it leads", || handle.status().raft.role == Role::Leader).await;
    until("it has committed", || handle.status().raft.applied > 0).await;
    node
}

/// AC05, A70: the node says which of its actors hangs, and ends in order without it: what is durable is sealed, the storage is
/// free, and reads that wait are answered.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_ends_without_the_actor_that_hangs_and_names_it() {
    for (place, actor) in
        [(Place::Apply, "applier"), (Place::Encode, "snapshotter"), (Place::Drop, "snapshotter")]
    {
        let dir = tempfile::tempdir().unwrap();
        let gate = Gate::new(place);
        let node = start(Sum::of(Some(&gate)), dir.path()).await;
        let handle = node.handle();
        let proposer = handle.clone();
        let proposed = tokio::spawn(async move { proposer.propose(7).await });
        let mut parked = None;
        match place {
            Place::Apply => {
                until("the command is being applied", || gate.has_waiters()).await;
                let reader = handle.clone();
                let read = async move { reader.read(Consistency::Local, |sum| sum.value).await };
                parked = Some(tokio::spawn(read));
                until("a read waits", || handle.status().reads_in_flight == 1).await;
            }
            Place::Encode => {
                assert_eq!(proposed.await.unwrap(), Ok(7));
                let asker = handle.clone();
                tokio::spawn(async move { asker.snapshot().await });
                until("the state is being encoded", || gate.has_waiters()).await;
            }
            Place::Drop => assert_eq!(proposed.await.unwrap(), Ok(7)),
        }
        let ended = timeout(Duration::from_secs(60), node.shutdown()).await;
        assert!(ended.is_ok(), "{place:?}: the end is held up");
        let fatal = handle.status().fatal.unwrap_or_default();
        assert!(fatal.contains(&format!("the {actor} hangs")), "{place:?}: {fatal:?}");
        assert!(fatal.contains("shutdown_timeout"), "{fatal}");
        if let Some(read) = parked {
            assert_eq!(read.await.unwrap(), Err(ReadError::Fatal));
        }
        if place == Place::Apply {
            // Nothing of the storage is in the hands of what hangs: the command is there.
            let again = start(Sum::of(None), dir.path()).await;
            let read = again.handle().read(Consistency::Local, |sum| sum.value).await;
            assert_eq!(read, Ok(7));
            again.shutdown().await;
        }
        gate.open();
    }
}
