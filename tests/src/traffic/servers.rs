//! The other end of the TCP and UDP probes.

use std::{path::PathBuf, process::Command};

use anyhow::{Context as _, Result, ensure};

use crate::{
    logs,
    machine::Machine,
    process::Process,
    wait::{DEADLINE, wait_for},
};

/// Running echo servers on one port; they end when dropped.
#[derive(Debug)]
pub struct EchoServer {
    _process: Process,
    log: PathBuf,
}

impl EchoServer {
    pub(super) fn start(machine: &Machine, mut probe: Command, port: u16) -> Result<Self> {
        let (mut process, log) =
            machine.spawn(probe.args(["serve", &port.to_string()]), &format!("echo-{port}.log"))?;
        let running = wait_for(DEADLINE, "the echo server to listen", || {
            let listens = std::fs::read_to_string(&log)?.contains("listening");
            let running = process.is_running()?;
            ensure!(listens || !running, "not yet");
            Ok(running)
        })?;
        ensure!(running, "the echo server ended; {}", logs::tail(&log));
        Ok(Self { _process: process, log })
    }

    /// How many datagrams and connections came in so far: what a one-way test counts.
    ///
    /// # Errors
    ///
    /// When its log cannot be read.
    pub fn received(&self) -> Result<usize> {
        let log = std::fs::read_to_string(&self.log).context("read the echo server's log")?;
        Ok(log.lines().filter(|line| line.starts_with("got ")).count())
    }
}
