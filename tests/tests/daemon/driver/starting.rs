//! No frame before the policy, on networks of the driver: at starts, and when a running container is
//! connected.

use anyhow::Result;
use ebpf_netns_tests::{
    DaemonOptions, Engine,
    chaos::{Arena, Policy, arena},
    privilege,
};

/// How many containers are started, and how often one is connected.
const STARTS: usize = 10;
const CONNECTS: usize = 10;

#[test]
fn no_frame_leaves_before_the_policy_at_starts_and_connects() -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    let engine = Engine::start_with(arena::engine_options(&[]))?;
    let mut arena = Arena::new(&engine)?;
    let arguments = vec!["--driver".to_owned()];
    arena.options = DaemonOptions { arguments, ..DaemonOptions::default() };
    arena.start_daemon()?;
    let option = "tc.egress=allow icmp";
    engine.docker(["network", "create", "-d", "ebpf-netns", "plain"])?;
    engine.docker(["network", "create", "-d", "ebpf-netns", "-o", option, "optioned"])?;
    let policies = [Policy::XdpDropUdp, Policy::TcDropUdp];
    for number in 0..STARTS {
        // What the network's option forbids is what these labels do, and more.
        let network = ["plain", "optioned"][number % 2];
        let name = format!("start-{number}");
        let policy = policies[number / 2 % 2];
        let sender = arena.run_on(&name, policy, &["--network", network])?;
        if network == "plain" {
            arena.wait_received(sender.id, 1)?;
        }
        arena.tight(&format!("at start {number} on {network}"))?;
        arena.remove(&[&name])?;
    }
    arena.run("plugged", Policy::TcDropUdp)?;
    for number in 0..CONNECTS {
        engine.docker(["network", "connect", "plain", "plugged"])?;
        arena.tight(&format!("at connect {number}"))?;
        engine.docker(["network", "disconnect", "plain", "plugged"])?;
    }
    arena.tight("at the end")
}
