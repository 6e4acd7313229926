//! What it says to those who may not look at everything: never that something is good.

use std::{fs, os::unix::fs::PermissionsExt as _};

use anyhow::Result;
use ebpf_netns_tests::{
    binaries::{self, Binary},
    privilege,
};

use super::{COPY, Report, UNKNOWN};
use crate::scene::Scene;

const NOBODY: [&str; 4] = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];

#[test]
fn a_user_without_root_is_told_what_could_not_be_looked_at_and_why() -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    let scene = Scene::start()?;
    let machine = scene.machine();
    let daemon = scene.daemon()?;
    // Nobody can reach the program where it was built.
    fs::copy(binaries::path(Binary::Plugin)?, machine.outside(COPY))?;
    fs::set_permissions(machine.outside(COPY), fs::Permissions::from_mode(0o755))?;

    let report = Report::with(machine, &NOBODY, &[])?;
    assert_eq!(report.code, UNKNOWN, "{}", report.json["verdict"]);
    assert_eq!(report.json["verdict"]["fit"], "unknown");
    for (check, words) in [
        ("programs", ["CAP_BPF", "run this as root"]),
        ("xdp", ["CAP_SYS_ADMIN", "run this as root"]),
        ("tcx", ["CAP_SYS_ADMIN", "run this as root"]),
        ("clsact", ["CAP_SYS_ADMIN", "run this as root"]),
        ("docker", ["not permitted", "docker.sock"]),
        ("capabilities", ["CAP_BPF (", "CAP_NET_ADMIN ("]),
    ] {
        report.check(check, "warning", &words);
    }
    for check in ["daemon", "nftables-bridge", "jit", "leftovers", "unenforceable"] {
        report.check(check, "note", &["not looked at", "\"looked\":false"]);
    }
    let good = report.at("ok");
    for check in ["programs", "docker", "daemon", "foreign-programs", "leftovers"] {
        assert!(!good.contains(&check), "{check} is not known to be good: {good:?}");
    }
    assert!(good.contains(&"kernel"), "what may be looked at is looked at: {good:?}");
    report.check("bridges", "note", &["2 bridges"]);
    daemon.stop()
}

#[test]
fn missing_capabilities_are_named_with_what_they_are_for() -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    let scene = Scene::start()?;
    let machine = scene.machine();
    let bounded = |set: &str| {
        let bounding = format!("--bounding-set={set}");
        Report::with(machine, &["setpriv", &bounding, "--inh-caps=-all"], &[])
    };

    let without = bounded("-net_admin")?;
    without.check("capabilities", "warning", &["CAP_NET_ADMIN (to attach", "cannot run"]);
    without.check("clsact", "warning", &["not looked at", "CAP_NET_ADMIN"]);
    without.check("nftables-bridge", "note", &["not looked at", "CAP_NET_ADMIN"]);
    assert_eq!(without.code, UNKNOWN);

    // What the daemon itself keeps is enough to load, and not to try hooks and to name programs.
    let as_daemon = bounded("-all,+bpf,+net_admin,+perfmon")?;
    as_daemon.check("capabilities", "ok", &["CAP_BPF", "CAP_NET_ADMIN"]);
    as_daemon.check("capabilities-of-use", "note", &["CAP_SYS_ADMIN (", "CAP_SYS_NICE ("]);
    as_daemon.check("programs", "ok", &["load"]);
    as_daemon.check("clsact", "warning", &["not looked at", "CAP_SYS_ADMIN"]);
    as_daemon.check("docker", "ok", &["API 1."]);
    assert_eq!(as_daemon.code, UNKNOWN);

    let useful = bounded("-sys_nice,-setpcap")?;
    useful.check("capabilities-of-use", "note", &["CAP_SYS_NICE (", "CAP_SETPCAP ("]);
    assert_eq!((useful.code, useful.at("warning")), (0, vec![]));
    Ok(())
}
