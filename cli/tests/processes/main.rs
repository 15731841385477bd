//! Members as processes: real sockets, real files, real signals.
//!
//! | file | idea |
//! |---|---|
//! | `http` | a client written here a second time, so that the server is not only understood by its own |
//! | `members` | processes: started, killed, stopped, continued |
//! | `history` | what clients saw, and whether one register per key could have answered so |
//! | `load` | clients that write and read while members fail |
//! | `answers` | what each request is answered |
//! | `descriptors` | more connections than the process may have files open |
//! | `directories` | what `inspect` and `verify` say of a member's directory, and that they change nothing |
//! | `strangers` | servers that are no members, and members mounted in services |
//! | `lines` | what is written on standard error |
//! | `commands` | wrong use of each command, and what is said of it |
//! | `faults` | three members under load, killed and stopped in turn |

#![expect(clippy::disallowed_methods, reason = "real programs run in real time")]

mod answers;
mod commands;
#[cfg(unix)]
mod descriptors;
mod directories;
mod faults;
mod history;
mod http;
mod lines;
mod load;
mod members;
mod strangers;
