//! Clusters of real actors in virtual time: one thread, tokio's paused clock, each place with a clock of its own.

mod basics;
mod placement;
mod puppet;
mod support;
