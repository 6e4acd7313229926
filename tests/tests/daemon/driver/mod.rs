//! The network driver: `docker network create -d ebpf-netns`, with real packets.

mod ipam;
mod policy;
mod recovery;
mod starting;
mod traffic;

use std::net::{IpAddr, SocketAddr};

use anyhow::{Result, ensure};
use ebpf_netns_tests::{
    DEADLINE, Daemon, EngineOptions,
    images::Image,
    traffic::{Http, Vantage},
    wait_for,
};

use crate::scene::Scene;

/// A scene with a shell in its containers.
fn scene() -> Result<Scene> {
    let images = vec![Image::Noshell, Image::Busybox];
    Scene::with(EngineOptions { images, ..EngineOptions::default() })
}

/// A daemon that is the driver, once Docker can ask it.
fn driver(scene: &Scene) -> Result<Daemon<'_>> {
    let daemon = scene.daemon_with(&["--driver"])?;
    wait_for(DEADLINE, "the driver's socket", || {
        ensure!(daemon.log()?.contains("Docker may ask the network driver"), "not yet");
        Ok(())
    })?;
    Ok(daemon)
}

/// A network of the driver, of IPv4 and IPv6, by a number.
fn network(scene: &Scene, name: &str, number: u8, options: &[&str]) -> Result<()> {
    let subnet = format!("10.44.{number}.0/24");
    let subnet_v6 = format!("fd00:44:{number}::/64");
    let all = ["-d", "ebpf-netns", "--ipv6", "--subnet", &subnet, "--subnet", &subnet_v6];
    scene.network(name, &[&all[..], options].concat())
}

/// A container's addresses on a network.
fn addresses(scene: &Scene, container: &str, network: &str) -> Result<[IpAddr; 2]> {
    scene.engine().addresses_on(container, network)?.both()
}

/// A shell that sleeps, on a network.
fn shell(scene: &Scene, name: &str, options: &[&str]) -> Result<()> {
    let run = [&["run", "--detach", "--name", name], options, &[Image::Busybox.name()]].concat();
    scene.engine().docker(run).map(drop)
}

/// Whether a web server answers there.
fn answers(from: &Vantage<'_>, to: IpAddr, port: u16) -> Result<bool> {
    Ok(from.http_at(SocketAddr::new(to, port))? == Http::Answered(200))
}

/// A web server answers there, or not, within the time that it takes to start.
#[track_caller]
fn check_answers(from: &Vantage<'_>, to: &[IpAddr], port: u16, what: &str) -> Result<()> {
    for to in to {
        wait_for(DEADLINE, what, || {
            ensure!(answers(from, *to, port)?, "{to} port {port} does not answer");
            Ok(())
        })?;
    }
    Ok(())
}

/// Nothing answers there.
#[track_caller]
fn check_silent(from: &Vantage<'_>, to: &[IpAddr], port: u16, what: &str) -> Result<()> {
    for to in to {
        assert!(!answers(from, *to, port)?, "{what}: {to} port {port} answers");
    }
    Ok(())
}

/// What Docker's own DNS tells a container of a name: addresses of both versions.
fn names(scene: &Scene, container: &str, name: &str) -> Result<Vec<IpAddr>> {
    let look_up = ["exec", container, "timeout", "3", "nslookup", name];
    let output = scene.engine().try_docker(look_up)?;
    let said = String::from_utf8_lossy(&output.stdout);
    let answer = said.split_once("answer:").map_or(&*said, |(_, answer)| answer);
    let addresses = answer.lines().filter_map(|line| line.strip_prefix("Address: "));
    Ok(addresses.filter_map(|address| address.parse().ok()).collect())
}

/// Docker's own DNS knows a container by its name, and its web server answers there.
#[track_caller]
fn check_named(scene: &Scene, container: &str, name: &str, expected: &[IpAddr]) -> Result<()> {
    let found = names(scene, container, name)?;
    let known = expected.iter().any(|address| found.contains(address));
    assert!(known, "{container} looks {name} up and finds {found:?}, not one of {expected:?}");
    check_answers(&scene.engine().from_container(container)?, expected, 80, name)
}

/// What `docker` says that fails.
fn refused(scene: &Scene, arguments: &[&str]) -> Result<String> {
    let output = scene.engine().try_docker(arguments)?;
    ensure!(!output.status.success(), "docker {arguments:?} was to fail");
    Ok(String::from_utf8_lossy(&output.stderr).into_owned())
}
