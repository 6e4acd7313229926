//! Machines that have everything, and machines that lack something.

use std::time::Instant;

use anyhow::{Result, ensure};
use ebpf_netns_plugin::status::State;
use ebpf_netns_tests::{
    DEADLINE, Machine,
    binaries::{self, Binary},
    command::output_of,
    privilege, wait_for,
};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::{FIT, Report, UNFIT, doctor};
use crate::{
    residue,
    scene::{Scene, host_veth, status, wait_state},
};

/// Somebody else's object.
const FOREIGN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../plugin/bytecode/drop-udp.o");

#[test]
fn a_healthy_machine_is_fit_and_nothing_of_it_is_changed() -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    let scene = Scene::start()?;
    let machine = scene.machine();
    let daemon = scene.daemon_with(&["--strict"])?;
    scene.run("web", &[("tc.policy", "drop-icmp")])?;
    wait_state(&daemon, "web", State::Enforced)?;
    let before = traces(machine)?;
    let report = Report::of(machine)?;
    assert_eq!(traces(machine)?, before, "nothing is attached, pinned or made");

    assert_eq!((report.at("warning"), report.at("failure")), (vec![], vec![]));
    assert_eq!((report.code, &report.json["verdict"]["fit"]), (FIT, &json!("yes")));
    for (check, words) in [
        ("programs", &["load"][..]),
        ("xdp", &["link"]),
        ("clsact", &["filters"]),
        ("nftables-bridge", &["strict mode is possible"]),
        ("bpffs", &["/sys/fs/bpf"]),
        ("capabilities", &["CAP_BPF", "CAP_NET_ADMIN"]),
        ("docker", &["API 1.", "/docker.sock"]),
        ("firewall", &["iptables"]),
        ("bridges", &["2 bridges", "1 veth"]),
        ("foreign-programs", &["nobody else"]),
        ("unenforceable", &["1 container"]),
        ("daemon", &[env!("CARGO_PKG_VERSION")]),
        ("sandbox", &["CAP_BPF", "Landlock", "seccomp"]),
        ("strict-mode", &["is on"]),
        ("leftovers", &["nothing"]),
    ] {
        report.check(check, "ok", words);
    }
    assert!(report.findings().all(|finding| finding["looked"] == true || !needs(finding)));

    let told = status(&daemon)?;
    assert_eq!(told.strict, Some(true), "the daemon tells of its mode");
    let sandbox = told.sandbox.map(|sandbox| sandbox.capabilities).unwrap_or_default();
    assert!(sandbox.contains("CAP_NET_ADMIN"), "and how it is confined: {sandbox}");
    daemon.stop()
}

/// Whether a finding is one that a machine cannot do without.
fn needs(finding: &Value) -> bool {
    finding["level"] == "warning" || finding["level"] == "failure"
}

/// What a command could leave.
fn traces(machine: &Machine) -> Result<String> {
    let pins = machine.run("find", ["/sys/fs/bpf", "/run/netns", "/run/ebpf-netns"])?;
    let links = machine.run("ip", ["-br", "link", "show"])?;
    let gate = machine.run("nft", ["list", "table", "bridge", "ebpf-netns"])?;
    let gate: Vec<&str> = gate.lines().filter(|line| !line.contains("counter")).collect();
    Ok(format!("{} {pins} {links} {gate:?}", residue::attached(machine)?))
}

#[test]
fn the_text_has_what_the_json_has_and_the_front_door_leads_there() -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    let scene = Scene::start()?;
    let mut front_door = scene.engine().netns()?;
    let json = output_of(front_door.args(["doctor", "--format=json"]))?;
    let text =
        doctor(scene.machine(), &[], &["--format=text", "--docker-host=unix:///run/docker.sock"])?;
    assert_eq!((json.status.code(), text.status.code()), (Some(FIT), Some(FIT)));
    let json: Value = serde_json::from_slice(&json.stdout)?;
    let text = String::from_utf8(text.stdout)?;
    assert!(text.lines().all(|line| line.chars().count() <= 80), "no line is wide:\n{text}");
    let words: Vec<&str> = text.split_whitespace().collect();
    let words = words.join(" ");
    let findings = json["findings"].as_array().map_or(&[][..], Vec::as_slice);
    for finding in findings {
        let what = finding["what"].as_str().unwrap_or_default();
        let level = finding["level"].as_str().unwrap_or_default();
        assert!(words.contains(&format!("{level} {what}")), "{level} {what} in:\n{text}");
        let way_out = finding["way_out"].as_str().unwrap_or_default();
        assert!(words.contains(way_out), "{way_out} in:\n{text}");
    }
    let lines = text.lines().filter(|line| {
        ["  ok ", "  note ", "  warning ", "  failure "].iter().any(|level| line.starts_with(level))
    });
    assert_eq!(lines.count(), findings.len(), "and nothing else:\n{text}");
    let verdict = json["verdict"]["summary"].as_str().unwrap_or_default();
    assert!(words.ends_with(&format!("verdict: fit: {verdict}")), "{text}");
    Ok(())
}

#[test]
fn a_daemon_that_is_not_there_yet_is_a_note_and_one_that_was_there_a_warning() -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    let scene = Scene::start()?;
    let machine = scene.machine();
    let fresh = Report::of(machine)?;
    fresh.check("daemon", "note", &["no daemon runs", "ebpf-netns run"]);
    assert_eq!((fresh.code, fresh.at("warning")), (FIT, vec![]));

    scene.daemon_with(&["--strict"])?.stop()?;
    let left = Report::of(machine)?;
    left.check("daemon", "warning", &["what was attached stays"]);
    left.check("strict-mode", "warning", &["new containers have no network", "clean"]);
    assert_eq!((left.code, left.at("failure")), (FIT, vec![]));

    machine.run("mkdir", ["/sys/fs/bpf/ebpf-netns/v1", "/sys/fs/bpf/ebpf-netns/v1/links"])?;
    Report::of(machine)?.check("leftovers", "note", &["v1", "older"]);
    machine.run("mkdir", ["/sys/fs/bpf/ebpf-netns/v999"])?;
    let newer = Report::of(machine)?;
    newer.check("leftovers", "failure", &["v999", "newer"]);
    assert_eq!(newer.code, UNFIT);
    Ok(())
}

#[test]
fn a_daemon_that_gives_no_answer_keeps_nobody_waiting() -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    let scene = Scene::start()?;
    let daemon = scene.daemon()?;
    daemon.signal(Signal::SIGSTOP)?;
    let begun = Instant::now();
    let report = Report::of(scene.machine());
    daemon.signal(Signal::SIGCONT)?;
    let report = report?;
    assert!(begun.elapsed() < DEADLINE, "it has a deadline: {:?}", begun.elapsed());
    report.check("daemon", "warning", &["gives no answer", "did not answer within"]);
    assert_eq!(report.code, FIT, "the machine is fit all the same");
    daemon.stop()
}

#[test]
fn without_a_bpf_file_system_it_says_who_mounts_one_and_mounts_none() -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    let scene = Scene::start()?;
    let machine = scene.machine();
    machine.run("umount", ["/sys/fs/bpf"])?;
    let report = Report::of(machine)?;
    report.check("bpffs", "note", &["the daemon mounts one", "mount -t bpf bpf /sys/fs/bpf"]);
    assert_eq!(report.code, FIT);
    let kind = machine.run("stat", ["--file-system", "--format=%T", "/sys/fs/bpf"])?;
    assert!(!kind.contains("bpf"), "nothing is mounted there: {kind}");

    let elsewhere = Report::with(machine, &[], &["--pins=/run/pins/ours"])?;
    elsewhere.check("bpffs", "failure", &["/run/pins", "nothing stays attached"]);
    assert_eq!(elsewhere.code, UNFIT);
    Ok(())
}

#[test]
fn what_others_hold_and_whom_no_policy_reaches_is_told_by_name() -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    let scene = Scene::start()?;
    let machine = scene.machine();
    for name in ["held", "filtered", "matched"] {
        scene.run(name, &[])?;
    }
    let [held, filtered, matched] =
        ["held", "filtered", "matched"].map(|name| host_veth(&scene, name).map(|veth| veth.0));
    let (held, filtered, matched) = (held?, filtered?, matched?);
    machine.run("ip", ["link", "set", "dev", &held, "xdpgeneric", "obj", FOREIGN, "sec", "xdp"])?;
    for veth in [&filtered, &matched] {
        machine.run("tc", ["qdisc", "add", "dev", veth, "clsact"])?;
    }
    let add = |veth: &str, filter: &[&str]| {
        machine.run("tc", [&["filter", "add", "dev", veth, "ingress"], filter].concat())
    };
    add(&filtered, &["bpf", "direct-action", "object-file", FOREIGN, "section", "classifier"])?;
    add(&matched, &["protocol", "ip", "u32", "match", "u32", "0", "0", "flowid", "1:1"])?;
    scene.network("outside", &["--driver=macvlan", "--opt=parent=docker0"])?;
    scene.run_with("guarded", &[("xdp.policy", "drop-tcp")], &["--network", "host"])?;
    scene.run_with("roaming", &[], &["--network", "outside"])?;

    let report = Report::of(machine)?;
    report.check("foreign-xdp", "warning", &[&held, "generic XDP", "xdp_drop_udp", "tc.policy"]);
    report.check("foreign-clsact", "note", &[&filtered, "drop-udp.o", &matched, "u32"]);
    report.check("unenforceable", "warning", &["guarded", "--network host", "driver bridge"]);
    report.check("unenforceable", "note", &["roaming", "outside", "macvlan"]);
    assert!(report.of_check("foreign-programs").is_empty(), "others are there: {}", report.json);
    assert_eq!(report.code, FIT);
    Ok(())
}

#[test]
fn a_docker_that_is_not_there_or_does_not_answer_makes_the_machine_unfit_in_time() -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    let scene = Scene::start()?;
    let (engine, machine) = (scene.engine(), scene.machine());
    engine.signal(Signal::SIGSTOP)?;
    let begun = Instant::now();
    let silent = Report::of(machine);
    engine.signal(Signal::SIGCONT)?;
    let silent = silent?;
    assert!(begun.elapsed() < DEADLINE, "it has a deadline: {:?}", begun.elapsed());
    silent.check("docker", "failure", &["did not answer within"]);
    assert_eq!((silent.code, &silent.json["verdict"]["fit"]), (UNFIT, &json!("no")));

    engine.stop()?;
    let gone = Report::of(machine)?;
    gone.check("docker", "failure", &["docker.sock", "--docker-host"]);
    gone.check("programs", "ok", &[]);
    assert_eq!((gone.code, gone.at("failure")), (UNFIT, vec!["docker"]));
    Ok(())
}

#[test]
fn where_docker_is_elsewhere_its_bridges_are_missed() -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    let scene = Scene::start()?;
    let machine = scene.machine();
    machine.run("ip", ["netns", "add", "elsewhere"])?;
    let report = Report::with(machine, &["nsenter", "--net=/run/netns/elsewhere", "--"], &[])?;
    report.check("bridges", "failure", &["docker0", "--network host"]);
    assert_eq!(report.code, UNFIT);
    Ok(())
}

#[test]
fn a_runtime_gate_without_its_daemon_or_its_program_is_warned_of() -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    let scene = Scene::start()?;
    let (engine, machine) = (scene.engine(), scene.machine());
    Report::of(machine)?.check("runtime-gate", "note", &["runtime install"]);
    let program = binaries::path(Binary::Runtime)?;
    engine.add_runtime("ebpf-netns", &json!({ "path": program }))?;
    Report::of(machine)?.check("runtime-gate", "warning", &["no daemon runs", "do not start"]);
    let daemon = scene.daemon()?;
    Report::of(machine)?.check("runtime-gate", "ok", &["registered as ebpf-netns"]);
    engine.add_runtime("ebpf-netns", &json!({ "path": "/run/gone/ebpf-netns-runtime" }))?;
    wait_for(DEADLINE, "the engine to have the other program", || {
        let report = Report::of(machine)?;
        ensure!(report.at("warning") == ["runtime-gate"], "not yet: {}", report.json);
        report.check("runtime-gate", "warning", &["/run/gone", "do not start"]);
        Ok(())
    })?;
    daemon.stop()
}
