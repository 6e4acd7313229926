//! What is counted outside of the engine, by whoever it happens to. Numbers alone, for metrics.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// What happened since the daemon started.
#[derive(Debug, Default)]
pub struct Tally {
    /// Lines of the log that nobody could be given.
    pub log_lines_lost: Count,
    /// Reports of packets that the engine had no time for.
    pub reports_lost: Count,
    /// How often Docker's events stalled and were subscribed to again.
    pub docker_stalls: Count,
    /// When Docker was last asked for everything and answered.
    pub docker_looked: Moment,
}

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    /// Counts so many more.
    pub fn add(&self, number: u64) {
        self.0.fetch_add(number, Ordering::Relaxed);
    }

    /// How many there were.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// When something happened last: in milliseconds since 1970, 0 if never.
#[derive(Debug, Default)]
pub struct Moment(AtomicU64);

impl Moment {
    /// It happens now.
    pub fn now(&self) {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.0.store(since.as_millis().try_into().unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// When it happened, since 1970; nothing, if never.
    #[must_use]
    pub fn get(&self) -> Option<Duration> {
        let millis = self.0.load(Ordering::Relaxed);
        (millis > 0).then(|| Duration::from_millis(millis))
    }
}
