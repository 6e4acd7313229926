//! `compose/plugin.yaml` and the daemon of `compose/metrics.yaml`: with what these files give them, and
//! nothing else.

use std::{fs, net::IpAddr};

use anyhow::{Context as _, Result, ensure};
use ebpf_netns_tests::{
    Compose, DEADLINE, Engine, EngineOptions, command::stdout_of, images::Image, newer::Newer,
    privilege, traffic::Http, wait_for,
};
use serde_json::Value;

/// What the container gets: `CAP_NET_ADMIN`, `CAP_SYS_NICE`, `CAP_PERFMON`, `CAP_BPF`.
const GIVEN: u64 = 1 << 12 | 1 << 23 | 1 << 38 | 1 << 39;
/// What of it the daemon keeps.
const KEPT: u64 = 1 << 12 | 1 << 39;

/// An engine whose machine lets mounts through to containers, as those with systemd do.
fn engine(newer: &Newer) -> Result<Engine> {
    let images = vec![Image::Product, Image::Nginx];
    let options = EngineOptions { images, ..EngineOptions::default() };
    let engine = Engine::start_newer(newer.clone(), options)?;
    engine.machine().run("mount", ["--make-rshared", "/"])?;
    Ok(engine)
}

/// What the daemon in the container says of everything, asked as the file says.
fn status(compose: &Compose<'_>) -> Result<Value> {
    let asked = ["exec", "-T", "daemon", "ebpf-netns", "status", "--format", "json"];
    Ok(serde_json::from_str(&compose.run(asked)?)?)
}

fn wait_enforced(compose: &Compose<'_>, name: &str) -> Result<()> {
    wait_for(DEADLINE, &format!("{name} to be enforced"), || {
        let status = status(compose)?;
        let containers = status.get("containers").and_then(Value::as_array);
        let is = |one: &&Value| {
            one.get("name").is_some_and(|its| its == name)
                && one.get("state").is_some_and(|its| its == "enforced")
        };
        ensure!(containers.into_iter().flatten().any(|one| is(&one)), "{status}");
        Ok(())
    })
}

fn http(engine: &Engine, name: &str) -> Result<Http> {
    engine.from_host().http(engine.addresses(name)?.v4()?)
}

/// A web server, with labels or without, that listens.
fn run(engine: &Engine, name: &str, labels: &[&str]) -> Result<()> {
    let run = ["run", "--detach", "--name", name];
    engine.docker(run.into_iter().chain(labels.iter().copied()).chain(["nginx"]))?;
    let inside = engine.from_container(name)?;
    wait_for(DEADLINE, "nginx to listen", || {
        let http = inside.http(IpAddr::from([127, 0, 0, 1]))?;
        ensure!(http == Http::Answered(200), "{http:?}");
        Ok(())
    })
}

#[test]
fn the_daemon_enforces_from_a_container_and_what_it_attached_outlives_it() -> Result<()> {
    let Some(newer) = Newer::find()? else { return Ok(()) };
    if !privilege::have_root()? {
        return Ok(());
    }
    let engine = engine(&newer)?;
    let compose = Compose::new(&engine, &newer, "plugin.yaml")?;
    compose.up(&["daemon"])?;
    wait_for(DEADLINE, "the daemon", || status(&compose))?;
    run(&engine, "plain", &[])?;
    run(&engine, "web", &["--label=xdp.policy=drop-tcp"])?;
    wait_enforced(&compose, "web")?;
    ensure!(http(&engine, "web")? == Http::TimedOut, "TCP is dropped");
    ensure!(http(&engine, "plain")? == Http::Answered(200), "nothing else is");
    has_what_it_needs_and_nothing_else(&engine)?;

    // Docker starts it again when it was killed, and the policy stands meanwhile.
    let before = engine.pid("ebpf-netns-daemon-1")?;
    engine.machine().run("sh", ["-c", &format!("kill -9 {before}")])?;
    ensure!(http(&engine, "web")? == Http::TimedOut, "its policy outlives it");
    wait_for(DEADLINE, "the daemon to be started again", || {
        let pid = engine.pid("ebpf-netns-daemon-1")?;
        ensure!(pid != before, "not yet");
        status(&compose)
    })?;
    wait_enforced(&compose, "web")?;

    compose.run(["down"])?;
    ensure!(http(&engine, "web")? == Http::TimedOut, "also when it is taken down");
    compose.run(["run", "--rm", "-T", "daemon", "clean"])?;
    ensure!(http(&engine, "web")? == Http::Answered(200), "until it is taken off");
    Ok(())
}

/// The file's list of capabilities is what the process can have, and the root cannot be written.
fn has_what_it_needs_and_nothing_else(engine: &Engine) -> Result<()> {
    let pid = engine.pid("ebpf-netns-daemon-1")?;
    let text = fs::read_to_string(engine.machine().outside(format!("/proc/{pid}/status")))?;
    let set = |name: &str| {
        let value = text.lines().find_map(|line| line.strip_prefix(name));
        u64::from_str_radix(value.context(name.to_owned())?.trim(), 16).context("a set")
    };
    ensure!(set("CapBnd:")? & !GIVEN == 0, "it can have no more than the file gives:\n{text}");
    for name in ["CapEff:", "CapPrm:"] {
        ensure!(set(name)? == KEPT, "it keeps two:\n{text}");
    }
    ensure!(text.contains("NoNewPrivs:\t1") && text.contains("Seccomp:\t2"), "{text}");
    let settings = engine.inspect("ebpf-netns-daemon-1", "{{json .HostConfig}}")?;
    let settings: Value = serde_json::from_str(&settings)?;
    let is = |key: &str, value: Value| settings.get(key) == Some(&value);
    ensure!(is("ReadonlyRootfs", true.into()) && is("Privileged", false.into()), "{settings}");
    Ok(())
}

#[test]
fn the_daemon_beside_prometheus_serves_what_it_counts() -> Result<()> {
    let Some(newer) = Newer::find()? else { return Ok(()) };
    if !privilege::have_root()? {
        return Ok(());
    }
    let engine = engine(&newer)?;
    let compose = Compose::new(&engine, &newer, "metrics.yaml")?;
    compose.up(&["daemon"])?;
    run(&engine, "web", &["--label=xdp.policy=drop-tcp"])?;
    wait_enforced(&compose, "web")?;
    ensure!(http(&engine, "web")? == Http::TimedOut, "TCP is dropped");
    let mut curl = engine.machine().command("curl");
    curl.args(["--silent", "--fail", "--noproxy", "*", "http://127.0.0.1:9464/metrics"]);
    wait_for(DEADLINE, "the drops to be told", || {
        let metrics = stdout_of(&mut curl)?;
        let told = |line: &str| {
            line.starts_with("ebpf_netns_dropped_packets_total{")
                && line.contains("container=\"web\"")
                && !line.ends_with(" 0")
        };
        ensure!(metrics.lines().any(told), "{metrics}");
        Ok(())
    })
}
