//! A configuration that changes under a running daemon: taken as a whole, or not at all.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;

use anyhow::{Context as _, Result, ensure};
use ebpf_netns_plugin::status::State;
use ebpf_netns_tests::{Configuration, DEADLINE, Daemon, privilege, wait_for};
use nix::sys::signal::Signal;

use crate::{
    config::{check_refused, configured, reload, reloaded},
    residue,
    scene::{Scene, check_no_ping, check_ping, container, hooks, host_veth, status, wait_state},
};

#[test]
fn a_named_policy_comes_changes_and_goes() -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    let scene = Scene::start()?;
    let configuration = Configuration::new(scene.machine(), "")?;
    let daemon = configured(&scene, &configuration)?;
    scene.run("web", &[("tc.policy", "web")])?;
    let closed = wait_state(&daemon, "web", State::Closed)?;
    let reason = closed.interfaces.iter().find_map(|one| one.reason.clone()).unwrap_or_default();
    assert!(reason.contains("\"web\"") && reason.contains("configuration/policies"), "{reason}");
    check_no_ping(&scene, "web", "its policy is not there")?;

    configuration.policy("web", "drop-icmp")?;
    let said = reloaded(&daemon)?;
    assert!(said.contains("changed: 1"), "{said}");
    wait_policy(&daemon, "drop-icmp")?;
    check_no_ping(&scene, "web", "the policy came")?;
    assert_eq!(used(&daemon)?, [("web".to_owned(), "drop-icmp".to_owned(), 1)]);
    let links = residue::links(scene.machine(), &residue::programs(&status(&daemon)?))?;

    configuration.policy("web", "drop-udp")?;
    daemon.signal(Signal::SIGHUP)?;
    wait_policy(&daemon, "drop-udp")?;
    let host = scene.engine().from_host();
    check_ping(&host, &scene.addresses("web")?, true, "the policy changed")?;
    let kept = residue::links(scene.machine(), &residue::programs(&status(&daemon)?))?;
    assert_eq!(kept, links, "nothing was attached anew");

    fs::remove_file(configuration.policy_file("web"))?;
    reloaded(&daemon)?;
    wait_state(&daemon, "web", State::Closed)?;
    check_no_ping(&scene, "web", "its policy is gone: closed, not open")?;
    scene.end(daemon)
}

#[test]
fn what_is_not_understood_changes_nothing() -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    let scene = Scene::start()?;
    let configuration = Configuration::new(scene.machine(), "")?;
    configuration.policy("web", "drop-icmp")?;
    let daemon = configured(&scene, &configuration)?;
    scene.run("web", &[("tc.policy", "web")])?;
    scene.run("plain", &[])?;
    wait_policy(&daemon, "drop-icmp")?;

    // One half of it would be fine.
    configuration.write("[default]\n\"tc.policy\" = \"drop-all\"\n")?;
    configuration.policy("web", "pas")?;
    check_refused(&reload(&daemon)?, &["web.toml:1: policy: column 1", "did you mean pass?"]);
    check_as_before(&scene, &daemon)?;
    let refused = status(&daemon)?.config.refused.join("\n");
    assert!(refused.contains("web.toml:1"), "the status says it: {refused}");

    configuration.policy("web", "pass")?;
    let writable = Permissions::from_mode(0o622);
    fs::set_permissions(configuration.policy_file("web"), writable)?;
    check_refused(&reload(&daemon)?, &["web.toml: may be written by others", "chmod go-w"]);
    check_as_before(&scene, &daemon)?;

    fs::remove_file(configuration.file())?;
    daemon.signal(Signal::SIGHUP)?;
    wait_for(DEADLINE, "the missing file in the status", || {
        let refused = status(&daemon)?.config.refused.join("\n");
        ensure!(refused.contains("config.toml: is not there"), "{refused}");
        Ok(())
    })?;
    check_as_before(&scene, &daemon)?;
    let log = daemon.log()?;
    assert!(log.contains("configuration not understood: the one before holds"), "{log}");

    configuration.write("")?;
    configuration.policy("web", "pass")?;
    reloaded(&daemon)?;
    wait_policy(&daemon, "pass")?;
    assert!(status(&daemon)?.config.refused.is_empty(), "it is forgotten");
    scene.end(daemon)
}

#[track_caller]
fn check_as_before(scene: &Scene, daemon: &Daemon<'_>) -> Result<()> {
    check_no_ping(scene, "web", "the policy before holds")?;
    let host = scene.engine().from_host();
    check_ping(&host, &scene.addresses("plain")?, true, "no default policy was taken")?;
    wait_policy(daemon, "drop-icmp")
}

#[test]
fn a_default_policy_comes_and_goes() -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    let scene = Scene::start()?;
    let configuration = Configuration::new(scene.machine(), "")?;
    let daemon = configured(&scene, &configuration)?;
    scene.run("plain", &[])?;
    let host = scene.engine().from_host();
    let addresses = scene.addresses("plain")?;
    check_ping(&host, &addresses, true, "no policy")?;
    for round in 0..2 {
        configuration.write("[default]\n\"xdp.policy\" = \"drop-icmp\"\n")?;
        reloaded(&daemon)?;
        wait_state(&daemon, "plain", State::Enforced)?;
        check_no_ping(&scene, "plain", &format!("the default policy came, {round}"))?;
        configuration.write("")?;
        reloaded(&daemon)?;
        wait_for(DEADLINE, "no policy", || {
            let status = status(&daemon)?;
            ensure!(status.containers.is_empty(), "{status:?}");
            Ok(())
        })?;
        check_ping(&host, &addresses, true, "the default policy went")?;
        // Its veth is not taken for a new one when it changes.
        let before = status(&daemon)?.counts.quarantined;
        let (veth, _) = host_veth(&scene, "plain")?;
        for mtu in ["1400", "1500"] {
            scene.machine().run("ip", ["link", "set", "dev", &veth, "mtu", mtu])?;
        }
        scene.run("witness", &[])?;
        scene.engine().docker(["rm", "--force", "witness"])?;
        check_ping(&host, &addresses, true, "nobody's business")?;
        assert_eq!(status(&daemon)?.counts.quarantined, before + 1, "the witness alone is new");
    }
    scene.end(daemon)
}

/// Waits until `web`'s interface enforces this.
fn wait_policy(daemon: &Daemon<'_>, policy: &str) -> Result<()> {
    wait_for(DEADLINE, &format!("web to have {policy}"), || {
        let web = container(daemon, "web")?;
        ensure!(web.state == State::Enforced, "{web:?}");
        let hooks = hooks(&web)?;
        let egress = hooks.get("egress").context("a hook")?;
        ensure!(egress.policy == policy, "{egress:?}");
        Ok(())
    })
}

/// The named policies, what they are, and how many containers name them.
fn used(daemon: &Daemon<'_>) -> Result<Vec<(String, String, usize)>> {
    let policies = status(daemon)?.config.policies;
    Ok(policies.into_iter().map(|one| (one.name, one.policy, one.containers)).collect())
}
