//! All limits and times of a node and their purpose.

use std::time::Duration;

use crate::machine::SessionConfig;
use crate::raft::{Micros, NodeId, RaftConfig};
use crate::settings::{Rules, SettingError};
use crate::transport::wire::FRAMING_BYTES_MAX;

/// Settings of a node. All members of a cluster should have the same settings; `sessions` must be
/// the same.
#[derive(Clone, Debug)]
pub struct Config {
    /// How often a leader sends a heartbeat to every member. All heartbeats are sent at once; if
    /// `election_timeout_min` is shorter than two intervals, half of the members get theirs every
    /// half interval. Default: 100 ms.
    pub heartbeat_interval: Duration,
    /// Lower bound of the randomized election timeout. Default: 500 ms.
    pub election_timeout_min: Duration,
    /// Upper bound of the randomized election timeout. Default: 1 s.
    pub election_timeout_max: Duration,
    /// A request that is unanswered for this long counts as lost. Default: 300 ms.
    pub request_timeout: Duration,
    /// Delay before a message is retried that is known not to have arrived at the member, or that
    /// the member answered with `Busy`. Default: 100 ms.
    pub retry_interval: Duration,
    /// If `true`, a leader steps down when no quorum has answered it for `election_timeout_min`.
    /// Default: `true`.
    ///
    /// If `false`, a leader without a quorum keeps its role until it learns of a higher term.
    /// Commands proposed to it end as `Unknown` after `proposal_timeout`, and its status and
    /// readiness probe still name it the leader. Members that receive its messages elect no other
    /// leader, even if it does not receive theirs: a network that fails in one direction can stop
    /// the cluster until the fault ends. Without a quorum still nothing is committed and no
    /// linearizable read is confirmed (reads are refused with `Busy`), and a leader whose own disk
    /// hangs steps down. Meant for test harnesses that expect a leader to keep its role within a
    /// term.
    pub check_quorum: bool,
    /// How long a proposal waits for others that are sent in the same message. Zero: it is sent at
    /// once. Default: zero.
    pub batch_delay: Duration,
    /// Minimum time between messages with few entries to one member. Zero: messages are sent as
    /// entries arrive. Proposals of a client that waits for each reply are not delayed. Default:
    /// zero.
    pub append_interval: Duration,
    /// A member that cannot know of a commit is informed after this time, unless another message
    /// informs it earlier. `None`: the next entries or heartbeat inform it. Default: `None`.
    pub commit_notice: Option<Duration>,
    /// The protocol reads the clock when one of its own deadlines is due, and at least this often.
    /// Default: 10 ms.
    pub tick_interval: Duration,
    /// Seed of the randomized election timeouts, combined with the node's id. Default: 0.
    pub seed: u64,
    /// Whether a new leader appends a blank entry, so that entries of earlier terms can commit.
    /// Default: `true`.
    pub noop_on_election: bool,

    /// Maximum encoded size of a command, in bytes. Default: 1 MiB.
    pub command_bytes: usize,
    /// Maximum number of proposals that wait for their reply; further ones are refused with `Busy`.
    /// Default: 16,384.
    pub proposals_in_flight: usize,
    /// Maximum number of linearizable and local reads in progress; further ones are refused with
    /// `Busy`. Default: 16,384.
    pub reads_in_flight: usize,
    /// A proposal that is not committed within this time is answered with `Unknown`; once
    /// committed, it waits for its reply however busy the state machine is. A read that has not run
    /// within this time is answered with `TimedOut`. Default: 10 s.
    pub proposal_timeout: Duration,

    /// How long the shutdown waits for each actor of the node. After that the actor counts as
    /// hanging, and the node ends without it. Default: 30 s.
    pub shutdown_timeout: Duration,

    /// Maximum size of the entries in one message, in bytes; a larger entry is sent alone. Default:
    /// 1 MiB.
    pub append_bytes: usize,
    /// Maximum number of entries in one message. Default: 4096.
    pub append_entries: usize,
    /// Maximum number of unanswered messages with entries to one member. Default: 64.
    pub window_messages: usize,
    /// Maximum size of those messages, in bytes. Default: 8 MiB.
    pub window_bytes: usize,
    /// A leader accepts no proposals while this many bytes are appended but not committed. Default:
    /// 16 MiB.
    pub uncommitted_bytes: usize,
    /// A member accepts no entries while this many bytes are appended but not durable. Default: 32
    /// MiB.
    pub unpersisted_bytes: usize,
    /// Maximum size of durable entries that are kept in memory, in bytes. Default: 8 MiB.
    pub log_cache_bytes: usize,
    /// Maximum size of entries that are dispatched to the state machine but not applied, in bytes.
    /// Default: 4 MiB.
    pub apply_queue_bytes: usize,

    /// A snapshot is taken at 90 % of this many bytes of log applied since the last one. `None`:
    /// never by size. Default: 64 MiB.
    pub snapshot_bytes: Option<usize>,
    /// A snapshot is taken at 90 % of this many entries applied since the last one. `None`: never
    /// by count. Default: `None`.
    pub snapshot_entries: Option<u64>,
    /// Delay before a snapshot that one of these limits requested is requested again, if the apply
    /// side declined it or it was refused. The delay doubles with each further failure in a row, up
    /// to 64 times this value. Default: 1 s.
    pub snapshot_retry_interval: Duration,
    /// Maximum number of entries kept in the log behind a snapshot, for members that lag a little.
    /// Default: 100,000.
    pub trailing_entries: u64,
    /// Maximum size of those entries, in bytes. At most half of `snapshot_bytes`. Default: 16 MiB.
    pub trailing_bytes: usize,
    /// Maximum size of the log, beyond the trailing entries, that is retained behind a snapshot
    /// while it is transferred to a member, in bytes. At least `uncommitted_bytes` plus
    /// `append_bytes`. Default: 64 MiB.
    pub pin_bytes: usize,
    /// Maximum size of a snapshot chunk in one message, in bytes. A link has to transfer a chunk
    /// within `election_timeout_max`: a member aborts a transfer that makes no progress for longer.
    /// A storage that keeps smaller chunks, such as the one in memory, sends smaller ones. Default:
    /// 1 MiB.
    pub snapshot_chunk_bytes: usize,
    /// Longest delay before another snapshot is sent to a member whose build cannot decode the last
    /// one. The delay starts at one sixteenth of this value and doubles with each attempt; a
    /// restart of the member ends it at once. Default: 300 s.
    pub undecodable_retry_max: Duration,
    /// How long a data loss that only one other member reports can keep this member from voting and
    /// from counting towards a quorum. If the reporting member is silent and there is no leader for
    /// this long, the report is dismissed, so a faulty report delays the cluster by no more than
    /// this. If the loss was real, this member then counts too early: choose a time that is longer
    /// than any member is expected to be down. Default: 1 h.
    pub doubt_timeout: Duration,

    /// Sessions. Must be the same on every member, or the replicas diverge.
    pub sessions: SessionConfig,
}

const MIB: usize = 1 << 20;
/// Upper limit of the retry times: one lost message must not stop a member for longer.
const RETRY_MAX: Duration = Duration::from_secs(60);
/// Payload lengths are 32-bit numbers, on the wire and on disk; half of that range leaves room for
/// framing.
const PAYLOAD_BYTES_MAX: usize = u32::MAX as usize / 2;

impl Default for Config {
    fn default() -> Config {
        Config {
            heartbeat_interval: Duration::from_millis(100),
            election_timeout_min: Duration::from_millis(500),
            election_timeout_max: Duration::from_millis(1000),
            request_timeout: Duration::from_millis(300),
            retry_interval: Duration::from_millis(100),
            check_quorum: true,
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
            shutdown_timeout: Duration::from_secs(30),
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
            snapshot_retry_interval: Duration::from_secs(1),
            trailing_entries: 100_000,
            trailing_bytes: 16 * MIB,
            pin_bytes: 64 * MIB,
            snapshot_chunk_bytes: MIB,
            undecodable_retry_max: Duration::from_secs(300),
            doubt_timeout: Duration::from_secs(3600),
            sessions: SessionConfig::default(),
        }
    }
}

impl Config {
    /// Settings for few messages and quick elections on a network with delays of milliseconds: one
    /// message at a time to a member, proposals of the same millisecond batched, few heartbeats (to
    /// half of the members in turn), short election timeouts. The leader keeps its role if its
    /// process pauses for 300 ms; after a longer pause, or if several messages in a row are lost,
    /// another leader is elected.
    ///
    /// The log contains no entries of the protocol itself: the indexes that a state machine applies
    /// start at 1 and have no gaps. In return, a new leader commits the entries that it found only
    /// once something is proposed. Snapshots are taken on request only.
    pub fn sparing() -> Config {
        Config {
            heartbeat_interval: Duration::from_millis(250),
            // Half a heartbeat interval, a pause of 300 ms, and 15 ms to recover from it.
            election_timeout_min: Duration::from_millis(440),
            election_timeout_max: Duration::from_millis(540),
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

    /// Sets `snapshot_bytes` and scales all other limits that depend on it.
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

    /// Checks that the settings are consistent and that none of them would stop the node.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let mut rules = Rules::default();
        self.times_work(&mut rules);
        self.limits_work(&mut rules);
        self.snapshots_work(&mut rules);
        self.sessions_work(&mut rules);
        rules.result().map_err(ConfigError)
    }

    fn times_work(&self, rules: &mut Rules) {
        let Config { tick_interval, heartbeat_interval: heartbeat, .. } = *self;
        let (min, max) = (self.election_timeout_min, self.election_timeout_max);
        rules
            .wait("tick_interval", tick_interval)
            .wait("heartbeat_interval", heartbeat)
            .must(
                heartbeat >= tick_interval,
                "heartbeat_interval",
                heartbeat,
                format_args!("at least tick_interval ({tick_interval:?})"),
            )
            .must(
                min > heartbeat,
                "election_timeout_min",
                min,
                format_args!("longer than heartbeat_interval ({heartbeat:?})"),
            )
            .must(
                max > min,
                "election_timeout_max",
                max,
                format_args!("longer than election_timeout_min ({min:?})"),
            )
            .time("election_timeout_max", max)
            .wait("proposal_timeout", self.proposal_timeout)
            .wait("shutdown_timeout", self.shutdown_timeout)
            .time("commit_notice", self.commit_notice.unwrap_or_default())
            .time("doubt_timeout", self.doubt_timeout)
            .must(
                self.doubt_timeout >= max,
                "doubt_timeout",
                self.doubt_timeout,
                format_args!("at least election_timeout_max ({max:?})"),
            );
        rules
            .must(
                self.request_timeout >= tick_interval && self.request_timeout <= RETRY_MAX,
                "request_timeout",
                self.request_timeout,
                format_args!("tick_interval ({tick_interval:?}) to {RETRY_MAX:?}"),
            )
            .wait("retry_interval", self.retry_interval)
            .must(
                self.retry_interval <= RETRY_MAX,
                "retry_interval",
                self.retry_interval,
                format_args!("at most {RETRY_MAX:?}"),
            );
        for (setting, value) in
            [("batch_delay", self.batch_delay), ("append_interval", self.append_interval)]
        {
            let must = format_args!("shorter than heartbeat_interval ({heartbeat:?})");
            rules.must(value < heartbeat, setting, value, must);
        }
    }

    fn limits_work(&self, rules: &mut Rules) {
        rules
            .between("command_bytes", self.command_bytes, 1, PAYLOAD_BYTES_MAX)
            .at_least("proposals_in_flight", self.proposals_in_flight, 1)
            .at_least("reads_in_flight", self.reads_in_flight, 1)
            .at_least("append_entries", self.append_entries, 1)
            .at_least("window_messages", self.window_messages, 1)
            .at_least("window_bytes", self.window_bytes, 1);
    }

    fn snapshots_work(&self, rules: &mut Rules) {
        rules
            .between("snapshot_chunk_bytes", self.snapshot_chunk_bytes, 1, PAYLOAD_BYTES_MAX)
            .at_least("snapshot_entries", self.snapshot_entries.unwrap_or(1), 1)
            .wait("snapshot_retry_interval", self.snapshot_retry_interval)
            .must(
                self.undecodable_retry_max >= self.election_timeout_max,
                "undecodable_retry_max",
                self.undecodable_retry_max,
                format_args!("at least election_timeout_max ({:?})", self.election_timeout_max),
            );
        let Some(snapshot_bytes) = self.snapshot_bytes else { return };
        let (trailing_max, pin) = (snapshot_bytes / 2, self.pin_bytes);
        let pin_min = self.uncommitted_bytes.saturating_add(self.append_bytes);
        rules
            .at_least("snapshot_bytes", snapshot_bytes, 1)
            .must(
                self.trailing_bytes <= trailing_max,
                "trailing_bytes",
                self.trailing_bytes,
                format_args!("at most half of snapshot_bytes ({trailing_max})"),
            )
            .must(
                pin >= pin_min,
                "pin_bytes",
                pin,
                format_args!("at least uncommitted_bytes and append_bytes together ({pin_min})"),
            );
    }

    fn sessions_work(&self, rules: &mut Rules) {
        let sessions = &self.sessions;
        rules
            .at_least("sessions.max_sessions", sessions.max_sessions, 1)
            .at_least("sessions.session_timeout_ms", sessions.session_timeout_ms, 1)
            .at_least("sessions.max_time_step_ms", sessions.max_time_step_ms, 1)
            .at_least("sessions.sequence_window", sessions.sequence_window, 1)
            .at_least("sessions.reply_bytes", sessions.reply_bytes, 1);
    }

    /// Checks that every message that these limits allow fits into the transport's maximum message
    /// size, if there is one. A larger entry or snapshot chunk would be retried forever.
    pub(crate) fn fits_into(&self, message_bytes: Option<usize>) -> Result<(), ConfigError> {
        let Some(message_bytes) = message_bytes else { return Ok(()) };
        let most = message_bytes.saturating_sub(FRAMING_BYTES_MAX);
        let mut rules = Rules::default();
        for (setting, value) in [
            ("command_bytes", self.command_bytes),
            ("append_bytes", self.append_bytes),
            ("snapshot_chunk_bytes", self.snapshot_chunk_bytes),
        ] {
            let must = format_args!(
                "at most {most}: the transport carries messages of {message_bytes} bytes \
                 (max_frame_bytes of TCP), of which {FRAMING_BYTES_MAX} are reserved"
            );
            rules.must(value <= most, setting, value, must);
        }
        rules.result().map_err(ConfigError)
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
            check_quorum: self.check_quorum,
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
            snapshot_retry_interval: micros(self.snapshot_retry_interval),
            trailing_entries: self.trailing_entries,
            trailing_bytes: self.trailing_bytes,
            pin_bytes: self.pin_bytes,
            snapshot_chunk_bytes: self.snapshot_chunk_bytes,
            undecodable_retry_max: micros(self.undecodable_retry_max),
            doubt_timeout: micros(self.doubt_timeout),
        }
    }
}

pub(crate) fn micros(duration: Duration) -> Micros {
    duration.as_micros() as Micros
}

/// A setting that contradicts another one or would stop the node.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this configuration does not work: {0}")]
pub struct ConfigError(SettingError);

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

    fn wrong(change: impl FnOnce(&mut Config)) -> String {
        let mut config = Config::default();
        change(&mut config);
        config.validate().expect_err("a wrong configuration").to_string()
    }

    #[test]
    fn what_does_not_fit_is_named_with_its_value_and_what_it_must_be() {
        assert_eq!(
            wrong(|c| c.window_bytes = 0),
            "this configuration does not work: window_bytes is 0, and must be at least 1"
        );
        assert_eq!(
            wrong(|c| c.election_timeout_min = c.heartbeat_interval),
            "this configuration does not work: election_timeout_min is 100ms, and must be longer \
             than heartbeat_interval (100ms)"
        );
        assert!(
            wrong(|c| c.trailing_bytes = 64 << 20).contains("half of snapshot_bytes (33554432)")
        );
        assert!(wrong(|c| c.pin_bytes = 1).contains("pin_bytes is 1,"));
    }

    const LONG: Duration = Duration::MAX;
    const NONE: Duration = Duration::ZERO;

    /// Tests each setting at the ends of its type, with the expected result. A new field needs a
    /// row here.
    #[test]
    fn no_setting_stops_the_node_at_the_ends_of_its_range() {
        let Config { check_quorum: _, seed: _, noop_on_election: _, .. } = Config::default();
        type Change = fn(&mut Config);
        let refused: &[(&str, Change)] = &[
            ("heartbeat_interval", |c| c.heartbeat_interval = NONE),
            ("heartbeat_interval", |c| c.heartbeat_interval = LONG),
            ("heartbeat_interval", |c| c.heartbeat_interval = c.tick_interval / 2),
            ("election_timeout_min", |c| c.election_timeout_min = NONE),
            ("election_timeout_max", |c| c.election_timeout_min = LONG),
            ("election_timeout_max", |c| c.election_timeout_max = NONE),
            ("election_timeout_max", |c| c.election_timeout_max = LONG),
            ("request_timeout", |c| c.request_timeout = NONE),
            ("request_timeout", |c| c.request_timeout = LONG),
            ("retry_interval", |c| c.retry_interval = NONE),
            ("retry_interval", |c| c.retry_interval = Duration::from_nanos(999)),
            ("retry_interval", |c| c.retry_interval = LONG),
            ("batch_delay", |c| c.batch_delay = LONG),
            ("append_interval", |c| c.append_interval = c.heartbeat_interval),
            ("commit_notice", |c| c.commit_notice = Some(LONG)),
            ("tick_interval", |c| c.tick_interval = NONE),
            ("tick_interval", |c| c.tick_interval = LONG),
            ("command_bytes", |c| c.command_bytes = 0),
            ("command_bytes", |c| c.command_bytes = usize::MAX),
            ("proposals_in_flight", |c| c.proposals_in_flight = 0),
            ("reads_in_flight", |c| c.reads_in_flight = 0),
            ("proposal_timeout", |c| c.proposal_timeout = NONE),
            ("proposal_timeout", |c| c.proposal_timeout = LONG),
            ("shutdown_timeout", |c| c.shutdown_timeout = NONE),
            ("shutdown_timeout", |c| c.shutdown_timeout = LONG),
            ("append_entries", |c| c.append_entries = 0),
            ("window_messages", |c| c.window_messages = 0),
            ("window_bytes", |c| c.window_bytes = 0),
            ("snapshot_bytes", |c| c.snapshot_bytes = Some(0)),
            ("snapshot_entries", |c| c.snapshot_entries = Some(0)),
            ("snapshot_retry_interval", |c| c.snapshot_retry_interval = NONE),
            ("snapshot_retry_interval", |c| c.snapshot_retry_interval = LONG),
            ("undecodable_retry_max", |c| c.undecodable_retry_max = NONE),
            ("doubt_timeout", |c| c.doubt_timeout = NONE),
            ("doubt_timeout", |c| c.doubt_timeout = LONG),
            ("trailing_bytes", |c| c.trailing_bytes = usize::MAX),
            ("pin_bytes", |c| c.pin_bytes = 0),
            ("pin_bytes", |c| c.uncommitted_bytes = usize::MAX),
            ("snapshot_chunk_bytes", |c| c.snapshot_chunk_bytes = 0),
            ("snapshot_chunk_bytes", |c| c.snapshot_chunk_bytes = usize::MAX),
            ("sessions.max_sessions", |c| c.sessions.max_sessions = 0),
            ("sessions.session_timeout_ms", |c| c.sessions.session_timeout_ms = 0),
            ("sessions.max_time_step_ms", |c| c.sessions.max_time_step_ms = 0),
            ("sessions.sequence_window", |c| c.sessions.sequence_window = 0),
            ("sessions.reply_bytes", |c| c.sessions.reply_bytes = 0),
        ];
        for (number, (setting, change)) in refused.iter().enumerate() {
            let error = wrong(change);
            let rule = format!("this configuration does not work: {setting} is ");
            assert!(error.starts_with(&rule), "change {number}: {error}");
        }
        let works: &[Change] = &[
            |c| c.batch_delay = NONE,
            |c| c.append_interval = NONE,
            |c| c.commit_notice = Some(NONE),
            |c| c.proposals_in_flight = usize::MAX,
            |c| c.reads_in_flight = usize::MAX,
            // A single entry is always sent, accepted and dispatched, whatever its size.
            |c| c.append_bytes = 0,
            |c| (c.uncommitted_bytes, c.unpersisted_bytes, c.apply_queue_bytes) = (0, 0, 0),
            |c| c.append_entries = usize::MAX,
            |c| (c.window_messages, c.window_bytes) = (usize::MAX, usize::MAX),
            |c| (c.log_cache_bytes, c.trailing_entries, c.trailing_bytes) = (0, 0, 0),
            |c| (c.log_cache_bytes, c.trailing_entries) = (usize::MAX, u64::MAX),
            |c| (c.snapshot_bytes, c.pin_bytes) = (Some(usize::MAX), usize::MAX),
            |c| (c.snapshot_bytes, c.uncommitted_bytes) = (None, usize::MAX),
            |c| c.snapshot_entries = Some(u64::MAX),
        ];
        for (number, change) in works.iter().enumerate() {
            let mut config = Config::default();
            change(&mut config);
            assert_eq!(config.validate(), Ok(()), "change {number}");
        }
    }

    /// With the largest limits, the derived maxima saturate instead of overflowing.
    #[test]
    fn the_largest_limits_leave_room_for_proposals() {
        let mut config = Config::default();
        (config.snapshot_bytes, config.pin_bytes) = (Some(usize::MAX), usize::MAX);
        let raft = config.raft(1, 1);
        assert_eq!(raft.log_bytes_max(), Some(usize::MAX));
        assert_eq!(raft.committed_bytes_max(), Some(usize::MAX));
        assert_eq!(raft.compacting_bytes_min(), Some(usize::MAX));
    }

    #[test]
    fn what_does_not_fit_into_the_transports_messages_is_named() {
        let config = Config { append_bytes: 5000, ..Config::default() };
        assert_eq!(config.fits_into(None), Ok(()));
        assert_eq!(config.fits_into(Some(MIB + FRAMING_BYTES_MAX)), Ok(()));
        let error = config.fits_into(Some(MIB)).expect_err("the default commands are as long");
        assert!(
            error.to_string().contains("command_bytes is 1048576, and must be at most 1047552")
        );
        let small = Config { command_bytes: 1, append_bytes: 2000, ..config.clone() };
        let error = small.fits_into(Some(2048)).expect_err("1 KiB is reserved").to_string();
        assert!(error.contains("append_bytes is 2000"), "{error}");
        let error = small.fits_into(Some(4096)).expect_err("pieces of 1 MiB").to_string();
        assert!(error.contains("snapshot_chunk_bytes is 1048576"), "{error}");
        assert!(config.fits_into(Some(0)).is_err());
    }
}
