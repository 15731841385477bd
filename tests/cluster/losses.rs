//! Members that lose what they had, with real files: noticed, caught up, and whole again on disk (PS06, PS20).

use std::fs;
use std::path::{Path, PathBuf};

use quorate::machine::WordCount;
use quorate::node::{Cluster, Config};
use quorate::raft::NodeId;
use quorate::storage::file::inspection::{Inspection, Inspector, Outcome};
use quorate::storage::file::{FileOptions, FileStorage};
use tempfile::TempDir;

use crate::support::*;

/// Three members with a directory each; the last one follows, and a hundred commands are applied everywhere.
async fn with_files() -> (TempDir, Cluster<WordCount>, NodeId) {
    let root = TempDir::new().unwrap();
    let path = root.path().to_owned();
    let config = Config { seed: 7, ..Config::default() };
    let options = FileOptions { segment_bytes: 4 << 10, ..FileOptions::default() };
    let storage = move |node| FileStorage::with_options(directory(&path, node), options.clone());
    let cluster = words(3).config(config).storage(storage).start().await.unwrap();
    count_more(&cluster).await;
    let leader = leader(&cluster).await;
    (root, cluster, (leader + 1) % 3)
}

fn directory(root: &Path, node: NodeId) -> PathBuf {
    root.join(node.to_string())
}

async fn count_more(cluster: &Cluster<WordCount>) {
    let client = client(cluster);
    for _ in 0..100 {
        count(&client, "quorum", 1).await;
    }
    all_caught_up(cluster).await;
}

async fn is_whole_again(cluster: &Cluster<WordCount>, node: NodeId) {
    until("it counts again", || {
        let raft = status(cluster, node).raft;
        !raft.recovering && raft.leader.is_some()
    })
    .await;
    count_more(cluster).await;
    assert_healthy(cluster);
}

/// Stops everybody and looks at what `node` has on its disk.
async fn end(root: &Path, cluster: &Cluster<WordCount>, node: NodeId) -> Inspection {
    cluster.shutdown().await;
    let inspection = Inspector::open(directory(root, node)).unwrap().inspect().unwrap();
    assert_eq!(inspection.outcome, Outcome::Sound, "{:?}", inspection.findings);
    inspection
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &target),
            false => _ = fs::copy(entry.path(), target).unwrap(),
        }
    }
}

#[test]
fn ps20_a_wiped_member_is_noticed_and_caught_up() {
    story(async {
        let (root, cluster, victim) = with_files().await;
        cluster.stop_member(victim).await;
        fs::remove_dir_all(directory(root.path(), victim)).unwrap();
        cluster.start_member(victim).await.unwrap();
        until("it is told of its loss", || status(&cluster, victim).raft.recovering).await;
        is_whole_again(&cluster, victim).await;
        let life = end(root.path(), &cluster, victim).await.log.unwrap().state.life;
        assert_eq!(life.loss, None);
        assert!(life.predecessor.is_some(), "it knows that there was another before");
    });
}

#[test]
fn ps06_a_member_with_a_damaged_log_is_caught_up() {
    story(async {
        let (root, cluster, victim) = with_files().await;
        cluster.stop_member(victim).await;
        let log = directory(root.path(), victim).join("log");
        // A spare file has a number of its own: it may stand anywhere between the segments.
        let files = fs::read_dir(&log).unwrap().map(|entry| entry.unwrap().path());
        let mut segments: Vec<_> =
            files.filter(|file| file.extension().is_some_and(|ext| ext == "wal")).collect();
        segments.sort();
        assert!(segments.len() > 2, "{segments:?}");
        let mut bytes = fs::read(&segments[1]).unwrap();
        bytes[1000] ^= 4;
        fs::write(&segments[1], bytes).unwrap();
        cluster.start_member(victim).await.unwrap();
        assert!(status(&cluster, victim).raft.recovering);
        is_whole_again(&cluster, victim).await;
        let life = end(root.path(), &cluster, victim).await.log.unwrap().state.life;
        assert_eq!((life.loss, life.predecessor), (None, None));
    });
}

/// What forgot its vote waits for every other voter: one of them has it.
#[test]
fn ps20_a_forgetful_member_waits_for_all_others() {
    story(async {
        let (root, cluster, victim) = with_files().await;
        let other = (victim + 1) % 3;
        let away = if leader(&cluster).await == other { (victim + 2) % 3 } else { other };
        cluster.stop_member(victim).await;
        fs::remove_dir_all(directory(root.path(), victim)).unwrap();
        cluster.stop_member(away).await;
        cluster.start_member(victim).await.unwrap();
        until("it waits", || status(&cluster, victim).raft.waits_for.contains(&away)).await;
        pass(std::time::Duration::from_secs(30)).await;
        assert!(status(&cluster, victim).raft.recovering);
        cluster.start_member(away).await.unwrap();
        is_whole_again(&cluster, victim).await;
        end(root.path(), &cluster, victim).await;
    });
}

#[test]
fn ps20_an_older_copy_of_a_directory_ends_and_is_caught_up_at_the_next_start() {
    story(async {
        let (root, cluster, victim) = with_files().await;
        let (original, older) = (directory(root.path(), victim), root.path().join("older"));
        cluster.stop_member(victim).await;
        copy(&original, &older);
        for _ in 0..2 {
            cluster.start_member(victim).await.unwrap();
            count_more(&cluster).await;
            cluster.stop_member(victim).await;
        }
        fs::remove_dir_all(&original).unwrap();
        copy(&older, &original);
        cluster.start_member(victim).await.unwrap();
        until("it ends", || !status(&cluster, victim).running).await;
        let fatal = status(&cluster, victim).fatal.unwrap();
        assert!(fatal.contains("older copy") && fatal.contains("start the node again"), "{fatal}");
        cluster.stop_member(victim).await;
        cluster.start_member(victim).await.unwrap();
        assert!(status(&cluster, victim).raft.recovering);
        is_whole_again(&cluster, victim).await;
        end(root.path(), &cluster, victim).await;
    });
}
