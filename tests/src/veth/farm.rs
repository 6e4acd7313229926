//! Many veth pairs, for measurements.

use std::fmt::Write as _;

use anyhow::{Context as _, Result};

use super::batch;
use crate::machine::Machine;

/// Veth pairs like those of containers: one end on a bridge, the other in a namespace of its own.
#[derive(Debug)]
pub struct VethFarm<'a> {
    machine: &'a Machine,
    count: usize,
}

impl<'a> VethFarm<'a> {
    /// The bridge that the host's ends belong to.
    pub const BRIDGE: &'static str = "farm0";

    /// Makes `count` pairs, the host's end up, in a few calls of `ip -batch`.
    ///
    /// # Errors
    ///
    /// When `ip` fails; a bridge takes 1,023 ports at most.
    pub fn plant(machine: &'a Machine, count: usize) -> Result<Self> {
        let mut lines = format!("link add {} type bridge\nlink set {0} up\n", Self::BRIDGE);
        for index in 0..count {
            let (host, netns) = (Self::host_name(index), Self::netns_name(index));
            writeln!(lines, "netns add {netns}")?;
            writeln!(lines, "link add {host} type veth peer name eth0 netns {netns}")?;
            writeln!(lines, "link set {host} master {} up", Self::BRIDGE)?;
        }
        batch(machine, &[], &lines)?;
        Ok(Self { machine, count })
    }

    /// How many pairs there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count
    }

    /// The name of a pair's end on the host's side; the other is called `eth0`.
    #[must_use]
    pub fn host_name(index: usize) -> String {
        format!("farm-h{index}")
    }

    /// The name of the namespace that a pair's other end is in.
    #[must_use]
    pub fn netns_name(index: usize) -> String {
        format!("farm-{index}")
    }

    /// The index of a pair's end on the host's side.
    ///
    /// # Errors
    ///
    /// When there is no such pair.
    pub fn ifindex(&self, index: usize) -> Result<u32> {
        let name = Self::host_name(index);
        let line = self.machine.run("ip", ["-oneline", "link", "show", "dev", &name])?;
        let (number, _) = line.split_once(':').context("ip link prints INDEX: NAME")?;
        number.parse().with_context(|| format!("an interface index in {line:?}"))
    }
}
