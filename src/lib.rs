//! Replicated state for actix services.

pub mod machine;
pub mod raft;
pub mod storage;
pub mod transport;
