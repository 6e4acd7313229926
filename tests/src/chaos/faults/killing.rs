//! The daemon killed: at each system call that changes something, by each signal, under a flood,
//! and for lack of memory.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::Signal;

use crate::{
    DaemonOptions,
    chaos::{
        arena::{Arena, CONVERGENCE, OTHER},
        counter,
        fault::{Fault, GUARDED, Outcome, Size},
        policy::Policy,
        trace::{Trace, calls, kill_at, wrapper},
    },
    stream::Kind,
    wait::{DEADLINE, wait_for, wait_until},
};

pub(super) const FAULTS: &[Fault] = &[
    Fault {
        id: "F5",
        name: "kill -9 at each system call of attaching, and of starting over what is there",
        expected: "never open; the next start repairs",
        engine: &[],
        run: while_attaching,
    },
    Fault {
        id: "F7",
        name: "kill -9 at each system call of detaching and cleaning up",
        expected: "nothing of what is gone is left after the next start",
        engine: &[],
        run: while_detaching,
    },
    Fault {
        id: "F8",
        name: "SIGTERM, SIGINT, SIGHUP, and SIGTERM twice",
        expected: "policies stay; it ends within 10 s; SIGHUP loads the configuration again",
        engine: &[],
        run: signals,
    },
    Fault {
        id: "F9",
        name: "kill -9 and start again, under a flood",
        expected: "no forbidden frame",
        engine: &[],
        run: under_flood,
    },
    Fault {
        id: "F11",
        name: "no memory for the daemon",
        expected: "policies stay; the next start repairs",
        engine: &[],
        run: no_memory,
    },
    Fault {
        id: "F12",
        name: "the daemon aborts (SIGABRT), as it does when any of its threads panics, or crashes",
        expected: "policies stay; the next start repairs",
        engine: &[],
        run: crashes,
    },
];

/// What the daemon does when it is killed.
pub(super) struct Phase {
    /// Brings about what is traced.
    pub(super) act: fn(&Arena<'_>) -> Result<()>,
    /// Brings back what was before it.
    pub(super) undo: fn(&Arena<'_>) -> Result<()>,
}

/// A container that is connected to another network and disconnected from it again is all that it
/// takes to attach and to detach, and is quicker than a start.
const HOT: &str = "hot";

fn connect(arena: &Arena<'_>) -> Result<()> {
    arena.engine().docker(["network", "connect", OTHER, HOT]).map(drop)
}

fn disconnect(arena: &Arena<'_>) -> Result<()> {
    arena.engine().docker(["network", "disconnect", OTHER, HOT]).map(drop)
}

fn while_attaching(arena: &mut Arena<'_>, size: Size) -> Result<Outcome> {
    arena.run(HOT, Policy::XdpDropUdp)?;
    arena.converged(CONVERGENCE)?;
    let starting = walk_start(arena, size.of(4, 24, usize::MAX))?;
    // While the daemon is dead, nobody closes a veth that is made then: what the documentation
    // says. Strict mode is for that, and has a fault of its own.
    arena.excuse(HOT);
    let phase = Phase { act: connect, undo: disconnect };
    let attaching = walk(arena, &phase, size.of(4, 24, usize::MAX))?;
    Ok(Outcome::Passed(format!("starting: {starting}; attaching: {attaching}")))
}

fn while_detaching(arena: &mut Arena<'_>, size: Size) -> Result<Outcome> {
    arena.run(HOT, Policy::TcDropUdp)?;
    arena.excuse(HOT);
    connect(arena)?;
    arena.converged(CONVERGENCE)?;
    let phase = Phase { act: disconnect, undo: connect };
    let detaching = walk(arena, &phase, size.of(4, 24, usize::MAX))?;
    disconnect(arena)?;
    Ok(Outcome::Passed(detaching.to_string()))
}

/// What a walk over system calls did.
pub(super) struct Walked {
    points: usize,
    killed: usize,
    slowest: Duration,
}

impl std::fmt::Display for Walked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { points, killed, slowest } = self;
        let slowest = slowest.as_millis();
        write!(f, "{points} kill points, {killed} hit, all converged, slowest {slowest} ms")
    }
}

/// Kills the running daemon at each call that it makes while a phase is on.
pub(super) fn walk(arena: &mut Arena<'_>, phase: &Phase, most: usize) -> Result<Walked> {
    let trace = Trace::of(arena.machine(), arena.daemon()?, &[])?;
    (phase.act)(arena)?;
    arena.converged(DEADLINE)?;
    let counted = trace.end()?;
    (phase.undo)(arena)?;
    arena.converged(DEADLINE)?;
    let mut walked = Walked { points: 0, killed: 0, slowest: Duration::ZERO };
    for (call, number) in points(&counted, most) {
        one_kill(arena, phase, call, number, &mut walked)
            .with_context(|| format!("killed at the {number}th {call}"))?;
    }
    Ok(walked)
}

fn one_kill(
    arena: &mut Arena<'_>,
    phase: &Phase,
    call: &str,
    number: usize,
    walked: &mut Walked,
) -> Result<()> {
    let options = kill_at(call, number);
    let options = options.each_ref().map(String::as_str);
    let trace = Trace::of(arena.machine(), arena.daemon()?, &options)?;
    (phase.act)(arena)?;
    // It dies, or it does all that it has to.
    let pid = arena.daemon()?.pid();
    let lives = || std::path::Path::new(&format!("/proc/{pid}/fd/0")).exists();
    wait_until(DEADLINE, "the daemon to die or to be done", || {
        !lives() || arena.converged(Duration::ZERO).is_ok()
    })?;
    drop(trace.end());
    walked.points += 1;
    if !lives() {
        walked.killed += 1;
        drop(arena.take_daemon()?);
        arena.start_daemon()?;
    }
    walked.slowest = walked.slowest.max(arena.converged(CONVERGENCE)?);
    (phase.undo)(arena)?;
    arena.converged(CONVERGENCE)?;
    Ok(())
}

/// Kills the daemon at each call of its start, over policies that stand already.
fn walk_start(arena: &mut Arena<'_>, most: usize) -> Result<Walked> {
    arena.kill_daemon()?;
    let (output, words) = wrapper(arena.machine(), &[]);
    arena.options.wrapper = words;
    arena.start_daemon()?;
    arena.converged(DEADLINE)?;
    end_traced(arena)?;
    let counted = calls(&output)?;
    let mut walked = Walked { points: 0, killed: 0, slowest: Duration::ZERO };
    for (call, number) in points(&counted, most) {
        let options = kill_at(call, number);
        arena.options.wrapper = wrapper(arena.machine(), &options.each_ref().map(String::as_str)).1;
        walked.points += 1;
        if arena.start_daemon().is_ok() {
            end_traced(arena)?;
        } else {
            walked.killed += 1;
        }
        arena.options.wrapper.clear();
        arena.start_daemon()?;
        let took = arena
            .converged(CONVERGENCE)
            .with_context(|| format!("killed at the {number}th {call} of its start"))?;
        walked.slowest = walked.slowest.max(took);
        let leaks = arena.leaks()?;
        ensure!(leaks.is_empty(), "at the {number}th {call}, frames came through: {leaks:?}");
        arena.kill_daemon()?;
    }
    arena.options.wrapper.clear();
    arena.start_daemon()?;
    Ok(walked)
}

/// Ends a daemon that runs below `strace`, which passes SIGTERM on.
fn end_traced(arena: &mut Arena<'_>) -> Result<()> {
    arena.take_daemon()?.end()
}

/// Every point, or as many as are wanted, spread evenly over them.
fn points(counted: &BTreeMap<&'static str, usize>, most: usize) -> Vec<(&'static str, usize)> {
    let all: Vec<_> = counted
        .iter()
        .flat_map(|(call, count)| (1..=*count).map(move |number| (*call, number)))
        .collect();
    let step = all.len().div_ceil(most).max(1);
    all.into_iter().step_by(step).collect()
}

/// The operator's policy stops to drop ICMP, and frames of it show that SIGHUP was heeded.
fn hang_up(arena: &mut Arena<'_>) -> Result<()> {
    arena.configure()?;
    arena.write_policy(1)?;
    arena.daemon()?.signal(Signal::SIGHUP)?;
    let named = arena.run("named", Policy::TcNamed)?;
    let echoes = |arena: &Arena<'_>| -> Result<u64> {
        let table = arena.counter().settled()?;
        Ok(counter::received(&table, named.id, |kind| kind == Kind::Icmp))
    };
    wait_for(DEADLINE, "the stricter policy", || {
        let (before, after) = (echoes(arena)?, echoes(arena)?);
        ensure!(before == after, "{} frames of ICMP came meanwhile", after - before);
        Ok(())
    })?;
    let before = echoes(arena)?;
    arena.write_policy(0)?;
    arena.daemon()?.signal(Signal::SIGHUP)?;
    wait_for(DEADLINE, "the looser policy", || {
        ensure!(echoes(arena)? > before, "no ICMP comes");
        Ok(())
    })?;
    arena.converged(CONVERGENCE).context("after SIGHUP")?;
    arena.tight("after SIGHUP")?;
    arena.remove(&["named"])?;
    arena.restart_daemon(DaemonOptions::default())
}

fn crashes(arena: &mut Arena<'_>, size: Size) -> Result<Outcome> {
    let rounds = size.of(1, 3, 20);
    for _ in 0..rounds {
        for signal in [Signal::SIGABRT, Signal::SIGSEGV] {
            let daemon = arena.take_daemon()?;
            daemon.signal(signal)?;
            daemon.end()?;
            arena.tight(&format!("after {signal}"))?;
            arena.start_daemon()?;
            arena.converged(CONVERGENCE)?;
        }
    }
    Ok(Outcome::Passed(format!("{} crashes, 0 forbidden frames", 2 * rounds)))
}

fn signals(arena: &mut Arena<'_>, _size: Size) -> Result<Outcome> {
    hang_up(arena)?;
    let mut slowest = Duration::ZERO;
    for (signal, again) in
        [(Signal::SIGTERM, false), (Signal::SIGINT, false), (Signal::SIGTERM, true)]
    {
        let start = Instant::now();
        let daemon = arena.take_daemon()?;
        if again {
            daemon.signal(signal)?;
            // A second signal may come when it is over already.
            daemon.end()?;
        } else {
            daemon.stop_by(signal)?;
        }
        slowest = slowest.max(start.elapsed());
        let leaks = arena.leaks()?;
        ensure!(leaks.is_empty(), "after {signal}, frames came through: {leaks:?}");
        arena.start_daemon()?;
        arena.converged(CONVERGENCE)?;
    }
    ensure!(slowest < Duration::from_secs(10), "it took {slowest:?} to end");
    let slowest = slowest.as_millis();
    Ok(Outcome::Passed(format!(
        "0 forbidden frames; reloaded by SIGHUP; ended within {slowest} ms"
    )))
}

fn under_flood(arena: &mut Arena<'_>, size: Size) -> Result<Outcome> {
    let cycles = size.of(3, 20, 20);
    let flood = arena.flood(GUARDED)?;
    let (start, before) = (Instant::now(), flood.sent()?);
    let mut slowest = Duration::ZERO;
    for _ in 0..cycles {
        arena.kill_daemon()?;
        arena.start_daemon()?;
        slowest = slowest.max(arena.converged(Duration::from_secs(10))?);
        let leaks = arena.leaks()?;
        ensure!(leaks.is_empty(), "frames came through: {leaks:?}");
    }
    let sent = flood.sent()? - before;
    let rate = u128::from(sent) * 1000 / start.elapsed().as_millis().max(1);
    let slowest = slowest.as_millis();
    Ok(Outcome::Passed(format!(
        "{cycles} cycles under {} thousand frames a second: 0 of {sent} came through; slowest \
         convergence {slowest} ms",
        rate / 1000
    )))
}

fn no_memory(arena: &mut Arena<'_>, size: Size) -> Result<Outcome> {
    let rounds = size.of(1, 3, 10);
    for round in 0..rounds {
        let pid = arena.daemon()?.pid().to_string();
        // What it has stays; what it asks for from now on is refused.
        crate::command::stdout_of(std::process::Command::new("prlimit").args([
            "--as=1000000",
            "--pid",
            &pid,
        ]))?;
        for start in 0..3 {
            let name = format!("hungry-{round}-{start}");
            arena.run(&name, Policy::XdpDropUdp)?;
            // Whoever starts while the daemon is dead is open: documented.
            arena.excuse(&name);
        }
        // Whether it has died of it or not, the next one has everything.
        drop(arena.take_daemon()?);
        arena.start_daemon()?;
        arena.converged(CONVERGENCE)?;
    }
    Ok(Outcome::Passed(format!("{rounds} times: those that were enforced stayed so")))
}
