//! The service manager, where one started the daemon: it is told what the daemon is doing, and
//! whether the engine is alive. Without one, nothing is done.

use std::io;

use sd_notify::{NotifyState, notify, watchdog_enabled};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{interval, timeout};
use tracing::warn;

use crate::event::Event;

/// The daemon enforces.
pub(crate) fn ready() {
    told(notify(&[NotifyState::Ready]));
}

/// The daemon ends.
pub(crate) fn stopping() {
    told(notify(&[NotifyState::Stopping]));
}

/// Reports that the engine answers, for as long as it does, and as often as the manager wants. A
/// daemon whose engine hangs is started anew.
pub(crate) async fn watchdog(engine: mpsc::Sender<Event>) {
    let Some(patience) = watchdog_enabled() else { return };
    // Twice in each span, so that one late report is not the end.
    let half = patience / 2;
    let mut beat = interval(half);
    loop {
        beat.tick().await;
        match timeout(half, answers(&engine)).await {
            Ok(true) => told(notify(&[NotifyState::Watchdog])),
            Ok(false) => return,
            Err(_elapsed) => {
                warn!("the engine does not answer: the service manager is not told otherwise");
            }
        }
    }
}

async fn answers(engine: &mpsc::Sender<Event>) -> bool {
    let (reply, answer) = oneshot::channel();
    engine.send(Event::Status(reply)).await.is_ok() && answer.await.is_ok()
}

fn told(result: io::Result<()>) {
    if let Err(error) = result {
        warn!(%error, "the service manager cannot be told");
    }
}
