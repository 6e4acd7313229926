//! The IPAM driver, on networks of Docker's own bridge driver: nothing starts there without a daemon.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};
use ebpf_netns_plugin::status::State;
use ebpf_netns_tests::{DEADLINE, privilege, wait_for};

use super::{addresses, check_answers, driver, refused, scene, shell};
use crate::scene::{Scene, check_ping, wait_state};

/// Options that come first of each network.
const OURS: [&str; 2] = ["--ipam-driver", "ebpf-netns"];

fn network(scene: &Scene, name: &str, options: &[&str]) -> Result<()> {
    scene.network(name, &[&OURS[..], options].concat())
}

/// What of a container's address is the same for all on its network.
fn subnet(scene: &Scene, container: &str, network: &str) -> Result<String> {
    let address = scene.engine().addresses_on(container, network)?.v4()?.to_string();
    Ok(address.rsplit_once('.').map(|(subnet, _)| subnet.to_owned()).unwrap_or_default())
}

#[test]
fn addresses_are_of_the_networks_that_were_asked_for() -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    let scene = scene()?;
    let daemon = driver(&scene)?;
    let range = ["--subnet", "10.45.1.0/24", "--ip-range", "10.45.1.128/25", "--ipv6"];
    network(&scene, "ranged", &[&range[..], &["--subnet", "fd00:45:1::/64"]].concat())?;
    network(&scene, "any", &[])?;
    network(&scene, "any-other", &[])?;
    scene.run_with("web", &[("tc.policy", "drop-icmp")], &["--network", "ranged"])?;
    wait_state(&daemon, "web", State::Enforced)?;
    let web = addresses(&scene, "web", "ranged")?;
    assert_eq!(web[0].to_string(), "10.45.1.129", "the gateway has the first of the range");
    let host = scene.engine().from_host();
    check_ping(&host, &web, false, "its label")?;
    check_answers(&host, &web, 80, "which is of ICMP alone")?;
    for (name, on) in [("one", "any"), ("other", "any-other")] {
        shell(&scene, name, &["--network", on])?;
    }
    let (one, other) = (subnet(&scene, "one", "any")?, subnet(&scene, "other", "any-other")?);
    assert!(one != other && !one.is_empty(), "{one} {other}");

    for (what, options, expected) in [
        ("taken", &["--subnet", "10.45.0.0/16"][..], "10.45.0.0/16 overlaps 10.45.1.0/24"),
        ("opted", &["--ipam-opt", "size=3"], "option size: this IPAM driver has none"),
    ] {
        let create = ["network", "create", OURS[0], OURS[1]];
        let said = refused(&scene, &[&create[..], options, &[what]].concat())?;
        assert!(said.contains(expected), "{said}");
    }
    let run = ["run", "--network", "ranged", "--ip"];
    let twice = refused(&scene, &[&run[..], &["10.45.1.129", "busybox"]].concat())?;
    assert!(twice.contains("address 10.45.1.129 is in use: choose another --ip"), "{twice}");

    scene.engine().docker(["rm", "--force", "web"])?;
    let again = ["--network", "ranged", "--ip", "10.45.1.129"];
    shell(&scene, "again", &again)?;
    scene.engine().docker(["rm", "--force", "again"])?;
    scene.engine().docker(["network", "rm", "ranged"])?;
    network(&scene, "ranged-again", &["--subnet", "10.45.1.0/24"])?;
    scene.end(daemon)
}

#[test]
fn without_a_daemon_nothing_starts_and_what_runs_goes_on() -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    let scene = scene()?;
    let daemon = driver(&scene)?;
    network(&scene, "guarded", &["--subnet", "10.45.1.0/24"])?;
    let fixed = ["--network", "guarded", "--ip", "10.45.1.9", "--restart", "always"];
    shell(&scene, "fixed", &fixed)?;
    shell(&scene, "secret", &["--network", "guarded", "--label", "tc.policy=drop-icmp"])?;
    wait_state(&daemon, "secret", State::Enforced)?;
    let (engine, host) = (scene.engine(), scene.engine().from_host());
    let fixed = ["10.45.1.9".parse()?];
    check_ping(&host, &fixed, true, "nobody has a policy for it")?;
    engine.docker(["create", "--name", "late", "--network", "guarded", "busybox"])?;

    daemon.kill()?;
    check_ping(&host, &fixed, true, "while no daemon runs")?;
    let said = refused(&scene, &["start", "late"])?;
    assert!(said.contains("ebpf-netns"), "the driver is named: {said}");

    let daemon = driver(&scene)?;
    engine.docker(["start", "late"])?;
    let address = |name| engine.addresses_on(name, "guarded")?.v4();
    let all: BTreeSet<_> = [address("fixed")?, address("late")?, address("secret")?].into();
    assert_eq!(all.len(), 3, "each has an address of its own: {all:?}");

    // Docker gives back what it had given before it was killed, and asks for it anew.
    engine.kill()?;
    engine.restart()?;
    wait_for(DEADLINE, "the container to run again", || {
        ensure!(engine.pid("fixed")? > 0);
        Ok(())
    })?;
    check_ping(&host, &fixed, true, "after Docker was killed")?;
    let secret = ["start", "secret"];
    engine.docker(secret)?;
    wait_state(&daemon, "secret", State::Enforced)?;

    daemon.stop()?;
    let removed = scene.clean()?;
    assert!(removed.contains("/var/lib/ebpf-netns/pools"), "{removed}");
    Ok(())
}
