//! Three cores on one thread, and the mail between them.
//!
//! ```text
//! cycle: propose up to the limit ─▶ each core does what it has to do ─▶ its mail is taken to the others
//! ```
//! Whatever a core is, it is driven by this, so that the order and the size of batches are the same for everyone. Time is
//! real while something is measured, looked at once in some cycles; before that it is made to pass until somebody leads.
//!
//! Not here: loss and delay. All mail arrives, in order, in the same cycle.

use std::time::Duration;

use crate::measure::{Outcome, Stopwatch};
use crate::system;

/// In each cluster.
pub const MEMBERS: usize = 3;
/// The clock is looked at once in so many cycles.
const LOOK: usize = 16;
/// So much time passes in a cycle while time is made to pass.
const STEP: Duration = Duration::from_millis(10);
/// What takes longer than so many such cycles never happens.
const PATIENCE: usize = 2000;

/// A member's protocol, with its log and its state machine in memory.
pub trait Core: Sized {
    /// From one core to another.
    type Message;

    /// The member `place`, of those from 0 on.
    fn new(place: usize) -> Outcome<Self>;

    /// So much time has passed since the beginning.
    fn pass(&mut self, since: Duration);

    /// Whether it leads, and has committed something as the leader.
    fn leads(&self) -> bool;

    /// Appends a command. `false`: it takes none just now.
    fn propose(&mut self, command: Vec<u8>) -> Outcome<bool>;

    /// The place of the member that the message is for.
    fn receiver(message: &Self::Message) -> usize;

    /// A message has come.
    fn step(&mut self, message: Self::Message) -> Outcome<()>;

    /// Does what there is to do: stores, applies, and puts what is to be sent behind `mail`.
    fn work(&mut self, mail: &mut Vec<Self::Message>) -> Outcome<()>;

    /// Commands applied so far.
    fn applied(&self) -> u64;
}

/// How fast it went.
pub struct Pace {
    /// Proposals that the leader applied, a second.
    pub proposals_per_s: f64,
    /// What the processor gave for each, of all three members together.
    pub cpu_ns: f64,
}

/// A cluster.
pub struct Trio<C: Core> {
    cores: Vec<C>,
    mail: Vec<C::Message>,
    leader: usize,
    proposed: u64,
    /// Made to pass before anything was measured.
    passed: Duration,
}

impl<C: Core> Trio<C> {
    /// With a leader.
    pub fn new() -> Outcome<Trio<C>> {
        let cores = (0..MEMBERS).map(C::new).collect::<Outcome<_>>()?;
        let (mail, passed) = (Vec::new(), Duration::ZERO);
        let mut trio = Trio { cores, mail, leader: 0, proposed: 0, passed };
        trio.pass_until(|trio| trio.cores.iter().any(C::leads))?;
        trio.leader = trio.cores.iter().position(C::leads).unwrap_or_default();
        Ok(trio)
    }

    /// Keeps `outstanding` proposals under way for so long.
    pub fn run(&mut self, outstanding: u64, command: &[u8], length: Duration) -> Outcome<Pace> {
        let before = self.cores[self.leader].applied();
        let (stopwatch, cpu) = (Stopwatch::start(), system::on_cpu());
        let mut took = Duration::ZERO;
        while took < length {
            for _ in 0..LOOK {
                self.propose(outstanding, command)?;
                self.cycle()?;
            }
            took = stopwatch.elapsed();
            self.pass(self.passed + took);
        }
        let cpu = system::on_cpu().saturating_sub(cpu);
        self.passed += took;
        let applied = (self.cores[self.leader].applied() - before) as f64;
        let proposals_per_s = applied / took.as_secs_f64();
        Ok(Pace { proposals_per_s, cpu_ns: cpu.as_nanos() as f64 / applied })
    }

    /// Lets time pass until everyone has applied everything, which has to happen.
    pub fn settle(&mut self) -> Outcome<()> {
        self.pass_until(|trio| trio.cores.iter().all(|core| core.applied() == trio.proposed))
    }

    fn propose(&mut self, outstanding: u64, command: &[u8]) -> Outcome<()> {
        let leader = &mut self.cores[self.leader];
        while self.proposed - leader.applied() < outstanding && leader.propose(command.to_vec())? {
            self.proposed += 1;
        }
        Ok(())
    }

    fn cycle(&mut self) -> Outcome<()> {
        for core in &mut self.cores {
            core.work(&mut self.mail)?;
        }
        for message in self.mail.drain(..) {
            self.cores[C::receiver(&message)].step(message)?;
        }
        Ok(())
    }

    fn pass(&mut self, since: Duration) {
        self.cores.iter_mut().for_each(|core| core.pass(since));
    }

    fn pass_until(&mut self, done: impl Fn(&Trio<C>) -> bool) -> Outcome<()> {
        for _ in 0..PATIENCE {
            if done(self) {
                return Ok(());
            }
            self.passed += STEP;
            self.pass(self.passed);
            self.cycle()?;
        }
        Err("the cores do not get on".into())
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// What must hold for whatever is driven.
    pub fn commits_and_settles<C: Core>() {
        let mut trio = Trio::<C>::new().unwrap();
        for outstanding in [1, 100] {
            let pace = trio.run(outstanding, &[7; 256], Duration::from_millis(20)).unwrap();
            assert!(pace.proposals_per_s > 0.0);
        }
        trio.settle().unwrap();
        assert!(trio.proposed > 100);
        assert_eq!(trio.cores.iter().filter(|core| core.leads()).count(), 1);
    }
}
