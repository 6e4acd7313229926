//! From rules as they were written to rules in terms of packets. Pure; who knows the names is asked.

use std::fmt;

use plugin_common::packet::protocol::{ICMP, ICMPV6, SCTP, TCP, UDP};

use super::MAX_ENTRIES;
use super::address::AddressRange;
use super::groups;
use super::icmp::IcmpType;
use super::model::{
    Action, Direction, IcmpTypes, PortRange, Ports, Rule, RuleList, Target, Traffic,
};
use super::resolved::{Addresses, IpVersion, ResolvedRule, Resolver, RuleId, Service, Wanted};
use super::sets::merge;

const DNS_PORT: u16 = 53;

/// Layers of rules of one direction with addresses in place of names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expansion {
    /// The rules of each layer, in their order.
    pub layers: Vec<Vec<ResolvedRule>>,
    /// Rules with a name of which not everything is known yet.
    pub waiting: Vec<RuleId>,
}

/// More entries than fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooManyEntries {
    entries: usize,
}

impl fmt::Display for TooManyEntries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { entries } = self;
        write!(
            f,
            "the rules become {entries} entries (addresses times ports), and {MAX_ENTRIES} fit: \
             name networks instead of containers, or ranges instead of single ports"
        )
    }
}

impl std::error::Error for TooManyEntries {}

/// Puts addresses in place of names in the layers of one direction.
#[must_use]
pub fn expand<'a>(
    direction: Direction,
    layers: impl IntoIterator<Item = &'a RuleList>,
    resolver: &impl Resolver,
) -> Expansion {
    let mut expansion = Expansion::default();
    for (layer, rules) in layers.into_iter().enumerate() {
        let mut expanded = Vec::new();
        for (position, rule) in rules.iter().enumerate() {
            let source = RuleId { layer, rule: position };
            let remote = remote(direction, rule, resolver);
            if remote.as_ref().is_some_and(|remote| remote.waiting) {
                expansion.waiting.push(source);
            }
            let Rule { action, log, traffic, targets: _, line: _ } = rule;
            let remote = remote.map(|remote| merge(remote.ranges));
            let traffic = services(traffic);
            expanded.push(ResolvedRule { action: *action, log: *log, traffic, remote, source });
        }
        expansion.layers.push(expanded);
    }
    expansion
}

/// Whether what one container needs in all fits.
///
/// # Errors
///
/// When it does not.
pub fn check_entries<'a>(
    expansions: impl IntoIterator<Item = &'a Expansion>,
) -> Result<(), TooManyEntries> {
    let rules = expansions.into_iter().flat_map(|expansion| expansion.layers.iter().flatten());
    let entries = rules.map(ResolvedRule::entries).fold(0, usize::saturating_add);
    if entries > MAX_ENTRIES { Err(TooManyEntries { entries }) } else { Ok(()) }
}

impl ResolvedRule {
    /// How many entries it counts as: addresses times services; anyone counts as one address, and
    /// so does no one.
    #[must_use]
    pub fn entries(&self) -> usize {
        let addresses = self.remote.as_ref().map_or(1, |remote| remote.len().max(1));
        addresses.saturating_mul(self.traffic.len())
    }
}

/// Whom a rule is with; `None` is anyone.
fn remote(direction: Direction, rule: &Rule, resolver: &impl Resolver) -> Option<Addresses> {
    let Rule { action, traffic, targets, log: _, line: _ } = rule;
    if targets.is_empty() {
        // What is denied without a word about whom is denied to everyone.
        let resolvers =
            (direction, action, traffic) == (Direction::Egress, &Action::Allow, &Traffic::Dns);
        return resolvers.then(|| resolver.resolve(Wanted::Resolvers));
    }
    let mut all = Addresses::default();
    for target in targets {
        let Addresses { ranges, waiting } = addresses(target, resolver)?;
        all.ranges.extend(ranges);
        all.waiting |= waiting;
    }
    Some(all)
}

fn addresses(target: &Target, resolver: &impl Resolver) -> Option<Addresses> {
    let known = |ranges| Addresses { ranges, waiting: false };
    Some(match target {
        Target::Any => return None,
        Target::Range(range) => known(vec![*range]),
        Target::Lan => known(groups::lan()),
        Target::Metadata => known(groups::metadata()),
        Target::Internet => {
            let Addresses { ranges, waiting } = resolver.resolve(Wanted::Host);
            Addresses { ranges: groups::internet(ranges), waiting }
        }
        Target::Host => resolver.resolve(Wanted::Host),
        Target::Container(name) => resolver.resolve(Wanted::Container(name)),
        Target::Service(name) => resolver.resolve(Wanted::Service(name)),
        Target::Network(name) => resolver.resolve(Wanted::Network(name)),
    })
}

/// What a rule matches besides the address.
fn services(traffic: &Traffic) -> Vec<Service> {
    match traffic {
        Traffic::Any => vec![Service::ANY],
        Traffic::Dns => {
            [UDP, TCP].map(|protocol| Service::numbers(protocol, DNS_PORT, DNS_PORT)).to_vec()
        }
        Traffic::Tcp(ports) => of_ports(TCP, ports),
        Traffic::Udp(ports) => of_ports(UDP, ports),
        Traffic::Sctp(ports) => of_ports(SCTP, ports),
        Traffic::Icmp(types) => of_types(types),
        Traffic::Protocol(number) => vec![Service::all_of(*number)],
    }
}

fn of_ports(protocol: u8, Ports(ports): &Ports) -> Vec<Service> {
    if ports.is_empty() {
        return vec![Service::all_of(protocol)];
    }
    let mut sorted: Vec<PortRange> = ports.clone();
    sorted.sort_unstable();
    let mut services: Vec<Service> = Vec::new();
    for port in sorted {
        match services.last_mut() {
            Some(last) if port.first() <= last.last.saturating_add(1) => {
                last.last = last.last.max(port.last());
            }
            _ => services.push(Service::numbers(protocol, port.first(), port.last())),
        }
    }
    services
}

/// The number of a type in one version of IP.
type NumberOf = fn(IcmpType) -> Option<u8>;

fn of_types(IcmpTypes(types): &IcmpTypes) -> Vec<Service> {
    let versions: [(u8, IpVersion, NumberOf); 2] =
        [(ICMP, IpVersion::V4, IcmpType::v4), (ICMPV6, IpVersion::V6, IcmpType::v6)];
    let mut services = Vec::new();
    for (protocol, version, number) in versions {
        let version = Some(version);
        if types.is_empty() {
            services.push(Service { version, ..Service::all_of(protocol) });
        }
        let mut numbers: Vec<u16> =
            types.iter().filter_map(|of| number(*of)).map(u16::from).collect();
        numbers.sort_unstable();
        numbers.dedup();
        services.extend(
            numbers
                .into_iter()
                .map(|number| Service { version, ..Service::numbers(protocol, number, number) }),
        );
    }
    services
}

impl Service {
    /// Everything.
    pub const ANY: Self = Self { protocol: None, first: 0, last: u16::MAX, version: None };

    const fn all_of(protocol: u8) -> Self {
        Self { protocol: Some(protocol), ..Self::ANY }
    }

    const fn numbers(protocol: u8, first: u16, last: u16) -> Self {
        Self { protocol: Some(protocol), first, last, version: None }
    }
}

impl FromIterator<AddressRange> for Addresses {
    /// Addresses of which nothing is missing.
    fn from_iter<I: IntoIterator<Item = AddressRange>>(ranges: I) -> Self {
        Self { ranges: ranges.into_iter().collect(), waiting: false }
    }
}
