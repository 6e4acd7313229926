//! One connection to Docker, from connecting to losing it.

use std::collections::HashMap;
use std::pin::pin;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bollard::errors::Error as BollardError;
use bollard::models::{EventMessage, EventMessageTypeEnum};
use bollard::query_parameters::EventsOptionsBuilder;
use ebpf_netns::docker::{Docker, DockerError, Endpoint, connect_to};
use futures_util::{Stream, StreamExt as _};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use super::book::{Book, Hint};
use crate::error::chain;
use crate::event::{DockerNews, Event};
use crate::facts::Snapshot;
use crate::look::Look;

/// How often everything is looked at again, whatever the events say.
const RECONCILE: Duration = Duration::from_secs(30);
/// How long a whole look may take: the client bounds the time until an answer begins, not its end.
const ANSWER: Duration = Duration::from_secs(30);
/// How soon a container that could not be inspected is tried again.
const RETRY: Duration = Duration::from_millis(250);
/// Hints that wait to be read; beyond, Docker has to wait.
const HINTS: usize = 1024;

/// How a connection ended.
pub(super) enum End {
    /// There was none.
    NeverBegan(String),
    /// It was lost.
    Lost(String),
    /// Nobody listens to the news.
    Unheard,
}

pub(super) async fn run(endpoint: &Endpoint, look: &Look, engine: &mpsc::Sender<Event>) -> End {
    let docker = match connect_to(endpoint.clone()).await {
        Ok(docker) => docker,
        Err(error) => return End::NeverBegan(chain(&error)),
    };
    let version = docker.client().client_version().to_string();
    if engine.send(Event::Docker(DockerNews::Connected(version))).await.is_err() {
        return End::Unheard;
    }
    let (sender, hints) = mpsc::channel(HINTS);
    // Subscribing comes before listing; what happened since this instant is told again.
    let events = docker.client().events(Some(options(SystemTime::now())));
    let reader = forward(events, sender);
    tokio::select! {
        reason = reader => End::Lost(reason),
        end = observe(&docker, hints, look, engine) => end,
    }
}

/// Lists and tells, again after each hint.
async fn observe(
    docker: &Docker,
    mut hints: mpsc::Receiver<Hint>,
    look: &Look,
    engine: &mpsc::Sender<Event>,
) -> End {
    let mut book = Book::default();
    let mut tick = interval(RECONCILE);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    tick.reset();
    let mut end: fn(String) -> End = End::NeverBegan;
    loop {
        match timeout(ANSWER, look_again(&mut book, docker, look, engine)).await {
            Ok(Ok(())) => end = End::Lost,
            Ok(Err(Trouble::Unheard)) => return End::Unheard,
            Ok(Err(Trouble::Docker(error))) => return end(chain(&error)),
            Err(_elapsed) => return end("Docker does not finish its answers".to_owned()),
        }
        tokio::select! {
            hint = hints.recv() => {
                let Some(hint) = hint else { return End::Lost("the events ended".to_owned()) };
                book.note(hint);
                while let Ok(hint) = hints.try_recv() {
                    book.note(hint);
                }
            }
            () = look.wait() => book.note(Hint::Networks),
            () = sleep(RETRY), if book.is_incomplete() => {}
            _ = tick.tick() => book.note(Hint::Everything),
        }
    }
}

/// Why another look failed.
enum Trouble {
    Docker(DockerError),
    Unheard,
}

/// Lists and tells, and tells again what takes longer to learn: nobody who starts has to wait until
/// those who run are described.
async fn look_again(
    book: &mut Book,
    docker: &Docker,
    look: &Look,
    engine: &mpsc::Sender<Event>,
) -> Result<(), Trouble> {
    let as_of = look.asked();
    let tell = |containers| async move {
        let snapshot = Snapshot { as_of, containers, ..Snapshot::default() };
        let news = Event::Docker(DockerNews::Seen(snapshot));
        engine.send(news).await.map_err(|_closed| Trouble::Unheard)
    };
    book.list(docker).await.map_err(Trouble::Docker)?;
    tell(book.facts()).await?;
    if book.describe(docker).await {
        tell(book.facts()).await?;
    }
    Ok(())
}

/// Turns events into hints until the stream ends; returns why it did.
async fn forward(
    events: impl Stream<Item = Result<EventMessage, BollardError>>,
    hints: mpsc::Sender<Hint>,
) -> String {
    let mut events = pin!(events);
    while let Some(event) = events.next().await {
        match event {
            Ok(event) => {
                if hints.send(hint(event)).await.is_err() {
                    return "nobody reads the hints".to_owned();
                }
            }
            Err(error) => return chain(&error),
        }
    }
    "Docker closed the stream of events".to_owned()
}

/// Of an event, only whom it is about is used.
fn hint(event: EventMessage) -> Hint {
    let actor = event.actor.unwrap_or_default();
    match event.typ {
        Some(EventMessageTypeEnum::CONTAINER) => actor.id.map_or(Hint::Everything, Hint::Container),
        Some(EventMessageTypeEnum::NETWORK) => {
            match actor.attributes.and_then(|mut attributes| attributes.remove("container")) {
                Some(container) => Hint::Endpoint(container),
                None => Hint::Networks,
            }
        }
        _ => Hint::Everything,
    }
}

fn options(since: SystemTime) -> bollard::query_parameters::EventsOptions {
    let since = since.duration_since(UNIX_EPOCH).unwrap_or_default();
    let filters = HashMap::from([
        ("type", vec!["container", "network"]),
        (
            "event",
            vec![
                "create",
                "start",
                "die",
                "stop",
                "destroy",
                "rename",
                "pause",
                "unpause",
                "connect",
                "disconnect",
            ],
        ),
    ]);
    EventsOptionsBuilder::new().since(&since.as_secs().to_string()).filters(&filters).build()
}
