//! Rules as proptest makes them up, for the properties that hold of all rules.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::num::NonZero;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{self, select};

use super::{
    Action, AddressRange, IcmpName, IcmpType, IcmpTypes, Name, PortRange, Ports, Rule, RuleList,
    Span, Target, Traffic,
};

/// A list whose rules stand on lines of their own, as they are shown.
pub(super) fn rule_list() -> impl Strategy<Value = RuleList> {
    vec(rule(), 1..8).prop_filter_map("a list is not empty", |mut rules| {
        for (rule, line) in rules.iter_mut().zip(1..) {
            rule.line = NonZero::new(line)?;
        }
        RuleList::new(rules)
    })
}

fn rule() -> impl Strategy<Value = Rule> {
    let line = NonZero::<u32>::MIN;
    let targets = prop_oneof![Just(Vec::new()), vec(target(), 1..4)];
    (action(), any::<bool>(), traffic(), targets).prop_map(
        move |(action, log, traffic, targets)| Rule { action, log, traffic, targets, line },
    )
}

pub(super) fn action() -> impl Strategy<Value = Action> {
    select(&[Action::Allow, Action::Deny][..])
}

fn traffic() -> impl Strategy<Value = Traffic> {
    prop_oneof![
        Just(Traffic::Any),
        Just(Traffic::Dns),
        ports().prop_map(Traffic::Tcp),
        ports().prop_map(Traffic::Udp),
        ports().prop_map(Traffic::Sctp),
        vec(icmp_type(), 0..4).prop_map(|types| Traffic::Icmp(IcmpTypes(types))),
        protocol().prop_map(Traffic::Protocol),
    ]
}

/// A protocol's number, mostly one that other rules are about.
pub(super) fn protocol() -> impl Strategy<Value = u8> {
    prop_oneof![3 => select(&[1u8, 6, 17, 47, 58, 132][..]), 1 => any::<u8>()]
}

fn icmp_type() -> impl Strategy<Value = IcmpType> {
    prop_oneof![
        select(&IcmpName::ALL[..]).prop_map(IcmpType::Named),
        any::<u8>().prop_map(IcmpType::Number),
    ]
}

fn ports() -> impl Strategy<Value = Ports> {
    vec(port_range(), 0..4).prop_map(Ports)
}

fn port_range() -> impl Strategy<Value = PortRange> {
    let last = prop_oneof![Just(None), port().prop_map(Some)];
    (port(), last).prop_filter_map("port 0", |(one, other)| {
        let other = other.unwrap_or(one);
        PortRange::new(NonZero::new(one.min(other))?, NonZero::new(one.max(other))?)
    })
}

/// A port, mostly of the few that other rules are about, and of the edges.
pub(super) fn port() -> impl Strategy<Value = u16> {
    prop_oneof![3 => select(&[1u16, 53, 80, 443, u16::MAX][..]), 1 => any::<u16>()]
}

fn target() -> impl Strategy<Value = Target> {
    let words = [Target::Any, Target::Host, Target::Lan, Target::Metadata, Target::Internet];
    prop_oneof![
        2 => select(words.to_vec()),
        4 => range().prop_map(Target::Range),
        1 => name().prop_map(Target::Container),
        1 => name().prop_map(Target::Service),
        1 => name().prop_map(Target::Network),
    ]
}

/// A name, also one that is a word of the language.
fn name() -> impl Strategy<Value = Name> {
    let text = prop_oneof![
        "[a-zA-Z0-9_.-]{1,20}",
        select(&["to", "any", "log", "host", "80"][..]).prop_map(str::to_owned)
    ];
    text.prop_filter_map("a name", |text| Name::new(&text))
}

/// Addresses, as networks and as ranges.
pub(super) fn range() -> impl Strategy<Value = AddressRange> {
    let network = (address(), 0..=128u8).prop_filter_map("a prefix", |(address, prefix)| {
        AddressRange::network(address, if address.is_ipv4() { prefix % 33 } else { prefix })
    });
    let between = (address(), address()).prop_filter_map("a range", |(one, other)| {
        AddressRange::between(one.min(other), one.max(other))
    });
    prop_oneof![address().prop_map(AddressRange::from), network, between]
        .prop_filter("is on no wire", |range| !is_mapped(*range))
}

/// An address, mostly near others.
pub(super) fn address() -> impl Strategy<Value = IpAddr> {
    let near = select(
        &[
            "10.0.0.0",
            "169.254.169.254",
            "192.0.2.1",
            "8.8.8.8",
            "255.255.255.255",
            "0.0.0.0",
            "fe80::1",
            "2606:4700::1111",
            "fd00:ec2::254",
            "::1",
            "2001:db8::",
        ][..],
    );
    let near = near.prop_filter_map("an address", |text| text.parse::<IpAddr>().ok());
    prop_oneof![
        4 => near,
        1 => any::<Ipv4Addr>().prop_map(IpAddr::V4),
        1 => any::<Ipv6Addr>().prop_map(IpAddr::V6),
    ]
}

/// Whether an end is an address that cannot be written.
fn is_mapped(range: AddressRange) -> bool {
    let mapped = |address: Ipv6Addr| address.to_ipv4_mapped().is_some();
    match range {
        AddressRange::V4(_) => false,
        AddressRange::V6(span) => {
            let network = range.prefix().is_some_and(|prefix| prefix < 96);
            mapped(Span::first(span)) || (!network && mapped(span.last()))
        }
    }
}

/// Text that is nearly a list of rules.
pub(super) fn nearly_rules(list: &str) -> impl Strategy<Value = String> + use<> {
    let pieces: Vec<String> =
        list.split_inclusive([' ', ',', '\n', ':', '.']).map(str::to_owned).collect();
    let odd = select(
        &["", " ", ",", ";", "\n", "to", "0", "-", "/", "\t", "é", "\u{202e}", "any", "log"][..],
    );
    (Just(pieces), any::<sample::Index>(), any::<sample::Index>(), option::of(odd)).prop_map(
        |(mut pieces, one, other, odd)| {
            let (one, other) = (one.index(pieces.len()), other.index(pieces.len()));
            match odd {
                Some(odd) => pieces.insert(one, odd.to_owned()),
                None => pieces.swap(one, other),
            }
            pieces.concat()
        },
    )
}
