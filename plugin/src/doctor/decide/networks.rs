//! What is to be said of Docker's bridges, their veths, and what others attached to these. Pure.

use std::collections::BTreeSet;

use super::super::finding::Findings;
use super::super::{Area, Facts, Foreign, Hook, Networks, Port};
use super::{count, list};

/// The largest MTU that native XDP takes on a veth, about.
const NATIVE_MTU: u32 = 3_500;

pub(super) fn findings(facts: &Facts) -> Findings {
    let mut found = Findings::about(Area::Networks);
    let networks = match &facts.networks {
        Ok(networks) => networks,
        Err(unseen) => {
            found.unseen("bridges", true, "interfaces", unseen);
            return found;
        }
    };
    // Without Docker's word, all bridges may be its.
    let of_docker = facts.docker.survey.as_ref().ok().map(|survey| {
        survey.networks.iter().filter_map(|network| network.bridge.as_deref()).collect()
    });
    let is_ours = |port: &&Port| {
        of_docker.as_ref().is_none_or(|names: &BTreeSet<&str>| names.contains(port.bridge.as_str()))
    };
    let ports: Vec<&Port> = networks.ports.iter().filter(is_ours).collect();
    if let Some(names) = &of_docker {
        bridges(&mut found, networks, names, ports.len());
    } else {
        let bridges = count(networks.bridges.len(), "bridge");
        let veths = count(ports.len(), "veth");
        found.note(
            "bridges",
            format!("{bridges}, with {veths}; which are Docker's is not known"),
            "",
        );
    }
    foreign(&mut found, networks, &ports);
    mtu(&mut found, &ports);
    found
}

fn bridges(found: &mut Findings, networks: &Networks, names: &BTreeSet<&str>, ports: usize) {
    let gone: Vec<&str> =
        names.iter().copied().filter(|name| !networks.bridges.contains(*name)).collect();
    if names.is_empty() {
        found.note(
            "bridges",
            "Docker has no network of the driver bridge",
            "docker network create",
        );
    } else if gone.len() == names.len() {
        found.failure(
            "bridges",
            format!(
                "Docker's bridges ({}) are not in this network namespace: Docker runs in another \
                 one, or on another machine",
                list(gone)
            ),
            "run this, and the daemon, where dockerd runs; in a container, with --network host",
        );
    } else if gone.is_empty() {
        let what =
            format!("{} of Docker's, with {}", count(names.len(), "bridge"), count(ports, "veth"));
        found.ok("bridges", what);
    } else {
        found.warning(
            "bridges",
            format!("Docker has networks whose bridges are not there: {}", list(gone.clone())),
            "remove these networks, or restart Docker, which makes them anew",
        );
        found.subjects(gone.into_iter().map(str::to_owned));
    }
}

fn foreign(found: &mut Findings, networks: &Networks, ports: &[&Port]) {
    if let Some(unseen) = &networks.unseen {
        found.unseen("foreign-programs", false, "what others attached to veths", unseen);
    }
    let before = [Hook::Xdp, Hook::Tcx, Hook::Clsact].map(|hook| at(ports, hook));
    let [xdp, tcx, clsact] = &before;
    if !xdp.is_empty() {
        found.warning(
            "foreign-xdp",
            format!(
                "others hold XDP on {}: xdp.policy is applied at TC there, and with xdp.mode \
                 native or generic its container is closed",
                shown(xdp)
            ),
            "stop the tool that attached it (ip link set dev VETH xdp off), or use tc.policy",
        );
        found.subjects(names(xdp));
    }
    for (check, held, hook) in [("foreign-tcx", tcx, "TCX"), ("foreign-clsact", clsact, "clsact")] {
        if !held.is_empty() {
            found.note(
                check,
                format!(
                    "others have {hook} programs or filters on {}: they stay, and what they drop \
                     or redirect is theirs",
                    shown(held)
                ),
                "",
            );
            found.subjects(names(held));
        }
    }
    if networks.unseen.is_none() && before.iter().all(Vec::is_empty) && !ports.is_empty() {
        found.ok("foreign-programs", "nobody else has anything attached to them");
    }
}

type Held<'a> = (&'a Port, &'a Foreign);

fn at<'a>(ports: &[&'a Port], hook: Hook) -> Vec<Held<'a>> {
    let all = ports.iter().flat_map(|port| port.foreign.iter().map(|foreign| (*port, foreign)));
    all.filter(|(_, foreign)| foreign.hook == hook).collect()
}

fn shown(held: &[Held<'_>]) -> String {
    let each: Vec<String> =
        held.iter().map(|(port, foreign)| format!("{}: {}", port.name, foreign.what)).collect();
    list(each.iter().map(String::as_str))
}

fn names(held: &[Held<'_>]) -> BTreeSet<String> {
    held.iter().map(|(port, _)| port.name.clone()).collect()
}

fn mtu(found: &mut Findings, ports: &[&Port]) {
    let large: Vec<&&Port> = ports.iter().filter(|port| port.mtu > NATIVE_MTU).collect();
    if large.is_empty() {
        return;
    }
    let names: Vec<&str> = large.iter().map(|port| port.name.as_str()).collect();
    found.note(
        "mtu",
        format!("native XDP takes frames of about 3,500 bytes, and {} have a larger MTU: xdp.mode native \
             closes its container there", list(names.iter().copied())),
        "use xdp.mode auto or generic, or a smaller com.docker.network.driver.mtu",
    );
    found.subjects(names.into_iter().map(str::to_owned));
}
