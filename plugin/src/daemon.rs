//! The daemon: starts the sources and the engine, and ends them in order.

use std::collections::BTreeSet;
use std::io;
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, SystemTime};

use ebpf_netns::docker::Endpoint;
use ebpf_netns::monitor::MonitorError;
use plugin_common::report::{FOR_LOG, FOR_WATCH, PacketRecord};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::sleep;
use tracing::{error, info};

use crate::capture;
use crate::cnm::{self, CnmError};
use crate::config::{Config, Place};
use crate::control::{self, ServerError};
use crate::docker;
use crate::endpoint::{EndpointEvent, EndpointFacts};
use crate::engine::{Engine, EngineError, Parts, QUEUE};
use crate::error::chain;
use crate::event::Event;
use crate::kernel::{Kernel, LoadError, PacketEvents, Pins, PinsError, Programs};
use crate::links;
use crate::look::Look;
use crate::metrics::{self, Sampler};
use crate::plan::TcFlavour;
use crate::records::Records;
use crate::reload;
use crate::sandbox::{self, Sandbox, SandboxError};
use crate::service;
use crate::sweeper;
use crate::tally::Tally;
use crate::trace::{self, Heard, Hub};

/// How soon what failed is tried again.
const TICK: Duration = Duration::from_secs(1);

/// What the daemon is told.
#[derive(Debug)]
pub struct Options {
    /// The Docker engine.
    pub docker: Endpoint,
    /// Where to listen for questions.
    pub control_socket: PathBuf,
    /// The programs.
    pub programs: Programs,
    /// The directory of the operator's programs.
    pub own_programs: PathBuf,
    /// Where to pin what is attached, in the BPF file system.
    pub pins: Pins,
    /// Where to write down what is attached.
    pub state: PathBuf,
    /// Where the configuration is loaded from again.
    pub place: Place,
    /// The configuration.
    pub config: Config,
    /// Which ways to attach at TC may be used, whatever the configuration says.
    pub tc: Option<TcFlavour>,
    /// Strict mode, and the bridges that it governs: Docker's if none are named.
    pub strict: Option<Vec<String>>,
    /// Where metrics are asked for, beside the control socket.
    pub metrics: Option<TcpListener>,
    /// Where Docker asks the network driver, if there is to be one.
    pub driver: Option<PathBuf>,
    /// Endpoints that an earlier daemon's driver made.
    pub endpoints: Vec<EndpointFacts>,
    /// Counts what the engine does not.
    pub tally: Arc<Tally>,
}

/// The daemon could not start, or could not go on.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// The kernel programs could not be loaded.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// What is attached could not be pinned.
    #[error(transparent)]
    Pins(#[from] PinsError),
    /// The control socket could not be made.
    #[error(transparent)]
    Control(#[from] ServerError),
    /// The network driver's socket could not be made.
    #[error("the network driver")]
    Driver(#[from] CnmError),
    /// The engine cannot start.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The process could not give up what it is to give up.
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    /// Link events cannot be had.
    #[error(transparent)]
    Monitor(#[from] MonitorError),
    /// The system refuses something that everything needs.
    #[error("{what}")]
    System {
        /// What.
        what: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A source of events ended by itself: a bug.
    #[error("a source of events ended unexpectedly")]
    SourceEnded,
    /// The engine ended by itself: a bug.
    #[error("the engine ended unexpectedly")]
    EngineEnded,
}

/// Runs until SIGINT or SIGTERM. What is attached stays attached.
///
/// # Errors
///
/// When it cannot start, or an essential part fails.
pub async fn run(options: Options, sandbox: Sandbox) -> Result<(), DaemonError> {
    let started = SystemTime::now();
    let control = control::bind(&options.control_socket)?;
    let driver = options.driver.as_deref().map(cnm::bind).transpose()?;
    let stop = stop_signal()?;
    let hangups = listen(SignalKind::hangup())?;
    let (mut kernel, packets) = Kernel::new(options.programs, options.pins)?;
    kernel.load_from(options.own_programs)?;
    let hits = kernel.hit_counters()?;
    let traffic = kernel.traffic_counters()?;
    let paces = kernel.pace_counters()?;
    let hub = Hub::default();
    let captures = kernel.captures()?;
    let (events, receiver) = mpsc::channel(QUEUE);
    let look = Arc::new(Look::default());
    // Subscribing comes before listing, which the engine does first.
    let links = links::watch(events.clone())?;
    let records = Records::open(&options.state)
        .map_err(|source| DaemonError::System { what: "start the records' thread", source })?;
    let Options { config, tc, strict, tally, .. } = options;
    let own = events.downgrade();
    let (tell_bridges, bridges) = watch::channel(BTreeSet::new());
    let parts = Parts {
        kernel,
        records,
        config,
        tc,
        strict,
        look: Arc::clone(&look),
        own,
        bridges: tell_bridges,
    };
    let engine = start_engine(parts, receiver)?;
    // Before a word of Docker's, which may be that nobody has a policy there.
    for endpoint in options.endpoints {
        events.send(Event::Endpoint(EndpointEvent::Found(endpoint))).await.ok();
    }
    // The two threads that close new interfaces keep what they were started with.
    sandbox::come_in_turn();
    let confined = Event::Confined(sandbox.seal()?);
    // An engine that has ended is noticed below.
    events.send(confined).await.ok();

    let mut sources = JoinSet::new();
    let gone = links.gone();
    sources.spawn(links.ended());
    sources.spawn(docker::watch(options.docker, look, events.clone(), Arc::clone(&tally)));
    sources.spawn(tick(events.clone()));
    // Enforcement goes on without these.
    let mut helpers = JoinSet::new();
    helpers.spawn(async move { sweeper::run(&gone).await });
    let told = Told { engine: events.clone(), hub: hub.clone(), tally: Arc::clone(&tally) };
    helpers.spawn(watch_packets(packets, told));
    helpers.spawn(trace::count_kept_back(paces, hub.clone()));
    let measured = metrics::Sources { engine: events.clone(), traffic, tally, started };
    let (sampler, sampling) = metrics::start(measured);
    helpers.spawn(sampling);
    if let Some(listener) = options.metrics {
        helpers.spawn(serve_metrics(listener, sampler.clone()));
    }
    let (reloads, requests) = mpsc::channel(reload::QUEUE);
    helpers.spawn(reload::run(options.place, requests, events.clone()));
    helpers.spawn(reload::on_hangup(hangups, reloads.clone()));
    let captures = capture::Hub::new(events.clone(), captures);
    let answers =
        control::Answers { engine: events.clone(), reloads, hits, sampler, hub, captures };
    helpers.spawn(serve(control, answers));
    if let Some(plugin) = driver {
        helpers.spawn(drive_networks(plugin, events.clone(), bridges));
    }
    helpers.spawn(service::watchdog(events.clone()));
    info!(socket = %options.control_socket.display(), "ready");
    service::ready();

    let ended = tokio::select! {
        () = stop => Ok(()),
        Some(ended) = sources.join_next() => {
            error!(?ended, "a source ended");
            Err(DaemonError::SourceEnded)
        }
        () = events.closed() => Err(DaemonError::EngineEnded),
    };
    service::stopping();
    helpers.shutdown().await;
    sources.shutdown().await;
    // The engine may have ended already.
    events.send(Event::Stop).await.ok();
    engine.await.map_err(|_dropped| DaemonError::EngineEnded)??;
    info!("stopped: what is attached stays attached");
    ended
}

/// Starts the engine on a thread of its own. The receiver tells how it ended, after its last step.
fn start_engine(
    parts: Parts,
    events: mpsc::Receiver<Event>,
) -> Result<oneshot::Receiver<Result<(), DaemonError>>, DaemonError> {
    let (ended, end) = oneshot::channel();
    thread::Builder::new()
        .name("engine".to_owned())
        .spawn(move || {
            let result = Engine::new(parts, events).map(Engine::run).map_err(DaemonError::from);
            // Nobody may be waiting any more.
            ended.send(result).ok();
        })
        .map_err(|source| DaemonError::System { what: "start the engine's thread", source })?;
    Ok(end)
}

fn listen(kind: SignalKind) -> Result<Signal, DaemonError> {
    signal(kind).map_err(|source| DaemonError::System { what: "listen for signals", source })
}

fn stop_signal() -> Result<impl Future<Output = ()>, DaemonError> {
    let mut interrupt = listen(SignalKind::interrupt())?;
    let mut terminate = listen(SignalKind::terminate())?;
    Ok(async move {
        let name = tokio::select! {
            _ = interrupt.recv() => "SIGINT",
            _ = terminate.recv() => "SIGTERM",
        };
        info!(signal = name, "stopping");
    })
}

/// Lets the engine try again what failed.
async fn tick(events: mpsc::Sender<Event>) {
    while events.send(Event::Tick).await.is_ok() {
        sleep(TICK).await;
    }
}

/// Who is told of packets.
struct Told {
    engine: mpsc::Sender<Event>,
    hub: Hub,
    tally: Arc<Tally>,
}

impl Told {
    /// Tells those a record is for; false when the engine is gone. Reports that it has no time for are
    /// dropped: enforcement comes first.
    fn tell(&self, record: PacketRecord) -> bool {
        if record.wanted & FOR_WATCH != 0 {
            self.hub.tell(Heard::Packet(record));
        }
        if record.wanted & FOR_LOG == 0 {
            return true;
        }
        match self.engine.try_send(Event::Packet(record)) {
            Ok(()) => true,
            Err(TrySendError::Full(_)) => {
                self.tally.reports_lost.add(1);
                true
            }
            Err(TrySendError::Closed(_)) => false,
        }
    }
}

async fn watch_packets(packets: PacketEvents, told: Told) {
    if let Err(error) = packets.forward(|record| told.tell(record)).await {
        error!(%error, "reports of packets cannot be read");
    }
}

async fn serve(control: control::Control, answers: control::Answers) {
    if let Err(error) = control::serve(control, answers).await {
        error!(%error, "the control socket failed");
    }
}

async fn drive_networks(
    plugin: cnm::Plugin,
    events: mpsc::Sender<Event>,
    bridges: watch::Receiver<BTreeSet<String>>,
) {
    if let Err(error) = cnm::serve(plugin, events, bridges).await {
        error!(error = chain(&error), "the network driver failed: Docker gets no answer from it");
    }
}

async fn serve_metrics(listener: TcpListener, sampler: Sampler) {
    if let Err(error) = metrics::serve(listener, sampler).await {
        error!(%error, "metrics are not served any more");
    }
}
