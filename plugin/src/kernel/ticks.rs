//! How long a tick of the kernel is, by which its programs can tell the time without asking a clock.

use std::sync::LazyLock;

use rustix::time::{ClockId, clock_getres};

/// Nanoseconds in a second.
const SECOND: u64 = 1_000_000_000;

/// What the kernel's count of ticks says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Ticks {
    /// Nanoseconds of each; 0 where that is not known.
    pub nanoseconds: u64,
    /// Nanoseconds that the count is ahead of the clock, modulo 2^64.
    pub ahead: u64,
}

/// Those of this kernel: a clock that goes on with each of them has their length for its resolution
/// ([`clock_getres(2)`](https://man7.org/linux/man-pages/man2/clock_getres.2.html)).
pub(super) static TICKS: LazyLock<Ticks> = LazyLock::new(|| {
    let resolution = clock_getres(ClockId::MonotonicCoarse);
    match (resolution.tv_sec, u64::try_from(resolution.tv_nsec)) {
        (0, Ok(nanoseconds)) => Ticks::of(nanoseconds),
        _ => Ticks::default(),
    }
});

impl Ticks {
    /// The count begins as if five minutes were left until its lower 32 bits overflow
    /// ([`INITIAL_JIFFIES`](https://elixir.bootlin.com/linux/v6.12/source/include/linux/jiffies.h)).
    fn of(nanoseconds: u64) -> Self {
        const LEFT: u64 = 300;
        // Linux knows no fewer than 24 ticks a second, and no more than 1,200.
        if !(SECOND / 1200..=SECOND / 24).contains(&nanoseconds) {
            return Self::default();
        }
        let rate = (SECOND + nanoseconds / 2) / nanoseconds;
        let first = (1_u64 << 32) - LEFT * rate;
        Self { nanoseconds, ahead: first.wrapping_mul(nanoseconds) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_of_every_usual_length_begin_five_minutes_before_an_overflow() {
        for (rate, nanoseconds) in
            [(100, 10_000_000), (250, 4_000_000), (300, 3_333_333), (1000, 1_000_000)]
        {
            let left = (1_u64 << 32) - 300 * rate;
            let expected = Ticks { nanoseconds, ahead: left * nanoseconds };
            assert_eq!(Ticks::of(nanoseconds), expected, "{rate} a second");
        }
    }

    #[test]
    fn what_cannot_be_a_tick_is_not_counted_by() {
        for nanoseconds in [0, 1, SECOND] {
            assert_eq!(Ticks::of(nanoseconds), Ticks::default(), "{nanoseconds}");
        }
    }
}
