//! The port at which metrics are served: to this machine alone, whatever comes in there, and without
//! anything of enforcement depending on it.

use std::{fs, process::Output};

use anyhow::{Context as _, Result, ensure};
use ebpf_netns_plugin::status::State;
use ebpf_netns_tests::{
    Configuration, DEADLINE, Daemon, Machine, Process,
    binaries::{self, Binary},
    command::output_of,
    privilege, wait_for,
};

use crate::{
    config::{BAD_DATA, configured},
    exposition::{Exposition, check_metrics},
    scene::{Scene, check_no_ping, wait_state},
};

const ADDRESS: &str = "127.0.0.1:9464";
/// How many connections the daemon keeps.
const MOST: u32 = 32;

/// What curl gets in the machine: the body, and then the code and the type on a line of their own.
fn curl(machine: &Machine, arguments: &[&str]) -> Result<String> {
    let usual = ["--silent", "--show-error", "--max-time", "10"];
    let write = ["--write-out", "\n%{http_code} %{content_type}"];
    machine.run("curl", [&usual[..], &write, arguments].concat())
}

fn scrape(machine: &Machine) -> Result<Exposition> {
    let got = curl(machine, &[&format!("http://{ADDRESS}/metrics")])?;
    let (text, answered) = got.rsplit_once('\n').context("there is a body")?;
    ensure!(answered == "200 text/plain; version=0.0.4; charset=utf-8", "{answered}");
    Exposition::read(text)
}

/// Runs a script of bash in the machine, which says `ready` and then goes on until it is dropped.
fn meanwhile(machine: &Machine, name: &str, script: &str) -> Result<Process> {
    let mut bash = machine.command("bash");
    let (process, log) = machine.spawn(bash.args(["-c", script]), name)?;
    wait_for(DEADLINE, &format!("{name} to be ready"), || {
        let said = fs::read_to_string(&log)?;
        ensure!(said.lines().any(|line| line == "ready"), "{said}");
        Ok(())
    })?;
    Ok(process)
}

/// Runs `ebpf-netns-plugin run`, which must refuse.
fn run(machine: &Machine, arguments: &[&str]) -> Result<(Output, String)> {
    let mut command = machine.command("timeout");
    command.arg(DEADLINE.as_secs().to_string()).arg(binaries::path(Binary::Plugin)?);
    let output = output_of(command.arg("run").args(arguments))?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    Ok((output, said))
}

#[test]
fn the_port_serves_metrics_and_nothing_else() -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    let scene = Scene::start()?;
    let machine = scene.machine();
    let text = format!("metrics = \"{ADDRESS}\"\n");
    let daemon = configured(&scene, &Configuration::new(machine, &text)?)?;
    scene.run("web", &[("tc.policy", "drop-icmp")])?;
    wait_state(&daemon, "web", State::Enforced)?;
    let url = format!("http://{ADDRESS}");
    wait_for(DEADLINE, "web to be told of", || {
        let metrics = scrape(machine)?;
        ensure!(metrics.beginning("ebpf_netns_passed_bytes_total{container=\"web\"").count() == 2);
        Ok(())
    })?;
    let text = machine.run("curl", ["--silent", &format!("{url}/metrics")])?;
    check_metrics(&format!("{text}\n"))?;
    for (path, options, code) in [
        ("/metrics?a=b", &[][..], "200"),
        ("/", &[], "404"),
        ("/v1/status", &[], "404"),
        ("/metrics/", &[], "404"),
        ("/v1/reload", &["--request", "POST"], "404"),
        ("/metrics", &["--request", "POST", "--data", "x"], "405"),
        ("/metrics", &["--request", "DELETE"], "405"),
    ] {
        let url = format!("{url}{path}");
        let got = curl(machine, &[options, &[&*url]].concat())?;
        let (_, answered) = got.rsplit_once('\n').context("there is a last line")?;
        ensure!(answered.starts_with(code), "{path} {options:?}: {answered}");
    }
    // The same is on the control socket.
    let socket = ["--silent", "--unix-socket", "/run/ebpf-netns/control.sock"];
    let text = machine.run("curl", [&socket[..], &["http://localhost/metrics"]].concat())?;
    check_metrics(&format!("{text}\n"))?;
    scene.end(daemon)
}

#[test]
fn only_loopback_addresses_are_taken_and_the_way_out_is_told() -> Result<()> {
    const USAGE: i32 = 2;
    if !privilege::have_root()? {
        return Ok(());
    }
    let machine = Machine::start()?;
    for address in ["0.0.0.0:9464", "[::]:9464", "192.0.2.1:9464"] {
        let configuration = Configuration::new(&machine, &format!("metrics = \"{address}\"\n"))?;
        let file = configuration.file().display().to_string();
        for (arguments, code) in [(["--metrics", address], USAGE), (["--config", &file], BAD_DATA)]
        {
            let (output, said) = run(&machine, &arguments)?;
            ensure!(output.status.code() == Some(code), "{arguments:?}: {said}");
            for word in [address, "not a loopback address", "reverse proxy"] {
                ensure!(said.contains(word), "{word} in {said}");
            }
        }
    }
    let (output, said) = run(&machine, &["--metrics", "localhost:9464"])?;
    ensure!(output.status.code() == Some(USAGE) && said.contains("127.0.0.1:9464"), "{said}");
    Ok(())
}

#[test]
fn a_port_in_use_is_told_and_enforcement_goes_on() -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    let scene = Scene::start()?;
    let machine = scene.machine();
    let mut httpd = machine.command("busybox");
    let (_httpd, _) = machine.spawn(httpd.args(["httpd", "-f", "-p", ADDRESS]), "httpd.log")?;
    wait_for(DEADLINE, "the port to be in use", || {
        curl(machine, &[&format!("http://{ADDRESS}/")]).map(drop)
    })?;
    let daemon = scene.daemon_with(&["--metrics", ADDRESS])?;
    let log = daemon.log()?;
    let told = log.lines().find(|line| line.contains("metrics are not served"));
    let told = told.with_context(|| log.clone())?;
    for word in ["ERROR", ADDRESS, "in use", "restart"] {
        ensure!(told.contains(word), "{word} in {told}");
    }
    scene.run("web", &[("tc.policy", "drop-icmp")])?;
    wait_state(&daemon, "web", State::Enforced)?;
    check_no_ping(&scene, "web", "although the port is in use")?;
    Exposition::of(&daemon)?.get("ebpf_netns_docker_reachable")?;
    scene.end(daemon)
}

#[test]
fn garbage_slow_and_many_connections_do_not_matter() -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    let scene = Scene::start()?;
    let machine = scene.machine();
    let daemon = scene.daemon_with(&["--metrics", ADDRESS])?;
    scene.run("web", &[("tc.policy", "drop-icmp")])?;
    wait_state(&daemon, "web", State::Enforced)?;
    let before = scrape(machine)?;
    let port = "/dev/tcp/127.0.0.1/9464";
    let silent = format!(
        "for i in {{1..300}}; do exec {{fd}}<>{port} || exit 1; done; echo ready; read < /dev/zero"
    );
    let unread = format!(
        "for i in {{1..20}}; do exec {{fd}}<>{port} || exit 1; \
         printf 'GET /metrics HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n' >&$fd; done; echo ready; \
         read < /dev/zero"
    );
    let slow = format!(
        "exec 3<>{port}; printf 'GET /metrics HTTP/1.1\\r\\n' >&3; echo ready; \
         while printf 'X-Y: z\\r\\n' >&3; do sleep 0.2; done; read < /dev/zero"
    );
    for (name, script) in [("silent", &silent), ("unread", &unread), ("slow", &slow)] {
        let _connections = meanwhile(machine, name, script)?;
        let metrics = scrape(machine).with_context(|| format!("beside {name} connections"))?;
        let files = metrics.get("process_open_fds")? - before.get("process_open_fds")?;
        ensure!(files <= f64::from(MOST), "{name}: {files} more files are open");
        wait_state(&daemon, "web", State::Enforced)?;
    }
    for garbage in [
        format!("head -c 300000 /dev/urandom > {port}"),
        format!("printf '\\x16\\x03\\x01\\x02\\x00\\x01\\xfc\\x03\\x03' > {port}"),
        format!(
            "{{ printf 'GET /metrics HTTP/1.1\\r\\nX: '; head -c 300000 /dev/zero; }} > {port}"
        ),
        format!("printf 'GET /metrics HTTP/9.9\\r\\n\\r\\n' > {port}"),
        format!("printf '\\r\\n\\r\\n\\r\\n' > {port}"),
    ] {
        // The daemon may close before all of it is written.
        output_of(machine.command("bash").args(["-c", &garbage]))?;
        scrape(machine).with_context(|| garbage.clone())?;
    }
    let large = format!("X-Large: {}", "x".repeat(20_000));
    let url = format!("http://{ADDRESS}/metrics");
    let got = curl(machine, &["--header", &large, &url])?;
    ensure!(got.lines().any(|line| line.starts_with("431")), "too large a request: {got}");
    scene.run("late", &[("tc.policy", "drop-icmp")])?;
    wait_state(&daemon, "late", State::Enforced)?;
    check_no_ping(&scene, "late", "after all of that")?;
    wait_for(DEADLINE, "the connections to be given up", || {
        let left = scrape(machine)?.get("process_open_fds")? - before.get("process_open_fds")?;
        ensure!(left < 6.0, "{left} more files are open");
        Ok(())
    })?;
    let grown = scrape(machine)?.get("process_resident_memory_bytes")?
        - before.get("process_resident_memory_bytes")?;
    ensure!(grown < f64::from(32 << 20), "it grew by {grown} bytes");
    ensure!(!Daemon::log(&daemon)?.contains("panicked"), "{}", daemon.log()?);
    scene.end(daemon)
}
