//! What happens to three members under a steady pace, phase by phase, and what the phases' figures are.
//!
//! ```text
//! round   (settle) idle │ build │ plain │ (a follower is cut off, a snapshot taken) │ send │ install │ ..
//!
//! build     the leader takes a snapshot
//! plain     as many bytes of the same state are serialised and written by nobody's member, for comparison
//! send      the follower is back and needs the snapshot, for the log is gone; until it has it whole
//! install   it decodes the snapshot and its state machine takes it over; old state goes
//! ```
//! A command belongs to the phase in which it was due, whenever it was answered.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::time::Duration;

use quorate::machine::{KeyValue, Machine};
use quorate::node::{Consistency, Handle};
use quorate::raft::{InstallStatus, Role};

use super::pace::{Glance, Sample};
use super::trio::{Keeping, Trio, config};
use crate::measure::{Latencies, Outcome, Stopwatch, mib, millis};
use crate::members::until;
use crate::system::ticks_of;

/// The cut off follower misses the commands of so long.
const ABSENCE: Duration = Duration::from_millis(200);
/// After an install the old state is still being freed.
const AFTERMATH: Duration = Duration::from_millis(300);
/// Snapshotters that did nothing for so long have freed what they had to.
const SETTLED: Duration = Duration::from_millis(300);
/// What their threads' names hold.
const SNAPSHOTTERS: &str = "-snaps";
/// What is written goes through a buffer of so many bytes.
const BUFFER_BYTES: usize = 256 << 10;

/// What goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    Idle,
    Build,
    Plain,
    Send,
    Install,
}

impl Phase {
    /// In the order in which they come.
    pub const ALL: [Phase; 5] =
        [Phase::Idle, Phase::Build, Phase::Plain, Phase::Send, Phase::Install];

    /// What it is called.
    pub fn name(self) -> &'static str {
        match self {
            Phase::Idle => "idle",
            Phase::Build => "build",
            Phase::Plain => "plain write",
            Phase::Send => "send",
            Phase::Install => "install",
        }
    }
}

/// A phase that is over.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    /// Which.
    pub phase: Phase,
    /// From when.
    pub begin: Duration,
    /// Until when.
    pub end: Duration,
    /// What the snapshot took, where the phase is longer than that.
    pub took: Duration,
    /// The leader was silent towards somebody for so long.
    pub silence: Duration,
    /// The longest stall of any member's loop since it was started.
    pub loop_stall_ms: f64,
}

/// Leads members through phases.
pub struct Director<'a> {
    /// The members.
    pub trio: &'a Trio,
    /// Who leads, and has to all the time.
    pub leader: &'a Handle<KeyValue>,
    /// By which phases are told.
    pub clock: Stopwatch,
    /// Where the plain write goes.
    pub keeping: Keeping,
    /// A folder for it.
    pub folder: &'a Path,
    /// Of keys and values.
    pub state_bytes: u64,
    /// How long nothing goes on.
    pub idle: Duration,
    /// What there was.
    pub spans: Vec<Span>,
}

impl Director<'_> {
    /// All phases once.
    pub async fn round(&mut self, round: usize) -> Outcome<()> {
        self.settle().await?;
        let begin = self.begin();
        tokio::time::sleep(self.idle).await;
        self.end(Phase::Idle, begin, None);
        self.build().await?;
        self.write_plainly().await?;
        self.install(round).await?;
        self.check()
    }

    /// Old states of the round before are still being freed for a while.
    async fn settle(&self) -> Outcome<()> {
        let mut before = ticks_of(SNAPSHOTTERS)?;
        loop {
            tokio::time::sleep(SETTLED).await;
            let now = ticks_of(SNAPSHOTTERS)?;
            if now == before {
                return Ok(());
            }
            before = now;
        }
    }

    fn leads(&self) -> bool {
        self.leader.status().raft.role == Role::Leader
    }

    /// A pace goes to one leader: with another one nothing is measured.
    fn check(&self) -> Outcome<()> {
        if self.leads() { Ok(()) } else { Err("the leader was deposed".into()) }
    }

    async fn until(&self, what: &str, is_so: impl Fn() -> bool) -> Outcome<()> {
        until(what, || is_so() || !self.leads()).await?;
        self.check()
    }

    fn begin(&self) -> Duration {
        self.trio.silences().longest_of(self.leader.node());
        self.clock.elapsed()
    }

    fn end(&mut self, phase: Phase, begin: Duration, took: Option<Duration>) {
        let end = self.clock.elapsed();
        eprintln!("{}: {:.0} ms", phase.name(), millis(end - begin));
        self.spans.push(Span {
            phase,
            begin,
            end,
            took: took.unwrap_or(end - begin),
            silence: self.trio.silences().longest_of(self.leader.node()),
            loop_stall_ms: self.trio.loop_stall_ms(),
        });
    }

    async fn build(&mut self) -> Outcome<()> {
        let begin = self.begin();
        self.leader.snapshot().await?;
        self.end(Phase::Build, begin, None);
        Ok(())
    }

    async fn write_plainly(&mut self) -> Outcome<()> {
        let begin = self.begin();
        let view = self.leader.read(Consistency::Local, Machine::view).await?;
        let path = (self.keeping == Keeping::Files).then(|| self.folder.join("plain"));
        let writing = spawn_write(view, path, self.state_bytes as usize * 5 / 4)?;
        while !writing.is_finished() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let took = writing.join().map_err(|_| "the plain write panicked")??;
        self.end(Phase::Plain, begin, Some(took));
        Ok(())
    }

    async fn install(&mut self, round: usize) -> Outcome<()> {
        let follower = self.trio.follower(self.leader.node(), round);
        let granted = || follower.status().raft.counters.installs_granted;
        let before = granted();
        self.trio.network().isolate(follower.node());
        tokio::time::sleep(ABSENCE).await;
        self.leader.snapshot().await?;
        let begin = self.begin();
        self.trio.network().rejoin(follower.node());
        let is_pending = || matches!(follower.status().raft.install, InstallStatus::Pending { .. });
        self.until("the snapshot has arrived", || is_pending() || granted() > before).await?;
        self.end(Phase::Send, begin, None);
        let begin = self.begin();
        self.until("the snapshot is installed", || granted() > before).await?;
        let took = self.clock.elapsed() - begin;
        tokio::time::sleep(AFTERMATH).await;
        self.end(Phase::Install, begin, Some(took));
        Ok(())
    }
}

/// Serialises and writes a state on a thread of its own: to memory, or durably to a file, which is removed.
fn spawn_write(
    view: KeyValue,
    path: Option<PathBuf>,
    room: usize,
) -> std::io::Result<JoinHandle<Result<Duration, String>>> {
    std::thread::Builder::new().name("plain-write".into()).spawn(move || {
        let stopwatch = Stopwatch::start();
        let written = match path {
            // Room for all of it, so that nothing is copied for growing.
            None => write(&view, Vec::with_capacity(room)).map(|_| ()),
            Some(path) => write_file(&view, &path),
        };
        let took = stopwatch.elapsed();
        written.map(|()| took).map_err(|error| error.to_string())
    })
}

fn write<W: Write>(view: &KeyValue, out: W) -> Outcome<W> {
    let mut out = BufWriter::with_capacity(BUFFER_BYTES, out);
    KeyValue::encode(view, &mut out)?;
    out.into_inner().map_err(|error| error.into_error().into())
}

fn write_file(view: &KeyValue, path: &Path) -> Outcome<()> {
    write(view, File::create(path)?)?.sync_all()?;
    Ok(std::fs::remove_file(path)?)
}

/// A phase's figures in one round.
#[derive(Clone, Copy, Debug)]
pub struct Figures {
    /// What it is about took so long.
    pub took_ms: f64,
    /// Commands that were due.
    pub commands: f64,
    pub p50_us: f64,
    pub p99_us: f64,
    pub worst_us: f64,
    /// A heartbeat went to somebody so much later than it should.
    pub heartbeat_late_ms: f64,
    /// The longest stall of any member's loop until then.
    pub loop_stall_ms: f64,
    /// A timer of nobody's was so late.
    pub timer_late_ms: f64,
    /// The most memory there was.
    pub peak_mib: f64,
}

/// What the samples and glances say of a span.
pub fn figures(span: &Span, samples: &[Sample], glances: &[Glance]) -> Outcome<Figures> {
    let within = |at: Duration| at >= span.begin && at < span.end;
    let took: Vec<Duration> =
        samples.iter().filter(|sample| within(sample.due)).map(|sample| sample.took).collect();
    if took.is_empty() {
        return Err(format!("no command was due in phase {}", span.phase.name()).into());
    }
    let seen = || glances.iter().filter(|glance| within(glance.at));
    let commands = took.len() as f64;
    let latencies = Latencies::of(took);
    let peak = seen().filter_map(|glance| glance.anonymous_bytes).max().unwrap_or(0);
    Ok(Figures {
        took_ms: millis(span.took),
        commands,
        p50_us: latencies.percentile_us(0.5),
        p99_us: latencies.percentile_us(0.99),
        worst_us: latencies.max_us(),
        heartbeat_late_ms: millis(span.silence.saturating_sub(config().heartbeat_interval)),
        loop_stall_ms: span.loop_stall_ms,
        timer_late_ms: millis(seen().map(|glance| glance.late).max().unwrap_or_default()),
        peak_mib: mib(peak),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_belongs_to_the_phase_in_which_it_was_due() {
        let ms = Duration::from_millis;
        let span = Span {
            phase: Phase::Build,
            begin: ms(10),
            end: ms(20),
            took: ms(10),
            silence: ms(103),
            loop_stall_ms: 0.0,
        };
        let samples = [(9, 50), (10, 2), (19, 40), (20, 60)]
            .map(|(due, took)| Sample { due: ms(due), took: ms(took) });
        let glances = [(5, 9, 7), (15, 1, 3)].map(|(at, late, mib)| Glance {
            at: ms(at),
            late: ms(late),
            anonymous_bytes: Some(mib << 20),
        });
        let found = figures(&span, &samples, &glances).unwrap();
        assert_eq!((found.commands, found.worst_us), (2.0, 40_000.0));
        assert_eq!((found.heartbeat_late_ms, found.timer_late_ms), (3.0, 1.0));
        assert_eq!(found.peak_mib, 3.0);
        assert!(figures(&Span { begin: ms(70), end: ms(80), ..span }, &samples, &glances).is_err());
    }
}
