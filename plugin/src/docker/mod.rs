//! The Docker source: tells the engine which containers and networks there are. It only ever asks.
//!
//! Events are hints to look again, and their contents are not believed: Docker drops events for
//! slow readers, and a user's label may overwrite an attribute. The list is the truth. A container
//! that is starting is never inspected, since Docker holds its lock until it has started: its
//! interfaces are known from the networks, which are not locked.
//!
//! Answers are read while they come in and never held whole: users decide how long they are.

mod answers;
mod body;
mod book;
mod client;
mod error;
mod gather;
mod hint;
mod inspections;
mod outage;
mod question;
mod session;
mod shorten;
mod silence;

use std::sync::Arc;
use std::time::Instant;

use ebpf_netns::docker::Endpoint;
use tokio::sync::mpsc;
use tracing::{debug, warn};

use self::outage::Outage;
use self::session::{Around, End};
use crate::event::{DockerNews, Event};
use crate::look::Look;
use crate::nameservers::Known;
use crate::tally::Tally;

/// Watches a Docker engine for ever, whatever it does. `look` asks for another look at once.
///
/// Returns when nobody listens any more.
pub async fn watch(
    endpoint: Endpoint,
    look: Arc<Look>,
    engine: mpsc::Sender<Event>,
    tally: Arc<Tally>,
) {
    let mut outage = Outage::default();
    let mut nameservers = Known::default();
    loop {
        let began = Instant::now();
        let nameservers = &mut nameservers;
        let around = Around { look: &look, engine: &engine, tally: &tally, nameservers };
        match session::run(&endpoint, around).await {
            End::Unheard => return,
            End::Silent => {
                tally.docker_stalls.add(1);
                let stalls = tally.docker_stalls.get();
                warn!(%endpoint, stalls, "Docker's events stalled: subscribing again");
            }
            End::Lost(reason) => {
                if outage.failed(&reason, began.elapsed()) {
                    warn!(%endpoint, reason, "Docker is not reachable: what is enforced stays");
                } else {
                    debug!(%endpoint, reason, "Docker is still not reachable");
                }
                let news = Event::Docker(DockerNews::Unreachable(reason));
                if engine.send(news).await.is_err() {
                    return;
                }
                tokio::time::sleep(outage.wait()).await;
            }
        }
    }
}
