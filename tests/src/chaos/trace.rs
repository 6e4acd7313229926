//! `strace`, which kills the daemon at a system call, or lets the call fail.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};

use crate::{
    daemon::Daemon,
    machine::Machine,
    process::Process,
    wait::{DEADLINE, wait_until},
};

/// The calls that change something outside of the daemon: the kernel's objects, files, and what
/// others are told.
pub(super) const CHANGING: [&str; 20] = [
    "bpf",
    "sendto",
    "sendmsg",
    "write",
    "openat",
    "openat2",
    "rename",
    "renameat",
    "renameat2",
    "unlink",
    "unlinkat",
    "mkdir",
    "mkdirat",
    "symlinkat",
    "fsync",
    "fdatasync",
    "ftruncate",
    "fchmod",
    "flock",
    "bind",
];

/// A running `strace` of a daemon; ending it leaves the daemon alone.
#[derive(Debug)]
pub(super) struct Trace {
    process: Process,
    output: PathBuf,
}

impl Trace {
    /// Starts to trace all threads of a running daemon.
    pub(super) fn of(machine: &Machine, daemon: &Daemon<'_>, options: &[&str]) -> Result<Self> {
        let pid = daemon.pid();
        let trace = Self::attach(machine, pid, &[&["-f"], options].concat())?;
        wait_until(DEADLINE, "strace to hold every thread", || {
            let threads = threads(pid);
            !threads.is_empty() && threads.iter().all(|thread| is_traced(thread))
        })?;
        Ok(trace)
    }

    /// Starts to trace one thread of a running daemon, by its name: no other is slower for it.
    pub(super) fn of_thread(
        machine: &Machine,
        daemon: &Daemon<'_>,
        name: &str,
        options: &[&str],
    ) -> Result<Self> {
        let named = |thread: &PathBuf| {
            fs::read_to_string(thread.join("comm")).is_ok_and(|its| its.trim_end() == name)
        };
        let thread = threads(daemon.pid()).into_iter().find(named);
        let thread = thread.with_context(|| format!("the daemon has no thread {name}"))?;
        let number = thread.file_name().and_then(|number| number.to_str()?.parse().ok());
        let trace = Self::attach(machine, number.context("a thread's number")?, options)?;
        wait_until(DEADLINE, "strace to hold the thread", || is_traced(&thread))?;
        Ok(trace)
    }

    fn attach(machine: &Machine, thread: u32, options: &[&str]) -> Result<Self> {
        let output = machine.directory().join("strace");
        let mut strace = Command::new("strace");
        strace.args(["-qq", "-I", "2", "-o"]).arg(&output).args(options);
        strace.args(["-p", &thread.to_string()]);
        Ok(Self { process: Process::spawn(&mut strace, false)?, output })
    }

    /// Ends it, and returns how many calls there were of each kind, in the thread with the most.
    pub(super) fn end(mut self) -> Result<BTreeMap<&'static str, usize>> {
        // It ends by itself when the daemon has died.
        if self.process.is_running()? {
            self.process.terminate().context("end strace")?;
        }
        calls(&self.output)
    }
}

/// The arguments that run a program under `strace` from its first call on.
pub(super) fn wrapper(machine: &Machine, options: &[&str]) -> (PathBuf, Vec<String>) {
    let output = machine.directory().join("strace");
    let mut words = ["strace", "-f", "-qq", "-I", "2", "-o"].map(str::to_owned).to_vec();
    words.push(output.display().to_string());
    words.extend(options.iter().map(|word| (*word).to_owned()));
    (output, words)
}

/// `-e inject=…` for a call that kills the daemon the `number`th time that a thread makes it.
pub(super) fn kill_at(call: &str, number: usize) -> [String; 4] {
    let inject = format!("inject={call}:signal=SIGKILL:when={number}");
    ["-e".to_owned(), format!("trace={call}"), "-e".to_owned(), inject]
}

/// Counts calls in what `strace -o` wrote: `PID name(arguments…`, without the pid of a single thread.
pub(super) fn calls(output: &Path) -> Result<BTreeMap<&'static str, usize>> {
    let text = fs::read(output).with_context(|| format!("read {}", output.display()))?;
    let text = String::from_utf8_lossy(&text);
    ensure!(!text.is_empty(), "strace saw no call");
    let mut by_thread: BTreeMap<(&str, &'static str), usize> = BTreeMap::new();
    for line in text.lines() {
        let of_many = line.split_once(' ').filter(|(thread, _)| thread.parse::<u32>().is_ok());
        let (thread, call) = of_many.unwrap_or(("", line));
        let Some((name, _)) = call.trim_start().split_once('(') else { continue };
        if let Some(known) = CHANGING.into_iter().find(|known| *known == name) {
            *by_thread.entry((thread, known)).or_default() += 1;
        }
    }
    let mut most = BTreeMap::new();
    for ((_, name), count) in by_thread {
        let known = most.entry(name).or_default();
        *known = count.max(*known);
    }
    Ok(most)
}

/// The threads of a process, by their directories; none when it is gone.
fn threads(pid: u32) -> Vec<PathBuf> {
    let threads = fs::read_dir(format!("/proc/{pid}/task"));
    threads.into_iter().flatten().flatten().map(|thread| thread.path()).collect()
}

/// Whether a thread has a tracer.
fn is_traced(thread: &Path) -> bool {
    let status = fs::read_to_string(thread.join("status")).unwrap_or_default();
    let tracer = status.lines().find_map(|line| line.strip_prefix("TracerPid:"));
    tracer.is_some_and(|tracer| tracer.trim() != "0")
}
