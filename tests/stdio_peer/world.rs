//! The world of some peers: their network, their disks, their services, and what must hold at every frame.
//!
//! One thread takes frames in the order in which they come and does all that they ask for; what the network delays
//! stands in a line of its own, by the time it is due. So a story runs by [`World::until`] alone and nothing sleeps.
//!
//! A peer's service keeps a digest of all commands in order. Its snapshot is the last index and that digest, and some padding.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::frames::{Frame, flag, number};
use crate::life::{Event, Life};

/// Longer than anything takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);
/// Each request is answered within this.
const ANSWER_WITHIN: Duration = Duration::from_secs(7);

/// How bad the network is.
#[derive(Clone, Copy, Default)]
pub struct Faults {
    /// Requests and replies lost, in percent.
    pub lost: u64,
    /// Requests come up to so many milliseconds late.
    pub late_ms: u64,
    /// Two of three replies come 200 to so many milliseconds late.
    pub held_back_ms: u64,
}

/// What a peer has saved.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Disk {
    pub header: Option<Vec<u8>>,
    pub records: Vec<Vec<u8>>,
    pub snapshot: Vec<u8>,
}

impl Disk {
    pub fn state(&self) -> Vec<u8> {
        let records = self.header.iter().chain(&self.records);
        records
            .flat_map(|record| [&(record.len() as u32).to_be_bytes()[..], record].concat())
            .collect()
    }

    fn save(&mut self, frame: &Frame) {
        let mut rest = &frame.body[..];
        let mut part = |length: usize| {
            let (part, behind) = rest.split_at(length);
            rest = behind;
            part.to_vec()
        };
        if let header @ 1.. = frame.number("hdr") {
            self.header = Some(part(header as usize));
        }
        let keep = frame.lengths("keep");
        let (from, count) = (keep.first().copied().unwrap_or(0), keep.get(1).copied().unwrap_or(0));
        self.records = self.records[from..from + count].to_vec();
        self.records.extend(frame.lengths("recs").into_iter().map(&mut part));
        if !frame.header["snap"].is_null() {
            self.snapshot = part(frame.number("snap") as usize);
        }
        assert!(rest.is_empty(), "{} bytes left in {:?}", rest.len(), frame.header);
    }
}

/// What a peer's service is and does.
#[derive(Default)]
pub struct Service {
    pub applied: u64,
    /// It hands out a snapshot behind every so many commands.
    pub snapshot_every: Option<u64>,
    /// It does not ask whether to install until it is told to.
    pub holds_installs: bool,
    pub held: Option<Held>,
    pub installed: u64,
    pub refused: u64,
    pub snapshots: u64,
}

/// A snapshot that was received and not asked about yet, or not answered.
#[derive(Clone, Debug)]
pub struct Held {
    pub index: u64,
    pub term: u64,
    pub snapshot: Vec<u8>,
}

/// What the answer to a question means.
enum Asked {
    Story,
    Snapshot(Vec<u8>),
    Install,
}

/// A request that a peer has been given: whose it is.
struct Serving {
    from: usize,
    life: u64,
    id: u64,
    since: Instant,
}

pub struct Peer {
    pub life: Option<Life>,
    pub connected: bool,
    pub disk: Disk,
    pub service: Service,
    /// This life has been counted in what is saved.
    counted: bool,
    asked: BTreeMap<u64, Asked>,
    answers: BTreeMap<u64, Value>,
    serving: BTreeMap<u64, Serving>,
    requests: BTreeSet<u64>,
}

impl Peer {
    fn lives(&self, life: u64) -> bool {
        self.life.as_ref().is_some_and(|living| living.number == life)
    }

    /// The first of a life says that there is one life more.
    fn save(&mut self, frame: &Frame) {
        let before = self.disk.header.clone();
        self.disk.save(frame);
        assert!(self.counted || self.disk.header != before, "a life that nothing counts");
        self.counted = true;
    }

    fn say(&mut self, header: Value, body: &[u8]) {
        if let Some(life) = &mut self.life {
            life.say(&header, body);
        }
    }
}

/// What the network delivers later.
enum Late {
    Request { from: usize, life: u64, id: u64, to: usize, bytes: Vec<u8> },
    Reply { to: usize, life: u64, id: u64, reply: Option<Vec<u8>> },
}

pub struct World {
    pub peers: Vec<Peer>,
    pub faults: Faults,
    pub requests: u64,
    /// All that was applied anywhere, from index 1.
    pub history: Vec<Vec<u8>>,
    /// Requests are put aside here, with sender and receiver, while this is `Some`.
    pub tapped: Option<Vec<(usize, usize, Vec<u8>)>>,
    padding: usize,
    /// The peers are told that leaders keep their role without a quorum.
    keep_leading: bool,
    digests: Vec<u64>,
    started: BTreeSet<Vec<u8>>,
    late: BTreeMap<(Instant, u64), Late>,
    events: Receiver<Event>,
    listeners: Sender<Event>,
    last_id: u64,
    chance: u64,
}

impl World {
    /// `n` peers that have just been started, all connected.
    pub fn new(n: usize) -> World {
        World::with_service(n, None, 0)
    }

    /// The services take a snapshot every so often, and make it so long.
    pub fn with_service(n: usize, snapshot_every: Option<u64>, padding: usize) -> World {
        let mut world = World::without_peers(n, snapshot_every, padding);
        (0..n).for_each(|peer| world.start(peer));
        world
    }

    /// Peers that are told whether leaders keep their role without a quorum.
    pub fn with_leaders(n: usize, keep_leading: bool) -> World {
        let mut world = World { keep_leading, ..World::without_peers(n, None, 0) };
        (0..n).for_each(|peer| world.start(peer));
        world
    }

    fn without_peers(n: usize, snapshot_every: Option<u64>, padding: usize) -> World {
        let (listeners, events) = channel();
        let peer = |_| Peer {
            life: None,
            connected: true,
            disk: Disk::default(),
            service: Service { snapshot_every, ..Service::default() },
            counted: false,
            asked: BTreeMap::new(),
            answers: BTreeMap::new(),
            serving: BTreeMap::new(),
            requests: BTreeSet::new(),
        };
        World {
            peers: (0..n).map(peer).collect(),
            faults: Faults::default(),
            requests: 0,
            history: Vec::new(),
            tapped: None,
            padding,
            keep_leading: false,
            digests: vec![0],
            started: BTreeSet::new(),
            late: BTreeMap::new(),
            events,
            listeners,
            last_id: 0,
            chance: 0x9E37_79B9_7F4A_7C15 ^ n as u64,
        }
    }

    // ---- lives ---------------------------------------------------------------------------

    /// Begins a life of a peer that has none, from what its disk has.
    pub fn start(&mut self, peer: usize) {
        let (number, n, listener) = (self.next_id(), self.peers.len(), self.listeners.clone());
        let keep_leading = self.keep_leading;
        let it = &mut self.peers[peer];
        assert!(it.life.is_none(), "{peer} lives");
        let mut life = Life::start(peer, number, listener);
        let (state, snapshot) = (it.disk.state(), &it.disk.snapshot);
        let init = json!({"t": "init", "me": peer, "n": n, "state": state.len(),
            "snap": snapshot.len(), "keep_leading": keep_leading, "news": [1]});
        life.say(&init, &[&state, &snapshot[..]].concat());
        it.life = Some(life);
        it.service.applied = snapshot_index(snapshot);
    }

    /// Kills a peer: what it has said and nobody has looked at is lost with it.
    pub fn crash(&mut self, peer: usize) {
        let it = &mut self.peers[peer];
        it.life = None;
        it.service.held = None;
        it.counted = false;
        it.asked.clear();
        it.serving.clear();
        it.requests.clear();
    }

    /// Closes all inputs: every peer ends well.
    pub fn end(mut self) {
        for (number, peer) in self.peers.iter_mut().enumerate() {
            if let Some(life) = peer.life.take() {
                assert_eq!(life.let_end(), Some(0), "peer {number}");
            }
        }
    }

    // ---- time ----------------------------------------------------------------------------

    /// Goes on until it is so.
    #[track_caller]
    pub fn until(&mut self, what: &str, is_so: impl Fn(&World) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !is_so(self) {
            assert!(Instant::now() < deadline, "not in {PATIENCE:?}: {what}");
            self.step(deadline);
        }
    }

    /// Goes on for so long.
    pub fn pass(&mut self, time: Duration) {
        let end = Instant::now() + time;
        while Instant::now() < end {
            self.step(end);
        }
    }

    /// Does the next thing there is to do, or waits for it a little.
    fn step(&mut self, until: Instant) {
        let now = Instant::now();
        while let Some(due) = self.late.first_entry().filter(|due| due.key().0 <= now) {
            let late = due.remove();
            self.arrive(late);
        }
        self.check_answered(now);
        let next = self.late.first_key_value().map_or(until, |((due, _), _)| until.min(*due));
        let wait = next.saturating_duration_since(now).min(Duration::from_millis(20));
        if let Ok(event) = self.events.recv_timeout(wait)
            && self.peers[event.peer].lives(event.life)
        {
            let frame = event.frame.unwrap_or_else(|| panic!("peer {} ended", event.peer));
            self.on_frame(event.peer, frame);
        }
    }

    fn check_answered(&self, now: Instant) {
        for (number, peer) in self.peers.iter().enumerate() {
            let oldest = peer.serving.values().map(|serving| serving.since).min();
            let within = oldest.is_none_or(|since| now - since < ANSWER_WITHIN);
            assert!(within, "peer {number} leaves a request without an answer");
        }
    }

    fn next_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    /// 0 .. below `bound`.
    pub fn chance(&mut self, bound: u64) -> u64 {
        self.chance ^= self.chance << 13;
        self.chance ^= self.chance >> 7;
        self.chance ^= self.chance << 17;
        self.chance % bound.max(1)
    }

    // ---- what peers say ------------------------------------------------------------------

    fn on_frame(&mut self, peer: usize, frame: Frame) {
        match frame.kind() {
            "save" => self.peers[peer].save(&frame),
            kind if !self.peers[peer].counted => panic!("peer {peer} begins a life with {kind}"),
            "rpc" => self.on_rpc(peer, frame),
            "rpc_reply" => self.on_rpc_reply(peer, frame),
            "apply" => self.on_apply(peer, &frame),
            "apply_snapshot" => self.on_apply_snapshot(peer, frame),
            "started" | "state" | "done" => self.on_answer(peer, &frame),
            other => panic!("peer {peer} says {other}"),
        }
    }

    fn on_answer(&mut self, peer: usize, frame: &Frame) {
        let (id, ok) = (frame.number("id"), frame.flag("ok"));
        let it = &mut self.peers[peer];
        match it.asked.remove(&id).expect("an answer to a question, once") {
            Asked::Story => drop(it.answers.insert(id, frame.header.clone())),
            Asked::Snapshot(snapshot) => {
                let saved = it.disk.snapshot == snapshot;
                assert_eq!(ok, saved, "peer {peer}, snapshot {}", snapshot_index(&snapshot));
                it.service.snapshots += u64::from(ok);
            }
            Asked::Install => self.on_installed(peer, ok),
        }
    }

    fn on_installed(&mut self, peer: usize, ok: bool) {
        let Peer { service, disk, .. } = &mut self.peers[peer];
        let held = service.held.take().expect("an offer");
        assert_eq!(ok, disk.snapshot == held.snapshot, "peer {peer}: its own only if granted");
        if ok {
            service.applied = held.index;
            service.installed += 1;
        } else {
            service.refused += 1;
        }
    }

    fn on_apply(&mut self, peer: usize, frame: &Frame) {
        let index = frame.number("index");
        let service = &mut self.peers[peer].service;
        assert!(service.held.is_none(), "peer {peer} applies {index} before the offer is decided");
        assert_eq!(index, service.applied + 1, "peer {peer}");
        assert!(frame.number("term") > 0);
        assert!(self.started.contains(&frame.body), "peer {peer}: {index} was never started");
        service.applied = index;
        let snapshot_due = service.snapshot_every.is_some_and(|every| index.is_multiple_of(every));
        match self.history.get(index as usize - 1) {
            Some(known) => assert_eq!(*known, frame.body, "peer {peer} differs at {index}"),
            None => {
                assert_eq!(self.history.len() as u64 + 1, index, "nobody applied what is before");
                self.history.push(frame.body.clone());
                let digest = frame.body.iter().fold(self.digests[index as usize - 1], digest);
                self.digests.push(digest);
            }
        }
        if snapshot_due {
            let snapshot = self.snapshot_of(index);
            self.ask(
                peer,
                Asked::Snapshot(snapshot.clone()),
                json!({"t": "snapshot", "index": index}),
                &snapshot,
            );
        }
    }

    /// The service's snapshot through an index that somebody has applied.
    pub fn snapshot_of(&self, index: u64) -> Vec<u8> {
        let mut snapshot = index.to_be_bytes().to_vec();
        snapshot.extend(self.digests[index as usize].to_be_bytes());
        snapshot.extend(vec![7; self.padding]);
        snapshot
    }

    fn on_apply_snapshot(&mut self, peer: usize, frame: Frame) {
        let (index, term) = (frame.number("index"), frame.number("term"));
        assert_eq!(frame.body, self.snapshot_of(index), "peer {peer}: another snapshot");
        let service = &mut self.peers[peer].service;
        assert!(
            service.held.is_none() && index > service.applied,
            "peer {peer}: {:?}",
            frame.header
        );
        service.held = Some(Held { index, term, snapshot: frame.body });
        if !service.holds_installs {
            self.ask_install(peer);
        }
    }

    /// The service asks about what it holds.
    pub fn ask_install(&mut self, peer: usize) {
        let Held { index, term, snapshot } =
            self.peers[peer].service.held.clone().expect("an offer");
        self.ask(
            peer,
            Asked::Install,
            json!({"t": "cond_install", "index": index, "term": term}),
            &snapshot,
        );
    }

    // ---- the network ---------------------------------------------------------------------

    fn on_rpc(&mut self, from: usize, frame: Frame) {
        let (id, to) = (frame.number("id"), frame.number("peer") as usize);
        self.requests += 1;
        assert!(self.peers[from].requests.insert(id), "peer {from} asks {id} twice");
        let life = self.peers[from].life.as_ref().map_or(0, |life| life.number);
        if let Some(tapped) = &mut self.tapped {
            tapped.push((from, to, frame.body.clone()));
        }
        if !self.reaches(from, to) {
            let wait = self.chance(7_000);
            return self.later(wait, Late::Reply { to: from, life, id, reply: None });
        }
        let wait = self.chance(self.faults.late_ms + 1);
        let late = match self.chance(100) < self.faults.lost {
            true => Late::Reply { to: from, life, id, reply: None },
            false => Late::Request { from, life, id, to, bytes: frame.body },
        };
        self.later(wait, late);
    }

    fn on_rpc_reply(&mut self, peer: usize, frame: Frame) {
        let ok = frame.flag("ok");
        assert!(!ok || !frame.body.is_empty(), "an empty reply");
        let serving = self.peers[peer].serving.remove(&frame.number("id"));
        let Serving { from, life, id, .. } = serving.expect("a reply to a request, once");
        let lost = self.chance(100) < self.faults.lost || !self.reaches(from, peer);
        let reply = (ok && !lost).then_some(frame.body);
        let held_back = self.faults.held_back_ms > 0 && self.chance(3) > 0;
        let wait = if held_back { 200 + self.chance(self.faults.held_back_ms - 200) } else { 0 };
        self.later(wait, Late::Reply { to: from, life, id, reply });
    }

    fn reaches(&self, from: usize, to: usize) -> bool {
        self.peers[from].connected && self.peers[to].connected && self.peers[to].life.is_some()
    }

    fn later(&mut self, wait_ms: u64, late: Late) {
        let due = Instant::now() + Duration::from_millis(wait_ms);
        let key = (due, self.next_id());
        self.late.insert(key, late);
    }

    fn arrive(&mut self, late: Late) {
        match late {
            Late::Request { from, life, id, to, bytes } if self.reaches(from, to) => {
                self.hand_request(to, &bytes, from, life, id);
            }
            Late::Request { from, life, id, .. } => {
                self.later(0, Late::Reply { to: from, life, id, reply: None });
            }
            Late::Reply { to, life, id, reply } if self.peers[to].lives(life) => {
                let header = json!({"t": "rpc_reply", "id": id, "ok": reply.is_some()});
                self.peers[to].say(header, &reply.unwrap_or_default());
            }
            Late::Reply { .. } => {}
        }
    }

    /// Gives `to` a request, as if it came from request `id` of `from`.
    fn hand_request(&mut self, to: usize, bytes: &[u8], from: usize, life: u64, id: u64) {
        let number = self.next_id();
        let since = Instant::now();
        self.peers[to].serving.insert(number, Serving { from, life, id, since });
        self.peers[to].say(json!({"t": "rpc", "id": number}), bytes);
    }

    /// Gives `to` a request that nobody waits for, and waits until it is answered.
    pub fn hand_over(&mut self, to: usize, bytes: &[u8]) {
        let open = self.last_id + 1;
        self.hand_request(to, bytes, to, 0, 0);
        self.until("the request is answered", |world| !world.peers[to].serving.contains_key(&open));
    }

    // ---- what a story asks ---------------------------------------------------------------

    fn ask(&mut self, peer: usize, asked: Asked, mut header: Value, body: &[u8]) -> u64 {
        let id = self.next_id();
        header["id"] = id.into();
        self.peers[peer].asked.insert(id, asked);
        self.peers[peer].say(header, body);
        id
    }

    /// Asks, without waiting for the answer.
    pub fn begin(&mut self, peer: usize, header: Value, body: &[u8]) -> u64 {
        if header["t"] == "start" {
            self.started.insert(body.to_vec());
        }
        self.ask(peer, Asked::Story, header, body)
    }

    /// The answer to a question, if it is there.
    pub fn answer(&self, peer: usize, id: u64) -> Option<&Value> {
        self.peers[peer].answers.get(&id)
    }

    /// Asks and waits for the answer.
    #[track_caller]
    pub fn question(&mut self, peer: usize, header: Value, body: &[u8]) -> Value {
        let id = self.begin(peer, header, body);
        self.until("an answer", |world| world.answer(peer, id).is_some());
        self.answer(peer, id).expect("just seen").clone()
    }

    /// Hands out the service's snapshot through `index`; whether it was taken.
    #[track_caller]
    pub fn snapshot(&mut self, peer: usize, index: u64) -> bool {
        let snapshot = self.snapshot_of(index);
        flag(&self.question(peer, json!({"t": "snapshot", "index": index}), &snapshot), "ok")
    }

    /// Waits for a leader among those that are connected: who, and in which term.
    #[track_caller]
    pub fn leader(&mut self) -> (usize, u64) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            assert!(Instant::now() < deadline, "nobody leads");
            let mut leaders = BTreeMap::new();
            for peer in 0..self.peers.len() {
                if !self.peers[peer].connected || self.peers[peer].life.is_none() {
                    continue;
                }
                let state = self.question(peer, json!({"t": "state"}), b"");
                if flag(&state, "leader") {
                    let before = leaders.insert(number(&state, "term"), peer);
                    assert_eq!(before, None, "two leaders in one term");
                }
            }
            if let Some((term, peer)) = leaders.pop_last() {
                return (peer, term);
            }
            self.pass(Duration::from_millis(20));
        }
    }

    /// Starts a command at a peer; its index, if the peer leads.
    #[track_caller]
    pub fn submit(&mut self, peer: usize, command: &[u8]) -> Option<u64> {
        let started = self.question(peer, json!({"t": "start"}), command);
        flag(&started, "leader").then(|| number(&started, "index"))
    }

    /// Has a command applied by at least `need` peers, whoever leads, as often as it takes; returns its index.
    #[track_caller]
    pub fn agree(&mut self, command: &[u8], need: usize) -> u64 {
        let deadline = Instant::now() + PATIENCE;
        loop {
            assert!(Instant::now() < deadline, "no agreement");
            let (leader, _) = self.leader();
            let Some(index) = self.submit(leader, command) else { continue };
            let patience = Instant::now() + Duration::from_secs(2);
            while Instant::now() < patience {
                self.step(patience);
                let known = self.history.get(index as usize - 1).map(Vec::as_slice);
                if known == Some(command) && self.applied_by(index) >= need {
                    return index;
                }
            }
        }
    }

    fn applied_by(&self, index: u64) -> usize {
        self.peers.iter().filter(|peer| peer.service.applied >= index).count()
    }
}

fn snapshot_index(snapshot: &[u8]) -> u64 {
    snapshot.first_chunk().map_or(0, |index| u64::from_be_bytes(*index))
}

fn digest(digest: u64, byte: &u8) -> u64 {
    (digest ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3).rotate_left(5)
}
