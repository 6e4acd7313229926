//! A Debian system with systemd, to install packages in: this machine's own, and no change to it stays.
//!
//! It lives in a [`Machine`] and shares its network and its Docker engine; its root is an overlay on
//! the real one, so that dpkg, systemd and their databases are those of Debian.

use std::{ffi::OsStr, path::Path, process::Command, time::Duration};

use anyhow::{Context as _, Result, ensure};
use nix::unistd::Pid;

use crate::{
    command, logs,
    machine::Machine,
    process::{Process, children_of},
    wait::wait_for,
};

/// How long a system may take until it has booted.
const PATIENCE: Duration = Duration::from_mins(2);

/// A booted system; it ends, with all that runs in it, when dropped.
#[derive(Debug)]
pub struct System {
    _unshare: Process,
    init: Pid,
}

impl System {
    /// Boots it in a machine, as far as systemd's basic target. An engine that is to be used in it has
    /// to run already.
    ///
    /// # Errors
    ///
    /// When systemd is not there, or does not boot; the error shows what it said.
    pub fn boot(machine: &Machine) -> Result<Self> {
        // What the engine mounts from now on is seen in the system, too.
        machine.run("mount", ["--make-rshared", "/run"])?;
        let mut unshare = machine.command("unshare");
        unshare
            .args(["--mount", "--pid", "--ipc", "--uts", "--cgroup", "--propagation=slave"])
            .args(["--fork", "--kill-child=KILL", "bash", "-c", include_str!("boot.sh"), "boot"])
            .arg(machine.directory());
        let (mut unshare, log) = machine.spawn(&mut unshare, "systemd.log")?;
        let booted = wait_for(PATIENCE, "systemd to boot", || {
            if !unshare.is_running()? {
                return Ok(None);
            }
            let unshared = Pid::from_raw(i32::try_from(unshare.pid())?);
            let init = children_of(unshared).first().copied().context("it has no child")?;
            let said = command::output_of(enter(init, "systemctl").arg("is-system-running"))?;
            let state = String::from_utf8_lossy(&said.stdout);
            // A service of this machine that fails elsewhere is not what is tried.
            ensure!(["running", "degraded"].contains(&state.trim_end()), "it is {state}");
            Ok(Some(init))
        });
        let init = booted
            .and_then(|init| init.context("it ended"))
            .with_context(|| format!("boot a system; {}", logs::tail(&log)))?;
        Ok(Self { _unshare: unshare, init })
    }

    /// A command in the system, with `/` as its working directory.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        enter(self.init, program)
    }

    /// Runs a program in the system to its end and returns what it wrote to stdout.
    ///
    /// # Errors
    ///
    /// When it fails; the error shows its stderr.
    pub fn run<I>(&self, program: impl AsRef<OsStr>, arguments: I) -> Result<String>
    where
        I: IntoIterator<Item: AsRef<OsStr>>,
    {
        command::stdout_of(self.command(program).args(arguments))
    }

    /// Whether there is something at a path of the system.
    #[must_use]
    pub fn has(&self, path: &str) -> bool {
        let root = format!("/proc/{}/root", self.init);
        Path::new(&root).join(path.trim_start_matches('/')).symlink_metadata().is_ok()
    }
}

fn enter(init: Pid, program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("nsenter");
    command
        .arg(format!("--target={init}"))
        .args(["--net", "--mount", "--pid", "--ipc", "--uts", "--cgroup", "--root", "--wd=/", "--"])
        .arg(program)
        .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
        .env("DEBIAN_FRONTEND", "noninteractive");
    command
}
