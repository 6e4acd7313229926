//! Strict mode: what the kernel does not let through while nobody knows what it is, or lives to say.

use anyhow::{Result, ensure};
use ebpf_netns_plugin::status::State;
use ebpf_netns_tests::{DEADLINE, privilege, wait_for};

use crate::scene::{LAN, Scene, check_no_ping, check_ping, ping_works, status, wait_state};

#[test]
fn with_the_daemon_dead_nothing_new_talks_and_everything_old_goes_on() -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    let scene = Scene::start()?;
    let (engine, machine) = (scene.engine(), scene.machine());
    scene.run("early", &[])?;
    let daemon = scene.daemon_with(&["--strict"])?;
    let host = engine.from_host();
    check_ping(&host, &scene.addresses("early")?, true, "it ran before")?;
    scene.run("plain", &[])?;
    scene.run("policed", &[("tc.policy", "drop-udp")])?;
    wait_state(&daemon, "policed", State::Enforced)?;
    for name in ["plain", "policed"] {
        check_ping(&host, &scene.addresses(name)?, true, name)?;
    }
    // A bridge that is none of Docker's, made and used while the daemon runs.
    for command in [
        "link add foreign0 type bridge",
        "link set foreign0 up",
        "address add 10.99.0.1/24 dev foreign0",
        "netns add other",
        "link add other0 type veth peer name eth0 netns other",
        "link set other0 master foreign0 up",
        "-n other address add 10.99.0.2/24 dev eth0",
        "-n other link set eth0 up",
    ] {
        machine.run("ip", command.split(' '))?;
    }
    check_ping(&host, &["10.99.0.2".parse()?], true, "another's bridge is not governed")?;

    daemon.kill()?;
    for name in ["early", "plain", "policed"] {
        check_ping(&host, &scene.addresses(name)?, true, &format!("{name}, the daemon is dead"))?;
    }
    scene.run("new", &[])?;
    scene.run("secret", &[("tc.policy", "drop-icmp")])?;
    for name in ["new", "secret"] {
        check_no_ping(&scene, name, "it was started while the daemon was dead")?;
        let inside = engine.from_container(name)?;
        let gateway = "172.18.0.1".parse()?;
        assert!(!ping_works(&inside, gateway)?, "{name} reaches nothing");
    }
    let daemon = scene.daemon_with(&["--strict"])?;
    wait_state(&daemon, "secret", State::Enforced)?;
    for name in ["early", "plain", "policed", "new"] {
        check_ping(&host, &scene.addresses(name)?, true, &format!("{name}, the next daemon"))?;
    }
    check_no_ping(&scene, "secret", "its policy drops pings")?;
    wait_for(DEADLINE, "nothing to be in quarantine", || {
        let held = status(&daemon)?.quarantined;
        ensure!(held.is_empty(), "{held:?}");
        Ok(())
    })?;

    // Started without it, the daemon takes it away; clean takes it away too.
    let gate = || machine.run("nft", ["list", "tables", "bridge"]);
    assert!(gate()?.contains("ebpf-netns"), "{}", gate()?);
    daemon.stop()?;
    assert!(gate()?.contains("ebpf-netns"), "it stays when the daemon stops");
    let daemon = scene.daemon()?;
    wait_state(&daemon, "secret", State::Enforced)?;
    assert_eq!(gate()?, "", "it is not strict any more");
    daemon.stop()?;
    scene.daemon_with(&["--strict", "--strict-bridge", "docker0"])?.stop()?;
    scene.run_with("elsewhere", &[], &["--network", LAN])?;
    assert!(gate()?.contains("ebpf-netns"), "{}", gate()?);
    scene.clean()?;
    assert_eq!(gate()?, "", "clean takes it away");
    Ok(())
}
