//! What becomes of a packet, as `explain` tells it.

use std::{net::IpAddr, process::Output};

use anyhow::{Context as _, Result, ensure};
use ebpf_netns_plugin::{
    explain::{Explanation, Says},
    plan::Hook,
    status::{ContainerStatus, RuleStatus, State},
};
use ebpf_netns_tests::{Configuration, DEADLINE, Daemon, command::output_of, privilege, wait_for};

use crate::{
    config::configured,
    rule_hits::with_rules,
    scene::{ECHO, LAN, Scene, wait_state},
};

/// `explain`.
fn explain(daemon: &Daemon<'_>, arguments: &[&str]) -> Result<Output> {
    output_of(daemon.plugin()?.arg("explain").args(arguments))
}

/// What becomes of a packet.
fn explained(daemon: &Daemon<'_>, container: &str, packet: &str) -> Result<Explanation> {
    let output = explain(daemon, &[container, packet, "--format=json"])?;
    ensure!(output.status.success(), "{container}, {packet}: {output:?}");
    let mut all: Vec<Explanation> = serde_json::from_slice(&output.stdout)?;
    let said = all.pop().context("a list of one")?;
    ensure!(said.disagreements.is_empty(), "{packet}: {said:?}");
    ensure!(said.hooks.iter().all(|hook| hook.run), "{packet}: the programs are run: {said:?}");
    Ok(said)
}

/// An address as it stands before a port.
fn bracketed(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("[{address}]"),
    }
}

#[test]
fn a_packet_is_explained_by_the_list_that_decides() -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    let scene = Scene::start()?;
    let text = "[default]\ntc.egress = \"\"\"\ndeny tcp 22\nallow any\n\"\"\"\n";
    let configuration = Configuration::new(scene.machine(), text)?;
    let daemon = configured(&scene, &configuration)?;
    scene.run("db", &[("tc.ingress", "allow tcp 80")])?;
    let labels = [("tc.egress", "allow tcp 80; allow tcp 22\ndeny log udp"), ("tc.policy", "log")];
    scene.run("web", &labels)?;
    scene.run("fast", &[("xdp.policy", "drop-udp")])?;
    scene.run("auditor", &[("tc.egress", "deny"), ("tc.audit", "true")])?;
    for name in ["db", "web", "fast", "auditor"] {
        wait_state(&daemon, name, State::Enforced)?;
    }
    let before = [with_rules(&daemon, "web")?, with_rules(&daemon, "db")?];
    for (address, other) in scene.addresses("db")?.into_iter().zip(["192.0.2.1", "[2001:db8::1]"]) {
        let to = bracketed(address);
        for (container, packet, reason, hook, part) in [
            ("web", format!("tcp container > {to}:80"), "passed", None, None),
            (
                "web",
                format!("tcp container > {to}:22"),
                "denied",
                Some(Hook::Egress),
                Some(("[default]", Some(1))),
            ),
            (
                "web",
                format!("udp container > {to}:53"),
                "denied",
                Some(Hook::Egress),
                Some(("label tc.egress", Some(2))),
            ),
            (
                "web",
                format!("sctp container > {to}:80"),
                "no-rule",
                Some(Hook::Egress),
                Some(("label tc.egress", None)),
            ),
            ("db", format!("tcp {other}:5000 > container:80"), "passed", None, None),
            (
                "db",
                format!("tcp {other}:5000 > container:443"),
                "no-rule",
                Some(Hook::Ingress),
                Some(("label tc.ingress", None)),
            ),
            (
                "fast",
                format!("udp container > {to}:53"),
                "drop-udp",
                Some(Hook::Xdp),
                Some(("label xdp.policy", None)),
            ),
            ("auditor", format!("udp container > {to}:53"), "passed", None, None),
        ] {
            let said = explained(&daemon, container, &packet)?;
            ensure!((said.reason.as_str(), said.dropped_at) == (reason, hook), "{said:?}");
            ensure!(said.passes == hook.is_none() && !said.connection, "{said:?}");
            let decided = said.decided_by.and_then(|place| said.layers.get(place));
            let decided = decided.map(|layer| {
                let origin = layer.origins.first();
                (origin.map(|one| one.seen_by(container).to_string()), layer.line)
            });
            let fits = match (&decided, part) {
                (Some((Some(origin), line)), Some((word, expected))) => {
                    origin.starts_with(word) && *line == expected
                }
                (decided, part) => decided.is_none() && part.is_none(),
            };
            ensure!(fits, "{packet}: {decided:?}, expected {part:?}: {said:?}");
            if container == "auditor" {
                let says: Vec<Says> = said.layers.iter().map(|layer| layer.verdict).collect();
                ensure!(says == [Says::Allow, Says::WouldDeny], "{said:?}");
            }
        }
    }
    let table = explain(&daemon, &["web", "tcp container > 192.0.2.1:22"])?;
    let table = String::from_utf8_lossy(&table.stdout).into_owned();
    let last = "dropped (denied): [default] tc.egress (";
    ensure!(table.contains(last) && table.contains("line 1: deny tcp 22\n"), "{table}");
    // None of it was seen by what is attached.
    let after = [with_rules(&daemon, "web")?, with_rules(&daemon, "db")?];
    ensure!(hits_of(&before) == hits_of(&after), "{before:?}\n{after:?}");
    scene.end(daemon)
}

/// The rules of some containers with their hits; what none of them matches is what others multicast.
fn hits_of(containers: &[ContainerStatus]) -> Vec<&RuleStatus> {
    let lists = containers.iter().flat_map(|one| &one.interfaces).flat_map(|one| &one.rules);
    lists.flat_map(|list| &list.rules).filter(|rule| rule.line.is_some()).collect()
}

#[test]
fn an_answer_is_explained_by_its_connection_and_asking_makes_none() -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    let scene = Scene::start()?;
    let daemon = scene.daemon()?;
    scene.run("db", &[])?;
    let labels = [("tc.egress", "allow tcp\nallow udp"), ("tc.ingress", "deny any")];
    scene.run("web", &labels)?;
    wait_state(&daemon, "web", State::Enforced)?;
    let [to, _] = scene.addresses("db")?;
    let reply = format!("tcp {to}:{ECHO} > container:40000");
    // Asking is no connection.
    for packet in [format!("tcp container:40000 > {to}:{ECHO}"), format!("udp container > {to}:53")]
    {
        ensure!(explained(&daemon, "web", &packet)?.passes, "{packet} is allowed");
    }
    for unasked in [reply.as_str(), &format!("udp {to}:53 > container:49152")] {
        let said = explained(&daemon, "web", unasked)?;
        ensure!(!said.passes && !said.connection && said.reason == "denied", "{said:?}");
    }
    let _echo = scene.engine().from_container("db")?.echo_server(ECHO)?;
    let from = scene.engine().from_container("web")?;
    let mut curl = from.command("curl");
    // What comes back is no header, and so it waits for more.
    curl.args(["--silent", "--http0.9", "--local-port", "40000"])
        .arg(format!("http://{to}:{ECHO}/"));
    let (_open, _log) = scene.machine().spawn(&mut curl, "connection.log")?;
    let said = wait_for(DEADLINE, "the connection to be known", || {
        let said = explained(&daemon, "web", &reply)?;
        ensure!(said.connection, "{said:?}");
        Ok(said)
    })?;
    ensure!(said.passes && said.reason == "passed", "{said:?}");
    ensure!(said.hooks.iter().all(|hook| hook.alone == "denied"), "{said:?}");
    let table = explain(&daemon, &["web", &reply])?;
    let table = String::from_utf8_lossy(&table.stdout).into_owned();
    let sentence = "passes: it belongs to a connection that is known, and no rule is asked; as the \
                    beginning of one it would be dropped (denied)\n";
    ensure!(table.ends_with(sentence), "{table}");
    scene.end(daemon)
}

#[test]
fn why_nothing_is_explained_is_told() -> Result<()> {
    const NOT_FOUND: i32 = 66;
    const USAGE: i32 = 2;
    if !privilege::have_root()? {
        return Ok(());
    }
    let scene = Scene::start()?;
    let daemon = scene.daemon()?;
    scene.run("free", &[])?;
    scene.run("web", &[("tc.egress", "allow any")])?;
    scene.run("closed", &[("tc.egress", "alow any")])?;
    scene.create("created", &[("tc.egress", "allow any")], &["--network", LAN])?;
    wait_state(&daemon, "web", State::Enforced)?;
    wait_state(&daemon, "closed", State::Closed)?;
    wait_state(&daemon, "created", State::Idle)?;
    let packet = "tcp container > 192.0.2.1:443";
    for (arguments, code, words) in [
        (&["nobody", packet][..], NOT_FOUND, &["no container nobody"][..]),
        (&["free", packet], NOT_FOUND, &["free has no policy", "nothing is dropped"]),
        (&["created", packet], NOT_FOUND, &["created has no interface", "does not run"]),
        (&["web", "tpc container > 192.0.2.1:443"], USAGE, &["column 1", "\"tpc\"", "\n    ^"]),
        (
            &["web", "tcp 192.0.2.2 > 192.0.2.1:443"],
            USAGE,
            &["neither address is web's, which has"],
        ),
        (&["web", "--packet", "0g"], USAGE, &["--packet: digit 2"]),
        (&["web", "--packet", "00"], 65, &["1 bytes", "15 to 3520"]),
        (&["web", "--packet", "./no.pcap"], NOT_FOUND, &["read ./no.pcap"]),
    ] {
        let output = explain(&daemon, arguments)?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.code() == Some(code), "{arguments:?}: {output:?}");
        ensure!(words.iter().all(|word| said.contains(word)), "{words:?}: {said}");
    }
    let output = explain(&daemon, &["closed", packet])?;
    let said = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success(), "{output:?}");
    ensure!(said.contains("dropped (closed): the container is closed: label tc.egress"), "{said}");
    scene.end(daemon)
}
