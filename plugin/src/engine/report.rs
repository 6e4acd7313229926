//! The engine's state as `status` tells it.

use std::time::UNIX_EPOCH;

use ebpf_netns::veth::{Interface, VethPair};
use ebpf_netns::{Ifindex, Link};
use plugin_common::abi::InterfacePolicy;
use plugin_common::presets::Presets;

use super::Engine;
use super::config::Judged;
use super::own::LOADING;
use super::world::{Claim, Enforced, Watched};
use crate::config::Config;
use crate::facts::Life;
use crate::labels::{Policies, format_presets};
use crate::plan::{Attachment, Hook, Outcome};
use crate::policy::Demand;
use crate::status::{
    ConfigStatus, ContainerStatus, Counts, DockerStatus, HookStatus, HostSide, InterfaceStatus,
    PolicyStatus, QuarantineStatus, State, Status,
};

/// What is to be known of an interface that is not where it was.
const ASTRAY: &str = "the container's end was moved to another network namespace: the policy stays on the host's end";

/// What is to be known of a container that runs where it cannot be found.
const NOT_HERE: &str = "Docker says that it runs, but its network namespace is not found here: is Docker on this machine, and does the daemon see its /proc and its mounts?";

impl Engine {
    /// Everything, as it is now.
    pub(super) fn status(&self) -> Status {
        let docker = match &self.world.docker {
            None => DockerStatus::Unknown,
            Some(Ok(api)) => DockerStatus::Connected { api: api.clone() },
            Some(Err(reason)) => DockerStatus::Unreachable { reason: reason.clone() },
        };
        let mut containers: Vec<ContainerStatus> =
            self.world.containers.values().map(|container| self.container(container)).collect();
        containers.sort_by(|one, other| (&one.name, &one.id).cmp(&(&other.name, &other.id)));
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            strict: Some(self.strict.is_some()),
            sandbox: self.sandbox.clone(),
            docker,
            config: self.config(),
            containers,
            quarantined: self.newcomers(),
            counts: self.counts(),
        }
    }

    /// What happened since the start.
    pub(super) fn counts(&self) -> Counts {
        Counts { record_failures: self.records.failures(), ..self.counts }
    }

    fn config(&self) -> ConfigStatus {
        let Config { file, default, on_error, policies, .. } = &*self.world.config;
        let used_by = |name: &str| {
            let containers = self.world.containers.values();
            containers.filter(|one| Policies::is_used(name, &one.facts.labels)).count()
        };
        let policies = policies.iter().map(|(name, policy)| PolicyStatus {
            name: name.to_owned(),
            policy: policy.to_string(),
            containers: used_by(name),
        });
        let since = self.operator.since.duration_since(UNIX_EPOCH).unwrap_or_default();
        ConfigStatus {
            file: file.clone(),
            since: since.as_secs(),
            default: default.as_ref().map(ToString::to_string),
            on_error: *on_error,
            policies: policies.collect(),
            refused: self.operator.refused.clone(),
        }
    }

    fn newcomers(&self) -> Vec<QuarantineStatus> {
        let held = self.world.newcomers.held().map(|(ifindex, held)| QuarantineStatus {
            ifindex,
            name: self.world.veths.get(&ifindex).map_or("", |link| link.name.as_str()).to_owned(),
            seconds: held.at.elapsed().as_secs(),
            reason: held.reason.to_owned(),
        });
        held.collect()
    }

    pub(super) fn container(&self, container: &Watched) -> ContainerStatus {
        let mut interfaces: Vec<InterfaceStatus> = match &container.claim {
            Claim::Interfaces { interfaces, .. } => {
                interfaces.iter().map(|interface| self.interface(container, interface)).collect()
            }
            Claim::Nothing | Claim::Host => Vec::new(),
        };
        interfaces.extend(container.astray.iter().map(|pair| self.astray(container, pair)));
        if container.judged.is_of_endpoint() {
            // Its other interfaces have no policy, as those of a container without one.
            let has_policy = |one: &InterfaceStatus| {
                let host = one.host.as_ref();
                host.is_some_and(|host| self.world.endpoints.demand(host.ifindex).is_some())
            };
            interfaces.retain(has_policy);
        }
        let (state, reason) = sum_up(container, &interfaces);
        ContainerStatus {
            id: container.facts.id.clone(),
            name: container.facts.name.clone(),
            state,
            reason,
            interfaces,
        }
    }

    pub(super) fn interface(&self, container: &Watched, interface: &Interface) -> InterfaceStatus {
        let link = interface.container();
        let (state, reason) = self.standing(interface);
        let bare = InterfaceStatus {
            name: link.name.clone(),
            ifindex: link.index,
            network: network_of(container, link),
            host: None,
            state,
            reason,
            notes: Vec::new(),
            hooks: Vec::new(),
            rules: Vec::new(),
            programs: Vec::new(),
        };
        let Interface::Veth(pair) = interface else { return bare };
        let bare = InterfaceStatus { host: Some(self.host_side(&pair.host)), ..bare };
        match self.world.enforced.get(&pair.host.index) {
            Some(enforced) => self.enforced(pair.host.index, enforced, bare),
            None => bare,
        }
    }

    /// What an interface amounts to, and why it is not as demanded. Asks nobody.
    fn standing(&self, interface: &Interface) -> (State, Option<String>) {
        match interface {
            Interface::NoHostSide { reason, .. } => {
                (State::Unenforceable, Some(format!("no host-side veth: {reason}")))
            }
            Interface::Veth(pair) => self.standing_at(pair),
        }
    }

    fn standing_at(&self, pair: &VethPair) -> (State, Option<String>) {
        let Some(enforced) = self.world.enforced.get(&pair.host.index) else {
            return (State::Unknown, None);
        };
        match enforced.choice.as_ref().map(|choice| &choice.outcome) {
            None if self.waits_for_program(pair.host.index) => {
                (State::Unknown, Some(LOADING.to_owned()))
            }
            None => (State::Unknown, None),
            // Only where labels are not understood and the operator does not want that to close.
            Some(Outcome::Enforced) if enforced.current.ways.is_empty() => (State::Open, None),
            Some(Outcome::Enforced) => (State::Enforced, None),
            Some(Outcome::Closed(reason)) => (State::Closed, Some(reason.clone())),
            Some(Outcome::Open(reason)) => (State::Open, Some(reason.clone())),
        }
    }

    /// The state of a container. Asks nobody.
    pub(super) fn state(&self, container: &Watched) -> State {
        let claimed = match &container.claim {
            Claim::Interfaces { interfaces, .. } => interfaces.as_slice(),
            Claim::Nothing | Claim::Host => &[],
        };
        let counts = |interface: &&Interface| {
            !container.judged.is_of_endpoint()
                || matches!(interface, Interface::Veth(pair)
                    if self.world.endpoints.demand(pair.host.index).is_some())
        };
        let claimed = claimed.iter().filter(counts).map(|interface| self.standing(interface));
        let astray = container.astray.iter().map(|pair| self.standing_at(pair));
        worst(container, claimed.chain(astray)).0
    }

    fn astray(&self, container: &Watched, pair: &VethPair) -> InterfaceStatus {
        let mut status = self.interface(container, &Interface::Veth(Box::new(pair.clone())));
        status.notes.push(ASTRAY.to_owned());
        status
    }

    fn enforced(
        &self,
        ifindex: Ifindex,
        enforced: &Enforced,
        bare: InterfaceStatus,
    ) -> InterfaceStatus {
        let notes = enforced.choice.as_ref().map(|choice| choice.notes.clone()).unwrap_or_default();
        let hooks = enforced
            .current
            .ways
            .iter()
            .map(|(hook, attachment)| self.hook(ifindex, enforced, *hook, *attachment))
            .collect();
        InterfaceStatus { notes, hooks, programs: self.own_status(ifindex), ..bare }
    }

    fn hook(
        &self,
        ifindex: Ifindex,
        enforced: &Enforced,
        hook: Hook,
        attachment: Attachment,
    ) -> HookStatus {
        let policy = enforced.current.policy.unwrap_or(InterfacePolicy::CLOSED);
        let presets: Presets = match hook {
            Hook::Xdp => policy.xdp,
            Hook::Egress => policy.egress,
            Hook::Ingress => policy.ingress,
        };
        HookStatus {
            hook: attachment.mechanism().to_owned(),
            direction: hook.direction().to_owned(),
            host_side: hook.host_side().to_owned(),
            mode: attachment.xdp_mode().map(str::to_owned),
            policy: format_presets(presets),
            program: self.kernel.program(hook).cloned(),
            traffic: self.kernel.traffic(ifindex, hook),
        }
    }

    pub(super) fn host_side(&self, veth: &Link) -> HostSide {
        let bridge = veth.master.and_then(|master| self.rtnl.link(master).ok().flatten());
        HostSide {
            name: veth.name.clone(),
            ifindex: veth.index,
            bridge: bridge.map(|bridge| bridge.name),
        }
    }
}

/// The Docker network of an interface, by its address.
pub(super) fn network_of(container: &Watched, link: &Link) -> Option<String> {
    let endpoints = &container.facts.endpoints;
    let own = endpoints.iter().find(|endpoint| endpoint.mac.is_some() && endpoint.mac == link.mac);
    own.map(|endpoint| endpoint.network.clone())
}

/// The state of a container, and why it is not as its labels say.
fn sum_up(container: &Watched, interfaces: &[InterfaceStatus]) -> (State, Option<String>) {
    let standings = interfaces.iter().map(|one| (one.state, one.reason.clone()));
    let (state, reason) = worst(container, standings);
    let Judged { demand, audited } = &container.judged;
    let Some(errors) = audited else { return (state, reason) };
    let left = if demand.is_nothing() {
        "nothing is enforced"
    } else {
        "only the operator's default policy is enforced"
    };
    let audit = format!("on_error is audit, and labels are not understood: {left}: {errors}");
    (state, Some(reason.map_or(audit.clone(), |reason| format!("{audit}; {reason}"))))
}

/// The state of a container: the worst of its interfaces'.
fn worst(
    container: &Watched,
    interfaces: impl Iterator<Item = (State, Option<String>)>,
) -> (State, Option<String>) {
    if let Some(reason) = &container.unseen {
        return (State::Unknown, Some(reason.clone()));
    }
    if container.claim == Claim::Host {
        let reason = "it uses the host's network (--network host): it has no interface of its own";
        return (State::Unenforceable, Some(reason.to_owned()));
    }
    match interfaces.max_by_key(|(state, _)| *state) {
        Some(worst) => worst,
        None if matches!(container.facts.life, Life::Placed(_))
            && container.claim == Claim::Nothing =>
        {
            (State::Unknown, Some(NOT_HERE.to_owned()))
        }
        None => match &container.judged.demand {
            Demand::Enforce(_) => (State::Idle, None),
            Demand::Close(reason) => (State::Closed, Some(reason.clone())),
        },
    }
}
