//! Containers that wait at their start until what their labels demand stands on their interfaces.
//! Looks and answers; what is attached is decided and done by the rest of the engine.
//!
//! Labels never change, so a demand that cannot be met is refused at once. Everything else is only
//! believed of a look at Docker that began after the question.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use ebpf_netns::docker::NetworkMode;

use super::Engine;
use super::world::{Claim, Watched};
use crate::facts::{ContainerFacts, Life, Snapshot};
use crate::policy::Demand;
use crate::start::{StartAsked, Verdict};
use crate::status::{ContainerStatus, State};

/// How long Docker may take to tell that a container runs after it was let through.
const SETTLE: Duration = Duration::from_secs(30);

/// Why a container of another engine is refused.
const UNLISTED: &str = "the engine that the daemon watches does not list this container: does the \
    daemon's --docker-host name the engine that starts it?";

/// Who waits, and what is known of those who may.
#[derive(Default)]
pub(super) struct StartGate {
    waiting: Vec<Waiting>,
    /// Containers that are about to start, or were let through and do not run yet by Docker's word,
    /// and since when.
    starting: BTreeMap<String, Instant>,
    /// Containers of the last look that have no label of ours.
    unlabelled: BTreeSet<String>,
    /// The number of the last look.
    as_of: u64,
}

struct Waiting {
    asked: StartAsked,
    /// The first look that began after the question.
    as_of: u64,
}

impl StartGate {
    /// Takes what Docker said, before the rest of the engine does.
    pub(super) fn seen(&mut self, snapshot: &Snapshot) {
        self.as_of = snapshot.as_of;
        let unlabelled = snapshot.containers.iter().filter(|one| one.labels.is_empty());
        self.unlabelled = unlabelled.map(|one| one.id.clone()).collect();
        for container in &snapshot.containers {
            if container.life != Life::Down {
                self.starting.remove(&container.id);
            }
        }
    }

    /// Whether anybody waits.
    pub(super) fn is_asked(&self) -> bool {
        !self.waiting.is_empty()
    }

    fn forget_the_gone(&mut self) {
        self.waiting.retain(|waiting| !waiting.asked.reply.is_closed());
        let Self { waiting, starting, .. } = self;
        starting.retain(|id, since| {
            since.elapsed() < SETTLE || waiting.iter().any(|one| one.asked.id == *id)
        });
    }
}

impl Engine {
    /// Takes the question of a container that is about to start.
    pub(super) fn start_asked(&mut self, asked: StartAsked) {
        let as_of = self.look.ask();
        self.start_gate.starting.insert(asked.id.clone(), Instant::now());
        self.start_gate.waiting.push(Waiting { asked, as_of });
    }

    /// Has the interfaces of those who wait looked at again: to be called before each round.
    pub(super) fn doubt_those_who_wait(&mut self) {
        self.start_gate.forget_the_gone();
        for waiting in &self.start_gate.waiting {
            if let Some(container) = self.world.containers.get_mut(&waiting.asked.id) {
                container.doubtful = true;
            }
        }
    }

    /// The interfaces of a container that starts in another's namespace: the other's, which runs. It
    /// has none of its own that it could be found by.
    pub(super) fn shared_while_starting(&self, container: &Watched) -> Option<Claim> {
        let ContainerFacts { id, network, life, .. } = &container.facts;
        let NetworkMode::Container(other) = network else { return None };
        if *life != Life::Down || !self.start_gate.starting.contains_key(id) {
            return None;
        }
        self.world.containers.get(other).map(|other| other.claim.clone())
    }

    /// Answers those who wait, as far as it can be: to be called after each round.
    pub(super) fn answer_those_who_wait(&mut self) {
        let mut waiting = std::mem::take(&mut self.start_gate.waiting);
        waiting.retain(|one| {
            let verdict = self.verdict(one);
            let is_final = verdict.is_final();
            one.asked.reply.send_replace(verdict);
            !is_final
        });
        self.start_gate.waiting = waiting;
    }

    fn verdict(&self, waiting: &Waiting) -> Verdict {
        let id = &waiting.asked.id;
        let seen = self.start_gate.as_of >= waiting.as_of;
        match self.world.containers.get(id) {
            Some(container) => self.verdict_of(container, seen),
            None if self.start_gate.unlabelled.contains(id) => Verdict::NothingAsked,
            // Nobody knows its labels.
            None if seen => Verdict::Refused { reason: UNLISTED.to_owned() },
            None => undecided(match &self.world.docker {
                Some(Err(reason)) => format!("the daemon cannot ask Docker: {reason}"),
                _ => "Docker has not told its labels yet".to_owned(),
            }),
        }
    }

    fn verdict_of(&self, container: &Watched, seen: bool) -> Verdict {
        if let Demand::Close(reason) = &container.judged.demand {
            return Verdict::Refused { reason: reason.clone() };
        }
        // Its labels are not understood, and the operator wants that to close nothing.
        if container.judged.demand.is_nothing() {
            return Verdict::NothingAsked;
        }
        match judge(&self.container(container), &container.facts.network) {
            Verdict::Stands if !seen => {
                undecided("Docker has not told its interfaces yet".to_owned())
            }
            verdict => verdict,
        }
    }
}

/// What is said of a container in `status` decides: whoever is refused finds the same words there.
/// What cannot be enforced is refused too. Without the gate it could only be reported; with it,
/// whatever runs has the policy that it asks for.
fn judge(status: &ContainerStatus, network: &NetworkMode) -> Verdict {
    let reason = || status.reason.clone().unwrap_or_else(|| status.state.name().to_owned());
    match status.state {
        State::Enforced => Verdict::Stands,
        // Without a network nothing is left to be enforced.
        State::Idle if *network == NetworkMode::None => Verdict::Stands,
        State::Idle => undecided("its interfaces are not found yet".to_owned()),
        State::Unknown => undecided(reason()),
        State::Closed | State::Open => Verdict::Refused { reason: reason() },
        State::Unenforceable => {
            Verdict::Refused { reason: format!("its policy cannot be enforced: {}", reason()) }
        }
    }
}

fn undecided(reason: String) -> Verdict {
    Verdict::Undecided { reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(state: State, network: &str) -> Verdict {
        let status = ContainerStatus {
            id: "a".to_owned(),
            name: "web".to_owned(),
            state,
            reason: Some("why".to_owned()),
            interfaces: Vec::new(),
        };
        judge(&status, &NetworkMode::from(network))
    }

    #[test]
    fn only_what_is_enforced_or_has_no_network_may_start() {
        assert_eq!(judged(State::Enforced, "bridge"), Verdict::Stands);
        assert_eq!(judged(State::Idle, "none"), Verdict::Stands);
        for state in [State::Closed, State::Open, State::Unenforceable] {
            let verdict = judged(state, "bridge");
            let told = matches!(&verdict, Verdict::Refused { reason } if reason.ends_with("why"));
            assert!(told, "{state:?} is refused with its reason: {verdict:?}");
        }
        for state in [State::Idle, State::Unknown] {
            assert!(!judged(state, "bridge").is_final(), "{state:?} is waited for");
        }
    }

    #[test]
    fn a_container_starts_until_docker_says_that_it_runs() {
        let mut gate = StartGate::default();
        gate.starting.insert("a".to_owned(), Instant::now());
        let mut facts = ContainerFacts {
            id: "a".to_owned(),
            name: "web".to_owned(),
            labels: BTreeMap::default(),
            network: NetworkMode::Host,
            life: Life::Down,
            endpoints: Vec::new(),
            service: None,
            nameservers: None,
        };
        let snapshot = |facts: &ContainerFacts| Snapshot {
            containers: vec![facts.clone()],
            ..Snapshot::default()
        };
        gate.seen(&snapshot(&facts));
        assert!(gate.starting.contains_key("a"), "Docker's list does not tell who is starting");
        facts.life = Life::Unplaced;
        gate.seen(&snapshot(&facts));
        assert!(!gate.starting.contains_key("a"), "it runs");
    }
}
