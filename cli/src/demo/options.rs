//! The options of the demo.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

/// Options of `quorate demo`.
#[derive(clap::Args, Clone)]
pub struct Options {
    /// The text to count; without it one of 1.2 MB is made from the seed
    #[arg(long, value_name = "FILE")]
    pub input: Option<PathBuf>,
    /// Peers of the cluster
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=31))]
    pub peers: u64,
    /// Clients that send at the same time
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    pub clients: u64,
    /// Where the peers keep their data (DIR/0, DIR/1, ..); a new temporary directory if not given
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Keep the data in memory instead of in files
    #[arg(long, conflicts_with = "data_dir")]
    pub memory: bool,
    /// Fixes the made text and the schedule of faults
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Faults to inject: all, none, or a list of crash, leader-crash, partition, slow-apply, slow-install
    #[arg(long, default_value = "all", value_name = "LIST")]
    pub faults: Faults,
    /// Take a snapshot when so much log has been applied since the last (for example 1MiB)
    #[arg(long, default_value = "1MiB", value_name = "SIZE")]
    pub snapshot_bytes: Size,
    /// Take a snapshot when so many entries have been applied since the last
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub snapshot_entries: Option<u64>,
    /// How long a slow install decodes (for example 3s, 500ms)
    #[arg(long, default_value = "3s", value_name = "TIME")]
    pub install_delay: Span,
    /// Print the report as one JSON object on the last line, and nothing that moves
    #[arg(long)]
    pub json: bool,
    /// Keep the peers running at the end, until the program is interrupted
    #[arg(long)]
    pub keep_running: bool,
    /// Write a line before each command is first sent and a line as it is acknowledged
    #[arg(long, value_name = "FILE")]
    pub ack_log: Option<PathBuf>,
    /// Compare what the peers in the data directory hold with an acknowledgement log, and do nothing else
    #[arg(long, value_name = "FILE", requires = "data_dir")]
    pub check: Option<PathBuf>,
}

impl Default for Options {
    fn default() -> Options {
        #[derive(clap::Parser)]
        struct Defaults {
            #[command(flatten)]
            options: Options,
        }
        <Defaults as clap::Parser>::parse_from(["demo"]).options
    }
}

/// The kinds of faults to inject.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    pub crash: bool,
    pub leader_crash: bool,
    pub partition: bool,
    pub slow_apply: bool,
    pub slow_install: bool,
}

impl FromStr for Faults {
    type Err = String;

    fn from_str(list: &str) -> Result<Faults, String> {
        let mut faults = Faults::default();
        for name in list.split(',').map(str::trim) {
            match name {
                "none" => {}
                "all" => {
                    faults = Faults {
                        crash: true,
                        leader_crash: true,
                        partition: true,
                        slow_apply: true,
                        slow_install: true,
                    }
                }
                "crash" => faults.crash = true,
                "leader-crash" => faults.leader_crash = true,
                "partition" => faults.partition = true,
                "slow-apply" => faults.slow_apply = true,
                "slow-install" => faults.slow_install = true,
                other => {
                    return Err(format!(
                        "no fault is called {other:?}: crash, leader-crash, partition, slow-apply, slow-install, all or none"
                    ));
                }
            }
        }
        Ok(faults)
    }
}

/// A size in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size(pub usize);

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Size, String> {
        let units = [
            ("KiB", 1 << 10),
            ("MiB", 1 << 20),
            ("GiB", 1 << 30),
            ("KB", 1_000),
            ("MB", 1_000_000),
            ("B", 1),
        ];
        let (number, unit) = split_number(text);
        let factor = if unit.is_empty() {
            Some(1)
        } else {
            units.iter().find(|known| known.0.eq_ignore_ascii_case(unit)).map(|known| known.1)
        };
        let size = number
            .parse::<usize>()
            .ok()
            .zip(factor)
            .and_then(|(number, factor)| number.checked_mul(factor));
        match size {
            Some(size) if size >= 4096 => Ok(Size(size)),
            Some(size) => Err(format!("{size} bytes are too few: at least 4KiB")),
            None => Err(format!("{text:?} is not a size: write 512KiB, 1MiB, 64MiB")),
        }
    }
}

/// A length of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span(pub Duration);

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Span, String> {
        let (number, unit) = split_number(text);
        let millis = match unit {
            "ms" => Some(1),
            "s" | "" => Some(1_000),
            "m" => Some(60_000),
            _ => None,
        };
        let millis = number
            .parse::<u64>()
            .ok()
            .zip(millis)
            .and_then(|(number, unit)| number.checked_mul(unit));
        millis
            .map(|millis| Span(Duration::from_millis(millis)))
            .ok_or_else(|| format!("{text:?} is not a time: write 500ms, 3s, 1m"))
    }
}

fn split_number(text: &str) -> (&str, &str) {
    let end = text.find(|character: char| !character.is_ascii_digit()).unwrap_or(text.len());
    (&text[..end], text[end..].trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_times_and_faults_are_read_or_refused_with_an_example() {
        assert_eq!("1MiB".parse(), Ok(Size(1 << 20)));
        assert_eq!("65536".parse(), Ok(Size(65_536)));
        assert!("1XiB".parse::<Size>().is_err_and(|error| error.contains("1MiB")));
        assert!("99999999999GiB".parse::<Size>().is_err());
        assert!("7".parse::<Size>().is_err_and(|error| error.contains("4KiB")));
        assert_eq!("500ms".parse(), Ok(Span(Duration::from_millis(500))));
        assert!("soon".parse::<Span>().is_err_and(|error| error.contains("3s")));
        let some: Faults = "crash,slow-install".parse().unwrap();
        assert!(some.crash && some.slow_install && !some.partition);
        assert!("crush".parse::<Faults>().is_err_and(|error| error.contains("leader-crash")));
        assert_eq!("none".parse(), Ok(Faults::default()));
    }
}
