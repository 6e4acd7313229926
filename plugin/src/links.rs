//! News of links, on a thread of its own.
//!
//! A new interface has to be closed within milliseconds, also on a machine whose processors are all
//! busy: nothing else is waited for on the way from the kernel to the engine, and both threads have
//! the priority of the one that starts them.

use std::io;
use std::sync::Arc;
use std::sync::mpsc as wait;
use std::thread;
use std::time::Duration;

use ebpf_netns::monitor::{LinkEvent, LinkMonitor};
use tokio::runtime::Builder;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::sleep;
use tracing::{error, warn};

use crate::daemon::DaemonError;
use crate::event::Event;

/// How soon link events are subscribed to again.
const AGAIN: Duration = Duration::from_millis(100);

/// The thread that watches links. It ends with this.
pub(crate) struct Links {
    gone: Arc<Notify>,
    ended: oneshot::Receiver<()>,
    stop: oneshot::Sender<()>,
}

impl Links {
    /// Told of each link that goes.
    pub(crate) fn gone(&self) -> Arc<Notify> {
        Arc::clone(&self.gone)
    }

    /// Waits until the thread ends, which it does by itself only when nobody takes its news.
    /// Dropping this ends it.
    pub(crate) async fn ended(self) {
        let Self { ended, stop: _stop, gone: _ } = self;
        // The sender goes with the thread.
        ended.await.ok();
    }
}

/// Subscribes to news of links, and passes them on from now on.
///
/// # Errors
///
/// When news cannot be had.
pub(crate) fn watch(events: mpsc::Sender<Event>) -> Result<Links, DaemonError> {
    let failed = |source| DaemonError::System { what: "start the thread for links", source };
    let gone = Arc::new(Notify::new());
    let ((stop, stopped), (end, ended)) = (oneshot::channel(), oneshot::channel());
    let (subscribed, subscription) = wait::channel();
    let gone_to = Arc::clone(&gone);
    let work = move || {
        let watched = Builder::new_current_thread().enable_all().build().map_err(failed);
        let watched = watched.and_then(|runtime| {
            runtime.block_on(async {
                let monitor = LinkMonitor::open()?;
                subscribed.send(Ok(())).ok();
                tokio::select! {
                    () = pass_on(monitor, &gone_to, &events) => {}
                    _ = stopped => {}
                }
                Ok(())
            })
        });
        if let Err(error) = watched {
            subscribed.send(Err(error)).ok();
        }
        drop(end);
    };
    thread::Builder::new().name("links".to_owned()).spawn(work).map_err(failed)?;
    subscription.recv().map_err(|_ended| failed(io::ErrorKind::Other.into()))??;
    Ok(Links { gone, ended, stop })
}

async fn pass_on(mut monitor: LinkMonitor, gone: &Notify, events: &mpsc::Sender<Event>) {
    loop {
        let changes = match monitor.next().await {
            Ok(changes) => changes,
            Err(error) => {
                warn!(%error, "link events failed: subscribing again");
                monitor = subscribe_again().await;
                vec![LinkEvent::Overrun]
            }
        };
        let left =
            |change: &LinkEvent| matches!(change, LinkEvent::Removed(_) | LinkEvent::Moved(_));
        if changes.iter().any(left) {
            gone.notify_one();
        }
        if events.send(Event::Links(changes)).await.is_err() {
            return;
        }
    }
}

async fn subscribe_again() -> LinkMonitor {
    loop {
        sleep(AGAIN).await;
        match LinkMonitor::open() {
            Ok(monitor) => return monitor,
            Err(error) => error!(%error, "link events cannot be had: trying again"),
        }
    }
}
