//! Where openraft and its clients run: as in the benchmarks that come with it.
//!
//! Its benchmark for 0.10 has two clients' threads beside the members' own, the one for 0.9 has clients and members on
//! the same threads. Which is better depends on the machine and on the number of clients, so every number of threads is
//! measured both ways, with both versions.
//!
//! Not here: a runtime of one thread without workers. Its benchmarks have none.

use std::io;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};

/// The members' threads.
const MEMBERS_THREADS: [usize; 3] = [1, 2, 16];
/// The clients' threads, where they have some of their own.
const CLIENTS_THREADS: usize = 2;
/// Tasks that do not end by themselves are given up after so long.
const END: Duration = Duration::from_secs(2);

/// How threads are shared out.
#[derive(Clone, Copy)]
pub struct Layout {
    members: usize,
    clients_apart: bool,
}

/// The runtimes of a turn.
pub struct Runtimes {
    members: Runtime,
    clients: Option<Runtime>,
}

impl Layout {
    /// All that are measured.
    pub fn all() -> impl Iterator<Item = Layout> {
        MEMBERS_THREADS.into_iter().flat_map(|members| {
            [true, false].map(|clients_apart| Layout { members, clients_apart })
        })
    }

    /// What a contestant is called for it.
    pub fn name(self) -> String {
        let threads = if self.members == 1 { "thread" } else { "threads" };
        let clients = if self.clients_apart { " + 2 of the clients" } else { "" };
        format!("{} {threads}{clients}", self.members)
    }

    /// Starts the threads.
    pub fn start(self) -> io::Result<Runtimes> {
        let runtime =
            |threads| Builder::new_multi_thread().worker_threads(threads).enable_all().build();
        let clients = self.clients_apart.then(|| runtime(CLIENTS_THREADS)).transpose()?;
        Ok(Runtimes { members: runtime(self.members)?, clients })
    }
}

impl Runtimes {
    /// Of the members.
    pub fn members(&self) -> &Runtime {
        &self.members
    }

    /// Of the clients.
    pub fn clients(&self) -> &Runtime {
        self.clients.as_ref().unwrap_or(&self.members)
    }

    /// Ends the threads.
    pub fn end(self) {
        self.clients.into_iter().for_each(|runtime| runtime.shutdown_timeout(END));
        self.members.shutdown_timeout(END);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_layout_has_a_name_of_its_own() {
        let mut names: Vec<String> = Layout::all().map(Layout::name).collect();
        assert_eq!((names.len(), names[0].as_str()), (6, "1 thread + 2 of the clients"));
        names.sort();
        names.dedup();
        assert_eq!(names.len(), 6);
    }
}
