//! Tests of both contracts on every storage, and of the file storage on a disk that can fail.

#[cfg(test)]
mod actions;
#[cfg(test)]
mod by_the_page;
#[cfg(test)]
mod contract;
#[cfg(test)]
mod corruption;
#[cfg(test)]
mod crash;
#[cfg(test)]
mod damage;
#[cfg(test)]
mod edited;
#[cfg(test)]
mod ends;
#[cfg(test)]
mod events;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod fuzzed;
#[cfg(test)]
mod golden;
#[cfg(test)]
mod inspecting;
#[cfg(test)]
mod members;
pub(crate) mod model;
#[cfg(test)]
mod property;
#[cfg(test)]
mod raw;
#[cfg(test)]
mod repair;
#[cfg(test)]
mod scarcity;
pub(crate) mod workload;
#[cfg(test)]
mod workloads;

pub(crate) use super::file::{recording, sim_disk};
