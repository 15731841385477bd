//! The search for possible orders of the operations of one key.
//!
//! ```text
//! layers   return of a       return of b       tip
//!         ┌────────────┐    ┌────────────┐    ┌──────┐
//!         │ node node ·│──▶ │ node ·  ·  │──▶ │ node │  a node: a state, and which of the
//!         └────────────┘    └────────────┘    └──────┘  operations under way are placed
//! ```
//! Wing & Gong (1993) try each operation that may be next and backtrack where the model refuses.
//! Lowe (2017) adds two optimizations: remember visited nodes (state and placed operations), and
//! place operations *just in time*: nothing has to be placed before some operation returns. So each
//! layer belongs to one return, and a node moves on to the next layer by placing the operation that
//! returns, after any others under way.
//!
//! The deepest layer is searched first: usually its first node survives, and nothing else is needed
//! ([`Search::survive`]). Unsearched nodes of earlier layers are searched later, a few steps per
//! return ([`Search::settle`]). A layer that has been searched completely, with none before it, is
//! forgotten with its operations. So the remaining layers hold *every* possible state, with the
//! unknown operations that each has left: no verdict depends on what was forgotten. A history with
//! little concurrency has one layer. A burst that is too wide to be settled at once stays open
//! until it is settled during quiet time, or, bounded by [`OPEN_LAYERS`] and the budget, gives an
//! unknown verdict.
//!
//! Orders that need not be tried, without changing any verdict:
//! - A node that has placed unknown operations is dominated by one with the same state that has not
//!   ([`Nodes`]).
//! - Of equal unknown operations the one invoked first is placed first.
//! - An operation that only reads is placed as soon as it fits without narrowing the state.
//! - An unknown operation is placed only where an operation that can see its effect may follow: not
//!   right before one that overwrites, nor in a layer where every operation left does.
//!
//! *What it does not do:* it neither orders events nor owns operations; see `partition.rs`.

use std::collections::VecDeque;

use super::history::Record;
use super::model::Model;
use super::nodes::{Node, Nodes, longer};
use super::slots::Slots;

/// The number of settling steps that each return usually adds.
pub(super) const SETTLING_PER_RETURN: u64 = 64;
/// For each of this many open layers a return adds the same number again, at most this many times:
/// the lag at which effort and need are equal.
const LAG: u64 = 64;
/// The most settling steps that are saved for later.
const SETTLING_SAVED: u64 = 4096;
/// The number of steps that each return adds to the budget.
const STEPS_PER_RETURN: u64 = 64;
/// The most layers that may wait to be settled: bounds memory.
const OPEN_LAYERS: usize = 1 << 16;
/// The most layers that are kept for reuse.
const SPARE_LAYERS: usize = 16;

/// An operation with an outcome, between its invocation and its return.
#[derive(Clone, Copy, Debug)]
pub(super) struct Live {
    /// The position of its record.
    pub(super) place: u32,
    slot: u32,
    only_reads: bool,
    overwrites: bool,
}

/// An operation of unknown outcome: under way for ever.
#[derive(Clone, Copy, Debug)]
pub(super) struct Guess {
    pub(super) place: u32,
    slot: u32,
    overwrites: bool,
    /// The slot of the preceding one that is equal.
    twin: Option<u32>,
}

/// The limits of a search.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// The budget: steps to find a surviving node.
    pub(super) steps: u64,
    /// The number of settling steps that each return adds.
    pub(super) settling: u64,
}

/// The state of a search after a return.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    Alive,
    /// Every order was tried without success.
    Stuck,
    OutOfSteps,
}

/// The operations of a partition by position, as far as a search needs them.
pub(super) type Records<M> = [Option<Numbered<M>>];

/// A record and its number in the partition: from 1, and unique among those remembered.
pub(super) struct Numbered<M: Model> {
    pub(super) number: u32,
    pub(super) record: Record<M::Operation, M::Outcome>,
}

pub(super) fn at<M: Model>(records: &Records<M>, place: u32) -> &Numbered<M> {
    records[place as usize].as_ref().unwrap_or_else(|| panic!("no operation at place {place}"))
}

/// The nodes between two returns.
struct Layer<State> {
    nodes: Nodes<State>,
    /// How many of the nodes have been searched.
    searched: usize,
    /// The operation whose return ends the layer; none at the tip.
    returning: Option<Live>,
    /// The operations under way then, including the returning one.
    live: Vec<Live>,
    /// The number of unknown operations, and their slots.
    guesses: usize,
    optional: Slots,
}

impl<State> Default for Layer<State> {
    fn default() -> Self {
        Layer {
            nodes: Nodes::default(),
            searched: 0,
            returning: None,
            live: Vec::new(),
            guesses: 0,
            optional: Slots::default(),
        }
    }
}

impl<State: Clone + Eq + std::hash::Hash> Layer<State> {
    fn is_searched(&self) -> bool {
        self.searched == self.nodes.len()
    }

    fn clear(&mut self) {
        self.nodes.clear();
        self.searched = 0;
        self.returning = None;
        self.live.clear();
    }
}

/// The search of one key.
///
/// Invariants: `layers` is never empty and its last, the tip, is the only one without a returning
/// operation; unless the search is stuck, the tip has a node.
pub(super) struct Search<M: Model> {
    layers: VecDeque<Layer<M::State>>,
    spare: Vec<Layer<M::State>>,
    live: Vec<Live>,
    guesses: Vec<Guess>,
    optional: Slots,
    used: Slots,
    /// No layer after this one, except the tip, has a node to search.
    deepest: usize,
    limits: Limits,
    /// The remaining budget, and the remaining settling steps.
    steps_left: u64,
    settling_left: u64,
    /// The number of steps taken.
    pub(super) steps: u64,
    /// The number of operations that returned and were explained.
    pub(super) explained: u64,
}

impl<M: Model> Search<M> {
    pub(super) fn new(initial: M::State, limits: Limits) -> Search<M> {
        let mut tip = Layer::default();
        tip.nodes.insert(Node::new(initial), &Slots::default());
        Search {
            layers: VecDeque::from([tip]),
            spare: Vec::new(),
            live: Vec::new(),
            guesses: Vec::new(),
            optional: Slots::default(),
            used: Slots::default(),
            deepest: 0,
            limits,
            steps_left: limits.steps,
            settling_left: 0,
            steps: 0,
            explained: 0,
        }
    }

    /// The operation at `place` is under way; its outcome is in the record.
    pub(super) fn open(&mut self, model: &M, records: &Records<M>, place: u32) {
        let record = &at(records, place).record;
        let slot = self.take_slot();
        let only_reads = model.only_reads(&record.operation, record.outcome());
        let overwrites = model.overwrites(&record.operation, record.outcome());
        self.live.push(Live { place, slot, only_reads, overwrites });
    }

    /// The operation at `place` is under way for ever.
    pub(super) fn open_unknown(&mut self, model: &M, records: &Records<M>, place: u32) {
        let operation = &at(records, place).record.operation;
        let is_equal = |guess: &&Guess| at(records, guess.place).record.operation == *operation;
        let twin = self.guesses.iter().rev().find(is_equal).map(|guess| guess.slot);
        let slot = self.take_slot();
        let overwrites = model.overwrites(operation, None);
        self.optional.insert(slot);
        self.guesses.push(Guess { place, slot, overwrites, twin });
    }

    /// The operation at `place` has returned. Positions of forgotten operations are added to
    /// `forgotten`.
    pub(super) fn close(
        &mut self,
        model: &M,
        records: &Records<M>,
        place: u32,
        forgotten: &mut VecDeque<u32>,
    ) -> Progress {
        self.steps_left = self.limits.steps.min(self.steps_left + STEPS_PER_RETURN);
        let open = self.layers.len() as u64;
        let earned = self.limits.settling.saturating_mul(1 + (open / LAG).min(LAG));
        self.settling_left = SETTLING_SAVED.max(earned).min(self.settling_left + earned);
        let position = self.live.iter().position(|live| live.place == place);
        let position = position.unwrap_or_else(|| panic!("place {place} is not under way"));
        if self.is_alone() && self.close_alone(model, records) {
            forgotten.push_back(place);
            self.explained += 1;
            return Progress::Alive;
        }
        self.seal(position);
        let survived = self.survive(model, records);
        if survived != Progress::Alive {
            return survived;
        }
        self.explained += 1;
        self.settle(model, records, forgotten)
    }

    /// Whether one state is possible and one operation is under way.
    fn is_alone(&mut self) -> bool {
        self.layers.len() == 1 && self.live.len() == 1 && self.tip().nodes.len() == 1
    }

    /// The fast path, taken most often: no other order can matter. Does nothing if that is not
    /// clear at once.
    fn close_alone(&mut self, model: &M, records: &Records<M>) -> bool {
        let Live { place, slot, only_reads, overwrites } = self.live[0];
        let has_guesses = !self.guesses.is_empty();
        let Some(node) = self.layers.back_mut().and_then(|tip| tip.nodes.only()) else {
            return false;
        };
        let Numbered { number, record } = at(records, place);
        self.steps += 1;
        if !node.placed.contains(slot) {
            let Some(next) = model.step(&node.state, &record.operation, record.outcome()) else {
                return false;
            };
            if has_guesses && !overwrites && !(only_reads && next == node.state) {
                return false;
            }
            node.state = next;
            node.trail = longer(node.trail, *number);
        }
        node.placed.remove(slot);
        node.is_guess = false;
        self.live.clear();
        self.used.remove(slot);
        true
    }

    /// Makes the tip the layer of the operation at `position` of the live ones, and begins a new
    /// tip.
    fn seal(&mut self, position: usize) {
        let tip = self.layers.back_mut().unwrap_or_else(|| panic!("a search without layers"));
        assert!(!tip.nodes.is_empty(), "a search goes on that is not alive");
        tip.returning = Some(self.live[position]);
        tip.live.extend_from_slice(&self.live);
        tip.guesses = self.guesses.len();
        tip.optional.clone_from(&self.optional);
        self.used.remove(self.live[position].slot);
        self.live.remove(position);
        self.deepest = self.layers.len() - 1;
        let mut next = self.spare.pop().unwrap_or_default();
        next.optional.clone_from(&self.optional);
        self.layers.push_back(next);
    }

    /// Searches, the deepest layer first, until the tip has a node.
    fn survive(&mut self, model: &M, records: &Records<M>) -> Progress {
        while self.tip().nodes.is_empty() {
            while self.layers[self.deepest].is_searched() {
                if self.deepest == 0 {
                    return Progress::Stuck;
                }
                self.deepest -= 1;
            }
            if self.steps_left == 0 {
                return Progress::OutOfSteps;
            }
            let steps = self.search_one(model, records, self.deepest);
            self.steps_left = self.steps_left.saturating_sub(steps);
        }
        Progress::Alive
    }

    /// Searches the oldest layers completely, as far as steps are left, and forgets them.
    fn settle(
        &mut self,
        model: &M,
        records: &Records<M>,
        forgotten: &mut VecDeque<u32>,
    ) -> Progress {
        while self.layers.len() > 1 {
            if self.layers[0].is_searched() {
                forgotten.extend(self.forget_oldest());
                continue;
            }
            let is_full = self.layers.len() > OPEN_LAYERS;
            let purse = if is_full { self.steps_left } else { self.settling_left };
            if purse == 0 {
                return if is_full { Progress::OutOfSteps } else { Progress::Alive };
            }
            let left = purse.saturating_sub(self.search_one(model, records, 0));
            *(if is_full { &mut self.steps_left } else { &mut self.settling_left }) = left;
        }
        Progress::Alive
    }

    /// Forgets the oldest layer; returns the position of its operation.
    fn forget_oldest(&mut self) -> Option<u32> {
        let mut layer = self.layers.pop_front()?;
        let place = layer.returning.map(|live| live.place);
        self.deepest = self.deepest.saturating_sub(1);
        if self.spare.len() < SPARE_LAYERS {
            layer.clear();
            self.spare.push(layer);
        }
        place
    }

    /// Searches the next node of layer `depth`. Returns the number of steps.
    fn search_one(&mut self, model: &M, records: &Records<M>, depth: usize) -> u64 {
        let mut pair = self.layers.range_mut(depth..=depth + 1);
        let (Some(layer), Some(next)) = (pair.next(), pair.next()) else {
            panic!("layer {depth} has none after it");
        };
        let guesses = &self.guesses[..layer.guesses];
        let had_next = next.nodes.len();
        let steps = Placing::begin(model, records, layer).search(guesses, next);
        if next.nodes.len() > had_next && depth + 2 < self.layers.len() {
            self.deepest = self.deepest.max(depth + 1);
        }
        self.steps += steps;
        steps
    }

    fn tip(&self) -> &Layer<M::State> {
        &self.layers[self.layers.len() - 1]
    }

    fn take_slot(&mut self) -> u32 {
        let slot = self.used.first_free();
        self.used.insert(slot);
        slot
    }

    /// For a search that is stuck: the node that placed most, and the operations it could not
    /// place: first the one whose return shows it, then those with an outcome, then the unknown
    /// ones.
    pub(super) fn dead_end(&self) -> (&Node<M::State>, Vec<u32>) {
        let layer = &self.layers[self.layers.len() - 2];
        let nodes = layer.nodes.as_slice();
        let node = nodes.iter().max_by_key(|node| node.placed.len());
        let node = node.unwrap_or_else(|| panic!("a stuck layer without nodes"));
        let returning = layer.returning.map(|live| live.place);
        let live = layer.live.iter().map(|live| (live.place, live.slot));
        let guesses = self.guesses.iter().map(|guess| (guess.place, guess.slot));
        let others = live
            .chain(guesses)
            .filter(|(place, slot)| Some(*place) != returning && !node.placed.contains(*slot));
        (node, returning.into_iter().chain(others.map(|(place, _)| place)).collect())
    }
}

/// The search of one node: which operations may come next, and to which nodes they lead.
struct Placing<'a, M: Model> {
    model: &'a M,
    records: &'a Records<M>,
    layer: &'a mut Layer<M::State>,
    returning: Live,
    position: usize,
    /// Those placed by the node, and those placed without changing its state.
    placed: Slots,
    trail: [u32; super::nodes::TRAIL],
    is_guess: bool,
    steps: u64,
}

impl<'a, M: Model> Placing<'a, M> {
    fn begin(
        model: &'a M,
        records: &'a Records<M>,
        layer: &'a mut Layer<M::State>,
    ) -> Placing<'a, M> {
        let position = layer.searched;
        layer.searched += 1;
        let node = &layer.nodes.as_slice()[position];
        let (placed, trail, is_guess) = (node.placed.clone(), node.trail, node.is_guess);
        let returning = layer.returning.unwrap_or_else(|| panic!("the tip is not searched"));
        Placing { model, records, layer, returning, position, placed, trail, is_guess, steps: 1 }
    }

    /// Returns the number of steps.
    fn search(mut self, guesses: &[Guess], next: &mut Layer<M::State>) -> u64 {
        if !self.placed.contains(self.returning.slot) {
            self.place_readers();
        }
        if self.placed.contains(self.returning.slot) {
            let state = self.state().clone();
            let trail = self.trail;
            self.move_on(state, trail, next);
            return self.steps;
        }
        if self.place_live(next) {
            guesses.iter().for_each(|guess| self.place_guess(guess));
        }
        self.steps
    }

    /// Places all operations that only read and fit without narrowing the state.
    fn place_readers(&mut self) {
        for at in 0..self.layer.live.len() {
            let live = self.layer.live[at];
            if !live.only_reads || self.placed.contains(live.slot) {
                continue;
            }
            let (number, state) = self.step(live.place);
            if state.as_ref() == Some(self.state()) {
                self.placed.insert(live.slot);
                self.trail = longer(self.trail, number);
                self.is_guess = false;
            }
        }
    }

    /// Tries each operation with an outcome. Returns whether one could see the effect of another.
    fn place_live(&mut self, next: &mut Layer<M::State>) -> bool {
        let mut has_observer = false;
        for at in 0..self.layer.live.len() {
            let live = self.layer.live[at];
            if self.placed.contains(live.slot) {
                continue;
            }
            has_observer |= !live.overwrites;
            if self.is_guess && live.overwrites {
                continue;
            }
            let (number, Some(state)) = self.step(live.place) else { continue };
            let trail = longer(self.trail, number);
            if live.slot == self.returning.slot {
                self.move_on(state, trail, next);
            } else {
                self.stay(state, live.slot, trail, false);
            }
        }
        has_observer
    }

    fn place_guess(&mut self, guess: &Guess) {
        let waits = guess.twin.is_some_and(|twin| !self.placed.contains(twin));
        let is_lost = self.is_guess && guess.overwrites;
        if waits || is_lost || self.placed.contains(guess.slot) {
            return;
        }
        let (number, Some(state)) = self.step(guess.place) else { return };
        if state != *self.state() {
            self.stay(state, guess.slot, longer(self.trail, number), true);
        }
    }

    /// A node of the same layer: the returning operation is yet to be placed.
    fn stay(
        &mut self,
        state: M::State,
        slot: u32,
        trail: [u32; super::nodes::TRAIL],
        is_guess: bool,
    ) {
        let node = Node { state, placed: self.placed.with(slot), is_guess, trail };
        self.layer.nodes.insert(node, &self.layer.optional);
    }

    /// A node of the next layer: the returning operation is placed, and its slot is free.
    fn move_on(
        &mut self,
        state: M::State,
        trail: [u32; super::nodes::TRAIL],
        next: &mut Layer<M::State>,
    ) {
        let mut placed = self.placed.clone();
        placed.remove(self.returning.slot);
        next.nodes.insert(Node { state, placed, is_guess: false, trail }, &next.optional);
    }

    fn step(&mut self, place: u32) -> (u32, Option<M::State>) {
        self.steps += 1;
        let Numbered { number, record } = at(self.records, place);
        let state = &self.layer.nodes.as_slice()[self.position].state;
        (*number, self.model.step(state, &record.operation, record.outcome()))
    }

    fn state(&self) -> &M::State {
        &self.layer.nodes.as_slice()[self.position].state
    }
}
