//! The Debian package on a Debian system with systemd and an engine: from installing to purging.

use anyhow::{Result, ensure};
use ebpf_netns_tests::{
    DEADLINE, Engine, EngineOptions, System, binaries, images::Image, privilege, wait_for,
};

use super::packed::{ensure_enforced, packed};

const UNIT: &str = "ebpf-netns.service";
const CONFIGURATION: &str = "/etc/ebpf-netns/config.toml";

#[test]
fn the_package_installs_enforces_is_replaced_without_a_gap_and_leaves_nothing_when_purged()
-> Result<()> {
    if !binaries::can_stand_alone()? {
        return Ok(());
    }
    if !privilege::have_root()? {
        return Ok(());
    }
    let package = packed(".deb")?.display().to_string();
    let engine =
        Engine::start_with(EngineOptions { images: vec![Image::Busybox], ..Default::default() })?;
    let system = System::boot(engine.machine())?;

    system.run("dpkg", ["--install", &package])?;
    ensure!(system.run("systemctl", ["is-enabled", UNIT])? == "enabled");
    ensure!(system.run("systemctl", ["is-active", UNIT])? == "active", "Type=notify: it is ready");
    engine.docker(["run", "-d", "--name", "web", "--label", "xdp.policy=drop-icmp", "busybox"])?;
    wait_enforced(&system)?;
    ensure!(!pings(&engine)?, "the policy holds");

    // A newer one, as far as dpkg is concerned; the administrator's changes stay.
    system.run("sh", ["-c", &format!("echo '# mine' >>{CONFIGURATION}")])?;
    let before = system.run("systemctl", ["show", "--property=MainPID", UNIT])?;
    system.run("dpkg", ["--install", &package])?;
    let after = system.run("systemctl", ["show", "--property=MainPID", UNIT])?;
    ensure!(before != after, "the daemon was replaced: {before}");
    ensure!(system.run("tail", ["-n1", CONFIGURATION])? == "# mine");
    wait_enforced(&system)?;

    system.run("dpkg", ["--remove", "ebpf-netns"])?;
    ensure!(!system.has("/usr/bin/ebpf-netns") && system.has(CONFIGURATION));
    ensure!(!pings(&engine)?, "the policy holds without a daemon");

    system.run("dpkg", ["--purge", "ebpf-netns"])?;
    ensure!(pings(&engine)?, "nothing is enforced any more");
    for path in
        ["/etc/ebpf-netns", "/var/lib/ebpf-netns", "/run/ebpf-netns", "/sys/fs/bpf/ebpf-netns"]
    {
        ensure!(!system.has(path), "{path} is left");
    }
    ensure!(system.run("dpkg", ["--audit"])?.is_empty());
    Ok(())
}

/// Waits until the installed command says that the container's policy is in force.
fn wait_enforced(system: &System) -> Result<()> {
    wait_for(DEADLINE, "web to be enforced", || {
        ensure_enforced(&system.run("ebpf-netns", ["status", "--format", "json"])?)
    })
}

/// Whether the container's pings to its gateway are answered.
fn pings(engine: &Engine) -> Result<bool> {
    let gateway = engine.inspect("web", "{{.NetworkSettings.Gateway}}")?;
    Ok(engine.from_container("web")?.ping(gateway.parse()?, 2)?.is_complete())
}
