//! Every preset at every hook and direction, over IPv4 and IPv6: what passes, what does not, and
//! what the counters say.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result};
use ebpf_netns_plugin::status::{ContainerStatus, State};
use ebpf_netns_tests::{Daemon, privilege, traffic::EchoServer};

use crate::scene::{ECHO, Label, Reach, Scene, at_once, container, reach, wait_state};

/// Containers that are probed at the same time.
const AT_ONCE: usize = 12;

/// A container that no label concerns, on the same bridge.
const NEIGHBOUR: &str = "neighbour";

/// Where a policy applies.
struct Place {
    name: &'static str,
    policy: &'static str,
    other: Option<Label<'static>>,
    directions: &'static [&'static str],
}

const PLACES: [Place; 4] = [
    Place { name: "xdp", policy: "xdp.policy", other: None, directions: &["egress"] },
    Place {
        name: "tc-egress",
        policy: "tc.policy",
        other: Some(("tc.direction", "egress")),
        directions: &["egress"],
    },
    Place {
        name: "tc-ingress",
        policy: "tc.policy",
        other: Some(("tc.direction", "ingress")),
        directions: &["ingress"],
    },
    Place { name: "tc-both", policy: "tc.policy", other: None, directions: &["egress", "ingress"] },
];

/// One container and what is expected of it.
struct Case<'a> {
    name: String,
    labels: Vec<Label<'a>>,
    /// What still makes it there and back.
    reach: Reach,
    /// The presets that drop something, at whichever hook.
    dropping: Vec<&'a str>,
    /// The container's directions that are policed.
    directions: Vec<&'a str>,
}

#[test]
fn t25_every_preset_drops_at_every_hook_what_that_hook_sees() -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    let mut cases = Vec::new();
    for (preset, reach) in [
        ("pass", Reach::ALL),
        ("log", Reach::ALL),
        ("drop-tcp", Reach { tcp: false, ..Reach::ALL }),
        ("drop-udp", Reach { udp: false, ..Reach::ALL }),
        ("drop-icmp", Reach { icmp: false, ..Reach::ALL }),
        ("drop-all", Reach::NOTHING),
    ] {
        let dropping = if preset.starts_with("drop-") { vec![preset] } else { vec![] };
        cases.extend(PLACES.iter().map(|place| Case {
            name: format!("{}-{preset}", place.name),
            labels: [(place.policy, preset)].into_iter().chain(place.other).collect(),
            reach,
            dropping: dropping.clone(),
            directions: place.directions.to_vec(),
        }));
    }
    check(&cases)
}

#[test]
fn presets_add_up_in_lists_and_over_hooks() -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    let ping_alone = Reach { icmp: true, ..Reach::NOTHING };
    let case = |name: &str, labels: &[Label<'static>], reach, dropping: &[&'static str]| Case {
        name: name.to_owned(),
        labels: labels.to_vec(),
        reach,
        dropping: dropping.to_vec(),
        directions: Vec::new(),
    };
    let tcp_udp = ["drop-tcp", "drop-udp"];
    check(&[
        case("xdp-list", &[("xdp.policy", "drop-tcp,drop-udp")], ping_alone, &tcp_udp),
        case("tc-list", &[("tc.policy", "drop-udp, log, drop-tcp")], ping_alone, &tcp_udp),
        case("pass-in-list", &[("xdp.policy", "pass,drop-tcp,drop-udp")], ping_alone, &tcp_udp),
        case(
            "xdp-and-tc",
            &[("xdp.policy", "drop-tcp"), ("tc.policy", "drop-udp")],
            ping_alone,
            &tcp_udp,
        ),
        case(
            "pass-loosens-nothing",
            &[("xdp.policy", "pass"), ("tc.policy", "drop-tcp,drop-udp")],
            ping_alone,
            &tcp_udp,
        ),
        case(
            "everything-by-name",
            &[("xdp.policy", "drop-tcp,drop-udp,drop-icmp")],
            Reach::NOTHING,
            &["drop-icmp", "drop-tcp", "drop-udp"],
        ),
    ])
}

/// Runs a container for each case on one bridge and probes them all.
fn check(cases: &[Case<'_>]) -> Result<()> {
    let scene = Scene::start()?;
    let daemon = scene.daemon()?;
    for name in [NEIGHBOUR, "unlabelled"] {
        scene.run(name, &[])?;
        scene.wait_listening(name)?;
    }
    at_once(
        cases
            .chunks(cases.len().div_ceil(2))
            .map(|half| || half.iter().try_for_each(|case| scene.run(&case.name, &case.labels))),
    )?;
    let _echo = scene.engine().from_container("unlabelled")?.echo_server(ECHO)?;
    assert_eq!(scene.reach_from_host("unlabelled")?, Reach::ALL, "before anything is probed");
    let ports = (ECHO + 1..).step_by(2);
    let cases: Vec<(&Case<'_>, u16)> = cases.iter().zip(ports).collect();
    for some in cases.chunks(AT_ONCE) {
        let (scene, daemon) = (&scene, &daemon);
        at_once(some.iter().map(|(case, port)| {
            move || probe(scene, daemon, case, *port).with_context(|| format!("case {}", case.name))
        }))?;
    }
    assert_eq!(scene.reach_from_host("unlabelled")?, Reach::ALL, "what has no label is untouched");
    let named: BTreeSet<String> =
        crate::scene::status(&daemon)?.containers.into_iter().map(|one| one.name).collect();
    let expected: BTreeSet<String> = cases.iter().map(|(case, _)| case.name.clone()).collect();
    assert_eq!(named, expected, "status shows the labelled containers and no others");
    Ok(())
}

/// Sends to and from one container. `port` and the next are its own, there and at the neighbour.
fn probe(scene: &Scene, daemon: &Daemon<'_>, case: &Case<'_>, port: u16) -> Result<()> {
    let Case { name, reach: expected, .. } = case;
    wait_state(daemon, name, State::Enforced)?;
    scene.wait_listening(name)?;
    let engine = scene.engine();
    let (inside, neighbour) = (engine.from_container(name)?, engine.from_container(NEIGHBOUR)?);
    let (own, theirs) = (inside.echo_server(port)?, neighbour.echo_server(port + 1)?);
    let (to, from) = (scene.addresses(name)?, scene.addresses(NEIGHBOUR)?);
    let host = engine.from_host();
    let ways = [(&host, &to, port), (&neighbour, &to, port), (&inside, &from, port + 1)];
    let reached = at_once(ways.into_iter().map(|(from, to, port)| move || reach(from, to, port)))?;
    let expected = [*expected; 3];
    assert_eq!(reached, expected, "{name}: from the host, from and to its neighbour");
    check_arrivals(case, &own, &theirs)?;
    check_counters(case, &container(daemon, name)?);
    Ok(())
}

/// A datagram whose answer is dropped still arrives: that tells one direction from the other.
fn check_arrivals(case: &Case<'_>, own: &EchoServer, theirs: &EchoServer) -> Result<()> {
    let Case { name, dropping, directions, .. } = case;
    // Without ARP a datagram is not even sent.
    if directions.is_empty() || dropping.contains(&"drop-all") {
        return Ok(());
    }
    let arrive = |direction, sent| {
        if dropping.contains(&"drop-udp") && directions.contains(&direction) { 0 } else { sent }
    };
    assert_eq!(own.received()?, arrive("ingress", 4), "{name}: datagrams of host and neighbour");
    assert_eq!(theirs.received()?, arrive("egress", 2), "{name}: datagrams to the neighbour");
    Ok(())
}

/// Each policed direction has a program that counted, and nothing was dropped for other reasons.
fn check_counters(case: &Case<'_>, status: &ContainerStatus) {
    let Case { name, dropping, directions, .. } = case;
    let hooks: Vec<_> = status.interfaces.iter().flat_map(|interface| &interface.hooks).collect();
    if !directions.is_empty() {
        let policed: Vec<&str> = hooks.iter().map(|hook| hook.direction.as_str()).collect();
        assert_eq!(policed, *directions, "{name}: {hooks:?}");
    }
    let reasons: BTreeSet<&str> =
        hooks.iter().flat_map(|hook| hook.traffic.dropped.keys()).map(String::as_str).collect();
    let expected: BTreeSet<&str> = dropping.iter().copied().collect();
    assert_eq!(reasons, expected, "{name}: why packets were dropped: {hooks:?}");
    for hook in hooks {
        let passes = !hook.policy.contains("drop-all");
        assert_eq!(hook.traffic.passed.packets > 0, passes, "{name}: packets pass: {hook:?}");
        let dropped = hook.traffic.dropped_packets();
        assert_eq!(dropped > 0, hook.policy.contains("drop-"), "{name}: dropped: {hook:?}");
    }
}
