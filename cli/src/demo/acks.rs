//! The acknowledgement log: the commands sent and acknowledged, as observed from outside the
//! cluster.
//!
//! ```text
//! base COUNT WORD               a count that the data directory already held when the run began
//! sent CLIENT SEQUENCE WORD     before the command is sent for the first time
//! ok CLIENT SEQUENCE WORD       when it is acknowledged
//! ```
//!
//! A run starts with an empty file. Each line is written with one system call before anything else
//! happens, so all lines written before a kill are in the file.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::Mutex;

use super::Failure;

/// Counts by word.
pub type Counts = BTreeMap<Vec<u8>, u64>;

/// An open log.
pub struct AckLog(Mutex<File>);

impl AckLog {
    /// Creates a log that starts with the existing counts.
    pub fn create(path: &Path, base: &Counts) -> Result<AckLog, Failure> {
        let fail = |error| Failure(format!("can't write {}: {error}", path.display()));
        let mut file = File::create(path).map_err(fail)?;
        let mut lines = Vec::new();
        for (word, count) in base {
            line(&mut lines, format_args!("base {count}"), word);
        }
        file.write_all(&lines).map_err(fail)?;
        Ok(AckLog(Mutex::new(file)))
    }

    /// Records that the command is about to be sent for the first time.
    pub fn sent(&self, client: u64, sequence: u64, word: &[u8]) -> Result<(), Failure> {
        self.write(format_args!("sent {client} {sequence}"), word)
    }

    /// Records that the command was acknowledged.
    pub fn acknowledged(&self, client: u64, sequence: u64, word: &[u8]) -> Result<(), Failure> {
        self.write(format_args!("ok {client} {sequence}"), word)
    }

    fn write(&self, head: std::fmt::Arguments<'_>, word: &[u8]) -> Result<(), Failure> {
        let mut bytes = Vec::with_capacity(word.len() + 32);
        line(&mut bytes, head, word);
        let mut file = self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        file.write_all(&bytes)
            .map_err(|error| Failure(format!("can't write the acknowledgement log: {error}")))
    }
}

fn line(out: &mut Vec<u8>, head: std::fmt::Arguments<'_>, word: &[u8]) {
    out.extend_from_slice(head.to_string().as_bytes());
    out.push(b' ');
    out.extend_from_slice(word);
    out.push(b'\n');
}

/// The counts that a log permits for each word.
#[derive(Debug, Default)]
pub struct Bounds {
    /// Lower bounds: the acknowledged commands.
    pub at_least: Counts,
    /// Upper bounds: the sent commands.
    pub at_most: Counts,
}

impl Bounds {
    /// Reads a log. A last line without a line end was cut off by the kill and is ignored.
    pub fn read(path: &Path) -> Result<Bounds, Failure> {
        let bytes = std::fs::read(path)
            .map_err(|error| Failure(format!("can't read {}: {error}", path.display())))?;
        let mut bounds = Bounds::default();
        let mut lines: Vec<&[u8]> = bytes.split(|&byte| byte == b'\n').collect();
        lines.pop();
        for (number, line) in lines.into_iter().enumerate() {
            bounds.take(line).ok_or_else(|| {
                let shown = String::from_utf8_lossy(line);
                Failure(format!(
                    "{} line {}: not a line of this log: {shown:?}",
                    path.display(),
                    number + 1
                ))
            })?;
        }
        Ok(bounds)
    }

    fn take(&mut self, line: &[u8]) -> Option<()> {
        let mut fields = line.splitn(2, |&byte| byte == b' ');
        let (kind, rest) = (fields.next()?, fields.next()?);
        let mut fields = rest.splitn(if kind == b"base" { 2 } else { 3 }, |&byte| byte == b' ');
        let first: u64 = std::str::from_utf8(fields.next()?).ok()?.parse().ok()?;
        match kind {
            b"base" => {
                let word = fields.next()?.to_vec();
                *self.at_least.entry(word.clone()).or_default() += first;
                *self.at_most.entry(word).or_default() += first;
            }
            b"sent" | b"ok" => {
                let _sequence: u64 = std::str::from_utf8(fields.next()?).ok()?.parse().ok()?;
                let word = fields.next()?.to_vec();
                let side = if kind == b"ok" { &mut self.at_least } else { &mut self.at_most };
                *side.entry(word).or_default() += 1;
            }
            _ => return None,
        }
        Some(())
    }

    /// The words whose count is out of bounds, with their count.
    pub fn violations(&self, counts: &Counts) -> Vec<(Vec<u8>, u64)> {
        let words = self.at_least.keys().chain(self.at_most.keys()).chain(counts.keys());
        let mut words: Vec<&Vec<u8>> = words.collect();
        words.sort();
        words.dedup();
        let of = |map: &Counts, word: &Vec<u8>| map.get(word).copied().unwrap_or(0);
        words
            .into_iter()
            .filter(|word| {
                !(of(&self.at_least, word)..=of(&self.at_most, word)).contains(&of(counts, word))
            })
            .map(|word| (word.clone(), of(counts, word)))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_and_a_doubled_command_are_seen_and_a_cut_line_is_not_counted() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("acks");
        let log = AckLog::create(&path, &Counts::from([(b"a".to_vec(), 2)])).unwrap();
        log.sent(1, 1, b"a").unwrap();
        log.acknowledged(1, 1, b"a").unwrap();
        log.sent(1, 2, b"b\xff").unwrap();
        drop(log);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes.extend_from_slice(b"sent 1 3 c");
        std::fs::write(&path, bytes).unwrap();
        let bounds = Bounds::read(&path).unwrap();
        let with = |a, b| {
            let counts = Counts::from([(b"a".to_vec(), a), (b"b\xff".to_vec(), b)]);
            bounds.violations(&counts).len()
        };
        assert_eq!((with(3, 0), with(3, 1)), (0, 0));
        assert_eq!((with(2, 0), with(4, 0), with(3, 2)), (1, 1, 1), "lost, doubled, doubled");
        assert_eq!(
            bounds.violations(&Counts::from([(b"a".to_vec(), 3), (b"c".to_vec(), 1)])).len(),
            1
        );
    }

    #[test]
    fn nonsense_is_named_with_its_line() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("acks");
        std::fs::write(&path, b"sent 1 1 a\nsend 1 2 b\n").unwrap();
        let error = Bounds::read(&path).unwrap_err();
        assert!(error.0.contains("line 2"), "{}", error.0);
    }
}
