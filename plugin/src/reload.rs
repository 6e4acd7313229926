//! Loading the configuration again while the daemon runs: on SIGHUP, and when `reload` asks.
//!
//! One task loads, so that what is loaded last is what counts; the engine takes it or keeps what it
//! has.

use serde::{Deserialize, Serialize};
use tokio::signal::unix::Signal;
use tokio::sync::{mpsc, oneshot};
use tokio::task;
use tracing::info;

use crate::config::{self, Config, ConfigErrors, Place};
use crate::event::Event;

/// Requests that wait; beyond, who asks waits.
pub const QUEUE: usize = 16;

/// What came of loading it again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "result", rename_all = "kebab-case")]
pub enum Outcome {
    /// The new configuration holds.
    Taken(Taken),
    /// It is not understood: the one before holds, whole.
    Refused {
        /// Everything that is wrong with it.
        errors: Vec<String>,
    },
}

/// What a new configuration changed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Taken {
    /// How many containers have a policy.
    pub containers: usize,
    /// How many of all containers have another policy than before, or one no more.
    pub changed: usize,
    /// On how many interfaces something is still being attached; until it is, what is there
    /// enforces the new policy too.
    pub unfinished: usize,
    /// What takes more than this to come into force.
    pub notes: Vec<String>,
}

/// Who wants to know what came of it.
pub type Reply = oneshot::Sender<Outcome>;

/// A configuration for the engine to take.
#[derive(Debug)]
pub struct Reload {
    /// What was loaded.
    pub loaded: Result<Config, ConfigErrors>,
    /// Who asked.
    pub reply: Reply,
}

/// Loads the configuration for each request, until nobody asks or listens any more.
pub async fn run(place: Place, mut requests: mpsc::Receiver<Reply>, engine: mpsc::Sender<Event>) {
    while let Some(reply) = requests.recv().await {
        let place = place.clone();
        // A task that panicked answers nobody.
        let Ok(loaded) = task::spawn_blocking(move || config::load(&place)).await else { continue };
        if engine.send(Event::Reload(Box::new(Reload { loaded, reply }))).await.is_err() {
            return;
        }
    }
}

/// Asks for each SIGHUP.
pub async fn on_hangup(mut hangups: Signal, requests: mpsc::Sender<Reply>) {
    while hangups.recv().await.is_some() {
        info!(signal = "SIGHUP", "loading the configuration again");
        let (reply, _outcome) = oneshot::channel();
        if requests.send(reply).await.is_err() {
            return;
        }
    }
}
