//! `top` and `status --watch`, of a real daemon and real packets, also in a terminal.

use std::{
    fs,
    net::SocketAddr,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, anyhow, ensure};
use ebpf_netns_plugin::status::State;
use ebpf_netns_tests::{
    DEADLINE, Daemon, Machine,
    binaries::{self, Binary},
    command::{output_of, stdout_of},
    privilege,
    terminal::Terminal,
    wait_for,
};
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::scene::{ECHO, Scene, wait_state};

/// A port that the policy denies.
const DENIED: u16 = 9;
const UNAVAILABLE: i32 = 69;

/// A container of which some packets pass and some are dropped.
fn web(scene: &Scene, daemon: &Daemon<'_>) -> Result<()> {
    scene.run("web", &[("tc.ingress", "deny udp 9; allow any")])?;
    wait_state(daemon, "web", State::Enforced)?;
    scene.wait_listening("web")
}

/// Does it while the host sends datagrams to the container, to both ports.
fn while_traffic_flows<T>(scene: &Scene, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let (host, [address, _]) = (scene.engine().from_host(), scene.addresses("web")?);
    let done = AtomicBool::new(false);
    let send = || -> Result<()> {
        while !done.load(Ordering::Relaxed) {
            host.volley(SocketAddr::from((address, ECHO)), Duration::from_millis(50))?;
            host.scatter(SocketAddr::from((address, DENIED)), 20)?;
        }
        Ok(())
    };
    thread::scope(|scope| {
        let sender = scope.spawn(send);
        let result = work();
        done.store(true, Ordering::Relaxed);
        sender.join().map_err(|_panic| anyhow!("the sender panicked"))??;
        result
    })
}

#[test]
fn top_shows_rates_and_drops_while_traffic_flows() -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    let scene = Scene::start()?;
    let daemon = scene.daemon()?;
    web(&scene, &daemon)?;
    let asked = ["top", "--iterations=2", "--format=json", "--interval=1"];
    let text = while_traffic_flows(&scene, || stdout_of(daemon.plugin()?.args(asked)))?;
    let lines: Vec<Value> = text.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    ensure!(lines.len() == 2, "a line an iteration: {text}");
    for line in &lines {
        ensure!(line["docker"]["state"] == "connected" && line["strict"] == false, "{line}");
        ensure!(line["enforced"] == 1 && line["closed"] == 0, "{line}");
        let web = &line["interfaces"][0];
        ensure!(web["container"] == "web" && web["interface"] == "eth0", "{web}");
        let rates = [
            &web["in"]["packets_per_second"],
            &web["in"]["bytes_per_second"],
            &web["drops_per_second"],
        ];
        let above_zero = |rate: &&Value| rate.as_f64().is_some_and(|rate| rate > 0.0);
        ensure!(rates.iter().all(above_zero), "{web}");
        let seconds = line["seconds"].as_f64().context("over how long")?;
        ensure!((0.9..5.0).contains(&seconds), "{line}");
    }
    let denied = |line: &Value| line["interfaces"][0]["dropped"]["denied"].as_u64();
    ensure!(denied(&lines[0]) > Some(0) && denied(&lines[1]) > denied(&lines[0]), "{text}");

    let table = stdout_of(daemon.plugin()?.args(["top", "--once", "--interval=0.2"]))?;
    ensure!(table.starts_with("daemon 0."), "{table}");
    ensure!(table.contains("1 enforced, 0 closed, 0 waiting"), "{table}");
    ensure!(
        table.lines().any(|line| line.starts_with("web ") && line.contains("denied")),
        "{table}"
    );
    ensure!(!table.contains('\u{1b}'), "no escape codes: {table:?}");
    // In a terminal too, what is wanted once does not take it.
    let program = binaries::path(Binary::Plugin)?;
    let program = program.to_str().context("its path is text")?;
    let once = ["top", "--once", "--interval=0.2"];
    let terminal = Terminal::start(scene.machine(), &[&[program], &once[..]].concat(), 120, 24)?;
    terminal.wait_screen("the table", |screen| screen.contains("web "))?;
    ensure!(!terminal.is_taken(), "it took the terminal");
    ensure!(terminal.wait_restored()?.success(), "top --once ends well");
    scene.end(daemon)
}

#[test]
fn the_view_lives_in_a_terminal_and_gives_it_back() -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    let scene = Scene::start()?;
    let daemon = scene.daemon()?;
    web(&scene, &daemon)?;
    let program = binaries::path(Binary::Plugin)?;
    let program = program.to_str().context("its path is text")?;
    let view = |arguments: &[&str]| {
        let words = [&[program, "top"], arguments].concat();
        Terminal::start(scene.machine(), &words, 80, 24)
    };
    let mut terminal = view(&["--interval=0.2"])?;
    while_traffic_flows(&scene, || {
        // Rates are known at the second answer; what the container is sent is echoed.
        let flows = |line: &str| line.starts_with("web ") && !line.contains('-');
        terminal.wait_screen("rates", |screen| screen.lines().any(flows))
    })?;
    ensure!(terminal.is_taken(), "the view has the screen");
    terminal.type_keys("\r")?;
    terminal.wait_screen("details", |screen| screen.contains("dropped, denied: "))?;
    terminal.type_keys("\u{1b}")?;
    terminal.wait_screen("the table", |screen| screen.contains("CONTAINER"))?;
    terminal.type_keys("/nobody\r")?;
    terminal.wait_screen("no row", |screen| screen.contains("nothing is named nobody"))?;
    terminal.type_keys("\u{1b}")?;
    terminal.wait_screen("the row", |screen| screen.contains("enforced eth0"))?;
    terminal.resize(40, 10)?;
    terminal.wait_screen("the small screen", |screen| screen.contains("Enter F10Quit"))?;
    terminal.resize(80, 24)?;
    terminal.wait_screen("the large screen", |screen| screen.contains("Enter:Details"))?;

    daemon.kill()?;
    let lost = |screen: &str| screen.contains("NO ANSWER") && screen.contains("enforced eth0");
    terminal.wait_screen("the loss", lost)?;
    let daemon = scene.daemon()?;
    terminal.wait_screen("the next daemon", |screen| !screen.contains("NO ANSWER"))?;
    terminal.type_keys("q")?;
    ensure!(terminal.wait_restored()?.success(), "q ends it well");

    for (how, keys, signal) in [
        ("Ctrl-C", "\u{3}", None),
        ("F10", "\u{1b}[21~", None),
        ("SIGTERM", "", Some(Signal::SIGTERM)),
        ("SIGINT", "", Some(Signal::SIGINT)),
        ("SIGHUP", "", Some(Signal::SIGHUP)),
    ] {
        let mut terminal = view(&[])?;
        terminal.wait_screen("the view", |screen| screen.contains("web "))?;
        ensure!(terminal.is_taken(), "the view has the screen");
        terminal.type_keys(keys)?;
        if let Some(signal) = signal {
            terminal.signal(signal)?;
        }
        let status = terminal.wait_restored().context(how)?;
        ensure!(status.success(), "{how} ends it with {status}");
    }
    scene.end(daemon)
}

#[test]
fn status_is_watched_until_it_is_interrupted() -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    let machine = Machine::start()?;
    for verb in [&["top"][..], &["top", "--once"], &["status", "--watch"]] {
        let output = output_of(machine.command(binaries::path(Binary::Plugin)?).args(verb))?;
        ensure!(output.status.code() == Some(UNAVAILABLE), "without a daemon: {output:?}");
    }
    let daemon = Daemon::start(&machine)?;
    let mut watch = daemon.plugin()?;
    let (mut watch, log) = machine.spawn(watch.args(["status", "--watch", "0.2"]), "watch.log")?;
    let again = "no container has labels of ebpf-netns\n\n";
    wait_for(DEADLINE, "the status to be told twice", || {
        let text = fs::read_to_string(&log)?;
        ensure!(text.matches(again).count() >= 2, "{text:?}");
        ensure!(!text.contains('\u{1b}'), "no escape codes: {text:?}");
        Ok(())
    })?;
    watch.signal(Signal::SIGINT)?;
    let status = watch.wait(DEADLINE)?;
    ensure!(status.success(), "it ended with {status}");
    daemon.stop()
}
