//! The Docker source: tells the engine which containers there are. The only place in this crate
//! that names bollard.
//!
//! Events are hints to look again, and their contents are not believed: Docker drops events for
//! slow readers, and a user's label may overwrite an attribute. The list is the truth. A container
//! that is starting is never inspected, since Docker holds its lock until it has started: its
//! interfaces are known from the networks, which are not locked.

mod book;
mod session;

use std::sync::Arc;
use std::time::Duration;

use ebpf_netns::docker::Endpoint;
use tokio::sync::mpsc;
use tracing::{info, warn};

use crate::event::{DockerNews, Event};
use crate::look::Look;

/// How long to wait before connecting again: doubled from the first to the second.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// Watches a Docker engine for ever, whatever it does. `look` asks for another look at once.
///
/// Returns when nobody listens any more.
pub async fn watch(endpoint: Endpoint, look: Arc<Look>, engine: mpsc::Sender<Event>) {
    let mut wait = BACKOFF.0;
    loop {
        let ended = session::run(&endpoint, &look, &engine).await;
        let reason = match ended {
            session::End::Unheard => return,
            session::End::NeverBegan(reason) => reason,
            session::End::Lost(reason) => {
                wait = BACKOFF.0;
                reason
            }
        };
        warn!(%endpoint, reason, "Docker is not reachable: what is enforced stays");
        if engine.send(Event::Docker(DockerNews::Unreachable(reason))).await.is_err() {
            return;
        }
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(BACKOFF.1);
        info!(%endpoint, "connecting to Docker again");
    }
}
