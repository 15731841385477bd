//! The log lines on standard error: which are written, and whether in colour.

use std::env::VarError;
use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use crate::demo::Failure;

/// The environment variable that selects the lines.
const VARIABLE: &str = "QUORATE_LOG";

/// Targets that are off by default. A malformed request is answered with 400; one line for each
/// would let any caller fill the log, so these lines are written only if requested by name.
const UNLESS_ASKED_FOR: &str = "actix_http=off";

const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// Starts writing lines: those that `QUORATE_LOG` selects, or those of `level` if it is not set.
pub fn start(level: &str) -> Result<(), Failure> {
    let wanted = match std::env::var(VARIABLE) {
        Ok(wanted) if !wanted.trim().is_empty() => wanted,
        Ok(_) | Err(VarError::NotPresent) => level.to_owned(),
        Err(VarError::NotUnicode(wanted)) => {
            return Err(refused(&wanted.to_string_lossy(), "it is not UTF-8"));
        }
    };
    let has_colours = std::io::stderr().is_terminal()
        && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    tracing_subscriber::fmt()
        .with_env_filter(filter(&wanted)?)
        .with_ansi(has_colours)
        .with_writer(std::io::stderr)
        .init();
    Ok(())
}

fn filter(wanted: &str) -> Result<EnvFilter, Failure> {
    let items: Vec<&str> = wanted.split(',').map(str::trim).collect();
    for item in &items {
        let level = item.rsplit_once('=').map_or(*item, |(_, level)| level);
        let is_level = LEVELS.iter().any(|known| known.eq_ignore_ascii_case(level));
        if !is_level || item.starts_with('=') {
            return Err(refused(wanted, &format!("{item:?} has no level")));
        }
    }
    // If two items have the same target, the later one takes effect.
    let all = format!("{UNLESS_ASKED_FOR},{}", items.join(","));
    EnvFilter::builder().parse(all).map_err(|error| refused(wanted, &error.to_string()))
}

fn refused(wanted: &str, why: &str) -> Failure {
    Failure(format!(
        "{VARIABLE}={wanted}: {why}. Write a level ({}), or TARGET=LEVEL, or several with commas \
         between them: info, or warn,quorate::transport=debug",
        LEVELS.join(", ")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_is_made_of_levels_or_refused_with_what_is_accepted() {
        for good in
            ["info", "WARN", "off", "warn,quorate::raft=debug", "info, actix_http=error", "a=trace"]
        {
            assert!(filter(good).is_ok(), "{good}");
        }
        for wrong in ["", "loud", "quorate", "info,", "=info", "quorate=loud", "warn,quorate=", "1"]
        {
            let refused = filter(wrong).expect_err(wrong).0;
            assert!(refused.contains("off, error, warn, info, debug, trace"), "{refused}");
            assert!(refused.contains(VARIABLE) && refused.contains("TARGET=LEVEL"), "{refused}");
        }
    }

    #[test]
    fn lines_about_malformed_requests_are_written_if_they_are_asked_for_by_name() {
        let of = |wanted: &str| filter(wanted).expect("a filter").to_string();
        assert!(of("trace").contains("actix_http=off"));
        assert!(!of("warn,actix_http=error").contains("actix_http=off"));
    }
}
