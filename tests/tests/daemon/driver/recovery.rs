//! Networks of the driver outlive the daemon and Docker, with their policies, and `clean` takes all of
//! them away.

use anyhow::{Result, ensure};
use ebpf_netns_plugin::status::State;
use ebpf_netns_tests::{
    DEADLINE,
    outside::{HOST, Outside},
    privilege, wait_for,
};

use super::{addresses, check_answers, check_named, driver, network, scene, shell};
use crate::scene::{check_ping, wait_state};

#[test]
fn networks_go_on_when_the_daemon_or_docker_is_killed() -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    let scene = scene()?;
    let outside = Outside::new(scene.machine())?;
    let daemon = driver(&scene)?;
    network(&scene, "n1", 1, &["-o", "tc.ingress=allow tcp 80"])?;
    let web = ["--network", "n1", "--publish", "8080:80", "--restart", "always"];
    scene.run_with("web", &[], &web)?;
    let (engine, host) = (scene.engine(), scene.engine().from_host());
    let check = |when: &str| -> Result<()> {
        check_answers(&host, &HOST, 8080, when)?;
        check_answers(outside.vantage(), &HOST, 8080, when)?;
        check_ping(&host, &addresses(&scene, "web", "n1")?, false, when)
    };
    check("at first")?;

    daemon.kill()?;
    check("while no daemon runs")?;
    let daemon = driver(&scene)?;
    check("with the next daemon")?;
    wait_state(&daemon, "web", State::Enforced)?;
    shell(&scene, "client", &["--network", "n1"])?;
    check_named(&scene, "client", "web", &addresses(&scene, "web", "n1")?)?;

    engine.kill()?;
    engine.restart()?;
    wait_for(DEADLINE, "the container to run again", || {
        ensure!(engine.pid("web")? > 0);
        Ok(())
    })?;
    check("after Docker was killed")?;
    wait_state(&daemon, "web", State::Enforced)?;
    engine.restart()?;
    check("after Docker was restarted")?;
    engine.docker(["start", "client"])?;
    check_named(&scene, "client", "web", &addresses(&scene, "web", "n1")?)?;

    daemon.stop()?;
    let removed = scene.clean()?;
    assert!(removed.contains("nftables table inet ebpf-netns-network"), "{removed}");
    let links = scene.machine().run("ip", ["-o", "link", "show"])?;
    assert!(!links.contains("ebn-") && !links.contains("ebv-"), "nothing is left: {links}");
    let rules = scene.machine().run("nft", ["list", "ruleset"])?;
    assert!(!rules.contains("ebpf-netns"), "nothing is left: {rules}");
    Ok(())
}
