//! openraft 0.9, the released version, with a store in memory and a network of direct calls.
//!
//! Settings are those of the benchmark that comes with it: election timeouts of 200 to 2000 ms, purging in batches of
//! 1024, otherwise the default (up to 300 entries a message, a snapshot per 5000 entries, 1000 kept behind it); but for
//! up to 1024 entries a message, which its later version's benchmark has and which helps it. The store is like the
//! other version's.
//!
//! Not here: what would help it and is no part of Raft, as batches made up by the client.

use std::io;
use std::ops::RangeBounds;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use openraft_0_9::error::{
    Fatal, RPCError, RaftError, RemoteError, ReplicationClosed, StreamingError, Unreachable,
};
use openraft_0_9::network::RPCOption;
use openraft_0_9::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, VoteRequest, VoteResponse,
};
use openraft_0_9::storage::{LogFlushed, RaftLogStorage, RaftStateMachine, SnapshotMeta};
use openraft_0_9::{
    Config, EntryPayload, LogId, LogState, OptionalSend, Raft, RaftLogReader, RaftNetwork,
    RaftNetworkFactory, RaftSnapshotBuilder, RaftTypeConfig, Snapshot, StorageError,
    StoredMembership, Vote,
};

use super::runtimes::{Layout, Runtimes};
use super::{Contestant, MEMBERS, Side};
use crate::load::{Load, Turn, client, conduct};
use crate::measure::{Outcome, Stopwatch};
use crate::memory_log::MemoryLog;

/// An election that takes longer has failed.
const ELECTION: Duration = Duration::from_secs(10);

openraft_0_9::declare_raft_types!(
    pub Types:
        D = Bytes,
        R = (),
        Node = (),
        SnapshotData = u64,
);

type Entry = <Types as RaftTypeConfig>::Entry;
type Member = Raft<Types>;
type Failed = StorageError<u64>;
type Unanswered = RPCError<u64, (), RaftError<u64>>;

// ---- store -------------------------------------------------------------------------------

#[derive(Default)]
struct Stored {
    vote: Option<Vote<u64>>,
    purged: Option<LogId<u64>>,
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
    async fn try_get_log_entries<R>(&mut self, range: R) -> Result<Vec<Entry>, Failed>
    where
        R: RangeBounds<u64> + Clone + std::fmt::Debug + OptionalSend,
    {
        Ok(self.lock().log.range(range))
    }
}

impl RaftLogStorage<Types> for Store {
    type LogReader = Store;

    async fn get_log_state(&mut self) -> Result<LogState<Types>, Failed> {
        let stored = self.lock();
        let last = stored.log.last().map(|entry| entry.log_id).or(stored.purged);
        Ok(LogState { last_purged_log_id: stored.purged, last_log_id: last })
    }

    async fn get_log_reader(&mut self) -> Store {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote<u64>) -> Result<(), Failed> {
        self.lock().vote = Some(*vote);
        Ok(())
    }

    async fn read_vote(&mut self) -> Result<Option<Vote<u64>>, Failed> {
        Ok(self.lock().vote)
    }

    async fn append<I>(&mut self, entries: I, flushed: LogFlushed<Types>) -> Result<(), Failed>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let mut stored = self.lock();
        entries.into_iter().for_each(|entry| stored.log.push(entry.log_id.index, entry));
        drop(stored);
        flushed.log_io_completed(Ok::<(), io::Error>(()));
        Ok(())
    }

    async fn truncate(&mut self, from: LogId<u64>) -> Result<(), Failed> {
        self.lock().log.truncate_from(from.index);
        Ok(())
    }

    async fn purge(&mut self, through: LogId<u64>) -> Result<(), Failed> {
        let mut stored = self.lock();
        stored.purged = Some(through);
        stored.log.purge_through(through.index);
        Ok(())
    }
}

// ---- state machine -----------------------------------------------------------------------

#[derive(Clone, Default)]
struct State {
    applied: Option<LogId<u64>>,
    membership: StoredMembership<u64, ()>,
    commands: u64,
}

type Kept = Arc<Mutex<Option<Snapshot<Types>>>>;

/// The state machine of a member, and its last snapshot.
#[derive(Default)]
struct Machine {
    state: State,
    snapshot: Kept,
}

/// The state that a snapshot is to be made of.
struct View {
    state: State,
    snapshot: Kept,
}

fn keep(kept: &Kept, snapshot: &Snapshot<Types>) {
    *kept.lock().expect("no holder of the lock panics") = Some(snapshot.clone());
}

impl RaftSnapshotBuilder<Types> for View {
    async fn build_snapshot(&mut self) -> Result<Snapshot<Types>, Failed> {
        let State { applied, membership, commands } = self.state.clone();
        let snapshot_id = commands.to_string();
        let meta = SnapshotMeta { last_log_id: applied, last_membership: membership, snapshot_id };
        let snapshot = Snapshot { meta, snapshot: Box::new(commands) };
        keep(&self.snapshot, &snapshot);
        Ok(snapshot)
    }
}

impl RaftStateMachine<Types> for Machine {
    type SnapshotBuilder = View;

    async fn applied_state(
        &mut self,
    ) -> Result<(Option<LogId<u64>>, StoredMembership<u64, ()>), Failed> {
        Ok((self.state.applied, self.state.membership.clone()))
    }

    async fn apply<I>(&mut self, entries: I) -> Result<Vec<()>, Failed>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let mut replies = Vec::new();
        for entry in entries {
            self.state.applied = Some(entry.log_id);
            match entry.payload {
                EntryPayload::Blank => {}
                EntryPayload::Normal(_) => self.state.commands += 1,
                EntryPayload::Membership(members) => {
                    self.state.membership = StoredMembership::new(Some(entry.log_id), members);
                }
            }
            replies.push(());
        }
        Ok(replies)
    }

    async fn get_snapshot_builder(&mut self) -> View {
        View { state: self.state.clone(), snapshot: self.snapshot.clone() }
    }

    async fn begin_receiving_snapshot(&mut self) -> Result<Box<u64>, Failed> {
        Ok(Box::default())
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta<u64, ()>,
        data: Box<u64>,
    ) -> Result<(), Failed> {
        let SnapshotMeta { last_log_id: applied, last_membership: membership, .. } = meta.clone();
        self.state = State { applied, membership, commands: *data };
        keep(&self.snapshot, &Snapshot { meta: meta.clone(), snapshot: data });
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot<Types>>, Failed> {
        Ok(self.snapshot.lock().expect("no holder of the lock panics").clone())
    }
}

// ---- network -----------------------------------------------------------------------------

/// All members, once they are there.
#[derive(Clone, Default)]
struct Network(Arc<OnceLock<Vec<Member>>>);

/// The way to one member.
struct Link {
    target: u64,
    member: Member,
}

impl RaftNetworkFactory<Types> for Network {
    type Network = Link;

    async fn new_client(&mut self, target: u64, _node: &()) -> Link {
        let members = self.0.get().expect("members speak once all are there");
        Link { target, member: members[target as usize].clone() }
    }
}

impl Link {
    fn failed(&self, error: RaftError<u64>) -> Unanswered {
        RPCError::RemoteError(RemoteError::new(self.target, error))
    }
}

impl RaftNetwork<Types> for Link {
    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<Types>,
        _option: RPCOption,
    ) -> Result<AppendEntriesResponse<u64>, Unanswered> {
        self.member.append_entries(request).await.map_err(|error| self.failed(error))
    }

    async fn vote(
        &mut self,
        request: VoteRequest<u64>,
        _option: RPCOption,
    ) -> Result<VoteResponse<u64>, Unanswered> {
        self.member.vote(request).await.map_err(|error| self.failed(error))
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote<u64>,
        snapshot: Snapshot<Types>,
        _cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<u64>, StreamingError<Types, Fatal<u64>>> {
        let installed = self.member.install_full_snapshot(vote, snapshot).await;
        installed.map_err(|error| StreamingError::Unreachable(Unreachable::new(&error)))
    }
}

// ---- contestant --------------------------------------------------------------------------

/// A cluster for each turn.
pub struct Openraft(Layout);

impl Openraft {
    /// In every layout.
    pub fn all() -> impl Iterator<Item = Openraft> {
        Layout::all().map(Openraft)
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

async fn found() -> Outcome<Vec<Member>> {
    let (config, network) = (config()?, Network::default());
    let mut members = Vec::new();
    for node in 0..MEMBERS {
        let (network, store) = (network.clone(), Store::default());
        let member = Raft::new(node, config.clone(), network, store, Machine::default());
        members.push(member.await?);
    }
    let all_there = network.0.set(members.clone()).is_ok();
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
            if leader.client_write(Bytes::new()).await.is_ok() {
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
            leader.client_write(payload.clone()).await.map(|_| ())
        }))
    }))
}

impl Contestant for Openraft {
    fn name(&self) -> String {
        format!("openraft 0.9, {}", self.0.name())
    }

    fn side(&self) -> Side {
        Side::Theirs
    }

    fn turn(&mut self, load: &Load) -> Outcome<Turn> {
        let runtimes = self.0.start()?;
        let members = runtimes.members().block_on(found())?;
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
