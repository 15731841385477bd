//! Clusters of real actors in virtual time: one thread, tokio's paused clock, each place with a clock of its own.

mod apply_side;
mod basics;
mod builds;
mod by_hand;
mod check_quorum;
mod clients;
mod coincidences;
mod copies;
mod ends;
mod faulty;
mod flood;
mod gateway;
mod held;
mod installs;
mod losses;
mod oddities;
mod placement;
mod puppet;
mod randomised;
mod seldom;
mod spans;
mod strangers;
mod support;
mod views;
