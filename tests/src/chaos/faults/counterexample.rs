//! What the counter is worth: a tool that attaches on Docker's `start` event, as many do, leaks.
//!
//! The daemon is not running. When Docker says that the container has started, its veth is looked
//! up, and a program that drops everything is attached to it by `ip link … xdp`.

use std::{
    collections::BTreeSet,
    io::{BufRead as _, BufReader},
    process::Stdio,
};

use anyhow::{Context as _, Result, ensure};

use crate::chaos::{
    arena::Arena,
    counter,
    fault::{Outcome, Size},
    policy::Policy,
};

/// The committed preset that drops everything.
const DROP_ALL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../plugin/bytecode/drop-all.o");

pub(super) fn run(arena: &mut Arena<'_>, size: Size) -> Result<Outcome> {
    arena.take_daemon()?.stop()?;
    let starts = size.of(3, 20, 60);
    let (mut leaking, mut leaked) = (0, 0);
    for round in 0..starts {
        let name = format!("late-guard-{round}");
        let frames = one_start(arena, &name)?;
        leaked += frames;
        leaking += usize::from(frames > 0);
        arena.remove(&[&name])?;
    }
    ensure!(leaked > 0, "nothing leaked in {starts} starts: the counter does not count");
    // Docker works, and the daemon comes back to what it left.
    arena.start_daemon()?;
    Ok(Outcome::Passed(format!("{leaking} of {starts} starts leaked, {leaked} frames in all")))
}

/// Starts a container that should be closed, and closes it when Docker says that it has started.
fn one_start(arena: &mut Arena<'_>, name: &str) -> Result<u64> {
    let sender = arena.create(name, Policy::DropAll)?;
    arena.excuse(name);
    let before = ports(arena)?;
    let mut events = arena.engine().docker_command();
    events.args(["events", "--since", "1m", "--filter", &format!("container={name}")]);
    events.args(["--filter", "event=create", "--filter", "event=start", "--format", "{{.Action}}"]);
    let mut events = events
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .context("start docker events")?;
    let mut lines = BufReader::new(events.stdout.take().context("it has a stdout")?).lines();
    let mut next = || -> Result<String> { Ok(lines.next().context("docker events ended")??) };
    // What is told again shows that the rest will be told at once.
    ensure!(next()? == "create", "the container was created");
    let engine = arena.engine();
    let frames = std::thread::scope(|scope| -> Result<u64> {
        let starting = scope.spawn(|| engine.docker(["start", name]));
        ensure!(next()? == "start", "the container has started");
        for port in ports(arena)?.difference(&before) {
            let attach = ["link", "set", "dev", port, "xdp", "obj", DROP_ALL, "sec", "xdp"];
            arena.machine().run("ip", attach)?;
        }
        starting.join().ok().context("the start panicked")??;
        let table = arena.counter().settled()?;
        Ok(counter::received(&table, sender.id, |_| true))
    });
    events.kill().ok();
    events.wait().context("the end of docker events")?;
    frames
}

/// The veths of the machine.
fn ports(arena: &Arena<'_>) -> Result<BTreeSet<String>> {
    let shown = arena.machine().run("ip", ["-brief", "link", "show", "type", "veth"])?;
    let names = shown.lines().filter_map(|line| line.split(['@', ' ']).next());
    Ok(names.map(str::to_owned).collect())
}
