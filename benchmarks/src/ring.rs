//! A preallocated file of written zeros, written round and round: the fastest way to make bytes durable.
//!
//! Such a file's length and blocks never change, so a sync has nothing but data to write.
//!
//! Not here: finding anything in it again.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// What is written of the zeros at once.
const PIECE_BYTES: usize = 1 << 20;

/// The file, and where in it the next bytes go.
pub struct Ring {
    file: File,
    file_bytes: u64,
    at: u64,
}

impl Ring {
    /// At `path`; its zeros are on the device before this returns.
    pub fn new(path: &Path, file_bytes: u64) -> io::Result<Ring> {
        let file = File::options().write(true).create_new(true).open(path)?;
        let zeros = vec![0; PIECE_BYTES];
        for at in (0..file_bytes).step_by(PIECE_BYTES) {
            file.write_all_at(&zeros, at)?;
        }
        file.sync_all()?;
        Ok(Ring { file, file_bytes, at: 0 })
    }

    /// Writes the bytes behind the last ones, or at the begin again where they would not fit.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.at + bytes.len() as u64 > self.file_bytes {
            self.at = 0;
        }
        self.file.write_all_at(bytes, self.at)?;
        self.at += bytes.len() as u64;
        Ok(())
    }

    /// Makes everything written durable.
    pub fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn begins_again_at_its_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ring");
        let mut ring = Ring::new(&path, 10).unwrap();
        ["abcd", "efgh", "ijkl"].iter().for_each(|bytes| ring.write(bytes.as_bytes()).unwrap());
        ring.sync().unwrap();
        assert_eq!(std::fs::read(&path).unwrap()[..10], *b"ijklefgh\0\0");
    }
}
