//! What a container with too many rights may try to be rid of its policy.

use std::net::IpAddr;

use anyhow::{Context as _, Result, ensure};
use ebpf_netns_plugin::status::State;
use ebpf_netns_tests::{DEADLINE, command::stdout_of, privilege, traffic::Vantage, wait_for};

use crate::{
    residue,
    scene::{LAN, Label, Scene, check_ping, host_veth, link, only_interface, status, wait_state},
};

/// A container that may make namespaces takes its interface with it into one.
#[test]
fn an_interface_that_is_moved_away_keeps_its_policy() -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    let scene = Scene::start()?;
    let before = residue::attached(scene.machine())?;
    let daemon = scene.daemon()?;
    for (label, state) in [
        (("xdp.policy", "drop-icmp"), State::Enforced),
        (("tc.policy", "drop-icmp"), State::Enforced),
        (("xdp.policy", "drop-icpm"), State::Closed),
    ] {
        scene.run("web", &[label])?;
        wait_state(&daemon, "web", state)?;
        let veth = host_veth(&scene, "web")?;
        let gateway = gateway(&scene)?;
        let nested = move_away(&scene)?;
        check_ping(&nested, &[gateway], false, &format!("{label:?}, at once"))?;
        // Docker has something to tell, and the daemon looks again.
        scene.engine().docker(["rename", "web", "moved"])?;
        let moved = wait_for(DEADLINE, "the moved interface in the status", || {
            let moved = wait_state(&daemon, "moved", state)?;
            ensure!(only_interface(&moved)?.notes.iter().any(|note| note.contains("moved")));
            Ok(moved)
        })?;
        let host = only_interface(&moved)?.host.as_ref().context("the host's end is shown")?;
        assert_eq!((&host.name, host.ifindex.get()), (&veth.0, veth.1), "it is the same veth");
        check_ping(&nested, &[gateway], false, &format!("{label:?}, after another look"))?;
        scene.engine().docker(["rm", "--force", "moved"])?;
        scene.machine().run("ip", ["netns", "del", "nested"])?;
        wait_for(DEADLINE, "the container to be forgotten", || {
            ensure!(status(&daemon)?.containers.is_empty());
            ensure!(residue::attached(scene.machine())? == before, "nothing of it is left");
            Ok(())
        })?;
    }
    Ok(())
}

/// A container that joined another's namespace and ended has no policy on it any more.
#[test]
fn who_has_left_a_shared_namespace_tightens_it_no_longer() -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    let scene = Scene::start()?;
    let daemon = scene.daemon()?;
    scene.run("owner", &[])?;
    let labels: [Label<'_>; 1] = [("xdp.policy", "drop-icmp")];
    let command = ["/httpd", "-f", "-p", "81"];
    scene.run_command("joiner", &labels, &["--network", "container:owner"], &command)?;
    let host = scene.engine().from_host();
    let to = scene.addresses("owner")?;
    for round in ["first", "second"] {
        wait_state(&daemon, "joiner", State::Enforced)?;
        check_ping(&host, &to, false, &format!("{round}: while the joiner runs"))?;
        scene.engine().docker(["kill", "joiner"])?;
        let idle = wait_state(&daemon, "joiner", State::Idle)?;
        assert!(idle.interfaces.is_empty(), "{round}: what does not run has none: {idle:?}");
        check_ping(&host, &to, true, &format!("{round}: after the joiner ended"))?;
        scene.engine().docker(["start", "joiner"])?;
    }
    Ok(())
}

/// Moves the interface of `web` to another namespace, with its addresses, and returns that.
fn move_away(scene: &Scene) -> Result<Vantage<'_>> {
    let inside = scene.engine().from_container("web")?;
    let [v4, v6] = scene.addresses("web")?;
    let mac = link(&inside, "eth0")?["address"].as_str().context("an address")?.to_owned();
    scene.machine().run("ip", ["netns", "add", "nested"])?;
    ip(&inside, "link set dev eth0 netns nested")?;
    let nested = Vantage::netns(scene.machine(), "/run/netns/nested");
    for line in [
        format!("link set dev eth0 address {mac}"),
        format!("address add {v4}/16 dev eth0"),
        format!("address add {v6}/64 dev eth0 nodad"),
        "link set dev eth0 up".to_owned(),
    ] {
        ip(&nested, &line)?;
    }
    Ok(nested)
}

fn gateway(scene: &Scene) -> Result<IpAddr> {
    let gateway = format!("{{{{(index .NetworkSettings.Networks {LAN:?}).Gateway}}}}");
    Ok(scene.engine().inspect("web", &gateway)?.parse()?)
}

fn ip(from: &Vantage<'_>, line: &str) -> Result<String> {
    stdout_of(from.command("ip").args(line.split(' ')))
}
