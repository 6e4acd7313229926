//! The limits of the rule language, on the real engine: over them a container is closed, whole, and is
//! told why; at them, every rule counts.

use std::net::SocketAddr;

use anyhow::{Result, ensure};
use ebpf_netns_plugin::status::State;
use ebpf_netns_tests::{Configuration, privilege, traffic::Reply};

use crate::{
    config::{configured, reloaded},
    scene::{ECHO, LAN, Reach, Scene, container, wait_state},
};

/// So many rules for addresses that nobody has, one a line.
fn rules(count: usize) -> String {
    let lines = (0..count).map(|number| format!("deny to 192.0.2.{}", number % 250));
    lines.collect::<Vec<_>>().join("\n")
}

/// A rule of so many ports for so many addresses, with nothing to merge.
fn entries(ports: usize, addresses: usize) -> String {
    format!("deny tcp {}", matrix(ports, "to", addresses))
}

fn matrix(ports: usize, preposition: &str, addresses: usize) -> String {
    let ports: Vec<_> = (0..ports).map(|number| (1001 + 2 * number).to_string()).collect();
    let addresses: Vec<_> =
        (0..addresses).map(|number| format!("192.0.2.{}", 2 * number)).collect();
    format!("{} {preposition} {}", ports.join(","), addresses.join(","))
}

#[test]
fn what_is_over_a_limit_is_closed_whole_and_says_which() -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    let scene = Scene::start()?;
    let daemon = scene.daemon()?;
    let long = format!("allow tcp to {}", vec!["192.0.2.1"; 60].join(","));
    let huge = format!("allow\n{}", rules(220));
    let many = "deny\n".repeat(257);
    let sent = format!("{}\nallow", entries(50, 20));
    let received = format!("deny tcp {}\nallow", matrix(50, "from", 20));
    for (name, labels, words) in [
        ("rules", vec![("tc.egress", &many)], &["more than 256 rules"][..]),
        ("line", vec![("tc.ingress", &long)], &["line 1, column 1", "longer than 512 bytes"]),
        ("value", vec![("tc.egress", &huge)], &["longer than 4096 bytes"]),
        ("entries", vec![("tc.egress", &sent), ("tc.ingress", &received)], &["2002", "1024"]),
    ] {
        let labels: Vec<_> = labels.iter().map(|(key, value)| (*key, value.as_str())).collect();
        scene.run(name, &labels)?;
        let closed = wait_state(&daemon, name, State::Closed)?;
        let of_interfaces = closed.interfaces.iter().filter_map(|one| one.reason.clone());
        let reasons: Vec<String> = closed.reason.into_iter().chain(of_interfaces).collect();
        for word in words {
            ensure!(reasons.iter().any(|one| one.contains(word)), "{name}: {word} in {reasons:?}");
        }
        scene.wait_listening(name)?;
        let _echo = scene.engine().from_container(name)?.echo_server(ECHO)?;
        ensure!(scene.reach_from_host(name)? == Reach::NOTHING, "{name} is open");
    }
    scene.end(daemon)
}

#[test]
fn at_the_limits_the_first_and_the_last_rule_count() -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    let scene = Scene::start()?;
    let daemon = scene.daemon()?;
    scene.run("server", &[])?;
    let _echo = scene.engine().from_container("server")?.echo_server(ECHO)?;
    let last = format!("{}\nallow tcp {ECHO}", "deny udp\n".repeat(255));
    let first = format!("allow tcp {ECHO}\n{}", "deny tcp\n".repeat(255));
    let widest = format!("{}\n{}\nallow tcp {ECHO}", entries(64, 12), entries(51, 5));
    for (name, rules) in [("last", last), ("first", first), ("widest", widest)] {
        scene.run(name, &[("tc.egress", &rules)])?;
        wait_state(&daemon, name, State::Enforced)?;
        let from = scene.engine().from_container(name)?;
        for to in scene.addresses("server")? {
            let reply = from.tcp(SocketAddr::new(to, ECHO))?;
            ensure!(reply == Reply::Echoed, "{name} to {to}: {reply:?}");
            let other = from.tcp(SocketAddr::new(to, 80))?;
            ensure!(other == Reply::TimedOut, "{name} to port 80 of {to}: {other:?}");
        }
    }
    scene.end(daemon)
}

/// The limit is of all who have rules for the interface: a list of the operator's, the labels', and
/// those of who shares it.
#[test]
fn the_limit_is_of_all_lists_together() -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    let scene = Scene::start()?;
    let default =
        |count: usize| format!("[default]\n\"tc.egress\" = \"\"\"\n{}\n\"\"\"\n", rules(count));
    let configuration = Configuration::new(scene.machine(), "")?;
    let daemon = configured(&scene, &configuration)?;
    scene.run("web", &[("tc.egress", &rules(150)), ("tc.ingress", "allow")])?;
    wait_state(&daemon, "web", State::Enforced)?;
    // 105 and 150 and one are 256.
    configuration.write(&default(105))?;
    reloaded(&daemon)?;
    wait_state(&daemon, "web", State::Enforced)?;
    configuration.write(&default(106))?;
    reloaded(&daemon)?;
    let closed = wait_state(&daemon, "web", State::Closed)?;
    let told = format!("{closed:?}");
    ensure!(told.contains("257") && told.contains("256"), "{told}");
    // Who joins brings its own.
    configuration.write("")?;
    reloaded(&daemon)?;
    wait_state(&daemon, "web", State::Enforced)?;
    let joined = ["--network", "container:web"];
    let command = ["/httpd", "-f", "-p", "81"];
    scene.run_command("joiner", &[("tc.egress", &rules(106))], &joined, &command)?;
    wait_state(&daemon, "web", State::Closed)?;
    scene.engine().docker(["rm", "--force", "joiner"])?;
    wait_state(&daemon, "web", State::Enforced)?;
    ensure!(container(&daemon, "web")?.interfaces.len() == 1, "on {LAN} alone");
    scene.end(daemon)
}
