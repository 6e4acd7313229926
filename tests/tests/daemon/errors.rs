//! Labels that are not understood: the container is closed in both directions and the reason is
//! told, in `status`, in the log and by `check`, and nobody else is touched.

use std::{fs, net::IpAddr};

use anyhow::{Context as _, Result, ensure};
use ebpf_netns_plugin::status::{ContainerStatus, State};
use ebpf_netns_tests::{Daemon, command::output_of, privilege, traffic::Vantage};
use serde_json::json;

use crate::scene::{
    ECHO, LAN, Label, Reach, Scene, at_once, http_works, only_interface, ping_works, status,
    wait_state,
};

/// Containers that are probed at the same time.
const AT_ONCE: usize = 12;

const NEIGHBOUR: &str = "neighbour";

/// `EX_DATAERR`.
const BAD_DATA: i32 = 65;

/// Something to try from somewhere; whether it worked.
type Probe = fn(&Vantage<'_>, IpAddr) -> Result<bool>;

/// Labels, and what the reason for closing says.
type Case<'a> = (&'a [Label<'a>], &'a [&'a str]);

#[test]
fn values_that_are_not_understood_close_the_container() -> Result<()> {
    let too_long = "log,".repeat(1022) + "drop-tcp,";
    let huge = "x".repeat(1 << 20);
    let presets = "expected one of pass, drop-all, drop-tcp, drop-udp, drop-icmp, log";
    check(&[
        (&[("xdp.policy", "")], &["label xdp.policy: column 1: found \"\"", presets]),
        (&[("tc.policy", " ")], &["label tc.policy: column 1: found \" \"", presets]),
        (&[("xdp.policy", "drop-tcp\t")], &["column 1", "\\t"]),
        (&[("xdp.policy", "log,\u{a0}drop-tcp")], &["column 5", "\\u{a0}"]),
        (&[("xdp.policy", "drop-tcp\u{200b}")], &["column 1", "\\u{200b}"]),
        (&[("xdp.policy", "\u{feff}drop-tcp")], &["column 1", "\\u{feff}"]),
        (&[("xdp.policy", "drop-tcp\r\n")], &["column 1", "\\r\\n"]),
        (&[("tc.policy", "drop-tcp\nlog")], &["column 1", "\\n"]),
        (&[("xdp.policy", "drop-\0tcp")], &["column 1", "\\u{0}"]),
        (&[("xdp.policy", "drop-tcp\0")], &["column 1", "\\u{0}"]),
        (&[("xdp.policy", "DROP-TCP")], &["found \"DROP-TCP\"", "did you mean drop-tcp?"]),
        (&[("tc.policy", "log, drop-tpc")], &["column 6", "did you mean drop-tcp?"]),
        (&[("xdp.policy", "drop-tcp,")], &["column 10", "found \"\""]),
        (&[("xdp.policy", "drop-tcp,,log")], &["column 10", "found \"\""]),
        (&[("xdp.policy", "drop-tcp;log")], &["found \"drop-tcp;log\""]),
        (&[("xdp.policy", "\"drop-tcp\"")], &["column 1"]),
        (&[("tc.policy", "true")], &["found \"true\"", presets]),
        (&[("xdp.policy", "$(id)`id`%n%s{{.}};rm -rf /")], &["found \"$(id)`id`%n%s{{.}};rm"]),
        (&[("xdp.policy", "../../etc/passwd")], &["found \"../../etc/passwd\""]),
        (&[("xdp.policy", "\u{1b}[31mred\u{1b}]0;title\u{7}")], &["\\u{1b}[31mred", "\\u{7}"]),
        (&[("tc.policy", "\u{202e}pct-pord")], &["\\u{202e}"]),
        (&[("xdp.policy", "🦀,drop-tcp")], &["column 1", presets]),
        (&[("xdp.policy", &too_long)], &["label xdp.policy", "longer than 4096 bytes"]),
        (&[("tc.policy", &huge)], &["label tc.policy", "longer than 4096 bytes"]),
        (
            &[("xdp.policy", "log"), ("xdp.mode", "skb")],
            &["label xdp.mode: column 1: found \"skb\"", "auto, native, generic, offload"],
        ),
        (
            &[("tc.policy", "log"), ("tc.direction", "in")],
            &["label tc.direction: column 1: found \"in\"", "egress, ingress, both"],
        ),
        (
            &[("xdp.policy", "nope"), ("tc.policy", "nope"), ("tc.direction", "nope")],
            &["label xdp.policy", "label tc.policy", "label tc.direction"],
        ),
    ])
}

#[test]
fn keys_that_are_not_understood_close_the_container() -> Result<()> {
    let long = format!("xdp.{}", "x".repeat(300));
    check(&[
        (&[("xdp.polcy", "drop-tcp")], &["label xdp.polcy: unknown key", "mean xdp.policy?"]),
        (&[("tc.", "drop-tcp")], &["label tc.: unknown key"]),
        (&[("XDP.policy", "drop-tcp")], &["XDP.policy", "write xdp.policy exactly"]),
        (&[("xdp.policy ", "drop-tcp")], &["\"xdp.policy \"", "write xdp.policy exactly"]),
        (&[("xdp.policy\0", "drop-tcp")], &["\\u{0}", "write xdp.policy exactly"]),
        (&[("\u{445}dp.policy", "drop-tcp")], &["write xdp.policy exactly"]),
        (&[("\u{ff54}c.policy", "drop-tcp")], &["write tc.policy exactly"]),
        (&[("xdp.\u{1b}[2J", "drop-tcp")], &["xdp.\\u{1b}[2J"]),
        (&[(&long, "drop-tcp")], &["longer than 256 bytes"]),
        (&[("xdp.mode", "native")], &["xdp.mode: has no effect without xdp.policy"]),
        (&[("tc.direction", "egress")], &["tc.direction: has no effect without tc.policy"]),
        // One good label does not make up for a bad one.
        (&[("tc.policy", "pass"), ("xdp.polcy", "pass")], &["label xdp.polcy"]),
        (&[("tc.ingress", "alow tcp 80")], &["label tc.ingress, line 1, column 1", "mean allow?"]),
        (&[("xdp.program", "../mine.o")], &["label xdp.program: found \"../mine.o\"", "no path"]),
        (&[("tc.program", "mine.c#main")], &["label tc.program: found \"mine.c#main\"", "in .o"]),
        (&[("xdp.egress", "allow dns")], &["label xdp.egress", "rules are for tc."]),
        (&[("xdp.ingress", "allow tcp 80")], &["label xdp.ingress", "rules are for tc."]),
    ])
}

/// Labels that nobody could take for ours, and the largest that are.
#[test]
fn labels_at_the_limit_are_understood() -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    let scene = Scene::start()?;
    let daemon = scene.daemon()?;
    let longest = "log,".repeat(1022) + "drop-tcp";
    assert_eq!(longest.len(), 4096, "as long as a value may be");
    scene.run("longest", &[("xdp.policy", &longest)])?;
    scene.run(
        "others",
        &[("com.example.xdp.policy", "drop-all"), ("tcp.policy", "x"), ("tc", "x")],
    )?;
    wait_state(&daemon, "longest", State::Enforced)?;
    let names: Vec<_> = status(&daemon)?.containers.into_iter().map(|one| one.name).collect();
    assert_eq!(names, ["longest"], "others' labels are others'");
    for (name, expected) in
        [("longest", Reach { tcp: false, ..Reach::ALL }), ("others", Reach::ALL)]
    {
        scene.wait_listening(name)?;
        let _echo = scene.engine().from_container(name)?.echo_server(ECHO)?;
        assert_eq!(scene.reach_from_host(name)?, expected, "{name}");
    }
    Ok(())
}

fn check(cases: &[Case<'_>]) -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    let scene = Scene::start()?;
    let daemon = scene.daemon()?;
    scene.run(NEIGHBOUR, &[])?;
    scene.wait_listening(NEIGHBOUR)?;
    let _echo = scene.engine().from_container(NEIGHBOUR)?.echo_server(ECHO)?;
    for (number, some) in cases.chunks(AT_ONCE).enumerate() {
        let (scene, daemon) = (&scene, &daemon);
        let named = some.iter().enumerate().map(|(place, case)| {
            let name = format!("bad-{}", number * AT_ONCE + place);
            move || {
                check_one(scene, daemon, &name, case)
                    .with_context(|| format!("{name}: {case:.200?}"))
            }
        });
        at_once(named)?;
    }
    assert_eq!(scene.reach_from_host(NEIGHBOUR)?, Reach::ALL, "the neighbour is untouched");
    let log = daemon.log()?;
    let control = log.chars().find(|c| c.is_control() && *c != '\n');
    assert_eq!(control, None, "no control character reaches the log");
    Ok(())
}

fn check_one(
    scene: &Scene,
    daemon: &Daemon<'_>,
    name: &str,
    (labels, words): &Case<'_>,
) -> Result<()> {
    run_by_api(scene, name, labels)?;
    let closed = wait_state(daemon, name, State::Closed)?;
    let reason = closed.reason.clone().context("the reason is told")?;
    for word in *words {
        assert!(reason.contains(word), "{name}: the reason {reason:?} has {word:?}");
    }
    let odd = reason.chars().find(|c| c.is_control() || matches!(c, '\u{202a}'..='\u{202e}'));
    assert_eq!(odd, None, "{name}: no control character in {reason:?}");
    assert!(reason.len() < 1000, "{name}: the reason is short: {reason:?}");
    assert!(daemon.log()?.contains(&reason), "{name}: the log says the same: {reason:?}");
    check_offline(daemon, labels, &reason)?;
    check_closed(scene, name)?;
    check_counters(&wait_state(daemon, name, State::Closed)?)
}

/// Nothing gets in and nothing gets out: HTTP and ping, over IPv4 and IPv6, each in one direction.
fn check_closed(scene: &Scene, name: &str) -> Result<()> {
    let engine = scene.engine();
    let (host, inside) = (engine.from_host(), engine.from_container(name)?);
    let ([own_v4, own_v6], [v4, v6]) = (scene.addresses(name)?, scene.addresses(NEIGHBOUR)?);
    let probes: [(&Vantage<'_>, IpAddr, Probe); 4] = [
        (&host, own_v4, http_works),
        (&host, own_v6, ping_works),
        (&inside, v4, ping_works),
        (&inside, v6, http_works),
    ];
    let passed = at_once(probes.into_iter().map(|(from, to, probe)| move || probe(from, to)))?;
    assert_eq!(passed, [false; 4], "{name}: nothing in and nothing out");
    Ok(())
}

/// Both directions are closed, and count it as that.
fn check_counters(container: &ContainerStatus) -> Result<()> {
    let hooks = &only_interface(container)?.hooks;
    let directions: Vec<_> = hooks.iter().map(|hook| hook.direction.as_str()).collect();
    assert_eq!(directions, ["egress", "ingress"], "both directions are closed: {hooks:?}");
    for hook in hooks {
        let reasons: Vec<_> = hook.traffic.dropped.keys().map(String::as_str).collect();
        assert_eq!((hook.policy.as_str(), reasons), ("closed", vec!["closed"]), "{hook:?}");
        assert_eq!(hook.traffic.passed.packets, 0, "not one packet passed: {hook:?}");
    }
    Ok(())
}

/// `check` says the same of these labels, as far as a command line can carry them.
fn check_offline(daemon: &Daemon<'_>, labels: &[Label<'_>], reason: &str) -> Result<()> {
    let too_much = |text: &str| text.contains('\0') || text.len() > 100_000;
    if labels.iter().any(|(key, value)| too_much(key) || too_much(value)) {
        return Ok(());
    }
    let mut check = daemon.plugin()?;
    check.arg("check").args(labels.iter().map(|(key, value)| format!("--label={key}={value}")));
    let output = output_of(&mut check)?;
    let said = String::from_utf8(output.stderr)?;
    assert_eq!(output.status.code(), Some(BAD_DATA), "the exit code of check: {said}");
    // A line for each problem, with the rule and a caret below.
    let problems: Vec<&str> = said.lines().filter(|line| !line.starts_with("    ")).collect();
    let expected = format!("ebpf-netns-plugin: {reason}");
    assert_eq!(problems.join("; "), expected, "check says what status says");
    Ok(())
}

/// Runs a web server by Docker's API, which takes labels that no command line carries.
fn run_by_api(scene: &Scene, name: &str, labels: &[Label<'_>]) -> Result<()> {
    let labels: serde_json::Map<_, _> =
        labels.iter().map(|(key, value)| ((*key).to_owned(), json!(value))).collect();
    let body = json!({
        "Image": "noshell",
        "Labels": labels,
        "HostConfig": { "NetworkMode": LAN },
    });
    let file = scene.machine().directory().join(format!("{name}.json"));
    fs::write(&file, body.to_string())?;
    for (path, data) in [
        (format!("create?name={name}"), format!("@{}", file.display())),
        (format!("{name}/start"), String::new()),
    ] {
        let curl = ["--silent", "--unix-socket", "/run/docker.sock", "--request", "POST"];
        let headers = ["--header", "Content-Type: application/json", "--write-out", "%{http_code}"];
        let url = format!("http://docker/containers/{path}");
        let data = ["--data-binary", data.as_str(), url.as_str()];
        let said = scene.machine().run("curl", curl.iter().chain(&headers).chain(&data))?;
        ensure!(said.ends_with("201") || said.ends_with("204"), "{path}: {said}");
    }
    Ok(())
}
