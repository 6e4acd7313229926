//! Docker has much to tell: thousands of events, a thousand containers, labels without measure.

use std::{
    fs,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::{
    Daemon,
    chaos::{
        arena::{Arena, CONVERGENCE, LAN, Sender},
        fault::{Fault, Outcome, Size},
        policy::Policy,
    },
    proxy::Deal,
    wait::{DEADLINE, Pacer, wait_for},
};

use super::socket::behind_proxy;

pub(super) const FAULTS: &[Fault] = &[
    Fault {
        id: "F16",
        name: "the daemon sleeps (SIGSTOP) for 40 s, while Docker has 6,000 events to tell",
        expected: "what Docker drops is found by its list, as soon as it wakes",
        engine: &[],
        run: many_events,
    },
    Fault {
        id: "F20",
        name: "labels of 64 MiB, of somebody else and of ours",
        expected: "bounded memory; the first is no matter, the second closes",
        engine: &[],
        run: huge_labels,
    },
    Fault {
        id: "F21",
        name: "Docker lists a thousand containers",
        expected: "known within seconds, in bounded memory",
        engine: &[],
        run: many_containers,
    },
];

/// What the daemon may grow by, whatever users do, in KiB.
const GROWTH: u64 = 32 << 10;

/// A line of the status of the daemon's process, in KiB.
fn memory(daemon: &Daemon<'_>, line: &str) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{}/status", daemon.pid()))?;
    let found = status.lines().find_map(|one| one.strip_prefix(line)?.strip_prefix(':'));
    let number = found.and_then(|text| text.split_whitespace().next());
    number.with_context(|| format!("there is {line}"))?.parse().context("a number")
}

fn many_events(arena: &mut Arena<'_>, size: Size) -> Result<Outcome> {
    let events = size.of(200, 1500, 6000);
    let asleep = Duration::from_secs(size.of(2, 10, 40).try_into()?);
    let engine = arena.engine();
    engine.docker(["create", "--name", "stormy-0", "probe", "serve", "1"])?;
    arena.daemon()?.signal(Signal::SIGSTOP)?;
    let start = Instant::now();
    for round in 0..events {
        let path = format!("/containers/stormy-{round}/rename?name=stormy-{}", round + 1);
        engine.post(&path, "")?;
    }
    arena.run("missed", Policy::XdpDropUdp)?;
    // Started while the daemon cannot do anything: documented, and what strict mode is for.
    arena.excuse("missed");
    let mut pacer = Pacer::every(asleep.saturating_sub(start.elapsed()));
    pacer.tick();
    pacer.tick();
    arena.tight("while it sleeps")?;
    arena.daemon()?.signal(Signal::SIGCONT)?;
    let took = arena.converged(DEADLINE)?;
    let last = format!("stormy-{events}");
    arena.daemon()?.wait_state("missed", "enforced")?;
    arena.remove(&["missed", &last])?;
    let (slept, took) = (start.elapsed().as_secs(), took.as_millis());
    Ok(Outcome::Passed(format!("{events} events in {slept} s; converged {took} ms later")))
}

fn huge_labels(arena: &mut Arena<'_>, size: Size) -> Result<Outcome> {
    let bytes = size.of(1, 64, 64) << 20;
    let before = memory(arena.daemon()?, "VmRSS")?;
    let value = "drop-tcp,".repeat(bytes / 9);
    for (name, label, policy) in [
        ("huge-notes", "vendor.notes", Policy::None),
        ("huge-policy", "tc.policy", Policy::Invalid),
    ] {
        let sender = arena.enlist(name, policy);
        let body = sender_with(sender, label, &value).to_string();
        arena.engine().post(&format!("/containers/create?name={name}"), &body)?;
        arena.engine().post(&format!("/containers/{name}/start"), "")?;
        if policy == Policy::None {
            arena.wait_received(sender.id, 20)?;
        }
    }
    arena.daemon()?.wait_state("huge-policy", "closed")?;
    let start = Instant::now();
    arena.run("beside", Policy::XdpDropUdp)?;
    arena.daemon()?.wait_state("beside", "enforced")?;
    let took = start.elapsed().as_millis();
    arena.converged(DEADLINE)?;
    arena.tight("beside huge labels")?;
    let grown = memory(arena.daemon()?, "VmHWM")?.saturating_sub(before);
    ensure!(grown < GROWTH, "the daemon grew by {grown} KiB");
    arena.remove(&["huge-notes", "huge-policy", "beside"])?;
    let mebibytes = bytes >> 20;
    Ok(Outcome::Passed(format!(
        "2 labels of {mebibytes} MiB: it grew by {grown} KiB at most; a start beside them took \
         {took} ms"
    )))
}

/// What Docker's API takes to create a sender with a label that no command line could hold.
fn sender_with(sender: Sender, label: &str, value: &str) -> Value {
    let period = crate::chaos::counter::PERIOD.as_micros().to_string();
    json!({
        "Image": "probe",
        "Cmd": ["send", sender.id.to_string(), period],
        "StopSignal": "KILL",
        "Labels": { label: value },
        "HostConfig": { "NetworkMode": LAN },
    })
}

fn many_containers(arena: &mut Arena<'_>, size: Size) -> Result<Outcome> {
    let count = size.of(100, 1000, 1000);
    behind_proxy(arena, |arena, proxy| {
        let before = memory(arena.daemon()?, "VmRSS")?;
        let known = known(arena)?;
        // Making so many would take minutes; their list is made up from the real one.
        let list = arena.engine().get("/containers/json?all=true")?;
        let mut list: Vec<Value> = serde_json::from_str(&list)?;
        let labelled = list.iter().find(|one| one.pointer("/Labels/xdp.policy").is_some());
        let mut model = labelled.context("a labelled container is listed")?.clone();
        for number in 0..count {
            for (key, value) in [
                ("Id", json!(format!("{number:064x}"))),
                ("Names", json!([format!("/made-up-{number}")])),
                ("State", json!("exited")),
            ] {
                *model.get_mut(key).with_context(|| format!("a container has its {key}"))? = value;
            }
            list.push(model.clone());
        }
        let list = json!(list).to_string();
        proxy.deal("/containers/json", Deal::answer("200 OK", "application/json", &list));
        let start = Instant::now();
        arena.engine().docker(["rename", "bystander", "passer-by"])?;
        wait_known(arena, known + count)?;
        let took = start.elapsed().as_millis();
        arena.tight("with a thousand containers")?;
        proxy.pass();
        arena.engine().docker(["rename", "passer-by", "bystander"])?;
        wait_known(arena, known)?;
        arena.converged(CONVERGENCE)?;
        let grown = memory(arena.daemon()?, "VmHWM")?.saturating_sub(before);
        ensure!(grown < GROWTH, "the daemon grew by {grown} KiB");
        Ok(Outcome::Passed(format!(
            "{count} known after {took} ms; it grew by {grown} KiB at most"
        )))
    })
}

/// How many containers the daemon knows.
fn known(arena: &Arena<'_>) -> Result<usize> {
    let status = arena.daemon()?.status()?;
    Ok(status.get("containers").and_then(Value::as_array).context("a list of containers")?.len())
}

fn wait_known(arena: &Arena<'_>, expected: usize) -> Result<()> {
    wait_for(DEADLINE, "all containers to be known, and no others", || {
        let known = known(arena)?;
        ensure!(known == expected, "{known} of {expected}");
        Ok(())
    })
}
