//! Docker's end of the driver: HTTP over a Unix socket that root alone may open.
//!
//! Docker waits for an answer for ever, with the container's lock held, and nobody can look at the
//! container meanwhile: so whatever is waited for here has a deadline.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path as UrlPath, State as Shared};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use ebpf_netns::Rtnl;
use serde_json::Value;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use tracing::{debug, error, info, warn};

use super::driver::{State, facts};
use super::error::CnmError;
use super::ids::Id;
use super::ipam::Ipam;
use super::network::{Endpoint, Network};
use super::protocol::{self, CreateEndpoint, CreateNetwork, OfEndpoint, OfNetwork};
use super::socket::Plugin;
use super::store::{Store, endpoints_at, networks_at};
use super::{ENDPOINTS, NETWORKS, POOLS, links, options};
use crate::endpoint::{EndpointEvent, EndpointFacts, JoinVerdict};
use crate::error::chain;
use crate::event::Event;

/// How long the engine may take: it is quick, unless Docker does not tell who joins.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often rules are put right that others may have changed.
const KEEP: Duration = Duration::from_secs(30);

/// The driver, as it is shared by the calls of Docker.
#[derive(Clone)]
pub struct Driver {
    state: Arc<Mutex<State>>,
    ipam: Arc<Mutex<Ipam>>,
    engine: mpsc::Sender<Event>,
}

/// The endpoints that are there, as earlier drivers made them: also a daemon that drives no network
/// itself has to know what they are to enforce.
#[must_use]
pub fn found() -> Vec<EndpointFacts> {
    let networks: BTreeMap<Id, Network> =
        networks_at(Path::new(NETWORKS)).into_iter().map(|one| (one.id.clone(), one)).collect();
    let endpoints = endpoints_at(Path::new(ENDPOINTS));
    if endpoints.is_empty() {
        return Vec::new();
    }
    let Ok(rtnl) = Rtnl::open() else { return Vec::new() };
    let facts = |endpoint: Endpoint| {
        let network = networks.get(&endpoint.network)?;
        let host = links::host_side(&rtnl, &endpoint).ok().flatten()?;
        Some(facts(&endpoint, network, host))
    };
    endpoints.into_iter().filter_map(facts).collect()
}

/// Answers Docker until the future is dropped, or the socket fails. `bridges` are those of Docker's own
/// networks.
///
/// # Errors
///
/// When what an earlier driver made cannot be taken over, or the socket fails.
pub async fn serve(
    plugin: Plugin,
    engine: mpsc::Sender<Event>,
    bridges: watch::Receiver<BTreeSet<String>>,
) -> Result<(), CnmError> {
    let Plugin { listener, place } = plugin;
    let store = Store::open(Path::new(NETWORKS), Path::new(ENDPOINTS), Path::new(POOLS))?;
    let ipam = Ipam::open(store.clone())?;
    let state = spawn_blocking(|| State::open(store)).await.map_err(|_panic| CnmError::Bug)??;
    let (state, ipam) = (Arc::new(Mutex::new(state)), Arc::new(Mutex::new(ipam)));
    let driver = Driver { state, ipam, engine };
    let router = Router::new().route("/{call}", post(handle)).with_state(driver.clone());
    info!(socket = %place.0.display(), "Docker may ask the network driver");
    let served = tokio::select! {
        served = axum::serve(listener, router) => served,
        () = driver.keep(bridges) => Ok(()),
    };
    served.map_err(|source| CnmError::File { what: "serve", path: place.0.clone(), source })
}

async fn handle(
    Shared(driver): Shared<Driver>,
    UrlPath(call): UrlPath<String>,
    body: Bytes,
) -> Response {
    debug!(call, "Docker asks");
    let (status, answer) = match driver.answer(&call, &body).await {
        Ok(Some(answer)) => (StatusCode::OK, answer),
        Ok(None) => (StatusCode::NOT_FOUND, protocol::failed("not implemented")),
        Err(failure) => {
            let sentence = chain(&failure);
            error!(call, error = sentence, "Docker is refused");
            (StatusCode::INTERNAL_SERVER_ERROR, protocol::failed(&sentence))
        }
    };
    (status, [(CONTENT_TYPE, protocol::CONTENT_TYPE)], answer.to_string()).into_response()
}

impl Driver {
    /// The answer to a call; `None` if there is no such call.
    async fn answer(&self, call: &str, body: &[u8]) -> Result<Option<Value>, CnmError> {
        let done = protocol::done;
        let answer = match call {
            "Plugin.Activate" => protocol::activated(),
            "NetworkDriver.GetCapabilities" => protocol::capabilities(),
            "NetworkDriver.CreateNetwork" => self.create_network(protocol::read(body)?).await?,
            "NetworkDriver.DeleteNetwork" => {
                let OfNetwork { network } = protocol::read(body)?;
                let id = Id::try_from(network)?;
                self.with(move |state| state.delete_network(&id)).await.map(|()| done())?
            }
            "NetworkDriver.CreateEndpoint" => self.create_endpoint(protocol::read(body)?).await?,
            "NetworkDriver.DeleteEndpoint" => {
                let id = endpoint_of(body)?;
                self.with(move |state| state.delete_endpoint(&id)).await.map(|()| done())?
            }
            "NetworkDriver.EndpointOperInfo" => {
                let id = endpoint_of(body)?;
                protocol::oper_info(&self.with(move |state| state.ports(&id)).await?)
            }
            "NetworkDriver.Join" => self.join(endpoint_of(body)?).await?,
            "NetworkDriver.ProgramExternalConnectivity" => {
                let OfEndpoint { endpoint, options } = protocol::read(body)?;
                let (id, wishes) = (Id::try_from(endpoint)?, options::ports(options)?);
                self.with(move |state| state.publish(&id, &wishes)).await.map(|()| done())?
            }
            "NetworkDriver.RevokeExternalConnectivity" => {
                let id = endpoint_of(body)?;
                self.with(move |state| state.unpublish(&id)).await.map(|()| done())?
            }
            "NetworkDriver.Leave"
            | "NetworkDriver.DiscoverNew"
            | "NetworkDriver.DiscoverDelete" => done(),
            _ if call.starts_with("IpamDriver.") => return self.answer_ipam(call, body).await,
            "NetworkDriver.AllocateNetwork" | "NetworkDriver.FreeNetwork" => {
                return Err(CnmError::Refused(
                    "networks of this driver are of one machine: leave out --scope swarm"
                        .to_owned(),
                ));
            }
            _ => return Ok(None),
        };
        Ok(Some(answer))
    }

    async fn create_network(&self, call: CreateNetwork) -> Result<Value, CnmError> {
        let network = options::network(call)?;
        self.check(network.options.labels.clone()).await?;
        self.with(move |state| state.create_network(&network)).await?;
        Ok(protocol::done())
    }

    /// The host's side is closed before it is plugged in: the first frame meets the policy.
    async fn create_endpoint(&self, call: CreateEndpoint) -> Result<Value, CnmError> {
        let (endpoint, mac_is_ours) = options::endpoint(call)?;
        self.check(endpoint.labels.clone()).await?;
        let (id, mac) = (endpoint.id.clone(), endpoint.mac.to_string());
        let facts = self.with(move |state| state.make_endpoint(endpoint)).await?;
        let armed = self.ask(|reply| EndpointEvent::Arm { endpoint: facts, reply }).await;
        let plugged = match armed {
            Ok(()) => {
                let id = id.clone();
                self.with(move |state| state.plug(&id)).await
            }
            refused => refused,
        };
        if let Err(failure) = plugged {
            if let Err(error) = self.with(move |state| state.delete_endpoint(&id)).await {
                warn!(error = chain(&error), "an endpoint that failed could not be removed");
            }
            return Err(failure);
        }
        Ok(protocol::endpoint_created(mac_is_ours.then_some(mac)))
    }

    /// A sandbox gets the endpoint once what is demanded there stands.
    async fn join(&self, id: Id) -> Result<Value, CnmError> {
        let joined = self.with(move |state| state.join(&id)).await?;
        let busy = JoinVerdict::Undecided("it is busy".to_owned());
        let (reply, mut verdict) = watch::channel(busy);
        let (host, engine) = (joined.host, &self.engine);
        let decided = async {
            let asked = Event::Endpoint(EndpointEvent::Join { host, reply });
            if engine.send(asked).await.is_ok() {
                // An engine that ends says nothing more: the last word stands.
                verdict.wait_for(JoinVerdict::is_final).await.ok();
            }
        };
        timeout(PATIENCE, decided).await.ok();
        let last = verdict.borrow().clone();
        match last {
            JoinVerdict::Stands | JoinVerdict::NothingAsked => Ok(protocol::joined(&joined)),
            JoinVerdict::Closed(reason) => {
                info!(%host, reason, "joined by who is not known yet: closed until then");
                Ok(protocol::joined(&joined))
            }
            JoinVerdict::Refused(reason) => Err(CnmError::Refused(reason)),
            JoinVerdict::Undecided(reason) => Err(CnmError::Late(PATIENCE.as_secs(), reason)),
        }
    }

    /// Whether the engine understands options that are written as labels are.
    async fn check(&self, options: BTreeMap<String, String>) -> Result<(), CnmError> {
        if options.is_empty() {
            return Ok(());
        }
        self.ask(|reply| EndpointEvent::Check { options, reply }).await
    }

    pub(super) async fn ask(
        &self,
        question: impl FnOnce(oneshot::Sender<Result<(), String>>) -> EndpointEvent,
    ) -> Result<(), CnmError> {
        let (reply, answer) = oneshot::channel();
        let asked = async {
            self.engine.send(Event::Endpoint(question(reply))).await.ok()?;
            answer.await.ok()
        };
        match timeout(PATIENCE, asked).await {
            Ok(Some(answer)) => answer.map_err(CnmError::Refused),
            _ => Err(CnmError::Late(PATIENCE.as_secs(), "it is busy".to_owned())),
        }
    }

    /// Does something that waits for the kernel or the disk, one at a time.
    async fn with<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut State) -> Result<T, CnmError> + Send + 'static,
    ) -> Result<T, CnmError> {
        locked(&self.state, work).await
    }

    /// As [`Self::with`], with pools of addresses.
    pub(super) async fn with_ipam<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Ipam) -> Result<T, CnmError> + Send + 'static,
    ) -> Result<T, CnmError> {
        locked(&self.ipam, work).await
    }

    /// Keeps the rules as they should be, whatever others do. Never returns.
    async fn keep(&self, mut bridges: watch::Receiver<BTreeSet<String>>) {
        loop {
            let foreign = bridges.borrow_and_update().clone();
            let kept = self.with(move |state| {
                state.set_foreign(foreign)?;
                state.write_rules()
            });
            if let Err(error) = kept.await {
                warn!(
                    error = chain(&error),
                    "the network driver's rules are not as they should be"
                );
            }
            // An engine that has ended is noticed elsewhere.
            if let Ok(Err(_ended)) = timeout(KEEP, bridges.changed()).await {
                std::future::pending::<()>().await;
            }
        }
    }
}

async fn locked<S: Send + 'static, T: Send + 'static>(
    shared: &Arc<Mutex<S>>,
    work: impl FnOnce(&mut S) -> Result<T, CnmError> + Send + 'static,
) -> Result<T, CnmError> {
    let shared = Arc::clone(shared);
    let work = move || work(&mut shared.lock().unwrap_or_else(PoisonError::into_inner));
    spawn_blocking(work).await.map_err(|_panic| CnmError::Bug)?
}

fn endpoint_of(body: &[u8]) -> Result<Id, CnmError> {
    let OfEndpoint { endpoint, options: _ } = protocol::read(body)?;
    Ok(Id::try_from(endpoint)?)
}
