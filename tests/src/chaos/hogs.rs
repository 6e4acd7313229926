//! Processes that keep the CPUs busy.

use anyhow::Result;

use crate::{Process, machine::Machine};

/// Busy processes; they end when dropped.
#[derive(Debug)]
pub(super) struct Hogs {
    _all: Vec<Process>,
}

impl Hogs {
    /// Starts so many of them.
    pub(super) fn start(machine: &Machine, count: usize) -> Result<Self> {
        let start = |index| {
            let mut hog = machine.command("sh");
            hog.args(["-c", "while :; do :; done"]);
            Ok(machine.spawn(&mut hog, &format!("hog-{index}.log"))?.0)
        };
        Ok(Self { _all: (0..count).map(start).collect::<Result<_>>()? })
    }
}
