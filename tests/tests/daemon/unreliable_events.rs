//! Events that are lost, cut, late or told twice: lists are the truth, and the daemon converges.

use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, ensure};
use ebpf_netns_plugin::status::State;
use ebpf_netns_tests::{
    DEADLINE, EngineOptions,
    images::Image,
    privilege,
    proxy::{Deal, Proxy},
    wait_for, wait_until,
};
use nix::sys::signal::Signal;

use crate::{
    residue,
    scene::{LAN, Label, Scene, at_once, check_no_ping, container, status, wait_state},
    unreliable::{daemon_behind, enforced, lines_with},
};

const POLICY: [Label<'_>; 1] = [("tc.policy", "drop-icmp")];

/// The daemon looks at everything every 30 seconds, and gives up a silent stream 10 after that.
const LONG: Duration = Duration::from_mins(1);

#[test]
fn a_stream_cut_within_an_event_is_subscribed_to_again_at_once() -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    let scene = Scene::start()?;
    let proxy = Proxy::start(scene.engine())?;
    let daemon = daemon_behind(&scene, &proxy)?;
    scene.run("web", &POLICY)?;
    let before = enforced(&daemon, "web")?;
    proxy.deal("/events", Deal::Cut);
    scene.create("half-told", &POLICY, &["--network", LAN])?;
    let cut = Instant::now();
    wait_until(DEADLINE, "another subscription", || proxy.asked("/events") == 2)?;
    assert!(cut.elapsed() < Duration::from_secs(1), "{:?}", cut.elapsed());
    proxy.pass();
    wait_state(&daemon, "half-told", State::Idle)?;
    assert_eq!(enforced(&daemon, "web")?, before, "nothing else changed");
    scene.engine().docker(["start", "half-told"])?;
    wait_state(&daemon, "half-told", State::Enforced)?;
    check_no_ping(&scene, "half-told", "told by half an event")?;
    daemon.stop()
}

#[test]
fn a_stream_that_stalls_is_noticed_and_missed_by_nobody() -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    let scene = Scene::start()?;
    let proxy = Proxy::start(scene.engine())?;
    let daemon = daemon_behind(&scene, &proxy)?;
    wait_until(DEADLINE, "the daemon to listen", || proxy.asked("/events") == 1)?;
    proxy.deal("/events", Deal::Lose);
    // Of this nothing tells but the list.
    scene.create("quiet", &POLICY, &["--network", LAN])?;
    wait_for(LONG, "the quiet one to be seen", || container(&daemon, "quiet").map(drop))?;
    wait_until(DEADLINE, "the stream to be given up", || proxy.asked("/events") == 2)?;
    assert_eq!(lines_with(&daemon, "stalls=1")?, 1, "it is counted:\n{}", daemon.log()?);
    proxy.pass();
    scene.engine().docker(["start", "quiet"])?;
    wait_state(&daemon, "quiet", State::Enforced)?;
    check_no_ping(&scene, "quiet", "after the stall")?;
    assert_eq!(lines_with(&daemon, "not reachable")?, 0, "Docker was:\n{}", daemon.log()?);
    daemon.stop()
}

#[test]
fn events_told_twice_and_in_another_order_change_nothing() -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    let scene = Scene::start()?;
    let proxy = Proxy::start(scene.engine())?;
    proxy.deal("/events", Deal::Repeat(5));
    let daemon = daemon_behind(&scene, &proxy)?;
    let names: Vec<String> = (0..4).map(|n| format!("web{n}")).collect();
    at_once(names.iter().map(|name| {
        || -> Result<()> {
            scene.run(name, &POLICY)?;
            scene.engine().docker(["restart", "--time=0", name])?;
            scene.engine().docker(["network", "connect", "bridge", name])?;
            scene.engine().docker(["network", "disconnect", "bridge", name]).map(drop)
        }
    }))?;
    for name in &names {
        wait_for(DEADLINE, "one enforced interface", || {
            let found = wait_state(&daemon, name, State::Enforced)?;
            ensure!(found.interfaces.len() == 1, "{found:?}");
            Ok(())
        })?;
        check_no_ping(&scene, name, "however it was told")?;
    }
    scene.engine().docker(["stop", "--time=0", "web0"])?;
    scene.engine().docker(["rm", "--force", "web1"])?;
    wait_state(&daemon, "web0", State::Idle)?;
    wait_for(DEADLINE, "web1 to be forgotten", || {
        ensure!(container(&daemon, "web1").is_err(), "it is there");
        Ok(())
    })?;
    assert_eq!(lines_with(&daemon, " WARN ")?, 0, "nothing is amiss:\n{}", daemon.log()?);
    daemon.stop()
}

#[test]
fn containers_that_end_at_once_leave_nothing_behind() -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    let images = vec![Image::Busybox, Image::Noshell];
    let scene = Scene::with(EngineOptions { images, ..EngineOptions::default() })?;
    let daemon = scene.daemon()?;
    scene.run("web", &POLICY)?;
    wait_state(&daemon, "web", State::Enforced)?;
    let programs = residue::programs(&status(&daemon)?);
    let links = residue::links(scene.machine(), &programs)?;
    let short = ["run", "--rm", "--network", LAN, "--label=tc.policy=drop-icmp", "busybox"];
    at_once((0..4).map(|_| {
        || -> Result<()> {
            for _ in 0..5 {
                scene.engine().docker(short.into_iter().chain(["sh", "-c", ":"]))?;
            }
            Ok(())
        }
    }))?;
    wait_for(DEADLINE, "the short ones to be forgotten", || {
        let names: Vec<String> =
            status(&daemon)?.containers.into_iter().map(|container| container.name).collect();
        ensure!(names == ["web"], "{names:?}");
        let left = residue::links(scene.machine(), &programs)?;
        ensure!(left == links, "links {left:?} and not {links:?}");
        Ok(())
    })?;
    assert_eq!(lines_with(&daemon, " ERROR ")?, 0, "{}", daemon.log()?);
    assert!(lines_with(&daemon, " WARN ")? <= 2, "no storm of them:\n{}", daemon.log()?);
    daemon.stop()
}

#[test]
fn a_daemon_that_slept_through_thousands_of_events_converges() -> Result<()> {
    const EVENTS: usize = 6_000;
    const AT_MOST: Duration = Duration::from_secs(40);
    if !privilege::have_root()? {
        return Ok(());
    }
    let scene = Scene::start()?;
    let (engine, daemon) = (scene.engine(), scene.daemon()?);
    for name in ["stays", "stops", "goes", "moves"] {
        scene.run(name, &POLICY)?;
        wait_state(&daemon, name, State::Enforced)?;
    }
    let busy: Vec<String> = (0..4).map(|n| format!("busy{n}")).collect();
    for name in &busy {
        scene.create(name, &[], &[])?;
    }
    daemon.signal(Signal::SIGSTOP)?;
    engine.docker(["restart", "--time=0", "moves"])?;
    let storm = Instant::now();
    let told = at_once(busy.iter().map(|name| {
        let engine = &engine;
        move || -> Result<usize> {
            let mut now = name.clone();
            for n in 0..EVENTS / 4 {
                if storm.elapsed() > AT_MOST {
                    return Ok(n);
                }
                let next = format!("{name}-{}", n % 2);
                engine.post(&format!("/containers/{now}/rename?name={next}"), "")?;
                now = next;
            }
            Ok(EVENTS / 4)
        }
    }))?;
    let told: usize = told.into_iter().sum();
    ensure!(told > 2_000, "a storm is more than {told} events");
    // In this order, nobody gets an address that another one had.
    scene.run("new", &POLICY)?;
    engine.docker(["stop", "--time=0", "stops"])?;
    engine.docker(["rm", "--force", "goes"])?;
    daemon.signal(Signal::SIGCONT)?;

    for name in ["stays", "moves", "new"] {
        wait_state(&daemon, name, State::Enforced).map_err(|error| {
            anyhow!("{error:#}\nafter {told} events:\n{}", daemon.log().unwrap_or_default())
        })?;
        check_no_ping(&scene, name, "after the storm")?;
    }
    wait_state(&daemon, "stops", State::Idle)?;
    assert!(container(&daemon, "goes").is_err(), "it is forgotten");
    daemon.stop()
}
