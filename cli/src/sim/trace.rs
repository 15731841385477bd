//! The file of a trace. It is opened before the first seed runs, so that a path that cannot be
//! written costs no run.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use super::options::Options;
use super::{run_one, settings};
use crate::demo::Failure;

/// The destination of the trace.
pub struct Trace {
    path: PathBuf,
    file: File,
    /// Whether the file was created for this run.
    is_new: bool,
}

impl Trace {
    /// Opens the file; its content remains until there is a trace to write.
    pub fn open(path: &Path) -> Result<Trace, Failure> {
        let is_new = !path.exists();
        let opened = File::options().write(true).create(true).truncate(false).open(path);
        match opened {
            Ok(file) => Ok(Trace { path: path.to_owned(), file, is_new }),
            Err(error) => Err(failure(path, &error)),
        }
    }

    /// Writes the events of `seed`, one line of JSON each. `None`: there is nothing to trace.
    pub fn write(self, options: &Options, seed: Option<u64>) -> Result<(), Failure> {
        let written = match seed {
            Some(seed) => self.write_run(options, seed),
            None if self.is_new => std::fs::remove_file(&self.path),
            None => Ok(()),
        };
        written.map_err(|error| failure(&self.path, &error))
    }

    fn write_run(&self, options: &Options, seed: u64) -> io::Result<()> {
        let mut settings = settings(options, seed);
        settings.with_lines = true;
        let outcome = run_one(options.tier, &settings);
        self.file.set_len(0)?;
        let mut out = BufWriter::new(&self.file);
        for line in &outcome.lines {
            serde_json::to_writer(&mut out, line)?;
            writeln!(out)?;
        }
        out.flush()
    }
}

fn failure(path: &Path, error: &io::Error) -> Failure {
    Failure(format!("can't write the trace to {}: {error}", path.display()))
}
