//! Waiting with a deadline, instead of sleeping for a guess.

use std::{
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

/// How long a test waits for something that a healthy machine does within a second or two.
pub const DEADLINE: Duration = Duration::from_secs(30);

const INTERVAL: Duration = Duration::from_millis(20);

/// Waits until `done` returns true; the error names `what` was awaited.
///
/// # Errors
///
/// When it does not within `deadline`.
pub fn wait_until(deadline: Duration, what: &str, mut done: impl FnMut() -> bool) -> Result<()> {
    let start = Instant::now();
    while !done() {
        if start.elapsed() >= deadline {
            bail!("waited {deadline:?} for {what}");
        }
        sleep(INTERVAL);
    }
    Ok(())
}

/// Tries until `attempt` succeeds and returns its value; the error carries the last failure.
///
/// # Errors
///
/// When no attempt within `deadline` succeeds.
pub fn wait_for<T>(
    deadline: Duration,
    what: &str,
    mut attempt: impl FnMut() -> Result<T>,
) -> Result<T> {
    let start = Instant::now();
    loop {
        match attempt() {
            Ok(value) => return Ok(value),
            Err(error) if start.elapsed() >= deadline => {
                return Err(error).with_context(|| format!("waited {deadline:?} for {what}"));
            }
            Err(_) => sleep(INTERVAL),
        }
    }
}

/// Ticks at a fixed rate, for what sends or looks regularly.
#[derive(Debug)]
pub struct Pacer {
    next: Instant,
    period: Duration,
}

impl Pacer {
    /// The first tick is now.
    #[must_use]
    pub fn every(period: Duration) -> Self {
        Self { next: Instant::now(), period }
    }

    /// Waits for the next tick. Ticks that were missed are not made up for in a burst.
    pub fn tick(&mut self) {
        let now = Instant::now();
        sleep(self.next.saturating_duration_since(now));
        self.next = self.next.max(now) + self.period;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_that_never_holds_is_named_in_the_error() {
        let error = wait_until(Duration::ZERO, "the moon", || false).unwrap_err();
        assert!(
            error.to_string().contains("the moon"),
            "the error names what was awaited: {error}"
        );
    }

    #[test]
    fn the_last_failure_is_the_cause() {
        let error =
            wait_for(Duration::ZERO, "the moon", || -> Result<()> { bail!("clouds") }).unwrap_err();
        assert_eq!(format!("{error:#}"), "waited 0ns for the moon: clouds");
    }

    #[test]
    fn a_later_success_is_returned() {
        let mut calls = 0;
        let value = wait_for(DEADLINE, "the third call", || {
            calls += 1;
            if calls < 3 {
                bail!("not yet")
            }
            Ok(calls)
        });
        assert_eq!(value.unwrap(), 3);
    }
}
