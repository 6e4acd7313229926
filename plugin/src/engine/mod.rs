//! The engine: the one owner of all state of the kernel, on a thread of its own.
//!
//! Sources send events; the engine brings its view of the world up to date, decides for each
//! interface what is to be attached, and has it done. Start-up is the same path. Nothing in here is
//! asynchronous, and nothing waits for Docker.

mod claims;
mod enforce;
mod packets;
mod report;
mod world;

use std::sync::Arc;
use std::time::{Duration, Instant};

use ebpf_netns::monitor::LinkEvent;
use ebpf_netns::{Rtnl, RtnlError};
use tokio::sync::mpsc;
use tracing::{error, info, warn};

use self::world::World;
use crate::event::{DockerNews, Event};
use crate::kernel::Kernel;
use crate::look::Look;
use crate::plan::TcFlavour;

/// Events that wait for the engine; beyond, the sources wait.
pub const QUEUE: usize = 4096;

/// How often everything is looked at again, whether or not an event asked for it.
const RECONCILE: Duration = Duration::from_secs(30);
/// Events that are taken in before anything is decided.
const BATCH: usize = 512;

/// The engine.
pub struct Engine {
    kernel: Kernel,
    rtnl: Rtnl,
    tc: TcFlavour,
    world: World,
    /// Asks the Docker source to look again.
    look: Arc<Look>,
}

impl Engine {
    /// Takes over the kernel. Must be called on the thread that will [`run`](Self::run) it.
    ///
    /// # Errors
    ///
    /// When rtnetlink does not answer.
    pub fn new(kernel: Kernel, tc: TcFlavour, look: Arc<Look>) -> Result<Self, RtnlError> {
        let rtnl = Rtnl::open()?;
        Ok(Self { kernel, rtnl, tc, world: World::default(), look })
    }

    /// Works until it is told to stop or the sources are gone, and then detaches everything.
    pub fn run(mut self, events: &mut mpsc::Receiver<Event>) {
        self.list_links();
        let mut looked = Instant::now();
        while let Some(first) = events.blocking_recv() {
            let mut asked = Vec::new();
            let mut next = Some(first);
            let mut stop = false;
            for _ in 0..BATCH {
                match next {
                    Some(Event::Docker(news)) => self.learn(news),
                    Some(Event::Links(changes)) => self.links_changed(changes),
                    Some(Event::Packet(record)) => packets::log(&record, &self.world),
                    Some(Event::Status(reply)) => asked.push(reply),
                    Some(Event::Tick) => {}
                    Some(Event::Stop) => stop = true,
                    None => break,
                }
                next = events.try_recv().ok();
            }
            if stop {
                break;
            }
            if looked.elapsed() >= RECONCILE {
                self.list_links();
                looked = Instant::now();
            }
            self.reconcile();
            for reply in asked {
                // Whoever asked may have gone.
                reply.send(self.status()).ok();
            }
        }
        self.release_everything();
    }

    fn learn(&mut self, news: DockerNews) {
        match news {
            DockerNews::Connected(version) => {
                info!(api = version, "connected to Docker");
                self.world.docker = Some(Ok(version));
            }
            DockerNews::Unreachable(reason) => self.world.docker = Some(Err(reason)),
            DockerNews::Seen(snapshot) => self.world.set_containers(snapshot.containers),
        }
    }

    fn links_changed(&mut self, changes: Vec<LinkEvent>) {
        for change in changes {
            match change {
                LinkEvent::Changed(link) => {
                    if self.world.link_changed(&link) {
                        self.look.ask();
                    }
                }
                LinkEvent::Removed(ifindex) => {
                    if self.world.link_removed(ifindex) {
                        self.enforce(ifindex, None);
                    }
                }
                LinkEvent::Overrun => {
                    warn!("news of links was lost: listing them again");
                    self.list_links();
                }
            }
        }
    }

    /// Takes every link of the host as it is now, and puts everything in doubt.
    fn list_links(&mut self) {
        match self.rtnl.links() {
            Ok(links) => {
                for gone in self.world.set_links(links) {
                    self.enforce(gone, None);
                }
                self.look.ask();
            }
            Err(error) => error!(%error, "links could not be listed: trying again later"),
        }
    }

    /// Looks at what is in doubt, decides, and acts.
    fn reconcile(&mut self) {
        self.look_at_doubtful_containers();
        for (ifindex, wanted) in self.world.wanted() {
            self.enforce(ifindex, wanted);
        }
    }
}
