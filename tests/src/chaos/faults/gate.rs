//! The runtime that asks the daemon before a container starts, and what is not built yet.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use serde_json::json;

use crate::{
    binaries::{self, Binary},
    chaos::{
        arena::{Arena, CONVERGENCE, LAN, run_arguments},
        counter,
        fault::{Fault, Outcome, Size},
        policy::Policy,
    },
};

pub(super) const FAULTS: &[Fault] = &[
    Fault {
        id: "R1",
        name: "containers of the runtime that asks the daemon start, while it is dead",
        expected: "they do not start; with fail_open they do, and are enforced by the next daemon",
        engine: &[],
        run: without_daemon,
    },
    Fault {
        id: "F28",
        name: "Docker calls its network plugin before its API is up",
        expected: "an answer within 5 s",
        engine: &[],
        run: |_, _| Ok(not_built()),
    },
    Fault {
        id: "F29",
        name: "the socket of the network plugin is missing, stale, silent",
        expected: "Docker refuses; nothing opens",
        engine: &[],
        run: |_, _| Ok(not_built()),
    },
];

fn not_built() -> Outcome {
    Outcome::NotHere("this version has no network plugin of its own".to_owned())
}

/// The runtime's name in the engine.
const RUNTIME: &str = "ebpf-netns";

fn without_daemon(arena: &mut Arena<'_>, size: Size) -> Result<Outcome> {
    let settings = arena.machine().directory().join("runtime.toml");
    let set = |text: &str| fs::write(&settings, text).context("write the runtime's settings");
    set("")?;
    let option = format!("--ebpf-netns-settings={}", settings.display());
    let program = binaries::path(Binary::Runtime)?;
    let runtime = json!({ "path": program, "runtimeArgs": [option] });
    arena.engine().add_runtime(RUNTIME, &runtime)?;
    let starts = size.of(1, 5, 50);
    let options = ["--runtime", RUNTIME, "--network", LAN];
    for round in 0..starts {
        let name = format!("gated-{round}");
        set("")?;
        arena.kill_daemon()?;
        let sender = arena.enlist(&name, Policy::XdpDropUdp);
        let verb = [&["run", "--detach"], options.as_slice()].concat();
        let run = run_arguments(&name, sender, &verb);
        let output = arena.engine().try_docker(run)?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(!output.status.success(), "{name} does not start while the daemon is dead");
        ensure!(said.contains("ebpf-netns: ") && said.contains("not running"), "{said}");
        let table = arena.counter().settled()?;
        let frames = counter::received(&table, sender.id, |_| true);
        ensure!(frames == 0, "{name} never ran and sent {frames} frames");

        let open = format!("open-{round}");
        set("fail_open = true")?;
        arena.run_on(&open, Policy::XdpDropUdp, &options)?;
        // Open on purpose, until the next daemon.
        arena.excuse(&open);
        set("")?;
        arena.start_daemon()?;
        arena.converged(CONVERGENCE)?;
        arena.engine().docker(["start", &name])?;
        arena.wait_received(sender.id, 1)?;
        arena.tight("after a gated start")?;
        arena.remove(&[&name, &open])?;
    }
    Ok(Outcome::Passed(format!("{starts} refused; {starts} with fail_open ran, enforced later")))
}
