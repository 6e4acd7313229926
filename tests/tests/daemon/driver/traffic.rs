//! What gets where on networks of the driver: between containers, through published ports, out and
//! not between networks.

use std::net::IpAddr;

use anyhow::Result;
use ebpf_netns_tests::{
    outside::{HOST, Outside, SERVER},
    privilege,
    traffic::Reply,
};

use super::{
    addresses, answers, check_answers, check_named, check_silent, driver, network, scene, shell,
};
use crate::scene::{LAN, check_ping};

const LOCALHOST: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

#[test]
fn a_network_of_the_driver_does_what_dockers_own_bridge_does() -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    let scene = scene()?;
    let outside = Outside::new(scene.machine())?;
    let daemon = driver(&scene)?;
    network(&scene, "n1", 1, &[])?;
    scene.run_with("web", &[], &["--network", "n1", "--publish", "8080:80"])?;
    shell(&scene, "client", &["--network", "n1"])?;
    let (engine, web) = (scene.engine(), addresses(&scene, "web", "n1")?);
    let client = engine.from_container("client")?;

    check_answers(&client, &web, 80, "between containers")?;
    check_named(&scene, "client", "web", &web)?;
    check_answers(outside.vantage(), &HOST, 8080, "from outside, by the published port")?;
    let host = engine.from_host();
    check_answers(&host, &web, 80, "from the host")?;
    check_answers(&host, &HOST, 8080, "from the host, by the published port")?;
    check_answers(&host, &[LOCALHOST], 8080, "from the host, by 127.0.0.1")?;
    for name in ["client", "web"] {
        let from = engine.from_container(name)?;
        check_answers(&from, &HOST, 8080, &format!("back from {name} by the published port"))?;
    }
    check_silent(&client, &[LOCALHOST], 8080, "a container's own 127.0.0.1 is its own")?;
    check_silent(outside.vantage(), &web, 80, "from outside, past the published port")?;

    // Who is out there knows no way to the container's own address.
    for family in ["-4", "-6"] {
        scene.machine().run("ip", ["-n", "outside", family, "route", "delete", "default"])?;
    }
    for server in SERVER {
        let reply = client.tcp((server, 80).into())?;
        assert_eq!(reply, Reply::Echoed, "to {server}, with the host's address");
    }
    engine.docker(["rm", "--force", "web"])?;
    check_silent(&host, &HOST, 8080, "a port goes with its container")?;
    engine.docker(["rm", "--force", "client"])?;
    engine.docker(["network", "rm", "n1"])?;
    let links = scene.machine().run("ip", ["-o", "link", "show"])?;
    assert!(!links.contains("ebn-") && !links.contains("ebv-"), "nothing is left: {links}");
    let rules = scene.machine().run("nft", ["list", "ruleset"])?;
    assert!(!rules.contains("ebpf-netns"), "nothing is left: {rules}");
    scene.end(daemon)
}

#[test]
fn networks_are_kept_apart_from_each_other_and_from_dockers_own() -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    let scene = scene()?;
    let outside = Outside::new(scene.machine())?;
    let daemon = driver(&scene)?;
    network(&scene, "n1", 1, &[])?;
    network(&scene, "n2", 2, &[])?;
    network(&scene, "closed", 3, &["--internal"])?;
    let publish = ["--network", "n2", "--publish", "8082:80"];
    scene.run_with("two", &[], &publish)?;
    scene.run_with("closed", &[], &["--network", "closed"])?;
    scene.run_with("inside", &[], &["--network", "closed"])?;
    scene.run("dockers", &[])?;
    scene.run_with("one", &[], &["--network", "n1"])?;
    let engine = scene.engine();
    let from = |name: &str| engine.from_container(name);
    let on = |name: &str, network: &str| addresses(&scene, name, network);
    check_answers(&from("inside")?, &on("closed", "closed")?, 80, "within an internal network")?;
    check_answers(&from("one")?, &HOST, 8082, "another network, by its published port")?;
    for (name, to) in [
        ("one", on("two", "n2")?),
        ("two", on("one", "n1")?),
        ("one", on("dockers", LAN)?),
        ("dockers", on("one", "n1")?),
        ("one", on("closed", "closed")?),
        ("closed", on("one", "n1")?),
    ] {
        check_silent(&from(name)?, &to, 80, name)?;
    }
    check_ping(&from("one")?, &SERVER, true, "out of a network")?;
    check_silent(&from("closed")?, &SERVER, 80, "out of an internal one")?;
    assert!(answers(outside.vantage(), HOST[0], 8082)?, "what is published is published");
    scene.end(daemon)
}
