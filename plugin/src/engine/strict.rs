//! Strict mode: which ports the gate lets through. The kernel closes every other one, also while no
//! daemon runs.
//!
//! A port is let through once it is known what it is to be and that stands; a veth of a bridge that
//! is not governed is exempt. What is gone or in doubt is taken out first.

use std::collections::BTreeSet;

use ebpf_netns::{Ifindex, Link, LinkKind, text};
use tracing::{error, info, warn};

use super::Engine;
use crate::error::chain;
use crate::gate::{Condition, Gate, GateError, Installed, Ports};

/// The gate, and what was told it.
#[derive(Debug)]
pub(super) struct Strict {
    gate: Gate,
    /// The bridges that are governed, by name; Docker's where none are named.
    bridges: BTreeSet<String>,
    ports: Ports,
    /// Ports that were let through when the daemon started.
    before: BTreeSet<Ifindex>,
}

impl Strict {
    /// Installs the gate before anything else is looked at, or takes over the one that is there.
    /// When it is new, what is connected already stays so: nobody knows better yet.
    pub(super) fn start(bridges: &[String], links: &[Link]) -> Result<Self, GateError> {
        let gate = Gate::open()?;
        let mut ports = Ports::default();
        if gate.inspect()? == Condition::Missing {
            let connected = |link: &&Link| link.kind == LinkKind::Veth && link.master.is_some();
            ports.admitted = links.iter().filter(connected).map(|link| link.index).collect();
        }
        let installed = gate.install(&ports)?;
        info!(?installed, "strict mode: ports are closed until what they are to be stands");
        let ports = gate.ports()?;
        let before = ports.admitted.union(&ports.foreign).copied().collect();
        let mut strict = Self { gate, bridges: bridges.iter().cloned().collect(), ports, before };
        let there: BTreeSet<Ifindex> = links.iter().map(|link| link.index).collect();
        for gone in strict.before.difference(&there).copied().collect::<Vec<_>>() {
            strict.expel(gone);
        }
        Ok(strict)
    }

    /// Whether a port was closed before this daemon knew of it.
    pub(super) fn was_closed(&self, port: Ifindex) -> bool {
        !self.before.contains(&port)
    }

    pub(super) fn governs(&self, bridge: &str) -> bool {
        self.bridges.is_empty() || self.bridges.contains(bridge)
    }

    fn admit(&mut self, port: Ifindex) {
        if self.ports.admitted.insert(port) {
            tell(self.gate.admit(port), "let a port through");
        }
    }

    fn exempt(&mut self, port: Ifindex) {
        if self.ports.foreign.insert(port) {
            tell(self.gate.exempt(port), "let a port of another bridge through");
        }
    }

    fn expel(&mut self, port: Ifindex) {
        let known = self.ports.admitted.remove(&port) | self.ports.foreign.remove(&port);
        if known | self.before.remove(&port) {
            tell(self.gate.expel(port), "take a port out");
        }
    }

    /// Puts right what somebody else changed; how many things that were.
    fn repair(&mut self) -> usize {
        let condition = match self.gate.inspect() {
            Ok(condition) => condition,
            Err(error) => {
                error!(error = chain(&error), "strict mode's gate cannot be looked at");
                return 0;
            }
        };
        let there = self.gate.ports().unwrap_or_default();
        if condition == Condition::Intact && there == self.ports {
            return 0;
        }
        for port in there.admitted.difference(&self.ports.admitted) {
            tell(self.gate.expel(*port), "take a port out");
        }
        match self.gate.install(&self.ports) {
            Ok(Installed::Kept) => {}
            Ok(_) => warn!(?condition, "strict mode's gate was changed by somebody else: repaired"),
            Err(error) => error!(error = chain(&error), "strict mode's gate cannot be repaired"),
        }
        1
    }
}

fn tell(done: Result<(), GateError>, what: &str) {
    if let Err(error) = done {
        error!(error = chain(&error), "strict mode: could not {what}: it stays closed");
    }
}

impl Engine {
    /// Lets a port through, now that what it is to be stands.
    pub(super) fn admit(&mut self, port: Ifindex) {
        if let Some(strict) = &mut self.strict {
            strict.admit(port);
        }
    }

    /// Takes a port out.
    pub(super) fn expel(&mut self, port: Ifindex) {
        if let Some(strict) = &mut self.strict {
            strict.expel(port);
        }
    }

    /// Lets a veth through that is a port of a bridge that is not governed.
    pub(super) fn exempt_if_foreign(&mut self, link: &Link) {
        let Some(strict) = &mut self.strict else { return };
        if link.kind != LinkKind::Veth || link.master.is_none() {
            return;
        }
        let governed =
            self.world.newcomers.docker_bridge(link).is_some_and(|bridge| strict.governs(bridge));
        if !governed && self.world.newcomers.knows_bridge(link) {
            strict.exempt(link.index);
        } else if strict.ports.foreign.contains(&link.index) {
            info!(interface = %text::printable(&link.name), "came to a bridge that is governed");
            strict.expel(link.index);
        }
    }

    /// Looks at every port, now that Docker has said which bridges are its own.
    pub(super) fn exempt_foreign_ports(&mut self) {
        if self.strict.is_some() {
            let veths: Vec<Link> = self.world.veths.values().cloned().collect();
            for veth in &veths {
                self.exempt_if_foreign(veth);
            }
        }
    }

    /// Looks whether the gate is as it was left.
    pub(super) fn repair_gate(&mut self) {
        if let Some(strict) = &mut self.strict {
            self.counts.repairs += u64::try_from(strict.repair()).unwrap_or(u64::MAX);
        }
    }
}
