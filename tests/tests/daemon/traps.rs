//! What other tools got wrong, and what was found in them: each must not happen here. Those traps that
//! need no engine are among the tests of `plugin`; others stand where their subject is.

use std::net::SocketAddr;

use anyhow::{Result, ensure};
use ebpf_netns_plugin::status::State;
use ebpf_netns_tests::{
    Configuration, DEADLINE, Daemon, privilege,
    traffic::{EchoServer, Reply, Vantage},
    wait_for,
};

use crate::{
    config::{configured, reloaded},
    config_swap::{arrived, dropped, flood},
    flows::Talk,
    scene::{ECHO, LAN, Label, Reach, Scene, at_once, container, only_interface, wait_state},
};

const OTHER: u16 = 7778;

/// Servers with echo servers on two ports, and clients with rules.
fn arena(
    scene: &Scene,
    daemon: &Daemon<'_>,
    servers: &[&str],
    clients: &[(&str, &[Label<'_>])],
) -> Result<Vec<EchoServer>> {
    let mut echo = Vec::new();
    for server in servers {
        scene.run(server, &[])?;
        let at = scene.engine().from_container(server)?;
        echo.extend([at.echo_server(ECHO)?, at.echo_server(OTHER)?]);
    }
    for (client, labels) in clients {
        scene.run(client, labels)?;
        wait_state(daemon, client, State::Enforced)?;
    }
    Ok(echo)
}

/// TCP from a client to servers, `true` where it is allowed; all at once, over IPv4 and IPv6.
fn check(scene: &Scene, client: &str, tries: &[(&str, u16, [bool; 2])]) -> Result<()> {
    let from = scene.engine().from_container(client)?;
    let targets = tries.iter().map(|(server, port, allowed)| {
        let to = scene.addresses(server)?.into_iter().zip(*allowed);
        Ok(to.map(|(to, allowed)| (SocketAddr::new(to, *port), *server, allowed)))
    });
    let targets: Vec<_> = targets.collect::<Result<Vec<_>>>()?.into_iter().flatten().collect();
    let wrong = at_once(targets.into_iter().map(|(to, server, allowed)| {
        let from: &Vantage<'_> = &from;
        move || {
            let reply = from.tcp(to)?;
            let expected = if allowed { Reply::Echoed } else { Reply::TimedOut };
            let said = format!("{client} to {server} at {to}: {reply:?}, expected {expected:?}");
            Ok((reply != expected).then_some(said))
        }
    }))?;
    let wrong: Vec<String> = wrong.into_iter().flatten().collect();
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

const BOTH: [bool; 2] = [true, true];
const NEITHER: [bool; 2] = [false, false];

#[test]
fn t1_rules_that_are_not_understood_leave_nothing_open() -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    let scene = Scene::start()?;
    let daemon = scene.daemon()?;
    for (name, key, value, words) in [
        ("verb", "tc.egress", "alow tcp 80", &["line 1, column 1", "did you mean allow?"][..]),
        (
            "second",
            "tc.egress",
            "allow tcp 80\nallow tpc 81",
            &["line 2, column 7", "expected log, dns, tcp"],
        ),
        ("port", "tc.ingress", "allow tcp 65536", &["65536", "1 to 65535"]),
        ("prefix", "tc.egress", "allow to 10.0.0.0/33", &["10.0.0.0/33"]),
        ("side", "tc.ingress", "allow to 10.0.0.0/8", &["from"]),
        ("xdp", "xdp.egress", "allow tcp 80", &["xdp.egress"]),
    ] {
        // The other direction has rules that are fine, and allow all.
        let other = if key == "tc.ingress" { "tc.egress" } else { "tc.ingress" };
        scene.run(name, &[(key, value), (other, "allow")])?;
        let closed = wait_state(&daemon, name, State::Closed)?;
        let reason = closed.reason.unwrap_or_default();
        for word in words.iter().chain(&[key]) {
            ensure!(reason.contains(word), "{name}: {word:?} is not in {reason:?}");
        }
        scene.wait_listening(name)?;
        let _echo = scene.engine().from_container(name)?.echo_server(ECHO)?;
        ensure!(scene.reach_from_host(name)? == Reach::NOTHING, "{name} is open");
    }
    scene.end(daemon)
}

#[test]
fn t2_addresses_of_ipv6_are_rules_like_any_other() -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    let scene = Scene::start()?;
    let daemon = scene.daemon()?;
    let _echo = arena(&scene, &daemon, &["db", "spare"], &[])?;
    let [v4, v6] = scene.addresses("db")?;
    let [_, spare] = scene.addresses("spare")?;
    let only_v6 = [false, true];
    for (name, rule, expected) in [
        ("literal", format!("allow tcp to {v6}"), only_v6),
        ("prefix", format!("allow tcp to {v6}/128"), only_v6),
        ("range", format!("allow tcp to {}-{}", v6.min(spare), v6.max(spare)), only_v6),
        ("mixed", format!("allow tcp to {v6}, {v4}"), BOTH),
        ("denied", format!("deny to {v6}; allow"), [true, false]),
    ] {
        scene.run(name, &[("tc.egress", &rule)])?;
        wait_state(&daemon, name, State::Enforced)?;
        check(&scene, name, &[("db", ECHO, expected)])?;
    }
    scene.end(daemon)
}

#[test]
fn t3_every_value_of_a_list_matches() -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    let scene = Scene::start()?;
    let daemon = scene.daemon()?;
    let rule =
        format!("allow tcp {ECHO}, 9, {OTHER} to container:one, 192.0.2.0/24, container:two");
    let ingress =
        format!("allow tcp {OTHER}-{},{ECHO} from container:one,container:two", OTHER + 1);
    let clients: [(&str, &[Label<'_>]); 1] = [("client", &[("tc.egress", &rule)])];
    let _echo = arena(&scene, &daemon, &["one", "two", "three"], &clients)?;
    check(
        &scene,
        "client",
        &[
            ("one", ECHO, BOTH),
            ("one", OTHER, BOTH),
            ("two", ECHO, BOTH),
            ("two", OTHER, BOTH),
            ("three", ECHO, NEITHER),
        ],
    )?;
    scene.run("server", &[("tc.ingress", &ingress)])?;
    wait_state(&daemon, "server", State::Enforced)?;
    let at = scene.engine().from_container("server")?;
    let _servers = [at.echo_server(ECHO)?, at.echo_server(OTHER)?];
    for client in ["one", "two"] {
        check(&scene, client, &[("server", ECHO, BOTH), ("server", OTHER, BOTH)])?;
    }
    check(&scene, "three", &[("server", ECHO, NEITHER), ("server", OTHER, NEITHER)])?;
    scene.end(daemon)
}

/// Names are whole ones: neither the beginning nor the end of one is another's.
#[test]
fn t12_a_name_is_not_a_part_of_another() -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    let scene = Scene::start()?;
    let daemon = scene.daemon()?;
    let servers = ["db", "db2", "mydb", "my.db", "db.evil"];
    let rules: [Label<'_>; 1] = [("tc.egress", "allow tcp to container:db")];
    let _echo = arena(&scene, &daemon, &servers, &[("client", &rules)])?;
    let tries = servers.map(|name| (name, ECHO, if name == "db" { BOTH } else { NEITHER }));
    check(&scene, "client", &tries)?;
    scene.end(daemon)
}

/// Rules are one interface's: neither another container's nor another network's.
#[test]
fn t14_rules_are_one_interface_s_own() -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    let scene = Scene::start()?;
    let daemon = scene.daemon()?;
    let to_one: [Label<'_>; 1] = [("tc.egress", "allow tcp to container:one")];
    let to_two: [Label<'_>; 1] = [("tc.egress", "allow tcp to container:two")];
    let clients: [(&str, &[Label<'_>]); 2] = [("first", &to_one), ("second", &to_two)];
    let _echo = arena(&scene, &daemon, &["one", "two"], &clients)?;
    check(&scene, "first", &[("one", ECHO, BOTH), ("two", ECHO, NEITHER)])?;
    check(&scene, "second", &[("one", ECHO, NEITHER), ("two", ECHO, BOTH)])?;
    // What one was allowed is not allowed to another who says that they are the same: an answer to a
    // connection of `first` is none to one of `second`.
    scene.run("plain", &[])?;
    check(&scene, "plain", &[("one", ECHO, BOTH), ("two", ECHO, BOTH)])?;
    // Another who has the same address later has nothing of it.
    scene.engine().docker(["rm", "--force", "first"])?;
    scene.run("third", &to_two)?;
    wait_state(&daemon, "third", State::Enforced)?;
    check(&scene, "third", &[("one", ECHO, NEITHER), ("two", ECHO, BOTH)])?;
    scene.end(daemon)
}

#[test]
fn t15_port_and_target_have_to_match_both() -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    let scene = Scene::start()?;
    let daemon = scene.daemon()?;
    let rule = format!("allow tcp {ECHO} to container:one");
    let rules: [Label<'_>; 1] = [("tc.egress", &rule)];
    let _echo = arena(&scene, &daemon, &["one", "two"], &[("client", &rules)])?;
    let tries = [("one", ECHO, BOTH), ("one", OTHER, NEITHER), ("two", ECHO, NEITHER)];
    check(&scene, "client", &tries)?;
    scene.end(daemon)
}

/// CVE-2023-27595 of Cilium: filters were taken off while the agent started again.
#[test]
fn cve_2023_27595_nothing_passes_while_the_daemon_starts_again() -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    let scene = Scene::start()?;
    let mut daemon = scene.daemon()?;
    scene.run("web", &[("tc.egress", "allow tcp")])?;
    wait_state(&daemon, "web", State::Enforced)?;
    let before = arrived(scene.machine())?;
    let _flood = flood(&scene, "web")?;
    wait_for(DEADLINE, "the flood", || {
        ensure!(dropped(&daemon)? > 1000, "it has not begun");
        Ok(())
    })?;
    for round in 0..6 {
        if round % 2 == 0 {
            daemon.stop()?;
        } else {
            daemon.kill()?;
        }
        daemon = scene.daemon()?;
        wait_state(&daemon, "web", State::Enforced)?;
        // Its programs are in place, and count.
        let so_far = dropped(&daemon)?;
        wait_for(DEADLINE, "the flood to go on", || {
            ensure!(dropped(&daemon)? > so_far, "it has stopped");
            Ok(())
        })?;
        let passed = arrived(scene.machine())? - before;
        ensure!(passed == 0, "round {round}: {passed} frames passed");
    }
    scene.end(daemon)?;
    wait_for(DEADLINE, "frames that pass", || {
        ensure!(arrived(scene.machine())? > before, "none came: nothing was measured");
        Ok(())
    })
}

/// CVE-2023-39347 of Cilium (GHSA-pfhr-pccp-hwmh): crafted labels chose another policy.
#[test]
fn cve_2023_39347_crafted_labels_choose_no_other_policy() -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    let scene = Scene::start()?;
    let configuration = Configuration::new(
        scene.machine(),
        "[default]\n\"tc.egress\" = \"allow tcp 7777\"\n\"tc.ingress\" = \"allow\"\n",
    )?;
    configuration.policy("open", "pass")?;
    let daemon = configured(&scene, &configuration)?;
    let _echo = arena(&scene, &daemon, &["one"], &[])?;
    // Looser ones, in every place that a label can be of: the default policy holds.
    for (name, labels) in [
        ("looser", &[("tc.egress", "allow"), ("tc.ingress", "allow")][..]),
        ("named", &[("tc.policy", "open"), ("tc.egress", "allow")]),
        ("audited", &[("tc.audit", "true"), ("tc.egress", "deny")]),
        ("others", &[("io.cilium.policy", "allow"), ("com.example.tc.egress", "allow")]),
    ] {
        scene.run(name, labels)?;
        wait_state(&daemon, name, State::Enforced)?;
        check(&scene, name, &[("one", ECHO, BOTH), ("one", OTHER, NEITHER)])?;
    }
    // What looks like ours and is not closes.
    for (name, key) in [
        ("case", "TC.egress"),
        ("invisible", "tc.egress\u{200b}"),
        ("script", "t\u{441}.egress"),
        ("width", "\u{ff54}\u{ff43}.egress"),
        ("unknown", "tc.default"),
        ("nested", "tc.egress.default"),
    ] {
        scene.run(name, &[(key, "allow")])?;
        wait_state(&daemon, name, State::Closed)?;
        check(&scene, name, &[("one", ECHO, NEITHER)])?;
    }
    scene.end(daemon)
}

/// GO-2024-3208 of Cilium: a narrow rule within a wide one that denies took its place.
#[test]
fn go_2024_3208_a_narrow_rule_is_not_stronger_than_the_one_before() -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    let scene = Scene::start()?;
    let daemon = scene.daemon()?;
    let _echo = arena(&scene, &daemon, &["one", "two"], &[])?;
    let narrow = format!("allow tcp {ECHO} to container:one");
    for (name, rules, reached) in [
        ("wide-first", format!("deny to lan\n{narrow}\nallow"), NEITHER),
        ("narrow-first", format!("{narrow}\ndeny to lan\nallow"), BOTH),
        ("wider", format!("deny to 0.0.0.0/0, ::/0\n{narrow}"), NEITHER),
    ] {
        scene.run(name, &[("tc.egress", &rules)])?;
        wait_state(&daemon, name, State::Enforced)?;
        let others = [("one", OTHER, NEITHER), ("two", ECHO, NEITHER)];
        check(&scene, name, &[&[("one", ECHO, reached)][..], &others].concat())?;
    }
    // Of two lists, the one that denies: no order makes the other stronger.
    let configuration =
        Configuration::new(scene.machine(), "[default]\n\"tc.egress\" = \"deny to lan; allow\"\n")?;
    daemon.stop()?;
    let daemon = configured(&scene, &configuration)?;
    wait_state(&daemon, "narrow-first", State::Enforced)?;
    check(&scene, "narrow-first", &[("one", ECHO, NEITHER)])?;
    configuration.write("")?;
    reloaded(&daemon)?;
    check(&scene, "narrow-first", &[("one", ECHO, BOTH)])?;
    scene.end(daemon)
}

/// Connections that nobody answers, more than the table of an interface holds, from one who may
/// begin them: those that are answered stay.
#[test]
fn connections_that_nobody_answers_push_out_none_that_was() -> Result<()> {
    const MANY: u16 = 20_000;
    if !privilege::have_root()? {
        return Ok(());
    }
    let scene = Scene::start()?;
    let daemon = scene.daemon()?;
    scene.run("attacker", &[])?;
    scene.run("friend", &[])?;
    let ingress = format!("allow tcp {ECHO}; allow udp 9");
    scene.run("server", &[("tc.ingress", &ingress), ("tc.egress", "deny")])?;
    wait_state(&daemon, "server", State::Enforced)?;
    let _echo = scene.engine().from_container("server")?.echo_server(ECHO)?;
    let addresses = scene.addresses("server")?;
    let talks: Vec<Talk> = addresses
        .into_iter()
        .map(|to| Talk::begin(&scene, "friend", SocketAddr::new(to, ECHO)))
        .collect::<Result<_>>()?;
    let attacker = scene.engine().from_container("attacker")?;
    for to in addresses {
        let sent = attacker.scatter(SocketAddr::new(to, 9), MANY)?.sent;
        ensure!(sent > u64::from(MANY) / 2, "too few to fill a table of 8,192: {sent}");
        for talk in &talks {
            talk.goes_on()?;
        }
    }
    let server = container(&daemon, "server")?;
    let passed: u64 = only_interface(&server)?
        .hooks
        .iter()
        .filter(|hook| hook.direction == "ingress")
        .map(|hook| hook.traffic.passed.packets)
        .sum();
    ensure!(passed > 8192 * 2, "they came in: {passed}");
    // And there is room for new ones: a half-open one goes for each.
    let friend = scene.engine().from_container("friend")?;
    for to in addresses {
        let reply = friend.tcp(SocketAddr::new(to, ECHO))?;
        ensure!(reply == Reply::Echoed, "a new connection to {to}: {reply:?}");
    }
    drop(talks);
    scene.end(daemon)
}

/// CVE-2022-29178 and 29179 of Cilium: who could write to the agent's socket became root.
#[test]
fn cve_2022_29178_the_control_socket_is_root_s_alone() -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    let scene = Scene::start()?;
    let configuration = Configuration::new(scene.machine(), "")?;
    let daemon = configured(&scene, &configuration)?;
    scene.run_with("web", &[], &["--network", LAN])?;
    let machine = scene.machine();
    for (path, expected) in
        [("/run/ebpf-netns", "root root 700"), ("/run/ebpf-netns/control.sock", "root root 600")]
    {
        let found = machine.run("stat", ["--format", "%U %G %a", path])?;
        ensure!(found == expected, "{path}: {found}, expected {expected}");
    }
    // Nor is it enough to be in a group, or to be root without any capability over files.
    let plugin = daemon.plugin()?.get_args().last().map(ToOwned::to_owned).unwrap_or_default();
    for who in [
        &["--reuid=65534", "--regid=0", "--groups=0"][..],
        &["--reuid=65534", "--regid=65534", "--clear-groups"],
    ] {
        for verb in ["status", "reload"] {
            let mut command = machine.command("setpriv");
            command.args(who).arg(&plugin).arg(verb);
            let output = ebpf_netns_tests::command::output_of(&mut command)?;
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            ensure!(output.status.code() == Some(77), "{who:?} {verb}: {output:?}");
            ensure!(said.contains("root"), "it says whom to ask: {said}");
        }
    }
    scene.end(daemon)
}
