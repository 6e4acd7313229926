//! Somebody with root takes away what enforces, or stands in its way.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use crate::{
    chaos::{
        arena::{Arena, CONVERGENCE, OTHER},
        counter,
        fault::{Fault, GUARDED, Outcome, Size},
        policy::Policy,
    },
    command::output_of,
    wait::wait_for,
};

pub(super) const FAULTS: &[Fault] = &[
    Fault {
        id: "F30",
        name: "rm -rf of the daemon's directory of pins",
        expected: "nothing opens; pinned again within 30 s, so that it outlives the daemon",
        engine: &[],
        run: pins_removed,
    },
    Fault {
        id: "F32",
        name: "tc qdisc del clsact, ip link set xdp off, bpftool link detach",
        expected: "repaired within 30 s",
        engine: &[],
        run: detached,
    },
    Fault {
        id: "F33",
        name: "a veth is deleted by hand, on the host's side and on the container's",
        expected: "nothing of it is left; no storm of errors",
        engine: &[],
        run: veth_deleted,
    },
    Fault {
        id: "F34",
        name: "others' programs stand on the veth already",
        expected: "they stay; ours stands beside, or the container is closed",
        engine: &[],
        run: foreign_programs,
    },
    Fault {
        id: "F36",
        name: "indices of interfaces and namespaces are used again",
        expected: "no policy on who has none",
        engine: &[],
        run: reuse,
    },
    Fault {
        id: "F37",
        name: "a network with an MTU of 9000",
        expected: "enforced, in another way where native XDP is refused",
        engine: &[],
        run: large_mtu,
    },
];

/// How soon what was tampered with has to be repaired.
const REPAIR: Duration = Duration::from_secs(35);

/// Name of the host's end of a container's first interface.
fn host_end(arena: &Arena<'_>, name: &str) -> Result<String> {
    let (_, host) = arena.first_peer(name)?;
    Ok(host)
}

fn pins_removed(arena: &mut Arena<'_>, size: Size) -> Result<Outcome> {
    arena.run("beside", Policy::TcDropUdp)?;
    arena.converged(CONVERGENCE)?;
    let mut slowest = Duration::ZERO;
    for _ in 0..size.of(1, 2, 5) {
        let pins = || arena.machine().run("find", ["/sys/fs/bpf/ebpf-netns", "-type", "f"]);
        let before = pins()?;
        arena.machine().run("rm", ["-rf", "/sys/fs/bpf/ebpf-netns"])?;
        let start = Instant::now();
        wait_for(REPAIR, "the pins to be there again", || {
            let (now, before) = (pins()?.lines().count(), before.lines().count());
            ensure!(now >= before, "{now} of {before}");
            Ok(())
        })?;
        slowest = slowest.max(start.elapsed());
        // What is pinned outlives the daemon.
        arena.kill_daemon()?;
        let leaks = arena.leaks()?;
        ensure!(leaks.is_empty(), "frames came through: {leaks:?}");
        arena.start_daemon()?;
        arena.converged(CONVERGENCE)?;
    }
    Ok(Outcome::Passed(format!("repaired after {} ms at most", slowest.as_millis())))
}

fn detached(arena: &mut Arena<'_>, size: Size) -> Result<Outcome> {
    arena.run("beside", Policy::TcDropUdp)?;
    arena.converged(CONVERGENCE)?;
    let mut slowest = Duration::ZERO;
    for _ in 0..size.of(1, 2, 5) {
        let (one, two) = (host_end(arena, GUARDED)?, host_end(arena, "beside")?);
        let script = format!(
            "tc qdisc del dev {one} clsact; tc qdisc del dev {two} clsact; \
             ip link set dev {one} xdp off; ip link set dev {one} xdpgeneric off; \
             for link in $(bpftool link show pinned 2>/dev/null | sed -n 's/^\\([0-9]*\\):.*/\\1/p'); \
             do bpftool link detach id $link; done; \
             for pin in $(find /sys/fs/bpf -type f); do bpftool link detach pinned $pin; done; :"
        );
        // Some of it does not apply, depending on how the policy is attached.
        output_of(arena.machine().command("sh").args(["-c", &script]))?;
        slowest = slowest.max(arena.converged(REPAIR)?);
    }
    forgive_the_gap(arena);
    Ok(Outcome::Passed(format!("repaired after {} ms at most", slowest.as_millis())))
}

/// Between the act of root on the host and the repair, frames get out: the third exception.
fn forgive_the_gap(arena: &mut Arena<'_>) {
    arena.excuse(GUARDED);
    arena.excuse("beside");
}

fn veth_deleted(arena: &mut Arena<'_>, size: Size) -> Result<Outcome> {
    let rounds = size.of(1, 5, 30);
    let noise = |arena: &Arena<'_>| -> Result<usize> {
        let log = arena.daemon()?.log()?;
        Ok(log.lines().filter(|line| line.contains("ERROR") || line.contains("WARN")).count())
    };
    let before = noise(arena)?;
    for round in 0..rounds {
        let (host, inside) = (format!("cut-{round}"), format!("cut-inside-{round}"));
        arena.run(&host, Policy::XdpDropUdp)?;
        arena.run(&inside, Policy::TcDropUdp)?;
        arena.converged(CONVERGENCE)?;
        arena.machine().run("ip", ["link", "del", &host_end(arena, &host)?])?;
        let netns = arena.engine().from_container(&inside)?;
        crate::command::stdout_of(netns.command("ip").args(["link", "del", "eth0"]))?;
        arena.remove(&[&host, &inside])?;
        arena.converged(CONVERGENCE)?;
    }
    let said = noise(arena)? - before;
    ensure!(said <= 10 * rounds, "{said} warnings about {rounds} rounds");
    Ok(Outcome::Passed(format!("{} veths deleted, {said} warnings", 2 * rounds)))
}

fn foreign_programs(arena: &mut Arena<'_>, _size: Size) -> Result<Outcome> {
    const PASS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../plugin/bytecode/pass.o");
    // A container that has no label yet is a veth to put programs on; its labelled restart is not
    // the same veth, so the programs come with the daemon away.
    arena.take_daemon()?.stop()?;
    let policies = [("foreign-xdp", Policy::XdpDropUdp), ("foreign-tc", Policy::TcDropUdp)];
    for (name, policy) in policies {
        arena.run(name, policy)?;
        arena.excuse(name);
    }
    let (xdp, tc) = (host_end(arena, "foreign-xdp")?, host_end(arena, "foreign-tc")?);
    let machine = arena.machine();
    machine.run("ip", ["link", "set", "dev", &xdp, "xdpgeneric", "obj", PASS, "sec", "xdp"])?;
    machine.run("tc", ["qdisc", "add", "dev", &tc, "clsact"])?;
    let filter = ["filter", "add", "dev", &tc, "ingress", "prio", "1", "bpf", "da", "obj", PASS];
    machine.run("tc", filter.iter().chain(&["sec", "classifier"]))?;
    let foreign = |what: &str| -> Result<()> {
        let link = machine.run("ip", ["link", "show", "dev", &xdp])?;
        ensure!(link.contains("xdp"), "{what}: the foreign XDP program is there: {link}");
        let filters = machine.run("tc", ["filter", "show", "dev", &tc, "ingress"])?;
        ensure!(filters.contains("pass.o"), "{what}: the foreign filter is there: {filters}");
        Ok(())
    };
    foreign("before the daemon")?;
    arena.start_daemon()?;
    arena.converged(CONVERGENCE)?;
    foreign("beside ours")?;
    let before = arena.counter().settled()?;
    let ids: Vec<_> = policies.iter().map(|(name, _)| arena.senders()[*name]).collect();
    for sender in &ids {
        arena.wait_received(sender.id, counter::received(&before, sender.id, |_| true) + 500)?;
    }
    let after = arena.counter().settled()?;
    for sender in &ids {
        let forbidden =
            |table| counter::received(table, sender.id, |kind| sender.policy.forbids(kind));
        ensure!(forbidden(&before) == forbidden(&after), "beside others, the policy holds");
    }
    arena.remove(&["foreign-xdp", "foreign-tc"])?;
    Ok(Outcome::Passed("foreign XDP and clsact stayed, ours held beside them".to_owned()))
}

fn reuse(arena: &mut Arena<'_>, size: Size) -> Result<Outcome> {
    let rounds = size.of(4, 20, 200);
    for round in 0..rounds {
        // The namespace of the one that goes is the one that comes gets, more often than not.
        let policy = if round % 2 == 0 { Policy::DropAll } else { Policy::None };
        let name = format!("recycled-{round}");
        let sender = arena.run(&name, policy)?;
        if policy == Policy::None {
            arena.wait_received(sender.id, 10)?;
        }
        arena.converged(CONVERGENCE)?;
        arena.remove(&[&name])?;
    }
    Ok(Outcome::Passed(format!("{rounds} containers one after another, labelled or not")))
}

fn large_mtu(arena: &mut Arena<'_>, _size: Size) -> Result<Outcome> {
    let create = ["network", "create", "--opt", "com.docker.network.driver.mtu=9000", "jumbo"];
    arena.engine().docker(create)?;
    arena.run_on("large", Policy::XdpDropUdp, &["--network", "jumbo"])?;
    arena.run_on("large-tc", Policy::TcDropUdp, &["--network", "jumbo"])?;
    arena.run("small", Policy::XdpDropUdp)?;
    arena.engine().docker(["network", "connect", "jumbo", "small"])?;
    arena.engine().docker(["network", "connect", OTHER, "large"])?;
    arena.converged(CONVERGENCE)?;
    let shown = wait_for(CONVERGENCE, "the way it is attached", || {
        arena.daemon()?.wait_state("large", "enforced")
    })?;
    let hooks = shown.pointer("/interfaces/0/hooks/0/hook").cloned().context("a hook")?;
    arena.remove(&["large", "large-tc", "small"])?;
    arena.engine().docker(["network", "rm", "jumbo"])?;
    Ok(Outcome::Passed(format!("0 forbidden frames; attached at {hooks}")))
}
