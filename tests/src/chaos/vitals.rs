//! Oracle 5: the daemon's own health.

use std::fs;

use anyhow::{Context as _, Result, ensure};

use super::arena::Arena;
use crate::daemon::Daemon;

/// More than this is a leak, not a need: a thousand containers take less.
const MOST_KIB: u64 = 96 * 1024;
/// As above, for open files.
const MOST_FILES: usize = 128;

/// What a daemon takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Vitals {
    /// Resident memory in KiB.
    pub resident: u64,
    /// Open files.
    pub files: usize,
    /// Threads.
    pub threads: u64,
}

impl Vitals {
    /// Looks at a daemon.
    ///
    /// # Errors
    ///
    /// When it is gone.
    pub fn of(daemon: &Daemon<'_>) -> Result<Self> {
        let pid = daemon.pid();
        let status =
            fs::read_to_string(format!("/proc/{pid}/status")).context("the daemon lives")?;
        let field = |name: &str| -> Result<u64> {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let number = line.and_then(|line| line.split_whitespace().next());
            number.with_context(|| format!("{name} of {pid}"))?.parse().context("a number")
        };
        let files = fs::read_dir(format!("/proc/{pid}/fd"))?.count();
        Ok(Self { resident: field("VmRSS:")?, files, threads: field("Threads:")? })
    }
}

impl Arena<'_> {
    /// The daemon is well: it takes little, and nothing in it has panicked.
    ///
    /// # Errors
    ///
    /// When it is not.
    pub fn check_vitals(&self) -> Result<Vitals> {
        let daemon = self.daemon()?;
        let vitals = Vitals::of(daemon)?;
        ensure!(vitals.resident <= MOST_KIB, "the daemon's memory: {vitals:?}");
        ensure!(vitals.files <= MOST_FILES, "the daemon's open files: {vitals:?}");
        let log = daemon.log()?;
        let panicked = log.lines().find(|line| line.contains("panicked at"));
        ensure!(panicked.is_none(), "the daemon's log: {panicked:?}");
        Ok(vitals)
    }
}
