//! The engine: the one owner of all state of the kernel, on a thread of its own.
//!
//! Sources send events; the engine brings its view of the world up to date, decides for each
//! interface what is to be attached, and has it done. Start-up is the same path. Nothing in here is
//! asynchronous, and nothing waits for Docker.
//!
//! What is quick is done at once: closing a new veth, and writing a policy that its filters then
//! enforce. What takes the kernel long is done by the kernel's worker, one by one, when nothing has
//! happened for a while; the engine hears of it by an event.

mod claims;
mod config;
mod endpoints;
mod enforce;
mod explain;
mod inbox;
mod long;
mod metrics;
mod newcomers;
mod own;
mod pace;
mod packets;
mod quarantine;
mod repair;
mod report;
mod rules;
mod start_gate;
mod strict;
mod watches;
mod world;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ebpf_netns::monitor::LinkEvent;
use ebpf_netns::{Ifindex, Link, LinkKind, Rtnl, RtnlError};
use tokio::sync::{mpsc, oneshot, watch};
use tracing::{debug, error, info, warn};

use self::config::Operator;
use self::endpoints::Joining;
use self::inbox::{Heard, Inbox};
use self::long::UnderWay;
use self::own::Instances;
use self::pace::Pace;
use self::start_gate::StartGate;
use self::strict::Strict;
use self::watches::Watches;
use self::world::{Wanted, World};
use crate::config::Config;
use crate::error::chain;
use crate::event::{DockerNews, Event};
use crate::explain::ExplainAsked;
use crate::facts::Snapshot;
use crate::gate::{Gate, GateError};
use crate::kernel::Kernel;
use crate::look::Look;
use crate::plan::TcFlavour;
use crate::records::Records;
use crate::sandbox::Confinement;
use crate::status::{Counts, Status};

/// Events that wait for the engine; beyond, the sources wait.
pub const QUEUE: usize = 4096;

/// How often everything is looked at again, whether or not an event asked for it.
const RECONCILE: Duration = Duration::from_secs(30);
/// Events that are taken in before anything is decided.
const BATCH: usize = 512;
/// How long who asks for the status is kept waiting for what is under way.
const UNDER_WAY: Duration = Duration::from_millis(500);

/// What the engine works with.
pub struct Parts {
    /// The loaded programs.
    pub kernel: Kernel,
    /// Where it is written down what is attached.
    pub records: Records,
    /// What the operator wants.
    pub config: Config,
    /// Which ways to attach at TC may be used, whatever the configuration says.
    pub tc: Option<TcFlavour>,
    /// Strict mode, and the bridges that it governs: Docker's if none are named.
    pub strict: Option<Vec<String>>,
    /// Asks the Docker source to look again.
    pub look: Arc<Look>,
    /// Where the engine's own events go, without keeping it waiting for them.
    pub own: mpsc::WeakSender<Event>,
    /// Where it tells which bridges are Docker's, for the network driver.
    pub bridges: watch::Sender<BTreeSet<String>>,
}

/// The engine.
pub struct Engine {
    kernel: Kernel,
    records: Records,
    own_programs: Instances,
    rtnl: Rtnl,
    tc: TcFlavour,
    world: World,
    start_gate: StartGate,
    joining: Vec<Joining>,
    operator: Operator,
    look: Arc<Look>,
    strict: Option<Strict>,
    /// Interfaces on which something that takes long is left to do.
    backlog: BTreeMap<Ifindex, Option<Wanted>>,
    /// What of that the kernel is busy with.
    under_way: Option<UnderWay>,
    /// New interfaces that the kernel is about to close, and whether that is still wanted.
    closing: BTreeMap<Ifindex, bool>,
    pace: Pace,
    /// Interfaces that somebody else may have changed.
    damaged: BTreeSet<Ifindex>,
    /// But for what the records count themselves.
    counts: Counts,
    sandbox: Option<Confinement>,
    asked: Vec<(Instant, oneshot::Sender<Status>)>,
    /// Whether the links have to be listed again, since that failed.
    unlisted: bool,
    watches: Watches,
    inbox: Inbox,
    own: mpsc::WeakSender<Event>,
    bridges: watch::Sender<BTreeSet<String>>,
}

/// The engine cannot start.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// rtnetlink does not answer.
    #[error("ask rtnetlink")]
    Rtnl(#[from] RtnlError),
    /// Strict mode's gate cannot be had.
    #[error("strict mode")]
    Gate(#[from] GateError),
    /// There is no clock to wait by.
    #[error("start the engine's clock")]
    Clock(#[source] io::Error),
}

impl Engine {
    /// Takes over the kernel. Must be called on the thread that will [`run`](Self::run) it.
    ///
    /// # Errors
    ///
    /// When rtnetlink does not answer, or strict mode cannot be had.
    pub fn new(parts: Parts, events: mpsc::Receiver<Event>) -> Result<Self, EngineError> {
        let Parts { kernel, records, config, tc, strict, look, own, bridges } = parts;
        let rtnl = Rtnl::open()?;
        let strict = if let Some(bridges) = strict {
            Some(Strict::start(&bridges, &rtnl.links()?)?)
        } else {
            give_up_gate();
            None
        };
        let operator = Operator::new(tc);
        let tc = operator.flavour(&config);
        let world = World { config: Arc::new(config), ..World::default() };
        let engine = Self {
            kernel,
            records,
            own_programs: Instances::default(),
            rtnl,
            tc,
            strict,
            world,
            operator,
            start_gate: StartGate::default(),
            joining: Vec::new(),
            look,
            backlog: BTreeMap::new(),
            under_way: None,
            closing: BTreeMap::new(),
            pace: Pace::new(Instant::now()),
            damaged: BTreeSet::new(),
            counts: Counts::default(),
            sandbox: None,
            asked: Vec::new(),
            unlisted: false,
            watches: Watches::default(),
            inbox: Inbox::new(events).map_err(EngineError::Clock)?,
            own,
            bridges,
        };
        engine.describe_everyone(false);
        Ok(engine)
    }

    /// Works until it is told to stop or the sources are gone. What is attached stays attached.
    pub fn run(mut self) {
        self.list_links();
        self.inherit();
        let mut looked = Instant::now();
        while let Some(first) = self.next() {
            if !self.take_in(first) {
                break;
            }
            if self.unlisted {
                self.list_links();
            }
            if looked.elapsed() >= RECONCILE {
                self.list_links();
                self.repair_all();
                self.repair_gate();
                looked = Instant::now();
            }
            self.repair_damaged();
            self.doubt_those_who_wait();
            self.reconcile();
            self.answer();
        }
        self.take_watches_off();
        // The worker may be about to tell what it did.
        self.inbox.close();
    }

    /// The next event. What takes long is worked off while nothing happens: whoever plugs an
    /// interface in is not to meet a kernel, or an engine, that is busy with something that can wait.
    fn next(&mut self) -> Option<Event> {
        loop {
            self.pace.waits(!self.backlog.is_empty(), Instant::now());
            let patience = self.patience();
            match self.inbox.next(patience) {
                Heard::Event(event) => return Some(event),
                Heard::End => return None,
                Heard::Nothing => self.work_off(),
            }
            self.answer();
        }
    }

    /// Takes in what waits; false when it is to end.
    fn take_in(&mut self, first: Event) -> bool {
        let mut next = Some(first);
        let mut newest = None;
        for _ in 0..BATCH {
            match next {
                // Whoever was kept waiting may find many, each of them all there is.
                Some(Event::Docker(DockerNews::Seen(snapshot))) => newest = Some(snapshot),
                Some(Event::Docker(news)) => self.learn(news),
                Some(Event::Links(changes)) => self.links_changed(changes),
                Some(Event::Packet(record)) => packets::log(&record, &self.world),
                Some(Event::Confined(confinement)) => self.sandbox = Some(confinement),
                Some(Event::Status(reply)) => self.asked.push((Instant::now(), reply)),
                // Whoever asked may have gone.
                Some(Event::Metrics(reply)) => drop(reply.send(self.sample())),
                Some(Event::Rules(reply)) => drop(reply.send(self.all_standing_rules())),
                Some(Event::Explain(ExplainAsked { container, reply })) => {
                    drop(reply.send(self.subject(&container)));
                }
                Some(Event::Watch(asked)) => self.watch(asked),
                // Reconciling notices.
                Some(Event::Unwatched) => {}
                Some(Event::Start(asked)) => self.start_asked(asked),
                Some(Event::Endpoint(event)) => self.endpoint_told(event),
                Some(Event::Reload(reload)) => self.reload(*reload),
                Some(Event::Done(done)) => self.done(done),
                Some(Event::Guarded(done)) => self.guarded(done),
                Some(Event::Loaded(loaded)) => self.program_loaded(*loaded),
                Some(Event::Tick) => {
                    self.ask_for_newcomers();
                    self.ask_for_those_who_join();
                }
                Some(Event::Stop) => return false,
                None => break,
            }
            next = self.inbox.try_next();
        }
        if let Some(snapshot) = newest {
            self.learn(DockerNews::Seen(snapshot));
        }
        true
    }

    fn learn(&mut self, news: DockerNews) {
        match news {
            DockerNews::Connected(version) => {
                info!(api = version, "connected to Docker");
                self.world.docker = Some(Ok(version));
            }
            DockerNews::Unreachable(reason) => {
                if !matches!(self.world.docker, Some(Err(_))) {
                    self.counts.docker_outages += 1;
                }
                self.world.docker = Some(Err(reason));
            }
            DockerNews::Seen(snapshot) => {
                self.start_gate.seen(&snapshot);
                self.world.endpoints.resolve(&snapshot);
                self.learn_names(&snapshot);
                self.tell_bridges(&snapshot);
                self.world.set_seen(snapshot);
                self.recognise_bystanders();
                self.exempt_foreign_ports();
            }
        }
    }

    /// The network driver keeps its networks apart from Docker's.
    fn tell_bridges(&self, snapshot: &Snapshot) {
        let bridges: BTreeSet<String> = snapshot.bridges.iter().cloned().collect();
        self.bridges.send_if_modified(|known| {
            let news = *known != bridges;
            *known = bridges;
            news
        });
    }

    /// Takes in what waits of news of links: to be called between any two things that may take long,
    /// since they may be of an interface that is to be closed.
    fn hear_of_links(&mut self) {
        while let Some(changes) = self.inbox.links() {
            self.links_changed(changes);
        }
    }

    fn links_changed(&mut self, changes: Vec<LinkEvent>) {
        for change in changes {
            match change {
                LinkEvent::Changed(link) => self.link_changed(&link),
                LinkEvent::Removed(ifindex) => self.link_removed(ifindex),
                LinkEvent::Moved(moved) => {
                    self.link_removed(moved.index);
                    self.follow_newcomer(moved);
                }
                LinkEvent::FiltersChanged(ifindex) => {
                    self.damaged.insert(ifindex);
                }
                LinkEvent::Overrun => {
                    warn!("news of links was lost: listing them again");
                    self.counts.overruns += 1;
                    self.list_links();
                    self.repair_all();
                }
            }
        }
    }

    fn link_removed(&mut self, ifindex: Ifindex) {
        self.pace.stir(Instant::now());
        self.expel(ifindex);
        if self.world.link_removed(ifindex) {
            self.forget(ifindex);
        }
    }

    fn link_changed(&mut self, link: &Link) {
        if !self.world.has_but_for_xdp(link) {
            self.pace.stir(Instant::now());
        }
        let unclaimed = self.world.link_changed(link);
        self.exempt_if_foreign(link);
        if self.world.is_open_endpoint(link) {
            self.world.newcomers.stays_clear(link);
        } else if self.world.is_bystanders_namespace(link.peer_nsid) {
            self.let_bystander_go(link);
        } else if self.world.is_newcomer(link) {
            self.quarantine(link);
        } else {
            self.world.newcomers.stays_clear(link);
        }
        if unclaimed && !self.world.newcomers.is_held(link.index) {
            self.look.ask();
        }
        if self.lost_xdp(link) {
            self.damaged.insert(link.index);
        }
    }

    /// Takes every link of the host as it is now, and puts everything in doubt.
    fn list_links(&mut self) {
        self.unlisted = false;
        match self.rtnl.links() {
            Ok(links) => {
                let veths: Vec<Link> =
                    links.iter().filter(|link| link.kind == LinkKind::Veth).cloned().collect();
                let strict = self.strict.as_ref();
                let closed = |port| strict.is_some_and(|strict| strict.was_closed(port));
                for gone in self.world.set_links(links, closed) {
                    self.forget(gone);
                }
                for veth in veths {
                    self.exempt_if_foreign(&veth);
                    if self.world.is_newcomer(&veth) {
                        self.quarantine(&veth);
                    }
                }
                self.look.ask();
            }
            Err(error) => {
                error!(error = chain(&error), "links could not be listed: trying again");
                self.unlisted = true;
            }
        }
    }

    /// Looks at what is in doubt, decides, and acts.
    fn reconcile(&mut self) {
        self.counts.reconciliations += 1;
        self.look_at_doubtful_containers();
        self.order_programs();
        self.backlog.clear();
        self.watches.look(&self.world);
        for (ifindex, wanted) in self.world.wanted() {
            self.hear_of_links();
            self.enforce(ifindex, wanted);
        }
        self.tell_watchers();
        self.look_at_newcomers();
    }

    /// Tells who asked, once nothing is under way or they have waited for long enough.
    fn answer(&mut self) {
        self.answer_those_who_wait();
        self.answer_those_who_join();
        self.answer_reloads();
        let idle = self.backlog.is_empty() && self.under_way.is_none();
        let due = |(asked, _): &(Instant, _)| idle || asked.elapsed() > UNDER_WAY;
        let (due, waiting): (Vec<_>, _) =
            std::mem::take(&mut self.asked).into_iter().partition(due);
        self.asked = waiting;
        for (_, reply) in due {
            // Whoever asked may have gone.
            reply.send(self.status()).ok();
        }
    }
}

/// Takes away the gate of a daemon that was started in strict mode, which this one is not.
fn give_up_gate() {
    match Gate::open().and_then(|gate| gate.remove()) {
        Ok(true) => info!("not strict any more: the gate is removed"),
        Ok(false) => {}
        // A kernel without nftables has no gate of ours.
        Err(error) => debug!(error = chain(&error), "no gate to remove"),
    }
}
