//! Many veth pairs, for measurements.

use std::fmt::Write as _;

use anyhow::{Context as _, Result};

use super::{Side, batch};
use crate::machine::Machine;

/// The namespace that the container's ends lie in.
const PEERS: &str = "peers";

/// Veth pairs like those of containers: one end on a bridge, the other in a namespace `peers`.
#[derive(Debug)]
pub struct VethFarm<'a> {
    machine: &'a Machine,
    count: usize,
}

impl<'a> VethFarm<'a> {
    /// The bridge that the host's ends belong to.
    pub const BRIDGE: &'static str = "farm0";

    /// Makes `count` pairs, up on both sides, in a few calls of `ip -batch`.
    ///
    /// # Errors
    ///
    /// When `ip` fails; a bridge takes 1,023 ports at most.
    pub fn plant(machine: &'a Machine, count: usize) -> Result<Self> {
        let farm = Self { machine, count };
        machine.run("ip", ["netns", "add", PEERS])?;
        let mut here = format!("link add {} type bridge\nlink set {0} up\n", Self::BRIDGE);
        let mut there = String::from("link set lo up\n");
        for index in 0..count {
            let (host, container) = (Self::host_name(index), Self::container_name(index));
            writeln!(here, "link add {host} type veth peer name {container} netns {PEERS}")?;
            writeln!(here, "link set {host} master {} up", Self::BRIDGE)?;
            writeln!(there, "link set {container} up")?;
        }
        batch(machine, &[], &here)?;
        batch(machine, &["-netns", PEERS], &there)?;
        Ok(farm)
    }

    /// How many pairs there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count
    }

    /// The name of a pair's end on the host's side.
    #[must_use]
    pub fn host_name(index: usize) -> String {
        format!("farm-h{index}")
    }

    /// The name of a pair's end on the container's side.
    #[must_use]
    pub fn container_name(index: usize) -> String {
        format!("farm-c{index}")
    }

    /// The interface index of an end, in its own namespace.
    ///
    /// # Errors
    ///
    /// When there is no such pair.
    pub fn ifindex(&self, index: usize, side: Side) -> Result<u32> {
        let (netns, name): (&[&str], _) = match side {
            Side::Host => (&[], Self::host_name(index)),
            Side::Container => (&["-netns", PEERS], Self::container_name(index)),
        };
        let arguments = [netns, &["-oneline", "link", "show", "dev", &name]].concat();
        let line = self.machine.run("ip", arguments)?;
        let (number, _) = line.split_once(':').context("ip link prints INDEX: NAME")?;
        number.parse().with_context(|| format!("an interface index in {line:?}"))
    }
}
