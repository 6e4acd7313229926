//! Made-up rules, about the few addresses and ports that the made-up traffic has.

use std::net::IpAddr;

use ebpf_netns_plugin::rules::{
    Action, AddressRange, IpVersion, Probe, ResolvedRule, RuleId, Service, judge,
};
use plugin_common::frames::Mutator;

/// The rules of one who has some.
#[derive(Clone, Debug)]
pub(crate) struct Layer {
    pub(crate) rules: Vec<ResolvedRule>,
    pub(crate) audit: bool,
}

/// What the reference says of a packet that opens a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Expected {
    pub(crate) allowed: bool,
    /// Whether no rule decided where it is denied.
    pub(crate) no_rule: bool,
    /// The place of who decided, and of who would have denied; see [`place`].
    pub(crate) rule: Option<u32>,
    pub(crate) audited: Option<u32>,
    pub(crate) log: bool,
}

/// Judges by the reference, layer by layer.
pub(crate) fn expected(layers: &[Layer], probe: &Probe) -> Expected {
    let mut expected =
        Expected { allowed: true, no_rule: false, rule: None, audited: None, log: false };
    for (number, layer) in layers.iter().enumerate() {
        let verdict = judge(&[layer.rules.as_slice()], probe);
        let deciding = verdict.deciding.first().copied().flatten();
        expected.rule = Some(place(layers, number, deciding));
        expected.log |= deciding.and_then(|rule| layer.rules.get(rule)).is_some_and(|it| it.log);
        if verdict.allowed {
            continue;
        }
        if layer.audit {
            expected.audited = expected.audited.or(expected.rule);
            continue;
        }
        expected.allowed = false;
        expected.no_rule = deciding.is_none();
        break;
    }
    expected
}

/// The number of a rule's bit: each layer takes whole words of 64, the last bit of which is for
/// what no rule matches.
pub(crate) fn place(layers: &[Layer], layer: usize, rule: Option<usize>) -> u32 {
    let words = |layer: &Layer| layer.rules.len() / 64 + 1;
    let before: usize = layers.iter().take(layer).map(words).sum();
    let own = layers.get(layer).map_or(0, words);
    let bit = before * 64 + rule.unwrap_or(own * 64 - 1);
    u32::try_from(bit).unwrap_or(u32::MAX)
}

/// The place of every rule, and of each layer's end.
pub(crate) fn places(layers: &[Layer]) -> impl Iterator<Item = u32> {
    layers.iter().enumerate().flat_map(move |(number, layer)| {
        let rules = (0..layer.rules.len()).map(Some).chain([None]);
        rules.map(move |rule| place(layers, number, rule))
    })
}

pub(crate) const PORTS: [u16; 8] = [1, 53, 80, 443, 1024, 40_000, 40_001, u16::MAX];
pub(crate) const PROTOCOLS: [u8; 9] = [1, 6, 17, 132, 58, 47, 50, 2, 99];
pub(crate) const REMOTES: [&str; 16] = [
    "10.0.0.1",
    "10.0.0.9",
    "10.1.2.3",
    "169.254.169.254",
    "192.0.2.1",
    "8.8.8.8",
    "255.255.255.255",
    "1.0.0.0",
    "fd00::1",
    "fd00::9",
    "fe80::1",
    "2606:4700::1111",
    "2001:db8::",
    "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff",
    "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
    "::1",
];

/// Rules of one direction.
pub(crate) fn layers(random: &mut Mutator) -> Vec<Layer> {
    let count = random.below(4);
    (0..count).map(|_| layer(random)).collect()
}

fn layer(random: &mut Mutator) -> Layer {
    let count = match random.below(16) {
        0 => 60 + random.below(10),
        1 => 1 + random.below(130),
        _ => random.below(8),
    };
    // Mostly of one mind, or everything would be denied.
    let open = random.below(3) != 0;
    let rules = (0..count).map(|_| rule(random, open)).collect();
    let mut layer = Layer { rules, audit: random.below(8) == 0 };
    if open && random.below(2) == 0 {
        layer.rules.push(allow_all());
    }
    layer
}

pub(crate) fn allow_all() -> ResolvedRule {
    ResolvedRule {
        action: Action::Allow,
        log: false,
        traffic: vec![Service::ANY],
        remote: None,
        source: RuleId { layer: 0, rule: 0 },
    }
}

pub(crate) fn rule(random: &mut Mutator, open: bool) -> ResolvedRule {
    let deny = random.below(if open { 4 } else { 2 }) == 0;
    let traffic = (0..=random.below(3)).map(|_| service(random)).collect();
    let remote = (random.below(3) != 0)
        .then(|| (0..random.below(4)).filter_map(|_| range(random)).collect());
    ResolvedRule {
        action: if deny { Action::Deny } else { Action::Allow },
        log: random.below(16) == 0,
        traffic,
        remote,
        source: RuleId { layer: 0, rule: 0 },
    }
}

fn service(random: &mut Mutator) -> Service {
    if random.below(4) == 0 {
        return Service::ANY;
    }
    let protocol = random.one_of(&PROTOCOLS).filter(|_| random.below(8) != 0);
    let (one, other) = (number(random), number(random));
    let version = random.one_of(&[None, None, None, Some(IpVersion::V4), Some(IpVersion::V6)]);
    // Ports of whatever protocol are of all 256 of them, which the search has not much room for.
    let all = protocol.is_none() && random.below(16) != 0;
    let (first, last) = match random.below(4) {
        _ if all => (0, u16::MAX),
        0 => (0, u16::MAX),
        1 => (one, one),
        _ => (one.min(other), one.max(other)),
    };
    Service { protocol, first, last, version: version.flatten() }
}

/// A port or a type.
fn number(random: &mut Mutator) -> u16 {
    let types = [0, 3, 8, 13, 128, 129, 135];
    let any = u16::try_from(random.below(1 << 16)).unwrap_or_default();
    match random.below(4) {
        0 => random.one_of(&types),
        1 => Some(any),
        _ => random.one_of(&PORTS),
    }
    .unwrap_or(any)
}

pub(crate) fn remote(random: &mut Mutator) -> Option<IpAddr> {
    random.one_of(&REMOTES)?.parse().ok()
}

fn range(random: &mut Mutator) -> Option<AddressRange> {
    let (one, other) = (remote(random)?, remote(random)?);
    match random.below(4) {
        0 => AddressRange::between(one.min(other), one.max(other)),
        1 => {
            let prefix = u8::try_from(random.below(129)).ok()?;
            AddressRange::network(one, if one.is_ipv4() { prefix % 33 } else { prefix })
        }
        _ => Some(one.into()),
    }
}
