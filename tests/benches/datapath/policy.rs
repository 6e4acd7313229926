//! Rules of so many entries, and addresses that they are about.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use anyhow::{Context as _, Result, anyhow};
use ebpf_netns_plugin::{
    datapath::{self, Layer, Program},
    kernel::InterfaceRules,
    rules::{Addresses, Direction, ResolvedRule, Resolver, RuleList, Wanted, expand},
};
use plugin_common::{abi::Endpoint, frames::Mutator, packet::protocol};

/// A container may have no more than 256 rules: of more entries, each rule has several.
const MOST_RULES: usize = 250;
/// Ports of rules, in turn.
const PORTS: [u16; 8] = [443, 80, 8080, 5432, 53, 6379, 9092, 3306];

/// A network, the length of its prefix, and a port there.
pub(crate) type Entry = (IpAddr, u8, u16);

/// Which addresses and which protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Family {
    pub(crate) v6: bool,
    pub(crate) protocol: u8,
}

impl Family {
    pub(crate) fn name(self) -> String {
        let version = if self.v6 { "IPv6" } else { "IPv4" };
        format!("{version} {}", if self.is_tcp() { "TCP" } else { "UDP" })
    }

    pub(crate) fn is_tcp(self) -> bool {
        self.protocol == protocol::TCP
    }
}

/// Networks that rules allow, each with the port of its rule.
#[derive(Clone, Debug)]
pub(crate) struct Allowed {
    family: Family,
    networks: Vec<(IpAddr, u8)>,
    each: usize,
    /// A rule about another network behind them, which may drop.
    last: Option<(Entry, bool)>,
}

impl Allowed {
    /// As many networks, apart from each other.
    pub(crate) fn random(entries: usize, family: Family, random: &mut Mutator) -> Self {
        let mut networks = BTreeSet::new();
        while networks.len() < entries {
            let number = random.below(1 << 16);
            // Some are taken where there is traffic.
            if !matches!(number >> 8, 97 | 98) {
                networks.insert(number);
            }
        }
        let mut networks: Vec<_> = networks.into_iter().map(|it| family.network(it)).collect();
        // Rules do not come in the order of their addresses.
        for place in (1..networks.len()).rev() {
            networks.swap(place, random.below(place + 1));
        }
        let each = entries.div_ceil(MOST_RULES).max(1);
        Self { family, networks, each, last: None }
    }

    /// And at the end this one.
    pub(crate) fn with_last(self, last: Entry, drop: bool) -> Self {
        Self { last: Some((last, drop)), ..self }
    }

    /// Without that.
    pub(crate) fn entries(&self) -> impl Iterator<Item = Entry> {
        let numbered = self.networks.iter().enumerate();
        numbered.map(|(place, (first, prefix))| (*first, *prefix, self.port(place)))
    }

    /// The port of a network's rule.
    fn port(&self, place: usize) -> u16 {
        PORTS.iter().cycle().nth(place / self.each).copied().unwrap_or_default()
    }

    /// As labels have them.
    pub(crate) fn text(&self, direction: Direction) -> String {
        let word = match direction {
            Direction::Egress => "to",
            Direction::Ingress => "from",
        };
        let proto = if self.family.is_tcp() { "tcp" } else { "udp" };
        let rules = self.networks.chunks(self.each).zip(PORTS.iter().cycle());
        let rules = rules.map(|(networks, port)| {
            let targets: Vec<_> =
                networks.iter().map(|(first, prefix)| format!("{first}/{prefix}")).collect();
            format!("allow {proto} {port} {word} {}", targets.join(","))
        });
        let last = self.last.map(|((first, prefix, port), drop)| {
            let action = if drop { "deny" } else { "allow" };
            format!("{action} {proto} {port} {word} {first}/{prefix}")
        });
        rules.chain(last).collect::<Vec<_>>().join("\n")
    }

    /// The same in both directions.
    pub(crate) fn interface_rules(&self, endpoint: Endpoint) -> Result<InterfaceRules> {
        Ok(InterfaceRules { program: self.compile()?, endpoint })
    }

    /// From labels to what the programs search.
    pub(crate) fn compile(&self) -> Result<Program> {
        let direction = |direction| {
            let rules = resolved(direction, &self.text(direction))?;
            let layers = [Layer { rules: &rules, audit: false }];
            datapath::compile(&layers).map_err(|error| anyhow!("{error}"))
        };
        let (egress, ingress) = (direction(Direction::Egress)?, direction(Direction::Ingress)?);
        Ok(Program { egress, ingress })
    }

    /// An address that a rule allows, with the port that it does.
    pub(crate) fn inside(&self, random: &mut Mutator) -> Result<(IpAddr, u16)> {
        let place = random.below(self.networks.len());
        let (first, _) = self.networks.get(place).context("no network")?;
        Ok((host(*first, 1 + random.below(6)), self.port(place)))
    }

    /// An address between them, that no rule allows.
    pub(crate) fn outside(&self, random: &mut Mutator) -> (IpAddr, u16) {
        loop {
            let (first, _) = self.family.network(random.below(1 << 16));
            if self.networks.iter().all(|(known, _)| *known != first) {
                return (host(first, 1), 443);
            }
        }
    }
}

impl Family {
    /// One of 65,536 networks.
    fn network(self, number: usize) -> (IpAddr, u8) {
        let [.., high, low] = number.to_be_bytes();
        let prefix = u8::try_from(number % 5).unwrap_or_default();
        if self.v6 {
            let segment = u16::from_be_bytes([high, low]);
            (Ipv6Addr::new(0x2001, 0xdb8, segment, 0, 0, 0, 0, 0).into(), 48 + 4 * prefix)
        } else {
            (Ipv4Addr::new(10, high, low, 0).into(), 24 + prefix)
        }
    }
}

/// The address so far into a network.
fn host(first: IpAddr, number: usize) -> IpAddr {
    match first {
        IpAddr::V4(first) => {
            Ipv4Addr::from_bits(first.to_bits() | u32::try_from(number).unwrap_or_default()).into()
        }
        IpAddr::V6(first) => Ipv6Addr::from_bits(first.to_bits() | number as u128).into(),
    }
}

fn resolved(direction: Direction, text: &str) -> Result<Vec<ResolvedRule>> {
    let list = RuleList::parse(direction, text)
        .map_err(|errors| anyhow!("rules that are not understood: {errors:?}"))?;
    let layers = expand(direction, [&list], &NoNames).layers;
    layers.into_iter().next().context("one layer")
}

/// No rule here has a name in it.
struct NoNames;

impl Resolver for NoNames {
    fn resolve(&self, _wanted: Wanted<'_>) -> Addresses {
        Addresses::default()
    }
}
