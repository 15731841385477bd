//! Signals that ask the program to end: from the keyboard, from another program, or from a closed
//! terminal.

use std::io;

#[cfg(unix)]
use actix_rt::signal::unix::{Signal, SignalKind, signal};

use super::Failure;

/// The signals. Once this exists they do not end the process by default.
#[cfg(unix)]
pub struct Signals([Signal; 3]);

#[cfg(unix)]
impl Signals {
    pub fn new() -> Result<Signals, Failure> {
        let listen = |kind| signal(kind).map_err(|error| failure(&error));
        let (keyboard, program) = (SignalKind::interrupt(), SignalKind::terminate());
        Ok(Signals([listen(keyboard)?, listen(program)?, listen(SignalKind::hangup())?]))
    }

    /// Waits for the next signal and returns its name.
    pub async fn next(&mut self) -> &'static str {
        let [keyboard, program, terminal] = &mut self.0;
        tokio::select! {
            _ = keyboard.recv() => "SIGINT",
            _ = program.recv() => "SIGTERM",
            _ = terminal.recv() => "SIGHUP",
        }
    }
}

/// The signal that exists on every platform.
#[cfg(not(unix))]
pub struct Signals;

#[cfg(not(unix))]
impl Signals {
    pub fn new() -> Result<Signals, Failure> {
        Ok(Signals)
    }

    /// Waits for it.
    pub async fn next(&mut self) -> &'static str {
        match actix_rt::signal::ctrl_c().await {
            Ok(()) => "Ctrl-C",
            Err(_) => std::future::pending().await,
        }
    }
}

#[cfg_attr(not(unix), expect(dead_code, reason = "nothing fails there"))]
fn failure(error: &io::Error) -> Failure {
    Failure(format!("can't listen to signals: {error}"))
}
