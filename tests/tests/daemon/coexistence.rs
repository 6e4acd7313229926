//! Others' programs on the same interface: they stay, they go on deciding, and a hook that they
//! hold is not taken from them.

use std::{
    env,
    ffi::OsStr,
    io::{self, Write as _},
    thread,
};

use anyhow::{Context as _, Result, ensure};
use aya::programs::{SchedClassifier, TcAttachType};
use ebpf_netns_plugin::status::State;
use ebpf_netns_tests::{DEADLINE, Process, privilege, wait_for};

use crate::{
    residue,
    scene::{ECHO, Reach, Scene, hooks, host_veth, only_interface, wait_state},
};

/// Somebody else's object: drops UDP, at XDP (`xdp`) or TC (`classifier`).
const FOREIGN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../plugin/bytecode/drop-udp.o");

/// Set for a copy of this program that stands for somebody else's tool: the interface.
const FOREIGN_TOOL: &str = "EBPF_NETNS_TEST_FOREIGN_TOOL";

const NO_UDP: Reach = Reach { udp: false, ..Reach::ALL };
const TCP_ALONE: Reach = Reach { tcp: true, ..Reach::NOTHING };

#[test]
fn t11_foreign_filters_and_qdiscs_survive_clsact() -> Result<()> {
    foreign_filters_and_qdiscs_survive("--tc=clsact")
}

#[test]
fn t11_foreign_filters_and_qdiscs_survive_tcx() -> Result<()> {
    foreign_filters_and_qdiscs_survive("--tc=tcx")
}

fn foreign_filters_and_qdiscs_survive(tc: &str) -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    let scene = Scene::start()?;
    let (engine, machine) = (scene.engine(), scene.machine());
    for name in ["web", "late"] {
        scene.run(name, &[("tc.policy", "drop-icmp")])?;
        scene.wait_listening(name)?;
    }
    let (_web, _late) = (
        engine.from_container("web")?.echo_server(ECHO)?,
        engine.from_container("late")?.echo_server(ECHO)?,
    );
    let veth = host_veth(&scene, "web")?.0;
    let shaper = ["root", "tbf", "rate", "1gbit", "burst", "128k", "latency", "50ms"];
    machine.run("tc", [&["qdisc", "add", "dev", &veth], &shaper[..]].concat())?;
    machine.run("tc", ["qdisc", "add", "dev", &veth, "clsact"])?;
    add_filter(&scene, &veth, "ingress")?;
    add_filter(&scene, &veth, "egress")?;
    let before = residue::attached(machine)?;
    assert_eq!(scene.reach_from_host("web")?, NO_UDP, "before the daemon, theirs alone");
    for round in ["first", "second"] {
        let daemon = scene.daemon_with(&[tc])?;
        wait_state(&daemon, "web", State::Enforced)?;
        assert_eq!(scene.reach_from_host("web")?, TCP_ALONE, "{round}: theirs and ours");
        scene.end(daemon)?;
        assert_eq!(residue::attached(machine)?, before, "{round}: theirs and nothing else is left");
        assert_eq!(scene.reach_from_host("web")?, NO_UDP, "{round}: theirs alone again");
    }

    // Somebody else comes when we are there already, to a qdisc that may be ours.
    let daemon = scene.daemon_with(&[tc])?;
    wait_state(&daemon, "late", State::Enforced)?;
    let late = host_veth(&scene, "late")?.0;
    // It may exist already, in which case others do as we do.
    drop(machine.run("tc", ["qdisc", "add", "dev", &late, "clsact"]));
    add_filter(&scene, &late, "ingress")?;
    assert_eq!(scene.reach_from_host("late")?, TCP_ALONE, "ours and then theirs");
    scene.end(daemon)?;
    let filters = machine.run("tc", ["filter", "show", "dev", &late, "ingress"])?;
    assert!(filters.contains("tc_drop_udp"), "theirs is left:\n{filters}");
    assert!(!filters.contains("ebpf_netns"), "ours is not:\n{filters}");
    assert_eq!(scene.reach_from_host("late")?, NO_UDP, "theirs alone decides");
    Ok(())
}

#[test]
fn a_foreign_tcx_program_survives_and_decides_too() -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    if let Some(interface) = env::var_os(FOREIGN_TOOL) {
        return be_foreign(&interface);
    }
    let scene = Scene::start()?;
    scene.run("web", &[("tc.policy", "drop-icmp")])?;
    scene.wait_listening("web")?;
    let _echo = scene.engine().from_container("web")?.echo_server(ECHO)?;
    let _tool = start_foreign(&scene, &host_veth(&scene, "web")?.0)?;
    assert_eq!(scene.reach_from_host("web")?, NO_UDP, "before the daemon, theirs alone");
    let daemon = scene.daemon_with(&["--tc=tcx"])?;
    wait_state(&daemon, "web", State::Enforced)?;
    assert_eq!(scene.reach_from_host("web")?, TCP_ALONE, "theirs and ours");
    scene.end(daemon)?;
    assert_eq!(scene.reach_from_host("web")?, NO_UDP, "theirs alone again");
    // A filter at clsact decides over what passes ours at TCX.
    let daemon = scene.daemon_with(&["--tc=clsact"])?;
    wait_state(&daemon, "web", State::Enforced)?;
    assert_eq!(scene.reach_from_host("web")?, TCP_ALONE, "their TCX and our clsact");
    scene.end(daemon)?;
    assert_eq!(scene.reach_from_host("web")?, NO_UDP, "theirs alone at the end");
    Ok(())
}

#[test]
fn an_xdp_hook_that_is_held_is_not_taken() -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    let scene = Scene::start()?;
    let (engine, machine) = (scene.engine(), scene.machine());
    let policy = ("xdp.policy", "drop-icmp");
    scene.run("auto", &[policy])?;
    for mode in ["generic", "native"] {
        scene.run(mode, &[policy, ("xdp.mode", mode)])?;
    }
    let names = ["auto", "generic", "native"];
    let mut echoes = Vec::new();
    for name in names {
        scene.wait_listening(name)?;
        echoes.push(engine.from_container(name)?.echo_server(ECHO)?);
        let veth = host_veth(&scene, name)?.0;
        machine
            .run("ip", ["link", "set", "dev", &veth, "xdpgeneric", "obj", FOREIGN, "sec", "xdp"])?;
    }
    let before = residue::attached(machine)?;
    let daemon = scene.daemon()?;
    for mode in ["generic", "native"] {
        let closed = wait_state(&daemon, mode, State::Closed)?;
        let reason = closed.reason.unwrap_or_default();
        for word in ["held by program ", "bpftool prog show id", "xdp off", "tc.policy"] {
            assert!(reason.contains(word), "{mode}: the reason {reason:?} has {word:?}");
        }
        assert_eq!(scene.reach_from_host(mode)?, Reach::NOTHING, "{mode}: closed");
    }
    let auto = wait_state(&daemon, "auto", State::Enforced)?;
    let egress = hooks(&auto)?;
    let egress = egress.get("egress").context("egress is policed")?;
    assert_eq!((egress.hook.as_str(), egress.policy.as_str()), ("tcx", "drop-icmp"), "{auto:?}");
    let notes = only_interface(&auto)?.notes.join("; ");
    for word in ["bpftool prog show id", "TC applies xdp.policy instead"] {
        assert!(notes.contains(word), "auto: the note {notes:?} has {word:?}");
    }
    assert_eq!(scene.reach_from_host("auto")?, TCP_ALONE, "their XDP and our TCX");

    // The hook is free again, and taken without being asked.
    machine
        .run("ip", ["link", "set", "dev", &host_veth(&scene, "generic")?.0, "xdpgeneric", "off"])?;
    wait_state(&daemon, "generic", State::Enforced)?;
    assert_eq!(
        scene.reach_from_host("generic")?,
        Reach { icmp: false, ..Reach::ALL },
        "ours alone"
    );
    let veth = host_veth(&scene, "generic")?.0;
    let taken = machine
        .run("ip", ["link", "set", "dev", &veth, "xdpgeneric", "obj", FOREIGN, "sec", "xdp"]);
    assert!(taken.is_err(), "others cannot take ours by accident");
    scene.end(daemon)?;
    machine.run("ip", ["link", "set", "dev", &veth, "xdpgeneric", "obj", FOREIGN, "sec", "xdp"])?;
    assert_eq!(normal(&residue::attached(machine)?), normal(&before), "theirs alone is left");
    for name in names {
        assert_eq!(scene.reach_from_host(name)?, NO_UDP, "{name}: theirs alone decides");
    }
    Ok(())
}

/// Without program ids, which differ after each load.
fn normal(attached: &str) -> String {
    attached.chars().filter(|c| !c.is_ascii_digit()).collect()
}

/// Somebody else's clsact filter, after ours in order.
fn add_filter(scene: &Scene, veth: &str, side: &str) -> Result<()> {
    let filter = ["filter", "add", "dev", veth, side, "prio", "10", "bpf", "direct-action"];
    let object = ["object-file", FOREIGN, "section", "classifier"];
    scene.machine().run("tc", filter.iter().chain(&object)).map(drop)
}

/// Starts this test program again, as somebody else's tool.
fn start_foreign(scene: &Scene, veth: &str) -> Result<Process> {
    let mut tool = scene.machine().command(env::current_exe()?);
    let test = "coexistence::a_foreign_tcx_program_survives_and_decides_too";
    tool.args([test, "--exact", "--nocapture"]).env(FOREIGN_TOOL, veth);
    let (mut process, log) = scene.machine().spawn(&mut tool, "foreign-tool.log")?;
    wait_for(DEADLINE, "the foreign tool to attach", || {
        let said = std::fs::read_to_string(&log)?;
        ensure!(said.contains("attached") || !process.is_running()?, "not yet");
        Ok(())
    })?;
    ensure!(process.is_running()?, "it ended: {}", std::fs::read_to_string(&log)?);
    Ok(process)
}

/// Attaches to both sides of an interface with TCX, and stays until it is killed.
fn be_foreign(interface: &OsStr) -> Result<()> {
    let interface = interface.to_str().context("the name of an interface")?;
    let mut object = aya::Ebpf::load_file(FOREIGN)?;
    let program = object.program_mut("tc_drop_udp").context("it has the program")?;
    let program: &mut SchedClassifier = program.try_into()?;
    program.load()?;
    program.attach(interface, TcAttachType::Ingress)?;
    program.attach(interface, TcAttachType::Egress)?;
    writeln!(io::stdout(), "attached")?;
    loop {
        thread::park();
    }
}
