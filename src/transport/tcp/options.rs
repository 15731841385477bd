//! The transport's limits and times, and the errors of its start.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use crate::raft::NodeId;
use crate::settings::{LONGEST, Rules, SettingError};

const MIB: usize = 1 << 20;

/// Settings of a [`TcpTransport`](super::TcpTransport).
#[derive(Clone, Debug)]
pub struct TcpOptions {
    /// The local member.
    pub node: NodeId,
    /// The cluster's id; the same as the node's.
    pub cluster: u64,
    /// The addresses of the other members: `host:port`. A name is looked up at each attempt to
    /// connect. The local member's own entry is ignored, so that all members can have the same
    /// table.
    pub peers: BTreeMap<NodeId, String>,
    /// The address to listen on. Default: the loopback interface and any free port.
    pub listen: String,
    /// The seed of the jitter of waiting times.
    pub seed: u64,

    /// The maximum length of a frame in bytes, in both directions. The same on every member.
    pub max_frame_bytes: usize,
    /// The maximum number of bytes, plus 256 per frame, that one member may have sent over one lane
    /// and that are not handled here yet.
    pub window_bytes: usize,
    /// The maximum number of messages queued for one member and one lane.
    pub outbox_messages: usize,
    /// The maximum number of bytes queued for one member and one lane.
    pub outbox_bytes: usize,
    /// The maximum time that a message is queued; after that it is dropped.
    pub outbox_age: Duration,
    /// The maximum number of connections before the handshake; beyond it the oldest is dropped.
    pub pending_connections: usize,

    /// The timeout of an attempt to connect, including the name lookup.
    pub connect_timeout: Duration,
    /// The timeout of a hello after the connection, and of a reply after the hello.
    pub handshake_timeout: Duration,
    /// The time within which a frame that has begun must end.
    pub frame_timeout: Duration,
    /// The interval of keep-alives on an idle connection.
    pub alive_interval: Duration,
    /// A connection on which nothing arrives for this time is closed.
    pub dead_after: Duration,
    /// The approximate delay before the first new attempt after a failure.
    pub retry_min: Duration,
    /// The maximum of that delay, which doubles with each further failure.
    pub retry_max: Duration,
    /// The minimum time between log lines about the same member with the same reason.
    pub notice_interval: Duration,
}

impl TcpOptions {
    /// Options for the member `node` of `cluster`, with the other members' addresses. The other
    /// fields have defaults.
    pub fn new(node: NodeId, cluster: u64, peers: BTreeMap<NodeId, String>) -> TcpOptions {
        TcpOptions {
            node,
            cluster,
            peers,
            listen: "127.0.0.1:0".to_owned(),
            seed: 0,
            max_frame_bytes: 8 * MIB,
            window_bytes: 16 * MIB,
            outbox_messages: 4096,
            outbox_bytes: 32 * MIB,
            outbox_age: Duration::from_secs(1),
            pending_connections: 256,
            connect_timeout: Duration::from_secs(2),
            handshake_timeout: Duration::from_secs(2),
            frame_timeout: Duration::from_secs(10),
            alive_interval: Duration::from_secs(1),
            dead_after: Duration::from_secs(5),
            retry_min: Duration::from_millis(20),
            retry_max: Duration::from_secs(2),
            notice_interval: Duration::from_secs(10),
        }
    }

    /// Checks that the settings are consistent and that none of them stops the transport.
    pub fn validate(&self) -> Result<(), TcpError> {
        let mut rules = Rules::default();
        self.sizes_work(&mut rules);
        self.times_work(&mut rules);
        for (&node, address) in self.peers.iter().filter(|(node, _)| **node != self.node) {
            let must = "host:port, with a port from 1 to 65535";
            rules.must(is_address(address), &format!("peers[{node}]"), address, must);
        }
        rules.result().map_err(TcpError::Options)
    }

    fn sizes_work(&self, rules: &mut Rules) {
        let frame = self.max_frame_bytes;
        rules
            .between("max_frame_bytes", frame, 1024, u32::MAX as usize / 2)
            .must(
                self.window_bytes / 2 >= frame,
                "window_bytes",
                self.window_bytes,
                format_args!("at least twice max_frame_bytes ({frame})"),
            )
            .must(
                self.outbox_bytes >= frame,
                "outbox_bytes",
                self.outbox_bytes,
                format_args!("at least max_frame_bytes ({frame})"),
            )
            .at_least("outbox_messages", self.outbox_messages, 1)
            .at_least("pending_connections", self.pending_connections, 1);
    }

    fn times_work(&self, rules: &mut Rules) {
        let (alive, retry_min) = (self.alive_interval, self.retry_min);
        rules
            .wait("outbox_age", self.outbox_age)
            .wait("connect_timeout", self.connect_timeout)
            .wait("handshake_timeout", self.handshake_timeout)
            .wait("frame_timeout", self.frame_timeout)
            .wait("alive_interval", alive)
            .must(
                self.dead_after >= 2 * alive.min(LONGEST),
                "dead_after",
                self.dead_after,
                format_args!("at least twice alive_interval ({alive:?})"),
            )
            .time("dead_after", self.dead_after)
            .wait("retry_min", retry_min)
            .must(
                self.retry_max >= retry_min,
                "retry_max",
                self.retry_max,
                format_args!("at least retry_min ({retry_min:?})"),
            )
            .time("retry_max", self.retry_max)
            .time("notice_interval", self.notice_interval);
    }
}

fn is_address(address: &str) -> bool {
    address.rsplit_once(':').is_some_and(|(host, port)| {
        !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0)
    })
}

/// Why a transport can't start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TcpError {
    /// The settings are not valid.
    #[error("these TCP options do not work: {0}")]
    Options(SettingError),
    /// The address to listen on can't be bound.
    #[error(
        "can't listen at {address}: {source}; is the port taken, or the address another machine's?"
    )]
    Listen {
        /// The address.
        address: String,
        /// The system's error.
        source: io::Error,
    },
    /// The thread can't be started.
    #[error("can't start the transport's thread: {0}")]
    Thread(io::Error),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(change: impl FnOnce(&mut TcpOptions)) -> Result<(), String> {
        let peers = BTreeMap::from([(1, String::new()), (2, "[::1]:4000".to_owned())]);
        let mut options = TcpOptions::new(1, 0, peers);
        change(&mut options);
        options.validate().map_err(|error| error.to_string())
    }

    #[test]
    fn what_does_not_fit_is_named_with_its_value_and_what_it_must_be() {
        assert_eq!(with(|_| ()), Ok(()), "the own address is ignored");
        assert_eq!(
            with(|o| o.window_bytes = MIB).unwrap_err(),
            "these TCP options do not work: window_bytes is 1048576, and must be at least twice \
             max_frame_bytes (8388608)"
        );
    }

    const LONG: Duration = Duration::MAX;
    const NONE: Duration = Duration::ZERO;

    /// Each setting at the limits of its type, with the expected result. A new field needs a row
    /// here.
    #[test]
    fn no_setting_stops_the_transport_at_the_ends_of_its_range() {
        type Change = fn(&mut TcpOptions);
        let refused: &[(&str, Change)] = &[
            ("peers[2]", |o| drop(o.peers.insert(2, "host".into()))),
            ("peers[2]", |o| drop(o.peers.insert(2, ":4000".into()))),
            ("peers[2]", |o| drop(o.peers.insert(2, "host:0".into()))),
            ("peers[2]", |o| drop(o.peers.insert(2, "http://host".into()))),
            ("max_frame_bytes", |o| o.max_frame_bytes = 0),
            ("max_frame_bytes", |o| o.max_frame_bytes = usize::MAX),
            ("window_bytes", |o| o.window_bytes = 0),
            ("outbox_messages", |o| o.outbox_messages = 0),
            ("outbox_bytes", |o| o.outbox_bytes = 0),
            ("outbox_age", |o| o.outbox_age = NONE),
            ("outbox_age", |o| o.outbox_age = LONG),
            ("pending_connections", |o| o.pending_connections = 0),
            ("connect_timeout", |o| o.connect_timeout = NONE),
            ("connect_timeout", |o| o.connect_timeout = LONG),
            ("handshake_timeout", |o| o.handshake_timeout = NONE),
            ("handshake_timeout", |o| o.handshake_timeout = LONG),
            ("frame_timeout", |o| o.frame_timeout = NONE),
            ("frame_timeout", |o| o.frame_timeout = LONG),
            ("alive_interval", |o| o.alive_interval = NONE),
            ("alive_interval", |o| (o.alive_interval, o.dead_after) = (LONG, LONG)),
            ("dead_after", |o| o.dead_after = o.alive_interval),
            ("dead_after", |o| o.dead_after = LONG),
            ("retry_min", |o| o.retry_min = NONE),
            ("retry_max", |o| o.retry_max = NONE),
            ("retry_max", |o| o.retry_max = LONG),
            ("notice_interval", |o| o.notice_interval = LONG),
        ];
        for (number, (setting, change)) in refused.iter().enumerate() {
            let error = with(change).expect_err("a wrong option");
            let rule = format!("these TCP options do not work: {setting} is ");
            assert!(error.starts_with(&rule), "change {number}: {error}");
        }
        let works: &[Change] = &[
            |o| (o.window_bytes, o.outbox_bytes) = (usize::MAX, usize::MAX),
            |o| (o.outbox_messages, o.pending_connections) = (usize::MAX, usize::MAX),
            |o| o.notice_interval = NONE,
        ];
        for (number, change) in works.iter().enumerate() {
            assert_eq!(with(change), Ok(()), "change {number}");
        }
    }
}
