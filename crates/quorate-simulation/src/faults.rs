//! The kinds of faults by name, and the set of kinds that a run may draw from.
//!
//! *What it does not do:* it does not choose times or members; a
//! [`Schedule`](super::schedule::Schedule) does.

use std::fmt;
use std::str::FromStr;

/// A kind of fault in a cluster's surroundings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum FaultKind {
    /// Messages are lost.
    Drop,
    /// Messages are delivered twice, the second time late.
    Duplicate,
    /// Messages overtake each other.
    Reorder,
    /// Messages take long to arrive.
    Delay,
    /// A link holds all messages back and then delivers them at once.
    Clog,
    /// The cluster is split into two groups.
    Partition,
    /// A link carries messages in one direction only.
    OneWayPartition,
    /// Two members can't reach each other; all other members reach both.
    PartialPartition,
    /// A member's process dies, and is restarted later.
    Crash,
    /// A member's process is paused; its input waits, and what it sends afterwards is old.
    Pause,
    /// A member's clock is too fast or too slow.
    ClockSkew,
    /// A member's clock jumps forwards.
    ClockJump,
    /// A member dies during a write, which is only partly on disk.
    TornWrite,
    /// A member dies; everything that was not synced is lost.
    LostWrites,
    /// A write lands at another place on the disk. Found when the member restarts.
    MisdirectedWrite,
    /// Stored bits change. Found when the member restarts.
    BitRot,
    /// While the member is down, the end of its log is zeroed, overwritten, cut off or removed. The
    /// log had been sealed, or its process killed. Found when the member restarts.
    DamagedEnd,
    /// An fsync fails: the member must stop.
    FailingSync,
    /// An fsync does not return.
    HungSync,
    /// The disk is full: the member must stop.
    FullDisk,
    /// The disk is slow.
    SlowDisk,
    /// A member restarts on an empty disk.
    WipedDisk,
    /// A member restarts on an old copy of its disk, in cases that other members can notice.
    RolledBackDisk,
    /// The state machine is slow.
    SlowApply,
    /// Decoding snapshots is slow.
    SlowDecode,
    /// Encoding snapshots is slow.
    SlowEncode,
    /// Snapshots are requested, and the log that they cover is compacted.
    ForcedSnapshot,
    /// Clients retry without waiting.
    RetryStorm,
    /// A member receives more messages than it can handle.
    MailboxFlood,
    /// One member sends, in addition to its own messages, copies with a number at an end of its
    /// range. It is the same member throughout a run. Not in [`Faults::all`]: members are taken to
    /// be honest, and this fault checks that a dishonest one harms no other.
    Lies,
    /// Old messages are delivered again when another member becomes leader, whatever its term is.
    Replay,
    /// The leader's messages reach only one member.
    WeakLeader,
}

impl FaultKind {
    /// All kinds.
    pub const ALL: [FaultKind; 32] = [
        FaultKind::Drop,
        FaultKind::Duplicate,
        FaultKind::Reorder,
        FaultKind::Delay,
        FaultKind::Clog,
        FaultKind::Partition,
        FaultKind::OneWayPartition,
        FaultKind::PartialPartition,
        FaultKind::Crash,
        FaultKind::Pause,
        FaultKind::ClockSkew,
        FaultKind::ClockJump,
        FaultKind::TornWrite,
        FaultKind::LostWrites,
        FaultKind::MisdirectedWrite,
        FaultKind::BitRot,
        FaultKind::DamagedEnd,
        FaultKind::FailingSync,
        FaultKind::HungSync,
        FaultKind::FullDisk,
        FaultKind::SlowDisk,
        FaultKind::WipedDisk,
        FaultKind::RolledBackDisk,
        FaultKind::SlowApply,
        FaultKind::SlowDecode,
        FaultKind::SlowEncode,
        FaultKind::ForcedSnapshot,
        FaultKind::RetryStorm,
        FaultKind::MailboxFlood,
        FaultKind::Lies,
        FaultKind::Replay,
        FaultKind::WeakLeader,
    ];

    /// The name, as in a command line and in a report.
    pub fn name(self) -> &'static str {
        match self {
            FaultKind::Drop => "drop",
            FaultKind::Duplicate => "duplicate",
            FaultKind::Reorder => "reorder",
            FaultKind::Delay => "delay",
            FaultKind::Clog => "clog",
            FaultKind::Partition => "partition",
            FaultKind::OneWayPartition => "one_way_partition",
            FaultKind::PartialPartition => "partial_partition",
            FaultKind::Crash => "crash",
            FaultKind::Pause => "pause",
            FaultKind::ClockSkew => "clock_skew",
            FaultKind::ClockJump => "clock_jump",
            FaultKind::TornWrite => "torn_write",
            FaultKind::LostWrites => "lost_writes",
            FaultKind::MisdirectedWrite => "misdirected_write",
            FaultKind::BitRot => "bit_rot",
            FaultKind::DamagedEnd => "damaged_end",
            FaultKind::FailingSync => "failing_sync",
            FaultKind::HungSync => "hung_sync",
            FaultKind::FullDisk => "full_disk",
            FaultKind::SlowDisk => "slow_disk",
            FaultKind::WipedDisk => "wiped_disk",
            FaultKind::RolledBackDisk => "rolled_back_disk",
            FaultKind::SlowApply => "slow_apply",
            FaultKind::SlowDecode => "slow_decode",
            FaultKind::SlowEncode => "slow_encode",
            FaultKind::ForcedSnapshot => "forced_snapshot",
            FaultKind::RetryStorm => "retry_storm",
            FaultKind::MailboxFlood => "mailbox_flood",
            FaultKind::Lies => "lies",
            FaultKind::Replay => "replay",
            FaultKind::WeakLeader => "weak_leader",
        }
    }

    fn bit(self) -> u64 {
        1 << self as u32
    }
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A set of kinds of faults: those that a run may draw from. Each seed draws about half of it.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Faults(u64);

impl Faults {
    /// All faults that can happen to honest members: all kinds but [`FaultKind::Lies`].
    pub fn all() -> Faults {
        Faults::only(FaultKind::ALL).without(FaultKind::Lies)
    }

    /// No faults.
    pub fn none() -> Faults {
        Faults(0)
    }

    /// Only these kinds.
    pub fn only(kinds: impl IntoIterator<Item = FaultKind>) -> Faults {
        Faults(kinds.into_iter().fold(0, |bits, kind| bits | kind.bit()))
    }

    /// This set without `kind`.
    #[must_use]
    pub fn without(self, kind: FaultKind) -> Faults {
        Faults(self.0 & !kind.bit())
    }

    /// Whether the set contains `kind`.
    pub fn contains(self, kind: FaultKind) -> bool {
        self.0 & kind.bit() != 0
    }

    /// The kinds in the set.
    pub fn kinds(self) -> impl Iterator<Item = FaultKind> {
        FaultKind::ALL.into_iter().filter(move |kind| self.contains(*kind))
    }
}

impl fmt::Debug for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            faults if faults == Faults::all() => f.write_str("all"),
            faults if faults == Faults::only(FaultKind::ALL) => f.write_str("all,lies"),
            faults if faults == Faults::none() => f.write_str("none"),
            faults => {
                let names: Vec<&str> = faults.kinds().map(FaultKind::name).collect();
                f.write_str(&names.join(","))
            }
        }
    }
}

/// A word that names no kind of fault.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("'{0}' is no kind of fault; there are all, none, {names}", names = FaultKind::ALL.map(FaultKind::name).join(", "))]
pub struct UnknownFault(String);

/// `none`, or names separated by commas; `all` stands for all kinds but `lies`.
impl FromStr for Faults {
    type Err = UnknownFault;

    fn from_str(text: &str) -> Result<Faults, UnknownFault> {
        match text {
            "none" | "" => return Ok(Faults::none()),
            _ => {}
        }
        let mut faults = Faults::none();
        for word in text.split(',').map(str::trim) {
            let known = FaultKind::ALL.into_iter().find(|kind| kind.name() == word);
            let named = match known {
                Some(kind) => Faults::only([kind]),
                None if word == "all" => Faults::all(),
                None => return Err(UnknownFault(word.into())),
            };
            faults.0 |= named.0;
        }
        Ok(faults)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_reads_back_as_it_is_written() {
        let everything = Faults::only(FaultKind::ALL);
        for faults in
            [Faults::all(), everything, Faults::none(), "crash,drop,lies".parse().unwrap()]
        {
            assert_eq!(faults.to_string().parse(), Ok(faults));
        }
        assert_eq!("crash".parse(), Ok(Faults::only([FaultKind::Crash])));
        let error = "crash, rain".parse::<Faults>().unwrap_err().to_string();
        assert!(
            error.starts_with("'rain' is no kind of fault; there are all, none, drop"),
            "{error}"
        );
    }
}
