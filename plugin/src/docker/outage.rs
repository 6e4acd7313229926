//! How long to wait before connecting again, and which reasons for that are news. Pure.

use std::collections::HashSet;
use std::time::Duration;

/// The first wait, and the longest: each is twice the one before.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// After a connection that held for so long, waits begin anew.
const HELD: Duration = Duration::from_secs(1);
/// After a connection that held for so long, reasons are news again.
const FORGOTTEN: Duration = Duration::from_mins(1);
/// Reasons that are remembered: Docker's words are in them, so there may be any number.
const REMEMBERED: usize = 64;

/// The failures since connections held.
#[derive(Debug, Default)]
pub(super) struct Outage {
    wait: Option<Duration>,
    told: HashSet<String>,
}

impl Outage {
    /// Takes the reason for a connection's end, which held for `held`; whether it is news.
    pub(super) fn failed(&mut self, reason: &str, held: Duration) -> bool {
        if held >= HELD {
            self.wait = None;
        }
        if held >= FORGOTTEN || self.told.len() >= REMEMBERED {
            self.told.clear();
        }
        self.told.insert(reason.to_owned())
    }

    /// How long to wait now.
    pub(super) fn wait(&mut self) -> Duration {
        let wait = self.wait.map_or(BACKOFF.0, |last| (last * 2).min(BACKOFF.1));
        self.wait = Some(wait);
        wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_begin_below_a_second_and_are_bounded() {
        let mut outage = Outage::default();
        let waits: Vec<_> = (0..10).map(|_| outage.wait()).collect();
        assert!(waits[0] < Duration::from_secs(1), "{waits:?}");
        assert!(waits.is_sorted() && waits[1] == waits[0] * 2, "{waits:?}");
        assert_eq!(waits[9], BACKOFF.1);
    }

    #[test]
    fn waits_begin_anew_after_a_connection_that_held() {
        let mut outage = Outage::default();
        let first = outage.wait();
        outage.failed("refused", Duration::ZERO);
        assert!(outage.wait() > first, "it did not hold");
        outage.failed("refused", HELD);
        assert_eq!(outage.wait(), first);
    }

    #[test]
    fn a_reason_is_news_once_until_a_connection_held_for_long() {
        let mut outage = Outage::default();
        assert!(outage.failed("refused", Duration::ZERO));
        assert!(!outage.failed("refused", Duration::ZERO));
        assert!(outage.failed("no socket", Duration::ZERO));
        assert!(!outage.failed("refused", HELD), "that was not long");
        assert!(outage.failed("refused", FORGOTTEN));
    }

    #[test]
    fn reasons_without_end_are_not_remembered_without_end() {
        let mut outage = Outage::default();
        for n in 0..10_000 {
            outage.failed(&n.to_string(), Duration::ZERO);
        }
        assert!(outage.told.len() <= REMEMBERED);
    }
}
