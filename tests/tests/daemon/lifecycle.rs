//! Policy over the life of a container and of the daemon: it is there for as long as both are, and
//! then nothing of it is.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, ensure};
use ebpf_netns_plugin::status::{ContainerStatus, State};
use ebpf_netns_tests::{DEADLINE, Daemon, privilege, wait_for, wait_until};
use nix::sys::signal::Signal;

use crate::{
    residue,
    scene::{
        ECHO, LAN, Reach, Scene, check_no_ping, check_ping, container, http_works, only_interface,
        status, wait_state,
    },
};

#[test]
fn policy_follows_a_container_through_its_life() -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    let scene = Scene::start()?;
    let (engine, machine) = (scene.engine(), scene.machine());
    scene.run("early", &[("xdp.policy", "drop-icmp")])?;
    let daemon = scene.daemon()?;
    wait_state(&daemon, "early", State::Enforced)?;
    check_no_ping(&scene, "early", "it ran before the daemon")?;

    scene.create("web", &[("tc.policy", "drop-icmp")], &["--network", LAN])?;
    let created = wait_state(&daemon, "web", State::Idle)?;
    assert!(created.interfaces.is_empty(), "what was only created has no interface: {created:?}");
    let mut seen = BTreeSet::new();
    for verb in ["start", "restart"] {
        engine.docker([verb, "web"])?;
        let veth = wait_new_veth(&daemon, "web", &mut seen)?;
        check_no_ping(&scene, "web", verb)?;
        engine.docker(["pause", "web"])?;
        check_no_ping(&scene, "web", "paused")?;
        engine.docker(["unpause", "web"])?;
        let after = wait_state(&daemon, "web", State::Enforced)?;
        assert_eq!(host_veth(&after)?, veth, "pausing changes no interface");
        check_no_ping(&scene, "web", "unpaused")?;
    }
    engine.docker(["rename", "web", "renamed"])?;
    wait_state(&daemon, "renamed", State::Enforced)?;
    check_no_ping(&scene, "renamed", "renamed")?;
    assert!(container(&daemon, "web").is_err(), "the old name is forgotten");

    for verb in ["stop", "kill"] {
        engine.docker([verb, "renamed"])?;
        let stopped = wait_state(&daemon, "renamed", State::Idle)?;
        assert!(stopped.interfaces.is_empty(), "after {verb} it has no interface: {stopped:?}");
        engine.docker(["start", "renamed"])?;
        wait_new_veth(&daemon, "renamed", &mut seen)?;
        check_no_ping(&scene, "renamed", verb)?;
    }
    let ours = residue::programs(&status(&daemon)?);
    let policies = residue::maps(machine, &ours, "POLICY")?;
    let counters = residue::maps(machine, &ours, "STATS")?;
    assert_eq!((policies.len(), counters.len()), (1, 1), "all programs share their maps");
    let sizes = || -> Result<Vec<usize>> {
        policies.union(&counters).map(|map| residue::entries(machine, *map)).collect()
    };
    // Two containers, at three hooks together.
    wait_until(DEADLINE, "entries for two containers", || {
        sizes().is_ok_and(|all| all == [2, 3] || all == [3, 2])
    })
    .with_context(|| format!("{:?}", sizes()))?;
    engine.docker(["rm", "--force", "renamed", "early"])?;
    wait_for(DEADLINE, "the containers to be forgotten", || {
        let status = status(&daemon)?;
        ensure!(status.containers.is_empty(), "{status:?}");
        Ok(())
    })?;
    assert_eq!(sizes()?, [0, 0], "the maps hold nothing of containers that are gone");
    assert_eq!(residue::links(machine, &ours)?, BTreeSet::new(), "no link is left");
    daemon.stop()
}

#[test]
fn policy_follows_where_no_one_calls_docker() -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    let scene = Scene::start()?;
    let (engine, daemon) = (scene.engine(), scene.daemon()?);
    let mut seen = BTreeSet::new();
    let options = ["--network", LAN, "--restart", "always"];
    scene.run_with("phoenix", &[("xdp.policy", "drop-icmp")], &options)?;
    for round in ["started", "restarted by its policy"] {
        wait_new_veth(&daemon, "phoenix", &mut seen)?;
        check_no_ping(&scene, "phoenix", round)?;
        let pid = engine.pid("phoenix")?.to_string();
        scene.machine().run("kill", ["-KILL", &pid])?;
    }
    wait_new_veth(&daemon, "phoenix", &mut seen)?;

    // Labels of the image alone, and of the image with others of the container.
    engine.docker(["commit", "--change", "LABEL xdp.policy=drop-icmp", "phoenix", "labelled"])?;
    let run = ["run", "--detach", "--network", LAN, "--name"];
    engine.docker(run.iter().chain(&["from-image", "labelled"]))?;
    let louder = ["from-both", "--label", "tc.policy=drop-tcp", "labelled"];
    engine.docker(run.iter().chain(&louder))?;
    wait_state(&daemon, "from-image", State::Enforced)?;
    check_no_ping(&scene, "from-image", "the label is the image's")?;
    wait_state(&daemon, "from-both", State::Enforced)?;
    check_no_ping(&scene, "from-both", "the label is the image's")?;
    let [v4, _] = scene.addresses("from-both")?;
    scene.wait_listening("from-both")?;
    assert!(!http_works(&engine.from_host(), v4)?, "the container's own label holds too");
    Ok(())
}

/// Labels become attributes of Docker's events, where they could stand for the event's own.
#[test]
fn t23_labels_cannot_lead_to_another_container() -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    let scene = Scene::start()?;
    let daemon = scene.daemon()?;
    scene.run("victim", &[])?;
    scene.wait_listening("victim")?;
    let id = scene.engine().inspect("victim", "{{.Id}}")?;
    let network = scene.engine().docker(["network", "inspect", "--format", "{{.Id}}", LAN])?;
    let labels = [
        ("image", "victim"),
        ("name", "victim"),
        ("container", id.as_str()),
        ("id", id.as_str()),
        ("type", "host"),
        ("network", network.as_str()),
        ("execID", id.as_str()),
        ("xdp.policy", "drop-all"),
    ];
    scene.run("liar", &labels)?;
    wait_state(&daemon, "liar", State::Enforced)?;
    scene.engine().docker(["network", "disconnect", LAN, "liar"])?;
    wait_state(&daemon, "liar", State::Idle)?;
    scene.engine().docker(["network", "connect", LAN, "liar"])?;
    wait_state(&daemon, "liar", State::Enforced)?;
    check_no_ping(&scene, "liar", "its policy is its own")?;
    let _echo = scene.engine().from_container("victim")?.echo_server(ECHO)?;
    assert_eq!(scene.reach_from_host("victim")?, Reach::ALL, "the victim is untouched");
    let names: Vec<_> = status(&daemon)?.containers.into_iter().map(|one| one.name).collect();
    assert_eq!(names, ["liar"], "status shows the container by its own name");
    Ok(())
}

#[test]
fn a_stopped_daemon_leaves_its_policies_and_clean_leaves_nothing() -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    let scene = Scene::start()?;
    let machine = scene.machine();
    scene.run("web", &[("xdp.policy", "drop-icmp"), ("tc.policy", "drop-udp")])?;
    scene.run("closed", &[("xdp.policy", "no-such-preset")])?;
    let before = residue::attached(machine)?;
    for (signal, tc) in [(Signal::SIGTERM, "--tc=tcx"), (Signal::SIGINT, "--tc=clsact")] {
        let daemon = scene.daemon_with(&[tc])?;
        wait_state(&daemon, "web", State::Enforced)?;
        wait_state(&daemon, "closed", State::Closed)?;
        let attached = residue::attached(machine)?;
        assert_ne!(attached, before, "{tc}: something is attached");
        let ours = residue::programs(&status(&daemon)?);
        assert_eq!(ours.len(), 3, "{tc}: three programs serve all containers");
        let mut maps = BTreeSet::new();
        for name in ["POLICY", "STATS", "EVENTS"] {
            maps.extend(residue::maps(machine, &ours, name)?);
        }
        let links = residue::links(machine, &ours)?;
        assert!(!links.is_empty(), "{tc}: links hold the programs");
        let refused = scene.clean().err().context("clean is refused beside a daemon")?;
        assert!(format!("{refused:#}").contains("runs already"), "{refused:#}");
        daemon.stop_by(signal)?;
        assert_eq!(residue::attached(machine)?, attached, "{signal}: everything stays attached");
        assert_eq!(residue::links(machine, &ours)?, links, "{signal}: every link stays");
        check_no_ping(&scene, "web", "without a daemon")?;
        assert_eq!(scene.reach_from_host("closed")?, Reach::NOTHING, "{signal}: it stays closed");
        let socket = machine.outside("/run/ebpf-netns/control.sock");
        assert!(!socket.exists(), "{signal}: the control socket is removed");

        scene.clean()?;
        assert_eq!(residue::attached(machine)?, before, "{signal}: everything is taken off");
        for (kind, ids) in [("prog", &ours), ("map", &maps)] {
            for id in ids {
                // The kernel frees them a moment after the last user is gone.
                wait_until(
                    DEADLINE,
                    &format!("{kind} {id} to be unloaded after {signal}"),
                    || residue::is_loaded(machine, kind, *id).is_ok_and(|loaded| !loaded),
                )?;
            }
        }
        for place in ["/sys/fs/bpf/ebpf-netns", "/run/ebpf-netns/state"] {
            assert!(!machine.outside(place).exists(), "{place} is gone");
        }
        for name in ["web", "closed"] {
            let host = scene.engine().from_host();
            // A neighbour that was not found a moment ago may take a second to be found.
            check_ping(&host, &scene.addresses(name)?, true, &format!("{signal}: {name} is free"))?;
        }
    }
    assert!(scene.clean()?.contains("removed"), "there being nothing is no error");
    Ok(())
}

/// Waits until a container is enforced on a veth that was not seen before, and returns it.
fn wait_new_veth(daemon: &Daemon<'_>, name: &str, seen: &mut BTreeSet<u32>) -> Result<u32> {
    let veth = wait_for(DEADLINE, &format!("a new veth of {name} to be enforced"), || {
        let container = wait_state(daemon, name, State::Enforced)?;
        let veth = host_veth(&container)?;
        ensure!(!seen.contains(&veth), "it is still {veth}");
        Ok(veth)
    })?;
    seen.insert(veth);
    Ok(veth)
}

fn host_veth(container: &ContainerStatus) -> Result<u32> {
    let host = only_interface(container)?.host.as_ref().context("it has a host-side veth")?;
    Ok(host.ifindex.get())
}
