//! The parts of nftables' rules that the driver's are made of, as messages. Pure.
//!
//! Each function is one statement of `nft`, or one match.

use std::net::IpAddr;

use netlink_packet_core::DefaultNla;
use netlink_packet_netfilter::nftables::{
    Bitwise, Cmp, DataAttribute, Expressions, Immediate, Meta, MetaKey, Operator, Payload,
    Register, Verdict, VerdictAttribute,
};

use super::network::{Prefix, Protocol};

/// `NF_ACCEPT` and `NF_DROP`.
const ACCEPT: u32 = 1;
const DROP: u32 = 0;
/// The kernel's names of interfaces fill 16 bytes.
const NAME: usize = 16;
/// `NFT_PAYLOAD_NETWORK_HEADER` and `NFT_PAYLOAD_TRANSPORT_HEADER`.
const NETWORK_HEADER: u32 = 1;
const TRANSPORT_HEADER: u32 = 2;
/// Where a header of IPv4 or IPv6 has an address, and how long that is.
const V4_SOURCE: (u32, u32) = (12, 4);
const V4_DESTINATION: (u32, u32) = (16, 4);
const V6_SOURCE: (u32, u32) = (8, 16);
const V6_DESTINATION: (u32, u32) = (24, 16);
/// `NFPROTO_IPV4` and `NFPROTO_IPV6`.
const V4: u8 = 2;
const V6: u8 = 10;
/// `NFT_CT_STATE` and `NFT_CT_STATUS`.
const CT_STATE: u32 = 0;
const CT_STATUS: u32 = 2;
/// `NF_CT_STATE_BIT` of established and of related.
const ESTABLISHED_OR_RELATED: u32 = 2 | 4;
/// `IPS_DST_NAT`.
const DESTINATION_TRANSLATED: u32 = 1 << 5;
/// `NFT_FIB_RESULT_ADDRTYPE`, `NFTA_FIB_F_DADDR` and `RTN_LOCAL`.
const FIB_TYPE: u32 = 3;
const FIB_DESTINATION: u32 = 2;
const LOCAL: u32 = 2;
/// `NFT_NAT_DNAT`.
const DNAT: u32 = 1;

/// Which way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    In,
    Out,
}

/// Which address of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Which {
    Source,
    Destination,
}

/// A rule, from its first match to its verdict.
pub(super) type Rule = Vec<Expressions>;

const REGISTER: Register = Register::Reg1;
const SECOND: Register = Register::Reg2;

/// `iifname "NAME"`, or not that.
pub(super) fn interface(end: End, name: &str, is: bool) -> Rule {
    let mut bytes = name.as_bytes().to_vec();
    bytes.resize(NAME, 0);
    vec![meta(name_of(end)), compare(is, bytes)]
}

/// `iifname "BEGINNING*"`.
pub(super) fn interfaces(end: End, beginning: &str) -> Rule {
    vec![meta(name_of(end)), compare(true, beginning.as_bytes().to_vec())]
}

fn name_of(end: End) -> MetaKey {
    match end {
        End::In => MetaKey::Iifname,
        End::Out => MetaKey::Oifname,
    }
}

/// `ip saddr PREFIX`, with the version of IP before it.
pub(super) fn address(which: Which, prefix: Prefix) -> Rule {
    let (network, mask) = prefix.bytes();
    let (offset, length) = match (which, prefix.address) {
        (Which::Source, IpAddr::V4(_)) => V4_SOURCE,
        (Which::Destination, IpAddr::V4(_)) => V4_DESTINATION,
        (Which::Source, IpAddr::V6(_)) => V6_SOURCE,
        (Which::Destination, IpAddr::V6(_)) => V6_DESTINATION,
    };
    let mut rule = version(prefix.address);
    rule.extend([load(NETWORK_HEADER, offset, length), masked(mask), compare(true, network)]);
    rule
}

/// `meta nfproto ipv4`.
pub(super) fn version(address: IpAddr) -> Rule {
    let version = if address.is_ipv4() { V4 } else { V6 };
    vec![meta(MetaKey::Nfproto), compare(true, vec![version])]
}

/// `tcp dport PORT`.
pub(super) fn port(protocol: Protocol, port: u16) -> Rule {
    vec![
        meta(MetaKey::L4Proto),
        compare(true, vec![protocol.number()]),
        load(TRANSPORT_HEADER, 2, 2),
        compare(true, port.to_be_bytes().to_vec()),
    ]
}

/// `fib daddr type local`.
pub(super) fn to_the_host() -> Rule {
    let fib = other("fib", &[(1, register(REGISTER)), (2, FIB_TYPE), (3, FIB_DESTINATION)]);
    vec![fib, compare(true, LOCAL.to_ne_bytes().to_vec())]
}

/// `ct state established,related`.
pub(super) fn answers() -> Rule {
    connection(CT_STATE, ESTABLISHED_OR_RELATED)
}

/// `ct status dnat`.
pub(super) fn published() -> Rule {
    connection(CT_STATUS, DESTINATION_TRANSLATED)
}

fn connection(key: u32, bits: u32) -> Rule {
    let load = other("ct", &[(1, register(REGISTER)), (2, key)]);
    vec![load, masked(bits.to_ne_bytes().to_vec()), compare(false, vec![0; 4])]
}

/// `counter accept`.
pub(super) fn accept() -> Rule {
    vec![counter(), verdict(vec![VerdictAttribute::Code(Verdict::Other(ACCEPT))])]
}

/// `counter drop`.
pub(super) fn drop() -> Rule {
    vec![counter(), verdict(vec![VerdictAttribute::Code(Verdict::Other(DROP))])]
}

/// `jump CHAIN`.
pub(super) fn jump(chain: &str) -> Rule {
    let chain = VerdictAttribute::Chain(chain.to_owned());
    vec![verdict(vec![VerdictAttribute::Code(Verdict::Jump), chain])]
}

/// `counter masquerade`.
pub(super) fn masquerade() -> Rule {
    vec![counter(), other("masq", &[])]
}

/// `counter dnat to ADDRESS:PORT`.
pub(super) fn translate(address: IpAddr, port: u16) -> Rule {
    let (family, bytes) = match address {
        IpAddr::V4(address) => (V4, address.octets().to_vec()),
        IpAddr::V6(address) => (V6, address.octets().to_vec()),
    };
    let into = |register, bytes| {
        let data = Immediate::Data(DataAttribute::Value(bytes));
        Expressions::Immediate(vec![Immediate::DestinationRegister(register), data])
    };
    let (address, port_at) = (register(REGISTER), register(SECOND));
    let nat =
        [(1, DNAT), (2, family.into()), (3, address), (4, address), (5, port_at), (6, port_at)];
    vec![
        counter(),
        into(REGISTER, bytes),
        into(SECOND, port.to_be_bytes().to_vec()),
        other("nat", &nat),
    ]
}

fn counter() -> Expressions {
    other("counter", &[])
}

fn meta(key: MetaKey) -> Expressions {
    Expressions::Meta(vec![Meta::DestinationRegister(REGISTER), Meta::Key(key)])
}

fn load(base: u32, offset: u32, length: u32) -> Expressions {
    Expressions::Payload(vec![
        Payload::DestinationRegister(REGISTER),
        Payload::Base(base),
        Payload::Offset(offset),
        Payload::Len(length),
    ])
}

fn masked(mask: Vec<u8>) -> Expressions {
    let none = vec![0; mask.len()];
    let length = u32::try_from(mask.len()).unwrap_or_default();
    Expressions::Bitwise(vec![
        Bitwise::SourceRegister(REGISTER),
        Bitwise::DestinationRegister(REGISTER),
        Bitwise::Length(length),
        Bitwise::Mask(DataAttribute::Value(mask)),
        Bitwise::Xor(DataAttribute::Value(none)),
    ])
}

fn compare(is: bool, value: Vec<u8>) -> Expressions {
    Expressions::Cmp(vec![
        Cmp::SourceRegister(REGISTER),
        Cmp::Op(if is { Operator::Equal } else { Operator::NotEqual }),
        Cmp::Data(DataAttribute::Value(value)),
    ])
}

fn verdict(verdict: Vec<VerdictAttribute>) -> Expressions {
    Expressions::Immediate(vec![
        Immediate::DestinationRegister(Register::Verdict),
        Immediate::Data(DataAttribute::Verdict(verdict)),
    ])
}

/// An expression that the library has no type for: numbers by the types of its attributes.
fn other(name: &str, numbers: &[(u16, u32)]) -> Expressions {
    let attribute =
        |(kind, number): &(u16, u32)| DefaultNla::new(*kind, number.to_be_bytes().to_vec());
    Expressions::Other {
        expression_type: name.to_owned(),
        attributes: numbers.iter().map(attribute).collect(),
    }
}

fn register(register: Register) -> u32 {
    register.into()
}
