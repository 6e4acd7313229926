//! Rules on the real engine: what they allow works, what they do not does not, and both follow names.

use std::net::IpAddr;

use anyhow::{Context as _, Result, ensure};
use ebpf_netns_plugin::status::State;
use ebpf_netns_tests::{DEADLINE, privilege, wait_for};

use crate::scene::{LAN, Scene, container, http_works, ping_works, wait_state};

/// What a client reaches of a server: HTTP and ping, over IPv4 and IPv6.
fn reached(scene: &Scene, client: &str, server: &str) -> Result<[(bool, bool); 2]> {
    let from = scene.engine().from_container(client)?;
    let [v4, v6] = scene.addresses(server)?;
    let one = |address: IpAddr| -> Result<(bool, bool)> {
        Ok((http_works(&from, address)?, ping_works(&from, address)?))
    };
    Ok([one(v4)?, one(v6)?])
}

const NOTHING: [(bool, bool); 2] = [(false, false); 2];
const HTTP_ALONE: [(bool, bool); 2] = [(true, false); 2];
const PING_ALONE: [(bool, bool); 2] = [(false, true); 2];
const EVERYTHING: [(bool, bool); 2] = [(true, true); 2];

#[test]
fn a_container_reaches_and_is_reached_by_what_its_rules_allow() -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    let scene = Scene::start()?;
    let daemon = scene.daemon()?;
    scene.run("db", &[])?;
    scene.run("other", &[])?;
    scene.run("picky", &[("tc.egress", "allow tcp 80 to container:db")])?;
    scene.run("pinger", &[("tc.egress", "deny tcp\nallow icmp echo-request")])?;
    scene.run("server", &[("tc.ingress", "allow tcp 80 from container:db; deny log any")])?;
    scene.run("open", &[("tc.egress", "allow any"), ("tc.ingress", "allow any")])?;
    for name in ["picky", "pinger", "server", "open"] {
        wait_state(&daemon, name, State::Enforced)?;
    }
    for name in ["db", "other", "server", "open"] {
        scene.wait_listening(name)?;
    }
    for (client, server, expected) in [
        ("picky", "db", HTTP_ALONE),
        ("picky", "other", NOTHING),
        ("pinger", "db", PING_ALONE),
        ("db", "server", HTTP_ALONE),
        ("other", "server", NOTHING),
        ("other", "open", EVERYTHING),
        ("open", "db", EVERYTHING),
        // What is not said of is open.
        ("db", "picky", EVERYTHING),
        ("other", "db", EVERYTHING),
    ] {
        let found = reached(&scene, client, server)?;
        ensure!(found == expected, "{client} to {server}: {found:?}, expected {expected:?}");
    }
    scene.end(daemon)
}

#[test]
fn names_are_followed_and_a_name_that_is_not_there_yet_matches_nobody() -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    let scene = Scene::start()?;
    let daemon = scene.daemon()?;
    scene.run("client", &[("tc.egress", "allow tcp 80 to container:late")])?;
    wait_state(&daemon, "client", State::Enforced)?;
    let notes = container(&daemon, "client")?;
    let waits = notes
        .interfaces
        .iter()
        .flat_map(|one| &one.notes)
        .any(|note| note.contains("container:late"));
    ensure!(waits, "it is told whom it waits for: {notes:?}");
    for round in ["new", "again, with another address"] {
        scene.run("late", &[])?;
        scene.wait_listening("late")?;
        wait_for(DEADLINE, "the name to be followed", || {
            let found = reached(&scene, "client", "late")?;
            ensure!(found == HTTP_ALONE, "{round}: {found:?}");
            Ok(())
        })
        .context(round)?;
        scene.engine().docker(["rm", "--force", "late"])?;
        // Takes the address that was free.
        scene.run(&format!("placeholder-{}", round.len()), &[])?;
    }
    scene.engine().docker(["network", "inspect", LAN])?;
    scene.end(daemon)
}
