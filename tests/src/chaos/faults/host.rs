//! The host: what is missing, full, forbidden, busy or asleep.

use std::{os::unix::net::UnixStream, process::Command, time::Duration};

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::Signal;

use crate::{
    binaries::{self, Binary},
    chaos::{
        arena::{Arena, CONVERGENCE},
        fault::{Fault, Outcome, Size},
        hogs::Hogs,
        policy::Policy,
        trace::Trace,
    },
    command::{output_of, stdout_of},
    engine,
    wait::DEADLINE,
};

use super::starting::start_batch;

pub(super) const FAULTS: &[Fault] = &[
    Fault {
        id: "F22",
        name: "more link events than the daemon can take, while it sleeps",
        expected: "it looks at everything again",
        engine: &[],
        run: link_storm,
    },
    Fault {
        id: "F23",
        name: "reading from netlink and from Docker fails with EINTR and ENOBUFS",
        expected: "it asks again; nothing opens",
        engine: &[],
        run: netlink_errors,
    },
    Fault {
        id: "F31",
        name: "no bpffs, or one that cannot be written",
        expected: "it mounts one, or refuses to start and says why; what stands stays",
        engine: &[],
        run: no_bpffs,
    },
    Fault {
        id: "F35",
        name: "the kernel refuses: E2BIG, ENOMEM, ENOSPC, EPERM",
        expected: "what stands stays; what is new is closed",
        engine: &[],
        run: kernel_refuses,
    },
    Fault {
        id: "F41",
        name: "without CAP_BPF, CAP_NET_ADMIN, or root",
        expected: "it refuses to start, with a line that names what is missing",
        engine: &[],
        run: no_capability,
    },
    Fault {
        id: "F42",
        name: "openat2 and pidfd_open that do not exist, as on older kernels",
        expected: "enforced",
        engine: &[],
        run: old_calls,
    },
    Fault {
        id: "F43",
        name: "the clock jumps by a year",
        expected: "nothing happens",
        engine: &[],
        run: |_, _| {
            Ok(Outcome::NotHere(
                "the clock is one for all of the host, and the C library reads it without a \
                 system call that could be made to lie"
                    .to_owned(),
            ))
        },
    },
    Fault {
        id: "F44",
        name: "64 open files at most",
        expected: "enforced, or refused; never open",
        engine: &[],
        run: few_files,
    },
    Fault {
        id: "F45",
        name: "two daemons at once",
        expected: "the second refuses to start, the first is not disturbed",
        engine: &[],
        run: two_daemons,
    },
    Fault {
        id: "F46",
        name: "hundreds of connections to the control socket that ask nothing",
        expected: "enforcement goes on, and so do answers",
        engine: &[],
        run: slow_askers,
    },
    Fault {
        id: "F47",
        name: "8 busy processes on every CPU there is",
        expected: "no forbidden frame; the policy stands within 5 s",
        engine: &[],
        run: busy,
    },
    Fault {
        id: "F48",
        name: "the daemon sleeps (SIGSTOP) while containers start",
        expected: "documented to be open without strict mode; enforced as soon as it wakes",
        engine: &[],
        run: asleep,
    },
];

fn link_storm(arena: &mut Arena<'_>, size: Size) -> Result<Outcome> {
    let links = size.of(500, 3000, 20_000);
    arena.daemon()?.signal(Signal::SIGSTOP)?;
    let script = format!(
        "i=0; while [ $i -lt {links} ]; do echo link set lo mtu $((60000 + i % 2)); i=$((i+1)); \
         done | ip -batch -"
    );
    arena.machine().run("sh", ["-c", &script])?;
    arena.run("meanwhile", Policy::XdpDropUdp)?;
    arena.excuse("meanwhile");
    arena.daemon()?.signal(Signal::SIGCONT)?;
    let took = arena.converged(CONVERGENCE)?;
    Ok(Outcome::Passed(format!("{links} events; converged {} ms later", took.as_millis())))
}

fn netlink_errors(arena: &mut Arena<'_>, size: Size) -> Result<Outcome> {
    // Not EAGAIN: what the kernel means by it, the next wakeup, would never come.
    let errors = ["EINTR", "ENOBUFS"];
    let rounds = size.of(1, 3, 20);
    for round in 0..rounds {
        for error in errors {
            // One in seven answers, so that asking again helps.
            let inject = format!("inject=recvfrom,recvmsg:error={error}:when=2+7");
            let options = ["-e", "trace=recvfrom,recvmsg", "-e", &inject];
            let trace = Trace::of(arena.machine(), arena.daemon()?, &options)?;
            let name = format!("deaf-{error}-{round}");
            arena.run(&name, Policy::XdpDropUdp)?;
            arena.tight(&format!("with {error}"))?;
            drop(trace.end());
            arena.converged(CONVERGENCE).with_context(|| format!("after {error}"))?;
            arena.remove(&[&name])?;
        }
    }
    Ok(Outcome::Passed(format!("{} starts, one answer in seven failed", rounds * errors.len())))
}

/// Runs a daemon that is expected to end, in the machine, and returns what it said.
pub(super) fn refuses(arena: &Arena<'_>, wrapper: &[&str]) -> Result<String> {
    let plugin = binaries::path(Binary::Plugin)?.display().to_string();
    let run = [&plugin, "run", "--docker-host", engine::DOCKER_HOST];
    // A daemon that does not end is ended.
    let words = [&["--signal=KILL", "10"], wrapper, &run].concat();
    let output = output_of(arena.machine().command("timeout").args(words))?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.code().is_some_and(|code| code != 0 && code < 124), "{output:?}");
    ensure!(said.contains("ebpf-netns-plugin: "), "it says why: {said}");
    Ok(said.lines().last().unwrap_or_default().to_owned())
}

fn no_bpffs(arena: &mut Arena<'_>, _size: Size) -> Result<Outcome> {
    arena.take_daemon()?.stop()?;
    let readonly = "mount -o remount,ro,bind /sys/fs/bpf && exec \"$@\"";
    let said = refuses(arena, &["unshare", "--mount", "sh", "-c", readonly, "sh"])?;
    ensure!(said.contains("bpf"), "the reason names the file system: {said}");
    // Where none is mounted, the daemon may mount one. It is gone with this namespace.
    let without = "umount /sys/fs/bpf && exec timeout --signal=TERM 3 \"$@\"";
    let mut unmounted = arena.machine().command("unshare");
    unmounted.args(["--mount", "sh", "-c", without, "sh"]).arg(binaries::path(Binary::Plugin)?);
    let output = output_of(unmounted.args(["run", "--docker-host", engine::DOCKER_HOST]))?;
    let log = String::from_utf8_lossy(&output.stderr);
    let mounted = log.contains("mounted the BPF file system");
    ensure!(mounted || !log.contains("ready"), "it mounts one, or is not ready: {log}");
    let leaks = arena.leaks()?;
    ensure!(leaks.is_empty(), "frames came through: {leaks:?}");
    arena.start_daemon()?;
    Ok(Outcome::Passed(format!("read-only is refused: `{said}`; a missing one is mounted")))
}

fn kernel_refuses(arena: &mut Arena<'_>, size: Size) -> Result<Outcome> {
    let errors = ["E2BIG", "ENOMEM", "ENOSPC", "EPERM"];
    for error in errors.into_iter().take(size.of(1, 4, 4)) {
        let inject = format!("inject=bpf:error={error}");
        let trace =
            Trace::of(arena.machine(), arena.daemon()?, &["-e", "trace=bpf", "-e", &inject])?;
        let name = format!("refused-{error}");
        arena.run(&name, Policy::XdpDropUdp)?;
        let quiet = arena.leaks()?;
        ensure!(quiet.is_empty(), "with {error}, frames came through: {quiet:?}");
        drop(trace.end());
        arena.converged(Duration::from_secs(35)).with_context(|| format!("after {error}"))?;
        arena.remove(&[&name])?;
    }
    Ok(Outcome::Passed("0 forbidden frames, and enforced as soon as the kernel agreed".to_owned()))
}

fn no_capability(arena: &mut Arena<'_>, _size: Size) -> Result<Outcome> {
    arena.take_daemon()?.stop()?;
    let mut figures = Vec::new();
    for (what, drop) in [("bpf", "-bpf,-sys_admin"), ("net_admin", "-net_admin,-sys_admin")] {
        let said = refuses(arena, &["setpriv", "--bounding-set", drop, "--inh-caps", drop])?;
        ensure!(said.to_lowercase().contains("cap_"), "without {what}, it names it: {said}");
        figures.push(format!("`{said}`"));
    }
    let said = refuses(arena, &["setpriv", "--reuid", "65534", "--clear-groups"])?;
    figures.push(format!("`{said}`"));
    arena.start_daemon()?;
    Ok(Outcome::Passed(figures.join("; ")))
}

fn old_calls(arena: &mut Arena<'_>, _size: Size) -> Result<Outcome> {
    arena.take_daemon()?.stop()?;
    let inject = ["-e", "trace=openat2,pidfd_open", "-e", "inject=openat2,pidfd_open:error=ENOSYS"];
    arena.options.wrapper = crate::chaos::trace::wrapper(arena.machine(), &inject).1;
    arena.start_daemon()?;
    arena.options.wrapper.clear();
    arena.run("modern", Policy::XdpDropUdp)?;
    arena.converged(CONVERGENCE)?;
    arena.remove(&["modern"])?;
    arena.take_daemon()?.end()?;
    arena.start_daemon()?;
    Ok(Outcome::Passed(
        "enforced; whole older kernels are booted by `cargo xtask kernels`".to_owned(),
    ))
}

fn few_files(arena: &mut Arena<'_>, size: Size) -> Result<Outcome> {
    let pid = arena.daemon()?.pid().to_string();
    stdout_of(Command::new("prlimit").args(["--nofile=64:64", "--pid", &pid]))?;
    let count = size.of(4, 30, 60);
    let policies = [Policy::XdpDropUdp, Policy::TcDropUdp].into_iter().cycle().take(count);
    let started = start_batch(arena, "file", policies)?;
    let took = arena.converged(DEADLINE)?;
    let leaks = arena.leaks()?;
    ensure!(leaks.is_empty(), "frames came through: {leaks:?}");
    let names: Vec<&str> = started.iter().map(|(name, _)| name.as_str()).collect();
    arena.remove(&names)?;
    let took = took.as_millis();
    Ok(Outcome::Passed(format!("{count} containers enforced with 64 files, after {took} ms")))
}

fn two_daemons(arena: &mut Arena<'_>, _size: Size) -> Result<Outcome> {
    let said = refuses(arena, &[])?;
    arena.converged(CONVERGENCE)?;
    Ok(Outcome::Passed(format!("refused: `{said}`")))
}

fn slow_askers(arena: &mut Arena<'_>, size: Size) -> Result<Outcome> {
    let count = size.of(100, 400, 400);
    let socket = arena.machine().outside("/run/ebpf-netns/control.sock");
    // What is refused for there being too many is as good as what is kept.
    let all: Vec<_> = (0..count).map(|_| UnixStream::connect(&socket)).collect();
    let open = all.iter().filter(|stream| stream.is_ok()).count();
    arena.run("unasked", Policy::XdpDropUdp)?;
    let leaks = arena.leaks()?;
    ensure!(leaks.is_empty(), "frames came through: {leaks:?}");
    let took = arena.converged(DEADLINE)?;
    drop(all);
    arena.remove(&["unasked"])?;
    let took = took.as_millis();
    Ok(Outcome::Passed(format!("{open} open connections; a start converged after {took} ms")))
}

fn busy(arena: &mut Arena<'_>, size: Size) -> Result<Outcome> {
    let hogs = Hogs::start(arena.machine(), 8)?;
    let rounds = size.of(1, 5, 30);
    let mut slowest = Duration::ZERO;
    for round in 0..rounds {
        let policies = [Policy::XdpDropUdp, Policy::TcDropUdp, Policy::DropAll].into_iter();
        let started = start_batch(arena, &format!("starved-{round}"), policies)?;
        slowest = slowest.max(arena.converged(Duration::from_secs(5))?);
        let leaks = arena.leaks()?;
        ensure!(leaks.is_empty(), "frames came through: {leaks:?}");
        let names: Vec<&str> = started.iter().map(|(name, _)| name.as_str()).collect();
        arena.remove(&names)?;
    }
    drop(hogs);
    let slowest = slowest.as_millis();
    Ok(Outcome::Passed(format!("{} starts, 0 forbidden frames, {slowest} ms at most", 3 * rounds)))
}

fn asleep(arena: &mut Arena<'_>, size: Size) -> Result<Outcome> {
    let count = size.of(4, 16, 50);
    arena.daemon()?.signal(Signal::SIGSTOP)?;
    let policies = [Policy::XdpDropUdp, Policy::TcDropUdp].into_iter().cycle().take(count);
    let started = start_batch(arena, "dream", policies)?;
    for (name, _) in &started {
        arena.excuse(name);
    }
    let leaks = arena.leaks()?;
    ensure!(leaks.is_empty(), "those that were enforced stay so: {leaks:?}");
    arena.daemon()?.signal(Signal::SIGCONT)?;
    let took = arena.converged(DEADLINE)?;
    let names: Vec<&str> = started.iter().map(|(name, _)| name.as_str()).collect();
    arena.remove(&names)?;
    let took = took.as_millis();
    Ok(Outcome::Passed(format!("{count} starts; all enforced {took} ms after it woke")))
}
