//! The operator's part: what the configuration demands of each container, and taking a new
//! configuration without a gap.
//!
//! Nothing is released and attached again: each container's demand is worked out anew, and the
//! interfaces are brought from what they enforce to what they should, as with every other change.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use ebpf_netns::docker::NetworkMode;
use ebpf_netns::{Ifindex, Link, text};
use tracing::{error, info};

use super::Engine;
use super::world::{Watched, World};
use crate::config::{Config, OnError};
use crate::facts::ContainerFacts;
use crate::labels::{self, LabelPolicy};
use crate::origin::Author;
use crate::plan::TcFlavour;
use crate::policy::{Container, Demand, Rules, Source};
use crate::reload::{Outcome, Reload, Reply, Taken};

/// How long who asked for a reload is kept waiting for what is under way.
const UNDER_WAY: Duration = Duration::from_secs(5);

/// What is known of the configuration, beside itself.
pub(super) struct Operator {
    /// What the command line says, which counts more.
    pub tc: Option<TcFlavour>,
    /// When the configuration that holds was taken.
    pub since: SystemTime,
    /// What was wrong with the last one, if it was not taken.
    pub refused: Vec<String>,
    waiting: Vec<(Instant, Reply, Taken)>,
}

impl Operator {
    pub(super) fn new(tc: Option<TcFlavour>) -> Self {
        Self { tc, since: SystemTime::now(), refused: Vec::new(), waiting: Vec::new() }
    }

    /// Which ways to attach at TC may be used.
    pub(super) fn flavour(&self, config: &Config) -> TcFlavour {
        self.tc.or(config.tc).unwrap_or_default()
    }
}

/// What is demanded of a container's interfaces, by its labels and by the operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Judged {
    pub demand: Demand,
    /// What is wrong with the labels, where the operator wants them not to close the container.
    pub audited: Option<String>,
}

/// Judges a container; `None` if nobody has a policy for it. Labels only tighten what the operator
/// demands.
pub(super) fn judge(facts: &ContainerFacts, config: &Config) -> Option<Judged> {
    let policies = &config.policies;
    let is_guest = matches!(facts.network, NetworkMode::Container(_));
    let owner = Container { id: facts.id.clone(), is_guest };
    let demand = |policy: &LabelPolicy, author| {
        let rules = Rules::of(policy, Source { author: &author, policies });
        Demand::Enforce(rules.of_container(&owner))
    };
    let operator = || Author::Default { file: config.file.clone() };
    let container = || Author::Labels { container: facts.name.clone() };
    let default = config.default.as_ref().map(|policy| demand(policy, operator()));
    let of_labels = match labels::parse_with(&facts.labels, policies) {
        Ok(policy) => policy.map(|policy| demand(&policy, container())),
        Err(errors) => match config.on_error {
            OnError::Closed => Some(Demand::Close(errors.to_string())),
            OnError::Audit => {
                let demand = default.unwrap_or(Demand::Enforce(Rules::default()));
                return Some(Judged { demand, audited: Some(errors.to_string()) });
            }
        },
    };
    let demand = match (default, of_labels) {
        (Some(default), Some(of_labels)) => default.and(of_labels),
        (default, of_labels) => default.or(of_labels)?,
    };
    Some(Judged { demand, audited: None })
}

impl Judged {
    /// Of a container that has no policy but that of an endpoint of its.
    pub(super) fn of_endpoint() -> Self {
        Self { demand: Demand::Enforce(Rules::default()), audited: None }
    }

    /// Whether it has no policy but that of an endpoint of its.
    pub(super) fn is_of_endpoint(&self) -> bool {
        self.demand.is_nothing() && self.audited.is_none()
    }

    /// Tells what is wrong with a container's labels, if anything is.
    pub(super) fn tell(&self, facts: &ContainerFacts) {
        let container = text::printable(&facts.name);
        match self {
            Self { audited: Some(errors), demand } if demand.is_nothing() => {
                error!(%container, %errors, "OPEN: labels not understood, and on_error is audit");
            }
            Self { audited: Some(errors), .. } => {
                error!(
                    %container,
                    %errors,
                    "labels not understood, and on_error is audit: the default policy alone stands"
                );
            }
            Self { demand: Demand::Close(errors), .. } => {
                error!(%container, %errors, "labels not understood: kept closed");
            }
            Self { demand: Demand::Enforce(_), .. } => {}
        }
    }
}

impl Engine {
    /// Takes a new configuration, or keeps the one it has; who asked is told once it is enforced.
    pub(super) fn reload(&mut self, reload: Reload) {
        let Reload { loaded, reply } = reload;
        let config = match loaded {
            Ok(config) => Arc::new(config),
            Err(errors) => {
                let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
                for problem in &errors {
                    error!(%problem, "configuration not understood: the one before holds");
                }
                self.operator.refused.clone_from(&errors);
                self.counts.refused_reloads += 1;
                // Whoever asked may have gone.
                reply.send(Outcome::Refused { errors }).ok();
                return;
            }
        };
        let before = Arc::clone(&self.world.config);
        let tc = self.operator.flavour(&config);
        // What was found out about the kernel since stays.
        if tc != self.operator.flavour(&before) {
            self.tc = tc;
        }
        let mut notes = Vec::new();
        for (key, changed) in [
            ("driver", config.driver != before.driver),
            ("metrics", config.metrics != before.metrics),
            ("programs", config.programs != before.programs),
            ("require_sandbox", config.require_sandbox != before.require_sandbox),
            ("strict", config.strict != before.strict),
            ("strict_bridges", config.strict_bridges != before.strict_bridges),
        ] {
            if changed {
                notes.push(format!("{key} takes effect when the daemon is restarted"));
            }
        }
        let changed = self.world.set_config(config);
        self.own_programs.doubt();
        self.describe_everyone(false);
        self.look.ask();
        self.operator.since = SystemTime::now();
        self.operator.refused.clear();
        self.counts.reloads += 1;
        let containers = self.world.containers.len();
        info!(containers, changed, "configuration loaded");
        let taken = Taken { containers, changed, unfinished: 0, notes };
        self.operator.waiting.push((Instant::now(), reply, taken));
    }

    /// Tells who asked for a reload, once it is enforced or they have waited for long enough.
    pub(super) fn answer_reloads(&mut self) {
        let unfinished = self.backlog.len() + self.own_programs.ordered();
        let due =
            |(asked, ..): &(Instant, Reply, Taken)| unfinished == 0 || asked.elapsed() > UNDER_WAY;
        let (due, waiting): (Vec<_>, _) =
            std::mem::take(&mut self.operator.waiting).into_iter().partition(due);
        self.operator.waiting = waiting;
        for (_, reply, taken) in due {
            // Whoever asked may have gone.
            reply.send(Outcome::Taken(Taken { unfinished, ..taken })).ok();
        }
    }

    /// Has Docker asked where each container is, if `closely` or if each has a policy.
    pub(super) fn describe_everyone(&self, closely: bool) {
        self.look.describe_everyone(closely || self.world.config.default.is_some());
    }
}

impl World {
    /// Works out anew what is demanded of each container; of how many it is something else now.
    fn set_config(&mut self, config: Arc<Config>) -> usize {
        self.config = config;
        self.newcomers.forget_bystanders();
        self.endpoints.judge_again(&self.config);
        let policed = self.endpoints.policed();
        let judge = |facts: &ContainerFacts, config: &Config| {
            let on_endpoint = || policed.contains(&facts.id).then(Judged::of_endpoint);
            judge(facts, config).or_else(on_endpoint)
        };
        let mut changed = 0;
        for facts in std::mem::take(&mut self.bystanders.containers) {
            match judge(&facts, &self.config) {
                Some(judged) => {
                    changed += 1;
                    judged.tell(&facts);
                    self.containers.insert(facts.id.clone(), Watched::new(facts, judged));
                }
                None => self.bystanders.containers.push(facts),
            }
        }
        let mut leaving = Vec::new();
        for watched in self.containers.values_mut() {
            match judge(&watched.facts, &self.config) {
                Some(judged) if judged == watched.judged => {}
                Some(judged) => {
                    changed += 1;
                    judged.tell(&watched.facts);
                    watched.judged = judged;
                }
                None => leaving.push(watched.facts.id.clone()),
            }
        }
        for id in leaving {
            if let Some(watched) = self.containers.remove(&id) {
                changed += 1;
                self.let_leave(watched);
            }
        }
        changed
    }

    /// A container that nobody has a policy for any more: its interfaces are known, and are not to
    /// be taken for new ones.
    fn let_leave(&mut self, watched: Watched) {
        let claimed = |ifindex: Ifindex| {
            let mut others = self.containers.values().flat_map(Watched::pairs);
            others.any(|pair| pair.host.index == ifindex)
        };
        let free: Vec<Link> = watched
            .pairs()
            .filter(|pair| !claimed(pair.host.index))
            .filter_map(|pair| self.veths.get(&pair.host.index))
            .cloned()
            .collect();
        for link in free {
            self.newcomers.clear(&link);
        }
        self.bystanders.containers.push(watched.facts);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use plugin_common::presets::Presets;

    use super::*;
    use crate::facts::{Life, Snapshot};
    use crate::labels::Policies;

    fn facts(labels: &[(&str, &str)]) -> ContainerFacts {
        ContainerFacts {
            id: "a".to_owned(),
            name: "a".to_owned(),
            labels: labels_of(labels),
            network: NetworkMode::Network("bridge".to_owned()),
            life: Life::Unplaced,
            endpoints: Vec::new(),
            service: None,
            nameservers: None,
        }
    }

    fn labels_of(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    fn policy(pairs: &[(&str, &str)]) -> Option<LabelPolicy> {
        labels::parse(&labels_of(pairs)).unwrap()
    }

    fn config(default: &[(&str, &str)]) -> Config {
        Config { default: policy(default), ..Config::default() }
    }

    /// What is enforced on what a container sends, at TC.
    #[track_caller]
    fn egress(labels: &[(&str, &str)], config: &Config) -> Option<Presets> {
        match judge(&facts(labels), config).map(|judged| judged.demand) {
            Some(Demand::Enforce(rules)) => rules.egress,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn labels_only_tighten_what_the_operator_demands() {
        let config = config(&[("tc.policy", "drop-icmp")]);
        let icmp = Presets::DROP_ICMP;
        assert_eq!(egress(&[], &config), Some(icmp));
        assert_eq!(egress(&[("tc.policy", "pass")], &config), Some(icmp));
        assert_eq!(egress(&[("xdp.policy", "pass")], &config), Some(icmp));
        let ingress_only = [("tc.policy", "drop-udp"), ("tc.direction", "ingress")];
        assert_eq!(egress(&ingress_only, &config), Some(icmp));
        assert_eq!(egress(&[("tc.policy", "drop-udp")], &config), Some(icmp | Presets::DROP_UDP));
        let judged = judge(&facts(&[("tc.polcy", "pass")]), &config);
        assert!(matches!(judged, Some(Judged { demand: Demand::Close(_), .. })), "{judged:?}");
    }

    #[test]
    fn without_a_default_only_labels_count() {
        assert_eq!(judge(&facts(&[]), &Config::default()), None);
        assert_eq!(egress(&[("tc.policy", "log")], &Config::default()), Some(Presets::LOG));
    }

    #[test]
    fn audit_leaves_what_the_operator_demands_and_says_what_is_wrong() {
        for (default, left) in
            [(&[("tc.policy", "drop-icmp")] as &[_], Some(Presets::DROP_ICMP)), (&[], None)]
        {
            let config = Config { on_error: OnError::Audit, ..config(default) };
            let bad = [("tc.policy", "drop-tpc"), ("xdp.policy", "drop-all")];
            assert_eq!(egress(&bad, &config), left);
            let judged = judge(&facts(&bad), &config).unwrap();
            assert!(judged.audited.unwrap().contains("drop-tpc"));
        }
    }

    #[test]
    fn a_named_policy_comes_changes_and_goes() {
        let named = |presets: Presets| {
            let policies =
                Policies::new("/p".to_owned(), [("web".to_owned(), presets.into())].into());
            Arc::new(Config { policies, ..Config::default() })
        };
        let mut world = World::default();
        let web = facts(&[("tc.policy", "web")]);
        world.set_seen(Snapshot { containers: vec![web.clone()], ..Snapshot::default() });
        let demand = |world: &World| world.containers.get("a").map(|it| it.judged.demand.clone());
        assert!(matches!(demand(&world), Some(Demand::Close(_))), "no such policy yet");
        assert_eq!(world.set_config(named(Presets::LOG)), 1);
        assert_eq!(world.set_config(named(Presets::LOG)), 0, "nothing new");
        assert_eq!(world.set_config(named(Presets::DROP_UDP)), 1);
        let rules = demand(&world);
        let dropped = |demand: &Option<Demand>| match demand {
            Some(Demand::Enforce(rules)) => rules.egress,
            _ => None,
        };
        assert_eq!(dropped(&rules), Some(Presets::DROP_UDP));
        world.set_seen(Snapshot { containers: vec![web], ..Snapshot::default() });
        assert_eq!(demand(&world), rules, "Docker says nothing about it");
        assert_eq!(world.set_config(Arc::default()), 1);
        assert!(matches!(demand(&world), Some(Demand::Close(_))), "closed, not open");
    }

    #[test]
    fn a_default_policy_is_everyones_from_when_it_is_there_until_it_is_gone() {
        let mut world = World::default();
        world.set_seen(Snapshot { containers: vec![facts(&[])], ..Snapshot::default() });
        assert!(world.containers.is_empty());
        assert_eq!(world.set_config(Arc::new(config(&[("tc.policy", "log")]))), 1);
        assert!(world.containers.contains_key("a") && world.bystanders.containers.is_empty());
        assert_eq!(world.set_config(Arc::default()), 1);
        assert!(world.containers.is_empty() && world.bystanders.containers.len() == 1);
    }
}
