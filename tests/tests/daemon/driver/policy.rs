//! Policies on networks of the driver: by label, by an option of the network, and by one of the
//! endpoint; and what is refused.

use anyhow::{Result, ensure};
use ebpf_netns_plugin::status::State;
use ebpf_netns_tests::{DEADLINE, privilege, wait_for};

use super::{addresses, check_answers, driver, network, refused, scene};
use crate::scene::{check_ping, only_interface, status, wait_state};

#[test]
fn policies_of_container_network_and_endpoint_add_up() -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    let scene = scene()?;
    let daemon = driver(&scene)?;
    network(&scene, "plain", 1, &[])?;
    network(&scene, "web-only", 2, &["-o", "tc.ingress=allow tcp 80"])?;
    let engine = scene.engine();
    let host = engine.from_host();

    scene.run_with("free", &[], &["--network", "plain"])?;
    let free = addresses(&scene, "free", "plain")?;
    check_ping(&host, &free, true, "nobody has a policy for it")?;
    scene.run_with("labelled", &[("tc.policy", "drop-icmp")], &["--network", "plain"])?;
    let labelled = wait_state(&daemon, "labelled", State::Enforced)?;
    assert_eq!(only_interface(&labelled)?.network.as_deref(), Some("plain"), "{labelled:?}");
    let labelled = addresses(&scene, "labelled", "plain")?;
    check_ping(&host, &labelled, false, "its label")?;
    check_answers(&host, &labelled, 80, "which is of ICMP alone")?;

    // The network's, of a container without a label; its other network is left alone.
    scene.run_with("member", &[], &["--network", "web-only"])?;
    engine.docker(["network", "connect", "plain", "member"])?;
    let member = wait_state(&daemon, "member", State::Enforced)?;
    only_interface(&member)?;
    let member = addresses(&scene, "member", "web-only")?;
    check_answers(&host, &member, 80, "what the network allows")?;
    check_ping(&host, &member, false, "what it does not")?;
    check_ping(&host, &addresses(&scene, "member", "plain")?, true, "on the other network")?;

    // A label cannot loosen it, and an endpoint's option can tighten it.
    let labels = [("tc.ingress", "allow icmp")];
    scene.run_with("both", &labels, &["--network", "web-only"])?;
    check_ping(&host, &addresses(&scene, "both", "web-only")?, false, "the network forbids it")?;
    let opted = "--network=name=plain,driver-opt=tc.policy=drop-icmp";
    scene.run_with("opted", &[], &[opted])?;
    wait_state(&daemon, "opted", State::Enforced)?;
    check_ping(&host, &addresses(&scene, "opted", "plain")?, false, "the endpoint's own")?;
    check_ping(&host, &free, true, "which is of no other")?;
    wait_for(DEADLINE, "nothing to be held", || {
        let held = status(&daemon)?.quarantined;
        ensure!(held.is_empty(), "{held:?}");
        Ok(())
    })?;
    scene.end(daemon)
}

#[test]
fn what_is_not_understood_fails_where_it_is_written() -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    let scene = scene()?;
    let daemon = driver(&scene)?;
    network(&scene, "n1", 1, &[])?;
    let create = ["network", "create", "-d", "ebpf-netns"];
    let run = ["run", "--detach", "--name", "web", "--network"];
    for (arguments, expected) in [
        (
            [&create[..], &["-o", "tc.egress=alow tcp 443", "bad"]].concat(),
            "option tc.egress, line 1, column 1: found \"alow\"",
        ),
        ([&create[..], &["-o", "tc.egres=allow", "bad"]].concat(), "did you mean tc.egress?"),
        ([&create[..], &["-o", "parent=eth0", "bad"]].concat(), "option parent is not known"),
        ([&create[..], &["--subnet", "10.44.1.128/25", "bad"]].concat(), "overlaps"),
        (
            [&run[..], &["n1", "--label", "xdp.policy=drop-tpc", "noshell"]].concat(),
            "label xdp.policy: column 1: found \"drop-tpc\"",
        ),
        (
            [&run[..], &["name=n1,driver-opt=tc.policy=drop-tpc", "noshell"]].concat(),
            "option tc.policy: column 1: found \"drop-tpc\"",
        ),
    ] {
        let said = refused(&scene, &arguments)?;
        assert!(said.contains(expected), "docker {arguments:?} says: {said}");
        scene.engine().try_docker(["rm", "--force", "web"])?;
    }
    let networks = scene.engine().docker(["network", "ls", "--format", "{{.Name}}"])?;
    assert!(!networks.contains("bad"), "none of them was made: {networks}");
    let links = scene.machine().run("ip", ["-o", "link", "show"])?;
    assert!(!links.contains("ebv-"), "no endpoint is left: {links}");

    // Nothing was broken by it.
    let publish = ["--network", "n1", "--publish", "8080:80"];
    scene.run_with("first", &[], &publish)?;
    let taken = refused(&scene, &["run", "--network", "n1", "-p", "8080:80", "noshell"])?;
    assert!(taken.contains("port 8080/tcp is in use"), "{taken}");
    check_answers(&scene.engine().from_host(), &addresses(&scene, "first", "n1")?, 80, "first")?;
    scene.end(daemon)
}
