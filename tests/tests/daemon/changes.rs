//! What happens to a host-side veth while a policy is on it: it is renamed, bounced, moved to
//! another bridge; its owner is restarted under those who share its namespace.

use anyhow::{Context as _, Result, ensure};
use ebpf_netns_plugin::status::State;
use ebpf_netns_tests::{DEADLINE, privilege, wait_for};

use crate::{
    residue,
    scene::{
        LAN, Label, Scene, check_no_ping, check_ping, container, host_veth, only_interface, status,
        wait_state,
    },
};

#[test]
fn policy_survives_what_is_done_to_its_veth() -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    let scene = Scene::start()?;
    let (machine, daemon) = (scene.machine(), scene.daemon()?);
    let cases: [(&str, &[Label<'_>]); 3] = [
        ("xdp", &[("xdp.policy", "drop-icmp")]),
        ("tc", &[("tc.policy", "drop-icmp")]),
        ("closed", &[("tc.policy", "drop-icpm")]),
    ];
    for (name, labels) in cases {
        scene.run(name, labels)?;
        let state = if name == "closed" { State::Closed } else { State::Enforced };
        wait_state(&daemon, name, state)?;
        let (veth, index) = host_veth(&scene, name)?;
        let renamed = format!("of-{name}");
        let links = residue::links(machine, &residue::programs(&status(&daemon)?))?;
        for change in [
            format!("{veth} down"),
            format!("{veth} name {renamed}"),
            format!("{renamed} up"),
            format!("{renamed} mtu 1400"),
            format!("{renamed} address 02:00:00:00:00:01"),
        ] {
            machine.run("ip", ["link", "set", "dev"].into_iter().chain(change.split(' ')))?;
        }
        wait_for(DEADLINE, "the new name in the status", || {
            let container = container(&daemon, name)?;
            let host = only_interface(&container)?.host.as_ref().context("a host-side veth")?;
            ensure!(host.name == renamed && host.ifindex.get() == index, "{container:?}");
            ensure!(container.state == state, "{container:?}");
            Ok(())
        })?;
        check_no_ping(&scene, name, "after all that")?;
        let kept = residue::links(machine, &residue::programs(&status(&daemon)?))?;
        assert_eq!(kept, links, "{name}: nothing was attached anew");
        // Off its bridge nothing arrives anyway; back on it the policy is still there.
        let bridge = machine.run("ip", ["-j", "link", "show", "dev", &renamed])?;
        let bridge: serde_json::Value = serde_json::from_str(&bridge)?;
        let bridge = bridge[0]["master"].as_str().context("a bridge")?.to_owned();
        machine.run("ip", ["link", "set", "dev", &renamed, "nomaster"])?;
        wait_state(&daemon, name, state)?;
        machine.run("ip", ["link", "set", "dev", &renamed, "master", &bridge])?;
        check_no_ping(&scene, name, "back on its bridge")?;
        wait_state(&daemon, name, state)?;
    }
    scene.end(daemon)?;
    for (name, _) in cases {
        let host = scene.engine().from_host();
        check_ping(&host, &scene.addresses(name)?, true, "it was found by number, not by name")?;
    }
    Ok(())
}

/// A restarted container has a new namespace; who shared the old one is left there alone.
#[test]
fn an_owner_that_restarts_leaves_its_joiners_behind() -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    let scene = Scene::start()?;
    let (engine, daemon) = (scene.engine(), scene.daemon()?);
    scene.run("owner", &[("tc.policy", "log")])?;
    let share = ["--network", "container:owner"];
    let command = ["/httpd", "-f", "-p", "81"];
    scene.run_command("joiner", &[("xdp.policy", "drop-icmp")], &share, &command)?;
    wait_state(&daemon, "joiner", State::Enforced)?;
    check_no_ping(&scene, "owner", "the joiner's policy is on both")?;
    engine.docker(["restart", "--time", "0", "owner"])?;
    wait_state(&daemon, "joiner", State::Idle)?;
    wait_state(&daemon, "owner", State::Enforced)?;
    let host = engine.from_host();
    check_ping(&host, &scene.addresses("owner")?, true, "the owner is on its own")?;
    engine.docker(["restart", "--time", "0", "joiner"])?;
    wait_state(&daemon, "joiner", State::Enforced)?;
    check_no_ping(&scene, "owner", "the joiner joined again")?;
    // Once more with a stopped owner: there is nothing that anybody shares.
    engine.docker(["stop", "--time", "0", "owner"])?;
    for name in ["owner", "joiner"] {
        wait_state(&daemon, name, State::Idle)?;
    }
    engine.docker(["network", "disconnect", "--force", LAN, "owner"])?;
    wait_state(&daemon, "owner", State::Idle)?;
    Ok(())
}
