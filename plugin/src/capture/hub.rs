//! All captures there are, and what each of them asks the engine.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use plugin_common::presets::Presets;
use tokio::sync::{mpsc, oneshot};

use super::CaptureId;
use crate::event::Event;
use crate::explain::{ExplainAsked, Refused, Subject};
use crate::kernel::Captures;
use crate::watch::{Watch, WatchAsked};

/// Who captures.
#[derive(Clone)]
pub struct Hub(Arc<Shared>);

struct Shared {
    engine: mpsc::Sender<Event>,
    captures: Captures,
    next: AtomicU64,
    /// Takes the wish of whoever captures to end it.
    stops: Mutex<BTreeMap<CaptureId, oneshot::Sender<()>>>,
}

impl Hub {
    /// Nobody yet.
    #[must_use]
    pub fn new(engine: mpsc::Sender<Event>, captures: Captures) -> Self {
        let (next, stops) = (AtomicU64::new(1), Mutex::default());
        Self(Arc::new(Shared { engine, captures, next, stops }))
    }

    /// Ends a capture: what was captured so far is told, and then that it ended. False if there is none
    /// of that number.
    #[must_use]
    pub fn stop(&self, id: CaptureId) -> bool {
        self.forget(id).is_some_and(|stop| stop.send(()).is_ok())
    }

    /// Nobody can end it any more.
    pub(super) fn forget(&self, id: CaptureId) -> Option<oneshot::Sender<()>> {
        self.0.stops.lock().unwrap_or_else(PoisonError::into_inner).remove(&id)
    }

    /// Lets it be ended.
    pub(super) fn note(&self, id: CaptureId) -> oneshot::Receiver<()> {
        let (stop, stopped) = oneshot::channel();
        self.0.stops.lock().unwrap_or_else(PoisonError::into_inner).insert(id, stop);
        stopped
    }

    pub(super) fn captures(&self) -> Captures {
        self.0.captures.clone()
    }

    pub(super) fn next_id(&self) -> CaptureId {
        CaptureId(self.0.next.fetch_add(1, Ordering::Relaxed))
    }

    /// What the container is by now.
    pub(super) async fn subject(&self, container: &str) -> Result<Subject, Refused> {
        let (reply, subject) = oneshot::channel();
        let asked = ExplainAsked { container: container.to_owned(), reply };
        let ended = || Refused::failed("the engine does not answer");
        self.0.engine.send(Event::Explain(asked)).await.map_err(|_closed| ended())?;
        subject.await.map_err(|_dropped| ended())?
    }

    /// Has the programs look for captures on its interfaces.
    pub(super) async fn watch(&self, container: &str) -> Result<Watch, Refused> {
        let (reply, watch) = oneshot::channel();
        let containers = vec![container.to_owned()];
        let asked = WatchAsked { containers, watches: Presets::CAPTURE, reply };
        let ended = || Refused::failed("the engine does not answer");
        self.0.engine.send(Event::Watch(asked)).await.map_err(|_closed| ended())?;
        watch.await.map_err(|_dropped| ended())?
    }
}
