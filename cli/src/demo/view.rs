//! The terminal view of a running demo: a bar for the words, and a line per peer. No line is wider
//! than 79 columns. Without a terminal, [`super::lines`] reports the progress.

use std::io::IsTerminal;
use std::sync::Arc;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use quorate::raft::{InstallStatus, Role};

use super::load::Load;
use super::members::{Members, PeerView};

/// How often the lines are redrawn.
const REDRAW: Duration = Duration::from_millis(100);

/// The bar and the lines.
pub struct View {
    words: ProgressBar,
    step: ProgressBar,
    head: ProgressBar,
    peers: Vec<ProgressBar>,
    all: MultiProgress,
}

impl View {
    /// Opens a view if there is a terminal.
    pub fn open(peers: usize, words: usize) -> Option<View> {
        if !std::io::stderr().is_terminal() {
            return None;
        }
        let all = MultiProgress::new();
        let words = all.add(ProgressBar::new(words as u64));
        words.set_style(style("{wide_bar:.cyan/blue} {human_pos} of {human_len} words  {elapsed}"));
        let step = all.add(ProgressBar::new_spinner());
        step.set_style(style("{spinner} {wide_msg}"));
        let head = all.add(ProgressBar::new_spinner());
        head.set_style(style("{wide_msg}"));
        head.set_message(head_line());
        let line = |_| {
            let bar = all.add(ProgressBar::new_spinner());
            bar.set_style(style("{wide_msg}"));
            bar
        };
        let peers = (0..peers).map(line).collect();
        Some(View { words, step, head, peers, all })
    }

    /// Draws until it is dropped.
    pub async fn run(&self, members: Arc<Members>, load: Arc<Load>) {
        loop {
            self.draw(&members, &load);
            tokio::time::sleep(REDRAW).await;
        }
    }

    fn draw(&self, members: &Members, load: &Load) {
        self.words.set_position(load.acknowledged());
        self.step.set_message(members.noted());
        self.step.tick();
        self.head.tick();
        for (bar, peer) in self.peers.iter().zip(members.views()) {
            bar.set_message(line(&peer));
        }
    }
}

/// Clears the screen, however the demo ends.
impl Drop for View {
    fn drop(&mut self) {
        // If the terminal is gone, there is nothing to clear.
        let _ = self.all.clear();
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_spinner())
}

fn head_line() -> String {
    columns(
        ["peer", "role", "term", "last", "commit", "applied", "snapshot", "log", "queue", "stall"],
        "install",
    )
}

/// Entries have up to seven digits without touching the preceding column.
fn columns<T: AsRef<str>>(cells: [T; 10], install: &str) -> String {
    let [peer, role, term, last, commit, applied, snapshot, log, queue, stall] =
        cells.each_ref().map(AsRef::as_ref);
    format!(
        "{peer:<5}{role:<9}{term:>5}{last:>8}{commit:>8}{applied:>8}{snapshot:>9}{log:>6}{queue:>6}\
         {stall:>6}  {install}"
    )
}

fn line(peer: &PeerView) -> String {
    let raft = &peer.status.raft;
    let role = match (peer.lives, raft.role) {
        (false, _) => "down",
        (_, Role::Leader) => "LEADER",
        (_, Role::Follower) => "follower",
        (_, Role::Candidate | Role::PreCandidate) => "asks",
    };
    let install = match raft.install {
        InstallStatus::None => "",
        InstallStatus::Receiving { .. } => "arrives",
        InstallStatus::Pending { .. } => "waits",
        InstallStatus::Refused { .. } => "refused",
        InstallStatus::Undecodable { .. } => "unread",
    };
    let cells = [
        peer.id.to_string(),
        role.to_owned(),
        raft.term.to_string(),
        raft.last.index.to_string(),
        raft.commit.to_string(),
        raft.applied.to_string(),
        raft.snapshot.index.to_string(),
        size(raft.log_bytes),
        (raft.dispatched - raft.applied).to_string(),
        format!("{}ms", peer.status.max_loop_stall_ms.round()),
    ];
    columns(cells, install)
}

/// Formats a size in at most five characters, up to a terabyte.
fn size(bytes: u64) -> String {
    match bytes {
        0..10_240_000 => format!("{}K", bytes >> 10),
        10_240_000..10_485_760_000 => format!("{}M", bytes >> 20),
        _ => format!("{}G", bytes >> 30),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_fits_into_a_terminal_of_80_columns() {
        let seven = "9999999";
        let widest =
            ["30", "follower", "999", seven, seven, seven, seven, "9999K", "99999", "999ms"];
        for line in [columns(widest, "refused"), head_line()] {
            assert!(line.chars().count() < 80, "{} columns: {line}", line.chars().count());
            assert_eq!(line.split_whitespace().count(), 11, "no column touches another: {line}");
        }
        for bytes in [0, 10_239_999, 10_240_000, 10_485_759_999, 1 << 43] {
            assert!(size(bytes).len() <= 5, "{}", size(bytes));
        }
    }
}
