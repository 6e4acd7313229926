//! How often the daemon is asked. Pure.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// What `+` and `-` go through.
const STEPS: [u64; 9] = [200, 500, 1_000, 2_000, 5_000, 10_000, 30_000, 60_000, 300_000];
/// The shortest: an answer about a thousand containers takes the daemon some milliseconds.
const SHORTEST: u64 = 200;
/// The longest: an hour.
const LONGEST: u64 = 3_600_000;

/// How long after a question the next one is due, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Interval(u64);

impl Default for Interval {
    fn default() -> Self {
        Self(1_000)
    }
}

impl Interval {
    pub(crate) const fn duration(self) -> Duration {
        Duration::from_millis(self.0)
    }

    /// The next longer step.
    pub(super) fn longer(self) -> Self {
        STEPS.into_iter().find(|step| *step > self.0).map_or(self, Self)
    }

    /// The next shorter step.
    pub(super) fn shorter(self) -> Self {
        STEPS.into_iter().rev().find(|step| *step < self.0).map_or(self, Self)
    }
}

impl FromStr for Interval {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected = "expected seconds, from 0.2 to 3600: 1 or 0.5";
        let seconds: f64 = text.parse().map_err(|_not_a_number| expected.to_owned())?;
        let duration =
            Duration::try_from_secs_f64(seconds).map_err(|_out_of_range| expected.to_owned())?;
        match u64::try_from(duration.as_millis()) {
            Ok(milliseconds @ SHORTEST..=LONGEST) => Ok(Self(milliseconds)),
            _ => Err(expected.to_owned()),
        }
    }
}

impl fmt::Display for Interval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.duration().as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_is_seconds_within_limits() {
        let cases = [
            ("1", Some(1_000)),
            ("0.5", Some(500)),
            ("0.2", Some(200)),
            ("3600", Some(3_600_000)),
            ("0.1", None),
            ("0", None),
            ("-1", None),
            ("3601", None),
            ("1e300", None),
            ("NaN", None),
            ("inf", None),
            ("1s", None),
            ("", None),
        ];
        for (text, expected) in cases {
            assert_eq!(text.parse().ok(), expected.map(Interval), "{text:?}");
        }
        assert_eq!(Interval(500).to_string(), "0.5");
        assert_eq!(Interval(1_000).to_string(), "1");
    }

    #[test]
    fn steps_go_both_ways_and_end() {
        let cases =
            [(1_000, 2_000, 500), (200, 500, 200), (300_000, 300_000, 60_000), (700, 1_000, 500)];
        for (from, longer, shorter) in cases {
            assert_eq!(Interval(from).longer(), Interval(longer), "longer than {from}");
            assert_eq!(Interval(from).shorter(), Interval(shorter), "shorter than {from}");
        }
    }
}
