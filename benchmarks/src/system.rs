//! What the kernel says of this process, and what it is asked to forget.
//!
//! Bytes written and read are the kernel's counts, so they hold whatever a store does inside. A *cold* read follows
//! [`forget`], and the bytes that then came from the device are counted: had the pages stayed, it would show.
//!
//! Not here: other processes, and caches below this machine's kernel.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::measure::Outcome;

/// How many cores this process may use.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// The kernel's release.
pub fn kernel() -> String {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    release.trim().to_owned()
}

/// Bytes this process has moved, all its threads together.
#[derive(Clone, Copy, Debug, Default)]
pub struct Moved {
    /// Handed to calls that write.
    pub written: u64,
    /// Fetched from the device.
    pub fetched: u64,
}

impl Moved {
    /// Until now.
    pub fn until_now() -> Outcome<Moved> {
        let text = fs::read_to_string("/proc/self/io")?;
        Ok(Moved { written: number(&text, "wchar:")?, fetched: number(&text, "read_bytes:")? })
    }

    /// Since then.
    pub fn since(self) -> Outcome<Moved> {
        let now = Moved::until_now()?;
        Ok(Moved { written: now.written - self.written, fetched: now.fetched - self.fetched })
    }
}

/// Ticks of the processors' time.
#[derive(Clone, Copy, Debug)]
pub struct Busy {
    all: u64,
    idle: u64,
    own: u64,
}

impl Busy {
    /// Until now.
    pub fn until_now() -> Outcome<Busy> {
        let (machine, process) =
            (fs::read_to_string("/proc/stat")?, fs::read_to_string("/proc/self/stat")?);
        // user nice system idle iowait irq softirq steal; guests are in the first two.
        let machine = ticks(machine.lines().next().unwrap_or_default(), 1, 8)?;
        Ok(Busy {
            all: machine.iter().sum(),
            idle: machine[3] + machine[4],
            // Those of children that have ended, too.
            own: named_ticks(&process, 4)?.1,
        })
    }

    /// The part of the time since then that neither this process had nor nobody.
    pub fn elsewhere_since(self) -> Outcome<f64> {
        let now = Busy::until_now()?;
        let (all, idle) = (now.all - self.all, now.idle - self.idle);
        let elsewhere = all.saturating_sub(idle + now.own - self.own);
        Ok(elsewhere as f64 / all.max(1) as f64)
    }
}

fn ticks(text: &str, from: usize, count: usize) -> Outcome<Vec<u64>> {
    let words = text.split_whitespace().skip(from).take(count);
    let ticks = words.map(str::parse).collect::<Result<Vec<u64>, _>>()?;
    if ticks.len() < count { Err("the kernel does not tell ticks".into()) } else { Ok(ticks) }
}

/// Of a process or thread: its name, and the sum of its first `count` ticks, of which there are utime, stime, and the same of children.
fn named_ticks(stat: &str, count: usize) -> Outcome<(&str, u64)> {
    let (name, rest) = stat.rsplit_once(')').ok_or("the kernel does not tell ticks")?;
    Ok((name, ticks(rest, 11, count)?.iter().sum()))
}

/// What the processors have given to this process, threads that have ended included.
#[cfg(target_os = "linux")]
pub fn on_cpu() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Not known elsewhere.
#[cfg(not(target_os = "linux"))]
pub fn on_cpu() -> Duration {
    Duration::ZERO
}

/// Ticks of processors' time that this process's threads have had whose name holds `name`; of a name the kernel keeps 15 bytes.
pub fn ticks_of(name: &str) -> Outcome<u64> {
    let mut all = 0;
    for thread in fs::read_dir("/proc/self/task")? {
        // A thread that has ended meanwhile has no file.
        let Ok(stat) = fs::read_to_string(thread?.path().join("stat")) else { continue };
        let (own_name, own) = named_ticks(&stat, 2)?;
        if own_name.contains(name) {
            all += own;
        }
    }
    Ok(all)
}

/// Memory of this process that no file stands behind, counted page by page, in bytes.
pub fn anonymous_bytes() -> Outcome<u64> {
    Ok(number(&fs::read_to_string("/proc/self/smaps_rollup")?, "Anonymous:")? * 1024)
}

/// The same as the kernel keeps count of it: quick to ask for, and off by some pages a thread.
pub fn anonymous_bytes_about() -> Outcome<u64> {
    Ok(number(&fs::read_to_string("/proc/self/status")?, "RssAnon:")? * 1024)
}

/// The most memory this process has had at once, files it runs from included, in bytes.
pub fn peak_bytes() -> Outcome<u64> {
    Ok(number(&fs::read_to_string("/proc/self/status")?, "VmHWM:")? * 1024)
}

/// What a new process could have without anything being paged out, in bytes.
pub fn available_bytes() -> Outcome<u64> {
    Ok(number(&fs::read_to_string("/proc/meminfo")?, "MemAvailable:")? * 1024)
}

/// What is free on the file system of `folder`, in bytes.
#[cfg(target_os = "linux")]
pub fn free_bytes(folder: &Path) -> Outcome<u64> {
    let of = rustix::fs::statvfs(folder)?;
    Ok(of.f_bavail * of.f_frsize)
}

/// Not known elsewhere.
#[cfg(not(target_os = "linux"))]
pub fn free_bytes(_: &Path) -> Outcome<u64> {
    Err("the benchmarks need Linux".into())
}

fn number(text: &str, key: &str) -> Outcome<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(key));
    let word = line.and_then(|rest| rest.split_whitespace().next());
    Ok(word.ok_or_else(|| format!("the kernel does not tell {key}"))?.parse()?)
}

/// The files below `folder`, by name, and their lengths.
pub fn files(folder: &Path) -> Outcome<Vec<(PathBuf, u64)>> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for item in fs::read_dir(folder)? {
            let path = item?.path();
            match fs::metadata(&path) {
                Ok(meta) if meta.is_dir() => folders.push(path),
                Ok(meta) => found.push((path, meta.len())),
                // A store may be removing files just now.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
    found.sort();
    Ok(found)
}

/// Reads the files below `folder` from begin to end, a MiB at a time. How many bytes that were.
pub fn read_through(folder: &Path) -> Outcome<u64> {
    let (mut buffer, mut bytes) = (vec![0; 1 << 20], 0);
    for (path, _) in files(folder)? {
        let mut file = File::open(path)?;
        loop {
            match file.read(&mut buffer)? {
                0 => break,
                read => bytes += read as u64,
            }
        }
    }
    Ok(bytes)
}

/// Makes the kernel forget the cached pages of the files below `folder`, after they are on the device.
pub fn forget(folder: &Path) -> Outcome<()> {
    for (path, _) in files(folder)? {
        let file = File::open(path)?;
        file.sync_all()?;
        advise(&file)?;
    }
    Ok(())
}

#[cfg(target_os = "linux")]
fn advise(file: &File) -> std::io::Result<()> {
    Ok(rustix::fs::fadvise(file, 0, None, rustix::fs::Advice::DontNeed)?)
}

#[cfg(not(target_os = "linux"))]
fn advise(_: &File) -> std::io::Result<()> {
    Err(std::io::Error::new(std::io::ErrorKind::Unsupported, "the benchmarks need Linux"))
}

/// Lets other threads go on.
#[expect(clippy::disallowed_methods, reason = "a benchmark runs in real time")]
pub fn pause(time: Duration) {
    std::thread::sleep(time);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_counts_the_time_of_threads_that_have_ended() {
        let before = on_cpu();
        let busy = std::thread::Builder::new().spawn(move || {
            while on_cpu() - before < Duration::from_millis(5) {
                std::hint::spin_loop();
            }
        });
        busy.unwrap().join().unwrap();
        assert!(on_cpu() - before >= Duration::from_millis(5));
    }
}
