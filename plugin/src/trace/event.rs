//! What is told, as JSON: an object a line. docs/trace.md describes it. Pure.

use std::net::IpAddr;

use plugin_common::connection::NO_RULE;
use plugin_common::packet::{protocol, tcp_flag};
use plugin_common::report::PacketRecord;
use plugin_common::verdict::Reason;
use serde::{Deserialize, Serialize};

use super::clock::since_1970;
use crate::filter::Seen;
use crate::plan::Hook;
use crate::rules::Direction;
use crate::watch::WatchedInterface;

/// One line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event {
    /// It is being listened from here on.
    Listening {
        /// To these interfaces, and to what comes to be like them.
        interfaces: Vec<Place>,
    },
    /// A packet.
    Packet(Box<PacketEvent>),
    /// Packets that the kernel did not report.
    Unreported(Unreported),
    /// Events that were not handed on.
    Lost(Lost),
}

/// Where something happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// The container's name.
    pub container: String,
    /// Its id.
    pub id: String,
    /// Its interface.
    pub interface: String,
    /// The host-side veth.
    pub host: String,
}

impl From<&WatchedInterface> for Place {
    fn from(watched: &WatchedInterface) -> Self {
        let WatchedInterface { container, id, interface, host, rules: _ } = watched;
        Self {
            container: container.clone(),
            id: id.clone(),
            interface: interface.clone(),
            host: host.clone(),
        }
    }
}

/// A packet, and what became of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PacketEvent {
    /// When, in seconds since 1970.
    pub time: f64,
    /// Where.
    #[serde(flatten)]
    pub place: Place,
    /// Which program saw it.
    pub hook: Hook,
    /// The container's direction.
    pub direction: Direction,
    /// Whether it passed this program.
    pub passed: bool,
    /// The reason that it is counted under.
    pub reason: String,
    /// The rule that decided, if one did.
    pub rule: Option<RuleEvent>,
    /// `tcp`, `udp`, `sctp`, `icmp`, `icmp6`, `arp`, or a number.
    pub protocol: String,
    /// `EtherType` behind any VLAN tags; 0 when the frame could not be read.
    pub ethertype: u16,
    /// From where, where it is of IP.
    pub source: Option<End>,
    /// To where, where it is of IP.
    pub destination: Option<End>,
    /// Type and code of ICMP.
    pub icmp: Option<[u16; 2]>,
    /// The flags of TCP that are set.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tcp_flags: Vec<String>,
    /// Bytes from the Ethernet header on.
    pub length: u32,
}

/// One end of a packet's way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct End {
    /// Its address.
    pub address: IpAddr,
    /// Its port, where there are ports.
    pub port: Option<u16>,
}

/// The rule that decided.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleEvent {
    /// Where it was written.
    pub origins: Vec<String>,
    /// Its line there; 1 is the first. None for what no rule matches.
    pub line: Option<u32>,
    /// What it says.
    pub rule: String,
}

/// Packets that the kernel counted and did not report: over the rate, or since nobody took reports
/// away in time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unreported {
    /// Where.
    #[serde(flatten)]
    pub place: Place,
    /// Which program saw them.
    pub hook: Hook,
    /// The reason that they are counted under.
    pub reason: String,
    /// How many, before any filter.
    pub packets: u64,
}

/// Events that the daemon dropped, since this listener takes them more slowly than they come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lost {
    /// How many, before any filter.
    pub events: u64,
}

impl PacketEvent {
    /// What a record says of a packet on an interface.
    pub(super) fn new(record: &PacketRecord, on: &WatchedInterface, hook: Hook) -> Self {
        let seen = Seen::from(record);
        let ports = [protocol::TCP, protocol::UDP, protocol::SCTP].contains(&record.protocol);
        let end = |address: Option<IpAddr>, port| {
            address.map(|address| End { address, port: ports.then_some(port) })
        };
        let is_icmp = [protocol::ICMP, protocol::ICMPV6].contains(&record.protocol);
        let reason = record.reason();
        Self {
            time: since_1970(record.time_ns),
            place: on.into(),
            hook,
            direction: crate::listing::of_hook(hook),
            passed: reason.is_some_and(Reason::passes),
            reason: reason.map_or_else(|| record.reason.to_string(), |it| it.name().to_owned()),
            rule: rule(record, on),
            protocol: word(record),
            ethertype: record.ethertype,
            source: end(seen.source, record.source_port),
            destination: end(seen.destination, record.destination_port),
            icmp: (is_icmp && record.ip_version != 0)
                .then_some([record.source_port, record.destination_port]),
            tcp_flags: flags(record.tcp_flags).map(str::to_owned).collect(),
            length: record.length,
        }
    }
}

/// The rule whose counter is there: none, where the rules have been replaced meanwhile.
fn rule(record: &PacketRecord, on: &WatchedInterface) -> Option<RuleEvent> {
    let rules = on.rules.as_ref().filter(|_| record.rule != NO_RULE)?;
    let counter = record.rule.checked_sub(rules.first_counter)?;
    let (layer, rule) = rules.listing.rule_at(counter)?;
    let origins = layer.origins.iter().map(|origin| origin.seen_by(&on.container).to_string());
    Some(RuleEvent { origins: origins.collect(), line: rule.line, rule: rule.text.clone() })
}

fn word(record: &PacketRecord) -> String {
    match (record.ip_version, record.protocol) {
        (0, _) if record.ethertype == plugin_common::packet::ethertype::ARP => "arp".to_owned(),
        (0, _) => format!("ethertype {:#06x}", record.ethertype),
        (_, protocol::TCP) => "tcp".to_owned(),
        (_, protocol::UDP) => "udp".to_owned(),
        (_, protocol::SCTP) => "sctp".to_owned(),
        (_, protocol::ICMP) => "icmp".to_owned(),
        (_, protocol::ICMPV6) => "icmp6".to_owned(),
        (_, other) => other.to_string(),
    }
}

fn flags(flags: u16) -> impl Iterator<Item = &'static str> {
    let known = [
        (tcp_flag::SYN, "SYN"),
        (tcp_flag::FIN, "FIN"),
        (tcp_flag::RST, "RST"),
        (tcp_flag::ACK, "ACK"),
    ];
    known.into_iter().filter(move |(flag, _)| flags & u16::from(*flag) != 0).map(|(_, name)| name)
}
