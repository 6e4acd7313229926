//! The managed plugin on an engine: created, enabled, killed, set, disabled and removed.

use std::net::{IpAddr, SocketAddr};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use ebpf_netns_dist::{Machine, plugin};
use ebpf_netns_tests::{
    DEADLINE, Engine, EngineOptions, binaries,
    command::stdout_of,
    images::Image,
    outside::{HOST, Outside},
    privilege,
    traffic::{Http, Vantage},
    wait_for,
};

use super::packed::ensure_enforced;

/// The plugin's name in Docker.
const NAME: &str = "ebpf-netns";
/// The daemon's name, as the kernel has it.
const PROCESS: &str = "ebpf-netns-plug";
/// What it may keep: `CAP_NET_ADMIN`, `CAP_BPF`, and `CAP_PERFMON` before Linux 6.8.
const KEPT: u64 = 1 << 12 | 1 << 38 | 1 << 39;

#[test]
fn docker_keeps_the_daemon_as_a_plugin_and_policies_outlive_it() -> Result<()> {
    if !binaries::can_stand_alone()? || !privilege::have_root()? {
        return Ok(());
    }
    let engine = engine_with_plugin()?;
    engine.docker(["plugin", "enable", NAME])?;
    let listed = engine.docker(["plugin", "ls", "--format", "{{.Name}} {{.Enabled}}"])?;
    ensure!(listed == format!("{NAME}:latest true"), "{listed}");

    engine.docker(["run", "-d", "--name", "web", "--label", "xdp.policy=drop-icmp", "busybox"])?;
    let first = wait_enforced(&engine)?;
    ensure!(!pings(&engine, "web", "bridge")?, "the policy holds");

    // It fails: Docker starts it again, and nothing was open meanwhile.
    engine.machine().run("pkill", ["-KILL", "-x", PROCESS])?;
    ensure!(!pings(&engine, "web", "bridge")?, "the policy holds without it");
    wait_another(&engine, &first)?;

    engine.docker(["plugin", "disable", NAME])?;
    ensure!(!pings(&engine, "web", "bridge")?, "the policy holds while it is disabled");
    engine.docker(["plugin", "set", NAME, "RUST_LOG=debug", "args=--tc clsact"])?;
    engine.docker(["plugin", "enable", NAME])?;
    wait_enforced(&engine)?;
    let arguments = engine.machine().run("pgrep", ["-a", "-x", PROCESS])?;
    ensure!(arguments.contains("--tc clsact"), "{arguments}");

    engine.docker(["plugin", "disable", NAME])?;
    engine.docker(["plugin", "rm", NAME])?;
    ensure!(engine.docker(["plugin", "ls", "--quiet"])?.is_empty());
    let records = engine.machine().run("find", ["/run/ebpf-netns/state", "-type", "f"])?;
    ensure!(!records.is_empty(), "what is attached is on record for the next daemon");
    ensure!(!pings(&engine, "web", "bridge")?, "the policy holds until it is taken off");
    stdout_of(program(&engine, "ebpf-netns-plugin")?.arg("clean"))?;
    ensure!(pings(&engine, "web", "bridge")?, "it is off");
    Ok(())
}

#[test]
fn a_network_of_the_plugin_does_what_one_of_the_driver_does() -> Result<()> {
    if !binaries::can_stand_alone()? || !privilege::have_root()? {
        return Ok(());
    }
    let engine = engine_with_plugin()?;
    let outside = Outside::new(engine.machine())?;
    engine.docker(["plugin", "enable", NAME])?;
    network(&engine, "n1", 1, &[])?;
    network(&engine, "narrow", 2, &["--opt", "tc.ingress=allow tcp 80"])?;
    run(&engine, "free", &["--network", "n1"])?;
    let labelled = ["--network", "n1", "--publish", "8080:80", "--label", "tc.policy=drop-icmp"];
    run(&engine, "web", &labelled)?;
    run(&engine, "member", &["--network", "narrow"])?;
    let wrong = ["run", "--network", "n1", "--label", "tc.policy=drop-tpc", "noshell"];
    let wrong = engine.try_docker(wrong)?;
    let said = String::from_utf8_lossy(&wrong.stderr);
    let expected = "label tc.policy: column 1: found \"drop-tpc\"";
    ensure!(!wrong.status.success() && said.contains(expected), "a bad label is refused: {said}");

    let check = |when: &str| -> Result<()> {
        check_answers(outside.vantage(), &HOST, 8080, &format!("by the published port {when}"))?;
        for (name, network, is_free) in
            [("free", "n1", true), ("web", "n1", false), ("member", "narrow", false)]
        {
            let (host, addresses) = (engine.from_host(), engine.addresses_on(name, network)?);
            for to in addresses.both()? {
                ensure!(host.ping(to, 2)?.is_complete() == is_free, "{name}, {to}, {when}");
            }
            check_answers(&host, &addresses.both()?, 80, &format!("{name} {when}"))?;
        }
        Ok(())
    };
    let first = wait_enforced(&engine)?;
    check("at first")?;
    engine.machine().run("pkill", ["-KILL", "-x", PROCESS])?;
    check("while the plugin is gone")?;
    wait_another(&engine, &first)?;
    check("when it is back")?;

    let refused = engine.try_docker(["plugin", "disable", NAME])?;
    ensure!(!refused.status.success(), "its networks are there");
    engine.docker(["rm", "--force", "free", "web", "member"])?;
    engine.docker(["network", "rm", "n1", "narrow"])?;
    engine.docker(["plugin", "disable", NAME]).map(drop)
}

#[test]
fn the_plugin_gives_up_what_it_does_not_need_of_what_docker_gives_it() -> Result<()> {
    if !binaries::can_stand_alone()? || !privilege::have_root()? {
        return Ok(());
    }
    let engine = engine_with_plugin()?;
    let template = "{{json .Config.Linux.Capabilities}} {{.Config.Linux.AllowAllDevices}}";
    let asked = engine.docker(["plugin", "inspect", "--format", template, NAME])?;
    let expected = r#"["CAP_BPF","CAP_NET_ADMIN","CAP_PERFMON","CAP_SYS_NICE"] false"#;
    ensure!(asked == expected, "{asked}");
    engine.docker(["plugin", "enable", NAME])?;
    engine.docker(["run", "-d", "--name", "web", "--label", "xdp.policy=drop-icmp", "busybox"])?;
    let process = wait_enforced(&engine)?;
    let status = engine.machine().run("cat", [format!("/proc/{process}/status")])?;
    for set in ["CapPrm:", "CapEff:", "CapBnd:"] {
        let line = status.lines().find_map(|line| line.strip_prefix(set));
        let has =
            u64::from_str_radix(line.with_context(|| format!("{set} in {status}"))?.trim(), 16)?;
        ensure!(has & !KEPT == 0, "{set} {has:x}");
    }
    Ok(())
}

/// An engine that has the plugin, and has not started it yet.
fn engine_with_plugin() -> Result<Engine> {
    let images = vec![Image::Busybox, Image::Noshell];
    let engine = Engine::start_with(EngineOptions { images, ..Default::default() })?;
    // As on a host, where systemd mounts it so.
    engine.machine().run("mount", ["--make-rshared", "/run"])?;
    let directory = engine.machine().directory().join("plugin");
    let machine = Machine::here().context("there are packages for this machine")?;
    plugin(&binaries::standalone()?, machine, &directory)?;
    engine.docker(["plugin", "create", NAME, &directory.display().to_string()])?;
    Ok(engine)
}

/// A network of the plugin, of IPv4 and IPv6, by a number.
fn network(engine: &Engine, name: &str, number: u8, options: &[&str]) -> Result<()> {
    let (driver, subnet) = (format!("{NAME}:latest"), format!("10.44.{number}.0/24"));
    let subnet_v6 = format!("fd00:44:{number}::/64");
    let create = ["network", "create", "--driver", &driver, "--ipv6", "--subnet", &subnet];
    let create = [&create[..], &["--subnet", &subnet_v6], options, &[name]].concat();
    engine.docker(create).map(drop)
}

/// A web server.
fn run(engine: &Engine, name: &str, options: &[&str]) -> Result<()> {
    let run = [&["run", "--detach", "--name", name], options, &[Image::Noshell.name()]].concat();
    engine.docker(run).map(drop)
}

/// A web server answers there, once it has started.
fn check_answers(from: &Vantage<'_>, to: &[IpAddr], port: u16, what: &str) -> Result<()> {
    for to in to {
        wait_for(DEADLINE, what, || {
            let answer = from.http_at(SocketAddr::new(*to, port))?;
            ensure!(answer == Http::Answered(200), "{to} port {port}: {answer:?}");
            Ok(())
        })?;
    }
    Ok(())
}

/// A program of the host's, beside the plugin.
fn program(engine: &Engine, name: &str) -> Result<Command> {
    Ok(engine.machine().command(binaries::standalone()?.join(name)))
}

/// Waits until the plugin says that the policy of `web` is in force; the plugin's process.
fn wait_enforced(engine: &Engine) -> Result<String> {
    wait_for(DEADLINE, "web to be enforced", || {
        let mut status = program(engine, "ebpf-netns")?;
        ensure_enforced(&stdout_of(status.args(["status", "--format", "json"]))?)?;
        engine.machine().run("pgrep", ["-x", PROCESS])
    })
}

/// Waits until Docker has started the plugin again, and its policies are in force.
fn wait_another(engine: &Engine, first: &str) -> Result<()> {
    wait_for(DEADLINE, "another daemon", || {
        ensure!(wait_enforced(engine)? != first, "it is the same still");
        Ok(())
    })
}

/// Whether a container's pings to its network's gateway are answered.
fn pings(engine: &Engine, container: &str, network: &str) -> Result<bool> {
    let template = format!("{{{{(index .NetworkSettings.Networks {network:?}).Gateway}}}}");
    let gateway = engine.inspect(container, &template)?.parse()?;
    Ok(engine.from_container(container)?.ping(gateway, 2)?.is_complete())
}
