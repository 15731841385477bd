//! The number of file descriptors that the process may open, and the share of HTTP.
//!
//! ```text
//! limit of the process = RESERVE (log, snapshots, members)
//!                      + passed-on requests (with --forward)
//!                      + connections of HTTP, at most MOST for each thread
//! ```
//! If clients use all file descriptors of a process, it cannot open the next file of its log. So
//! HTTP leaves a reserve, and further clients wait to be accepted. The limit is raised as far as
//! the system permits.
//!
//! *What it does not do:* it changes nothing for a service that embeds the library. A service sets
//! its own limits.

use crate::demo::Failure;

/// Reserve for the files of the log and of snapshots, the members' connections (including those
/// that wait for their handshake), and what the threads need.
const RESERVE: u64 = 512;

/// The number of descriptors that is requested from the system.
const WANTED: u64 = 65_536;

/// Maximum and minimum number of HTTP connections per thread.
const MOST: u64 = 1024;
const LEAST: u64 = 16;

/// Raises the process's limit and returns the current one; `None` if there is none.
#[cfg(unix)]
pub fn raise_limit() -> Option<u64> {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    let wanted = limit.maximum.map_or(WANTED, |maximum| maximum.min(WANTED));
    if limit.current.is_some_and(|current| current < wanted) {
        limit.current = Some(wanted);
        // If raising is not permitted, the current limit is used.
        let _ = setrlimit(Resource::Nofile, limit);
    }
    getrlimit(Resource::Nofile).current
}

/// There is no relevant limit.
#[cfg(not(unix))]
pub fn raise_limit() -> Option<u64> {
    None
}

/// The number of HTTP connections per thread for a process with this limit of descriptors.
/// Forwarded requests need `passed_on` of them.
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
