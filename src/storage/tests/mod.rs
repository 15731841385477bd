//! Tests of both contracts on every storage, and of the file storage on a disk that can fail.

mod contract;
mod crash;
pub(crate) mod model;
pub(crate) mod sim_disk;
mod workload;
