//! The harness itself: engines answer, traffic flows, and nothing is left behind.

use std::{
    fs,
    io::Read as _,
    net::SocketAddr,
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result};
use ebpf_netns_tests::{
    DEADLINE, Engine, EngineOptions, Machine, Side, VethFarm, VethPair,
    engine::GATED_RUNTIME,
    images::Image,
    isolated, privilege, sweep,
    traffic::{Http, Reply},
    wait_for, wait_until,
};

/// Set for a copy of this program that a test starts in order to kill it.
const VICTIM: &str = "EBPF_NETNS_TEST_VICTIM";

#[test]
fn nginx_answers_and_pings_over_both_versions_of_ip() -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    let engine = Engine::start()?;
    engine.docker(["run", "-d", "--name", "web", "nginx"])?;
    engine.docker(["run", "-d", "--name", "client", "busybox"])?;
    for address in engine.addresses("web")?.both()? {
        for from in [engine.from_host(), engine.from_container("client")?] {
            wait_for(DEADLINE, "nginx to listen", || {
                let http = from.http(address)?;
                anyhow::ensure!(http == Http::Answered(200), "{http:?}");
                Ok(())
            })?;
            let ping = from.ping(address, 3)?;
            assert!(ping.is_complete(), "every ping of {address} is answered: {ping:?}");
        }
    }
    Ok(())
}

#[test]
fn tcp_and_udp_are_echoed_between_containers_and_host() -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    let engine = Engine::start_with(EngineOptions {
        images: vec![Image::Busybox, Image::Noshell],
        ..EngineOptions::default()
    })?;
    engine.docker(["network", "create", "--ipv6", "--subnet", "fd00:ebf::/64", "lan"])?;
    for name in ["one", "two"] {
        engine.docker(["run", "-d", "--name", name, "--network", "lan", "noshell"])?;
    }
    let (one, two) = (engine.from_container("one")?, engine.from_container("two")?);
    let server = two.echo_server(7777)?;
    for address in engine.addresses_on("two", "lan")?.both()? {
        let echo = SocketAddr::from((address, 7777));
        for from in [&one, &engine.from_host()] {
            assert_eq!(from.tcp(echo)?, Reply::Echoed, "TCP to {echo} is echoed");
            assert_eq!(from.udp(echo)?, Reply::Echoed, "UDP to {echo} is echoed");
        }
        let closed = SocketAddr::from((address, 7778));
        assert_eq!(one.tcp(closed)?, Reply::Refused, "TCP to a closed port is refused");
        assert_eq!(one.udp(closed)?, Reply::Refused, "UDP to a closed port is refused");
    }
    assert_eq!(server.received()?, 8, "the server counts what it got");
    Ok(())
}

#[test]
fn a_gated_container_is_held_at_its_start() -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    let engine = Engine::start_with(EngineOptions {
        images: vec![Image::Busybox],
        ..EngineOptions::default()
    })?;
    let mut run = engine.docker_command();
    run.args(["run", "-d", "--name", "held", "--runtime", GATED_RUNTIME, "busybox"]);
    let (mut started, _) = engine.machine().spawn(&mut run, "docker-run.log")?;
    engine.gate().wait_held()?;
    assert!(started.is_running()?, "docker run waits at the gate");
    let state = engine.docker(["ps", "--all", "--format", "{{.Status}}"])?;
    assert_eq!(state, "Created", "the container has not started");
    engine.gate().open()?;
    assert!(started.wait(DEADLINE)?.success(), "docker run succeeds once the gate is open");
    Ok(())
}

#[test]
fn containers_survive_a_killed_engine_and_it_starts_again() -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    let engine = Engine::start_with(EngineOptions {
        flags: vec!["--live-restore".into()],
        images: vec![Image::Noshell],
    })?;
    engine.docker(["run", "-d", "--name", "web", "noshell"])?;
    let (pid, address) = (engine.pid("web")?, engine.addresses("web")?.v4()?);
    engine.kill()?;
    assert_eq!(engine.from_host().http(address)?, Http::Answered(200), "web answers on its own");
    engine.restart()?;
    assert_eq!(engine.pid("web")?, pid, "the container is the same one");
    Ok(())
}

#[test]
fn a_machine_has_no_way_out() -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    let machine = Machine::start()?;
    for family in ["-4", "-6"] {
        let routes = machine.run("ip", [family, "route", "show", "default"])?;
        assert_eq!(routes, "", "there is no default route");
    }
    let links = machine.run("ls", ["/sys/class/net"])?;
    assert_eq!(links, "lo", "there is no link but loopback, and /sys shows this machine's");
    // The kernel itself puts two iterators into each bpffs.
    let find = "find /run/netns /sys/fs/bpf /var/lib -mindepth 1 ! -name '*.debug'";
    assert_eq!(machine.run("sh", ["-c", find])?, "", "what is private is empty");
    Ok(())
}

#[test]
fn nothing_is_left_after_drop() -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    let engine = Engine::start_with(EngineOptions {
        images: vec![Image::Noshell],
        ..EngineOptions::default()
    })?;
    engine.docker(["run", "-d", "noshell"])?;
    let name = engine.machine().name().to_owned();
    let init = engine.machine().init().context("a private machine has a first process")?;
    let netns = fs::read_link(format!("/proc/{init}/ns/net"))?;
    assert!(!leftovers(&name, &netns)?.is_empty(), "a living machine is seen");
    drop(engine);
    assert_eq!(leftovers(&name, &netns)?, [""; 0], "nothing of the machine is left");
    Ok(())
}

#[test]
fn nothing_is_left_after_the_owner_is_killed() -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    if let Some(report) = std::env::var_os(VICTIM) {
        return be_killed(Path::new(&report));
    }
    let scratch = tempfile::tempdir()?;
    let report = scratch.path().join("report");
    let mut victim = Command::new(std::env::current_exe()?)
        .args(["nothing_is_left_after_the_owner_is_killed", "--exact"])
        .env(VICTIM, &report)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()?;
    let text = wait_for(DEADLINE, "the victim's engine", || Ok(fs::read_to_string(&report)?))?;
    let (name, netns) = text.split_once(' ').context("NAME NETNS")?;
    let netns = Path::new(netns);
    assert!(!leftovers(name, netns)?.is_empty(), "a living machine is seen");
    victim.kill()?;
    victim.wait()?;
    wait_until(DEADLINE, "the killed owner's machine to vanish", || {
        leftovers(name, netns).is_ok_and(|left| left.is_empty())
    })
}

#[test]
fn a_sweep_spares_the_living_and_removes_the_dead() -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    let machine = Machine::start()?;
    let dead = std::env::temp_dir().join(format!("{}-dead", machine.name()));
    fs::create_dir(&dead)?;
    fs::write(dead.join("lock"), "")?;
    let cgroup = Path::new("/sys/fs/cgroup/memory").join(dead.file_name().context("a name")?);
    let has_cgroup = fs::create_dir(&cgroup).is_ok();
    sweep()?;
    assert!(machine.directory().exists(), "a living machine's directory stays");
    machine.run("true", [""; 0])?;
    assert!(!dead.exists(), "a dead machine's directory is removed");
    assert!(!has_cgroup || !cgroup.exists(), "a dead machine's cgroup is removed");
    Ok(())
}

#[test]
fn a_body_runs_inside_a_machine() -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    isolated("a_body_runs_inside_a_machine", || {
        let links = fs::read_dir("/sys/class/net")?.count();
        assert_eq!(links, 1, "the body sees loopback alone");
        Ok(())
    })
}

#[test]
fn a_failing_body_fails_its_test() -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    let inside = std::env::var_os("EBPF_NETNS_TEST_INSIDE").is_some();
    let result = isolated("a_failing_body_fails_its_test", || anyhow::bail!("as it should"));
    if inside {
        return result;
    }
    let error = result.err().context("the failure is seen outside")?;
    assert!(error.to_string().contains("as it should"), "the error shows why: {error}");
    Ok(())
}

#[test]
fn a_farm_has_as_many_pairs_as_asked_for() -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    let machine = Machine::start()?;
    let farm = VethFarm::plant(&machine, 100)?;
    let ports = machine.run("ip", ["-oneline", "link", "show", "master", VethFarm::BRIDGE])?;
    assert_eq!(ports.lines().count(), farm.count(), "every host's end is a port of the bridge");
    let index = farm.ifindex(99)?;
    assert!(ports.contains(&format!("{index}: farm-h99@")), "its index is {index}:\n{ports}");
    Ok(())
}

#[test]
fn traffic_passes_a_pair_both_ways() -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    let machine = Machine::start()?;
    let pair = VethPair::new(&machine, 7)?;
    for (from, to) in [(Side::Host, Side::Container), (Side::Container, Side::Host)] {
        for address in pair.addresses(to) {
            let ping = pair.from(from).ping(address, 2)?;
            assert!(ping.is_complete(), "{from:?} reaches {address}: {ping:?}");
        }
    }
    assert!(pair.ifindex(Side::Host)? > 1, "the host's end is a link of the machine");
    Ok(())
}

/// Starts an engine with a container, says so in `report`, and waits for the end.
fn be_killed(report: &Path) -> Result<()> {
    let engine = Engine::start_with(EngineOptions {
        images: vec![Image::Noshell],
        ..EngineOptions::default()
    })?;
    engine.docker(["run", "-d", "noshell"])?;
    let init = engine.machine().init().context("a private machine has a first process")?;
    let netns = fs::read_link(format!("/proc/{init}/ns/net"))?;
    let new = report.with_extension("new");
    fs::write(&new, format!("{} {}", engine.machine().name(), netns.display()))?;
    fs::rename(&new, report)?;
    // It is killed while it waits here; or ends, should its own parent have died.
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}

/// What exists of a machine: its directory, cgroups, mounts, and processes in its network.
fn leftovers(name: &str, netns: &Path) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for directory in ["/tmp", "/sys/fs/cgroup"] {
        let find = Command::new("find")
            .args([directory, "-maxdepth", "2", "-name", name])
            .output()
            .context("start find")?;
        found.extend(String::from_utf8(find.stdout)?.lines().map(str::to_owned));
    }
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    found.extend(mounts.lines().filter(|line| line.contains(name)).map(str::to_owned));
    for process in fs::read_dir("/proc")?.flatten() {
        if fs::read_link(process.path().join("ns/net")).is_ok_and(|its| its == netns) {
            found.push(process.path().display().to_string());
        }
    }
    Ok(found)
}
