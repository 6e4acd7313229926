//! The reference: what becomes of the packet that opens a connection, rule by rule. Pure.
//!
//! Written to be read and not to be fast; the datapath is tested against it.

use std::net::IpAddr;

use super::model::Action;
use super::resolved::{IpVersion, ResolvedRule, Service};

/// What rules see of the packet that opens a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probe {
    /// The destination in egress, the source in ingress.
    pub remote: IpAddr,
    /// The protocol's number.
    pub protocol: u8,
    /// The destination port, or the type of an ICMP message; 0 where there is none.
    pub number: u16,
}

/// What becomes of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Whether it passes.
    pub allowed: bool,
    /// The rule of each layer that decided, by its position; `None` where none matched.
    pub deciding: Vec<Option<usize>>,
}

/// Judges a packet by the layers of its direction: each of them has to allow it, by the first of
/// its rules that matches. Where there is no layer, there are no rules, and it passes.
#[must_use]
pub fn judge(layers: &[&[ResolvedRule]], probe: &Probe) -> Verdict {
    let mut verdict = Verdict { allowed: true, deciding: Vec::new() };
    for layer in layers {
        let deciding = layer.iter().position(|rule| matches(rule, probe));
        let rule = deciding.and_then(|position| layer.get(position));
        verdict.allowed &= rule.is_some_and(|rule| rule.action == Action::Allow);
        verdict.deciding.push(deciding);
    }
    verdict
}

fn matches(rule: &ResolvedRule, probe: &Probe) -> bool {
    let ResolvedRule { traffic, remote, action: _, log: _, source: _ } = rule;
    let with = remote
        .as_ref()
        .is_none_or(|remote| remote.iter().any(|range| range.contains(probe.remote)));
    with && traffic.iter().any(|service| is_of(*service, probe))
}

fn is_of(service: Service, probe: &Probe) -> bool {
    let Service { protocol, first, last, version } = service;
    protocol.is_none_or(|protocol| protocol == probe.protocol)
        && version.is_none_or(|version| version == IpVersion::of(probe.remote))
        && (first..=last).contains(&probe.number)
}
