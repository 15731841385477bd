//! How many files and connections the process may have open, and how many of them HTTP may take.
//!
//! ```text
//! limit of the process = RESERVE (log, snapshots, members)
//!                      + passed-on requests (with --forward)
//!                      + connections of HTTP, at most MOST for each thread
//! ```
//! A process whose descriptors are all taken by clients can't open the next file of its log. So HTTP leaves a reserve, and
//! further clients wait to be accepted. The limit is raised as far as the system lets the process raise it by itself.
//!
//! *What it does not do:* it changes nothing for a service that embeds the library. Limits are the service's own there.

use crate::demo::Failure;

/// For files of the log and of snapshots, the members' connections (those that wait for their handshake, too), and what the
/// threads need.
const RESERVE: u64 = 512;

/// As many are asked for, at most.
const WANTED: u64 = 65_536;

/// Connections of HTTP for each thread, at most and at least.
const MOST: u64 = 1024;
const LEAST: u64 = 16;

/// Raises the process's limit; how many it is now, where there is one.
#[cfg(unix)]
pub fn raise_limit() -> Option<u64> {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    let wanted = limit.maximum.map_or(WANTED, |maximum| maximum.min(WANTED));
    if limit.current.is_some_and(|current| current < wanted) {
        limit.current = Some(wanted);
        // Where that is not allowed, what is there has to do.
        let _ = setrlimit(Resource::Nofile, limit);
    }
    getrlimit(Resource::Nofile).current
}

/// There is none that matters.
#[cfg(not(unix))]
pub fn raise_limit() -> Option<u64> {
    None
}

/// How many connections of HTTP each of the threads may have, if the process may have so many descriptors, of which requests
/// that are passed on take some.
pub fn connections(limit: Option<u64>, threads: u64, passed_on: u64) -> Result<usize, Failure> {
    let Some(limit) = limit else { return Ok(MOST as usize) };
    let kept = RESERVE + passed_on;
    let each = limit.saturating_sub(kept) / threads;
    if each < LEAST {
        let least = kept + LEAST * threads;
        return Err(Failure(format!(
            "this process may have {limit} files and connections open, and needs {least}: allow more (ulimit -n)"
        )));
    }
    Ok(each.min(MOST) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn http_leaves_a_reserve_for_files() {
        for limit in [544, 600, 1024, 4096, 1 << 20] {
            for (threads, passed_on) in [(1, 0), (2, 0), (2, 200), (8, 100)] {
                match connections(Some(limit), threads, passed_on) {
                    Ok(each) => {
                        let each = each as u64;
                        assert!((LEAST..=MOST).contains(&each));
                        assert!(each * threads + passed_on + RESERVE <= limit, "{limit}: {each}");
                    }
                    Err(why) => {
                        assert!(RESERVE + passed_on + LEAST * threads > limit, "{limit}: {why}");
                        assert!(why.0.contains("ulimit -n"), "{why}");
                    }
                }
            }
        }
        assert_eq!(connections(None, 2, 0).ok(), Some(MOST as usize));
    }

    #[test]
    #[cfg(unix)]
    fn the_limit_is_raised_as_far_as_the_system_allows() {
        let limit = raise_limit();
        let maximum = rustix::process::getrlimit(rustix::process::Resource::Nofile).maximum;
        let wanted = maximum.map_or(WANTED, |maximum| maximum.min(WANTED));
        assert!(limit.is_none_or(|limit| limit >= wanted), "{limit:?} of {maximum:?}");
    }
}
