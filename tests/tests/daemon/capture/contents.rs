//! What is in a capture: what tcpdump saw, with what became of each packet, and nobody else's packets.

use std::{fs, path::Path};

use anyhow::{Context as _, Result, ensure};
use ebpf_netns_plugin::status::State;
use ebpf_netns_tests::{DEADLINE, privilege, wait_for};
use nix::sys::signal::Signal;

use super::{Capture, Packet, fields, packets};
use crate::scene::{ECHO, Scene, at_once, host_veth, http_works, ping_works, wait_state};

/// Of TCP, what makes two captures of one session the same.
const SEGMENT: [&str; 7] = [
    "ip.src",
    "tcp.srcport",
    "tcp.seq_raw",
    "tcp.ack_raw",
    "tcp.flags",
    "frame.len",
    "tcp.payload",
];

#[test]
fn a_session_is_what_tcpdump_saw_on_the_veth() -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    let scene = Scene::start()?;
    let daemon = scene.daemon()?;
    for name in ["web", "other"] {
        scene.run(name, &[("tc.ingress", "allow tcp 80 from any")])?;
        wait_state(&daemon, name, State::Enforced)?;
        scene.wait_listening(name)?;
    }
    let (veth, _) = host_veth(&scene, "web")?;
    let seen = scene.machine().directory().join("seen.pcap");
    let mut tcpdump = scene.machine().command("tcpdump");
    tcpdump
        .args(["-i", &veth, "--immediate-mode", "-U", "-s", "0", "-w"])
        .arg(&seen)
        .arg("tcp port 80");
    let (mut tcpdump, log) = scene.machine().spawn(&mut tcpdump, "tcpdump.log")?;
    wait_for(DEADLINE, "tcpdump to listen", || {
        let said = fs::read_to_string(&log)?;
        ensure!(said.contains("listening on"), "it says {said:?}");
        Ok(())
    })?;
    let capture = Capture::begin(&scene, &daemon, "web", &[])?;
    let host = scene.engine().from_host();
    let addresses = [scene.addresses("web")?, scene.addresses("other")?].concat();
    let reached = at_once(addresses.iter().map(|to| {
        let host = host.clone();
        move || http_works(&host, *to)
    }))?;
    assert!(reached.iter().all(|works| *works), "a capture drops nothing: {reached:?}");
    let all = |file: &Path| -> Result<Vec<Vec<String>>> {
        let mut segments = fields(&scene, file, "tcp.port == 80", &SEGMENT)?;
        segments.sort();
        Ok(segments)
    };
    let (file, said) = capture.end()?;
    let captured = all(&file)?;
    let expected = wait_for(DEADLINE, "tcpdump to have written as much", || {
        let expected = all(&seen)?;
        ensure!(expected.len() >= captured.len(), "{expected:#?}");
        Ok(expected)
    })?;
    tcpdump.signal(Signal::SIGINT)?;
    tcpdump.wait(DEADLINE)?;
    assert!(expected.len() >= 16, "two sessions: {expected:#?}");
    assert_eq!(captured, expected, "what tcpdump saw");
    assert!(said.contains(" 0 packets lost") || said.contains("\n0 packets lost"), "{said}");

    let [v4, _] = scene.addresses("web")?.map(|address| address.to_string());
    let packets = packets(&scene, &file, "tcp.port == 80 && ip")?;
    for packet in &packets {
        assert_eq!(packet.interface, veth, "{packet:?}");
        assert_eq!(packet.outbound, packet.source == v4, "by the container: {packet:?}");
        let hook = if packet.outbound { "egress" } else { "ingress" };
        let comment = format!("passed, hook tc {hook}");
        assert!(packet.comment.starts_with(&comment), "{packet:?}");
    }
    let ruled = "rule \"allow tcp 80 from any\" (label tc.ingress, line 1)";
    let by_rule = packets.iter().filter(|packet| packet.comment.contains(ruled)).count();
    assert_eq!(by_rule, 1, "what opens the connection is let in by its rule: {packets:#?}");
    check_clock(&packets)?;
    scene.end(daemon)
}

/// Times are in nanoseconds, and of today.
fn check_clock(packets: &[Packet]) -> Result<()> {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_secs();
    for packet in packets {
        let (seconds, rest) = packet.time.split_once('.').context("a fraction of a second")?;
        let age = now.abs_diff(seconds.parse()?);
        ensure!(age < 120 && rest.len() == 9, "a time: {packet:?} at {now}");
    }
    Ok(())
}

#[test]
fn what_is_dropped_is_there_with_its_reason_and_rule() -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    let scene = Scene::start()?;
    let daemon = scene.daemon()?;
    scene.run("ruled", &[("tc.egress", "deny icmp\nallow any")])?;
    scene.run("preset", &[("xdp.policy", "drop-udp"), ("tc.policy", "drop-icmp")])?;
    scene.run("alone", &[("xdp.policy", "drop-udp")])?;
    for name in ["ruled", "preset", "alone"] {
        wait_state(&daemon, name, State::Enforced)?;
        scene.wait_listening(name)?;
    }
    let ruled = Capture::begin(&scene, &daemon, "ruled", &["--direction", "out", "-s", "60"])?;
    let preset = Capture::begin(&scene, &daemon, "preset", &[])?;
    let alone = Capture::begin(&scene, &daemon, "alone", &[])?;
    alone.wait_said("what alone receives there is not captured")?;
    let host = scene.engine().from_host();
    let _echo = scene.engine().from_container("preset")?.echo_server(ECHO)?;
    for name in ["ruled", "preset", "alone"] {
        let [v4, v6] = scene.addresses(name)?;
        http_works(&host, v4)?;
        http_works(&host, v6)?;
        ping_works(&host, v4)?;
        // The answer is dropped at XDP.
        host.udp((v4, ECHO).into())?;
    }
    let inside = scene.engine().from_container("ruled")?;
    assert!(!ping_works(&inside, scene.addresses("preset")?[0])?, "its rules drop it");
    let own = |name: &str| -> Result<String> { Ok(scene.addresses(name)?[0].to_string()) };
    let denied =
        "dropped, reason denied, hook tc egress, rule \"deny icmp\" (label tc.egress, line 1)";
    let all = packets(&scene, &ruled.end()?.0, "ip")?;
    check(&all, denied, "1", |packet| {
        packet.outbound && packet.captured == 60 && packet.length > 60
    });
    let mine = own("ruled")?;
    // What an error of ICMP is about stands behind a comma.
    let is_of = |address: &str| address.split(',').next() == Some(mine.as_str());
    let cut = |packet: &Packet| packet.captured == packet.length.min(60);
    assert!(
        all.iter().all(|packet| packet.outbound && is_of(&packet.source) && cut(packet)),
        "nothing but what it sends, and 60 bytes of each: {all:#?}"
    );

    let all = packets(&scene, &preset.end()?.0, "ip")?;
    check(&all, "dropped, reason drop-icmp, hook tc ingress", "1", |packet| !packet.outbound);
    check(&all, "dropped, reason drop-udp, hook xdp egress", "17", |packet| packet.outbound);
    check(&all, "passed, hook tc egress", "6", |packet| packet.outbound);
    let passed = |packet: &&Packet| packet.comment.starts_with("passed, hook xdp");
    assert_eq!(all.iter().find(passed), None, "what XDP passes is told by TC, once");
    let mine = own("preset")?;
    let has = |addresses: &str| addresses.split(',').any(|address| address == mine);
    let is_own = |packet: &Packet| has(&packet.source) || has(&packet.destination);
    assert!(all.iter().all(is_own), "nobody else's: {all:#?}");

    let all = packets(&scene, &alone.end()?.0, "ip")?;
    check(&all, "passed, hook xdp egress", "6", |packet| packet.outbound);
    scene.end(daemon)
}

/// There are packets with a comment of a protocol, and they are as they should be.
#[track_caller]
fn check(all: &[Packet], comment: &str, protocol: &str, is_right: impl Fn(&Packet) -> bool) {
    let mut found =
        all.iter().filter(|packet| packet.comment == comment && packet.protocol == protocol);
    assert!(found.clone().next().is_some(), "{comment:?} of {protocol}: {all:#?}");
    assert!(found.all(is_right), "{comment:?} of {protocol}: {all:#?}");
}
