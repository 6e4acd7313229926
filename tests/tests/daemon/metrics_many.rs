//! Metrics of many containers: Prometheus takes them, and there is an end to the series.

use anyhow::{Result, ensure};
use ebpf_netns_plugin::{metrics::MOST_CONTAINERS, status::State};
use ebpf_netns_tests::{
    DEADLINE, privilege,
    proxy::{Deal, Proxy},
    wait_for,
};

use crate::{
    exposition::{Exposition, check_metrics, text},
    scene::{Scene, at_once, wait_state},
    unreliable::{daemon_behind, list_with},
};

#[test]
fn promtool_takes_the_metrics_of_fifty_containers() -> Result<()> {
    const COUNT: usize = 50;
    if !privilege::have_root()? {
        return Ok(());
    }
    let scene = Scene::start()?;
    let daemon = scene.daemon()?;
    let names: Vec<String> = (0..COUNT).map(|number| format!("c{number}")).collect();
    for some in names.chunks(10) {
        at_once(some.iter().map(|name| || scene.run(name, &[("tc.policy", "drop-icmp")])))?;
    }
    let metrics = wait_for(DEADLINE, "all of them to be enforced", || {
        let metrics = Exposition::of(&daemon)?;
        let enforced = metrics.get("ebpf_netns_containers{state=\"enforced\"}")?;
        ensure!(enforced.to_string() == COUNT.to_string(), "{enforced}");
        Ok(metrics)
    })?;
    let series = metrics.beginning("ebpf_netns_passed_packets_total{").count();
    ensure!(series == 2 * COUNT, "{series} series for {COUNT} containers");
    check_metrics(&text(&daemon)?)?;
    // What is wrong is found.
    ensure!(
        check_metrics("# TYPE a counter\na 1\n").is_err(),
        "a counter without its unit and help"
    );
    scene.end(daemon)
}

#[test]
fn beyond_the_limit_containers_are_counted() -> Result<()> {
    const COUNT: usize = 1_000;
    if !privilege::have_root()? {
        return Ok(());
    }
    let scene = Scene::start()?;
    let proxy = Proxy::start(scene.engine())?;
    let daemon = daemon_behind(&scene, &proxy)?;
    scene.run("web", &[("tc.policy", "drop-icmp")])?;
    wait_state(&daemon, "web", State::Enforced)?;
    let list = list_with(&scene, COUNT)?;
    proxy.deal("/containers/json", Deal::answer("200 OK", "application/json", &list));
    scene.engine().docker(["create", "--name", "hint", "noshell"])?;
    let metrics = wait_for(DEADLINE, "all of them to be counted", || {
        let metrics = Exposition::of(&daemon)?;
        let idle = metrics.get("ebpf_netns_containers{state=\"idle\"}")?;
        ensure!(idle.to_string() == COUNT.to_string(), "{idle}");
        Ok(metrics)
    })?;
    // Its name comes after theirs.
    for (series, expected) in [
        ("ebpf_netns_omitted_containers", COUNT + 1 - MOST_CONTAINERS),
        ("ebpf_netns_omitted_interfaces", 1),
        ("ebpf_netns_containers{state=\"enforced\"}", 1),
    ] {
        let found = metrics.get(series)?;
        ensure!(found.to_string() == expected.to_string(), "{series}: {found}, not {expected}");
    }
    ensure!(metrics.beginning("ebpf_netns_passed_packets_total").count() == 0, "{metrics:?}");
    let took = metrics.get("ebpf_netns_engine_answer_seconds")?;
    println!("the engine answered for {COUNT} containers after {took} s");
    check_metrics(&text(&daemon)?)?;
    daemon.stop()
}
