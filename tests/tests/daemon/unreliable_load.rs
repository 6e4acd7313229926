//! Answers of Docker that are huge: the daemon's memory is bounded, and others are served.

use std::{fs, time::Instant};

use anyhow::{Context as _, Result, ensure};
use ebpf_netns_plugin::status::State;
use ebpf_netns_tests::{
    DEADLINE, Daemon, privilege,
    proxy::{Deal, Proxy},
    wait_for,
};
use serde_json::json;

use crate::{
    scene::{LAN, Label, Scene, check_no_ping, http_works, status, wait_state},
    unreliable::{daemon_behind, list_with},
};

const POLICY: [Label<'_>; 1] = [("tc.policy", "drop-icmp")];

/// What the daemon may grow by, whatever users do, in KiB.
const GROWTH: u64 = 32 << 10;
/// The longest label that was seen to be accepted by Docker.
const HUGE: usize = 64 << 20;

/// A line of a process's status, in KiB.
fn memory(daemon: &Daemon<'_>, line: &str) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{}/status", daemon.pid()))?;
    let found = status.lines().find_map(|one| one.strip_prefix(line)?.strip_prefix(':'));
    let number = found.and_then(|text| text.split_whitespace().next());
    Ok(number.with_context(|| format!("there is {line}"))?.parse()?)
}

#[test]
fn a_label_of_64_mib_costs_no_memory_and_stops_nobody() -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    let scene = Scene::start()?;
    let (engine, daemon) = (scene.engine(), scene.daemon()?);
    scene.run("web", &POLICY)?;
    wait_state(&daemon, "web", State::Enforced)?;
    let before = memory(&daemon, "VmRSS")?;
    let value = "drop-tcp,".repeat(HUGE / 9);
    let huge = |label: &str| {
        json!({
            "Image": "noshell",
            "Labels": { label: value },
            "HostConfig": { "NetworkMode": LAN },
        })
    };
    // In the list and in every event; of the second one in its description too.
    for (name, label) in [("others", "vendor.notes"), ("ours", "tc.policy")] {
        engine.post(&format!("/containers/create?name={name}"), &huge(label).to_string())?;
        engine.post(&format!("/containers/{name}/start"), "")?;
    }
    let closed = wait_state(&daemon, "ours", State::Closed)?;
    let reason = closed.reason.unwrap_or_default();
    assert!(reason.contains("longer than 4096 bytes"), "{reason}");
    scene.wait_listening("others")?;
    let host = engine.from_host();
    assert!(http_works(&host, scene.addresses("others")?[0])?, "it has no label of ours");

    let start = Instant::now();
    scene.run("late", &POLICY)?;
    wait_state(&daemon, "late", State::Enforced)?;
    let took = start.elapsed();
    check_no_ping(&scene, "late", "beside huge labels")?;
    engine.docker(["rm", "--force", "others", "ours"])?;
    wait_for(DEADLINE, "them to be forgotten", || {
        ensure!(status(&daemon)?.containers.len() == 2, "they are there");
        Ok(())
    })?;
    let most = memory(&daemon, "VmHWM")?;
    println!("VmRSS {before} KiB, VmHWM {most} KiB; a start beside it took {took:?}");
    assert!(most < before + GROWTH, "it grew from {before} to {most} KiB");
    daemon.stop()
}

#[test]
fn a_list_of_a_thousand_containers_is_read_in_bounded_memory() -> Result<()> {
    const COUNT: usize = 1_000;
    if !privilege::have_root()? {
        return Ok(());
    }
    let scene = Scene::start()?;
    let proxy = Proxy::start(scene.engine())?;
    let daemon = daemon_behind(&scene, &proxy)?;
    scene.run("web", &POLICY)?;
    wait_state(&daemon, "web", State::Enforced)?;
    let before = memory(&daemon, "VmRSS")?;
    let list = list_with(&scene, COUNT)?;
    proxy.deal("/containers/json", Deal::answer("200 OK", "application/json", &list));
    let start = Instant::now();
    scene.engine().docker(["rename", "web", "web1"])?;
    wait_for(DEADLINE, "all of them to be known", || {
        let known = status(&daemon)?.containers.len();
        ensure!(known == COUNT + 1, "{known}");
        Ok(())
    })?;
    let took = start.elapsed();
    let most = memory(&daemon, "VmHWM")?;
    println!("a list of {} bytes: {took:?}; VmRSS {before} KiB, VmHWM {most} KiB", list.len());
    assert!(most < before + GROWTH, "it grew from {before} to {most} KiB");
    proxy.pass();
    wait_for(DEADLINE, "all of them to be forgotten", || {
        let known = status(&daemon)?.containers.len();
        ensure!(known == 1, "{known}");
        Ok(())
    })?;
    daemon.stop()
}
