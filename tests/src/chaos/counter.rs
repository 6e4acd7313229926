//! Oracle 1: frames that got past a veth, counted by [`crate::stream`] behind the bridge.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use anyhow::{Context as _, Result, ensure};

use crate::{
    binaries::{self, Binary},
    machine::Machine,
    process::Process,
    stream::{EARLY, Kind, Stream, Tally, read_table},
    wait::{DEADLINE, wait_for},
};

/// The running counter of one machine.
#[derive(Debug)]
pub struct Counter {
    _process: Process,
    told: PathBuf,
}

impl Counter {
    /// Starts to count.
    ///
    /// # Errors
    ///
    /// When it cannot be built or started.
    pub fn start(machine: &Machine) -> Result<Self> {
        let told = machine.directory().join("frames");
        let mut count = machine.command(binaries::path(Binary::Probe)?);
        let (process, _log) = machine.spawn(count.arg("count").arg(&told), "counter.log")?;
        let counter = Self { _process: process, told };
        counter.settled().context("start the counter of frames")?;
        Ok(counter)
    }

    /// All that came through by now: what the counter tells the second time from now, so that
    /// what waited in its sockets is counted.
    ///
    /// # Errors
    ///
    /// When it tells nothing any more.
    pub fn settled(&self) -> Result<BTreeMap<Stream, Tally>> {
        let now = read_table(&self.told).map_or(0, |(written, _)| written);
        wait_for(DEADLINE, "the counter of frames to tell", || {
            let (written, table) = read_table(&self.told)?;
            ensure!(written >= now + 2, "it told {written} times");
            Ok(table)
        })
    }

    /// All that it told last, without waiting.
    ///
    /// # Errors
    ///
    /// When it tells nothing.
    pub fn latest(&self) -> Result<BTreeMap<Stream, Tally>> {
        Ok(read_table(&self.told)?.1)
    }
}

/// The frames of one sender, of the kinds that are asked for.
#[must_use]
pub(super) fn received(
    table: &BTreeMap<Stream, Tally>,
    sender: u32,
    wanted: impl Fn(Kind) -> bool,
) -> u64 {
    let rows = table.iter().filter(|(stream, _)| stream.sender == sender && wanted(stream.kind));
    rows.map(|(_, tally)| tally.received).sum()
}

/// The frames that one sender sent before the last one that came, and that did not come, on interfaces
/// that were operational.
#[must_use]
pub(super) fn lost(table: &BTreeMap<Stream, Tally>, sender: u32) -> u64 {
    let judged = |stream: &Stream| stream.sender == sender && stream.run != EARLY;
    let rows = table.iter().filter(|(stream, _)| judged(stream));
    rows.map(|(_, tally)| tally.lost()).sum()
}

/// How often the senders of the containers send.
pub(super) const PERIOD: Duration = Duration::from_millis(1);
