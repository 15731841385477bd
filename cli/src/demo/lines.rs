//! Progress lines of a demo without a terminal: one when a step begins, and at least one every few
//! seconds.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::load::Load;
use super::members::Members;
use crate::numbers::grouped;

const LOOK: Duration = Duration::from_millis(50);
/// The longest time without a line.
const AT_LEAST_EVERY: Duration = Duration::from_secs(5);

/// Writes a line to standard error when the step changes or time has passed, until it is dropped.
pub async fn run(members: &Arc<Members>, load: &Arc<Load>) {
    let (peers, words) = (members.len(), grouped(load.text().len() as u64));
    eprintln!("quorate: {peers} peers count {words} words");
    let (begun, mut said, mut step) = (Instant::now(), Instant::now(), String::new());
    loop {
        let now = members.noted();
        if now != step || said.elapsed() >= AT_LEAST_EVERY {
            let (seconds, done) = (begun.elapsed().as_secs_f64(), grouped(load.acknowledged()));
            eprintln!("{seconds:>7.1} s  {done:>11} words  {now}");
            (said, step) = (Instant::now(), now);
        }
        sleep(LOOK).await;
    }
}
