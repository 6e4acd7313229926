//! The `dockerd` process: its arguments, its log, and when it is ready.

use std::{
    io::{Read as _, Write as _},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::Signal;

use super::{FIXED_CIDR_V6, configuration};
use crate::{
    logs,
    machine::Machine,
    newer::Newer,
    process::Process,
    wait::{DEADLINE, wait_for},
};

/// A running `dockerd`; the containerd that it starts ends with it.
#[derive(Debug)]
pub(super) struct Server {
    process: Process,
    log: PathBuf,
}

impl Server {
    /// Starts `dockerd` and waits until it answers.
    pub(super) fn start(
        machine: &Machine,
        newer: Option<&Newer>,
        flags: &[String],
    ) -> Result<Self> {
        let mut command = machine.command(newer.map_or("dockerd".into(), Newer::engine));
        if let Some(newer) = newer {
            // It looks for containerd and its shim there.
            command.env("PATH", newer.path()?);
        }
        command
            .arg("--config-file")
            .arg(configuration::path(machine))
            // A cgroup of its own, so that what is left can be told from others' and removed.
            .arg(format!("--cgroup-parent=/{}", machine.name()))
            .arg("--exec-opt=native.cgroupdriver=cgroupfs")
            .args(["--ipv6", "--fixed-cidr-v6", FIXED_CIDR_V6])
            .args(flags)
            .env_remove("DOCKER_HOST");
        let (process, log) = machine.spawn(&mut command, "dockerd.log")?;
        let mut server = Self { process, log };
        server
            .wait_ready(&machine.outside("/run/docker.sock"))
            .with_context(|| format!("start dockerd; {}", logs::tail(&server.log)))?;
        Ok(server)
    }

    /// Ends it in order.
    pub(super) fn stop(mut self) -> Result<()> {
        let status = self.process.terminate()?;
        ensure!(status.success(), "dockerd ended with {status}; {}", logs::tail(&self.log));
        Ok(())
    }

    /// Ends it at once.
    pub(super) fn kill(mut self) -> Result<()> {
        self.process.kill()
    }

    /// Sends it a signal.
    pub(super) fn signal(&self, signal: Signal) -> Result<()> {
        self.process.signal(signal)
    }

    /// Prints the end of the log, for a test that fails.
    pub(super) fn show_log(&self) {
        logs::show(&self.log);
    }

    fn wait_ready(&mut self, socket: &Path) -> Result<()> {
        let ended = wait_for(DEADLINE, "dockerd to answer", || {
            if self.process.is_running()? { ping(socket).map(|()| false) } else { Ok(true) }
        })?;
        ensure!(!ended, "dockerd ended");
        Ok(())
    }
}

/// Asks the engine whether it is there, in as little HTTP as it takes.
fn ping(socket: &Path) -> Result<()> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    stream.write_all(b"GET /_ping HTTP/1.0\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    ensure!(answer.contains(" 200 OK"), "the engine answered {answer:?}");
    Ok(())
}
