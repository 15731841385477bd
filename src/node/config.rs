//! Every limit and every time of a node, in one place, with what it is for.

use std::time::Duration;

use crate::machine::SessionConfig;
use crate::raft::{Micros, NodeId, RaftConfig};

/// Settings of a node. All members of a cluster should have the same; `sessions` must be the same.
#[derive(Clone, Debug)]
pub struct Config {
    /// A leader lets every member hear of it this often.
    pub heartbeat_interval: Duration,
    /// An election timeout is drawn between this ..
    pub election_timeout_min: Duration,
    /// .. and this.
    pub election_timeout_max: Duration,
    /// A request to a member that is unanswered for so long counts as lost.
    pub request_timeout: Duration,
    /// What is known not to have arrived at a member, or was answered Busy, is tried again so much later.
    pub retry_interval: Duration,
    /// A proposal waits so long for others, to leave with them; zero: it leaves at once.
    pub batch_delay: Duration,
    /// Messages with few entries leave for one member at least so far apart; zero: as they come.
    pub append_interval: Duration,
    /// A member that can't know of a commit is told so much later, unless something else tells it first; `None`: with
    /// the next entries or heartbeat.
    pub commit_notice: Option<Duration>,
    /// The protocol looks at the clock when a deadline of its own is due, and at least so often.
    pub tick_interval: Duration,
    /// Seeds the election timeouts, together with the node's id.
    pub seed: u64,
    /// A new leader appends a blank entry, so that earlier terms' entries can commit.
    pub noop_on_election: bool,

    /// A command's encoded size, at most.
    pub command_bytes: usize,
    /// Proposals that wait for their reply, at most: beyond it `Busy`.
    pub proposals_in_flight: usize,
    /// Linearizable and local reads under way, at most: beyond it `Busy`.
    pub reads_in_flight: usize,
    /// A proposal that is not committed for so long is answered `Unknown`; a committed one waits for its reply, however busy
    /// the state machine is. A read that has not run for so long is answered `TimedOut`.
    pub proposal_timeout: Duration,

    /// Entries per message: bytes ..
    pub append_bytes: usize,
    /// .. and count.
    pub append_entries: usize,
    /// Messages with entries under way to one member, at most ..
    pub window_messages: usize,
    /// .. and their bytes.
    pub window_bytes: usize,
    /// A leader takes no proposals while so much is appended and not committed.
    pub uncommitted_bytes: usize,
    /// A member takes no entries while so much is appended and not durable.
    pub unpersisted_bytes: usize,
    /// Entries kept in memory after they are durable.
    pub log_cache_bytes: usize,
    /// Entries handed to the state machine and not applied yet, at most.
    pub apply_queue_bytes: usize,

    /// A snapshot is taken at 90 % of this, in bytes of log applied since the last one; `None`: never by size.
    pub snapshot_bytes: Option<usize>,
    /// A snapshot is taken at 90 % of this, in entries applied since the last one; `None`: never by count.
    pub snapshot_entries: Option<u64>,
    /// Entries that stay in the log behind a snapshot, for members that are a little slow: count ..
    pub trailing_entries: u64,
    /// .. and bytes. At most half of `snapshot_bytes`.
    pub trailing_bytes: usize,
    /// What a snapshot on its way to a member keeps of the log behind it, beyond the trailing entries. At least
    /// `uncommitted_bytes` and one message more.
    pub pin_bytes: usize,
    /// Bytes of a snapshot per message; fewer where a storage keeps it in smaller pieces, as the one in memory does.
    pub snapshot_chunk_bytes: usize,

    /// Sessions. The same on every member, or replicas will differ.
    pub sessions: SessionConfig,
}

const MIB: usize = 1 << 20;

impl Default for Config {
    fn default() -> Config {
        Config {
            heartbeat_interval: Duration::from_millis(100),
            election_timeout_min: Duration::from_millis(500),
            election_timeout_max: Duration::from_millis(1000),
            request_timeout: Duration::from_millis(300),
            retry_interval: Duration::from_millis(100),
            batch_delay: Duration::ZERO,
            append_interval: Duration::ZERO,
            commit_notice: None,
            tick_interval: Duration::from_millis(10),
            seed: 0,
            noop_on_election: true,
            command_bytes: MIB,
            proposals_in_flight: 16_384,
            reads_in_flight: 16_384,
            proposal_timeout: Duration::from_secs(10),
            append_bytes: MIB,
            append_entries: 4096,
            window_messages: 64,
            window_bytes: 8 * MIB,
            uncommitted_bytes: 16 * MIB,
            unpersisted_bytes: 32 * MIB,
            log_cache_bytes: 8 * MIB,
            apply_queue_bytes: 4 * MIB,
            snapshot_bytes: Some(64 * MIB),
            snapshot_entries: None,
            trailing_entries: 100_000,
            trailing_bytes: 16 * MIB,
            pin_bytes: 64 * MIB,
            snapshot_chunk_bytes: MIB,
            sessions: SessionConfig::default(),
        }
    }
}

impl Config {
    /// Settings for few messages and quick elections on a network with delays of milliseconds: one message under way to a
    /// member, proposals of a moment together in one, few heartbeats, election timeouts barely longer than they. Where
    /// messages are often lost or members pause, followers will ask in vain now and then whether an election could be won.
    ///
    /// No entries of the protocol's own are in the log: what a state machine applies has indexes without gaps from 1. The
    /// price is that a new leader commits what it found only once something is proposed. Snapshots are left to requests.
    pub fn sparing() -> Config {
        Config {
            heartbeat_interval: Duration::from_millis(250),
            election_timeout_min: Duration::from_millis(290),
            election_timeout_max: Duration::from_millis(390),
            request_timeout: Duration::from_millis(100),
            retry_interval: Duration::from_millis(10),
            batch_delay: Duration::from_millis(1),
            append_interval: Duration::from_millis(8),
            commit_notice: Some(Duration::from_millis(18)),
            tick_interval: Duration::from_millis(50),
            noop_on_election: false,
            window_messages: 1,
            snapshot_bytes: None,
            trailing_entries: 0,
            ..Config::default()
        }
    }

    /// Sets `snapshot_bytes` and, in proportion to it, all other limits that have to fit it.
    #[must_use]
    pub fn with_snapshot_bytes(mut self, bytes: usize) -> Config {
        self.snapshot_bytes = Some(bytes);
        self.trailing_bytes = bytes / 4;
        self.append_bytes = self.append_bytes.min(bytes / 4).max(1);
        self.command_bytes = self.command_bytes.min(bytes / 4);
        self.uncommitted_bytes = self.uncommitted_bytes.min(bytes);
        self.window_bytes = self.window_bytes.min(bytes);
        self.pin_bytes = bytes + self.uncommitted_bytes + self.append_bytes;
        self
    }

    /// Whether the settings fit each other.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let snapshot_bytes = self.snapshot_bytes.unwrap_or(usize::MAX);
        let rules = [
            (!self.tick_interval.is_zero(), "tick_interval must be longer than 0"),
            (
                self.heartbeat_interval >= self.tick_interval,
                "heartbeat_interval must not be shorter than tick_interval",
            ),
            (
                self.election_timeout_min > self.heartbeat_interval,
                "election_timeout_min must be longer than heartbeat_interval",
            ),
            (
                self.election_timeout_max > self.election_timeout_min,
                "election_timeout_max must be longer than election_timeout_min",
            ),
            (
                self.request_timeout >= self.tick_interval,
                "request_timeout must not be shorter than tick_interval",
            ),
            (!self.retry_interval.is_zero(), "retry_interval must be longer than 0"),
            (
                self.batch_delay < self.heartbeat_interval
                    && self.append_interval < self.heartbeat_interval,
                "batch_delay and append_interval must be shorter than heartbeat_interval",
            ),
            (!self.proposal_timeout.is_zero(), "proposal_timeout must be longer than 0"),
            (
                self.command_bytes > 0 && self.command_bytes < u32::MAX as usize / 2,
                "command_bytes must be 1 to 2 GiB",
            ),
            (self.proposals_in_flight > 0, "proposals_in_flight must be at least 1"),
            (self.reads_in_flight > 0, "reads_in_flight must be at least 1"),
            (self.append_entries > 0, "append_entries must be at least 1"),
            (self.window_messages > 0, "window_messages must be at least 1"),
            (self.snapshot_chunk_bytes > 0, "snapshot_chunk_bytes must be at least 1"),
            (snapshot_bytes > 0, "snapshot_bytes must be at least 1"),
            (self.snapshot_entries != Some(0), "snapshot_entries must be at least 1"),
            (
                self.trailing_bytes <= snapshot_bytes / 2,
                "trailing_bytes must be at most half of snapshot_bytes",
            ),
            (
                self.snapshot_bytes.is_none()
                    || self.pin_bytes >= self.uncommitted_bytes.saturating_add(self.append_bytes),
                "pin_bytes must be at least uncommitted_bytes and append_bytes together",
            ),
            (self.sessions.max_sessions > 0, "sessions.max_sessions must be at least 1"),
            (self.sessions.sequence_window > 0, "sessions.sequence_window must be at least 1"),
        ];
        match rules.into_iter().find(|(holds, _)| !holds) {
            Some((_, rule)) => Err(ConfigError(rule)),
            None => Ok(()),
        }
    }

    pub(crate) fn raft(&self, cluster: u64, node: NodeId) -> RaftConfig {
        RaftConfig {
            node,
            cluster,
            seed: self.seed,
            heartbeat_interval: micros(self.heartbeat_interval),
            election_timeout_min: micros(self.election_timeout_min),
            election_timeout_max: micros(self.election_timeout_max),
            request_timeout: micros(self.request_timeout),
            retry_interval: micros(self.retry_interval),
            batch_delay: micros(self.batch_delay),
            append_interval: micros(self.append_interval),
            commit_notice: self.commit_notice.map(micros),
            noop_on_election: self.noop_on_election,
            append_bytes: self.append_bytes,
            append_entries: self.append_entries,
            window_messages: self.window_messages,
            window_bytes: self.window_bytes,
            uncommitted_bytes: self.uncommitted_bytes,
            unpersisted_bytes: self.unpersisted_bytes,
            log_cache_bytes: self.log_cache_bytes,
            apply_queue_bytes: self.apply_queue_bytes,
            snapshot_bytes: self.snapshot_bytes,
            snapshot_entries: self.snapshot_entries,
            trailing_entries: self.trailing_entries,
            trailing_bytes: self.trailing_bytes,
            pin_bytes: self.pin_bytes,
            snapshot_chunk_bytes: self.snapshot_chunk_bytes,
        }
    }
}

pub(crate) fn micros(duration: Duration) -> Micros {
    duration.as_micros() as Micros
}

/// A setting that does not fit the others.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this configuration does not work: {0}")]
pub struct ConfigError(&'static str);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_and_what_is_derived_from_them_are_valid() {
        assert_eq!(Config::default().validate(), Ok(()));
        for bytes in [4096, 1 << 20, 1 << 30] {
            assert_eq!(Config::default().with_snapshot_bytes(bytes).validate(), Ok(()), "{bytes}");
        }
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let wrong = |change: fn(&mut Config)| {
            let mut config = Config::default();
            change(&mut config);
            config.validate().expect_err("a wrong configuration").to_string()
        };
        assert!(
            wrong(|c| c.election_timeout_min = c.heartbeat_interval)
                .contains("election_timeout_min")
        );
        assert!(wrong(|c| c.trailing_bytes = 64 << 20).contains("trailing_bytes"));
        assert!(wrong(|c| c.pin_bytes = 1).contains("pin_bytes"));
        assert!(wrong(|c| c.snapshot_entries = Some(0)).contains("snapshot_entries"));
    }
}
