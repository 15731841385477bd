//! Clusters of real actors in virtual time: one thread, tokio's paused clock, each place with a clock of its own.

mod basics;
mod by_hand;
mod ends;
mod faulty;
mod installs;
mod placement;
mod puppet;
mod support;
