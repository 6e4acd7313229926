//! Policies that are swapped while a container sends what both of them forbid: not a frame passes.

use anyhow::{Context as _, Result, ensure};
use ebpf_netns_plugin::status::State;
use ebpf_netns_tests::{
    Configuration, DEADLINE, Daemon, Machine, Process, command::stdout_of, privilege, wait_for,
};
use serde_json::Value;

use crate::{
    config::{configured, reloaded},
    scene::{Scene, container, wait_state},
};

/// Swaps of one policy for another at the same hooks.
const SWAPS: usize = 200;
/// Swaps of one hook for another, in which programs are attached and detached.
const MOVES: usize = 20;

/// Sends to a port that nobody listens at, for as long as it lives.
const FLOOD: &str = "exec 2>/dev/null 3>/dev/udp/$0/9; while :; do printf frame >&3; done";

#[test]
fn no_frame_passes_while_policies_are_swapped() -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    let scene = Scene::start()?;
    let configuration = Configuration::new(scene.machine(), "")?;
    configuration.policy("web", "drop-udp")?;
    let daemon = configured(&scene, &configuration)?;
    scene.run("web", &[("tc.policy", "web")])?;
    wait_state(&daemon, "web", State::Enforced)?;
    let before = arrived(scene.machine())?;
    let _flood = flood(&scene, "web")?;
    wait_for(DEADLINE, "the flood", || {
        ensure!(dropped(&daemon)? > 1000, "it has not begun");
        Ok(())
    })?;

    let begun = dropped(&daemon)?;
    for round in 0..SWAPS {
        let even = round.is_multiple_of(2);
        configuration.policy("web", if even { "drop-udp, drop-icmp" } else { "drop-udp" })?;
        let said = reloaded(&daemon)?;
        ensure!(said.contains("changed: 1"), "round {round}: {said}");
    }
    let swapped = dropped(&daemon)?;
    assert!(swapped > begun + SWAPS as u64, "it was flooded all the time: {begun}, {swapped}");
    assert_eq!(arrived(scene.machine())? - before, 0, "frames that passed, of {swapped}");

    // From one hook to another, and from label to default policy.
    let default = |key: &str| configuration.write(&format!("[default]\n{key} = \"drop-udp\"\n"));
    default("xdp.policy")?;
    reloaded(&daemon)?;
    configuration.policy("web", "pass")?;
    reloaded(&daemon)?;
    for round in 0..MOVES {
        default(if round.is_multiple_of(2) { "tc.policy" } else { "xdp.policy" })?;
        let said = reloaded(&daemon)?;
        ensure!(said.contains("changed: 1") && !said.contains("still"), "round {round}: {said}");
    }
    wait_state(&daemon, "web", State::Enforced)?;
    assert_eq!(arrived(scene.machine())? - before, 0, "frames that passed, of more than {swapped}");

    // What would have been seen.
    configuration.write("")?;
    reloaded(&daemon)?;
    wait_for(DEADLINE, "frames that pass", || {
        ensure!(arrived(scene.machine())? > before, "none came");
        Ok(())
    })?;
    scene.end(daemon)
}

/// Has a container send datagrams to its gateway, the host, as fast as it can.
pub(crate) fn flood(scene: &Scene, name: &str) -> Result<Process> {
    let inside = scene.engine().from_container(name)?;
    let route = stdout_of(inside.command("ip").args(["-4", "-j", "route", "show", "default"]))?;
    let route: Value = serde_json::from_str(&route)?;
    let gateway = route[0]["gateway"].as_str().context("a gateway")?;
    let mut flood = inside.command("bash");
    let (process, _log) = scene.machine().spawn(flood.args(["-c", FLOOD, gateway]), "flood.log")?;
    Ok(process)
}

/// Datagrams that reached the host, whether or not anybody listened for them.
pub(crate) fn arrived(machine: &Machine) -> Result<u64> {
    let text = machine.run("cat", ["/proc/net/snmp"])?;
    let mut rows = text.lines().filter_map(|line| line.strip_prefix("Udp: "));
    let (names, counts) = rows.next().zip(rows.next()).context("two lines of UDP")?;
    let counts = names.split(' ').zip(counts.split(' '));
    let received = counts.filter(|(name, _)| ["InDatagrams", "NoPorts", "InErrors"].contains(name));
    received.map(|(_, count)| Ok(count.parse::<u64>()?)).sum()
}

/// What the programs on the container's interface dropped.
pub(crate) fn dropped(daemon: &Daemon<'_>) -> Result<u64> {
    let web = container(daemon, "web")?;
    let hooks = web.interfaces.iter().flat_map(|interface| &interface.hooks);
    Ok(hooks.map(|hook| hook.traffic.dropped_packets()).sum())
}
