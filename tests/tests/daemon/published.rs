//! Published ports: by which address a client is judged that comes by them.

use std::net::SocketAddr;

use anyhow::{Result, ensure};
use ebpf_netns_plugin::status::State;
use ebpf_netns_tests::{
    outside::{CLIENT, HOST, Outside},
    privilege,
    traffic::Http,
};

use crate::scene::{LAN, Scene, at_once, wait_state};

/// Docker translates addresses for clients of IPv4, who keep their own. Its proxy, by which those of
/// IPv6 come and those on the host, is on the host, and so has the host's.
#[test]
fn who_comes_by_a_published_port_has_their_own_address_or_the_host_s() -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    let scene = Scene::start()?;
    let outside = Outside::new(scene.machine())?;
    let daemon = scene.daemon()?;
    let [client, _] = CLIENT;
    let rules = [
        ("anyone", 8001, "allow tcp 80".to_owned(), [true; 3]),
        ("theirs", 8002, format!("allow tcp 80 from {client}"), [true, false, false]),
        ("the-host", 8003, "allow tcp 80 from host".to_owned(), [false, true, true]),
        ("not-80", 8004, "allow tcp 81".to_owned(), [false; 3]),
        ("not-them", 8005, format!("deny from {client},host; allow"), [false; 3]),
    ];
    for (name, port, ingress, _) in &rules {
        let publish = format!("--publish={port}:80");
        scene.run_with(name, &[("tc.ingress", ingress)], &["--network", LAN, &publish])?;
        wait_state(&daemon, name, State::Enforced)?;
        scene.wait_listening(name)?;
    }
    let host = scene.engine().from_host();
    let clients = [
        ("translated", outside.vantage(), HOST[0]),
        ("proxied", outside.vantage(), HOST[1]),
        ("on the host", &host, [127, 0, 0, 1].into()),
    ];
    let tries = rules.iter().flat_map(|(name, port, ingress, expected)| {
        clients.iter().zip(expected).map(move |((way, from, to), expected)| {
            move || {
                let answer = from.http_at(SocketAddr::new(*to, *port))?;
                let wrong = format!("{name} ({ingress}), {way}: {answer:?}");
                // The proxy takes the connection before it has one itself.
                Ok(((answer == Http::Answered(200)) != *expected).then_some(wrong))
            }
        })
    });
    let wrong: Vec<String> = at_once(tries)?.into_iter().flatten().collect();
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    scene.end(daemon)
}
