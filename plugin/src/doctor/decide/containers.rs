//! Which containers have no host-side veth that a policy could be put on. Pure.

use std::collections::BTreeMap;

use ebpf_netns::docker::{NetworkMode, Survey, SurveyedContainer};

use super::super::finding::Findings;
use super::super::{Area, Daemon, Facts};
use super::{count, list};
use crate::labels;

const CHECK: &str = "unenforceable";

const WAY_OUT: &str = "give it a network of the driver bridge";

pub(super) fn findings(facts: &Facts) -> Findings {
    let mut found = Findings::about(Area::Containers);
    let survey = match &facts.docker.survey {
        Ok(survey) => survey,
        Err(unseen) => {
            if unseen.denied {
                found.unseen(CHECK, false, "containers", unseen);
            }
            return found;
        }
    };
    // With a policy of the operator's, every container has one.
    let everyone = match &facts.daemon {
        Daemon::Answers(status) => status.config.default.is_some(),
        Daemon::Absent | Daemon::Unseen(_) => false,
    };
    let mut groups: BTreeMap<(bool, String), Vec<&str>> = BTreeMap::new();
    for container in &survey.containers {
        let policed = everyone || container.labels.iter().any(|key| labels::is_ours(key));
        for reason in reasons(survey, owner(survey, container)) {
            groups.entry((!policed, reason)).or_default().push(&container.name);
        }
    }
    if groups.is_empty() {
        let what = match survey.containers.len() {
            0 => "no container is running".to_owned(),
            some => {
                format!("{} running, and none that could not be policed", count(some, "container"))
            }
        };
        found.ok(CHECK, what);
    }
    for ((unlabelled, reason), names) in groups {
        let who = list(names.iter().copied());
        if unlabelled {
            found.note(CHECK, format!("no policy could be put on {who}: {reason}"), "");
        } else {
            found.warning(CHECK, format!("the policy of {who} is not enforced: {reason}"), WAY_OUT);
        }
        found.subjects(names.into_iter().map(str::to_owned));
    }
    found
}

/// Whose network a container has: its own, or that of the one that it joins.
fn owner<'a>(survey: &'a Survey, container: &'a SurveyedContainer) -> &'a SurveyedContainer {
    // Who joins may be joined, and Docker's answer is not to keep us for ever.
    const STEPS: usize = 8;
    let mut owner = container;
    for _ in 0..STEPS {
        let NetworkMode::Container(other) = &owner.mode else { break };
        let next = survey.containers.iter().find(|one| one.id == *other || one.name == *other);
        owner = next.unwrap_or(owner);
    }
    owner
}

/// Why a container has no veth here, for each of its networks that gives it none.
fn reasons(survey: &Survey, container: &SurveyedContainer) -> Vec<String> {
    match &container.mode {
        NetworkMode::Host => {
            vec!["--network host is the host's own network, which has no veth".to_owned()]
        }
        NetworkMode::None | NetworkMode::Container(_) => Vec::new(),
        NetworkMode::Network(_) => {
            container.networks.iter().filter_map(|name| no_veth(survey, name)).collect()
        }
    }
}

fn no_veth(survey: &Survey, name: &str) -> Option<String> {
    let network = survey.networks.iter().find(|network| network.name == name)?;
    let driver = network.driver.as_str();
    match driver {
        "bridge" => None,
        "macvlan" | "ipvlan" => Some(format!(
            "network {name} is of the driver {driver}, which gives containers no veth on the host"
        )),
        "overlay" => Some(format!(
            "network {name} is an overlay, whose veths are in another network namespace"
        )),
        other => Some(format!("network {name} is of the driver {other}, which is not known here")),
    }
}
