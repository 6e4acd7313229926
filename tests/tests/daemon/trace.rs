//! `trace`, of a real daemon and real packets.

use std::{
    fs,
    net::SocketAddr,
    path::PathBuf,
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, UNIX_EPOCH},
};

use anyhow::{Context as _, Result, ensure};
use ebpf_netns_plugin::{
    status::State,
    trace::{Event, PacketEvent},
};
use ebpf_netns_tests::{
    DEADLINE, Process,
    binaries::{self, Binary},
    command::{output_of, stdout_of},
    privilege, wait_for,
};
use nix::sys::signal::Signal;
use plugin_common::{presets::Presets, report::WATCH_BURST};
use serde_json::Value;

use crate::scene::{ECHO, Scene, container, hooks, host_veth, http_works, ping_works, wait_state};

/// A port that the policy denies.
const DENIED: u16 = 9;
const USAGE: i32 = 2;
const NOT_FOUND: i32 = 66;
const UNAVAILABLE: i32 = 69;
/// What is to be seen is seen within so long.
const SOON: Duration = Duration::from_millis(100);

/// Several run at once, each with a log of its own.
static LOGS: AtomicU32 = AtomicU32::new(1);

/// A running `trace`; killed when dropped.
pub(crate) struct Trace {
    process: Process,
    log: PathBuf,
}

impl Trace {
    /// Starts it, and waits until it listens.
    pub(crate) fn start(scene: &Scene, arguments: &[&str]) -> Result<Self> {
        let mut command = scene.machine().command(binaries::path(Binary::Plugin)?);
        command.env("DOCKER_HOST", scene.engine().docker_host()).arg("trace").args(arguments);
        let log = format!("trace-{}.log", LOGS.fetch_add(1, Ordering::Relaxed));
        let (process, log) = scene.machine().spawn(&mut command, &log)?;
        let trace = Self { process, log };
        wait_for(DEADLINE, "trace to listen", || {
            let text = trace.text()?;
            ensure!(text.to_lowercase().contains("listening"), "it says {text}");
            Ok(())
        })?;
        Ok(trace)
    }

    /// What it told so far, but for a line that is being written.
    pub(crate) fn text(&self) -> Result<String> {
        let mut text = fs::read_to_string(&self.log)?;
        text.truncate(text.rfind('\n').map_or(0, |end| end + 1));
        Ok(text)
    }

    /// The same as events, of `--format json`.
    fn events(&self) -> Result<Vec<Event>> {
        let text = self.text()?;
        let event = |line| serde_json::from_str(line).with_context(|| format!("read {line}"));
        text.lines().map(event).collect()
    }

    fn packets(&self) -> Result<Vec<PacketEvent>> {
        let packet = |event| match event {
            Event::Packet(packet) => Some(*packet),
            _ => None,
        };
        Ok(self.events()?.into_iter().filter_map(packet).collect())
    }

    /// Waits for a packet that is as it should be.
    fn wait_packet(&self, what: &str, is: impl Fn(&PacketEvent) -> bool) -> Result<PacketEvent> {
        wait_for(DEADLINE, what, || {
            let packets = self.packets()?;
            let found = packets.iter().find(|packet| is(packet)).cloned();
            found.with_context(|| format!("it told of {packets:#?}"))
        })
    }

    /// Waits for a line of text that has all these words.
    pub(crate) fn wait_line(&self, words: &[&str]) -> Result<String> {
        wait_for(DEADLINE, &format!("a line with {words:?}"), || {
            let text = self.text()?;
            let found = text.lines().find(|line| words.iter().all(|word| line.contains(word)));
            found.map(str::to_owned).with_context(|| format!("it says\n{text}"))
        })
    }

    /// How long after a packet its line was there, which must be the last one.
    fn latency(&self) -> Result<Duration> {
        let packets = self.packets()?;
        let last = packets.last().context("it told of a packet")?;
        let written = fs::metadata(&self.log)?.modified()?.duration_since(UNIX_EPOCH)?;
        Ok(written.saturating_sub(Duration::from_secs_f64(last.time)))
    }

    /// Ends it by Ctrl-C, after which it has ended well.
    pub(crate) fn end(mut self) -> Result<()> {
        self.process.signal(Signal::SIGINT)?;
        let status = self.process.wait(DEADLINE)?;
        ensure!(status.success(), "Ctrl-C ends it well: {status}");
        Ok(())
    }
}

/// What is watched of a container, by the map that the kernel's programs look at.
fn watches(scene: &Scene, name: &str) -> Result<Presets> {
    let (_, index) = host_veth(scene, name)?;
    let maps = scene.machine().run("find", ["/sys/fs/bpf/ebpf-netns", "-name", "POLICY"])?;
    let map = maps.lines().next().context("the map is pinned")?;
    let dump = scene.machine().run("bpftool", ["-j", "map", "dump", "pinned", map])?;
    let entries: Vec<Value> = serde_json::from_str(&dump)?;
    let formatted = entries.iter().map(|entry| &entry["formatted"]);
    let found = formatted.clone().find(|entry| entry["key"] == index);
    let entry = found.with_context(|| format!("no entry {index} in {dump}"))?;
    let egress = &entry["value"]["egress"];
    let bits = egress.as_u64().or_else(|| egress["__0"].as_u64());
    let bits = u32::try_from(bits.with_context(|| format!("presets in {entry}"))?)?;
    Ok(Presets::from_bits(bits & Presets::WATCHES.bits()))
}

fn wait_watches(scene: &Scene, name: &str, expected: Presets) -> Result<()> {
    wait_for(DEADLINE, &format!("{name} to be watched for {expected:?}"), || {
        let found = watches(scene, name)?;
        ensure!(found == expected, "it is watched for {found:?}");
        Ok(())
    })
}

#[test]
fn a_ping_and_a_request_are_seen_at_once_with_all_that_they_are() -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    let scene = Scene::start()?;
    let daemon = scene.daemon()?;
    for name in ["web", "db"] {
        scene.run(name, &[("xdp.policy", "log")])?;
        wait_state(&daemon, name, State::Enforced)?;
        scene.wait_listening(name)?;
    }
    let text = Trace::start(&scene, &["web"])?;
    let json = Trace::start(&scene, &["web", "--format=json"])?;
    let inside = scene.engine().from_container("web")?;
    let ([from, from6], [to, to6]) = (scene.addresses("web")?, scene.addresses("db")?);
    for (from, to) in [(from, to), (from6, to6)] {
        ensure!(ping_works(&inside, to)? && http_works(&inside, to)?, "log drops nothing");
        let (icmp, echo) = if to.is_ipv4() { ("icmp", 8) } else { ("icmp6", 128) };
        let ping = json.wait_packet("the ping", |packet| {
            packet.protocol == icmp && packet.icmp == Some([echo, 0])
        })?;
        let request = json.wait_packet("the request", |packet| {
            packet.destination.is_some_and(|end| (end.address, end.port) == (to, Some(80)))
                && packet.tcp_flags == ["SYN"]
        })?;
        for packet in [&ping, &request] {
            let (source, destination) = packet.source.zip(packet.destination).context("of IP")?;
            ensure!((source.address, destination.address) == (from, to), "{packet:?}");
            ensure!(packet.passed && packet.reason == "passed", "{packet:?}");
            ensure!(packet.direction.to_string() == "egress", "{packet:?}");
            ensure!(packet.place.container == "web" && packet.place.interface == "eth0");
        }
        let port = request.source.and_then(|end| end.port).context("a port")?;
        let source = SocketAddr::new(from, port).to_string();
        let destination = SocketAddr::new(to, 80).to_string();
        text.wait_line(&["web eth0 egress xdp pass tcp", &source, "> ", &destination, " SYN, "])?;
        text.wait_line(&[&format!("pass {icmp} {from} > {to} type {echo} code 0, ")])?;
    }
    // The log has it as before.
    wait_for(DEADLINE, "the log", || {
        ensure!(daemon.log()?.contains(" packet container=web "), "nothing is in the log");
        Ok(())
    })?;
    let others = json.packets()?.into_iter().find(|packet| packet.place.container != "web");
    ensure!(others.is_none(), "db is nobody's business here: {others:?}");

    let pings = Trace::start(&scene, &["--format=json", "--filter", "icmp", "web"])?;
    wait_for(DEADLINE, "a ping to be seen within 100 ms", || {
        let before = pings.packets()?.len();
        ensure!(ping_works(&inside, to)?, "the ping is answered");
        wait_for(DEADLINE, "it to be seen", || {
            ensure!(pings.packets()?.len() > before, "nothing new");
            Ok(())
        })?;
        let latency = pings.latency()?;
        ensure!(latency < SOON, "it took {latency:?}");
        Ok(())
    })?;
    for trace in [text, json, pings] {
        trace.end()?;
    }
    scene.end(daemon)
}

#[test]
fn a_drop_is_told_with_the_rule_that_dropped_it() -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    let scene = Scene::start()?;
    let daemon = scene.daemon()?;
    let rules = "allow tcp 80\ndeny udp 9\nallow udp 7777";
    scene.run("web", &[("tc.ingress", rules), ("tc.egress", "allow any")])?;
    wait_state(&daemon, "web", State::Enforced)?;
    scene.wait_listening("web")?;
    let drops = Trace::start(&scene, &["web", "--drops", "--format=json"])?;
    let text = Trace::start(&scene, &["--filter", "udp and reason denied"])?;
    let (host, [to, _]) = (scene.engine().from_host(), scene.addresses("web")?);
    ensure!(http_works(&host, to)?, "the rules allow it");
    host.scatter((to, DENIED).into(), 1)?;
    ensure!(!ping_works(&host, to)?, "no rule allows it");
    let denied = drops.wait_packet("the datagram", |packet| packet.reason == "denied")?;
    let rule = denied.rule.as_ref().context("a rule dropped it")?;
    assert_eq!((rule.line, rule.rule.as_str()), (Some(2), "deny udp 9"), "{denied:?}");
    assert_eq!(rule.origins, ["label tc.ingress"], "{denied:?}");
    assert_eq!(denied.destination.and_then(|end| end.port), Some(DENIED), "{denied:?}");
    let no_rule = drops.wait_packet("the ping", |packet| packet.reason == "no-rule")?;
    let rule = no_rule.rule.as_ref().context("it says that none matches")?;
    assert_eq!((rule.line, rule.rule.as_str()), (None, "no rule matches"), "{no_rule:?}");
    text.wait_line(&[
        "web eth0 ingress tc DROP denied udp",
        "(label tc.ingress, line 2: deny udp 9)",
    ])?;
    let passed = drops.packets()?.into_iter().find(|packet| packet.passed);
    ensure!(passed.is_none(), "only drops were asked for: {passed:?}");
    let text = text.text()?;
    ensure!(!text.contains("icmp") && !text.contains("tcp "), "the filter is another's: {text}");
    scene.end(daemon)
}

#[test]
fn what_a_flood_is_too_much_for_is_told_and_counted() -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    let scene = Scene::start()?;
    let daemon = scene.daemon()?;
    scene.run("web", &[("tc.policy", "drop-udp")])?;
    wait_state(&daemon, "web", State::Enforced)?;
    let dropped = || -> Result<u64> {
        let status = container(&daemon, "web")?;
        let hook = *hooks(&status)?.get("ingress").context("ingress is policed")?;
        Ok(hook.traffic.dropped.get("drop-udp").map_or(0, |count| count.packets))
    };
    let trace = Trace::start(&scene, &["web", "--drops", "--format=json"])?;
    let (host, [to, _]) = (scene.engine().from_host(), scene.addresses("web")?);
    let before = dropped()?;
    host.flood((to, ECHO).into(), Duration::from_secs(1))?;
    let flood = dropped()? - before;
    ensure!(flood > 20 * WATCH_BURST, "it is a flood: {flood}");
    wait_for(DEADLINE, "all to be accounted for", || {
        let of_it = |reason: &str| reason == "drop-udp";
        let shown = trace.packets()?.iter().filter(|one| of_it(&one.reason)).count();
        let (mut unreported, mut lost) = (0, 0);
        for event in trace.events()? {
            match event {
                Event::Unreported(one) if of_it(&one.reason) => unreported += one.packets,
                Event::Lost(one) => lost += one.events,
                _ => {}
            }
        }
        ensure!(unreported > 0, "nothing is said of what is not shown");
        let all = u64::try_from(shown)? + unreported + lost;
        ensure!(all >= flood, "{shown} shown, {unreported} not, {lost} lost, of {flood}");
        ensure!(lost > 0 || all == flood, "{shown} shown, {unreported} not, of {flood}");
        Ok(())
    })?;
    scene.end(daemon)
}

#[test]
fn a_listener_that_stands_still_loses_what_it_does_not_take_and_harms_nobody() -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    let scene = Scene::start()?;
    let daemon = scene.daemon()?;
    scene.run("web", &[("tc.policy", "drop-udp")])?;
    wait_state(&daemon, "web", State::Enforced)?;
    let still = Trace::start(&scene, &["web", "--format=json"])?;
    let other = Trace::start(&scene, &["web", "--format=json", "--filter", "icmp"])?;
    still.process.signal(Signal::SIGSTOP)?;
    let (host, [to, _]) = (scene.engine().from_host(), scene.addresses("web")?);
    host.flood((to, ECHO).into(), Duration::from_secs(8))?;
    ensure!(ping_works(&host, to)?, "pings pass");
    other.wait_packet("the ping", |packet| packet.protocol == "icmp")?;
    still.process.signal(Signal::SIGCONT)?;
    wait_for(DEADLINE, "it to be told of its loss", || {
        let events = still.events()?;
        let lost = events.iter().any(|event| matches!(event, Event::Lost(lost) if lost.events > 0));
        ensure!(lost, "it heard all {} events", events.len());
        Ok(())
    })?;
    let events = other.events()?;
    let unharmed = !events.iter().any(|event| matches!(event, Event::Lost(_)));
    ensure!(unharmed, "who takes what comes loses nothing: {events:#?}");
    scene.end(daemon)
}

#[test]
fn an_interface_is_watched_for_as_long_as_somebody_listens() -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    let both = Presets::WATCH_DROPS | Presets::WATCH_PASSES;
    let scene = Scene::start()?;
    let daemon = scene.daemon()?;
    for name in ["web", "db"] {
        scene.run(name, &[("tc.policy", "drop-udp")])?;
        wait_state(&daemon, name, State::Enforced)?;
    }
    for name in ["web", "db"] {
        assert_eq!(watches(&scene, name)?, Presets::PASS, "nobody listens to {name}");
    }
    let drops = Trace::start(&scene, &["web", "--drops"])?;
    assert_eq!(watches(&scene, "web")?, Presets::WATCH_DROPS);
    assert_eq!(watches(&scene, "db")?, Presets::PASS, "nobody listens to db");
    let mut all = Trace::start(&scene, &[])?;
    assert_eq!([watches(&scene, "web")?, watches(&scene, "db")?], [both; 2]);
    // Neither a new configuration nor a look at everything takes it off.
    stdout_of(daemon.plugin()?.arg("reload"))?;
    assert_eq!(watches(&scene, "web")?, both, "after a reload");
    let policy = container(&daemon, "web")?;
    ensure!(hooks(&policy)?.values().all(|hook| hook.policy == "drop-udp"), "{policy:?}");
    // What comes to be meanwhile is watched too.
    scene.run("late", &[("tc.policy", "drop-udp")])?;
    wait_state(&daemon, "late", State::Enforced)?;
    wait_watches(&scene, "late", both)?;
    // Who is killed says nothing.
    all.process.kill()?;
    wait_watches(&scene, "db", Presets::PASS)?;
    wait_watches(&scene, "web", Presets::WATCH_DROPS)?;
    drops.end()?;
    wait_watches(&scene, "web", Presets::PASS)?;

    let mut last = Trace::start(&scene, &["web"])?;
    daemon.kill()?;
    let status = last.process.wait(DEADLINE)?;
    assert_eq!(status.code(), Some(UNAVAILABLE), "{}", last.text()?);
    assert_eq!(watches(&scene, "web")?, both, "nobody could take it off");
    let daemon = scene.daemon()?;
    wait_watches(&scene, "web", Presets::PASS)?;
    let _listens = Trace::start(&scene, &["web"])?;
    daemon.stop()?;
    assert_eq!(watches(&scene, "web")?, Presets::PASS, "what ends in order takes it off");
    scene.clean().map(drop)
}

#[test]
fn what_cannot_be_followed_is_said() -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    let scene = Scene::start()?;
    let daemon = scene.daemon()?;
    scene.run("plain", &[])?;
    for (arguments, code, words) in [
        (&["plain"][..], NOT_FOUND, "plain has no policy"),
        (&["nobody"], NOT_FOUND, "no container nobody"),
        (&["--filter", "prot 80"], USAGE, "column 1: found \"prot\", expected"),
        (&["--control-socket=/nowhere"], UNAVAILABLE, "the daemon is not running"),
    ] {
        let output = output_of(daemon.plugin()?.arg("trace").args(arguments))?;
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
        ensure!(said.contains(words), "{arguments:?}: {said}");
    }
    scene.end(daemon)
}
