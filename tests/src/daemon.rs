//! The daemon under test, running inside a machine.

use std::{
    fs,
    path::PathBuf,
    process::{Command, ExitStatus},
};

use anyhow::{Context as _, Result, bail, ensure};
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::{
    binaries::{self, Binary},
    command, engine, logs,
    machine::Machine,
    process::Process,
    wait::{DEADLINE, wait_for},
};

/// What is not the default about a daemon.
#[derive(Clone, Debug, Default)]
pub struct DaemonOptions {
    /// Where the engine is; a private machine's own when empty.
    pub docker_host: String,
    /// More arguments of `ebpf-netns-plugin run`, for example `--tc=clsact`.
    pub arguments: Vec<String>,
    /// A program and its arguments that run the daemon, for example `strace -f`.
    pub wrapper: Vec<String>,
}

impl DaemonOptions {
    /// A daemon whose log nobody reads; one at a time in a machine.
    #[must_use]
    pub fn with_unread_log(mut self, machine: &Machine) -> Self {
        let pipe = machine.directory().join("unread").display().to_string();
        let wrapper = ["sh", "-c", UNREAD, &pipe].map(str::to_owned);
        self.wrapper.splice(..0, wrapper);
        self
    }
}

/// Runs a program whose standard error is a pipe that is full and that nobody reads: it holds the
/// other end itself.
const UNREAD: &str = r#"
mkfifo "$0"
exec 9<>"$0"
head -c 65536 /dev/zero >&9
exec "$@" 2>&9
"#;

/// A running `ebpf-netns-plugin run`; killed when dropped.
#[derive(Debug)]
pub struct Daemon<'a> {
    process: Process,
    machine: &'a Machine,
    log: PathBuf,
}

impl<'a> Daemon<'a> {
    /// Starts the daemon in a machine and waits until it answers.
    ///
    /// # Errors
    ///
    /// When it cannot be built, ends, or does not answer; the error shows its log.
    pub fn start(machine: &'a Machine) -> Result<Self> {
        Self::start_with(machine, &DaemonOptions::default())
    }

    /// As [`Self::start`], with options.
    ///
    /// # Errors
    ///
    /// As [`Self::start`].
    pub fn start_with(machine: &'a Machine, options: &DaemonOptions) -> Result<Self> {
        let docker_host = match options.docker_host.as_str() {
            "" => engine::DOCKER_HOST,
            given => given,
        };
        let plugin = binaries::path(Binary::Plugin)?;
        let mut run = match options.wrapper.split_first() {
            Some((wrapper, words)) => {
                let mut run = machine.command(wrapper);
                run.args(words).arg(plugin);
                run
            }
            None => machine.command(plugin),
        };
        run.args(["run", "--docker-host", docker_host]).args(&options.arguments);
        let (process, log) = machine.spawn(&mut run, "ebpf-netns-plugin.log")?;
        let mut daemon = Self { process, machine, log };
        let ended = wait_for(DEADLINE, "the daemon to answer", || {
            if daemon.process.is_running()? { daemon.status().map(|_| false) } else { Ok(true) }
        })
        .with_context(|| format!("start the daemon; {}", logs::tail(&daemon.log)))?;
        ensure!(!ended, "the daemon ended at once; {}", logs::tail(&daemon.log));
        Ok(daemon)
    }

    /// What `ebpf-netns-plugin status --format json` says.
    ///
    /// # Errors
    ///
    /// When the daemon does not answer.
    pub fn status(&self) -> Result<Value> {
        let text = command::stdout_of(self.plugin()?.args(["status", "--format", "json"]))?;
        serde_json::from_str(&text).with_context(|| format!("status is JSON, not {text:?}"))
    }

    /// Waits until the daemon says `state` of a container, and returns all it says of it.
    ///
    /// # Errors
    ///
    /// When it does not in time; the error shows what it said last.
    pub fn wait_state(&self, container: &str, state: &str) -> Result<Value> {
        wait_for(DEADLINE, &format!("{container} to be {state}"), || {
            let status = self.status()?;
            let all = status.get("containers").and_then(Value::as_array);
            let found = all.into_iter().flatten().find(|found| {
                found.get("name").is_some_and(|name| name == container)
                    && found.get("state").is_some_and(|its| its == state)
            });
            found.cloned().with_context(|| format!("the status is {status}"))
        })
    }

    /// `ebpf-netns-plugin` without arguments, in the machine.
    ///
    /// # Errors
    ///
    /// When it cannot be built.
    pub fn plugin(&self) -> Result<Command> {
        Ok(self.machine.command(binaries::path(Binary::Plugin)?))
    }

    /// The daemon's pid as the machine's outside sees it.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Everything it logged so far.
    ///
    /// # Errors
    ///
    /// When its log cannot be read.
    pub fn log(&self) -> Result<String> {
        fs::read_to_string(&self.log).context("read the daemon's log")
    }

    /// Shows the end of its log to who runs this: a failure is explained there.
    pub fn show_log(&self) {
        logs::show(&self.log);
    }

    /// Sends a signal.
    ///
    /// # Errors
    ///
    /// When it is gone.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        self.process.signal(signal)
    }

    /// Ends it in order (SIGTERM), which it must do with exit code 0.
    ///
    /// # Errors
    ///
    /// When it does not, or ends otherwise.
    pub fn stop(self) -> Result<()> {
        self.stop_by(Signal::SIGTERM)
    }

    /// As [`Self::stop`], by another signal.
    ///
    /// # Errors
    ///
    /// As [`Self::stop`].
    pub fn stop_by(mut self, signal: Signal) -> Result<()> {
        self.process.signal(signal)?;
        let status: ExitStatus = self.process.wait(DEADLINE)?;
        if !status.success() {
            bail!("the daemon ended with {status}; {}", logs::tail(&self.log));
        }
        Ok(())
    }

    /// Sends SIGTERM and waits for the end, whatever the exit code.
    ///
    /// # Errors
    ///
    /// When it still runs at the deadline.
    pub fn end(mut self) -> Result<()> {
        // It may have ended already.
        self.process.signal(Signal::SIGTERM).ok();
        self.process.wait(DEADLINE).map(drop)
    }

    /// Ends it at once (SIGKILL).
    ///
    /// # Errors
    ///
    /// When it was not running any more.
    pub fn kill(mut self) -> Result<()> {
        self.process.kill()
    }
}

impl Drop for Daemon<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            logs::show(&self.log);
        }
    }
}
