//! Watching interfaces: what of their packets the kernel's programs tell, and for how long. The engine
//! knows who watches what; it neither reads nor hands on what is told.

use std::collections::BTreeMap;
use std::sync::Arc;

use ebpf_netns::Ifindex;
use plugin_common::presets::Presets;
use tokio::sync::{mpsc, oneshot, watch};

use crate::event::Event;
use crate::explain::Refused;
use crate::listing::StandingRules;

/// A wish to watch, as the engine gets it.
#[derive(Debug)]
pub struct WatchAsked {
    /// Containers by their names, their ids, or the beginnings of those; none are all that have a
    /// policy.
    pub containers: Vec<String>,
    /// What is wanted of their interfaces: of [`Presets::WATCHES`].
    pub watches: Presets,
    /// Takes the watch once it stands, or why there is none.
    pub reply: oneshot::Sender<Result<Watch, Refused>>,
}

/// Somebody's watch. It stands until this is dropped.
#[derive(Debug)]
pub struct Watch {
    /// `None` only while it is dropped.
    table: Option<watch::Receiver<Arc<Watched>>>,
    engine: mpsc::WeakSender<Event>,
}

impl Watch {
    /// A watch, and where the engine says what it is of.
    pub(crate) fn new(engine: mpsc::WeakSender<Event>) -> (Self, watch::Sender<Arc<Watched>>) {
        let (sender, receiver) = watch::channel(Arc::default());
        (Self { table: Some(receiver), engine }, sender)
    }

    /// What is watched right now: containers start and end, and policies change.
    #[must_use]
    pub fn now(&self) -> Arc<Watched> {
        self.table.as_ref().map(|table| Arc::clone(&table.borrow())).unwrap_or_default()
    }
}

impl Watch {
    /// Waits until what is watched is not what it was.
    pub async fn changed(&mut self) {
        let changed = match &mut self.table {
            Some(table) => table.changed().await.is_ok(),
            None => false,
        };
        // An engine that ends changes nothing more.
        if !changed {
            std::future::pending::<()>().await;
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // The engine looks who is left: before it is told, this one is to be gone.
        self.table = None;
        if let Some(engine) = self.engine.upgrade() {
            // Where there is no room, it looks within a second all the same.
            engine.try_send(Event::Unwatched).ok();
        }
    }
}

/// The interfaces of a watch, by the index of the host-side veth.
pub type Watched = BTreeMap<Ifindex, WatchedInterface>;

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchedInterface {
    /// The container's name.
    pub container: String,
    /// Its id.
    pub id: String,
    /// The interface's name in the container.
    pub interface: String,
    /// The name of the host-side veth.
    pub host: String,
    /// The rules that stand on it.
    pub rules: Option<StandingRules>,
}
