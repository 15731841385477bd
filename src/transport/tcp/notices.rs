//! Rate-limited log lines, with the number of suppressed ones.
//!
//! A line is identified by its subject and its reason. The subject is a member of the local list,
//! or `None` for all others; so there are at most members times reasons lines to remember, whatever
//! connects.

use std::collections::BTreeMap;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::raft::NodeId;

type Line = (Option<NodeId>, &'static str);

#[derive(Debug)]
pub(crate) struct Notices {
    every: Duration,
    said: Mutex<BTreeMap<Line, Said>>,
}

#[derive(Debug)]
struct Said {
    at: Instant,
    suppressed: u64,
}

impl Notices {
    pub(crate) fn new(every: Duration) -> Notices {
        Notices { every, said: Mutex::default() }
    }

    /// `Some` if the line is to be logged now, with the number of lines suppressed since the last.
    pub(crate) fn due(
        &self,
        about: Option<NodeId>,
        why: &'static str,
        now: Instant,
    ) -> Option<u64> {
        let mut lines = self.said.lock();
        match lines.get_mut(&(about, why)) {
            Some(said) if now - said.at < self.every => {
                said.suppressed += 1;
                None
            }
            Some(said) => {
                said.at = now;
                Some(std::mem::take(&mut said.suppressed))
            }
            None => {
                lines.insert((about, why), Said { at: now, suppressed: 0 });
                Some(0)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_said_once_in_a_while_and_counts_what_it_left_out() {
        let notices = Notices::new(Duration::from_secs(10));
        let began = Instant::now();
        let at = |seconds| began + Duration::from_secs(seconds);
        assert_eq!(notices.due(Some(1), "cluster", at(0)), Some(0));
        assert_eq!(notices.due(Some(1), "cluster", at(1)), None);
        assert_eq!(notices.due(Some(1), "cluster", at(9)), None);
        assert_eq!(notices.due(Some(1), "version", at(9)), Some(0), "another reason");
        assert_eq!(notices.due(Some(2), "cluster", at(9)), Some(0), "another member");
        assert_eq!(notices.due(Some(1), "cluster", at(10)), Some(2));
    }
}
