//! Settings so small that a few entries reach the limits.

use crate::raft::RaftConfig;

use super::MILLISECOND;

/// A peer's settings with small limits, for tests that drive the protocol by hand.
pub fn small_config() -> RaftConfig {
    RaftConfig {
        node: 0,
        cluster: 9,
        seed: 0,
        heartbeat_interval: 100 * MILLISECOND,
        election_timeout_min: 300 * MILLISECOND,
        election_timeout_max: 600 * MILLISECOND,
        request_timeout: 150 * MILLISECOND,
        retry_interval: 100 * MILLISECOND,
        check_quorum: true,
        batch_delay: 0,
        append_interval: 0,
        commit_notice: None,
        noop_on_election: true,
        append_bytes: 2_000,
        append_entries: 64,
        window_messages: 8,
        window_bytes: 16_000,
        uncommitted_bytes: 3_000,
        unpersisted_bytes: 20_000,
        log_cache_bytes: 4_000,
        apply_queue_bytes: 1_000,
        snapshot_bytes: Some(4_000),
        snapshot_entries: None,
        snapshot_retry_interval: 200 * MILLISECOND,
        trailing_entries: 20,
        trailing_bytes: 1_000,
        pin_bytes: 4_000,
        snapshot_chunk_bytes: 40,
        undecodable_retry_max: 60_000 * MILLISECOND,
        doubt_timeout: 6_000 * MILLISECOND,
    }
}
