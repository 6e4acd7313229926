//! Oracle 3: those who have no label lose nothing.

use std::{collections::BTreeMap, fs, net::SocketAddr, path::PathBuf, time::Duration};

use anyhow::{Context as _, Result};

use super::{arena::Arena, counter, policy::Policy};
use crate::{
    binaries::{self, Binary},
    machine::Machine,
    process::Process,
    traffic::Vantage,
};

/// Between two datagrams.
const PERIOD: Duration = Duration::from_millis(10);

/// A datagram every 10 milliseconds, and its echo.
#[derive(Debug)]
pub(super) struct Beat {
    _process: Process,
    told: PathBuf,
    name: &'static str,
}

impl Beat {
    pub(super) fn start(
        machine: &Machine,
        from: &Vantage<'_>,
        to: SocketAddr,
        name: &'static str,
    ) -> Result<Self> {
        let told = machine.directory().join(format!("beat-{name}"));
        let mut probe = from.command(&binaries::path(Binary::Probe)?.display().to_string());
        let period = PERIOD.as_micros().to_string();
        probe.args(["beat", &to.to_string(), &period]).arg(&told);
        let (process, _log) = machine.spawn(&mut probe, &format!("beat-{name}.log"))?;
        Ok(Self { _process: process, told, name })
    }

    /// How many datagrams were sent, and how many of them never came back.
    fn told(&self) -> Result<(u64, u64)> {
        let text = fs::read_to_string(&self.told)
            .with_context(|| format!("ask the beat from {}", self.name))?;
        let numbers = text.split_once(' ').with_context(|| format!("two numbers: {text:?}"))?;
        Ok((numbers.0.parse()?, numbers.1.parse()?))
    }
}

/// What those who have no label sent and lost.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Innocents {
    /// Datagrams and frames that were sent.
    pub sent: u64,
    /// Those of them that did not arrive.
    pub lost: u64,
    /// Who lost them.
    pub losers: BTreeMap<String, u64>,
}

impl Innocents {
    fn add(&mut self, name: &str, sent: u64, lost: u64) {
        self.sent += sent;
        self.lost += lost;
        if lost > 0 {
            self.losers.insert(name.to_owned(), lost);
        }
    }
}

impl Arena<'_> {
    /// What those who have no label sent and lost so far, those who started meanwhile among them.
    ///
    /// # Errors
    ///
    /// When nobody tells.
    pub fn innocents(&self) -> Result<Innocents> {
        let table = self.counter().settled()?;
        let mut sum = Innocents::default();
        for beat in &self.beats {
            let (sent, lost) = beat.told()?;
            sum.add(&format!("beat from {}", beat.name), sent, lost);
        }
        let unlabelled = self.senders().iter();
        for (name, sender) in
            unlabelled.filter(|(_, one)| one.policy == Policy::None && !one.excused)
        {
            let lost = counter::lost(&table, sender.id);
            sum.add(name, counter::received(&table, sender.id, |_| true) + lost, lost);
        }
        Ok(sum)
    }
}
