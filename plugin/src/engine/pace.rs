//! When something may be begun that takes the kernel long. Pure.
//!
//! It holds the kernel's lock on all interfaces, for which whoever plugs an interface in waits, and so
//! does closing that interface. The policy stands meanwhile, by the guard: so it can wait.

use std::time::{Duration, Instant};

/// How long nothing has to have been heard of links.
const QUIET: Duration = Duration::from_millis(100);
/// As [`QUIET`], where somebody waits for it.
const LITTLE_QUIET: Duration = Duration::from_millis(10);
/// How long it waits for quiet, and for newcomers to be known.
const PATIENCE: Duration = Duration::from_secs(2);

/// What was heard of links, and what waits.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    stirred: Instant,
    waiting: Option<Instant>,
}

/// What there is to consider.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Scene {
    /// Whether there are interfaces of which it is not known yet whose they are.
    pub newcomers: bool,
    /// Whether a container waits at its start.
    pub asked: bool,
}

impl Pace {
    pub(super) const fn new(now: Instant) -> Self {
        Self { stirred: now, waiting: None }
    }

    /// Something was heard of links.
    pub(super) const fn stir(&mut self, now: Instant) {
        self.stirred = now;
    }

    /// Whether there is anything left to do.
    pub(super) fn waits(&mut self, anything: bool, now: Instant) {
        self.waiting = anything.then(|| self.waiting.unwrap_or(now));
    }

    /// How long to wait yet.
    pub(super) fn pause(&self, scene: Scene, now: Instant) -> Duration {
        let since = |then| now.saturating_duration_since(then);
        let quiet = |long: Duration| long.saturating_sub(since(self.stirred));
        let patience = PATIENCE.saturating_sub(self.waiting.map_or(Duration::ZERO, since));
        let at_last = patience.max(quiet(LITTLE_QUIET));
        match scene {
            Scene { newcomers: true, .. } => at_last,
            Scene { asked: true, .. } => quiet(LITTLE_QUIET),
            Scene { .. } => at_last.min(quiet(QUIET)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOBODY: Scene = Scene { newcomers: false, asked: false };
    const NEWCOMERS: Scene = Scene { newcomers: true, ..NOBODY };
    const ASKED: Scene = Scene { asked: true, ..NOBODY };

    fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    /// How long to wait yet when links stirred and work has waited for so long.
    #[track_caller]
    fn check(scene: Scene, stirred: u64, waited: u64, expected: u64) {
        let start = Instant::now();
        let now = start + ms(stirred.max(waited));
        let mut pace = Pace::new(start);
        pace.stir(now.checked_sub(ms(stirred)).unwrap());
        pace.waits(true, now.checked_sub(ms(waited)).unwrap());
        assert_eq!(pace.pause(scene, now), ms(expected), "{scene:?} {stirred} {waited}");
    }

    #[test]
    fn it_waits_for_quiet() {
        check(NOBODY, 0, 0, 100);
        check(NOBODY, 60, 0, 40);
        check(NOBODY, 200, 0, 0);
    }

    #[test]
    fn it_waits_less_where_somebody_waits_for_it() {
        check(ASKED, 0, 0, 10);
        check(ASKED, 10, 0, 0);
    }

    #[test]
    fn it_waits_while_there_are_newcomers() {
        check(NEWCOMERS, 500, 0, 2000);
        check(Scene { asked: true, ..NEWCOMERS }, 500, 500, 1500);
    }

    #[test]
    fn it_does_not_wait_for_ever() {
        check(NEWCOMERS, 5, 2000, 5);
        check(NEWCOMERS, 50, 2000, 0);
        check(NOBODY, 0, 1950, 50);
        check(NOBODY, 10, 3000, 0);
    }

    #[test]
    fn what_waits_has_waited_since_there_was_something_to_do() {
        let start = Instant::now();
        let mut pace = Pace::new(start);
        pace.waits(true, start);
        pace.waits(true, start + ms(1000));
        assert_eq!(pace.pause(NEWCOMERS, start + ms(1500)), ms(500));
        pace.waits(false, start + ms(1500));
        pace.waits(true, start + ms(1600));
        assert_eq!(pace.pause(NEWCOMERS, start + ms(1600)), ms(2000));
    }
}
