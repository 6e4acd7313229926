//! Metrics: what they say of real packets is what `status` says, and Prometheus takes them.

use std::{fs, path::Path};

use anyhow::{Context as _, Result, ensure};
use ebpf_netns_plugin::status::{ContainerStatus, HookStatus, InterfaceStatus, State};
use ebpf_netns_tests::{
    Configuration, DEADLINE, Daemon, DaemonOptions, privilege,
    proxy::{Deal, Proxy},
    wait_for,
};
use serde_json::{Value, json};

use crate::{
    config::{configured, reload, reloaded},
    exposition::{Exposition, check_file, check_metrics, text},
    scene::{LAN, Scene, check_no_ping, container, http_works, status, wait_state},
    unreliable::daemon_behind,
};

/// A daemon that is given two capabilities and no more.
fn least_privileged(scene: &Scene) -> Result<Daemon<'_>> {
    let wrapper = ["setpriv", "--bounding-set=-all,+bpf,+net_admin"].map(str::to_owned).into();
    Daemon::start_with(scene.machine(), &DaemonOptions { wrapper, ..DaemonOptions::default() })
}

/// The labels of a hook's series.
fn labels(container: &ContainerStatus, interface: &InterfaceStatus, hook: &HookStatus) -> String {
    let id = container.id.get(..12).unwrap_or_default();
    let place = if hook.hook == "xdp" { "xdp" } else { "tc" };
    let (name, interface, direction) = (&container.name, &interface.name, &hook.direction);
    format!(
        "container=\"{name}\",id=\"{id}\",interface=\"{interface}\",direction=\"{direction}\",\
         hook=\"{place}\""
    )
}

/// What metrics say of a hook is what `status` says.
fn agree(metrics: &Exposition, labels: &str, hook: &HookStatus) -> Result<()> {
    let traffic = &hook.traffic;
    let dropped_bytes: u64 = traffic.dropped.values().map(|count| count.bytes).sum();
    let mut expected = vec![
        (format!("ebpf_netns_passed_packets_total{{{labels}}}"), traffic.passed.packets),
        (format!("ebpf_netns_passed_bytes_total{{{labels}}}"), traffic.passed.bytes),
        (format!("ebpf_netns_dropped_packets_total{{{labels}}}"), traffic.dropped_packets()),
        (format!("ebpf_netns_dropped_bytes_total{{{labels}}}"), dropped_bytes),
        (format!("ebpf_netns_log_suppressed_packets_total{{{labels}}}"), traffic.log_suppressed),
    ];
    for (reason, count) in &traffic.dropped {
        let labels = format!("{labels},reason=\"{reason}\"");
        let name = "ebpf_netns_dropped_by_reason_packets_total";
        expected.push((format!("{name}{{{labels}}}"), count.packets));
    }
    for (series, value) in expected {
        let found = metrics.get(&series)?;
        ensure!(found.to_string() == value.to_string(), "{series}: {found}, and not {value}");
    }
    Ok(())
}

/// Waits until every hook of a container is told of as `status` tells of it, and returns both: what
/// is measured is told for a second, and something may be sent meanwhile.
fn wait_agreed(daemon: &Daemon<'_>, name: &str) -> Result<(Exposition, ContainerStatus)> {
    wait_for(DEADLINE, &format!("metrics and status to agree on {name}"), || {
        let metrics = Exposition::of(daemon)?;
        let container = container(daemon, name)?;
        for interface in &container.interfaces {
            for hook in &interface.hooks {
                agree(&metrics, &labels(&container, interface, hook), hook)?;
            }
        }
        Ok((metrics, container))
    })
}

/// What a metric says of a container, over all of its series.
fn sum(metrics: &Exposition, metric: &str, container: &str) -> f64 {
    let of = format!("{metric}{{container=\"{container}\",");
    metrics.beginning(&of).map(|(_, value)| value).sum()
}

#[test]
fn counters_rise_with_real_packets_and_agree_with_status() -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    let scene = Scene::start()?;
    let daemon = least_privileged(&scene)?;
    scene.run("presets", &[("xdp.policy", "drop-icmp,log"), ("tc.policy", "drop-udp")])?;
    scene.run("rules", &[("tc.ingress", "allow tcp 80"), ("tc.egress", "deny")])?;
    let passed = "ebpf_netns_passed_packets_total";
    let dropped = "ebpf_netns_dropped_packets_total";
    let host = scene.engine().from_host();
    for name in ["presets", "rules"] {
        wait_state(&daemon, name, State::Enforced)?;
        scene.wait_listening(name)?;
        let (before, found) = wait_agreed(&daemon, name)?;
        let hooks = found.interfaces.iter().map(|interface| interface.hooks.len());
        ensure!(hooks.sum::<usize>() >= 2, "{found:?}");
        let addresses = scene.addresses(name)?;
        check_no_ping(&scene, name, "its policy forbids it")?;
        ensure!(http_works(&host, addresses[0])?, "its policy allows it");
        let (after, _) = wait_agreed(&daemon, name)?;
        for (metric, least) in [(passed, 3.0), (dropped, 2.0)] {
            let rose = sum(&after, metric, name) - sum(&before, metric, name);
            ensure!(rose >= least, "{metric} of {name} rose by {rose}");
        }
        let reasons = "ebpf_netns_dropped_by_reason_packets_total";
        let by_reason = sum(&after, reasons, name);
        ensure!(by_reason.total_cmp(&sum(&after, dropped, name)).is_eq(), "{reasons} of {name}");
    }
    check_metrics(&text(&daemon)?)?;
    scene.end(daemon)
}

#[test]
fn the_engine_is_told_of_as_status_does_and_its_process_as_the_kernel_does() -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    let scene = Scene::start()?;
    let configuration = Configuration::new(scene.machine(), "strict = true\n")?;
    let daemon = configured(&scene, &configuration)?;
    scene.run("good", &[("tc.policy", "drop-icmp")])?;
    scene.run("bad", &[("tc.policy", "drop-imcp")])?;
    scene.create("idle", &[("tc.policy", "drop-icmp")], &["--network", LAN])?;
    wait_state(&daemon, "good", State::Enforced)?;
    wait_state(&daemon, "bad", State::Closed)?;
    wait_state(&daemon, "idle", State::Idle)?;
    reloaded(&daemon)?;
    configuration.write("strikt = true\n")?;
    ensure!(!reload(&daemon)?.status.success(), "that is no configuration");
    let metrics = wait_for(DEADLINE, "the refusal to be told", || {
        let metrics = Exposition::of(&daemon)?;
        let refused = metrics.get("ebpf_netns_config_reloads_total{result=\"refused\"}")?;
        ensure!(refused > 0.5, "{metrics:?}");
        Ok(metrics)
    })?;
    let counts = status(&daemon)?.counts;
    for (series, expected) in [
        ("ebpf_netns_containers{state=\"enforced\"}", 1),
        ("ebpf_netns_containers{state=\"closed\"}", 1),
        ("ebpf_netns_containers{state=\"idle\"}", 1),
        ("ebpf_netns_containers{state=\"open\"}", 0),
        ("ebpf_netns_omitted_containers", 0),
        ("ebpf_netns_quarantines_total", counts.quarantined),
        ("ebpf_netns_repairs_total", counts.repairs),
        ("ebpf_netns_link_overruns_total", counts.overruns),
        ("ebpf_netns_docker_outages_total", 0),
        ("ebpf_netns_config_reloads_total{result=\"taken\"}", 1),
        ("ebpf_netns_config_last_reload_successful", 0),
        ("ebpf_netns_docker_reachable", 1),
        ("ebpf_netns_strict", 1),
        ("ebpf_netns_log_lines_lost_total", 0),
        ("ebpf_netns_reports_lost_total", 0),
    ] {
        let found = metrics.get(series)?;
        ensure!(found.to_string() == expected.to_string(), "{series}: {found}, not {expected}");
    }
    ensure!(counts.quarantined >= 2 && counts.reconciliations > 0, "{counts:?}");
    ensure!(metrics.beginning("ebpf_netns_strict_dropped_packets_total{").count() == 2);
    let looked = metrics.get("ebpf_netns_docker_last_look_timestamp_seconds")?;
    ensure!(looked >= metrics.get("process_start_time_seconds")?, "it looked at {looked}");
    let files = fs::read_dir(format!("/proc/{}/fd", daemon.pid()))?.count();
    let told = metrics.get("process_open_fds")?;
    let difference = told - f64::from(u32::try_from(files)?);
    ensure!(difference.abs() < 10.0, "{told} files are open, and not {files}");
    ensure!(metrics.get("process_resident_memory_bytes")? > 1e6, "{metrics:?}");

    scene.engine().kill()?;
    wait_for(DEADLINE, "the outage to be told", || {
        let metrics = Exposition::of(&daemon)?;
        ensure!(metrics.get("ebpf_netns_docker_outages_total")? > 0.5, "{metrics:?}");
        ensure!(metrics.get("ebpf_netns_docker_reachable")? < 0.5, "{metrics:?}");
        Ok(())
    })?;
    check_metrics(&text(&daemon)?)
}

#[test]
fn names_that_docker_would_not_take_break_nothing() -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    let scene = Scene::start()?;
    let proxy = Proxy::start(scene.engine())?;
    let daemon = daemon_behind(&scene, &proxy)?;
    scene.run("web", &[("tc.policy", "drop-icmp")])?;
    wait_state(&daemon, "web", State::Enforced)?;
    let real: Value = serde_json::from_str(&scene.engine().get("/containers/json?all=true")?)?;
    let long = "x".repeat(10_000);
    for (name, expected) in [
        ("quo\"te\\", r#"container="quo\"te\\","#),
        ("} 1\nfalse 2", r#"container="} 1\\nfalse 2","#),
        ("\u{1b}[2J\u{202e}", r#"container="\\u{1b}[2J\\u{202e}","#),
        (&long, r#"xxxx...","#),
    ] {
        let mut list = real.clone();
        let first = list.get_mut(0).and_then(|one| one.get_mut("Names"));
        *first.context("web is in it")? = json!([format!("/{name}")]);
        proxy.deal(
            "/containers/json",
            Deal::answer("200 OK", "application/json", &list.to_string()),
        );
        scene.engine().docker(["create", "--name", "hint", "noshell"])?;
        scene.engine().docker(["rm", "hint"])?;
        let text = wait_for(DEADLINE, &format!("{name:?} to be told"), || {
            let text = text(&daemon)?;
            ensure!(text.contains(expected), "{text}");
            Ok(text)
        })?;
        check_metrics(&text)?;
        let longest = text.lines().map(str::len).max().unwrap_or_default();
        ensure!(longest < 400, "{longest}");
    }
    daemon.stop()
}

#[test]
fn what_is_shipped_beside_the_metrics_is_understood_by_prometheus() -> Result<()> {
    let compose = Path::new(env!("CARGO_MANIFEST_DIR")).join("../compose");
    check_file("rules", &compose.join("metrics/alerts.yaml"))?;
    check_file("config", &compose.join("metrics/prometheus.yaml"))?;
    // Each query of the dashboard, as a rule.
    let dashboard = fs::read_to_string(compose.join("grafana/dashboards/ebpf-netns.json"))?;
    let dashboard: Value = serde_json::from_str(&dashboard)?;
    let panels = dashboard["panels"].as_array().context("it has panels")?.iter();
    let targets = panels.flat_map(|panel| panel["targets"].as_array().into_iter().flatten());
    let queries: Vec<&str> = targets.filter_map(|target| target["expr"].as_str()).collect();
    ensure!(queries.len() > 20, "{queries:?}");
    let rules = queries.iter().enumerate().map(|(number, query)| {
        let query = query.replace("$__rate_interval", "1m").replace("$container", ".*");
        json!({ "record": format!("query:{number}"), "expr": query })
    });
    let rules = json!({ "groups": [{ "name": "dashboard", "rules": rules.collect::<Vec<_>>() }] });
    let file = tempfile::NamedTempFile::with_suffix(".yaml")?;
    fs::write(file.path(), rules.to_string())?;
    check_file("rules", file.path())?;
    fs::write(file.path(), rules.to_string().replace("sum by", "sum bye"))?;
    ensure!(check_file("rules", file.path()).is_err(), "a query that makes no sense is found");
    Ok(())
}
