//! What a terminal sees while the demo runs: a bar for the words, a line a peer. Without a terminal there is nothing.

use std::io::IsTerminal;
use std::sync::Arc;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use quorate::raft::{InstallStatus, Role};

use super::load::Load;
use super::members::{Members, PeerView};

/// How often the lines are drawn anew.
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
    /// A view, if there is a terminal to show it on and it is wanted.
    pub fn open(wanted: bool, peers: usize, words: usize) -> Option<View> {
        if !wanted || !std::io::stderr().is_terminal() {
            return None;
        }
        let all = MultiProgress::new();
        let words = all.add(ProgressBar::new(words as u64));
        words.set_style(style("{bar:40.cyan/blue} {pos}/{len} words  {per_sec}  {elapsed}"));
        let step = all.add(ProgressBar::new_spinner());
        step.set_style(style("{spinner} {msg}"));
        let head = all.add(ProgressBar::new_spinner());
        head.set_style(style("{msg}"));
        head.set_message(format!(
            "{:<6}{:<14}{:>6}{:>10}{:>10}{:>10}{:>10}{:>12}{:>8}{:>10}  install",
            "peer",
            "role",
            "term",
            "last",
            "commit",
            "applied",
            "snapshot",
            "log",
            "queue",
            "stall"
        ));
        let line = |_| {
            let bar = all.add(ProgressBar::new_spinner());
            bar.set_style(style("{msg}"));
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

    /// Takes everything off the screen.
    pub fn close(self) {
        let _ = self.all.clear();
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_spinner())
}

fn line(peer: &PeerView) -> String {
    let raft = &peer.status.raft;
    let role = match (peer.lives, raft.role) {
        (false, _) => "down",
        (_, Role::Leader) => "LEADER",
        (_, Role::Follower) => "follower",
        (_, Role::Candidate | Role::PreCandidate) => "candidate",
    };
    let install = match raft.install {
        InstallStatus::None => String::new(),
        InstallStatus::Receiving { index, bytes } => {
            format!("receiving {index}: {} KiB", bytes >> 10)
        }
        InstallStatus::Pending { index } => format!("installing {index}"),
        InstallStatus::Refused { commit } => format!("refused at {commit}"),
    };
    format!(
        "{:<6}{:<14}{:>6}{:>10}{:>10}{:>10}{:>10}{:>8} KiB{:>8}{:>7} ms  {install}",
        peer.id,
        role,
        raft.term,
        raft.last.index,
        raft.commit,
        raft.applied,
        raft.snapshot.index,
        raft.log_bytes >> 10,
        raft.handed - raft.applied,
        peer.status.max_loop_stall_ms.round(),
    )
}
