//! Notices a stream of events that is open and says nothing. Pure.
//!
//! A stream that is silent may be all right. It is not when looks find what changed, and no event
//! tells of anything near that time.

use tokio::time::{Duration, Instant};

/// How far an event and what it tells of may be apart.
const APART: Duration = Duration::from_secs(10);

/// What was heard and seen.
#[derive(Debug, Default)]
pub(super) struct Silence {
    heard: Option<Instant>,
    /// The first change that no event told of.
    unexplained: Option<Instant>,
}

impl Silence {
    /// An event came.
    pub(super) fn heard(&mut self, now: Instant) {
        self.heard = Some(now);
        self.unexplained = None;
    }

    /// A look found a change.
    pub(super) fn changed(&mut self, now: Instant) {
        let explained = self.heard.is_some_and(|heard| now.duration_since(heard) < APART);
        if !explained {
            self.unexplained.get_or_insert(now);
        }
    }

    /// When the stream is to be given up, if it stays silent.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.unexplained.map(|since| since + APART)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_that_no_event_tells_of_has_a_deadline() {
        let start = Instant::now();
        let mut silence = Silence::default();
        assert_eq!(silence.deadline(), None);
        silence.changed(start);
        silence.changed(start + APART / 2);
        assert_eq!(silence.deadline(), Some(start + APART), "it counts from the first");
    }

    #[test]
    fn an_event_before_or_after_explains_it() {
        let start = Instant::now();
        let mut silence = Silence::default();
        silence.heard(start);
        silence.changed(start + APART / 2);
        assert_eq!(silence.deadline(), None);
        silence.changed(start + 2 * APART);
        assert!(silence.deadline().is_some());
        silence.heard(start + 2 * APART);
        assert_eq!(silence.deadline(), None);
    }
}
