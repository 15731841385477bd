//! Replicated state for actix services.

pub mod raft;
pub mod storage;
pub mod transport;
