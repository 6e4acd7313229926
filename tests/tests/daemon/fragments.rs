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

const NEIGHBOUR: &str = "neighbour";

/// Where a policy applies: the container's direction that it sees, and its labels without value.
const PLACES: [(&str, &str, &[Label<'static>]); 3] = [
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
    let cases = PLACES.into_iter().enumerate().flat_map(|(number, place)| {
        ["drop-udp", "drop-icmp"].map(|preset| (number, place, preset))
    });
    at_once(cases.map(|(number, place, preset)| {
        let (scene, daemon) = (&scene, &daemon);
        // Each has a neighbour of its own, whose reassembly is counted.
        let names = [preset.to_owned(), format!("{NEIGHBOUR}-{preset}")]
            .map(|name| format!("{name}-{number}"));
        move || {
            let [name, neighbour] = &names;
            check(scene, daemon, [name, neighbour], place, preset).with_context(|| name.clone())
        }
    }))?;
    Ok(())
}

fn check(
    scene: &Scene,
    daemon: &Daemon<'_>,
    [name, neighbour]: [&str; 2],
    (direction, policy, other): (&str, &str, &[Label<'_>]),
    preset: &str,
) -> Result<()> {
    scene.run(name, &[&[(policy, preset)], other].concat())?;
    scene.run(neighbour, &[])?;
    wait_state(daemon, name, State::Enforced)?;
    let (from, to) = if direction == "egress" { (name, neighbour) } else { (neighbour, name) };
    let (sender, receiver) =
        (scene.engine().from_container(from)?, scene.engine().from_container(to)?);
    let echo = receiver.echo_server(ECHO)?;
    let addresses = scene.addresses(to)?;
    let dropped = || -> Result<u64> {
        let status = container(daemon, name)?;
        let hook = *hooks(&status)?.get(direction).context("the direction is policed")?;
        Ok(hook.traffic.dropped.get(preset).map_or(0, |count| count.packets))
    };

    // What the preset lets pass is large too, and arrives.
    for address in addresses {
        let passes =
            if preset == "drop-udp" { ping(&sender, address)? } else { udp(&sender, address)? };
        assert!(passes, "{preset}: large packets of another kind to {address} are answered");
    }
    let (dropped_before, seen_before) = (dropped()?, fragments_seen(&receiver)?);
    let received_before = echo.received()?;
    assert!(seen_before >= 2 * FRAGMENTS, "{preset}: those were fragments: {seen_before}");
    for address in addresses {
        let passes =
            if preset == "drop-udp" { udp(&sender, address)? } else { ping(&sender, address)? };
        assert!(!passes, "{preset}: a large packet to {address} is lost");
    }
    let seen = fragments_seen(&receiver)? - seen_before;
    assert_eq!(seen, 0, "{preset}: not one fragment arrives");
    assert_eq!(echo.received()?, received_before, "{preset}: nothing arrives");
    let dropped = dropped()? - dropped_before;
    assert_eq!(dropped, 2 * FRAGMENTS, "{preset}: each fragment counts, of IPv4 and of IPv6");
    Ok(())
}

fn udp(from: &Vantage<'_>, to: IpAddr) -> Result<bool> {
    Ok(from.udp_of(LARGE, SocketAddr::from((to, ECHO)))? == Reply::Echoed)
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
