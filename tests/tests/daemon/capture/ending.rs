//! How a capture ends, and what is left of it: nothing in the kernel, and a whole file.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path, process::Command};

use anyhow::{Context as _, Result, ensure};
use ebpf_netns_plugin::status::State;
use ebpf_netns_tests::{
    DEADLINE, Daemon,
    binaries::{self, Binary},
    command::output_of,
    privilege, wait_for,
};
use serde_json::Value;

use super::{Capture, packets};
use crate::{
    residue,
    scene::{Scene, host_veth, http_works, ping_works, status, wait_state},
};

/// No such container, or nothing to capture on it.
const NOT_FOUND: i32 = 66;
/// The bit of a policy that has the programs look for captures, in its second byte.
const CAPTURE: u64 = 2;

/// What captures left in the kernel: entries of their maps, and policies that look for them.
fn left(scene: &Scene, daemon: &Daemon<'_>) -> Result<(usize, usize)> {
    let programs = residue::programs(&status(daemon)?);
    let machine = scene.machine();
    let mut entries = 0;
    for name in ["CAPTURES", "CAPTURE_RINGS"] {
        for map in residue::maps(machine, &programs, name)? {
            entries += residue::entries(machine, map)?;
        }
    }
    let mut looking = 0;
    for map in residue::maps(machine, &programs, "POLICY")? {
        let dump = machine.run("bpftool", ["-j", "map", "dump", "id", &map.to_string()])?;
        let dump: Value = serde_json::from_str(&dump)?;
        let policies = dump.as_array().context("bpftool prints a list")?.iter();
        looking += policies.filter(|policy| looks(policy)).count();
    }
    Ok((entries, looking))
}

/// Whether one of the three sets of presets in a policy has the bit.
fn looks(policy: &Value) -> bool {
    let byte = |at: usize| {
        let byte = policy["value"][at].as_str().unwrap_or_default();
        u64::from_str_radix(byte.trim_start_matches("0x"), 16).unwrap_or_default()
    };
    [1, 5, 9].into_iter().any(|at| byte(at) & CAPTURE != 0)
}

/// Waits until nothing is left of captures.
fn wait_nothing_left(scene: &Scene, daemon: &Daemon<'_>, after: &str) -> Result<()> {
    wait_for(DEADLINE, &format!("nothing to be left of a capture after {after}"), || {
        let left = left(scene, daemon)?;
        ensure!(left == (0, 0), "entries, and policies that look: {left:?}");
        Ok(())
    })
}

#[test]
fn nothing_is_left_of_a_capture_however_it_ends() -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    let scene = Scene::start()?;
    let daemon = scene.daemon()?;
    scene.run("web", &[("tc.policy", "drop-udp")])?;
    wait_state(&daemon, "web", State::Enforced)?;
    scene.wait_listening("web")?;
    let [v4, _] = scene.addresses("web")?;
    let host = scene.engine().from_host();
    let begin = |options: &[&str]| Capture::begin(&scene, &daemon, "web", options);

    let mut capture = begin(&[])?;
    let (entries, looking) = left(&scene, &daemon)?;
    ensure!(entries == 2 && looking == 1, "while it goes on: {entries} {looking}");
    capture.process.kill()?;
    wait_nothing_left(&scene, &daemon, "SIGKILL")?;
    assert!(ping_works(&host, v4)?, "nothing is dropped that was not");

    fs::remove_file(&capture.file)?;
    let mut capture = begin(&["--count", "3"])?;
    assert!(http_works(&host, v4)?, "nothing is dropped");
    let (file, said) = capture.ended()?;
    assert!(said.contains("3 packets captured, 0 of them dropped"), "{said}");
    assert_eq!(packets(&scene, &file, "frame")?.len(), 3);
    wait_nothing_left(&scene, &daemon, "--count")?;

    fs::remove_file(&file)?;
    let (_, said) = begin(&["--duration", "1"])?.ended()?;
    assert!(said.contains("captured, "), "{said}");
    wait_nothing_left(&scene, &daemon, "--duration")?;
    check_pipe(&scene, &daemon)?;
    check_files(&scene, &daemon, &file)?;

    // What a daemon leaves that is killed in the middle, the next one takes away.
    let mut capture = begin(&[])?;
    daemon.kill()?;
    let ended = capture.process.wait(DEADLINE)?;
    let said = capture.said()?;
    assert!(!ended.success() && said.contains("the daemon is gone"), "{ended}, {said}");
    assert!(said.contains("packets captured, "), "it says what there is: {said}");
    packets(&scene, &file, "frame")?;
    let daemon = scene.daemon()?;
    wait_state(&daemon, "web", State::Enforced)?;
    wait_nothing_left(&scene, &daemon, "SIGKILL of the daemon")?;
    scene.end(daemon)
}

/// Whoever reads it may go away, whether or not there are packets.
fn check_pipe(scene: &Scene, daemon: &Daemon<'_>) -> Result<()> {
    let plugin = binaries::path(Binary::Plugin)?;
    // The header comes at once, and is all there is: nobody sends anything.
    let script = r#"{ "$0" capture web -w -; echo "$?" >&2; } | head -c 64 | wc -c"#;
    let mut pipe = scene.machine().command("sh");
    let output = output_of(pipe.args(["-c", script]).arg(plugin))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.stdout.trim_ascii() == b"64", "the header comes through: {output:?}");
    ensure!(said.trim_end().ends_with("\n0"), "it ends quietly: {said}");
    ensure!(!said.contains("roken pipe") && !said.contains("ebpf-netns-plugin:"), "{said}");
    wait_nothing_left(scene, daemon, "a broken pipe")
}

/// A file that is there stays, and what is refused leaves none.
fn check_files(scene: &Scene, daemon: &Daemon<'_>, file: &Path) -> Result<()> {
    let run = |name: &str, options: &[&str]| -> Result<(Option<i32>, String)> {
        let mut command: Command = daemon.plugin()?;
        command.args(["capture", name, "--duration", "1", "-w"]).arg(file).args(options);
        let output = output_of(&mut command)?;
        Ok((output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned()))
    };
    fs::write(file, "precious")?;
    let (code, said) = run("web", &[])?;
    assert!(code == Some(1) && said.contains("--force overwrites it"), "{code:?} {said}");
    assert_eq!(fs::read(file)?, b"precious");
    let (code, said) = run("web", &["--force"])?;
    assert_eq!(code, Some(0), "{said}");
    packets(scene, file, "frame")?;
    assert_eq!(fs::metadata(file)?.permissions().mode() & 0o777, 0o600);
    fs::remove_file(file)?;
    let (code, said) = run("nobody", &[])?;
    assert!(code == Some(NOT_FOUND) && said.contains("no container nobody"), "{code:?} {said}");
    assert!(!file.exists(), "there was nothing to capture");
    Ok(())
}

#[test]
fn a_container_that_is_started_again_is_captured_again() -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    let scene = Scene::start()?;
    let daemon = scene.daemon()?;
    scene.run("web", &[("tc.policy", "drop-udp")])?;
    wait_state(&daemon, "web", State::Enforced)?;
    let capture = Capture::begin(&scene, &daemon, "web", &[])?;
    let before = host_veth(&scene, "web")?.0;
    scene.engine().docker(["restart", "--time", "0", "web"])?;
    wait_state(&daemon, "web", State::Enforced)?;
    let after = host_veth(&scene, "web")?.0;
    ensure!(after != before, "it has another veth");
    capture.wait_said(&format!("capturing on {after}: "))?;
    scene.wait_listening("web")?;
    let [v4, _] = scene.addresses("web")?;
    assert!(http_works(&scene.engine().from_host(), v4)?, "nothing is dropped");
    let all = packets(&scene, &capture.end()?.0, "tcp.port == 80")?;
    assert!(all.iter().any(|packet| packet.interface == after), "{all:#?}");
    wait_nothing_left(&scene, &daemon, "a restart")?;
    scene.end(daemon)
}
