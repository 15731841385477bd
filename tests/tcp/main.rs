//! Members over real TCP: agreement, restarts, snapshots, and everything that can come in at an open port.
//!
//! Real sockets and real time; every test waits for conditions.

mod agreement;
mod figures;
mod hostile;
mod lines;
mod pair;
mod proxy;
mod raw;
mod support;
mod wires;
