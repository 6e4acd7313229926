//! One connection to Docker, from connecting to losing it.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use ebpf_netns::docker::Endpoint;
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval, sleep_until, timeout};
use tracing::debug;

use super::answers::Version;
use super::book::Book;
use super::client::{Client, Stream};
use super::error::AskError;
use super::gather::gather;
use super::hint::{Events, Hint};
use super::inspections::{Answer, Inspections};
use super::question::{Question, is_new_enough};
use super::silence::Silence;
use crate::error::chain;
use crate::event::{DockerNews, Event};
use crate::facts::Snapshot;
use crate::look::Look;
use crate::nameservers::{Files, Known};
use crate::tally::Tally;

/// How often everything is looked at again, whatever the events say.
const RECONCILE: Duration = Duration::from_secs(30);
/// How long a whole look may take.
const LOOK: Duration = Duration::from_mins(1);
/// How soon a container that could not be inspected is tried again.
const RETRY: Duration = Duration::from_millis(250);
/// How long hints are gathered before they are followed, at least: a start alone makes four. Who
/// asks for a look does not wait for that.
const PAUSE: Duration = Duration::from_millis(10);
/// Hints that wait to be read; beyond, Docker has to wait.
const HINTS: usize = 1024;

/// How a connection ended.
pub(super) enum End {
    /// Docker does not answer, or not any more, for this reason.
    Lost(String),
    /// Docker says nothing of what happens.
    Silent,
    /// Nobody listens to the news.
    Unheard,
}

impl From<AskError> for End {
    fn from(error: AskError) -> Self {
        Self::Lost(chain(&error))
    }
}

/// What is there before a connection, and after it.
pub(super) struct Around<'a> {
    pub(super) look: &'a Look,
    pub(super) engine: &'a mpsc::Sender<Event>,
    pub(super) tally: &'a Tally,
    pub(super) nameservers: &'a mut Known,
}

/// Connects, and tells what there is and what changes; returns when that ends.
pub(super) async fn run(endpoint: &Endpoint, around: Around<'_>) -> End {
    let client = Arc::new(Client::new(endpoint.clone()));
    // Subscribing comes before listing; what happened since this instant is told again.
    let since = SystemTime::now();
    let (version, stream) = match begin(&client, since).await {
        Ok(begun) => begun,
        Err(error) => return error.into(),
    };
    let (sender, hints) = mpsc::channel(HINTS);
    let observer = Observer {
        around,
        version: Some(version),
        book: Book::default(),
        inspections: Inspections::new(Arc::clone(&client)),
        hints,
        silence: Silence::default(),
        told: None,
        client,
    };
    tokio::select! {
        end = forward(stream, sender) => end,
        end = observer.observe() => end,
    }
}

async fn begin(client: &Client, since: SystemTime) -> Result<(String, Stream), AskError> {
    let Version { api } = client.ask(&Question::version()).await?;
    if api.is_empty() {
        return Err(AskError::NoVersion);
    }
    if !is_new_enough(&api) {
        return Err(AskError::TooOld { found: ebpf_netns::text::printable(&api).to_string() });
    }
    let events = client.listen(&Question::events(since)).await?;
    Ok((api, events))
}

/// Turns events into hints until the stream ends.
async fn forward(mut stream: Stream, hints: mpsc::Sender<Hint>) -> End {
    let mut events = Events::default();
    loop {
        match stream.next().await {
            Ok(Some(piece)) => {
                for hint in events.take(&piece) {
                    if hints.send(hint).await.is_err() {
                        return End::Lost("nobody reads the hints".to_owned());
                    }
                }
            }
            Ok(None) => return End::Lost("Docker closed the stream of events".to_owned()),
            Err(error) => return error.into(),
        }
    }
}

/// Looks, and tells what it sees.
struct Observer<'a> {
    client: Arc<Client>,
    around: Around<'a>,
    /// Docker's version, until it was told.
    version: Option<String>,
    book: Book,
    inspections: Inspections,
    hints: mpsc::Receiver<Hint>,
    silence: Silence,
    /// What was told last.
    told: Option<Snapshot>,
}

/// What made the observer go on.
enum Cause {
    /// Somebody asked for a look, or time has come for one.
    Look,
    /// Time has come to look at everything.
    Everything,
    Hint(Option<Hint>),
    Answer(String, Answer),
    /// Time has come to ask again for descriptions.
    Retry,
    Silence,
}

impl Observer<'_> {
    async fn observe(mut self) -> End {
        let mut tick = interval(RECONCILE);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        tick.reset();
        let mut due = None;
        let mut done = self.look_again().await;
        let mut took = PAUSE;
        loop {
            if let Err(end) = done {
                return end;
            }
            done = match self.next(&mut tick, due).await {
                Cause::Hint(Some(hint)) => {
                    self.hint(hint);
                    self.take_hints();
                    due.get_or_insert_with(|| Instant::now() + took);
                    Ok(())
                }
                Cause::Hint(None) => Err(End::Lost("the events ended".to_owned())),
                Cause::Answer(id, answer) => self.described(id, answer).await,
                Cause::Retry => {
                    self.describe();
                    Ok(())
                }
                Cause::Silence => Err(End::Silent),
                cause @ (Cause::Look | Cause::Everything) => {
                    if let Cause::Everything = cause {
                        self.book.note(Hint::Everything);
                    }
                    due = None;
                    let began = Instant::now();
                    let done = self.look_again().await;
                    // Many events must not keep Docker from everything else.
                    took = began.elapsed().max(PAUSE);
                    done
                }
            };
        }
    }

    /// Waits for the next thing to do; what is urgent comes first.
    async fn next(&mut self, tick: &mut Interval, due: Option<Instant>) -> Cause {
        let silent = self.silence.deadline();
        let retry = self.inspections.is_idle()
            && !self.book.to_describe(self.around.look.wants_everyone()).is_empty();
        let at = |when: Option<Instant>| sleep_until(when.unwrap_or_else(Instant::now));
        tokio::select! {
            biased;
            () = self.around.look.wait() => Cause::Look,
            () = at(due), if due.is_some() => Cause::Look,
            hint = self.hints.recv() => Cause::Hint(hint),
            Some((id, answer)) = self.inspections.next() => Cause::Answer(id, answer),
            _ = tick.tick() => Cause::Everything,
            () = sleep_until(Instant::now() + RETRY), if retry => Cause::Retry,
            () = at(silent), if silent.is_some() => Cause::Silence,
        }
    }

    fn hint(&mut self, hint: Hint) {
        self.silence.heard(Instant::now());
        self.book.note(hint);
    }

    /// Takes all that are there.
    fn take_hints(&mut self) {
        while let Ok(hint) = self.hints.try_recv() {
            self.hint(hint);
        }
    }

    /// Looks and tells, and then has described what takes longer to learn: nobody who starts has to
    /// wait until those who run are described.
    async fn look_again(&mut self) -> Result<(), End> {
        self.take_hints();
        let as_of = self.around.look.asked();
        let known = self.book.networks();
        let gathering = gather(&self.client, &known, self.book.strangers());
        let slow = |_elapsed| End::Lost("Docker does not finish its answers".to_owned());
        let reading = spawn_blocking(|| Files::of_system().read());
        let (gathered, nameservers) = tokio::join!(timeout(LOOK, gathering), reading);
        let gathered = gathered.map_err(slow)??;
        self.around.tally.docker_looked.now();
        if let Ok(nameservers) = nameservers {
            self.around.nameservers.take(nameservers);
        }
        let first = self.told.is_none();
        if self.book.take(gathered, as_of) && !first {
            self.silence.changed(Instant::now());
        }
        self.tell().await?;
        self.describe();
        Ok(())
    }

    /// Asks for the descriptions that are missing.
    fn describe(&mut self) {
        self.inspections.want(self.book.to_describe(self.around.look.wants_everyone()));
        self.begin_inspections();
    }

    fn begin_inspections(&mut self) {
        for id in self.inspections.begin() {
            self.book.asking(&id);
        }
    }

    async fn described(&mut self, id: String, answer: Answer) -> Result<(), End> {
        match answer {
            Ok(description) => self.book.describe(id, description),
            Err(error) => {
                debug!(error = chain(&error), "a container was not described: trying again");
                self.book.unanswered(id);
            }
        }
        self.begin_inspections();
        if self.inspections.is_idle() { self.tell().await } else { Ok(()) }
    }

    /// Tells the engine what is known, if that is news.
    async fn tell(&mut self) -> Result<(), End> {
        let nameservers = self.around.nameservers.nameservers.clone();
        let snapshot = Snapshot { nameservers, ..self.book.snapshot() };
        if self.told.as_ref() == Some(&snapshot) {
            return Ok(());
        }
        let connected = self.version.take().map(DockerNews::Connected);
        let news = [connected, Some(DockerNews::Seen(snapshot.clone()))];
        for news in news.into_iter().flatten() {
            self.around.engine.send(Event::Docker(news)).await.map_err(|_closed| End::Unheard)?;
        }
        self.told = Some(snapshot);
        Ok(())
    }
}
