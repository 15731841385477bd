//! Tests of both contracts on every storage, and of the file storage on a disk that can fail.

mod actions;
mod contract;
mod corruption;
mod crash;
mod damage;
mod edited;
mod events;
mod faults;
mod golden;
pub(crate) mod model;
mod property;
mod raw;
mod recording;
pub(crate) mod sim_disk;
mod workload;
mod workloads;
