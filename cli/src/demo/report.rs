//! The report of the demo: the library's public metrics, and two comparisons.

use std::io::{self, ErrorKind, Write};

use serde::Serialize;

use super::Failure;
use crate::numbers::shown;

/// The report, as printed with `--json`.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// Commands of this run that were acknowledged, each counted once.
    pub commands: u64,
    pub replies_ok: u64,
    pub retries: u64,
    pub duplicates_suppressed: u64,
    pub elections: u64,
    pub crashes: u64,
    pub restarts: u64,
    pub partitions: u64,
    pub snapshots_taken: u64,
    pub snapshots_sent: u64,
    pub installs_offered: u64,
    pub installs_granted: u64,
    pub installs_refused: u64,
    pub fast_forwards: u64,
    pub entries_compacted: u64,
    pub max_log_bytes: u64,
    /// Upper bound of `max_log_bytes`: the sum of snapshot trigger, trailing entries and pinned
    /// bytes.
    pub log_bytes_limit: u64,
    pub max_loop_stall_ms: f64,
    pub max_install_ms: f64,
    pub safety_alarms: u64,
    pub seconds: f64,
    pub commands_per_second: u64,
    pub replicas_equal: bool,
    pub matches_plain_count: bool,
    /// Steps of the fault schedule that could not be carried out.
    pub skipped: Vec<String>,
}

impl Report {
    /// Whether the run has the expected result.
    pub fn is_good(&self) -> bool {
        self.replicas_equal && self.matches_plain_count && self.safety_alarms == 0
    }

    /// Prints the report, as one line of JSON or as a table.
    pub fn print(&self, json: bool) -> Result<(), Failure> {
        match self.write(&mut io::stdout().lock(), json) {
            // The reader of the output may have closed it.
            Err(error) if error.kind() != ErrorKind::BrokenPipe => {
                Err(Failure(format!("standard output: {error}")))
            }
            _ => Ok(()),
        }
    }

    fn write(&self, out: &mut impl Write, json: bool) -> io::Result<()> {
        let value = serde_json::to_value(self).unwrap_or_default();
        if json {
            return writeln!(out, "{value}");
        }
        let (empty, skipped) = (serde_json::Map::new(), &self.skipped);
        for (name, value) in value.as_object().unwrap_or(&empty) {
            let value = match name == "skipped" && !skipped.is_empty() {
                true => skipped.len().to_string(),
                false => shown(value),
            };
            writeln!(out, "  {:<24}{value:>14}", name.replace('_', " "))?;
        }
        skipped.iter().try_for_each(|step| writeln!(out, "    {step}"))?;
        let verdict = match (self.is_good(), self.replicas_equal, self.safety_alarms) {
            (true, ..) => {
                "Every replica holds exactly the plain count: nothing lost, nothing doubled."
            }
            (_, _, alarms) if alarms > 0 => "SAFETY ALARMS were raised: see QUORATE_LOG=error.",
            (_, false, _) => "The replicas DIFFER.",
            _ => "The counts are NOT those of the text.",
        };
        writeln!(out, "\n{verdict}")
    }
}
