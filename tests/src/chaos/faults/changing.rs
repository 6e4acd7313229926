//! A policy that changes under a flood, and the daemon killed while it does.
//!
//! What is forbidden before and after is forbidden between, too. A policy changes when the operator
//! changes it and has the daemon load it again, and when a container with labels joins another's
//! network namespace or leaves it: their demands add up.

use std::time::Instant;

use anyhow::{Result, ensure};

use crate::{
    chaos::{
        arena::{Arena, CONVERGENCE},
        fault::{Fault, GUARDED, Outcome, Size},
        policy::{NAMED, Policy},
    },
    wait::{DEADLINE, wait_for},
};

use super::killing::{Phase, walk};

pub(super) const FAULTS: &[Fault] = &[
    Fault {
        id: "F6",
        name: "kill -9 at each system call of a policy's change, and swaps and joiners under a flood",
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

/// Swaps the operator's policy; a daemon that dies of it says nothing.
fn swap_to(arena: &Arena<'_>, which: usize) -> Result<String> {
    arena.write_policy(which)?;
    arena.plugin(&["reload"])
}

fn try_swap(arena: &Arena<'_>) -> Result<()> {
    arena.write_policy(1)?;
    arena.plugin(&["reload"]).ok();
    Ok(())
}

fn swap_back(arena: &Arena<'_>) -> Result<()> {
    swap_to(arena, 0).map(drop)
}

fn changes(arena: &mut Arena<'_>, size: Size) -> Result<Outcome> {
    arena.configure()?;
    arena.run(NAMED, Policy::TcNamed)?;
    arena.run("swapped-xdp", Policy::XdpNamed)?;
    arena.converged(CONVERGENCE)?;
    let most = size.of(4, 24, usize::MAX);
    let reloading = walk(arena, &Phase { act: try_swap, undo: swap_back }, most)?;
    arena.tight("killed while it reloads")?;
    let swaps = Changes {
        flooded: NAMED,
        what: "swaps",
        count: size.of(10, 200, 2000),
        change: |arena, round| {
            let said = swap_to(arena, (round + 1) % 2)?;
            ensure!(said.contains("changed: 2"), "swap {round} changes both containers: {said}");
            Ok(())
        },
    };
    let swapped = under_flood(arena, size, &swaps)?;

    let shared = format!("container:{GUARDED}");
    arena.make(JOINER, Policy::TcDropUdp, &["create", "--network", &shared])?;
    let joining = walk(arena, &Phase { act: join, undo: leave }, most)?;
    let joins = Changes {
        flooded: GUARDED,
        what: "joiners that come or go",
        count: size.of(4, 40, 200),
        change: |arena, round| {
            if round % 2 == 0 { join(arena) } else { leave(arena) }?;
            arena.converged(CONVERGENCE).map(drop)
        },
    };
    let joined = under_flood(arena, size, &joins)?;
    arena.remove(&[JOINER, NAMED, "swapped-xdp"])?;
    Ok(Outcome::Passed(format!("reloads: {reloading}; {swapped}; joiners: {joining}; {joined}")))
}

/// Changes that are made while a container sends what is forbidden as fast as it can.
struct Changes<'a> {
    flooded: &'a str,
    /// What they are called.
    what: &'a str,
    count: usize,
    change: fn(&Arena<'_>, usize) -> Result<()>,
}

/// What the flood has to reach, in thousands of frames a second, for figures to be documented.
const FLOOD: u128 = 200;

/// Makes changes under a flood, and lets it rise between them: whoever makes them takes a CPU from
/// it, and each policy is to see frames.
fn under_flood(arena: &Arena<'_>, size: Size, changes: &Changes<'_>) -> Result<String> {
    let Changes { flooded, what, count, change } = *changes;
    let flood = arena.flood(flooded)?;
    let (start, before) = (Instant::now(), flood.sent()?);
    for round in 0..count {
        change(arena, round)?;
        // What is told next may have been sent before the change; what is told after that was not.
        let (mut told, mut last) = (0, flood.sent()?);
        wait_for(DEADLINE, "the flood to go on", || {
            let sent = flood.sent()?;
            if sent > last {
                (told, last) = (told + 1, sent);
            }
            ensure!(told >= 2, "it sent {sent} frames so far");
            Ok(())
        })?;
        if round % 50 == 49 {
            arena.tight(&format!("after {round} {what}"))?;
        }
    }
    let sent = flood.sent()? - before;
    let rate = u128::from(sent) / start.elapsed().as_millis().max(1);
    arena.tight(&format!("after the {what}"))?;
    let fast = rate >= FLOOD || size != Size::Full;
    ensure!(fast, "{count} {what} under {rate} thousand frames a second, of {FLOOD} at least");
    Ok(format!("{count} {what} under {rate} thousand frames a second: 0 of {sent} came through"))
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
