//! Validation of settings: one error type and one rule builder for all option types of this crate.

use std::fmt;
use std::time::Duration;

/// The longest time that any setting may have. A clock can add this to any instant without
/// overflow.
pub(crate) const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);

/// An invalid setting: its name, its value, and the rule that it breaks.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{setting} is {value}, and must be {must}")]
pub struct SettingError {
    setting: String,
    value: String,
    must: String,
}

impl SettingError {
    /// The name of the setting's field.
    pub fn setting(&self) -> &str {
        &self.setting
    }
}

/// Checks settings against rules, one by one, and keeps the first rule that is broken.
#[derive(Default)]
pub(crate) struct Rules(Option<SettingError>);

impl Rules {
    /// Requires `holds`. Otherwise the error names `setting`, its `value` and the rule `must`.
    pub(crate) fn must(
        &mut self,
        holds: bool,
        setting: &str,
        value: impl fmt::Debug,
        must: impl fmt::Display,
    ) -> &mut Rules {
        if !holds && self.0.is_none() {
            let (setting, value) = (setting.to_owned(), format!("{value:?}"));
            self.0 = Some(SettingError { setting, value, must: must.to_string() });
        }
        self
    }

    /// Requires `setting` to be at least `least`.
    pub(crate) fn at_least<N: PartialOrd + fmt::Debug>(
        &mut self,
        setting: &str,
        value: N,
        least: N,
    ) -> &mut Rules {
        self.must(value >= least, setting, &value, format_args!("at least {least:?}"))
    }

    /// Requires `setting` to be in `least ..= most`.
    pub(crate) fn between<N: PartialOrd + fmt::Debug>(
        &mut self,
        setting: &str,
        value: N,
        least: N,
        most: N,
    ) -> &mut Rules {
        let holds = value >= least && value <= most;
        self.must(holds, setting, &value, format_args!("{least:?} to {most:?}"))
    }

    /// Requires a time of at most [`LONGEST`]; 0 is valid.
    pub(crate) fn time(&mut self, setting: &str, value: Duration) -> &mut Rules {
        self.must(value <= LONGEST, setting, value, "at most 365 days")
    }

    /// Requires a waiting time of at least 1 µs: the protocol counts in microseconds, so a shorter
    /// time would not wait at all.
    pub(crate) fn wait(&mut self, setting: &str, value: Duration) -> &mut Rules {
        self.at_least(setting, value, Duration::from_micros(1)).time(setting, value)
    }

    /// The first broken rule, or `Ok` if there is none.
    pub(crate) fn result(&mut self) -> Result<(), SettingError> {
        self.0.take().map_or(Ok(()), Err)
    }
}
