//! The daemon as a service of systemd: its unit, and what it tells the service manager.

use std::{fs, os::unix::net::UnixDatagram, time::Duration};

use anyhow::{Context as _, Result, ensure};
use ebpf_netns_tests::{
    DEADLINE, Machine,
    binaries::{self, Binary},
    command::output_of,
    privilege, wait_for,
};

const UNIT: &str = include_str!("../../../plugin/systemd/ebpf-netns.service");
const INSTALLED: &str = "/usr/bin/ebpf-netns-plugin";

/// The highest exposure that is accepted, in tenths: what `systemd-analyze` calls "OK" ends at 5.0.
const EXPOSURE: &str = "--threshold=25";

#[test]
fn the_unit_is_understood_whole_and_leaves_little_exposed() -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    let machine = Machine::start()?;
    let program = binaries::path(Binary::Plugin)?;
    ensure!(UNIT.contains(INSTALLED), "the unit starts the daemon");
    let path = machine.directory().join("ebpf-netns.service");
    let analyze = |unit: &str, arguments: &[&str]| {
        fs::write(&path, unit)?;
        output_of(machine.command("systemd-analyze").args(arguments).arg(&path))
    };
    let unit = UNIT.replace(INSTALLED, &program.display().to_string());

    let verified = analyze(&unit, &["verify"])?;
    let said = String::from_utf8(verified.stderr)?;
    ensure!(verified.status.success() && said.is_empty(), "systemd-analyze verify: {said}");

    let security = ["security", "--offline=yes", "--no-pager", EXPOSURE];
    let scored = analyze(&unit, &security)?;
    let said = String::from_utf8(scored.stdout)?;
    ensure!(scored.status.success(), "the exposure is at most 2.5: {said}");

    // Both can fail.
    let wrong = analyze(&unit.replace("UMask=", "Umask="), &["verify"])?;
    ensure!(!wrong.stderr.is_empty(), "a key that systemd does not know is found");
    let open = unit.replace("RestrictNamespaces=yes", "").replace("ProtectSystem=strict", "");
    let open = analyze(&open.replace("CapabilityBoundingSet=", "#"), &security)?;
    ensure!(!open.status.success(), "a unit without protection is found");
    Ok(())
}

#[test]
fn the_service_manager_is_told_that_the_daemon_is_ready_alive_and_stopping() -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    let machine = Machine::start()?;
    let path = machine.directory().join("notify");
    let socket = UnixDatagram::bind(&path).context("listen as the service manager")?;
    socket.set_read_timeout(Some(DEADLINE))?;
    let next = || -> Result<String> {
        let mut buffer = [0; 256];
        let length = socket.recv(&mut buffer).context("hear from the daemon")?;
        let text = buffer.get(..length).unwrap_or_default();
        Ok(String::from_utf8_lossy(text).trim_end().to_owned())
    };
    let mut run = machine.command(binaries::path(Binary::Plugin)?);
    run.arg("run").env("NOTIFY_SOCKET", &path);
    let patience = Duration::from_secs(1).as_micros().to_string();
    let (mut daemon, _log) =
        machine.spawn(run.env("WATCHDOG_USEC", patience), "ebpf-netns-plugin.log")?;

    assert_eq!(next()?, "READY=1", "first it is ready");
    for _ in 0..3 {
        assert_eq!(next()?, "WATCHDOG=1", "then it is alive");
    }
    ensure!(daemon.terminate()?.success(), "it ends in order");
    wait_for(DEADLINE, "the daemon to say that it stops", || {
        let said = next()?;
        ensure!(said == "STOPPING=1", "it said {said}");
        Ok(())
    })
}
