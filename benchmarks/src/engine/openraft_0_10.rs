//! openraft 0.10, an alpha version, with a store in memory and a network of direct calls.
//!
//! Settings are those of the benchmark that comes with it: election timeouts of 200 to 2000 ms, up to 1024 entries a
//! message, purging in batches of 1024, otherwise the default (a snapshot per 5000 entries, 1000 kept behind it, so the
//! log stays short). The store does the least that is right: a deque under a lock, votes beside it, a state machine
//! without a lock that counts commands, snapshots that are copies of the count. Messages are handed over as values: call
//! by call, as in its benchmark, and on the pipelined path that its documentation recommends.
//!
//! Not here: what would help it and is no part of Raft, as batches made up by the client.

use std::io;
use std::ops::RangeBounds;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, StreamExt, TryStreamExt};
use openraft_0_10::alias::{LogIdOf, SnapshotMetaOf, SnapshotOf, StoredMembershipOf, VoteOf};
use openraft_0_10::base::{BoxFuture, BoxStream};
use openraft_0_10::entry::RaftEntry;
use openraft_0_10::errors::{RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft_0_10::impls;
use openraft_0_10::network::{RPCOption, stream_append_sequential};
use openraft_0_10::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendResult, VoteRequest,
    VoteResponse,
};
use openraft_0_10::storage::{
    EntryResponder, IOFlushed, RaftLogStorage, RaftSnapshotBuilder, RaftStateMachine,
};
use openraft_0_10::vote::RaftLeaderId;
use openraft_0_10::{
    Config, EntryPayload, LogState, OptionalSend, Raft, RaftLogReader, RaftNetworkFactory,
    RaftNetworkV2, RaftTypeConfig, Snapshot, SnapshotMeta, StoredMembership,
};

use super::runtimes::{Layout, Runtimes};
use super::{Contestant, MEMBERS, Side};
use crate::load::{Load, Turn, client, conduct};
use crate::measure::{Outcome, Stopwatch};
use crate::memory_log::MemoryLog;

/// An election that takes longer has failed.
const ELECTION: Duration = Duration::from_secs(10);

/// A command.
#[derive(Clone, Debug)]
pub struct Command(Bytes);

impl std::fmt::Display for Command {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

/// Its usual types, with small ones where it leaves the choice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Types;

impl RaftTypeConfig for Types {
    type D = Command;
    type R = ();
    type NodeId = u64;
    type Node = ();
    type Term = u64;
    type LeaderId = impls::leader_id_adv::LeaderId<u64, u64>;
    type Vote = impls::Vote<Self::LeaderId>;
    type Payload = EntryPayload<Command, u64, ()>;
    type Entry = impls::Entry<<Self::LeaderId as RaftLeaderId>::Committed, Self::Payload>;
    type Responder<T: OptionalSend + 'static> = impls::OneshotResponder<Types, T>;
    type Batch<T: OptionalSend + 'static> = impls::InlineBatch<T>;
    type AsyncRuntime = impls::TokioRuntime;
    type ErrorSource = impls::BoxedErrorSource;
}

type Entry = <Types as RaftTypeConfig>::Entry;
type Member = Raft<Types, Machine>;

// ---- store -------------------------------------------------------------------------------

#[derive(Default)]
struct Stored {
    vote: Option<VoteOf<Types>>,
    purged: Option<LogIdOf<Types>>,
    log: MemoryLog<Entry>,
}

/// Log and vote of a member.
#[derive(Clone, Default)]
struct Store(Arc<Mutex<Stored>>);

impl Store {
    fn lock(&self) -> MutexGuard<'_, Stored> {
        self.0.lock().expect("no holder of the lock panics")
    }
}

impl RaftLogReader<Types> for Store {
    async fn try_get_log_entries<R>(&mut self, range: R) -> io::Result<Vec<Entry>>
    where
        R: RangeBounds<u64> + Clone + std::fmt::Debug + OptionalSend,
    {
        Ok(self.lock().log.range(range))
    }

    async fn read_vote(&mut self) -> io::Result<Option<VoteOf<Types>>> {
        Ok(self.lock().vote)
    }
}

impl RaftLogStorage<Types> for Store {
    type LogReader = Store;

    async fn get_log_state(&mut self) -> io::Result<LogState<Types>> {
        let stored = self.lock();
        let last = stored.log.last().map(|entry| entry.log_id).or(stored.purged);
        Ok(LogState { last_purged_log_id: stored.purged, last_log_id: last })
    }

    async fn get_log_reader(&mut self) -> Store {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &VoteOf<Types>) -> io::Result<()> {
        self.lock().vote = Some(*vote);
        Ok(())
    }

    async fn append<I>(&mut self, entries: I, flushed: IOFlushed<Types>) -> io::Result<()>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let mut stored = self.lock();
        entries.into_iter().for_each(|entry| stored.log.push(entry.index(), entry));
        drop(stored);
        flushed.io_completed(Ok(()));
        Ok(())
    }

    async fn truncate_after(&mut self, last: Option<LogIdOf<Types>>) -> io::Result<()> {
        self.lock().log.truncate_from(last.map_or(0, |last| last.index + 1));
        Ok(())
    }

    async fn purge(&mut self, through: LogIdOf<Types>) -> io::Result<()> {
        let mut stored = self.lock();
        stored.purged = Some(through);
        stored.log.purge_through(through.index);
        Ok(())
    }
}

// ---- state machine -----------------------------------------------------------------------

#[derive(Clone, Default)]
struct State {
    applied: Option<LogIdOf<Types>>,
    membership: StoredMembershipOf<Types>,
    commands: u64,
}

type Kept = Arc<Mutex<Option<SnapshotOf<Types, u64>>>>;

/// The state machine of a member, and its last snapshot.
#[derive(Default)]
pub struct Machine {
    state: State,
    snapshot: Kept,
}

/// The state that a snapshot is to be made of.
pub struct View {
    state: State,
    snapshot: Kept,
}

fn keep(kept: &Kept, snapshot: &SnapshotOf<Types, u64>) {
    *kept.lock().expect("no holder of the lock panics") = Some(snapshot.clone());
}

impl RaftSnapshotBuilder<Types> for View {
    type SnapshotData = u64;

    async fn build_snapshot(&mut self) -> io::Result<SnapshotOf<Types, u64>> {
        let State { applied, membership, commands } = self.state.clone();
        let meta = SnapshotMeta { last_log_id: applied, last_membership: membership };
        let snapshot = Snapshot { meta, snapshot: commands };
        keep(&self.snapshot, &snapshot);
        Ok(snapshot)
    }
}

impl RaftStateMachine<Types> for Machine {
    type SnapshotData = u64;
    type SnapshotBuilder = View;

    async fn applied_state(
        &mut self,
    ) -> io::Result<(Option<LogIdOf<Types>>, StoredMembershipOf<Types>)> {
        Ok((self.state.applied, self.state.membership.clone()))
    }

    async fn apply<S>(&mut self, mut entries: S) -> io::Result<()>
    where
        S: Stream<Item = io::Result<EntryResponder<Types>>> + Unpin + OptionalSend,
    {
        while let Some((entry, responder)) = entries.try_next().await? {
            self.state.applied = Some(entry.log_id);
            match entry.payload {
                EntryPayload::Blank => {}
                EntryPayload::Normal(_) => self.state.commands += 1,
                EntryPayload::Membership(members) => {
                    self.state.membership = StoredMembership::new(Some(entry.log_id), members);
                }
            }
            if let Some(responder) = responder {
                responder.send(());
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> View {
        View { state: self.state.clone(), snapshot: self.snapshot.clone() }
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMetaOf<Types>,
        data: u64,
    ) -> io::Result<()> {
        let SnapshotMeta { last_log_id: applied, last_membership: membership } = meta.clone();
        self.state = State { applied, membership, commands: data };
        keep(&self.snapshot, &Snapshot { meta: meta.clone(), snapshot: data });
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> io::Result<Option<SnapshotOf<Types, u64>>> {
        Ok(self.snapshot.lock().expect("no holder of the lock panics").clone())
    }
}

// ---- network -----------------------------------------------------------------------------

/// How appended entries travel.
#[derive(Clone, Copy)]
enum Path {
    /// A call, and the next one when it has returned.
    Calls,
    /// One stream of requests, one of answers.
    Streams,
}

/// All members, once they are there.
#[derive(Clone)]
struct Network {
    members: Arc<OnceLock<Vec<Member>>>,
    path: Path,
}

/// The way to one member.
struct Link {
    member: Member,
    path: Path,
}

impl RaftNetworkFactory<Types> for Network {
    type Network = Link;

    async fn new_client(&mut self, target: u64, _node: &()) -> Link {
        let members = self.members.get().expect("members speak once all are there");
        Link { member: members[target as usize].clone(), path: self.path }
    }
}

fn unreachable<E: std::error::Error + 'static>(error: E) -> RPCError<Types> {
    RPCError::Unreachable(Unreachable::new(&error))
}

impl RaftNetworkV2<Types> for Link {
    type SnapshotData = u64;

    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<Types>,
        _option: RPCOption,
    ) -> Result<AppendEntriesResponse<Types>, RPCError<Types>> {
        self.member.append_entries(request).await.map_err(unreachable)
    }

    fn stream_append<'s, S>(
        &'s mut self,
        requests: S,
        option: RPCOption,
    ) -> BoxFuture<
        's,
        Result<BoxStream<'s, Result<StreamAppendResult<Types>, RPCError<Types>>>, RPCError<Types>>,
    >
    where
        S: Stream<Item = AppendEntriesRequest<Types>> + OptionalSend + Unpin + 'static,
    {
        match self.path {
            Path::Calls => stream_append_sequential(self, requests, option),
            Path::Streams => {
                let answers = self.member.stream_append(requests).map_err(unreachable);
                Box::pin(async move { Ok(answers.boxed()) })
            }
        }
    }

    async fn vote(
        &mut self,
        request: VoteRequest<Types>,
        _option: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        self.member.vote(request).await.map_err(unreachable)
    }

    async fn full_snapshot(
        &mut self,
        vote: VoteOf<Types>,
        snapshot: SnapshotOf<Types, u64>,
        _cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<Types>, StreamingError<Types>> {
        let installed = self.member.install_full_snapshot(vote, snapshot).await;
        installed.map_err(|error| StreamingError::Unreachable(Unreachable::new(&error)))
    }
}

// ---- contestant --------------------------------------------------------------------------

/// A cluster for each turn.
pub struct Openraft {
    path: Path,
    layout: Layout,
}

impl Openraft {
    /// On both paths, in every layout.
    pub fn all() -> impl Iterator<Item = Openraft> {
        let of = |path| Layout::all().map(move |layout| Openraft { path, layout });
        [Path::Calls, Path::Streams].into_iter().flat_map(of)
    }
}

fn config() -> Outcome<Arc<Config>> {
    let config = Config {
        election_timeout_min: 200,
        election_timeout_max: 2000,
        max_payload_entries: 1024,
        purge_batch_size: 1024,
        ..Config::default()
    };
    Ok(Arc::new(config.validate()?))
}

async fn found(path: Path) -> Outcome<Vec<Member>> {
    let (config, network) = (config()?, Network { members: Arc::default(), path });
    let mut members = Vec::new();
    for node in 0..MEMBERS {
        let (network, store) = (network.clone(), Store::default());
        let member = Raft::new(node, config.clone(), network, store, Machine::default());
        members.push(member.await?);
    }
    let all_there = network.members.set(members.clone()).is_ok();
    assert!(all_there, "they are set once");
    members[0].initialize((0..MEMBERS).collect::<std::collections::BTreeSet<_>>()).await?;
    Ok(members)
}

/// The member that leads, when it has committed something as the leader.
async fn leader_of(members: &[Member]) -> Outcome<Member> {
    let stopwatch = Stopwatch::start();
    while stopwatch.elapsed() < ELECTION {
        if let Some(leader) = members[0].current_leader().await {
            let leader = &members[leader as usize];
            if leader.client_write(Command(Bytes::new())).await.is_ok() {
                return Ok(leader.clone());
            }
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    Err("no leader was elected".into())
}

fn run(runtimes: &Runtimes, members: &[Member], load: &Load) -> Outcome<Turn> {
    let leader = runtimes.members().block_on(leader_of(members))?;
    runtimes.clients().block_on(conduct(load, |phase| {
        let (leader, payload) = (leader.clone(), load.payload.clone());
        tokio::spawn(client(phase, async move || {
            leader.client_write(Command(payload.clone())).await.map(|_| ())
        }))
    }))
}

impl Contestant for Openraft {
    fn name(&self) -> String {
        let path = match self.path {
            Path::Calls => "calls",
            Path::Streams => "streams",
        };
        format!("openraft 0.10, {path}, {}", self.layout.name())
    }

    fn side(&self) -> Side {
        Side::Theirs
    }

    fn turn(&mut self, load: &Load) -> Outcome<Turn> {
        let runtimes = self.layout.start()?;
        let members = runtimes.members().block_on(found(self.path))?;
        let turn = run(&runtimes, &members, load);
        for member in &members {
            runtimes.members().block_on(member.shutdown())?;
        }
        runtimes.end();
        turn
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_commits() {
        let mut one = Openraft::all().next().unwrap();
        let turn = one.turn(&Load::small()).unwrap();
        assert!(turn.commits_per_s > 0.0);
    }
}
