//! Where the files of a run are: in a fresh folder on the disk that is to be measured, gone afterwards.
//!
//! Which file system that is belongs to every figure. In memory (tmpfs) a sync costs nothing, so it is warned about.
//!
//! Not here: what lies under the file system. A virtual disk's host may cache what this machine does not.

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::measure::Outcome;
use crate::system;

/// The folder under which a run makes its own.
pub struct Place {
    dir: PathBuf,
    /// The kind of file system.
    pub file_system: String,
    /// What it is on.
    pub device: String,
}

impl Place {
    /// In `dir`, which is made if it is not there.
    pub fn new(dir: &Path) -> Outcome<Place> {
        fs::create_dir_all(dir)?;
        let dir = dir.canonicalize()?;
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let (file_system, device) =
            mount_of(&dir, &mounts).unwrap_or_else(|| ("unknown".into(), "unknown".into()));
        let place = Place { dir, file_system, device };
        place.warning().iter().for_each(|warning| eprintln!("{warning}"));
        Ok(place)
    }

    /// A fresh folder that vanishes with the value.
    pub fn folder(&self) -> Outcome<TempDir> {
        Ok(tempfile::Builder::new().prefix("run-").tempdir_in(&self.dir)?)
    }

    /// The folder itself.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// What is free there, in bytes.
    pub fn free_bytes(&self) -> Outcome<u64> {
        system::free_bytes(&self.dir)
    }

    /// What is wrong with measuring here.
    pub fn warning(&self) -> Option<String> {
        let is_memory = ["tmpfs", "ramfs"].contains(&self.file_system.as_str());
        let text = "warning: this is memory, not a disk: a sync costs nothing here; choose a disk with --dir";
        is_memory.then(|| text.to_owned())
    }
}

/// Kind and device of the file system that `path` is on, from the lines of `/proc/self/mountinfo`.
fn mount_of(path: &Path, mounts: &str) -> Option<(String, String)> {
    let found = mounts.lines().filter_map(|line| {
        let (before, behind) = line.split_once(" - ")?;
        let point = Path::new(before.split(' ').nth(4)?);
        let mut behind = behind.split(' ');
        let kind = (behind.next()?.to_owned(), behind.next()?.to_owned());
        path.starts_with(point).then(|| (point.components().count(), kind))
    });
    // Of two on the same point the later one is seen.
    found.max_by_key(|(depth, _)| *depth).map(|(_, kind)| kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_deepest_mount_above_a_path_counts() {
        let mounts = "22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
30 22 0:25 / /mem rw - tmpfs tmpfs rw,size=1k";
        let kind = |path| mount_of(Path::new(path), mounts).unwrap().0;
        assert_eq!((kind("/mem/x").as_str(), kind("/memory").as_str()), ("tmpfs", "ext4"));
    }
}
