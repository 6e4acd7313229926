//! Pairs of measurements: without anything and right after with something, so that whatever else the
//! machine does meanwhile falls on both.
//!
//! Each round has a machine of its own: a table of `iptables` of old stays as long as its namespace.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use ebpf_netns_tests::{Machine, command};
use serde::{Deserialize, Serialize};

use crate::{Extent, figures::Sample};

/// What one round found.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Round {
    pub(crate) pairs: Vec<Pair>,
    /// What could not be measured, and why.
    pub(crate) left_out: BTreeMap<String, String>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Pair {
    pub(crate) what: String,
    pub(crate) without: f64,
    pub(crate) with: f64,
}

/// What all rounds found of something.
#[derive(Debug, Default)]
pub(crate) struct Pairs {
    pub(crate) without: Sample,
    pub(crate) with: Sample,
    pub(crate) added: Sample,
    /// With to without.
    pub(crate) ratio: Sample,
}

/// All rounds, in the order in which things are measured.
#[derive(Debug, Default)]
pub(crate) struct Rounds {
    pub(crate) of: Vec<(String, Pairs)>,
    pub(crate) left_out: BTreeMap<String, String>,
}

impl Rounds {
    /// Runs `section` in a machine for each round.
    pub(crate) fn run(section: &str, extent: Extent, rounds: usize) -> Result<Self> {
        let mut all = Self::default();
        for round in 0..rounds {
            crate::progress(&format!("{section}: round {} of {rounds}", round + 1));
            let machine = Machine::start()?;
            let mut inside = machine.command(std::env::current_exe()?);
            inside.args(["round", section, extent.name()]);
            let said = command::stdout_of(&mut inside)?;
            let found =
                serde_json::from_str(&said).with_context(|| format!("round of {section}"))?;
            all.add(found);
        }
        Ok(all)
    }

    fn add(&mut self, round: Round) {
        let Round { pairs, left_out } = round;
        self.left_out.extend(left_out);
        for Pair { what, without, with } in pairs {
            let place = self.of.iter().position(|(name, _)| *name == what).unwrap_or_else(|| {
                self.of.push((what, Pairs::default()));
                self.of.len() - 1
            });
            let Some((_, found)) = self.of.get_mut(place) else { continue };
            found.without.push(without);
            found.with.push(with);
            found.added.push(with - without);
            found.ratio.push(with / without);
        }
    }

    pub(crate) fn get(&self, what: &str) -> Option<&Pairs> {
        self.of.iter().find(|(name, _)| name == what).map(|(_, pairs)| pairs)
    }

    /// What could not be measured, as a sentence.
    pub(crate) fn say_left_out(&self) -> Option<String> {
        let said = self.left_out.iter().map(|(what, why)| format!("{what} ({why})"));
        let said: Vec<_> = said.collect();
        (!said.is_empty()).then(|| format!("Left out on this machine: {}.", said.join("; ")))
    }
}
