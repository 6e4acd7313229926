//! What does not start, and what `docker run` says of it.

use std::{
    os::unix::net::UnixListener,
    process::Output,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use ebpf_netns_plugin::status::State;
use ebpf_netns_tests::privilege;
use nix::sys::signal::Signal;
use serde_json::Value;

use super::Gated;
use crate::scene::{Label, container};

const BAD: &[Label<'_>] = &[("xdp.policy", "drop-tpc")];
const GOOD: &[Label<'_>] = &[("xdp.policy", "drop-tcp")];
/// Two seconds, and what Docker takes on a busy machine.
const SOON: Duration = Duration::from_secs(8);

#[test]
fn a_policy_that_cannot_stand_is_a_failed_start_that_says_why() -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    let gated = Gated::start("")?;
    let daemon = gated.scene.daemon()?;
    let words = ["refused: label xdp.policy: column 1", "\"drop-tpc\"", "did you mean drop-tcp?"];
    gated.check_refused("bad", BAD, &[], &words)?;
    let words = ["refused: its policy cannot be enforced", "--network host"];
    gated.check_refused("host", GOOD, &["--network", "host"], &words)?;
    gated.check_refused("bad-lonely", BAD, &["--network", "none"], &["label xdp.policy"])?;
    let output = gated.by_hand(&["start", &"a".repeat(64)])?;
    check_failed(
        &output,
        &["refused: the engine that the daemon watches does not list", "--docker-host"],
    )?;
    // A container that was refused can be put right: by another, since labels never change.
    gated.scene.engine().docker(["rm", "bad"])?;
    gated.run("bad", GOOD, &[])?;
    assert_eq!(container(&daemon, "bad")?.state, State::Enforced);
    Ok(())
}

#[test]
fn without_a_daemon_nothing_starts_unless_the_operator_says_so() -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    let gated = Gated::start("")?;
    let words =
        ["nobody knows whether its policy stands", "the daemon is not running", "control.sock"];
    let took = gated.check_refused("web", GOOD, &[], &words)?;
    assert!(took < SOON, "it took {took:?}");
    // Nobody knows either whether it has labels.
    gated.check_refused("plain", &[], &[], &words)?;

    gated.set("fail_open = true")?;
    gated.run("open", GOOD, &[])?;
    gated.check_running("open")?;
    let warning = gated.runtime_log("open")?;
    let entry: Value = serde_json::from_str(warning.lines().last().context("an entry")?)?;
    assert_eq!(entry["level"], "warning", "{entry}");
    let said = entry["msg"].as_str().unwrap_or_default();
    assert!(said.contains("fail_open") && said.contains("not running"), "it says both: {said}");

    // The daemon comes late, and does what it can.
    gated.set("")?;
    let daemon = gated.scene.daemon()?;
    crate::scene::wait_state(&daemon, "open", State::Enforced)?;
    gated.scene.engine().docker(["start", "web", "plain"])?;
    assert_eq!(container(&daemon, "web")?.state, State::Enforced);
    daemon.stop()
}

#[test]
fn a_daemon_that_hangs_holds_a_start_until_the_deadline() -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    let gated = Gated::start("")?;
    let daemon = gated.scene.daemon()?;
    daemon.signal(Signal::SIGSTOP)?;
    let took = gated.check_refused("web", GOOD, &[], &["the daemon did not answer within"])?;
    assert!(took > Duration::from_millis(1900) && took < SOON, "it took {took:?}");
    daemon.signal(Signal::SIGCONT)?;
    gated.scene.engine().docker(["start", "web"])?;
    assert_eq!(container(&daemon, "web")?.state, State::Enforced);
    daemon.stop()?;

    // A socket that takes connections and never answers; the runtime alone, to see its own time.
    let path = "/run/hanging.sock";
    let _listener = UnixListener::bind(gated.scene.machine().outside(path))?;
    gated.set(&format!("control_socket = {path:?}\ndeadline_ms = 700\n"))?;
    let begun = Instant::now();
    let output = gated.by_hand(&["start", &"a".repeat(64)])?;
    let took = begun.elapsed();
    check_failed(&output, &["container aaaaaaaaaaaa: ", "did not answer within"])?;
    assert!(took >= Duration::from_millis(690) && took < Duration::from_secs(2), "{took:?}");
    Ok(())
}

#[test]
fn what_the_daemon_waits_for_is_told_when_time_is_up() -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    let gated = Gated::start("deadline_ms = 1000")?;
    let daemon = gated.scene.daemon()?;
    // Asked for by hand, a container that Docker has and does not start: it gets no interface.
    gated.scene.create("idle", GOOD, &["--network", crate::scene::LAN])?;
    crate::scene::wait_state(&daemon, "idle", State::Idle)?;
    let id = gated.scene.engine().inspect("idle", "{{.Id}}")?;
    let output = gated.by_hand(&["start", &id])?;
    check_failed(&output, &["does not stand after 9", "ms: its interfaces are not found yet"])
}

#[test]
fn settings_and_runtimes_that_are_wrong_are_told_and_what_runs_can_be_stopped() -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    let gated = Gated::start("")?;
    let _daemon = gated.scene.daemon()?;
    gated.run("web", &[], &["--network", crate::scene::LAN])?;
    gated.set("runtime = \"runc\"\nfailopen = true\n")?;
    let words = ["runtime.toml: line 2, column 1", "unknown field `failopen`"];
    check_create_failed(&gated, "bad-settings", &words)?;
    gated.set("runtime = \"/nowhere/runc\"\n")?;
    let words = ["execute the real runtime /nowhere/runc", "is it installed", "No such file"];
    check_create_failed(&gated, "no-runtime", &words)?;

    gated.set("deadline_ms = 0\n")?;
    gated.check_running("web")?;
    gated.scene.engine().docker(["stop", "--time", "1", "web"])?;
    let state = gated.scene.engine().inspect("web", "{{.State.Status}}")?;
    assert_eq!(state, "exited", "it was stopped in spite of the settings");
    Ok(())
}

/// `docker run` fails before the container is made, with a sentence that has all of these words.
fn check_create_failed(gated: &Gated, name: &str, words: &[&str]) -> Result<()> {
    gated.check_refused(name, &[], &[], words).map(drop)
}

fn check_failed(output: &Output, words: &[&str]) -> Result<()> {
    let said = String::from_utf8(output.stderr.clone())?;
    ensure!(output.status.code() == Some(1), "it ends as runc does: {output:?}");
    ensure!(said.lines().count() == 1, "one sentence: {said}");
    for word in words {
        ensure!(said.contains(word), "{said:?} has {word:?}");
    }
    Ok(())
}
