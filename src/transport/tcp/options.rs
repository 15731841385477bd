//! Every limit and every time of the transport, with what it is for; and why it can't begin.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use crate::raft::NodeId;

const MIB: usize = 1 << 20;

/// Settings of a [`TcpTransport`](super::TcpTransport).
#[derive(Clone, Debug)]
pub struct TcpOptions {
    /// The local member.
    pub node: NodeId,
    /// The cluster's id, as the node was told it.
    pub cluster: u64,
    /// Where the other members listen: `host:port`. A name is looked up at each attempt to connect. The local member's own
    /// entry is ignored, so that all members can be given the same table.
    pub peers: BTreeMap<NodeId, String>,
    /// Where to listen: the loopback interface and any free port unless set.
    pub listen: String,
    /// Seeds the spread of waiting times.
    pub seed: u64,

    /// No frame is longer, neither way. The same on every member.
    pub max_frame_bytes: usize,
    /// What one member may have sent over one lane that is not handled here yet.
    pub window_bytes: usize,
    /// What waits for one member and one lane, at most: messages ..
    pub outbox_messages: usize,
    /// .. and bytes ..
    pub outbox_bytes: usize,
    /// .. and for so long; after that it is not sent any more.
    pub outbox_age: Duration,
    /// Connections that are not through the handshake yet, at most; beyond it the oldest is dropped.
    pub pending_connections: usize,

    /// An attempt to connect takes so long, at most, looking up the name included.
    pub connect_timeout: Duration,
    /// A hello is there so long after the connection, at most, and a reply so long after the hello.
    pub handshake_timeout: Duration,
    /// A frame that has begun has ended so much later.
    pub frame_timeout: Duration,
    /// Who has nothing to say says so this often.
    pub alive_interval: Duration,
    /// Who has said nothing for so long is gone.
    pub dead_after: Duration,
    /// After a failure the next attempt waits about so long ..
    pub retry_min: Duration,
    /// .. and after each further one twice as long, up to this.
    pub retry_max: Duration,
    /// A log line about the same member with the same reason is repeated so often, at most.
    pub notice_interval: Duration,
}

impl TcpOptions {
    /// The member `node` of `cluster`, with the other members' addresses. The rest can be set by field.
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

    /// Whether the settings fit each other.
    pub fn validate(&self) -> Result<(), TcpError> {
        let rules = [
            (
                (1024..=u32::MAX as usize / 2).contains(&self.max_frame_bytes),
                "max_frame_bytes must be 1 KiB to 2 GiB",
            ),
            (
                self.window_bytes / 2 >= self.max_frame_bytes,
                "window_bytes must be at least twice max_frame_bytes",
            ),
            (
                self.outbox_bytes >= self.max_frame_bytes,
                "outbox_bytes must be at least max_frame_bytes",
            ),
            (self.outbox_messages > 0, "outbox_messages must be at least 1"),
            (!self.outbox_age.is_zero(), "outbox_age must be longer than 0"),
            (self.pending_connections > 0, "pending_connections must be at least 1"),
            (
                !self.connect_timeout.is_zero()
                    && !self.handshake_timeout.is_zero()
                    && !self.frame_timeout.is_zero(),
                "connect_timeout, handshake_timeout and frame_timeout must be longer than 0",
            ),
            (
                !self.alive_interval.is_zero() && self.dead_after >= 2 * self.alive_interval,
                "dead_after must be at least twice alive_interval, and that longer than 0",
            ),
            (
                !self.retry_min.is_zero() && self.retry_max >= self.retry_min,
                "retry_min must be longer than 0 and not longer than retry_max",
            ),
        ];
        match rules.into_iter().find(|(holds, _)| !holds) {
            Some((_, rule)) => Err(TcpError::Options(rule)),
            None => Ok(()),
        }
    }
}

/// Why a transport can't begin.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TcpError {
    /// The settings do not fit each other.
    #[error("these TCP options do not work: {0}")]
    Options(&'static str),
    /// The address to listen at can't be had.
    #[error(
        "can't listen at {address}: {source}; is the port taken, or the address another machine's?"
    )]
    Listen {
        /// The address.
        address: String,
        /// What the system said.
        source: io::Error,
    },
    /// The thread can't be started.
    #[error("can't start the transport's thread: {0}")]
    Thread(io::Error),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_valid_and_what_does_not_fit_is_named() {
        let with = |change: fn(&mut TcpOptions)| {
            let mut options = TcpOptions::new(1, 0, BTreeMap::new());
            change(&mut options);
            options.validate().map_err(|error| error.to_string())
        };
        assert_eq!(with(|_| ()), Ok(()));
        assert!(with(|o| o.window_bytes = MIB).unwrap_err().contains("window_bytes"));
        assert!(with(|o| o.outbox_bytes = 1).unwrap_err().contains("outbox_bytes"));
        assert!(with(|o| o.dead_after = o.alive_interval).unwrap_err().contains("dead_after"));
        assert!(with(|o| o.retry_max = Duration::ZERO).unwrap_err().contains("retry_max"));
    }
}
