//! A container that is starting: its policy stands before its first instruction, although Docker
//! answers no question about it until it has started.

use std::net::IpAddr;

use anyhow::{Context as _, Result, ensure};
use ebpf_netns_plugin::status::{ContainerStatus, State};
use ebpf_netns_tests::{
    DEADLINE, Daemon, Process,
    binaries::{self, Binary},
    engine::GATED_RUNTIME,
    privilege, wait_for,
};
use serde_json::Value;

use crate::{
    residue,
    scene::{
        ECHO, LAN, Label, Reach, Scene, check_no_ping, check_ping, only_interface, status,
        wait_state,
    },
};

#[test]
fn t10_policy_stands_before_the_first_instruction_although_inspect_blocks() -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    let scene = Scene::start()?;
    let (gate, daemon) = (scene.engine().gate(), scene.daemon()?);
    // What has no label answers pings while it is held, by its kernel alone.
    let mut plain = start_gated(&scene, "plain", &[])?;
    gate.wait_held()?;
    check_ping(&scene.engine().from_host(), &addresses(&scene, "plain")?, true, "no label")?;
    gate.open()?;
    ensure!(plain.wait(DEADLINE)?.success(), "plain starts");
    gate.close()?;

    for (name, labels, state) in [
        ("xdp", &[("xdp.policy", "drop-icmp")] as &[Label<'_>], State::Enforced),
        ("tc", &[("tc.policy", "drop-icmp")], State::Enforced),
        ("closed", &[("xdp.policy", "drop-icpm")], State::Closed),
    ] {
        let mut starting = start_gated(&scene, name, labels)?;
        gate.wait_held()?;
        let held = wait_interface(&daemon, name, state)?;
        ensure!(starting.is_running()?, "{name} is held");
        assert!(is_attached(&scene, &held)?, "{name}: a program is on its veth: {held:?}");
        check_ping(&scene.engine().from_host(), &addresses(&scene, name)?, false, name)?;
        let mut inspect = scene.engine().docker_command();
        inspect.args(["container", "inspect", name]);
        let (mut inspect, _log) = scene.machine().spawn(&mut inspect, "inspect.log")?;
        // Others are served meanwhile.
        let other = format!("beside-{name}");
        scene.run(&other, &[("tc.policy", "drop-icmp")])?;
        wait_state(&daemon, &other, State::Enforced)?;
        check_no_ping(&scene, &other, "while another is starting")?;
        let links = residue::links(scene.machine(), &residue::programs(&status(&daemon)?))?;
        ensure!(starting.is_running()?, "{name} is still held");
        assert!(inspect.is_running()?, "{name}: Docker has not answered an inspect meanwhile");

        gate.open()?;
        ensure!(inspect.wait(DEADLINE)?.success(), "{name}: Docker answers now");
        ensure!(starting.wait(DEADLINE)?.success(), "{name} starts");
        gate.close()?;
        let started = wait_interface(&daemon, name, state)?;
        let (before, after) = (only_interface(&held)?, only_interface(&started)?);
        assert_eq!(after.host, before.host, "{name}: the interface is the same");
        check_no_ping(&scene, name, "after its start")?;
        let kept = residue::links(scene.machine(), &residue::programs(&status(&daemon)?))?;
        assert_eq!(kept, links, "{name}: nothing was attached anew");
    }
    let _echo = scene.engine().from_container("plain")?.echo_server(ECHO)?;
    assert_eq!(scene.reach_from_host("plain")?, Reach::ALL, "what has no label is untouched");
    Ok(())
}

/// `docker run` of a container that waits at the gate.
pub(crate) fn start_gated(scene: &Scene, name: &str, labels: &[Label<'_>]) -> Result<Process> {
    let mut run = scene.engine().docker_command();
    run.args(["run", "--detach", "--name", name, "--network", LAN, "--runtime", GATED_RUNTIME]);
    run.args(labels.iter().map(|(key, value)| format!("--label={key}={value}")));
    let (process, _log) = scene.machine().spawn(run.arg("noshell"), &format!("run-{name}.log"))?;
    Ok(process)
}

/// Waits until a container is in a state and has one interface with programs.
pub(crate) fn wait_interface(
    daemon: &Daemon<'_>,
    name: &str,
    state: State,
) -> Result<ContainerStatus> {
    wait_for(DEADLINE, &format!("an interface of {name}"), || {
        let container = wait_state(daemon, name, state)?;
        ensure!(!only_interface(&container)?.hooks.is_empty(), "{container:?}");
        Ok(container)
    })
}

/// Whether the programs that the status names are on the host's end.
fn is_attached(scene: &Scene, container: &ContainerStatus) -> Result<bool> {
    let interface = only_interface(container)?;
    let host = interface.host.as_ref().context("it has a host-side veth")?;
    let ids: Vec<u32> =
        interface.hooks.iter().filter_map(|hook| Some(hook.program.as_ref()?.id)).collect();
    let plugin = binaries::path(Binary::Plugin)?;
    let shown =
        scene.machine().run(plugin, ["attached", "--format=json", &host.ifindex.to_string()])?;
    let shown: Value = serde_json::from_str(&shown)?;
    let found: Vec<u64> = shown
        .as_array()
        .context("a list")?
        .iter()
        .filter_map(|program| program["program"]["id"].as_u64())
        .collect();
    Ok(!ids.is_empty() && ids.iter().all(|id| found.contains(&u64::from(*id))))
}

/// A container's addresses as its network tells them: also while it is starting.
pub(crate) fn addresses(scene: &Scene, name: &str) -> Result<Vec<IpAddr>> {
    wait_for(DEADLINE, &format!("addresses of {name}"), || {
        let network = scene.engine().docker(["network", "inspect", LAN])?;
        let network: Value = serde_json::from_str(&network)?;
        let containers = network[0]["Containers"].as_object().context("containers")?;
        let endpoint = containers.values().find(|endpoint| endpoint["Name"] == name);
        let endpoint = endpoint.with_context(|| format!("{name} is not on {network}"))?;
        ["IPv4Address", "IPv6Address"]
            .into_iter()
            .map(|key| {
                let address = endpoint[key].as_str().and_then(|text| text.split('/').next());
                Ok(address.context("an address")?.parse()?)
            })
            .collect()
    })
}
