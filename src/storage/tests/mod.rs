//! Tests of both contracts on every storage, and of the file storage on a disk that can fail.

mod contract;
mod crash;
mod damage;
mod edited;
mod golden;
pub(crate) mod model;
mod property;
mod raw;
mod repair;
pub(crate) mod sim_disk;
mod workload;
