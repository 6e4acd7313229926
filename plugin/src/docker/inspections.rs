//! Descriptions of containers that are asked for while everything else goes on: one that is being
//! restarted just now holds its lock, and nobody else is to wait for it.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt as _, StreamExt as _};
use tokio::time::timeout;

use super::answers::Description;
use super::client::Client;
use super::error::{AskError, Fault};
use super::question::Question;

/// How long a description may take.
const PATIENCE: Duration = Duration::from_millis(500);
/// How many are asked for at once.
const AT_ONCE: usize = 8;

/// What Docker said: a description, or none when the container is gone.
pub(super) type Answer = Result<Option<Description>, AskError>;

/// Those that are asked for, and those that wait to be.
pub(super) struct Inspections {
    client: Arc<Client>,
    waiting: BTreeSet<String>,
    asked: HashSet<String>,
    running: FuturesUnordered<BoxFuture<'static, (String, Answer)>>,
}

impl Inspections {
    pub(super) fn new(client: Arc<Client>) -> Self {
        let (waiting, asked) = (BTreeSet::new(), HashSet::new());
        Self { client, waiting, asked, running: FuturesUnordered::new() }
    }

    /// Has these described, and nobody else who is not asked for yet.
    pub(super) fn want(&mut self, ids: BTreeSet<String>) {
        self.waiting = ids;
        self.waiting.retain(|id| !self.asked.contains(id));
    }

    /// Asks for the next ones that there is room for; returns who they are.
    pub(super) fn begin(&mut self) -> Vec<String> {
        let mut begun = Vec::new();
        while self.running.len() < AT_ONCE
            && let Some(id) = self.waiting.pop_first()
        {
            self.asked.insert(id.clone());
            self.running.push(describe(Arc::clone(&self.client), id.clone()).boxed());
            begun.push(id);
        }
        begun
    }

    /// The next answer; `None` when none is awaited.
    pub(super) async fn next(&mut self) -> Option<(String, Answer)> {
        let (id, answer) = self.running.next().await?;
        self.asked.remove(&id);
        Some((id, answer))
    }

    /// Whether nothing is awaited.
    pub(super) fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.running.is_empty()
    }
}

async fn describe(client: Arc<Client>, id: String) -> (String, Answer) {
    let question = Question::container(&id);
    let failed = |fault| AskError::Failed { what: question.what, fault };
    let answer = timeout(PATIENCE, client.ask::<Description>(&question)).await;
    let answer = match answer.unwrap_or_else(|_elapsed| Err(failed(Fault::Slow))) {
        Ok(description) if description.id == id => Ok(Some(description)),
        Ok(_other) => Err(failed(Fault::Mistaken)),
        Err(error) if error.is_gone() => Ok(None),
        Err(error) => Err(error),
    };
    (id, answer)
}
