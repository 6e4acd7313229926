//! The events that wait for the engine, of which news of links come first where it matters.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use ebpf_netns::monitor::LinkEvent;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::QUEUE;
use crate::event::Event;

/// What was heard.
#[derive(Debug)]
pub(super) enum Heard {
    /// This.
    Event(Event),
    /// Nothing, for as long as was waited.
    Nothing,
    /// The sources are gone.
    End,
}

/// The events.
pub(super) struct Inbox {
    events: mpsc::Receiver<Event>,
    /// Those that news of links were taken in before.
    postponed: VecDeque<Event>,
    clock: Runtime,
}

impl Inbox {
    pub(super) fn new(events: mpsc::Receiver<Event>) -> io::Result<Self> {
        let clock = Builder::new_current_thread().enable_time().build()?;
        Ok(Self { events, postponed: VecDeque::new(), clock })
    }

    /// The next event; waits for it no longer than that.
    pub(super) fn next(&mut self, patience: Option<Duration>) -> Heard {
        if let Some(event) = self.try_next() {
            return Heard::Event(event);
        }
        let events = &mut self.events;
        let heard = self.clock.block_on(async {
            match patience {
                Some(patience) => timeout(patience, events.recv()).await,
                None => Ok(events.recv().await),
            }
        });
        match heard {
            Ok(Some(event)) => Heard::Event(event),
            Ok(None) => Heard::End,
            Err(_elapsed) => Heard::Nothing,
        }
    }

    /// The next event, if there is one already.
    pub(super) fn try_next(&mut self) -> Option<Event> {
        self.postponed.pop_front().or_else(|| self.events.try_recv().ok())
    }

    /// News of links that wait. What came before them is kept for later.
    pub(super) fn links(&mut self) -> Option<Vec<LinkEvent>> {
        while self.postponed.len() < QUEUE {
            match self.events.try_recv().ok()? {
                Event::Links(changes) => return Some(changes),
                other => self.postponed.push_back(other),
            }
        }
        None
    }

    /// Takes no event any more: nobody waits until there is room for one.
    pub(super) fn close(&mut self) {
        self.events.close();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn news_of_links_overtake_and_nothing_is_lost() {
        let (sender, events) = mpsc::channel(8);
        let mut inbox = Inbox::new(events).unwrap();
        sender.try_send(Event::Tick).unwrap();
        sender.try_send(Event::Links(vec![LinkEvent::Overrun])).unwrap();
        sender.try_send(Event::Stop).unwrap();
        assert!(matches!(inbox.links().as_deref(), Some([LinkEvent::Overrun])));
        assert!(inbox.links().is_none());
        assert!(matches!(inbox.next(None), Heard::Event(Event::Tick)));
        assert!(matches!(inbox.next(None), Heard::Event(Event::Stop)));
        assert!(matches!(inbox.next(Some(Duration::ZERO)), Heard::Nothing));
        drop(sender);
        assert!(matches!(inbox.next(None), Heard::End));
    }
}
