//! Settings that do not work: one error and one way to find it, for every set of options of this
//! crate.

use std::fmt;
use std::time::Duration;

/// No time in any setting may be longer. Clocks count on from any moment by so much without an
/// overflow.
pub(crate) const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);

/// A setting with a value that stops or breaks something: which one, its value, and what it must
/// be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{setting} is {value}, and must be {must}")]
pub struct SettingError {
    setting: String,
    value: String,
    must: String,
}

impl SettingError {
    /// The setting, as its field is called.
    pub fn setting(&self) -> &str {
        &self.setting
    }
}

/// Rules that settings are held against, one by one. The first broken one is reported.
#[derive(Default)]
pub(crate) struct Rules(Option<SettingError>);

impl Rules {
    /// `setting`, which has this `value`, must be what `must` says, and is if `holds`.
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

    /// `setting` must be at least `least`.
    pub(crate) fn at_least<N: PartialOrd + fmt::Debug>(
        &mut self,
        setting: &str,
        value: N,
        least: N,
    ) -> &mut Rules {
        self.must(value >= least, setting, &value, format_args!("at least {least:?}"))
    }

    /// `setting` must lie in `least ..= most`.
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

    /// A time that may be 0, and not longer than clocks can count.
    pub(crate) fn time(&mut self, setting: &str, value: Duration) -> &mut Rules {
        self.must(value <= LONGEST, setting, value, "at most 365 days")
    }

    /// A time that is waited for. The protocol counts in microseconds: less would be no wait at
    /// all.
    pub(crate) fn wait(&mut self, setting: &str, value: Duration) -> &mut Rules {
        self.at_least(setting, value, Duration::from_micros(1)).time(setting, value)
    }

    /// The first broken rule, if any is.
    pub(crate) fn result(&mut self) -> Result<(), SettingError> {
        self.0.take().map_or(Ok(()), Err)
    }
}
