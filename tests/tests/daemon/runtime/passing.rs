//! What is not a start reaches the real runtime as it came.

use std::{
    fs,
    io::Write as _,
    os::unix::fs::PermissionsExt as _,
    process::{Command, Output, Stdio},
};

use anyhow::{Context as _, Result};
use ebpf_netns_tests::{DEADLINE, privilege, wait_until};

use super::{Gated, program};

#[test]
fn every_verb_of_docker_works_through_the_runtime() -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    let gated = Gated::start("")?;
    let _daemon = gated.scene.daemon()?;
    let engine = gated.scene.engine();
    gated.run("web", &[("tc.policy", "drop-icmp")], &["--network", crate::scene::LAN])?;
    let version = engine.docker(["exec", "web", "/httpd", "--help"]);
    assert!(version.is_ok(), "a process beside the first: {version:?}");
    let missing = engine.try_docker(["exec", "web", "/nothing"])?;
    assert_eq!(missing.status.code(), Some(126), "exec's own failure: {missing:?}");
    engine.docker(["pause", "web"])?;
    assert_eq!(engine.inspect("web", "{{.State.Status}}")?, "paused");
    engine.docker(["unpause", "web"])?;
    engine.docker(["update", "--cpu-shares", "512", "web"])?;
    engine.docker(["restart", "--time", "0", "web"])?;
    gated.check_running("web")?;
    engine.docker(["kill", "--signal", "KILL", "web"])?;
    engine.wait_exited("web")?;
    let code = engine.inspect("web", "{{.State.ExitCode}}")?;
    assert_eq!(code, "137", "the exit code is the container's");
    engine.docker(["rm", "web"])?;
    // A command that ends at once, with a code of its own.
    let command = ["noshell", "/httpd", "-z"];
    let runtime = ["run", "--rm", "--runtime", super::RUNTIME];
    let once = engine.try_docker(runtime.iter().chain(&command))?;
    let plain = engine.try_docker(["run", "--rm"].iter().chain(&command))?;
    assert_eq!(once.status, plain.status, "{once:?}");
    assert_eq!(once.stderr, plain.stderr, "the same output as with runc");
    Ok(())
}

#[test]
fn what_is_not_a_start_is_what_runc_would_do() -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    let gated = Gated::start("")?;
    for arguments in [
        &["--version"][..],
        &["--help"],
        &[],
        &["features"],
        &["frobnicate"],
        &["start"],
        &["start", "--help"],
        &["--root", "/run/none", "list"],
        &["--root", "/run/none", "state", "none"],
        &["--log-format", "json", "kill", "none"],
        &["--nonsense"],
    ] {
        let ours = gated.by_hand(arguments)?;
        let runcs = output(gated.scene.machine().command("runc").args(arguments), "")?;
        let told = |output: &Output| {
            // Some of runc's messages have the time in them.
            let text = String::from_utf8_lossy(&output.stderr).into_owned();
            let text = text.split_once(" level=").map_or(text.clone(), |(_, rest)| rest.to_owned());
            (output.status.code(), output.stdout.clone(), text)
        };
        assert_eq!(told(&ours), told(&runcs), "{arguments:?}");
    }
    Ok(())
}

#[test]
fn arguments_environment_input_and_exit_code_are_passed_on() -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    let gated = Gated::start("")?;
    let script = gated.scene.machine().directory().join("tells");
    fs::write(
        &script,
        "#!/bin/sh\nprintf '<%s>' \"$@\"\nenv | sort\necho \"pid $$\"\ncat\necho oops >&2\nexit 42\n",
    )?;
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755))?;
    gated.set(&format!("runtime = {script:?}"))?;
    let arguments = ["--root", "/a b", "exec", "", "*", "$HOME", "--", "--ebpf-netns-settings=/x"];
    let own = format!("--ebpf-netns-settings={}", gated.settings().display());
    let mut ours = Command::new(program()?);
    let mut direct = Command::new(&script);
    for command in [ours.arg(own), &mut direct] {
        command.args(arguments).env_clear().env("ODD", "a\nb").env("PATH", "/usr/bin:/bin");
    }
    let child = spawn(&mut ours, "input")?;
    let pid = child.id();
    let ours = child.wait_with_output()?;
    let direct = output(&mut direct, "input")?;
    let text = |output: &Output| String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text(&ours).contains(&format!("pid {pid}\n")), "the same process: {ours:?}");
    let without_pid = |text: String| {
        text.lines().filter(|line| !line.starts_with("pid ")).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(without_pid(text(&ours)), without_pid(text(&direct)));
    assert!(text(&ours).ends_with("input"), "standard input is passed on: {ours:?}");
    assert_eq!((ours.status.code(), ours.stderr.as_slice()), (Some(42), b"oops\n".as_slice()));
    Ok(())
}

#[test]
fn an_engine_without_our_daemon_still_lists_and_removes() -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    let gated = Gated::start("")?;
    let engine = gated.scene.engine();
    let daemon = gated.scene.daemon()?;
    gated.run("web", &[], &["--network", crate::scene::LAN])?;
    daemon.kill()?;
    engine.docker(["exec", "web", "/httpd", "--help"])?;
    engine.docker(["stop", "--time", "0", "web"])?;
    engine.docker(["rm", "web"])?;
    wait_until(DEADLINE, "no container", || {
        engine.docker(["ps", "--all", "--quiet"]).is_ok_and(|all| all.is_empty())
    })
}

fn spawn(command: &mut Command, input: &str) -> Result<std::process::Child> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn()?;
    let mut stdin = child.stdin.take().context("standard input is a pipe")?;
    stdin.write_all(input.as_bytes())?;
    Ok(child)
}

fn output(command: &mut Command, input: &str) -> Result<Output> {
    spawn(command, input)?.wait_with_output().context("wait for a program")
}
