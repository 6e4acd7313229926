//! When something happened that the kernel's programs tell of.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};

/// The time that the monotonic clock shows, in seconds since 1970. That clock stands still while the
/// machine sleeps, so what it showed before cannot be told later.
pub(crate) fn since_1970(monotonic_ns: u64) -> f64 {
    let now = clock_gettime(ClockId::Monotonic);
    let seconds = Duration::from_secs(now.tv_sec.try_into().unwrap_or_default());
    let now = seconds + Duration::from_nanos(now.tv_nsec.try_into().unwrap_or_default());
    let age = now.saturating_sub(Duration::from_nanos(monotonic_ns));
    let then = SystemTime::now().checked_sub(age).unwrap_or(UNIX_EPOCH);
    then.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

/// The time of the day, in UTC, of seconds since 1970.
pub(crate) struct Clock(pub(crate) f64);

impl fmt::Display for Clock {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a time since 1970 in microseconds fits"
    )]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let micros = (self.0 * 1e6).round() as u64;
        let (seconds, micros) = (micros / 1_000_000, micros % 1_000_000);
        let (hours, minutes) = (seconds / 3600 % 24, seconds / 60 % 60);
        write!(f, "{hours:02}:{minutes:02}:{:02}.{micros:06}Z", seconds % 60)
    }
}
