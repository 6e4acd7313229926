//! Finding a container's interfaces: what cannot be looked up never counts as done, and no forgery
//! inside of a container leads to an interface that is not its own.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, bail, ensure};
use ebpf_netns_plugin::status::{State, Status};
use ebpf_netns_tests::{
    DEADLINE, Daemon, Process,
    binaries::{self, Binary},
    command::stdout_of,
    engine::{DOCKER_HOST, GATED_RUNTIME},
    privilege,
    traffic::Vantage,
    wait_for,
};
use serde_json::Value;

use crate::scene::{
    ECHO, LAN, Reach, Scene, check_no_ping, container, host_veth, link, only_interface, wait_state,
};

#[test]
fn t18_what_cannot_be_looked_up_is_unknown_and_says_why() -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    let scene = Scene::start()?;
    scene.run("owner", &[("tc.policy", "drop-icmp")])?;
    let shared = ["--network", "container:owner"];
    let command = ["/httpd", "-f", "-p", "81"];
    scene.run_command("joiner", &[("xdp.policy", "drop-icmp")], &shared, &command)?;
    // Docker tells no namespace for what shares another's, and without CAP_SYS_PTRACE that of a
    // process cannot be opened: it is found all the same.
    let mut daemon =
        Limited::start(&scene, &["setpriv", "--bounding-set=-all,+bpf,+net_admin"], &[])?;
    for name in ["joiner", "owner"] {
        daemon.wait(&scene, name, State::Enforced)?;
    }
    check_no_ping(&scene, "owner", "two capabilities are enough")?;
    ensure!(daemon.process.terminate()?.success(), "it ends in order");

    // Docker's files are somewhere else than the daemon was told, and its processes too.
    let elsewhere = ["unshare", "--pid", "--fork", "--kill-child"];
    let mut daemon = Limited::start(&scene, &elsewhere, &["--docker-exec-root=/run/elsewhere"])?;
    scene.run("late", &[("tc.policy", "drop-icmp")])?;
    let status = daemon.wait(&scene, "late", State::Unknown)?;
    let reason = status.containers.iter().find(|one| one.name == "late");
    let reason = reason.and_then(|late| late.reason.clone()).unwrap_or_default();
    for word in ["/run/docker/netns/", "ermission denied"] {
        assert!(reason.contains(word), "the reason {reason:?} has {word:?}");
    }
    assert!(daemon.log()?.contains("interfaces could not be looked up"), "the log says it too");
    check_no_ping(&scene, "owner", "it keeps its policy")?;
    check_no_ping(&scene, "late", "it was closed when it came, and stays so")?;
    Ok(())
}

#[test]
fn t5_a_forged_interface_leads_to_nobody_else() -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    let scene = Scene::start()?;
    let (engine, machine) = (scene.engine(), scene.machine());
    scene.network("second", &[])?;
    let daemon = scene.daemon()?;
    scene.run("victim", &[])?;
    scene.wait_listening("victim")?;
    let _echo = engine.from_container("victim")?.echo_server(ECHO)?;
    let policy = [("xdp.policy", "drop-all"), ("tc.policy", "drop-all")];
    scene.run_with("forger", &policy, &["--network", LAN, "--cap-add", "NET_ADMIN"])?;
    wait_state(&daemon, "forger", State::Enforced)?;

    let target = host_veth(&scene, "victim")?;
    let inside = engine.from_container("forger")?;
    let victim = link(&engine.from_container("victim")?, "eth0")?;
    let eth0 = link(&inside, "eth0")?;
    // Links whose `iflink` is the number of the victim's host-side veth, with the peer here, and
    // with the peer in a third namespace.
    ip(&inside, &format!("link add fake0 type veth peer name fake1 index {}", target.1))?;
    machine.run("ip", ["netns", "add", "third"])?;
    let third = format!("link add fake2 type veth peer name fake3 index {} netns third", target.1);
    ip(&inside, &third)?;
    // Docker has something to tell, and the daemon looks again.
    engine.docker(["network", "connect", "second", "forger"])?;
    wait_for(DEADLINE, "the forger's links to be seen", || {
        let forger = container(&daemon, "forger")?;
        let names: BTreeSet<&str> =
            forger.interfaces.iter().map(|interface| interface.name.as_str()).collect();
        ensure!(["fake0", "fake2", "eth1"].iter().all(|name| names.contains(name)), "{names:?}");
        Ok(())
    })?;
    check_untouched(&scene, &daemon, &target)?;

    // The real one is replaced by a forgery of the same name, number and the victim's address.
    let number = eth0["ifindex"].as_u64().context("a link has a number")?;
    let mac = victim["address"].as_str().context("a link has an address")?;
    ip(&inside, "link del eth0")?;
    ip(&inside, "link del fake0")?;
    ip(
        &inside,
        &format!(
            "link add eth0 index {number} address {mac} type veth peer name fake4 index {}",
            target.1
        ),
    )?;
    engine.docker(["network", "disconnect", "second", "forger"])?;
    wait_for(DEADLINE, "the forged eth0 to be seen", || {
        let forger = container(&daemon, "forger")?;
        let eth0 = forger.interfaces.iter().find(|interface| interface.name == "eth0");
        let eth0 = eth0.with_context(|| format!("{forger:?}"))?;
        ensure!(eth0.host.is_none() && eth0.state == State::Unenforceable, "{eth0:?}");
        ensure!(forger.interfaces.iter().all(|interface| interface.hooks.is_empty()), "{forger:?}");
        Ok(())
    })?;
    check_untouched(&scene, &daemon, &target)
}

/// While a container starts it is known by its address alone, which another may have taken.
#[test]
fn a_stolen_address_misleads_nobody() -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    let scene = Scene::start()?;
    let (engine, daemon) = (scene.engine(), scene.daemon()?);
    let mac = "02:42:c0:ff:ee:01";
    scene.run("thief", &[])?;
    scene.wait_listening("thief")?;
    let _echo = engine.from_container("thief")?.echo_server(ECHO)?;
    ip(&engine.from_container("thief")?, &format!("link set dev eth0 address {mac}"))?;
    let mut run = engine.docker_command();
    run.args(["run", "--detach", "--name", "owner", "--network", LAN, "--mac-address", mac]);
    run.args(["--runtime", GATED_RUNTIME, "--label", "tc.policy=drop-icmp", "noshell"]);
    let (mut starting, _log) = scene.machine().spawn(&mut run, "docker-run.log")?;
    engine.gate().wait_held()?;
    let thief = host_veth(&scene, "thief")?.1;
    let own = wait_for(DEADLINE, "the owner to be enforced while it starts", || {
        let owner = wait_state(&daemon, "owner", State::Enforced)?;
        let host = only_interface(&owner)?.host.as_ref().context("a host-side veth")?;
        ensure!(host.ifindex.get() != thief, "it is the thief's: {owner:?}");
        Ok(host.ifindex.get())
    })?;
    engine.gate().open()?;
    ensure!(starting.wait(DEADLINE)?.success(), "owner starts");
    let owner = wait_state(&daemon, "owner", State::Enforced)?;
    let host = only_interface(&owner)?.host.as_ref().context("a host-side veth")?;
    assert_eq!(host.ifindex.get(), own, "it was known before Docker told it");
    assert_eq!(own, host_veth(&scene, "owner")?.1, "it is the owner's own");
    // Two ends with one address confuse the bridge; only the thief's policy is asked about.
    engine.docker(["rm", "--force", "owner"])?;
    ip(&engine.from_container("thief")?, "link set dev eth0 address 02:42:c0:ff:ee:02")?;
    wait_for(DEADLINE, "the thief to be free", || {
        let reached = scene.reach_from_host("thief")?;
        ensure!(reached == Reach::ALL, "{reached:?}");
        Ok(())
    })
}

/// Neither the victim nor any link of the host but the forger's own has a program.
fn check_untouched(scene: &Scene, daemon: &Daemon<'_>, target: &(String, u32)) -> Result<()> {
    let status = crate::scene::status(daemon)?;
    let interfaces = status.containers.iter().flat_map(|one| &one.interfaces);
    let own: BTreeSet<u64> = interfaces
        .filter_map(|interface| Some(u64::from(interface.host.as_ref()?.ifindex.get())))
        .collect();
    assert!(!own.contains(&u64::from(target.1)), "{}: is not the forger's: {status:?}", target.0);
    let links = scene.machine().run("ip", ["-j", "link", "show"])?;
    let links: Value = serde_json::from_str(&links)?;
    let others: Vec<String> = links
        .as_array()
        .context("ip shows a list")?
        .iter()
        .filter_map(|link| link["ifindex"].as_u64())
        .filter(|index| !own.contains(index))
        .map(|index| index.to_string())
        .collect();
    ensure!(others.len() > 3, "lo, docker0, the bridges and the victim's veth: {others:?}");
    let mut attached = daemon.plugin()?;
    let attached = stdout_of(attached.args(["attached", "--format=json"]).args(&others))?;
    assert_eq!(attached, "[]", "no program is on anybody else's link");
    assert_eq!(scene.reach_from_host("victim")?, Reach::ALL, "the victim is untouched");
    Ok(())
}

/// `ip` with these words, in a container's namespace.
fn ip(from: &Vantage<'_>, line: &str) -> Result<String> {
    stdout_of(from.command("ip").args(line.split(' ')))
}

/// A daemon that may do less than root.
struct Limited {
    process: Process,
    log: std::path::PathBuf,
}

impl Limited {
    fn start(scene: &Scene, limits: &[&str], options: &[&str]) -> Result<Self> {
        let [program, arguments @ ..] = limits else { bail!("a program that limits") };
        let mut run = scene.machine().command(program);
        run.args(arguments).arg(binaries::path(Binary::Plugin)?);
        run.args(["run", "--docker-host", DOCKER_HOST]).args(options);
        let (process, log) = scene.machine().spawn(&mut run, "limited.log")?;
        Ok(Self { process, log })
    }

    fn log(&self) -> Result<String> {
        Ok(std::fs::read_to_string(&self.log)?)
    }

    /// Waits until it says that a container is in a state, and returns all it says.
    fn wait(&mut self, scene: &Scene, name: &str, state: State) -> Result<Status> {
        let plugin = binaries::path(Binary::Plugin)?;
        wait_for(DEADLINE, &format!("{name} to be {state:?}"), || {
            let text = scene.machine().run(&plugin, ["status", "--format", "json"]);
            let text = text.with_context(|| format!("{:?}", self.log()))?;
            let status: Status = serde_json::from_str(&text)?;
            let found = status.containers.iter().find(|container| container.name == name);
            ensure!(found.is_some_and(|found| found.state == state), "{status:?}");
            Ok(status)
        })
    }
}
