//! One look at Docker: which containers there are, and who is on which network.
//!
//! Neither question waits for a container's lock, which Docker holds while it starts one.

use std::collections::{BTreeSet, HashSet};

use futures_util::{StreamExt as _, stream};

use super::answers::{Listed, Network};
use super::client::Client;
use super::error::AskError;
use super::question::Question;

/// How many networks are asked about at once.
const AT_ONCE: usize = 8;

/// What Docker said at one look.
pub(super) struct Gathered {
    pub(super) containers: Vec<Listed>,
    pub(super) networks: Vec<Inspected>,
    /// Who is on a network and no container.
    pub(super) strangers: HashSet<String>,
}

/// A network at one look.
pub(super) enum Inspected {
    /// This is who is on it.
    Known(Network),
    /// It is there, and Docker did not tell who is on it.
    Untold(Network, AskError),
    /// As [`Self::Untold`], of one that was told of before.
    Unchanged(String, AskError),
}

/// Looks. `known` are the networks of the last look, and `strangers` its strangers.
pub(super) async fn gather(
    client: &Client,
    known: &BTreeSet<String>,
    strangers: &HashSet<String>,
) -> Result<Gathered, AskError> {
    let (mut containers, networks) = tokio::try_join!(list(client), inspect(client, known))?;
    let on_networks = |network: &Inspected| match network {
        Inspected::Known(network) => network.attached().map(|(owner, _)| owner.clone()).collect(),
        Inspected::Untold(..) | Inspected::Unchanged(..) => Vec::new(),
    };
    let mut unlisted: HashSet<String> = networks.iter().flat_map(on_networks).collect();
    leave_out(&mut unlisted, &containers);
    if !unlisted.is_subset(strangers) {
        // The list may be older than what the networks told. Who is on a network was in the list
        // before, so who is not in this one is no container.
        containers = list(client).await?;
        leave_out(&mut unlisted, &containers);
    }
    Ok(Gathered { containers, networks, strangers: unlisted })
}

fn leave_out(ids: &mut HashSet<String>, containers: &[Listed]) {
    for container in containers {
        ids.remove(&container.id);
    }
}

async fn list(client: &Client) -> Result<Vec<Listed>, AskError> {
    client.ask(&Question::containers()).await
}

/// Inspects all networks: those that are known without waiting for the list of them.
async fn inspect(client: &Client, known: &BTreeSet<String>) -> Result<Vec<Inspected>, AskError> {
    let question = Question::networks();
    let listing = client.ask::<Vec<Network>>(&question);
    let asking = inspect_each(client, known.iter().cloned().collect());
    let (listed, answers) = tokio::join!(listing, asking);
    let listed: Vec<Network> = listed?.into_iter().filter(Network::has_interfaces).collect();
    let unknown = listed.iter().map(|network| network.id.clone());
    let unknown = unknown.filter(|id| !known.contains(id)).collect();
    let more = inspect_each(client, unknown).await;
    let mut inspected = Vec::new();
    for (id, answer) in answers.into_iter().chain(more) {
        inspected.push(match answer {
            Ok(network) => Inspected::Known(network),
            Err(error) if error.is_gone() => continue,
            Err(error @ AskError::Refused { .. }) if known.contains(&id) => {
                Inspected::Unchanged(id, error)
            }
            Err(error @ AskError::Refused { .. }) => {
                let network = listed.iter().find(|network| network.id == id);
                Inspected::Untold(network.cloned().unwrap_or_default(), error)
            }
            Err(error) => return Err(error),
        });
    }
    Ok(inspected)
}

type Answer = (String, Result<Network, AskError>);

async fn inspect_each(client: &Client, ids: Vec<String>) -> Vec<Answer> {
    let inspect = |id: String| async move {
        let answer = client.ask::<Network>(&Question::network(&id)).await;
        (id, answer)
    };
    stream::iter(ids).map(inspect).buffer_unordered(AT_ONCE).collect().await
}
