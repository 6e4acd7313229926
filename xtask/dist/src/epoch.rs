//! The time that packages bear: of the sources, never of the machine that packs them.

use std::env;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result};

/// The variable that reproducible builds agreed on.
const VARIABLE: &str = "SOURCE_DATE_EPOCH";

/// Seconds since 1970, UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Epoch(u64);

impl Epoch {
    /// What `SOURCE_DATE_EPOCH` says, or the beginning of 1980, before which some tools know no time.
    ///
    /// # Errors
    ///
    /// When it says something that is no number of seconds.
    pub fn of_environment() -> Result<Self> {
        let Some(value) = env::var_os(VARIABLE) else { return Ok(Self(315_532_800)) };
        let text = value.to_str().with_context(|| format!("{VARIABLE} is not text"))?;
        let seconds = text.parse().with_context(|| {
            format!("{VARIABLE} is {text:?}: it has to be the seconds since 1970")
        })?;
        Ok(Self(seconds))
    }

    pub(crate) fn seconds(self) -> u64 {
        self.0
    }

    /// As in `2026-01-31T12:00:00Z`.
    pub(crate) fn rfc3339(self) -> String {
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(self.0);
        humantime::format_rfc3339_seconds(time).to_string()
    }

    /// As in `2026-01-31`.
    pub(crate) fn date(self) -> String {
        let time = self.rfc3339();
        time.split('T').next().unwrap_or_default().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_written_as_documents_want_it() {
        let epoch = Epoch(1_769_860_800);
        assert_eq!(epoch.rfc3339(), "2026-01-31T12:00:00Z");
        assert_eq!(epoch.date(), "2026-01-31");
    }
}
