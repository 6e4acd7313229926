//! The steps of the demonstration, in the order in which they make sense to a newcomer.

mod probes;

use anyhow::{Context as _, Result};
use ebpf_netns_tests::{DEADLINE, Daemon, DaemonOptions, Engine, wait_until};

use self::probes::Expected;
use super::scene::{Scene, shown_stdout};
use crate::ui;

/// Tells the story; what differs is noted in the scene.
pub(super) fn tell(scene: &mut Scene<'_>) -> Result<()> {
    ui::heading("Two containers of nginx, one with a label; nobody acts on it yet");
    let plain = scene.start("plain", &[])?;
    let web = scene.start("web", &["xdp.policy=drop-tcp"])?;
    probes::http(scene, &plain, Expected::Answer)?;
    probes::http(scene, &web, Expected::Answer)?;
    probes::ping(scene, &web, Expected::Answer)?;

    inside(scene, &web)?;

    ui::heading("The daemon: it finds the container that runs and does what its label says");
    ui::typed("ebpf-netns-plugin run &");
    let daemon = start_daemon(scene.engine())?;
    daemon.wait_state(&web, "enforced")?;
    probes::http(scene, &web, Expected::Silence)?;
    probes::ping(scene, &web, Expected::Answer)?;
    ui::line("The container without a label loses nothing:");
    probes::http(scene, &plain, Expected::Answer)?;

    attached(scene, &web)?;
    other_hook(scene, &daemon)?;
    gone(scene, &daemon, &web)?;
    daemon.stop()
}

fn start_daemon(engine: &Engine) -> Result<Daemon<'_>> {
    let docker_host = engine.docker_host().to_owned();
    let options = DaemonOptions { docker_host, ..DaemonOptions::default() };
    Daemon::start_with(engine.machine(), &options)
}

/// What there is to see of a policy: the daemon's view, and the kernel's.
fn attached(scene: &mut Scene<'_>, web: &str) -> Result<()> {
    ui::heading("What is attached, and where");
    let engine = scene.engine();
    let status = shown_stdout(engine.netns()?.arg("status"))?;
    scene.expect("the status names the container", status.contains(web));
    scene.expect("the status names the policy", status.contains("drop-tcp"));

    let veth = host_veth(engine, web)?;
    let mut ip = engine.machine().command("ip");
    let link = shown_stdout(ip.args(["-details", "link", "show", &veth]))?;
    scene.expect(&format!("{veth} has an XDP program"), link.contains("prog/xdp"));
    Ok(())
}

/// The host's end of the pair whose other end is the container's eth0, found another way.
fn host_veth(engine: &Engine, container: &str) -> Result<String> {
    let iflink = engine.docker(["exec", container, "cat", "/sys/class/net/eth0/iflink"])?;
    let links = engine.machine().run("ip", ["-oneline", "link", "show", "type", "veth"])?;
    let line = links
        .lines()
        .find_map(|line| line.strip_prefix(&format!("{iflink}: ")))
        .with_context(|| format!("no link {iflink} on the host"))?;
    Ok(line.split(['@', ':']).next().unwrap_or(line).to_owned())
}

/// A container's network namespace for `ip netns`, and the other end of its veth pair.
fn inside(scene: &mut Scene<'_>, web: &str) -> Result<()> {
    ui::heading("Inside a container's network, with the host's own tools");
    let engine = scene.engine();
    let (machine, name) = (engine.machine(), format!("docker-{web}"));
    shown_stdout(engine.netns()?.args(["link", web]))?;
    let list = shown_stdout(machine.command("ip").args(["netns", "list"]))?;
    scene.expect("ip netns list shows the container", list.contains(&name));
    let exec = ["netns", "exec", &name, "ip", "addr"];
    let addresses = shown_stdout(machine.command("ip").args(exec))?;
    let own = engine.addresses(web)?.v4()?.to_string();
    scene.expect("ip netns exec shows its address", addresses.contains(&own));

    let peer = shown_stdout(engine.netns()?.args(["peer", web]))?;
    let veth = host_veth(engine, web)?;
    scene.expect(&format!("{veth} is the host's end of its veth pair"), peer.contains(&veth));
    Ok(())
}

/// The same on the other hook, for a container that starts while the daemon runs.
fn other_hook(scene: &mut Scene<'_>, daemon: &Daemon<'_>) -> Result<()> {
    ui::heading("Another hook and another policy: TC sees both directions");
    let quiet = scene.start("quiet", &["tc.policy=drop-icmp"])?;
    daemon.wait_state(&quiet, "enforced")?;
    probes::ping(scene, &quiet, Expected::Silence)?;
    probes::http(scene, &quiet, Expected::Answer)
}

/// A container that is removed leaves nothing.
fn gone(scene: &mut Scene<'_>, daemon: &Daemon<'_>, web: &str) -> Result<()> {
    ui::heading("A container that is gone leaves nothing behind");
    scene.remove(web)?;
    let engine = scene.engine();
    let (machine, name) = (engine.machine(), format!("docker-{web}"));
    let listed = || machine.run("ip", ["netns", "list"]);
    wait_until(DEADLINE, "the daemon to sweep the link", || {
        listed().is_ok_and(|list| !list.contains(&name))
    })
    .ok();
    let list = shown_stdout(machine.command("ip").args(["netns", "list"]))?;
    scene.expect("ip netns list no longer shows it", !list.contains(&name));
    wait_until(DEADLINE, "the daemon to forget the container", || {
        daemon.status().is_ok_and(|status| !status.to_string().contains(web))
    })
    .ok();
    let status = shown_stdout(engine.netns()?.arg("status"))?;
    scene.expect("the status no longer shows it", !status.contains(web));
    Ok(())
}
