//! A progress bar for reads that take longer than a second, if there is a terminal.

use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::time::Instant;

/// Shorter reads show no bar.
const PATIENCE: Duration = Duration::from_secs(1);

/// The progress of reading.
pub struct Progress {
    bar: ProgressBar,
    begun: Instant,
    is_shown: Arc<AtomicBool>,
}

impl Progress {
    pub fn new() -> Progress {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
        let style = ProgressStyle::with_template(
            "{bar:40.cyan/blue} {bytes}/{total_bytes}  {bytes_per_sec}",
        );
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        let is_silent = !std::io::stderr().is_terminal();
        Progress { bar, begun: Instant::now(), is_shown: Arc::new(AtomicBool::new(is_silent)) }
    }

    /// A callback for each read.
    pub fn on_read(&self) -> impl Fn(u64) + Send + Sync + use<> {
        let (bar, begun, is_shown) = (self.bar.clone(), self.begun, self.is_shown.clone());
        move |bytes| {
            bar.inc(bytes);
            if begun.elapsed() > PATIENCE && !is_shown.swap(true, Ordering::Relaxed) {
                bar.set_draw_target(ProgressDrawTarget::stderr());
            }
        }
    }

    /// Sets the approximate total size.
    pub fn of(&self, total_bytes: u64) {
        self.bar.set_length(total_bytes);
    }

    /// Removes the bar from the screen.
    pub fn close(self) {
        self.bar.finish_and_clear();
    }
}
