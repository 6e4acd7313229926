//! One task that measures for all who ask, so that the engine is asked once a second at most,
//! however many and however often they ask, and waits for none of them.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use hyper::body::Bytes;
use tokio::sync::{mpsc, oneshot};
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use tracing::{debug, error};

use super::process::Process;
use super::render::{Outside, render};
use super::sample::Sample;
use crate::error::chain;
use crate::event::Event;
use crate::gate::Gate;
use crate::kernel::TrafficCounters;
use crate::tally::Tally;

/// For how long what was measured is told again.
const FRESH: Duration = Duration::from_secs(1);
/// How long the engine may take to answer.
const ANSWER: Duration = Duration::from_secs(5);
/// Requests that wait; beyond, who asks waits.
const QUEUE: usize = 64;

type Reply = oneshot::Sender<Bytes>;

/// What is measured, and where from.
pub struct Sources {
    /// The engine.
    pub engine: mpsc::Sender<Event>,
    /// The counters of traffic.
    pub traffic: TrafficCounters,
    /// What is counted outside of the engine.
    pub tally: Arc<Tally>,
    /// When the daemon started.
    pub started: SystemTime,
}

/// Gives metrics to whoever asks.
#[derive(Clone, Debug)]
pub struct Sampler(mpsc::Sender<Reply>);

impl Sampler {
    /// The metrics as text; nothing if they cannot be had now.
    pub async fn text(&self) -> Option<Bytes> {
        let (reply, text) = oneshot::channel();
        self.0.send(reply).await.ok()?;
        text.await.ok()
    }
}

/// The sampler, and its work, which is to be run for as long as somebody may ask.
pub fn start(sources: Sources) -> (Sampler, impl Future<Output = ()>) {
    let (sender, requests) = mpsc::channel(QUEUE);
    (Sampler(sender), run(Arc::new(sources), requests))
}

async fn run(sources: Arc<Sources>, mut requests: mpsc::Receiver<Reply>) {
    let mut last: Option<(Instant, Bytes)> = None;
    while let Some(reply) = requests.recv().await {
        // Whoever asked may have gone while another was answered.
        if reply.is_closed() {
            continue;
        }
        last = last.filter(|(at, _)| at.elapsed() < FRESH);
        if last.is_none() {
            last = measure(&sources).await.map(|text| (Instant::now(), text));
        }
        if let Some((_, text)) = &last {
            reply.send(text.clone()).ok();
        }
    }
}

/// Asks the engine, and reads everything else beside it.
async fn measure(sources: &Arc<Sources>) -> Option<Bytes> {
    let began = Instant::now();
    let engine = &sources.engine;
    let queue_length = engine.max_capacity() - engine.capacity();
    let (reply, sample) = oneshot::channel();
    let asked = async {
        engine.send(Event::Metrics(reply)).await.ok()?;
        sample.await.ok()
    };
    let sample = timeout(ANSWER, asked).await.ok().flatten()?;
    let engine_took = began.elapsed();
    let sources = Arc::clone(sources);
    let text = spawn_blocking(move || {
        let outside = outside(&sources, &sample, queue_length, engine_took);
        render(sample, &outside, |at| sources.traffic.get(at))
    });
    match text.await {
        Ok(Ok(text)) => Some(text.into()),
        Ok(Err(error)) => {
            error!(%error, "metrics cannot be written: this is a bug");
            None
        }
        // The runtime is shutting down.
        Err(_cancelled) => None,
    }
}

fn outside(
    sources: &Sources,
    sample: &Sample,
    queue_length: usize,
    engine_took: Duration,
) -> Outside {
    let tally = &sources.tally;
    let gate = sample.strict.then(|| Gate::open().and_then(|gate| gate.dropped()));
    let gate = gate.transpose().unwrap_or_else(|error| {
        debug!(error = chain(&error), "strict mode's gate cannot be read");
        None
    });
    Outside {
        started: sources.started,
        process: Process::read(),
        gate: gate.flatten(),
        queue_length,
        engine_took,
        log_lines_lost: tally.log_lines_lost.get(),
        reports_lost: tally.reports_lost.get(),
        docker_stalls: tally.docker_stalls.get(),
        docker_looked: tally.docker_looked.get(),
    }
}
