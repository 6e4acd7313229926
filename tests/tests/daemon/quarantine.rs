//! A new interface is closed before anything is asked, and opened for those who need no policy.

use anyhow::{Context as _, Result, ensure};
use ebpf_netns_plugin::status::State;
use ebpf_netns_tests::{DEADLINE, Daemon, Engine, privilege, traffic::Vantage, wait_for};
use nix::sys::signal::Signal;

use crate::scene::{
    LAN, Scene, check_no_ping, check_ping, host_veth, only_interface, ping_works, status,
    wait_state,
};

/// An interface as Docker makes them, with Docker asleep: in a namespace of its own, with the
/// address 172.18.0.77, a port of the network's bridge.
struct Stranger<'a> {
    engine: &'a Engine,
}

impl<'a> Stranger<'a> {
    fn plug_in(engine: &'a Engine, bridge: &str) -> Result<Self> {
        let machine = engine.machine();
        for command in [
            "netns add stranger".to_owned(),
            "link add strange0 type veth peer name eth0 netns stranger".to_owned(),
            format!("link set strange0 master {bridge} up"),
            "-n stranger address add 172.18.0.77/16 dev eth0".to_owned(),
            "-n stranger link set eth0 up".to_owned(),
        ] {
            machine.run("ip", command.split(' '))?;
        }
        Ok(Self { engine })
    }

    fn vantage(&self) -> Vantage<'a> {
        Vantage::netns(self.engine.machine(), "/run/netns/stranger".to_owned())
    }

    /// Whether it reaches the host, and the host it.
    fn is_open(&self) -> Result<bool> {
        let out = ping_works(&self.vantage(), "172.18.0.1".parse()?)?;
        let back = ping_works(&self.engine.from_host(), "172.18.0.77".parse()?)?;
        ensure!(out == back, "both directions alike: {out} {back}");
        Ok(out)
    }
}

/// The bridge of the network, which is where these tests expect it.
fn bridge(engine: &Engine) -> Result<String> {
    let id = engine.docker(["network", "inspect", "--format", "{{.Id}}", LAN])?;
    let subnet = "{{(index .IPAM.Config 0).Subnet}}";
    let subnet = engine.docker(["network", "inspect", "--format", subnet, LAN])?;
    ensure!(subnet == "172.18.0.0/16", "the network has {subnet}");
    Ok(format!("br-{}", id.get(..12).context("a network has a long id")?))
}

/// dockerd does nothing while this is alive.
struct Asleep<'a>(&'a Engine);

impl<'a> Asleep<'a> {
    fn put(engine: &'a Engine) -> Result<Self> {
        engine.signal(Signal::SIGSTOP)?;
        Ok(Self(engine))
    }
}

impl Drop for Asleep<'_> {
    fn drop(&mut self) {
        self.0.signal(Signal::SIGCONT).ok();
    }
}

/// Waits until the daemon says that so many interfaces are closed until it is known whose they are.
fn wait_quarantined(daemon: &Daemon<'_>, count: usize) -> Result<()> {
    wait_for(DEADLINE, &format!("{count} interfaces in quarantine"), || {
        let held = status(daemon)?.quarantined;
        ensure!(held.len() == count, "{held:?}");
        Ok(())
    })
}

#[test]
fn a_new_interface_is_closed_before_docker_is_asked_and_stays_so_without_it() -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    let scene = Scene::start()?;
    // A policy that somebody might still have: without any, nothing needs to be closed.
    scene.create("idle", &[("tc.policy", "drop-icmp")], &["--network", LAN])?;
    let daemon = scene.daemon()?;
    wait_state(&daemon, "idle", State::Idle)?;
    let bridge = bridge(scene.engine())?;
    let asleep = Asleep::put(scene.engine())?;
    let stranger = Stranger::plug_in(scene.engine(), &bridge)?;
    wait_quarantined(&daemon, 1)?;
    assert!(!stranger.is_open()?, "closed although Docker sleeps");
    daemon.kill()?;
    assert!(!stranger.is_open()?, "closed although the daemon is dead");
    let daemon = scene.daemon()?;
    wait_quarantined(&daemon, 1)?;
    assert!(!stranger.is_open()?, "closed: the next daemon knows no more");
    drop(asleep);
    wait_quarantined(&daemon, 0)?;
    check_ping(&stranger.vantage(), &["172.18.0.1".parse()?], true, "it is nobody's")?;
    assert!(stranger.is_open()?, "both ways");
    Ok(())
}

#[test]
fn an_unlabelled_container_is_let_go_beside_one_that_might_start() -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    let scene = Scene::start()?;
    scene.create("idle", &[("tc.policy", "drop-icmp")], &["--network", LAN])?;
    let daemon = scene.daemon()?;
    wait_state(&daemon, "idle", State::Idle)?;
    scene.run("plain", &[])?;
    let host = scene.engine().from_host();
    check_ping(&host, &scene.addresses("plain")?, true, "it has no policy")?;
    wait_quarantined(&daemon, 0)?;
    let veth = host_veth(&scene, "plain")?.0;
    for side in ["ingress", "egress"] {
        wait_for(DEADLINE, "our filters to be taken off", || {
            let shown = scene.machine().run("tc", ["filter", "show", "dev", &veth, side])?;
            ensure!(shown.is_empty(), "{shown}");
            Ok(())
        })?;
    }
    assert!(status(&daemon)?.counts.quarantined > 0, "it was closed at first");
    // Another network, plugged in while it runs.
    scene.network("second", &["--ipv6", "--subnet", "fd00:ebe::/64"])?;
    for name in ["plain", "idle"] {
        if name == "idle" {
            scene.engine().docker(["start", name])?;
        }
        scene.engine().docker(["network", "connect", "second", name])?;
    }
    let second = |name: &str| scene.engine().addresses_on(name, "second")?.both();
    check_ping(&host, &second("plain")?, true, "hot-plugged, without a policy")?;
    wait_for(DEADLINE, "both interfaces of the labelled one", || {
        let found = wait_state(&daemon, "idle", State::Enforced)?;
        ensure!(found.interfaces.len() == 2, "{found:?}");
        Ok(())
    })?;
    check_ping(&host, &second("idle")?, false, "hot-plugged, with a policy")?;
    wait_quarantined(&daemon, 0)
}

#[test]
fn a_killed_daemon_leaves_everything_and_the_next_one_changes_nothing() -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    let scene = Scene::start()?;
    for tc in ["tcx", "clsact"] {
        let daemon = scene.daemon_with(&["--tc", tc])?;
        let names = [format!("xdp-{tc}"), format!("tc-{tc}")];
        scene.run(&names[0], &[("xdp.policy", "drop-icmp")])?;
        scene.run(&names[1], &[("tc.policy", "drop-icmp")])?;
        for name in &names {
            wait_state(&daemon, name, State::Enforced)?;
        }
        let links = scene.machine().run("ls", ["/sys/fs/bpf/ebpf-netns/v4/links"])?;
        daemon.kill()?;
        for name in &names {
            check_no_ping(&scene, name, "the daemon is dead")?;
        }
        let daemon = scene.daemon_with(&["--tc", tc])?;
        for name in &names {
            let found = wait_state(&daemon, name, State::Enforced)?;
            let hooks = &only_interface(&found)?.hooks;
            ensure!(!hooks.is_empty(), "{found:?}");
            check_no_ping(&scene, name, "the next daemon")?;
        }
        let kept = scene.machine().run("ls", ["/sys/fs/bpf/ebpf-netns/v4/links"])?;
        assert_eq!(kept, links, "{tc}: the same links are pinned");
        assert_eq!(status(&daemon)?.counts.repairs, 0, "{tc}: nothing had to be repaired");
        scene.end(daemon)?;
        scene.engine().docker(["rm", "--force", &names[0], &names[1]])?;
    }
    Ok(())
}

#[test]
fn f32_what_others_take_off_is_put_back_at_once_where_the_kernel_tells() -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    let scene = Scene::start()?;
    let machine = scene.machine();
    scene.run("xdp", &[("xdp.policy", "drop-icmp")])?;
    scene.run("tc", &[("tc.policy", "drop-icmp")])?;
    let daemon = scene.daemon_with(&["--tc=clsact"])?;
    for name in ["xdp", "tc"] {
        wait_state(&daemon, name, State::Enforced)?;
    }
    let pin =
        format!("/sys/fs/bpf/ebpf-netns/v4/links/{}-xdp-generic", host_veth(&scene, "xdp")?.1);
    let veth = host_veth(&scene, "tc")?.0;
    let removals: [(&str, &str, Vec<&str>); 3] = [
        ("xdp", "bpftool", vec!["link", "detach", "pinned", &pin]),
        ("tc", "tc", vec!["qdisc", "del", "dev", &veth, "clsact"]),
        ("tc", "tc", vec!["filter", "del", "dev", &veth, "ingress"]),
    ];
    for (name, program, arguments) in removals {
        let before = status(&daemon)?.counts.repairs;
        machine.run(program, &arguments)?;
        wait_for(DEADLINE, "the repair to be counted", || {
            let repairs = status(&daemon)?.counts.repairs;
            ensure!(repairs > before, "{repairs} repairs");
            Ok(())
        })?;
        wait_state(&daemon, name, State::Enforced)?;
        check_no_ping(&scene, name, &format!("after {program} {arguments:?}"))?;
    }
    Ok(())
}
