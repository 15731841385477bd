//! The commands of the scripts.

use std::collections::BTreeSet;
use std::error::Error;
use std::str::FromStr;

use bytes::Bytes;
use goldenscript::{Argument, Command, Context, Runner};
use quorate::raft::testing::small_config;
use quorate::raft::*;

use crate::cluster::{Cluster, Work};
use crate::narrate;

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

/// Runs one script.
#[derive(Default)]
pub struct Script {
    cluster: Option<Cluster>,
    next_forged: RequestId,
}

impl Runner for Script {
    type Command = Command;

    fn run(&mut self, command: &Command, context: &Context) -> Outcome<String> {
        let mut args = Args::of(command);
        match command.name.as_str() {
            "cluster" => self.begin(&mut args)?,
            "forge" => self.forge(&mut args)?,
            name => {
                let cluster = self.cluster()?;
                cluster.is_verbose = context.tags.contains("verbose");
                obey(cluster, name, &mut args)?;
            }
        }
        args.end()?;
        Ok(self.cluster()?.take_lines())
    }
}

impl Script {
    /// `cluster voters="0,1,2" [outgoing=..] [learners=..] [down=..] [log=..] [logN=..] [SETTING=..]`:
    /// the nodes with their logs, by the terms of the entries. All but those in `down` are started.
    fn begin(&mut self, args: &mut Args<'_>) -> Outcome {
        let members = Membership {
            voters: args.list("voters")?.unwrap_or_else(|| vec![0, 1, 2]).into_iter().collect(),
            voters_outgoing: args.list("outgoing")?.unwrap_or_default().into_iter().collect(),
            learners: args.list("learners")?.unwrap_or_default().into_iter().collect(),
        };
        let down: BTreeSet<NodeId> = args.list("down")?.unwrap_or_default().into_iter().collect();
        let common: Vec<Term> = args.list("log")?.unwrap_or_default();
        let ids = members.all();
        let mut logs = Vec::new();
        for id in &ids {
            let terms = args.list(&format!("log{id}"))?.unwrap_or_else(|| common.clone());
            let term = args.key(&format!("term{id}"))?;
            logs.push((*id, terms, term));
        }
        let mut config = RaftConfig { snapshot_bytes: None, trailing_entries: 0, ..small_config() };
        set(&mut config, args)?;
        let mut cluster = Cluster::new(members, ids, |node| RaftConfig { node, ..config.clone() });
        for (id, terms, term) in logs {
            let disk = &mut cluster.node(id).disk;
            let term = term.unwrap_or_else(|| terms.iter().copied().max().unwrap_or(0));
            disk.hard_state = HardState { term, vote: None };
            disk.entries = entries(1, &terms).into();
        }
        for id in cluster.nodes.keys().copied().collect::<Vec<_>>() {
            if !down.contains(&id) {
                cluster.start(id);
            }
        }
        self.cluster = Some(cluster);
        Ok(())
    }

    fn cluster(&mut self) -> Outcome<&mut Cluster> {
        self.cluster.as_mut().ok_or("a script begins with `cluster`".into())
    }

    /// `forge KIND from=1 to=0 term=3 ..`: puts a message on the wire that no node sent.
    fn forge(&mut self, args: &mut Args<'_>) -> Outcome {
        self.next_forged += 1;
        let kind: String = args.next()?;
        let (from, to) = (args.required("from")?, args.required("to")?);
        let term = args.required("term")?;
        let last = args.key::<Id>("last")?.map_or(LogId::BASE, |id| id.0);
        let body = match kind.as_str() {
            "prevote" => Body::Request(Request::PreVote {
                campaign_term: args.key("campaign")?.unwrap_or(term + 1),
                last,
            }),
            "vote" => Body::Request(Request::Vote { last }),
            "append" => Body::Request(Request::Append(append(args)?)),
            "chunk" => Body::Request(Request::Snapshot(chunk(args)?)),
            "identify" => Body::Request(Request::Identify(PeerRecord {
                incarnation: args.required("incarnation")?,
                acknowledged: args.key::<Id>("acknowledged")?.map_or(LogId::BASE, |id| id.0),
            })),
            "granted" => answered(Answer::Vote { granted: true, held: None }),
            "accepted" => answered(Answer::Append(AppendAnswer {
                report: FollowerReport {
                    matched: args.required("matched")?,
                    install: InstallStatus::None,
                    recovering: false,
                    round: args.key("round")?.unwrap_or(0),
                },
                outcome: AppendOutcome::Accepted,
            })),
            other => return Err(format!("no message {other:?} can be forged").into()),
        };
        let id = args.key("id")?.unwrap_or(1_000_000_000 + self.next_forged);
        let cluster_id = args.key("cluster")?.unwrap_or(9);
        let incarnation = args.key("by")?.unwrap_or(1);
        self.cluster()?.wire.push(Envelope {
            cluster: cluster_id,
            group: 0,
            from,
            to,
            incarnation,
            term,
            id,
            body,
        });
        Ok(())
    }
}

/// Any command but `cluster` and `forge`.
fn obey(cluster: &mut Cluster, name: &str, args: &mut Args<'_>) -> Outcome {
    match name {
        "start" => args.nodes()?.into_iter().for_each(|id| cluster.start(id)),
        "crash" => args.nodes()?.into_iter().for_each(|id| cluster.crash(id)),
        "restart" => args.nodes()?.into_iter().for_each(|id| {
            if cluster.is_up(id) {
                cluster.crash(id);
            }
            cluster.start(id);
        }),
        "wipe" => {
            let node = cluster.node(args.node()?);
            node.disk = node.disk.wiped();
        }
        "lose" => {
            let (id, count) = (args.node()?, args.key("entries")?.unwrap_or(0));
            let votes = args.flag("votes");
            let disk = &mut cluster.node(id).disk;
            if votes { disk.lose_votes(count, 1) } else { disk.lose_tail(count) }
        }
        "campaign" => {
            let id = args.node()?;
            cluster.input(id, |raft, now| raft.expire_election(now));
        }
        "elect" => {
            let id = args.node()?;
            cluster.input(id, |raft, now| raft.expire_election(now));
            cluster.settle();
            let leads = cluster.input(id, |raft, _| raft.role().0 == Role::Leader);
            assert!(leads, "n{id} is not elected");
        }
        "wait" => {
            let milliseconds = args.next()?;
            let deliver = !args.flag("undelivered");
            cluster.wait(milliseconds, deliver);
        }
        "propose" => propose(cluster, args)?,
        "read" => {
            let id = args.node()?;
            match cluster.input(id, |raft, now| raft.read_index(now)) {
                Ok(ticket) => cluster.tell(format!("n{id} begins read {ticket}")),
                Err(refusal) => cluster.tell(format!("n{id} refuses the read: {refusal:?}")),
            }
        }
        "snapshot" => {
            let id = args.node()?;
            cluster.input(id, |raft, now| raft.request_snapshot(now));
        }
        "deliver" | "drop" | "copy" | "lose_notice" => on_wire(cluster, name, args)?,
        "settle" => cluster.settle(),
        "wire" => {
            for envelope in cluster.wire.clone() {
                let Envelope { from, to, .. } = envelope;
                let told = narrate::message(&envelope);
                cluster.tell(format!("n{to} <- n{from}  {told}"));
            }
        }
        "cut" => {
            let (from, to) = (args.node()?, args.node()?);
            cluster.cut.insert((from, to));
            if !args.flag("oneway") {
                cluster.cut.insert((to, from));
            }
        }
        "isolate" => {
            let id = args.node()?;
            let others: Vec<NodeId> = cluster.nodes.keys().copied().collect();
            cluster.cut.extend(others.iter().flat_map(|&other| [(id, other), (other, id)]));
        }
        "heal" => cluster.cut.clear(),
        "hold" | "release" | "do" => {
            let work = args.next()?;
            for id in args.nodes()? {
                match name {
                    "hold" => cluster.hold(id, work),
                    "release" => cluster.release(id, work),
                    _ => assert!(cluster.do_one(id, work), "n{id} has no {work:?} to do"),
                }
            }
        }
        "status" => {
            for id in args.nodes_or_all(cluster)? {
                let told = status(cluster, id);
                cluster.tell(told);
            }
        }
        "log" => {
            for id in args.nodes_or_all(cluster)? {
                let disk = &cluster.nodes[&id].disk;
                let told = narrate::entries(disk.entries.iter());
                let line = format!("n{id} on disk after {}: {told}", disk.start);
                cluster.tell(line);
            }
        }
        "state" => {
            for id in args.nodes_or_all(cluster)? {
                let node = &cluster.nodes[&id];
                let line = format!("n{id} at {}: {}", node.applied, node.state.join(" "));
                cluster.tell(line);
            }
        }
        other => return Err(format!("no command {other:?}").into()),
    }
    Ok(())
}

fn answered(answer: Answer) -> Body {
    Body::Answer { asker_incarnation: 1, answer }
}

fn append(args: &mut Args<'_>) -> Outcome<Append> {
    let prev = args.key::<Id>("prev")?.map_or(LogId::BASE, |id| id.0);
    let terms: Vec<Term> = args.list("entries")?.unwrap_or_default();
    let last = prev.index + terms.len() as u64;
    Ok(Append {
        prev,
        entries: entries(prev.index + 1, &terms).into(),
        commit: args.key("commit")?.unwrap_or(0),
        leader_last: args.key("leader_last")?.unwrap_or(last),
        leader_durable: args.key("leader_durable")?.unwrap_or(last),
        round: args.key("round")?.unwrap_or(0),
    })
}

/// A chunk of a snapshot whose state is the single command `s`.
fn chunk(args: &mut Args<'_>) -> Outcome<SnapshotChunk> {
    let log_id = args.required::<Id>("snapshot")?.0;
    let (offset, whole) = (args.key("offset")?.unwrap_or(0), b"s\n");
    let size_bytes = args.key("size")?.unwrap_or(whole.len() as u64);
    let membership = Membership::of_voters(0..3);
    Ok(SnapshotChunk {
        meta: SnapshotMeta { log_id, membership, size_bytes },
        transfer: args.key("transfer")?.unwrap_or(1),
        offset,
        data: Bytes::from_static(whole),
        crc: 0,
        round: 0,
    })
}

fn propose(cluster: &mut Cluster, args: &mut Args<'_>) -> Outcome {
    let id = args.node()?;
    while let Some(text) = args.next_if_any() {
        let data = Bytes::copy_from_slice(text.as_bytes());
        match cluster.input(id, |raft, now| raft.propose(now, 0, data)) {
            Ok(log_id) => cluster.tell(format!("n{id} appended {log_id} {text}")),
            Err(refusal) => cluster.tell(format!("n{id} refuses {text}: {refusal:?}")),
        }
    }
    Ok(())
}

/// `deliver|drop|copy|lose_notice [from=1] [to=0] [kind=vote] [at_most=1]`.
fn on_wire(cluster: &mut Cluster, name: &str, args: &mut Args<'_>) -> Outcome {
    let (from, to) = (args.key::<NodeId>("from")?, args.key::<NodeId>("to")?);
    let kind: Option<String> = args.key("kind")?;
    let at_most = args.key("at_most")?.unwrap_or(usize::MAX);
    let wanted = |envelope: &Envelope| {
        from.is_none_or(|from| from == envelope.from)
            && to.is_none_or(|to| to == envelope.to)
            && kind.as_ref().is_none_or(|kind| *kind == narrate::kind(envelope))
    };
    for envelope in cluster.take(wanted, at_most) {
        let Envelope { from, to, id, .. } = envelope;
        let told = narrate::message(&envelope);
        match name {
            "deliver" => cluster.deliver(envelope),
            "copy" => {
                cluster.wire.push(envelope.clone());
                cluster.deliver(envelope);
            }
            "drop" => cluster.tell(format!("n{to} <- n{from}  {told}  (dropped)")),
            _ => {
                cluster.tell(format!("n{to} <- n{from}  {told}  (not delivered)"));
                cluster.input(from, |raft, now| raft.undelivered(now, to, id));
            }
        }
    }
    Ok(())
}

fn status(cluster: &Cluster, id: NodeId) -> String {
    let node = &cluster.nodes[&id];
    let Some(raft) = &node.raft else { return format!("n{id} is down") };
    let RaftStatus {
        role,
        term,
        last,
        persisted,
        commit,
        applied,
        snapshot,
        log_start,
        install,
        recovering,
        ..
    } = raft.status();
    let leader = match raft.leader() {
        Some(leader) if leader != id => format!(" of n{leader}"),
        _ => String::new(),
    };
    let snapshot = match snapshot {
        LogId::BASE => String::new(),
        snapshot => format!(", snapshot {snapshot}, log after {log_start}"),
    };
    let install = match install {
        InstallStatus::None => String::new(),
        install => format!(", {install:?}"),
    };
    format!(
        "n{id} {}{leader} in term {term}: last {last}, durable {persisted}, commit {commit}, \
         applied {applied}{snapshot}{install}{}",
        narrate::role_name(role),
        if recovering { ", recovering" } else { "" },
    )
}

fn entries(first: Index, terms: &[Term]) -> Vec<Entry> {
    let entry = |(index, term): (Index, &Term)| Entry {
        log_id: LogId::new(*term, index),
        kind: EntryKind::Command,
        stamp_ms: 0,
        data: Bytes::from(format!("x{index}")),
    };
    (first..).zip(terms).map(entry).collect()
}

/// Settings of `cluster`, by their names.
fn set(config: &mut RaftConfig, args: &mut Args<'_>) -> Outcome {
    let RaftConfig {
        check_quorum,
        noop_on_election,
        append_entries,
        window_messages,
        uncommitted_bytes,
        unpersisted_bytes,
        snapshot_entries,
        trailing_entries,
        pin_bytes,
        snapshot_chunk_bytes,
        apply_queue_bytes,
        ..
    } = config;
    args.set("check_quorum", check_quorum)?;
    args.set("noop_on_election", noop_on_election)?;
    args.set("append_entries", append_entries)?;
    args.set("window_messages", window_messages)?;
    args.set("uncommitted_bytes", uncommitted_bytes)?;
    args.set("unpersisted_bytes", unpersisted_bytes)?;
    args.set("trailing_entries", trailing_entries)?;
    args.set("pin_bytes", pin_bytes)?;
    args.set("snapshot_chunk_bytes", snapshot_chunk_bytes)?;
    args.set("apply_queue_bytes", apply_queue_bytes)?;
    *snapshot_entries = args.key("snapshot_entries")?.or(*snapshot_entries);
    Ok(())
}

/// A log id as a script writes it: `index@term`.
struct Id(LogId);

impl FromStr for Id {
    type Err = String;

    fn from_str(text: &str) -> Result<Id, String> {
        let parsed = text
            .split_once('@')
            .and_then(|(index, term)| Some(LogId::new(term.parse().ok()?, index.parse().ok()?)));
        parsed.map(Id).ok_or(format!("{text:?} is no index@term"))
    }
}

impl FromStr for Work {
    type Err = String;

    fn from_str(text: &str) -> Result<Work, String> {
        match text {
            "disk" => Ok(Work::Disk),
            "apply" => Ok(Work::Apply),
            "jobs" => Ok(Work::Jobs),
            "chunks" => Ok(Work::Chunks),
            other => Err(format!("{other:?} is none of disk, apply, jobs, chunks")),
        }
    }
}

/// The arguments of a command.
struct Args<'a> {
    left: Vec<&'a Argument>,
}

impl<'a> Args<'a> {
    fn of(command: &'a Command) -> Args<'a> {
        Args { left: command.args.iter().collect() }
    }

    fn next_if_any(&mut self) -> Option<&'a str> {
        let at = self.left.iter().position(|arg| matches!(arg, Argument::Positional(_)))?;
        match self.left.remove(at) {
            Argument::Positional(text) => Some(text),
            _ => None,
        }
    }

    fn next<T: FromStr<Err: ToString>>(&mut self) -> Outcome<T> {
        parse(self.next_if_any().ok_or("an argument is missing")?)
    }

    fn node(&mut self) -> Outcome<NodeId> {
        self.next()
    }

    fn nodes(&mut self) -> Outcome<Vec<NodeId>> {
        let mut nodes = Vec::new();
        while let Some(text) = self.next_if_any() {
            nodes.push(parse(text)?);
        }
        Ok(nodes)
    }

    fn nodes_or_all(&mut self, cluster: &Cluster) -> Outcome<Vec<NodeId>> {
        let nodes = self.nodes()?;
        Ok(if nodes.is_empty() { cluster.nodes.keys().copied().collect() } else { nodes })
    }

    /// Whether the word `name` is among the arguments.
    fn flag(&mut self, name: &str) -> bool {
        let is_it = |arg: &&Argument| matches!(arg, Argument::Positional(text) if text == name);
        let at = self.left.iter().position(is_it);
        at.map(|at| self.left.remove(at)).is_some()
    }

    fn text(&mut self, key: &str) -> Option<&'a str> {
        let is_it = |arg: &&Argument| matches!(arg, Argument::KeyValue(known, _) if known == key);
        let at = self.left.iter().position(is_it)?;
        match self.left.remove(at) {
            Argument::KeyValue(_, value) => Some(value),
            _ => None,
        }
    }

    fn key<T: FromStr<Err: ToString>>(&mut self, key: &str) -> Outcome<Option<T>> {
        self.text(key).map(parse).transpose()
    }

    fn required<T: FromStr<Err: ToString>>(&mut self, key: &str) -> Outcome<T> {
        self.key(key)?.ok_or_else(|| format!("{key}= is missing").into())
    }

    fn set<T: FromStr<Err: ToString>>(&mut self, key: &str, to: &mut T) -> Outcome {
        if let Some(value) = self.key(key)? {
            *to = value;
        }
        Ok(())
    }

    /// Numbers with commas between them; an empty value is an empty list.
    fn list(&mut self, key: &str) -> Outcome<Option<Vec<u64>>> {
        let Some(text) = self.text(key) else { return Ok(None) };
        let numbers = text.split(',').filter(|number| !number.is_empty()).map(parse);
        numbers.collect::<Outcome<Vec<u64>>>().map(Some)
    }

    fn end(&self) -> Outcome {
        match self.left.first() {
            Some(unknown) => Err(format!("unknown argument {unknown}").into()),
            None => Ok(()),
        }
    }
}

fn parse<T: FromStr<Err: ToString>>(text: &str) -> Outcome<T> {
    text.parse().map_err(|error: T::Err| format!("{text:?}: {}", error.to_string()).into())
}
