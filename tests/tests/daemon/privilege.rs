//! Least privilege: what the running daemon still may, and that everything else is denied.

use std::{collections::BTreeMap, fs};

use anyhow::{Context as _, Result, ensure};
use ebpf_netns_plugin::status::State;
use ebpf_netns_tests::{
    DEADLINE, Daemon, Machine,
    binaries::{self, Binary},
    command::output_of,
    privilege, wait_for,
};

use crate::scene::{Scene, wait_state};

const EPERM: i32 = 1;
const EACCES: i32 = 13;

/// What a daemon has, with `CAP_NET_ADMIN` and `CAP_BPF`.
const KEPT: u64 = 1 << 12 | 1 << 39;

/// What came of each attempt: nothing, or the error's number.
type Outcomes = BTreeMap<String, Option<i32>>;

#[test]
fn every_thread_of_a_daemon_at_work_has_what_it_needs_and_a_filter() -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    let scene = Scene::start()?;
    let daemon = scene.daemon()?;
    scene.run("web", &[("tc.policy", "drop-icmp")])?;
    wait_state(&daemon, "web", State::Enforced)?;

    let threads = threads(&daemon)?;
    assert!(threads.len() > 2, "the runtime and the engine have threads: {threads:?}");
    for (thread, status) in threads {
        let field = |name: &str| status.get(name).map(String::as_str).unwrap_or_default();
        for set in ["CapEff", "CapPrm", "CapBnd"] {
            assert_eq!(capabilities(field(set))?, KEPT, "{set} of {thread}");
        }
        for set in ["CapInh", "CapAmb"] {
            assert_eq!(capabilities(field(set))?, 0, "{set} of {thread}");
        }
        assert_eq!(field("NoNewPrivs"), "1", "no_new_privs of {thread}");
        assert_eq!(field("Seccomp"), "2", "{thread} is filtered");
    }
    assert_eq!(
        at_real_time(&daemon)?,
        ["engine", "guard", "links"],
        "who closes new interfaces comes first"
    );
    let limits = fs::read_to_string(format!("/proc/{}/limits", daemon.pid()))?;
    let limit = |name: &str| -> Result<Vec<String>> {
        let line = limits.lines().find_map(|line| line.strip_prefix(name));
        let line = line.with_context(|| format!("{name} in {limits}"))?;
        Ok(line.split_whitespace().take(2).map(str::to_owned).collect())
    };
    let files = limit("Max open files")?;
    assert_eq!(files.first(), files.last(), "as many open files as may be");
    assert_eq!(limit("Max core file size")?, ["0", "0"], "no core dumps");
    daemon.stop()
}

/// The threads with a real-time policy, by name.
fn at_real_time(daemon: &Daemon<'_>) -> Result<Vec<String>> {
    const ROUND_ROBIN: &str = "2";
    // The field `policy` of proc_pid_stat(5), counted from what follows the name.
    const POLICY: usize = 41 - 3;
    let mut names = Vec::new();
    for thread in fs::read_dir(format!("/proc/{}/task", daemon.pid()))? {
        // A thread may have ended meanwhile.
        let Ok(stat) = fs::read_to_string(thread?.path().join("stat")) else { continue };
        let (before, after) = stat.rsplit_once(')').context("a name in brackets")?;
        if after.split_whitespace().nth(POLICY) == Some(ROUND_ROBIN) {
            let (_, name) = before.split_once('(').context("a name in brackets")?;
            names.push(name.to_owned());
        }
    }
    names.sort();
    Ok(names)
}

#[test]
fn the_log_says_what_holds_and_a_missing_part_is_refused_where_all_is_required() -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    let machine = Machine::start()?;
    let daemon = Daemon::start(&machine)?;
    let log = daemon.log()?;
    let confined: Vec<_> = log.lines().filter(|line| line.contains(" confined ")).collect();
    let [confined] = confined.as_slice() else { anyhow::bail!("one line says it: {log}") };
    for word in ["CAP_BPF", "CAP_NET_ADMIN", "no_new_privs", "landlock", "ABI", "seccomp"] {
        assert!(confined.contains(word), "{word} in {confined}");
    }
    daemon.stop()?;

    // A filter that only logs is a gap on every kernel.
    let mut run = machine.command(binaries::path(Binary::Plugin)?);
    let ended = output_of(run.args(["run", "--require-sandbox", "--seccomp=log"]))?;
    let said = String::from_utf8(ended.stderr)?;
    assert_eq!(ended.status.code(), Some(1), "it refuses: {said}");
    assert!(said.contains("seccomp") && said.contains("--require-sandbox"), "and says why: {said}");
    Ok(())
}

#[test]
fn a_required_sandbox_is_whole_on_this_kernel_or_the_gap_is_named() -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    let machine = Machine::start()?;
    let plugin = binaries::path(Binary::Plugin)?;
    let mut run = machine.command(&plugin);
    run.args(["run", "--require-sandbox"]);
    let (mut process, log) = machine.spawn(&mut run, "required.log")?;
    let runs = wait_for(DEADLINE, "the daemon to run or to refuse", || {
        if !process.is_running()? {
            return Ok(false);
        }
        machine.run(&plugin, ["status"]).map(|_| true)
    })?;
    let said = fs::read_to_string(log)?;
    let abi = said.split_once("ABI ").and_then(|(_, rest)| rest.split(' ').next()?.parse().ok());
    let whole = abi.is_some_and(|abi: u32| abi >= 6);
    assert_eq!(runs, whole, "it runs where the kernel has all: {said}");
    if runs {
        assert!(process.terminate()?.success(), "it ends in order");
    }
    Ok(())
}

#[test]
fn t25_what_the_daemon_must_not_do_is_denied_in_its_sandbox_and_possible_outside() -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    // The work and the harm succeed; calls whose arguments are wrong fail for those.
    let wrong: Outcomes = attempts("free", "unix")?
        .into_iter()
        .filter(|(what, outcome)| match what.split_once(' ') {
            Some(("call" | "bpf", _)) => *outcome == Some(EPERM),
            _ => outcome.is_some(),
        })
        .collect();
    assert!(wrong.is_empty(), "without the sandbox this is not possible: {wrong:?}");

    for (depth, way) in [("entered", "unix"), ("sealed", "unix"), ("sealed", "tcp")] {
        let outcomes = attempts(depth, way)?;
        let work = |what: &str| {
            what.starts_with("may ") || (way == "tcp" && what == "connect to Docker's port")
        };
        let (work, harm): (Outcomes, Outcomes) =
            outcomes.into_iter().partition(|(what, _)| work(what));
        assert!(work.len() > 5 && harm.len() > 15, "{depth}, {way}: everything is tried");
        let prevented: Outcomes =
            work.into_iter().filter(|(_, outcome)| outcome.is_some()).collect();
        assert!(prevented.is_empty(), "{depth}, {way}: the daemon's work is denied: {prevented:?}");
        let done: Outcomes = harm
            .into_iter()
            .filter(|(_, outcome)| !matches!(outcome, Some(EPERM | EACCES)))
            .collect();
        assert!(done.is_empty(), "{depth}, {way}: this is not denied: {done:?}");
    }
    Ok(())
}

/// Goes that far into the sandbox, in a machine of its own, and tries everything.
fn attempts(depth: &str, way: &str) -> Result<Outcomes> {
    let machine = Machine::start()?;
    machine.run("mkdir", ["-p", "/run/docker/netns"])?;
    machine
        .run("touch", ["/run/docker/netns/key", "/run/docker/netns/spare", "/run/netns/stale"])?;
    machine.run("mount", ["--bind", "/proc/self/ns/net", "/run/docker/netns/key"])?;
    let mut confined = machine.command(binaries::path(Binary::Confined)?);
    let output = output_of(confined.args([depth, way]))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{depth}, {way}: {}: {said}", output.status);
    serde_json::from_slice(&output.stdout).context("the outcomes are JSON")
}

/// The status of each thread of the daemon, by its name and number.
fn threads(daemon: &Daemon<'_>) -> Result<BTreeMap<String, BTreeMap<String, String>>> {
    let mut threads = BTreeMap::new();
    for thread in fs::read_dir(format!("/proc/{}/task", daemon.pid()))? {
        let thread = thread?;
        let status = fs::read_to_string(thread.path().join("status"))?;
        let fields = status.lines().filter_map(|line| line.split_once(':'));
        let fields: BTreeMap<_, _> =
            fields.map(|(name, value)| (name.to_owned(), value.trim().to_owned())).collect();
        let name = fields.get("Name").cloned().unwrap_or_default();
        threads.insert(format!("{name} {}", thread.file_name().display()), fields);
    }
    Ok(threads)
}

fn capabilities(field: &str) -> Result<u64> {
    u64::from_str_radix(field, 16).with_context(|| format!("{field:?} is a set"))
}
