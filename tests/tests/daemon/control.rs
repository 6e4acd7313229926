//! The daemon as a process: who may start it and ask it, and what it does when Docker comes, goes
//! and comes back.

use std::{fs, os::unix::fs::PermissionsExt as _, process::Output};

use anyhow::{Context as _, Result, ensure};
use ebpf_netns_plugin::status::{DockerStatus, State};
use ebpf_netns_tests::{
    DEADLINE, Daemon, EngineOptions, Machine,
    binaries::{self, Binary},
    command::output_of,
    images::Image,
    privilege, wait_for,
};

use crate::{
    residue,
    scene::{LAN, Scene, check_no_ping, host_veth, status, wait_state},
};

const SOCKET: &str = "/run/ebpf-netns/control.sock";

/// The exit codes that the commands promise.
const FAILED: i32 = 1;
const USAGE: i32 = 2;
const UNAVAILABLE: i32 = 69;
const NOT_PERMITTED: i32 = 77;

#[test]
fn what_starts_while_docker_restarts_is_policed() -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    let scene = Scene::start()?;
    let (engine, daemon) = (scene.engine(), scene.daemon()?);
    let policy = [("xdp.policy", "drop-icmp")];
    scene.run_with("always", &policy, &["--network", LAN, "--restart", "always"])?;
    scene.run("once", &policy)?;
    let before = wait_state(&daemon, "always", State::Enforced)?;
    engine.restart()?;
    wait_docker(&daemon, "connected", |docker| matches!(docker, DockerStatus::Connected { .. }))?;
    let after = wait_for(DEADLINE, "the restarted container to be enforced", || {
        let after = wait_state(&daemon, "always", State::Enforced)?;
        ensure!(after.interfaces != before.interfaces, "it still has the old interface");
        Ok(after)
    })?;
    assert_ne!(after.interfaces, before.interfaces, "Docker made a new interface");
    check_no_ping(&scene, "always", "started by Docker itself")?;
    wait_state(&daemon, "once", State::Idle)?;
    scene.run("later", &policy)?;
    wait_state(&daemon, "later", State::Enforced)?;
    check_no_ping(&scene, "later", "after the restart")?;
    Ok(())
}

#[test]
fn policy_stands_while_docker_is_dead() -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    let flags = vec!["--live-restore".to_owned()];
    let scene = Scene::with(EngineOptions { flags, images: vec![Image::Noshell] })?;
    let (engine, daemon) = (scene.engine(), scene.daemon()?);
    scene.run("web", &[("tc.policy", "drop-icmp")])?;
    scene.run("plain", &[])?;
    let before = wait_state(&daemon, "web", State::Enforced)?;
    let links = residue::links(scene.machine(), &residue::programs(&status(&daemon)?))?;
    let addresses = scene.addresses("web")?;
    engine.kill()?;
    wait_docker(
        &daemon,
        "unreachable",
        |docker| matches!(docker, DockerStatus::Unreachable { reason } if reason.contains("docker.sock")),
    )?;
    let host = engine.from_host();
    crate::scene::check_ping(&host, &addresses, false, "while Docker is dead")?;
    let meanwhile = wait_state(&daemon, "web", State::Enforced)?;
    assert_eq!(meanwhile.interfaces.len(), before.interfaces.len(), "nothing is forgotten");
    engine.restart()?;
    wait_docker(&daemon, "connected", |docker| matches!(docker, DockerStatus::Connected { .. }))?;
    check_no_ping(&scene, "web", "Docker is back")?;
    let kept = residue::links(scene.machine(), &residue::programs(&status(&daemon)?))?;
    assert_eq!(kept, links, "nothing was attached anew");
    Ok(())
}

#[test]
fn the_daemon_waits_for_docker() -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    let scene = Scene::start()?;
    scene.run_with(
        "web",
        &[("xdp.policy", "drop-icmp")],
        &["--network", LAN, "--restart", "always"],
    )?;
    scene.engine().stop()?;
    let daemon = scene.daemon()?;
    wait_docker(
        &daemon,
        "unreachable",
        |docker| matches!(docker, DockerStatus::Unreachable { reason } if reason.contains("docker.sock")),
    )?;
    let mut table = daemon.plugin()?;
    let table = ebpf_netns_tests::command::stdout_of(table.arg("status"))?;
    assert!(table.contains("Docker: unreachable"), "the table says it too:\n{table}");
    scene.engine().restart()?;
    wait_state(&daemon, "web", State::Enforced)?;
    check_no_ping(&scene, "web", "Docker came after the daemon")
}

#[test]
fn a_killed_daemon_leaves_nothing_in_the_way_of_the_next() -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    let scene = Scene::start()?;
    let machine = scene.machine();
    let before = residue::attached(machine)?;
    scene.run("web", &[("tc.policy", "drop-icmp")])?;
    for tc in ["--tc=clsact", "--tc=tcx"] {
        for round in ["first", "second"] {
            let daemon = scene.daemon_with(&[tc])?;
            wait_state(&daemon, "web", State::Enforced)?;
            check_no_ping(&scene, "web", round)?;
            let filters = filters(machine, &host_veth(&scene, "web")?.0)?;
            let expected = if tc == "--tc=clsact" { 2 } else { 0 };
            assert_eq!(filters, expected, "{tc}, {round}: a filter for each direction");
            daemon.kill()?;
        }
        let daemon = scene.daemon_with(&[tc])?;
        wait_state(&daemon, "web", State::Enforced)?;
        daemon.stop()?;
    }
    assert_eq!(filters(machine, &host_veth(&scene, "web")?.0)?, 0, "the last one leaves no filter");
    // A qdisc that a killed daemon made may be anybody's, and stays for as long as its veth.
    scene.engine().docker(["rm", "--force", "web"])?;
    assert_eq!(residue::attached(machine)?, before, "nothing is left after the container");
    Ok(())
}

#[test]
fn a_second_daemon_is_refused_and_the_first_goes_on() -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    let scene = Scene::start()?;
    let machine = scene.machine();
    let daemon = scene.daemon()?;
    let second = plugin(machine, &[], &["run"])?;
    assert_eq!(second.status.code(), Some(FAILED), "{second:?}");
    let said = String::from_utf8(second.stderr)?;
    for word in ["another ebpf-netns-plugin runs already", "/sys/fs/bpf/ebpf-netns"] {
        assert!(said.contains(word), "the refusal {said:?} has {word:?}");
    }
    status(&daemon)?;
    daemon.stop()
}

#[test]
fn only_root_may_start_and_ask_the_daemon() -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    let machine = Machine::start()?;
    let nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
    // Nobody can reach the program where it was built.
    let program = "/run/ebpf-netns-plugin";
    fs::copy(binaries::path(Binary::Plugin)?, machine.outside(program))?;
    fs::set_permissions(machine.outside(program), fs::Permissions::from_mode(0o755))?;

    let status = plugin(&machine, &[], &["status"])?;
    let said = String::from_utf8(status.stderr)?;
    assert_eq!(status.status.code(), Some(UNAVAILABLE), "status without a daemon: {said}");
    for word in ["the daemon is not running", SOCKET, "ebpf-netns-plugin run"] {
        assert!(said.contains(word), "{said:?} has {word:?}");
    }
    let status = plugin(&machine, &[], &["status", "--format=json"])?;
    let said: serde_json::Value = serde_json::from_slice(&status.stderr)?;
    assert!(said["error"].is_string(), "an error is JSON too: {said}");
    assert_eq!(status.stdout, b"", "and no output");

    let fresh = ["run", "--control-socket=/run/nobody/control.sock"];
    machine.run("install", ["-d", "-o", "65534", "/run/nobody"])?;
    for arguments in [&["run"][..], &fresh] {
        let run = plugin(&machine, &nobody, arguments)?;
        let said = String::from_utf8(run.stderr)?;
        assert_eq!(run.status.code(), Some(NOT_PERMITTED), "{arguments:?} as nobody: {said}");
        assert!(said.to_lowercase().contains("permi"), "it says why: {said}");
    }
    let limited = ["setpriv", "--bounding-set=-all,+bpf"];
    let run = plugin(&machine, &limited, &["run"])?;
    let said = String::from_utf8(run.stderr)?;
    assert_eq!(run.status.code(), Some(NOT_PERMITTED), "run without CAP_NET_ADMIN: {said}");
    assert!(said.contains("CAP_NET_ADMIN"), "it says what is missing: {said}");

    let daemon = Daemon::start(&machine)?;
    let mode = |path: &str| -> Result<u32> {
        let file = fs::metadata(machine.outside(path)).with_context(|| path.to_owned())?;
        Ok(file.permissions().mode() & 0o7777)
    };
    assert_eq!(mode(SOCKET)?, 0o600, "the socket is root's alone");
    assert_eq!(mode("/run/ebpf-netns")?, 0o700, "and so is its directory");
    let status = plugin(&machine, &nobody, &["status"])?;
    let said = String::from_utf8(status.stderr)?;
    assert_eq!(status.status.code(), Some(NOT_PERMITTED), "status as nobody: {said}");
    assert!(said.contains("run as root"), "it says the way out: {said}");
    daemon.stop()
}

#[test]
fn wrong_usage_is_told_from_failure() -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    let machine = Machine::start()?;
    for arguments in [&[][..], &["run", "--tc=both"], &["frob"], &["check"]] {
        let output = plugin(&machine, &[], arguments)?;
        assert_eq!(output.status.code(), Some(USAGE), "{arguments:?}: {output:?}");
    }
    for host in ["frob", "ftp://localhost", "unix://"] {
        let output = plugin(&machine, &[], &["run", "--docker-host", host])?;
        assert_eq!(output.status.code(), Some(UNAVAILABLE), "{host}: {output:?}");
        let said = String::from_utf8(output.stderr)?;
        assert!(said.contains(&format!("--docker-host {host}: ")), "{said:?} says which option");
        let variable = format!("DOCKER_HOST={host}");
        let output = plugin(&machine, &["env", &variable], &["run"])?;
        assert_eq!(output.status.code(), Some(UNAVAILABLE), "{variable}: {output:?}");
        let said = String::from_utf8(output.stderr)?;
        assert!(said.contains(&variable), "{said:?} says which variable");
    }
    Ok(())
}

/// Runs the plugin in a machine to its end, behind a wrapper.
fn plugin(machine: &Machine, wrapper: &[&str], arguments: &[&str]) -> Result<Output> {
    let copy = machine.outside("/run/ebpf-netns-plugin").exists();
    let program =
        if copy { "/run/ebpf-netns-plugin".into() } else { binaries::path(Binary::Plugin)? };
    // What goes on running although it should have refused is ended: code 124.
    let mut command = machine.command("timeout");
    command.arg(DEADLINE.as_secs().to_string()).args(wrapper).arg(program);
    output_of(command.args(arguments).env_remove("DOCKER_HOST"))
}

fn wait_docker(
    daemon: &Daemon<'_>,
    what: &str,
    expected: impl Fn(&DockerStatus) -> bool,
) -> Result<()> {
    wait_for(DEADLINE, &format!("Docker to be {what}"), || {
        let docker = status(daemon)?.docker;
        ensure!(expected(&docker), "it is {docker:?}");
        Ok(())
    })
}

/// How many clsact filters of ours an interface has.
fn filters(machine: &Machine, veth: &str) -> Result<usize> {
    let mut count = 0;
    for side in ["ingress", "egress"] {
        let shown = machine.run("tc", ["filter", "show", "dev", veth, side])?;
        count += shown.lines().filter(|line| line.contains(" ebpf_netns_")).count();
    }
    Ok(count)
}
