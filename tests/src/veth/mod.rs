//! Veth pairs without Docker, for tests and measurements of attaching.

mod farm;
mod pair;

use std::{io::Write as _, process::Stdio};

use anyhow::{Context as _, Result, bail};

pub use self::{farm::VethFarm, pair::VethPair};
use crate::machine::Machine;

/// An end of a veth pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// In the machine's own namespace.
    Host,
    /// In the namespace that stands for a container's.
    Container,
}

/// Runs many commands of `ip` at once.
fn batch(machine: &Machine, options: &[&str], lines: &str) -> Result<()> {
    let mut child = machine
        .command("ip")
        .args(options)
        .args(["-batch", "-"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("start ip")?;
    child.stdin.take().context("ip has a stdin")?.write_all(lines.as_bytes())?;
    let output = child.wait_with_output()?;
    if !output.status.success() {
        bail!("ip -batch: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}
