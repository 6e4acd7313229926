//! Which interfaces a container's policy is on: of every network it is on, of whom it shares a
//! namespace with, and never one that is not its own.

use anyhow::{Context as _, Result, ensure};
use ebpf_netns_plugin::status::{ContainerStatus, State};
use ebpf_netns_tests::{DEADLINE, Daemon, privilege, wait_for};

use crate::{
    residue,
    scene::{ECHO, LAN, Reach, Scene, check_ping, container, only_interface, status, wait_state},
};

#[test]
fn t9_every_network_is_policed_also_one_connected_later() -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    let scene = Scene::start()?;
    let (engine, daemon) = (scene.engine(), scene.daemon()?);
    for (name, subnet) in [("second", "fd00:2::/64"), ("third", "fd00:3::/64")] {
        scene.network(name, &["--ipv6", "--subnet", subnet])?;
    }
    let host = engine.from_host();
    let check = |name: &str, networks: &[&str]| -> Result<()> {
        let container = wait_networks(&daemon, name, networks)?;
        for network in networks {
            let to = engine.addresses_on(name, network)?.both()?;
            check_ping(&host, &to, false, &format!("{name} on {network}: {container:?}"))?;
        }
        Ok(())
    };
    // Connected before the start, and while it runs.
    scene.create("web", &[("tc.policy", "drop-icmp")], &["--network", LAN])?;
    engine.docker(["network", "connect", "second", "web"])?;
    engine.docker(["start", "web"])?;
    check("web", &[LAN, "second"])?;
    engine.docker(["network", "connect", "third", "web"])?;
    check("web", &[LAN, "second", "third"])?;
    engine.docker(["network", "disconnect", LAN, "web"])?;
    check("web", &["second", "third"])?;
    engine.docker(["network", "connect", LAN, "web"])?;
    check("web", &[LAN, "second", "third"])?;
    engine.docker(["restart", "web"])?;
    check("web", &[LAN, "second", "third"])?;
    // From no network to one.
    scene.create("late", &[("xdp.policy", "drop-icmp")], &["--network", LAN])?;
    engine.docker(["network", "disconnect", LAN, "late"])?;
    engine.docker(["start", "late"])?;
    wait_state(&daemon, "late", State::Idle)?;
    engine.docker(["network", "connect", LAN, "late"])?;
    check("late", &[LAN])
}

#[test]
fn t20_who_shares_a_network_namespace_can_only_tighten_it() -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    let scene = Scene::start()?;
    let (engine, daemon) = (scene.engine(), scene.daemon()?);
    let share = |owner: &str| format!("--network=container:{owner}");
    // The owner has no label: what there is comes from who joined it.
    scene.run("plain", &[])?;
    scene.wait_listening("plain")?;
    let _echo = engine.from_container("plain")?.echo_server(ECHO)?;
    // Each on a port of its own: they share those too.
    let mut port = 80;
    let mut shell = |name: &str, labels: &[(&str, &str)], network: &str| {
        port += 1;
        scene.run_command(name, labels, &[network], &["/httpd", "-f", "-p", &port.to_string()])
    };
    shell("joiner", &[("xdp.policy", "drop-icmp")], &share("plain"))?;
    let key = engine.inspect("joiner", "{{.NetworkSettings.SandboxKey}}")?;
    assert_eq!(key, "", "Docker tells no namespace for what shares another's");
    let joiner = wait_state(&daemon, "joiner", State::Enforced)?;
    assert_eq!(only_interface(&joiner)?.hooks.len(), 1, "the joiner's policy: {joiner:?}");
    let no_icmp = Reach { icmp: false, ..Reach::ALL };
    assert_eq!(scene.reach_from_host("plain")?, no_icmp, "the joiner's policy is on both");
    // A second one adds to it, on the same interface, and takes it away again.
    shell("second", &[("tc.policy", "drop-udp"), ("tc.direction", "ingress")], &share("joiner"))?;
    let second = wait_state(&daemon, "second", State::Enforced)?;
    assert_eq!(only_interface(&second)?.host, only_interface(&joiner)?.host, "one veth for all");
    let tcp_alone = Reach { tcp: true, ..Reach::NOTHING };
    assert_eq!(scene.reach_from_host("plain")?, tcp_alone, "both policies are on all three");
    engine.docker(["rm", "--force", "joiner"])?;
    wait_hooks(&daemon, "second", 1)?;
    let no_udp = Reach { udp: false, ..Reach::ALL };
    assert_eq!(scene.reach_from_host("plain")?, no_udp, "what the first asked for went with it");
    // What is not understood closes the interface for all who use it.
    shell("broken", &[("xdp.policy", "drop-tpc")], &share("plain"))?;
    let broken = wait_state(&daemon, "broken", State::Closed)?;
    let second = wait_state(&daemon, "second", State::Closed)?;
    for container in [&broken, &second] {
        let reason = container.reason.as_deref().unwrap_or_default();
        assert!(reason.contains("drop-tpc"), "the reason is the label: {reason:?}");
    }
    assert_eq!(scene.reach_from_host("plain")?, Reach::NOTHING, "closed for all");
    engine.docker(["rm", "--force", "broken", "second"])?;
    wait_for(DEADLINE, "the owner to be released", || {
        let reached = scene.reach_from_host("plain")?;
        ensure!(reached == Reach::ALL, "{reached:?}");
        Ok(())
    })?;
    // Modes that cannot both be had.
    scene.run("owner", &[("xdp.policy", "log"), ("xdp.mode", "native")])?;
    shell("other", &[("xdp.policy", "log"), ("xdp.mode", "generic")], &share("owner"))?;
    let closed = wait_state(&daemon, "owner", State::Closed)?;
    let reason = closed.reason.unwrap_or_default();
    assert!(reason.contains("different values of xdp.mode"), "the reason says it: {reason:?}");
    Ok(())
}

#[test]
fn t7_what_has_no_host_side_veth_is_unenforceable_and_no_parent_is_touched() -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    let scene = Scene::start()?;
    let (engine, machine) = (scene.engine(), scene.machine());
    // A pair that stands for the host's network card and what it is plugged into.
    machine.run("ip", ["link", "add", "nic0", "type", "veth", "peer", "name", "plug0"])?;
    for link in ["nic0", "plug0"] {
        machine.run("ip", ["link", "set", link, "up"])?;
    }
    scene.network("vlan", &["-d", "macvlan", "-o", "parent=nic0", "--subnet", "10.77.0.0/24"])?;
    let before = residue::attached(machine)?;
    let daemon = scene.daemon()?;
    let labels = [("xdp.policy", "drop-all"), ("tc.policy", "drop-all")];
    scene.run_with("none", &labels, &["--network", "none"])?;
    scene.run_with("host", &labels, &["--network", "host"])?;
    scene.run_with("macvlan", &labels, &["--network", "vlan"])?;
    scene.run_command(
        "host-joiner",
        &labels,
        &["--network", "container:host"],
        &["/httpd", "-f", "-p", "81"],
    )?;

    let none = wait_state(&daemon, "none", State::Idle)?;
    assert!(none.interfaces.is_empty(), "there is nothing to police: {none:?}");
    for name in ["host", "host-joiner"] {
        let host = wait_state(&daemon, name, State::Unenforceable)?;
        let reason = host.reason.unwrap_or_default();
        assert!(reason.contains("--network host"), "{name}: the reason says why: {reason:?}");
    }
    let macvlan = wait_state(&daemon, "macvlan", State::Unenforceable)?;
    let interface = only_interface(&macvlan)?;
    let reason = interface.reason.as_deref().unwrap_or_default();
    assert!(reason.contains("macvlan"), "the reason says what it is: {reason:?}");
    assert_eq!((interface.host.as_ref(), interface.hooks.len()), (None, 0), "{interface:?}");
    assert_eq!(residue::attached(machine)?, before, "no interface of the host has a program");
    let nics: Vec<u32> = ["nic0", "plug0", "docker0", "lo"]
        .into_iter()
        .map(|name| ifindex(&scene, name))
        .collect::<Result<_>>()?;
    assert_eq!(attached_programs(&daemon, &nics)?, "[]", "nor one at TCX");

    // A second network with a veth is policed all the same.
    engine.docker(["network", "connect", LAN, "macvlan"])?;
    wait_for(DEADLINE, "the second interface to be enforced", || {
        let container = container(&daemon, "macvlan")?;
        let enforced =
            container.interfaces.iter().filter(|interface| interface.state == State::Enforced);
        ensure!(enforced.count() == 1 && container.interfaces.len() == 2, "{container:?}");
        ensure!(container.state == State::Unenforceable, "the worst of both: {container:?}");
        Ok(())
    })?;
    assert_eq!(attached_programs(&daemon, &nics)?, "[]", "the parent is still untouched");
    Ok(())
}

/// Waits until a container is enforced on exactly these networks.
fn wait_networks(daemon: &Daemon<'_>, name: &str, networks: &[&str]) -> Result<ContainerStatus> {
    let mut expected: Vec<&str> = networks.to_vec();
    expected.sort_unstable();
    wait_for(DEADLINE, &format!("{name} to be enforced on {networks:?}"), || {
        let container = wait_state(daemon, name, State::Enforced)?;
        let interfaces = container.interfaces.iter();
        let mut found: Vec<&str> =
            interfaces.filter_map(|interface| interface.network.as_deref()).collect();
        found.sort_unstable();
        ensure!(found == expected, "{container:?}");
        Ok(container)
    })
}

fn wait_hooks(daemon: &Daemon<'_>, name: &str, count: usize) -> Result<()> {
    wait_for(DEADLINE, &format!("{name} to have {count} hooks"), || {
        let container = container(daemon, name)?;
        ensure!(only_interface(&container)?.hooks.len() == count, "{container:?}");
        ensure!(status(daemon)?.containers.len() == 1, "others are gone");
        Ok(())
    })
}

fn ifindex(scene: &Scene, name: &str) -> Result<u32> {
    let line = scene.machine().run("ip", ["-oneline", "link", "show", "dev", name])?;
    let (number, _) = line.split_once(':').context("ip link prints INDEX: NAME")?;
    Ok(number.parse()?)
}

/// What `attached` prints of some interfaces.
fn attached_programs(daemon: &Daemon<'_>, interfaces: &[u32]) -> Result<String> {
    let mut attached = daemon.plugin()?;
    attached.args(["attached", "--format=json"]).args(interfaces.iter().map(u32::to_string));
    ebpf_netns_tests::command::stdout_of(&mut attached)
}
