//! Fragments: what is dropped is dropped whole, not its first piece alone.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context as _, Result};
use ebpf_netns_plugin::status::State;
use ebpf_netns_tests::{
    Daemon, privilege,
    traffic::{Reply, Vantage},
};

use crate::scene::{ECHO, Label, Scene, at_once, container, hooks, wait_state};

/// Three fragments, over IPv4 and IPv6, on a network with the usual MTU of 1,500.
const LARGE: usize = 4000;
const FRAGMENTS: u64 = 3;

/// Where a policy applies: the container's direction that it sees, its key and another label.
type Place = (&'static str, &'static str, &'static [Label<'static>]);

const PLACES: [Place; 3] = [
    ("egress", "xdp.policy", &[]),
    ("egress", "tc.policy", &[("tc.direction", "egress")]),
    ("ingress", "tc.policy", &[("tc.direction", "ingress")]),
];

#[test]
fn fragments_share_the_fate_of_their_packet() -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    let scene = Scene::start()?;
    let daemon = scene.daemon()?;
    let cases =
        PLACES.iter().flat_map(|place| ["drop-udp", "drop-icmp"].map(|preset| (place, preset)));
    at_once(cases.zip(ECHO..).map(|((place, preset), port)| {
        let case = Case { name: format!("{preset}-{port}"), place, preset, port };
        let (scene, daemon) = (&scene, &daemon);
        move || check(scene, daemon, &case).with_context(|| case.name.clone())
    }))?;
    Ok(())
}

/// A container with a preset somewhere, and a neighbour and a port of its own.
struct Case<'a> {
    name: String,
    place: &'a Place,
    preset: &'a str,
    port: u16,
}

fn check(scene: &Scene, daemon: &Daemon<'_>, case: &Case<'_>) -> Result<()> {
    let Case { name, place: (direction, policy, other), preset, port } = case;
    let neighbour = format!("neighbour-of-{name}");
    scene.run(name, &[&[(*policy, *preset)], *other].concat())?;
    scene.run(&neighbour, &[])?;
    wait_state(daemon, name, State::Enforced)?;
    let (from, to) = if *direction == "egress" { (name, &neighbour) } else { (&neighbour, name) };
    let (sender, receiver) =
        (scene.engine().from_container(from)?, scene.engine().from_container(to)?);
    let echo = receiver.echo_server(*port)?;
    let addresses = scene.addresses(to)?;
    let dropped = || -> Result<u64> {
        let status = container(daemon, name)?;
        let hook = *hooks(&status)?.get(direction).context("the direction is policed")?;
        Ok(hook.traffic.dropped.get(*preset).map_or(0, |count| count.packets))
    };
    let udp = |to| udp(&sender, SocketAddr::from((to, *port)));
    let ping = |to| ping(&sender, to);

    // What the preset lets pass is large too, and arrives.
    for address in addresses {
        let passes = if *preset == "drop-udp" { ping(address)? } else { udp(address)? };
        assert!(passes, "{name}: large packets of another kind to {address} are answered");
    }
    let (dropped_before, seen_before) = (dropped()?, fragments_seen(&receiver)?);
    let received_before = echo.received()?;
    assert!(seen_before >= 2 * FRAGMENTS, "{name}: those were fragments: {seen_before}");
    for address in addresses {
        let passes = if *preset == "drop-udp" { udp(address)? } else { ping(address)? };
        assert!(!passes, "{name}: a large packet to {address} is lost");
    }
    let seen = fragments_seen(&receiver)? - seen_before;
    assert_eq!(seen, 0, "{name}: not one fragment arrives");
    assert_eq!(echo.received()?, received_before, "{name}: nothing arrives");
    let dropped = dropped()? - dropped_before;
    // A kernel sends ICMPv6 of its own accord, too.
    let all = dropped >= 2 * FRAGMENTS && (*preset == "drop-icmp" || dropped == 2 * FRAGMENTS);
    assert!(all, "{name}: each fragment counts, of IPv4 and of IPv6: {dropped}");
    Ok(())
}

fn udp(from: &Vantage<'_>, to: SocketAddr) -> Result<bool> {
    Ok(from.udp_of(LARGE, to)? == Reply::Echoed)
}

fn ping(from: &Vantage<'_>, to: IpAddr) -> Result<bool> {
    Ok(from.ping_of(LARGE, to, 1)?.is_complete())
}

/// Fragments of IPv4 and IPv6 that a namespace was given to reassemble.
fn fragments_seen(at: &Vantage<'_>) -> Result<u64> {
    let read = |path: &str| {
        let mut cat = at.command("cat");
        ebpf_netns_tests::command::stdout_of(cat.arg(path))
    };
    // Two lines begin with `Ip:`, the names and the numbers.
    let v4 = read("/proc/net/snmp")?;
    let mut lines = v4.lines().filter(|line| line.starts_with("Ip:"));
    let (names, numbers) = lines.next().zip(lines.next()).context("/proc/net/snmp has Ip")?;
    let mut fields = names.split_whitespace().zip(numbers.split_whitespace());
    let v4 = fields.find(|(name, _)| *name == "ReasmReqds").context("ReasmReqds")?.1;
    let v6 = read("/proc/net/snmp6")?;
    let v6 = v6.lines().find_map(|line| line.strip_prefix("Ip6ReasmReqds")).context("for IPv6")?;
    Ok(v4.parse::<u64>()? + v6.trim().parse::<u64>()?)
}
