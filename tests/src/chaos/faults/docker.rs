//! What Docker does: containers that come and go in every way, and the engine that ends and comes
//! back.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::{
    chaos::{
        arena::{Arena, CONVERGENCE, LAN, OTHER},
        fault::{Fault, GUARDED, Outcome, Size},
        policy::Policy,
    },
    wait::DEADLINE,
};

use super::starting::start_batch;

pub(super) const FAULTS: &[Fault] = &[
    Fault {
        id: "F13",
        name: "a running container is connected to a network and disconnected again",
        expected: "the new veth is policed before its first frame",
        engine: &[],
        run: hot_plug,
    },
    Fault {
        id: "F18",
        name: "containers that end before anybody has looked at them",
        expected: "nothing of them is left",
        engine: &[],
        run: short_lives,
    },
    Fault {
        id: "F24",
        name: "dockerd killed while containers live on, and started again",
        expected: "policies stay",
        engine: &["--live-restore"],
        run: engine_killed,
    },
    Fault {
        id: "F25",
        name: "dockerd restarted, with live restore",
        expected: "policies stay; there is nothing to do",
        engine: &["--live-restore"],
        run: engine_restarted,
    },
    Fault {
        id: "F26",
        name: "dockerd restarted, without live restore",
        expected: "restarted containers are policed before their first frame",
        engine: &[],
        run: engine_restarted_without_live_restore,
    },
    Fault {
        id: "F27",
        name: "dockerd stays away for a while",
        expected: "policies stay; the daemon waits",
        engine: &["--live-restore"],
        run: engine_away,
    },
    Fault {
        id: "F38",
        name: "packets while a container is torn down",
        expected: "no forbidden frame until the veth is gone",
        engine: &[],
        run: teardown,
    },
    Fault {
        id: "F49",
        name: "docker pause, unpause, restart, rename, update, commit",
        expected: "the policy follows the container",
        engine: &[],
        run: verbs,
    },
    Fault {
        id: "F50",
        name: "the daemon starts after the containers",
        expected: "it finds them all",
        engine: &[],
        run: late_daemon,
    },
];

/// Connects containers to another network, and disconnects them.
pub(super) fn hot_plug(arena: &mut Arena<'_>, size: Size) -> Result<Outcome> {
    let rounds = size.of(5, 30, 300);
    for policy in [Policy::XdpDropUdp, Policy::TcDropUdp] {
        let name = format!("plugged-{policy:?}");
        arena.run(&name, policy)?;
        for round in 0..rounds {
            arena.engine().docker(["network", "connect", OTHER, &name])?;
            arena.converged(CONVERGENCE)?;
            arena.engine().docker(["network", "disconnect", OTHER, &name])?;
            let leaks = arena.leaks()?;
            ensure!(leaks.is_empty(), "after {round} rounds, frames came through: {leaks:?}");
        }
        arena.remove(&[&name])?;
    }
    Ok(Outcome::Passed(format!("{} connections, 0 forbidden frames", 2 * rounds)))
}

fn short_lives(arena: &mut Arena<'_>, size: Size) -> Result<Outcome> {
    let lives = size.of(5, 40, 300);
    let label = "--label=xdp.policy=drop-udp";
    for _ in 0..lives {
        // Wrong usage: it ends as soon as it has begun.
        let run = ["run", "--rm", "--network", LAN, label, "probe"];
        let output = arena.engine().try_docker(run)?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(said.contains("usage"), "the container ran: {said}");
    }
    let log = arena.daemon()?.log()?;
    let errors = log.lines().filter(|line| line.contains("ERROR")).count();
    ensure!(errors < lives, "{errors} errors in the daemon's log");
    Ok(Outcome::Passed(format!("{lives} lives, {errors} errors in the log")))
}

fn engine_killed(arena: &mut Arena<'_>, size: Size) -> Result<Outcome> {
    let rounds = size.of(1, 2, 10);
    for _ in 0..rounds {
        arena.engine().kill()?;
        let leaks = arena.leaks()?;
        ensure!(leaks.is_empty(), "frames came through: {leaks:?}");
        arena.engine().restart()?;
        arena.converged(DEADLINE)?;
    }
    Ok(Outcome::Passed(format!("{rounds} times, 0 forbidden frames")))
}

fn engine_restarted(arena: &mut Arena<'_>, size: Size) -> Result<Outcome> {
    let rounds = size.of(1, 2, 10);
    for _ in 0..rounds {
        let before = arena.our_programs()?;
        arena.engine().restart()?;
        arena.converged(DEADLINE)?;
        ensure!(arena.our_programs()? == before, "the same programs stand as before");
    }
    Ok(Outcome::Passed(format!("{rounds} times, the same programs as before")))
}

fn engine_restarted_without_live_restore(arena: &mut Arena<'_>, size: Size) -> Result<Outcome> {
    arena.innocents_suffer = true;
    let rounds = size.of(1, 2, 10);
    let phoenix = ["--network", LAN, "--restart", "always"];
    arena.run_on("phoenix", Policy::XdpDropUdp, &phoenix)?;
    arena.run_on("phoenix-tc", Policy::TcDropUdp, &phoenix)?;
    for _ in 0..rounds {
        arena.engine().restart()?;
        arena.converged(DEADLINE)?;
        let running = arena.engine().docker(["ps", "--format", "{{.Names}}"])?;
        ensure!(running.lines().count() == 2, "those come back that should: {running}");
        let leaks = arena.leaks()?;
        ensure!(leaks.is_empty(), "frames came through: {leaks:?}");
    }
    Ok(Outcome::Passed(format!("{rounds} times, 0 forbidden frames of 2 restarted containers")))
}

fn engine_away(arena: &mut Arena<'_>, size: Size) -> Result<Outcome> {
    let away = Duration::from_secs(size.of(2, 10, 60).try_into()?);
    arena.engine().kill()?;
    let what = "the daemon to say that Docker is away";
    crate::wait::wait_until(DEADLINE, what, || {
        let status = arena.daemon().and_then(crate::Daemon::status);
        status.is_ok_and(|status| {
            status.pointer("/docker/state").is_some_and(|it| it == "unreachable")
        })
    })?;
    let mut pacer = crate::wait::Pacer::every(away);
    pacer.tick();
    pacer.tick();
    let leaks = arena.leaks()?;
    ensure!(leaks.is_empty(), "frames came through: {leaks:?}");
    // The daemon, too, is started while there is no Docker.
    arena.kill_daemon()?;
    arena.start_daemon()?;
    let leaks = arena.leaks()?;
    ensure!(leaks.is_empty(), "without Docker, frames came through: {leaks:?}");
    arena.engine().restart()?;
    arena.converged(DEADLINE)?;
    Ok(Outcome::Passed(format!("away for {} s, 0 forbidden frames", away.as_secs())))
}

fn teardown(arena: &mut Arena<'_>, size: Size) -> Result<Outcome> {
    let rounds = size.of(2, 10, 100);
    let mut sent = 0;
    for round in 0..rounds {
        let name = format!("ending-{round}");
        arena.run(&name, Policy::XdpDropUdp)?;
        arena.converged(CONVERGENCE)?;
        let flood = arena.flood(&name)?;
        arena.engine().docker(["stop", "--time", "1", &name])?;
        sent += flood.sent()?;
        drop(flood);
        arena.remove(&[&name])?;
    }
    let leaks = arena.leaks()?;
    ensure!(leaks.is_empty(), "frames came through: {leaks:?}");
    Ok(Outcome::Passed(format!("{rounds} stops under a flood, 0 of {sent} frames")))
}

fn verbs(arena: &mut Arena<'_>, size: Size) -> Result<Outcome> {
    let rounds = size.of(1, 3, 30);
    let engine = arena.engine();
    for round in 0..rounds {
        for verb in ["pause", "unpause", "restart"] {
            engine.docker([verb, GUARDED])?;
            arena.converged(CONVERGENCE).with_context(|| format!("after docker {verb}"))?;
        }
        engine.docker(["update", "--memory", "64m", "--memory-swap", "64m", GUARDED])?;
        engine.docker(["commit", GUARDED, &format!("image-{round}")])?;
        arena.converged(CONVERGENCE).context("after update and commit")?;
        let leaks = arena.leaks()?;
        ensure!(leaks.is_empty(), "frames came through: {leaks:?}");
    }
    // A container that takes the name of another does not take its policy.
    let unlabelled = arena.run("second", Policy::None)?;
    engine.docker(["rename", GUARDED, "third"])?;
    engine.docker(["rename", "second", GUARDED])?;
    arena.exchange_names(GUARDED, "third", "second");
    arena.wait_received(unlabelled.id, 10)?;
    arena.converged(CONVERGENCE).context("after docker rename")?;
    arena.remove(&[GUARDED, "third"])?;
    Ok(Outcome::Passed(format!("{rounds} rounds, and names exchanged: 0 forbidden frames")))
}

fn late_daemon(arena: &mut Arena<'_>, size: Size) -> Result<Outcome> {
    arena.take_daemon()?.stop()?;
    let count = size.of(4, 16, 100);
    let policies = [Policy::XdpDropUdp, Policy::TcDropUdp, Policy::None, Policy::DropAll];
    let started = start_batch(arena, "early", policies.into_iter().cycle().take(count))?;
    for (name, _) in &started {
        // Open until the daemon is there: documented, and what strict mode is for.
        arena.excuse(name);
    }
    arena.start_daemon()?;
    let took = arena.converged(DEADLINE)?;
    let names: Vec<&str> = started.iter().map(|(name, _)| name.as_str()).collect();
    arena.remove(&names)?;
    Ok(Outcome::Passed(format!("{count} containers found within {} ms", took.as_millis())))
}
