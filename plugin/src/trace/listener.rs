//! One who listens: what it asked for is picked out of what is heard, and made lines of.
//!
//! It is asked for a piece whenever the one before was taken, and does nothing between: what it does
//! not take in time is lost to it alone.

use std::io::Write as _;
use std::sync::Arc;

use ebpf_netns::Ifindex;
use hyper::body::Bytes;
use plugin_common::presets::Presets;
use plugin_common::report::{PaceKey, PacketRecord};
use plugin_common::verdict::Reason;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::sync::{broadcast, mpsc, oneshot};

use super::event::{Event, Lost, PacketEvent, Unreported};
use super::{Heard, Hub, Question};
use crate::event::Event as EngineEvent;
use crate::explain::Refused;
use crate::filter::{Filter, Seen};
use crate::kernel::hook_of;
use crate::plan::Hook;
use crate::watch::{Watch, WatchAsked, Watched, WatchedInterface};

/// A piece is handed on when it has so many bytes, even if there is more to say.
const PIECE: usize = 32 << 10;

/// One who listens. Dropping it ends its watch.
#[derive(Debug)]
pub struct Listener {
    watch: Watch,
    drops: bool,
    filter: Option<Filter>,
    heard: broadcast::Receiver<Heard>,
    began: bool,
}

impl Listener {
    /// Begins to listen; `None` if the engine is gone.
    pub async fn open(
        question: Question,
        engine: &mpsc::Sender<EngineEvent>,
        hub: &Hub,
    ) -> Option<Result<Self, Refused>> {
        let Question { containers, drops, filter } = question;
        let filter = match filter.map(|text| text.parse()).transpose() {
            Ok(filter) => filter,
            Err(error) => return Some(Err(Refused::unclear(format!("--filter: {error:#}")))),
        };
        let watches =
            if drops { Presets::WATCH_DROPS } else { Presets::WATCH_DROPS | Presets::WATCH_PASSES };
        // Before the first report can come.
        let heard = hub.listen();
        let (reply, watch) = oneshot::channel();
        engine.send(EngineEvent::Watch(WatchAsked { containers, watches, reply })).await.ok()?;
        let watch = watch.await.ok()?;
        Some(watch.map(|watch| Self { watch, drops, filter, heard, began: false }))
    }

    /// The next lines, as soon as there are any; `None` when there will be none.
    pub async fn next(&mut self) -> Option<Bytes> {
        let mut piece = Vec::new();
        if !self.began {
            self.began = true;
            let interfaces = self.watch.now().values().map(Into::into).collect();
            write(&mut piece, &Event::Listening { interfaces });
        }
        while piece.is_empty() {
            match self.heard.recv().await {
                Ok(heard) => self.tell(heard, &self.watch.now(), &mut piece),
                Err(RecvError::Lagged(events)) => write(&mut piece, &Event::Lost(Lost { events })),
                Err(RecvError::Closed) => return None,
            }
        }
        let watched = self.watch.now();
        while piece.len() < PIECE {
            match self.heard.try_recv() {
                Ok(heard) => self.tell(heard, &watched, &mut piece),
                Err(TryRecvError::Lagged(events)) => {
                    write(&mut piece, &Event::Lost(Lost { events }));
                }
                Err(TryRecvError::Empty | TryRecvError::Closed) => break,
            }
        }
        Some(piece.into())
    }

    fn tell(&self, heard: Heard, watched: &Arc<Watched>, piece: &mut Vec<u8>) {
        let event = match heard {
            Heard::Packet(record) => self.packet(&record, watched),
            Heard::KeptBack { of, packets } => self.unreported(of, packets, watched),
        };
        if let Some(event) = event {
            write(piece, &event);
        }
    }

    /// What to say of a packet, if it is wanted.
    fn packet(&self, record: &PacketRecord, watched: &Watched) -> Option<Event> {
        let (on, hook) = place(watched, record.ifindex, record.observer)?;
        let seen = Seen::from(record);
        let is_wanted = self.filter.as_ref().is_none_or(|filter| filter.matches(&seen));
        if !is_wanted || self.drops && record.reason == Reason::Passed as u32 {
            return None;
        }
        Some(Event::Packet(Box::new(PacketEvent::new(record, on, hook))))
    }

    fn unreported(&self, of: PaceKey, packets: u64, watched: &Watched) -> Option<Event> {
        let (on, hook) = place(watched, of.ifindex, of.observer)?;
        if self.drops && of.reason == Reason::Passed as u32 {
            return None;
        }
        let known = Reason::ALL.into_iter().find(|reason| *reason as u32 == of.reason);
        let reason = known.map_or_else(|| of.reason.to_string(), |it| it.name().to_owned());
        Some(Event::Unreported(Unreported { place: on.into(), hook, reason, packets }))
    }
}

/// Whose it is, of those that are watched.
fn place(watched: &Watched, ifindex: u32, observer: u32) -> Option<(&WatchedInterface, Hook)> {
    let on = watched.get(&Ifindex::try_from(ifindex).ok()?)?;
    Some((on, hook_of(observer)?))
}

/// One line. What is made of names and numbers is never refused.
fn write(piece: &mut Vec<u8>, event: &Event) {
    let before = piece.len();
    let written =
        serde_json::to_writer(&mut *piece, event).is_ok() && piece.write_all(b"\n").is_ok();
    if !written {
        piece.truncate(before);
    }
}
