//! `ebpf-netns peer` and `exec` for each way in which a container can have a network, or none.

mod netns_support;

use std::{collections::BTreeMap, sync::OnceLock};

use anyhow::{Context as _, Result, anyhow, ensure};
use ebpf_netns_tests::{DEADLINE, Engine, EngineOptions, images::Image, privilege, wait_for};
use netns_support::{json, run, run_by, text};
use serde_json::Value;

/// One engine for all tests here: each has containers and networks of its own in it.
fn engine() -> Result<Option<&'static Engine>> {
    static ENGINE: OnceLock<Result<Engine, String>> = OnceLock::new();
    if !privilege::have_root()? {
        return Ok(None);
    }
    let options = EngineOptions { images: vec![Image::Busybox, Image::Noshell], flags: vec![] };
    let engine =
        ENGINE.get_or_init(|| Engine::start_with(options).map_err(|error| format!("{error:#}")));
    engine.as_ref().map(Some).map_err(|error| anyhow!("{error}"))
}

fn start(engine: &Engine, name: &str, options: &[&str]) -> Result<()> {
    let mut arguments = vec!["run", "-d", "--name", name];
    arguments.extend(options);
    arguments.push("busybox");
    engine.docker(arguments).map(drop)
}

/// `ip` in a container's network namespace, with the powers that `CAP_NET_ADMIN` gives there.
fn ip_in(engine: &Engine, container: &str, arguments: &[&str]) -> Result<()> {
    let netns = format!("/proc/{}/ns/net", engine.pid(container)?);
    let mut command = engine.machine().command_in(netns, "ip");
    ebpf_netns_tests::command::stdout_of(command.args(arguments)).map(drop)
}

/// The interfaces that `peer` tells of, by name.
fn interfaces(engine: &Engine, arguments: &[&str]) -> Result<BTreeMap<String, Value>> {
    let mut all = vec!["peer"];
    all.extend(arguments);
    let report = json(engine, &all)?;
    let rows = report.get("interfaces").and_then(Value::as_array).context("interfaces")?;
    let name = |row: &Value| row.get("name").and_then(Value::as_str).map(str::to_owned);
    rows.iter().map(|row| Ok((name(row).context("a name")?, row.clone()))).collect()
}

/// What the kernel says inside of the container, without our help.
fn sysfs(engine: &Engine, container: &str, file: &str) -> Result<u64> {
    let path = format!("/sys/class/net/{file}");
    Ok(engine.docker(["exec", container, "cat", &path])?.parse()?)
}

#[test]
fn default_bridge_shows_the_host_side_of_eth0() -> Result<()> {
    let Some(engine) = engine()? else { return Ok(()) };
    start(engine, "plain", &[])?;
    let found = interfaces(engine, &["plain"])?;
    assert_eq!(found.keys().collect::<Vec<_>>(), ["eth0"], "loopback is not shown");
    let eth0 = &found["eth0"];
    assert_eq!(eth0["ifindex"], sysfs(engine, "plain", "eth0/ifindex")?);
    assert_eq!(eth0["host"]["ifindex"], sysfs(engine, "plain", "eth0/iflink")?);
    assert_eq!(eth0["network"], "bridge");
    assert_eq!(eth0["host"]["master"], "docker0");
    let mac = engine.inspect("plain", "{{.NetworkSettings.Networks.bridge.MacAddress}}")?;
    assert_eq!(eth0["mac"], mac);
    for address in engine.addresses("plain")?.both()? {
        let shown = eth0["addresses"].to_string();
        assert!(shown.contains(&format!("\"{address}/")), "{address} is in {shown}");
    }
    let name = eth0["host"]["name"].as_str().context("a name")?;
    let port = engine.machine().run("ip", ["-oneline", "link", "show", "dev", name])?;
    assert!(port.starts_with(&format!("{}: ", eth0["host"]["ifindex"])), "{port}");
    let shown = text(engine, &["peer", "plain"])?;
    assert!(shown.contains(&format!("{name} (ifindex {}) on docker0", eth0["host"]["ifindex"])));
    assert!(shown.lines().all(|line| line.chars().count() <= 80), "{shown}");
    Ok(())
}

#[test]
fn each_network_gives_its_own_host_side_also_when_it_is_plugged_in_later() -> Result<()> {
    let Some(engine) = engine()? else { return Ok(()) };
    let mut bridges = BTreeMap::new();
    for network in ["one", "two", "three"] {
        let id = engine.docker(["network", "create", network])?;
        bridges.insert(network, format!("br-{}", id.chars().take(12).collect::<String>()));
    }
    start(engine, "several", &["--network", "one"])?;
    engine.docker(["network", "connect", "two", "several"])?;
    assert_eq!(interfaces(engine, &["several"])?.len(), 2);
    engine.docker(["network", "connect", "three", "several"])?;
    let found = interfaces(engine, &["several"])?;
    let mut hosts = Vec::new();
    for row in found.values() {
        let network = row["network"].as_str().context("a network")?;
        assert_eq!(row["host"]["master"], *bridges[network], "{network}");
        hosts.push(row["host"]["ifindex"].as_u64().context("an index")?);
    }
    hosts.sort_unstable();
    hosts.dedup();
    assert_eq!(hosts.len(), 3, "each has a host side of its own: {found:?}");
    engine.docker(["network", "disconnect", "one", "several"])?;
    assert_eq!(interfaces(engine, &["several"])?.len(), 2);
    Ok(())
}

#[test]
fn host_network_is_refused_and_no_network_has_no_interfaces() -> Result<()> {
    let Some(engine) = engine()? else { return Ok(()) };
    start(engine, "on-host", &["--network", "host"])?;
    let verbs: [&[&str]; 3] =
        [&["peer", "on-host"], &["link", "on-host"], &["exec", "on-host", "--", "true"]];
    for verb in verbs {
        run(engine, verb)?.failed(1, "uses the host's network")?;
    }
    start(engine, "alone", &["--network", "none"])?;
    assert!(interfaces(engine, &["alone"])?.is_empty());
    let shown = text(engine, &["peer", "alone"])?;
    assert!(shown.contains("no interfaces but loopback"), "{shown}");
    Ok(())
}

#[test]
fn t20_a_container_in_anothers_network_is_found_without_a_sandbox_key() -> Result<()> {
    let Some(engine) = engine()? else { return Ok(()) };
    start(engine, "owner", &[])?;
    start(engine, "guest", &["--network", "container:owner"])?;
    assert_eq!(engine.inspect("guest", "{{.NetworkSettings.SandboxKey}}")?, "");
    let (owner, guest) = (interfaces(engine, &["owner"])?, interfaces(engine, &["guest"])?);
    assert_eq!(owner, guest, "both are in one namespace, and its network has a name for both");

    // The owner's end does not end the guest, whose namespace is empty from then on.
    engine.docker(["stop", "-t", "0", "owner"])?;
    assert!(interfaces(engine, &["guest"])?.is_empty());
    run(engine, &["peer", "owner"])?.failed(66, "has stopped")
}

#[test]
fn t7_a_macvlan_has_no_host_side() -> Result<()> {
    let Some(engine) = engine()? else { return Ok(()) };
    engine.machine().run("ip", ["link", "add", "nic", "type", "veth", "peer", "name", "wire"])?;
    for end in ["nic", "wire"] {
        engine.machine().run("ip", ["link", "set", end, "up"])?;
    }
    let create = ["network", "create", "-d", "macvlan", "-o", "parent=nic"];
    engine.docker(create.iter().chain(&["--subnet", "10.78.0.0/24", "lan-macvlan"]))?;
    start(engine, "on-macvlan", &["--network", "lan-macvlan"])?;
    // The number that misleads others is there, and it is a host's interface.
    let parent = sysfs(engine, "on-macvlan", "eth0/iflink")?;
    let nic = engine.machine().run("ip", ["-oneline", "link", "show", "dev", "nic"])?;
    assert!(nic.starts_with(&format!("{parent}: ")), "{nic}");
    let eth0 = interfaces(engine, &["on-macvlan"])?.remove("eth0").context("eth0")?;
    assert_eq!(eth0["host"], Value::Null, "the parent is not the container's");
    assert_eq!(eth0["network"], "lan-macvlan");
    let shown = text(engine, &["peer", "on-macvlan"])?;
    assert!(shown.contains("no host-side veth"), "{shown}");
    Ok(())
}

#[test]
fn t5_a_forged_interface_does_not_lead_to_anothers_host_side() -> Result<()> {
    let Some(engine) = engine()? else { return Ok(()) };
    start(engine, "victim", &[])?;
    start(engine, "forger", &["--cap-add", "NET_ADMIN"])?;
    let target = interfaces(engine, &["victim"])?["eth0"]["host"]["ifindex"].to_string();
    engine.docker(["exec", "forger", "ip", "link", "delete", "eth0"])?;
    let veth = ["link", "add", "x", "index", &target, "type", "veth", "peer", "name", "eth0"];
    ip_in(engine, "forger", &veth)?;
    assert_eq!(sysfs(engine, "forger", "eth0/iflink")?.to_string(), target, "it is forged");
    let forged = |reason: &str| -> Result<()> {
        let eth0 = interfaces(engine, &["forger"])?.remove("eth0").context("eth0")?;
        let said = eth0["reason"].as_str().context("a reason")?;
        ensure!(eth0["host"].is_null() && said.contains(reason), "{eth0}");
        Ok(())
    };
    forged("both ends of the veth pair are in the container")?;

    // Its other end in a third namespace, as with overlay networks.
    engine.machine().run("ip", ["netns", "add", "third"])?;
    ip_in(engine, "forger", &["link", "set", "x", "netns", "third"])?;
    assert_eq!(sysfs(engine, "forger", "eth0/iflink")?.to_string(), target, "it is forged");
    forged("third namespace")?;

    ip_in(engine, "forger", &["link", "delete", "eth0"])?;
    ip_in(engine, "forger", &["link", "add", "base", "index", &target, "type", "bridge"])?;
    ip_in(engine, "forger", &["link", "add", "eth0", "link", "base", "type", "macvlan"])?;
    assert_eq!(sysfs(engine, "forger", "eth0/iflink")?.to_string(), target, "it is forged");
    forged("macvlan")?;
    Ok(())
}

#[test]
fn an_interface_with_an_odd_name_is_still_found_and_shown_harmlessly() -> Result<()> {
    let Some(engine) = engine()? else { return Ok(()) };
    start(engine, "odd", &["--cap-add", "NET_ADMIN"])?;
    let host = interfaces(engine, &["odd"])?["eth0"]["host"]["ifindex"].clone();
    for (name, shown) in [
        ("\\377\\376", "\u{fffd}\u{fffd}"),
        ("\\033[2J", "\\u{1b}[2J"),
        ("\\342\\200\\256x", "\\u{202e}x"),
    ] {
        // Links are renamed only while they are down.
        let script = format!(
            "cd /sys/class/net; for old in *; do [ \"$old\" = lo ] || break; done; \
             ip link set \"$old\" down; ip link set \"$old\" name \"$(printf '{name}')\""
        );
        engine.docker(["exec", "odd", "sh", "-c", &script])?;
        let found = interfaces(engine, &["odd"])?;
        assert_eq!(found.len(), 1, "{name}: {found:?}");
        assert!(found.values().all(|row| row["host"]["ifindex"] == host), "{name}: {found:?}");
        let text = text(engine, &["peer", "odd"])?;
        assert!(text.starts_with(&format!("{shown} (ifindex")), "{name}: {text}");
        assert!(!text.contains('\u{1b}'), "{name}: {text:?}");
    }
    Ok(())
}

#[test]
fn each_state_has_its_sentence_and_a_paused_container_works() -> Result<()> {
    let Some(engine) = engine()? else { return Ok(()) };
    engine.docker(["create", "--name", "created", "busybox"])?;
    run(engine, &["peer", "created"])?.failed(66, "never started")?;
    start(engine, "paused", &[])?;
    let before = interfaces(engine, &["paused"])?;
    engine.docker(["pause", "paused"])?;
    assert_eq!(interfaces(engine, &["paused"])?, before);
    engine.docker(["unpause", "paused"])?;
    engine.docker(["stop", "-t", "0", "paused"])?;
    run(engine, &["link", "paused"])?.failed(66, "has stopped")?;
    engine.docker(["rm", "paused"])?;
    run(engine, &["peer", "paused"])?.failed(66, "no such container: paused")?;

    engine.docker(["run", "-d", "--name", "loop", "--restart", "always", "busybox", "false"])?;
    wait_for(DEADLINE, "a look between two runs", || {
        run(engine, &["peer", "loop"])?.failed(66, "between two runs")
    })
}

#[test]
fn a_container_is_named_by_its_name_its_id_and_the_beginning_of_its_id() -> Result<()> {
    let Some(engine) = engine()? else { return Ok(()) };
    start(engine, "before", &[])?;
    engine.docker(["rename", "before", "after"])?;
    let id = engine.inspect("after", "{{.Id}}")?;
    let expected = interfaces(engine, &["after"])?;
    let short: String = id.chars().take(12).collect();
    for reference in [id.as_str(), short.as_str()] {
        assert_eq!(interfaces(engine, &[reference])?, expected, "{reference}");
    }
    run(engine, &["peer", "before"])?.failed(66, "no such container: before")?;
    let pid = engine.pid("after")?.to_string();
    let by_pid = interfaces(engine, &["--pid", &pid])?;
    assert_eq!(by_pid["eth0"]["host"], expected["eth0"]["host"]);

    // Of 17 ids, two begin with the same digit.
    for number in 0..17 {
        engine.docker(["create", "--name", &format!("many-{number}"), "busybox"])?;
    }
    let ids = engine.docker(["ps", "--all", "--no-trunc", "--quiet"])?;
    let mut first: Vec<_> = ids.lines().filter_map(|id| id.get(..1)).collect();
    first.sort_unstable();
    let twice = first.windows(2).find(|pair| pair[0] == pair[1]).context("17 ids of 16 digits")?;
    run(engine, &["peer", twice[0]])?.failed(66, "may be any of")
}

#[test]
fn t6_a_container_without_a_shell_needs_none() -> Result<()> {
    let Some(engine) = engine()? else { return Ok(()) };
    engine.docker(["run", "-d", "--name", "bare", "noshell"])?;
    assert!(engine.docker(["exec", "bare", "sh"]).is_err(), "there is no shell");
    assert!(interfaces(engine, &["bare"])?.contains_key("eth0"));
    let shown = text(engine, &["exec", "bare", "--", "ip", "-oneline", "link"])?;
    assert!(shown.contains("eth0@if"), "{shown}");
    Ok(())
}

#[test]
fn t18_a_lookup_that_is_not_permitted_is_an_error_and_not_an_empty_list() -> Result<()> {
    let Some(engine) = engine()? else { return Ok(()) };
    start(engine, "unseen", &[])?;
    let unprivileged = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"];
    let ran = run_by(engine, &unprivileged, &["peer", "unseen"])?;
    ran.failed(77, "Permission denied")?;
    assert!(ran.stderr.contains("hint: run it as root"), "{ran:?}");
    let ran = run_by(engine, &unprivileged, &["peer", "unseen", "--format", "json"])?;
    let error: Value = serde_json::from_str(&ran.stderr)?;
    assert!(error["error"].is_string() && error["code"] == 77, "{error}");
    assert_eq!(ran.stdout, "", "nothing is told that was not seen");
    Ok(())
}

#[test]
fn t23_labels_called_name_and_image_mislead_nobody() -> Result<()> {
    let Some(engine) = engine()? else { return Ok(()) };
    start(engine, "honest", &["--label", "name=decoy", "--label", "image=decoy"])?;
    let report = json(engine, &["peer", "honest"])?;
    assert_eq!(report["container"]["name"], "honest");
    assert_eq!(report["container"]["id"], engine.inspect("honest", "{{.Id}}")?);
    run(engine, &["peer", "decoy"])?.failed(66, "no such container: decoy")
}

#[test]
fn programs_on_the_host_side_are_shown_whoever_attached_them() -> Result<()> {
    let Some(engine) = engine()? else { return Ok(()) };
    start(engine, "watched", &[])?;
    let host = interfaces(engine, &["watched"])?["eth0"]["host"]["name"].clone();
    let host = host.as_str().context("a name")?;
    let object = concat!(env!("CARGO_MANIFEST_DIR"), "/../plugin/bytecode/pass.o");
    for [program, arguments] in [
        ["bpftool", &format!("prog loadall {object} /sys/fs/bpf/watched")],
        ["ip", &format!("link set {host} xdpgeneric pinned /sys/fs/bpf/watched/xdp_pass")],
        ["tc", &format!("qdisc add dev {host} clsact")],
        ["tc", &format!("filter add dev {host} ingress bpf da pinned /sys/fs/bpf/watched/tc_pass")],
    ] {
        engine.machine().run(program, arguments.split(' '))?;
    }
    let attached = interfaces(engine, &["watched"])?["eth0"]["host"]["attached"].clone();
    let of = |hook: &str| {
        attached.as_array().and_then(|all| all.iter().find(|one| one["hook"] == hook).cloned())
    };
    let xdp = of("xdp").context("xdp")?;
    assert_eq!(xdp["mode"], "generic");
    let kernel = engine.machine().run("bpftool", ["-j", "net", "show", "dev", host])?;
    assert!(kernel.contains(&format!("\"id\":{}", xdp["program"]["id"])), "{kernel}: {xdp}");
    let tc = of("clsact-ingress").context("clsact")?;
    assert!(tc["program"]["name"].to_string().contains("tc_pass"), "{tc}");
    assert_eq!(of("clsact-egress"), None);
    Ok(())
}

#[test]
fn exec_ends_as_its_command_does() -> Result<()> {
    let Some(engine) = engine()? else { return Ok(()) };
    start(engine, "inside", &[])?;
    let cases: [(&[&str], i32); 5] = [
        (&["true"], 0),
        (&["sh", "-c", "exit 42"], 42),
        (&["no-such-command"], 127),
        (&["/etc/passwd"], 126),
        (&["sh", "-c", "kill -9 $$"], 137),
    ];
    for (command, code) in cases {
        let mut arguments = vec!["exec", "inside", "--"];
        arguments.extend(command);
        // A shell in between turns a signal into a code.
        let ran = run_by(engine, &["sh", "-c", "\"$0\" \"$@\"; exit $?"], &arguments)?;
        assert_eq!(ran.code, code, "{command:?}: {ran:?}");
    }
    let namespace = engine.docker(["exec", "inside", "readlink", "/proc/self/ns/net"])?;
    let entered = text(engine, &["exec", "inside", "--", "readlink", "/proc/self/ns/net"])?;
    assert_eq!(entered.trim_end(), namespace);
    Ok(())
}

#[test]
fn an_engine_that_cannot_be_reached_is_told_from_a_missing_container() -> Result<()> {
    let Some(engine) = engine()? else { return Ok(()) };
    for (host, said) in [
        ("unix:///run/absent.sock", "no Docker socket at /run/absent.sock"),
        ("unix:///etc/passwd", "is not a socket"),
        ("tcp://127.0.0.1:1", "no Docker engine answers at tcp://127.0.0.1:1"),
        ("ssh://elsewhere", "run this there"),
    ] {
        let host = format!("DOCKER_HOST={host}");
        run_by(engine, &["env", &host], &["peer", "any"])?.failed(69, said)?;
    }
    Ok(())
}
