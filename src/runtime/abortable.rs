//! Long reads and writes that are aborted when the node stops.

use std::io::{self, Read, Write};

use super::stop_signal::StopSignal;

/// Passes reads and writes through until the node stops, then returns an error.
pub(crate) struct Abortable<'a, T> {
    inner: T,
    stop_signal: &'a StopSignal,
}

impl<'a, T> Abortable<'a, T> {
    pub(crate) fn new(inner: T, stop_signal: &'a StopSignal) -> Abortable<'a, T> {
        Abortable { inner, stop_signal }
    }

    fn check(&self) -> io::Result<()> {
        match self.stop_signal.is_running() {
            true => Ok(()),
            false => Err(io::Error::other("the node stops")),
        }
    }
}

impl<T: Read> Read for Abortable<'_, T> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.check()?;
        self.inner.read(buffer)
    }
}

impl<T: Write> Write for Abortable<'_, T> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.check()?;
        self.inner.write(data)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
