//! Containers that start: many, at once, beside others, and with labels that nobody understands.

use std::thread;

use anyhow::{Context as _, Result, anyhow, ensure};

use crate::chaos::{
    arena::{Arena, CONVERGENCE, LAN, OTHER, Sender, run_arguments},
    counter,
    fault::{Fault, Outcome, Size},
    hogs::Hogs,
    policy::Policy,
};

pub(super) const FAULTS: &[Fault] = &[
    Fault {
        id: "F0",
        name: "counter-example: a tool that acts on Docker's `start` event",
        expected: "frames are seen to leak: the counter counts",
        engine: &[],
        run: super::counterexample::run,
    },
    Fault {
        id: "F1",
        name: "containers send from their first instruction: one after another, 6 and 16 at once, \
               with busy CPUs, and on networks connected later",
        expected: "no forbidden frame",
        engine: &[],
        run: from_the_first_instruction,
    },
    Fault {
        id: "F2",
        name: "16 containers start at once",
        expected: "no forbidden frame; the policy stands within 2 s",
        engine: &[],
        run: at_once,
    },
    Fault {
        id: "F3",
        name: "unlabelled containers start beside labelled ones",
        expected: "they lose nothing, from their first frame on",
        engine: &[],
        run: innocents_start,
    },
    Fault {
        id: "F4",
        name: "a label that nobody understands",
        expected: "the container is closed, and `status` says why",
        engine: &[],
        run: bad_label,
    },
];

/// A way to start containers.
struct Way {
    name: &'static str,
    at_once: usize,
    hogs: usize,
    /// Of ten starts, how many are of this kind.
    share: usize,
    hot_plug: bool,
}

const WAYS: [Way; 5] = [
    Way { name: "serial", at_once: 1, hogs: 0, share: 3, hot_plug: false },
    Way { name: "6 at once", at_once: 6, hogs: 0, share: 2, hot_plug: false },
    Way { name: "16 at once", at_once: 16, hogs: 0, share: 2, hot_plug: false },
    Way { name: "6 at once with busy CPUs", at_once: 6, hogs: 8, share: 2, hot_plug: false },
    Way { name: "connected later", at_once: 4, hogs: 0, share: 1, hot_plug: true },
];

/// What labels the containers that start have, in turn.
const POLICIES: [Policy; 3] = [Policy::XdpDropUdp, Policy::TcDropUdp, Policy::DropAll];

fn from_the_first_instruction(arena: &mut Arena<'_>, size: Size) -> Result<Outcome> {
    let total = size.of(10, 100, 1000);
    let mut figures = Vec::new();
    let mut started = 0;
    for way in &WAYS {
        let count = (total * way.share / 10).max(1);
        let hogs = Hogs::start(arena.machine(), way.hogs)?;
        let mut left = count;
        while left > 0 {
            let batch = left.min(way.at_once);
            start_and_go(arena, started, batch, way.hot_plug)
                .with_context(|| format!("starts {}", way.name))?;
            started += batch;
            left -= batch;
        }
        drop(hogs);
        figures.push(format!("{count} {}", way.name));
    }
    Ok(Outcome::Passed(format!("{started} starts ({}), 0 forbidden frames", figures.join(", "))))
}

/// Starts some containers at once, sees each let through what it may, and removes them.
pub(super) fn start_and_go(
    arena: &mut Arena<'_>,
    first: usize,
    count: usize,
    hot_plug: bool,
) -> Result<()> {
    let policies = POLICIES.into_iter().cycle().skip(first % POLICIES.len()).take(count);
    let started = start_batch(arena, &format!("start-{first}"), policies)?;
    for (name, sender) in &started {
        if hot_plug {
            arena.engine().docker(["network", "connect", OTHER, name])?;
        }
        if sender.policy.lets_some_out() {
            arena.wait_received(sender.id, 1)?;
        }
    }
    let leaks = arena.leaks()?;
    ensure!(leaks.is_empty(), "forbidden frames came through: {leaks:?}");
    let names: Vec<&str> = started.iter().map(|(name, _)| name.as_str()).collect();
    arena.remove(&names)?;
    // The counter forgets who is silent for long, and so must who asks it at the end.
    for name in names {
        arena.forget(name);
    }
    Ok(())
}

/// `docker run` of a container for each policy, all at the same time.
pub(super) fn start_batch(
    arena: &mut Arena<'_>,
    prefix: &str,
    policies: impl Iterator<Item = Policy>,
) -> Result<Vec<(String, Sender)>> {
    let senders: Vec<(String, Sender)> = policies
        .enumerate()
        .map(|(index, policy)| {
            let name = format!("{prefix}-{index}");
            let sender = arena.enlist(&name, policy);
            (name, sender)
        })
        .collect();
    let engine = arena.engine();
    thread::scope(|scope| {
        let runs: Vec<_> = senders
            .iter()
            .map(|(name, sender)| {
                let verb = ["run", "--detach", "--network", LAN];
                let arguments = run_arguments(name, *sender, &verb);
                scope.spawn(move || engine.docker(arguments))
            })
            .collect();
        runs.into_iter()
            .try_for_each(|run| run.join().map_err(|_panic| anyhow!("a start panicked"))?.map(drop))
    })?;
    Ok(senders)
}

fn at_once(arena: &mut Arena<'_>, size: Size) -> Result<Outcome> {
    let rounds = size.of(1, 2, 10);
    let mut slowest = std::time::Duration::ZERO;
    for round in 0..rounds {
        let policies = POLICIES.into_iter().cycle().take(16);
        let started = start_batch(arena, &format!("many-{round}"), policies)?;
        slowest = slowest.max(arena.converged(CONVERGENCE)?);
        let names: Vec<&str> = started.iter().map(|(name, _)| name.as_str()).collect();
        arena.remove(&names)?;
    }
    Ok(Outcome::Passed(format!("{rounds} x 16 starts; all stood {} ms later", slowest.as_millis())))
}

fn innocents_start(arena: &mut Arena<'_>, size: Size) -> Result<Outcome> {
    let count = size.of(4, 20, 200);
    let mut sent = 0;
    for round in 0..count / 2 {
        let policies = [Policy::None, Policy::XdpDropUdp].into_iter();
        let started = start_batch(arena, &format!("pair-{round}"), policies)?;
        for (name, sender) in &started {
            arena.wait_received(sender.id, 20)?;
            let table = arena.counter().settled()?;
            let lost = counter::lost(&table, sender.id);
            if sender.policy == Policy::None {
                ensure!(lost == 0, "{name} has no label and lost {lost} frames");
                sent += counter::received(&table, sender.id, |_| true);
            }
        }
        let names: Vec<&str> = started.iter().map(|(name, _)| name.as_str()).collect();
        arena.remove(&names)?;
    }
    Ok(Outcome::Passed(format!("{} starts without a label: 0 of {sent} frames lost", count / 2)))
}

fn bad_label(arena: &mut Arena<'_>, _size: Size) -> Result<Outcome> {
    let sender = arena.run("typo", Policy::Invalid)?;
    let closed = arena.daemon()?.wait_state("typo", "closed")?;
    let reason = closed.get("reason").map(ToString::to_string).unwrap_or_default();
    ensure!(reason.contains("did you mean drop-udp"), "the reason is told: {closed}");
    arena.converged(CONVERGENCE)?;
    let table = arena.counter().settled()?;
    ensure!(counter::received(&table, sender.id, |_| true) == 0, "it is closed");
    Ok(Outcome::Passed("0 frames, and the reason with a suggestion".to_owned()))
}
