//! What `status` says is attached is what the kernel says, with every way to attach.

use std::process::Command;

use anyhow::{Context as _, Result};
use ebpf_netns_plugin::status::{ContainerStatus, HookStatus, HostSide, State};
use ebpf_netns_tests::{Daemon, command::stdout_of, privilege};
use serde_json::Value;

use crate::scene::{
    ECHO, Label, Reach, Scene, hooks, only_interface, reach, status, udp_works, wait_state,
};

/// Containers and the hooks that they get: hook, direction, side of the host's veth, mode.
type Expected = (&'static str, &'static [Label<'static>], &'static [[&'static str; 4]]);

#[test]
fn status_and_kernel_agree_with_xdp_and_tcx() -> Result<()> {
    check(
        &["--tc=tcx"],
        &[
            ("generic", &[("xdp.policy", "drop-tcp")], &[["xdp", "egress", "ingress", "generic"]]),
            (
                "native",
                &[("xdp.policy", "drop-tcp"), ("xdp.mode", "native")],
                &[["xdp", "egress", "ingress", "native"]],
            ),
            (
                "both",
                &[("tc.policy", "drop-tcp")],
                &[["tcx", "egress", "ingress", ""], ["tcx", "ingress", "egress", ""]],
            ),
            (
                "in",
                &[("tc.policy", "drop-tcp"), ("tc.direction", "ingress")],
                &[["tcx", "ingress", "egress", ""]],
            ),
            (
                "out",
                &[("tc.policy", "drop-tcp"), ("tc.direction", "egress")],
                &[["tcx", "egress", "ingress", ""]],
            ),
        ],
    )
}

#[test]
fn status_and_kernel_agree_with_clsact() -> Result<()> {
    check(
        &["--tc=clsact"],
        &[
            (
                "both",
                &[("tc.policy", "drop-tcp")],
                &[["clsact", "egress", "ingress", ""], ["clsact", "ingress", "egress", ""]],
            ),
            (
                "out",
                &[("tc.policy", "drop-tcp"), ("tc.direction", "egress")],
                &[["clsact", "egress", "ingress", ""]],
            ),
            (
                "in-and-xdp",
                &[("tc.policy", "drop-tcp"), ("tc.direction", "ingress"), ("xdp.policy", "log")],
                &[["xdp", "egress", "ingress", "generic"], ["clsact", "ingress", "egress", ""]],
            ),
        ],
    )
}

/// XDP on the host's end of a veth is at the container's way out, whatever its name suggests.
#[test]
fn t25_xdp_sees_what_a_container_sends_and_not_what_it_receives() -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    let scene = Scene::start()?;
    let daemon = scene.daemon()?;
    for (name, labels, direction, arrives) in [
        ("xdp", &[("xdp.policy", "drop-udp")] as &[Label<'_>], "egress", true),
        ("tc", &[("tc.policy", "drop-udp"), ("tc.direction", "ingress")], "ingress", false),
    ] {
        scene.run(name, labels)?;
        let status = wait_state(&daemon, name, State::Enforced)?;
        let directions: Vec<&str> = hooks(&status)?.into_keys().collect();
        assert_eq!(directions, [direction], "{name}: status says what it sees");
        let port = if arrives { ECHO } else { ECHO + 1 };
        let echo = scene.engine().from_container(name)?.echo_server(port)?;
        for address in scene.addresses(name)? {
            let answered = udp_works(&scene.engine().from_host(), (address, port).into())?;
            assert!(!answered, "{name}: the answer or the question is dropped");
        }
        assert_eq!(echo.received()?, if arrives { 2 } else { 0 }, "{name}: what arrives");
    }
    Ok(())
}

fn check(arguments: &[&str], cases: &[Expected]) -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    let scene = Scene::start()?;
    let daemon = scene.daemon_with(arguments)?;
    for (name, labels, expected) in cases {
        scene.run(name, labels)?;
        let container = wait_state(&daemon, name, State::Enforced)?;
        let interface = only_interface(&container)?;
        let found: Vec<[&str; 4]> = interface
            .hooks
            .iter()
            .map(|hook| {
                let mode = hook.mode.as_deref().unwrap_or_default();
                [&hook.hook, &hook.direction, &hook.host_side, mode]
            })
            .collect();
        assert_eq!(found, *expected, "{name}: hooks");
        check_place(&scene, &container)?;
        let host = interface.host.as_ref().context("it has a host-side veth")?;
        for hook in &interface.hooks {
            check_program(&scene, hook)?;
            check_attached(&daemon, &scene, host, hook)
                .with_context(|| format!("{name}: {hook:?}"))?;
        }
        scene.wait_listening(name)?;
        let inside = scene.engine().from_container(name)?;
        let _echo = inside.echo_server(ECHO)?;
        let reached = reach(&scene.engine().from_host(), &scene.addresses(name)?, ECHO)?;
        assert_eq!(reached, Reach { tcp: false, ..Reach::ALL }, "{name}: drop-tcp");
    }
    let mut names: Vec<_> = cases.iter().map(|(name, ..)| *name).collect();
    names.sort_unstable();
    let status = status(&daemon)?;
    let found: Vec<_> = status.containers.iter().map(|container| container.name.as_str()).collect();
    assert_eq!(found, names, "containers come in the order of their names");
    daemon.stop()
}

/// Container, network, interface and host side are what Docker and `ip` say.
fn check_place(scene: &Scene, container: &ContainerStatus) -> Result<()> {
    let name = &container.name;
    let interface = only_interface(container)?;
    assert_eq!(container.id, scene.engine().inspect(name, "{{.Id}}")?, "{name}: the full id");
    assert_eq!(interface.network.as_deref(), Some("lan"), "{name}: the Docker network");
    let host = interface.host.as_ref().context("it has a host-side veth")?;
    let mut inside = scene.engine().from_container(name)?.command("ip");
    let inside = links(inside.args(["-j", "link", "show", "dev", &interface.name]))?;
    assert_eq!(inside["ifindex"], interface.ifindex.get(), "{name}: the container's end");
    assert_eq!(inside["link_index"], host.ifindex.get(), "{name}: its peer is the host's end");
    let outside =
        links(scene.machine().command("ip").args(["-j", "link", "show", "dev", &host.name]))?;
    assert_eq!(outside["ifindex"], host.ifindex.get(), "{name}: the host's end");
    assert_eq!(outside["master"].as_str(), host.bridge.as_deref(), "{name}: its bridge");
    Ok(())
}

/// Id, name and tag are those of a loaded program.
fn check_program(scene: &Scene, hook: &HookStatus) -> Result<()> {
    let program = hook.program.as_ref().context("a hook has a program")?;
    let mut bpftool = scene.machine().command("bpftool");
    let shown = stdout_of(bpftool.args(["-j", "prog", "show", "id", &program.id.to_string()]))?;
    let shown: Value = serde_json::from_str(&shown)?;
    assert_eq!(shown["name"], program.name, "the program's name");
    assert_eq!(shown["tag"], program.tag, "the program's tag");
    Ok(())
}

/// The kernel shows the program where the status says that it is.
fn check_attached(
    daemon: &Daemon<'_>,
    scene: &Scene,
    host: &HostSide,
    hook: &HookStatus,
) -> Result<()> {
    let id = hook.program.as_ref().context("a hook has a program")?.id;
    let machine = scene.machine();
    match (hook.hook.as_str(), hook.mode.as_deref()) {
        ("xdp", mode) => {
            let shown = machine.run("ip", ["-d", "link", "show", "dev", &host.name])?;
            let word = if mode == Some("generic") { "xdpgeneric" } else { "xdp" };
            let words = [format!(" {word} "), format!("prog/xdp id {id} ")];
            for word in words {
                assert!(shown.contains(&word), "ip link shows {word:?}:\n{shown}");
            }
            let net = bpftool_net(scene)?;
            let mode = if mode == Some("generic") { "generic" } else { "driver" };
            let found = net["xdp"].as_array().is_some_and(|all| {
                all.iter().any(|one| {
                    one["devname"] == host.name && one["id"] == id && one["mode"] == mode
                })
            });
            assert!(found, "bpftool net shows it: {net}");
        }
        ("tcx", None) => {
            let mut attached = daemon.plugin()?;
            attached.args(["attached", "--format=json", &host.ifindex.to_string()]);
            let shown: Value = serde_json::from_str(&stdout_of(&mut attached)?)?;
            let side = format!("tcx-{}", hook.host_side);
            let found = shown.as_array().is_some_and(|all| {
                all.iter().any(|one| one["hook"] == side && one["program"]["id"] == id)
            });
            assert!(found, "`attached` shows it at {side}: {shown}");
        }
        ("clsact", None) => {
            let shown =
                machine.run("tc", ["filter", "show", "dev", &host.name, &hook.host_side])?;
            let (one_line, word) = (shown.replace('\n', " "), format!(" id {id} "));
            assert!(one_line.contains(&word), "tc filter shows {word:?}:\n{shown}");
            assert!(shown.contains("direct-action"), "it decides by itself:\n{shown}");
            let net = bpftool_net(scene)?;
            let kind = format!("clsact/{}", hook.host_side);
            let found = net["tc"].as_array().is_some_and(|all| {
                all.iter().any(|one| {
                    one["devname"] == host.name && one["id"] == id && one["kind"] == kind
                })
            });
            assert!(found, "bpftool net shows it: {net}");
        }
        other => anyhow::bail!("an unknown hook: {other:?}"),
    }
    Ok(())
}

fn bpftool_net(scene: &Scene) -> Result<Value> {
    let shown = scene.machine().run("bpftool", ["-j", "net", "show"])?;
    let shown: Value = serde_json::from_str(&shown).with_context(|| format!("read {shown}"))?;
    Ok(shown[0].clone())
}

/// The only link that `ip -j link show` prints.
fn links(ip: &mut Command) -> Result<Value> {
    let shown: Value = serde_json::from_str(&stdout_of(ip)?)?;
    shown.get(0).cloned().context("ip shows a link")
}
