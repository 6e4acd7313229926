//! A policy that changes under a flood, and the daemon killed while it does.
//!
//! What is forbidden before and after is forbidden between, too. A policy changes when a container
//! with labels joins another's network namespace, and again when it leaves: their demands add up.

use std::time::Instant;

use anyhow::{Result, ensure};

use crate::chaos::{
    arena::{Arena, CONVERGENCE},
    fault::{Fault, GUARDED, Outcome, Size},
    policy::Policy,
};

use super::killing::{Phase, walk};

pub(super) const FAULTS: &[Fault] = &[
    Fault {
        id: "F6",
        name: "kill -9 at each system call of a policy's change, and changes under a flood",
        expected: "the old policy or the new one, never none",
        engine: &[],
        run: changes,
    },
    Fault {
        id: "F51",
        name: "strict mode: containers start while the daemon is dead",
        expected: "no frame of theirs at all, until a daemon has seen to them",
        engine: &[],
        run: strict,
    },
];

/// The container that comes and goes.
const JOINER: &str = "joiner";

fn join(arena: &Arena<'_>) -> Result<()> {
    arena.engine().docker(["start", JOINER]).map(drop)
}

fn leave(arena: &Arena<'_>) -> Result<()> {
    arena.engine().docker(["kill", JOINER]).map(drop)
}

fn changes(arena: &mut Arena<'_>, size: Size) -> Result<Outcome> {
    let shared = format!("container:{GUARDED}");
    arena.make(JOINER, Policy::TcDropUdp, &["create", "--network", &shared])?;
    let phase = Phase { act: join, undo: leave };
    let walked = walk(arena, &phase, size.of(4, 24, usize::MAX))?;

    let flood = arena.flood(GUARDED)?;
    let (start, before) = (Instant::now(), flood.sent()?);
    let changes = size.of(6, 100, 2000);
    for _ in 0..changes / 2 {
        for change in [join, leave] {
            change(arena)?;
            arena.converged(CONVERGENCE)?;
        }
        let leaks = arena.leaks()?;
        ensure!(leaks.is_empty(), "frames came through: {leaks:?}");
    }
    let sent = flood.sent()? - before;
    let rate = u128::from(sent) / start.elapsed().as_millis().max(1);
    arena.remove(&[JOINER])?;
    Ok(Outcome::Passed(format!(
        "{walked}; {changes} changes under {rate} thousand frames a second: 0 of {sent} came through"
    )))
}

fn strict(arena: &mut Arena<'_>, size: Size) -> Result<Outcome> {
    if !arena.plugin(&["run", "--help"])?.contains("--strict") {
        return Ok(Outcome::NotHere("this version has no strict mode".to_owned()));
    }
    arena.take_daemon()?.stop()?;
    arena.options.arguments = vec!["--strict".to_owned()];
    arena.start_daemon()?;
    arena.converged(CONVERGENCE)?;
    let starts = size.of(4, 20, 100);
    for index in 0..starts {
        arena.kill_daemon()?;
        let name = format!("orphan-{index}");
        let policy = if index % 2 == 0 { Policy::XdpDropUdp } else { Policy::None };
        let sender = arena.run(&name, policy)?;
        // An unlabelled one is closed for as long as nobody knows that it is: that is strict.
        if policy == Policy::None {
            arena.excuse(&name);
        }
        let table = arena.counter().settled()?;
        let through = crate::chaos::counter::received(&table, sender.id, |_| true);
        ensure!(through == 0, "{through} frames of {name} came through with the daemon dead");
        arena.start_daemon()?;
        arena.wait_received(sender.id, 1)?;
        arena.remove(&[&name])?;
    }
    Ok(Outcome::Passed(format!("{starts} starts with the daemon dead, 0 frames")))
}
