//! The daemon's end of the control socket.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fs::{self, File, Permissions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, FileTypeExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use ebpf_netns::Ifindex;
use futures_util::stream::unfold;
use tokio::net::UnixListener;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::serve_capture;
use super::{
    EXPLAIN_PATH, MAY_START_PATH, RELOAD_PATH, STATUS_PATH, STATUS_WITH_RULES_PATH, TRACE_PATH,
};
use crate::capture;
use crate::event::Event;
use crate::explain::{self, Answer, ExplainAsked};
use crate::kernel::HitCounters;
use crate::listing::StandingRules;
use crate::metrics::{self, Sampler};
use crate::reload::Reply;
use crate::start::{Question, StartAsked, Verdict};
use crate::trace::{self, Hub, Listener};

/// How long the engine may take to answer: an attachment takes it milliseconds.
const ANSWER: Duration = Duration::from_secs(10);
/// The largest question, in bytes: a frame is written as up to four for each of its own.
const LARGEST_QUESTION: usize = 64 << 10;

/// The control socket could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// Another daemon has it.
    #[error(
        "another ebpf-netns-plugin runs already (it holds {}): stop it, or give this one another \
         --control-socket",
        path.display()
    )]
    Taken {
        /// The lock file.
        path: PathBuf,
    },
    /// A file could not be made or removed.
    #[error("{what} {}", path.display())]
    File {
        /// What was being done.
        what: &'static str,
        /// To which file.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
}

/// The socket, with the lock that makes it ours.
#[derive(Debug)]
pub struct Control {
    listener: UnixListener,
    path: PathBuf,
    _lock: File,
}

/// Makes the socket; a lock beside it keeps a second daemon out. Must run within a tokio runtime.
///
/// # Errors
///
/// When another daemon runs, or a file cannot be made.
pub fn bind(path: &Path) -> Result<Control, ServerError> {
    let failed = |what, path: &Path| {
        let path = path.to_path_buf();
        move |source| ServerError::File { what, path, source }
    };
    if let Some(directory) = path.parent() {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)
            .map_err(failed("make directory", directory))?;
    }
    let lock_path = path.with_extension("lock");
    let lock = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&lock_path)
        .map_err(failed("open", &lock_path))?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(ServerError::Taken { path: lock_path }),
        Err(TryLockError::Error(source)) => {
            return Err(ServerError::File { what: "lock", path: lock_path, source });
        }
    }
    // The lock is ours: a socket that is still there is a dead daemon's.
    match fs::symlink_metadata(path) {
        Ok(there) if there.file_type().is_socket() => {
            fs::remove_file(path).map_err(failed("remove", path))?;
        }
        // Anything else is somebody's: binding refuses it.
        _ => {}
    }
    let listener = UnixListener::bind(path).map_err(failed("listen at", path))?;
    fs::set_permissions(path, Permissions::from_mode(0o600))
        .map_err(failed("set the permissions of", path))?;
    Ok(Control { listener, path: path.to_path_buf(), _lock: lock })
}

/// Where answers come from.
pub struct Answers {
    /// The engine.
    pub engine: mpsc::Sender<Event>,
    /// Who loads the configuration again.
    pub reloads: mpsc::Sender<Reply>,
    /// What each rule decided over.
    pub hits: HitCounters,
    /// Who measures.
    pub sampler: Sampler,
    /// Where it is heard what becomes of packets.
    pub hub: Hub,
    /// Who captures.
    pub captures: capture::Hub,
}

/// Answers until the future is dropped, or the socket fails.
///
/// # Errors
///
/// When the socket fails.
pub async fn serve(control: Control, answers: Answers) -> io::Result<()> {
    let Answers { engine, reloads, hits, sampler, hub, captures } = answers;
    let Control { listener, path, _lock } = control;
    let _remove = RemoveOnDrop(path);
    let reload = axum::Router::new().route(RELOAD_PATH, post(reload)).with_state(reloads);
    let counted = Counted { engine: engine.clone(), hits: Arc::new(hits) };
    let traces = axum::Router::new()
        .route(TRACE_PATH, post(follow).layer(DefaultBodyLimit::max(LARGEST_QUESTION)))
        .with_state((engine.clone(), hub));
    let with_rules =
        axum::Router::new().route(STATUS_WITH_RULES_PATH, get(rules)).with_state(counted);
    let router = axum::Router::new()
        .route(STATUS_PATH, get(answer))
        .route(MAY_START_PATH, post(may_start))
        .route(EXPLAIN_PATH, post(explain).layer(DefaultBodyLimit::max(LARGEST_QUESTION)))
        .with_state(engine)
        .merge(axum::Router::new().route(metrics::PATH, get(measures)).with_state(sampler))
        .merge(with_rules)
        .merge(traces)
        .merge(serve_capture::router(captures))
        .merge(reload);
    axum::serve(listener, router).await
}

async fn answer(State(engine): State<mpsc::Sender<Event>>) -> Response {
    let (reply, answer) = oneshot::channel();
    let asked = engine.send(Event::Status(reply)).await.is_ok();
    match timeout(ANSWER, answer).await {
        Ok(Ok(status)) if asked => Json(status).into_response(),
        _ => (StatusCode::SERVICE_UNAVAILABLE, "the engine does not answer").into_response(),
    }
}

async fn measures(State(sampler): State<Sampler>) -> Response {
    match timeout(ANSWER, sampler.text()).await {
        Ok(Some(text)) => ([(CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response(),
        _ => (StatusCode::SERVICE_UNAVAILABLE, "the engine does not answer").into_response(),
    }
}

/// What it takes to tell what each rule decided over.
#[derive(Clone)]
struct Counted {
    engine: mpsc::Sender<Event>,
    hits: Arc<HitCounters>,
}

async fn rules(State(Counted { engine, hits }): State<Counted>) -> Response {
    let (reply, status) = oneshot::channel();
    let (rules_reply, rules) = oneshot::channel();
    let asked = async {
        engine.send(Event::Status(reply)).await.ok()?;
        let status = status.await.ok()?;
        engine.send(Event::Rules(rules_reply)).await.ok()?;
        Some((status, rules.await.ok()?))
    };
    let Ok(Some((mut status, rules))) = timeout(ANSWER, asked).await else {
        return (StatusCode::SERVICE_UNAVAILABLE, "the engine does not answer").into_response();
    };
    // As many reads of maps as there are rules.
    let told = spawn_blocking(move || {
        let rules: BTreeMap<Ifindex, StandingRules> =
            rules.into_iter().map(|standing| (standing.ifindex, standing)).collect();
        for interface in status.containers.iter_mut().flat_map(|one| &mut one.interfaces) {
            let host = interface.host.as_ref().and_then(|host| rules.get(&host.ifindex));
            if let Some(StandingRules { first_counter, listing, .. }) = host {
                interface.rules = listing.status(|counter| hits.get(first_counter + counter));
            }
        }
        status
    });
    match told.await {
        Ok(status) => Json(status).into_response(),
        Err(_panic) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// Answers as soon as there is a final verdict, and else with the last one when the asker's patience
/// ends. When the asker goes away first, so does this, and with it the engine's interest.
async fn may_start(
    State(engine): State<mpsc::Sender<Event>>,
    Json(question): Json<Question>,
) -> Json<Verdict> {
    let Question { container: id, patience_ms } = question;
    let busy = "the daemon is busy and has not looked at it yet".to_owned();
    let (reply, mut verdict) = watch::channel(Verdict::Undecided { reason: busy });
    let decided = async {
        if engine.send(Event::Start(StartAsked { id, reply })).await.is_ok() {
            // An engine that ends says nothing more: the last word stands.
            verdict.wait_for(Verdict::is_final).await.ok();
        }
    };
    timeout(Duration::from_millis(patience_ms), decided).await.ok();
    let last = verdict.borrow().clone();
    Json(last)
}

/// What should become of a packet. The engine looks up; what follows from that is found out here.
async fn explain(
    State(engine): State<mpsc::Sender<Event>>,
    Json(question): Json<explain::Question>,
) -> Response {
    let (reply, subject) = oneshot::channel();
    let container = question.container.clone();
    let asked = async {
        engine.send(Event::Explain(ExplainAsked { container, reply })).await.ok()?;
        subject.await.ok()
    };
    let Ok(Some(subject)) = timeout(ANSWER, asked).await else {
        return (StatusCode::SERVICE_UNAVAILABLE, "the engine does not answer").into_response();
    };
    let answer = match subject.and_then(|subject| explain::case(&question, &subject)) {
        Ok(case) => Answer::Case(Box::new(case)),
        Err(refused) => Answer::Refused(refused),
    };
    Json(answer).into_response()
}

/// What becomes of packets, for as long as the asker takes it: the next piece is made when the one
/// before was taken, and what ends when the asker goes away ends the watch.
async fn follow(
    State((engine, hub)): State<(mpsc::Sender<Event>, Hub)>,
    Json(question): Json<trace::Question>,
) -> Response {
    let listener = match timeout(ANSWER, Listener::open(question, &engine, &hub)).await {
        Ok(Some(Ok(listener))) => listener,
        Ok(Some(Err(refused))) => return (StatusCode::CONFLICT, Json(refused)).into_response(),
        _ => {
            return (StatusCode::SERVICE_UNAVAILABLE, "the engine does not answer").into_response();
        }
    };
    let pieces = unfold(listener, |mut listener| async move {
        let piece = listener.next().await?;
        Some((Ok::<_, Infallible>(piece), listener))
    });
    ([(CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(pieces)).into_response()
}

async fn reload(State(reloads): State<mpsc::Sender<Reply>>) -> Response {
    let (reply, outcome) = oneshot::channel();
    let asked = reloads.send(reply).await.is_ok();
    match timeout(ANSWER, outcome).await {
        Ok(Ok(outcome)) if asked => Json(outcome).into_response(),
        _ => (StatusCode::SERVICE_UNAVAILABLE, "the engine does not answer").into_response(),
    }
}

struct RemoveOnDrop(PathBuf);

impl Drop for RemoveOnDrop {
    fn drop(&mut self) {
        // Someone else may have removed it, which is as good.
        fs::remove_file(&self.0).ok();
    }
}
