//! One target: an address, a group or a name. Pure.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use super::super::address::AddressRange;
use super::super::error::{Advice, Unexpected};
use super::super::model::{Name, Target};
use super::numbers::number;
use super::rule::advice_on;
use crate::labels::nearest;

/// What can stand as a target.
pub(super) const EXPECTED: &str = "an address, a CIDR, low-high, any, host, lan, metadata, \
    internet, container:NAME, service:NAME or network:NAME";

const WORDS: [(&str, Target); 5] = [
    ("any", Target::Any),
    ("host", Target::Host),
    ("lan", Target::Lan),
    ("metadata", Target::Metadata),
    ("internet", Target::Internet),
];

/// What a name becomes.
type Named = fn(Name) -> Target;

const KINDS: [(&str, Named); 3] =
    [("container", Target::Container), ("service", Target::Service), ("network", Target::Network)];

/// Reads one target.
pub(super) fn parse(text: &str) -> Result<Target, Unexpected> {
    if let Some((_, target)) = WORDS.iter().find(|(word, _)| *word == text) {
        return Ok(target.clone());
    }
    if let Some((kind, name)) = text.split_once(':') {
        if let Some((kind, target)) = KINDS.iter().find(|(known, _)| *known == kind) {
            return Name::new(name).map(target).ok_or_else(|| no_name(text, kind));
        }
        if let Some(meant) = nearest(kind, KINDS.iter().map(|(known, _)| *known)) {
            return Err(unexpected(text, Some(Advice::DidYouMean(format!("{meant}:{name}")))));
        }
    }
    if is_like_address(text) {
        return addresses(text).map(Target::Range);
    }
    Err(unexpected(text, advice_on_name(text)))
}

fn unexpected(found: &str, advice: Option<Advice>) -> Unexpected {
    Unexpected { found: Some(found.to_owned()), expected: EXPECTED.to_owned(), advice }
}

fn no_name(found: &str, kind: &str) -> Unexpected {
    let expected = format!(
        "{kind}:NAME with a name of letters, digits, _, . and -, of {} bytes at most",
        Name::MAX_BYTES
    );
    Unexpected { found: Some(found.to_owned()), expected, advice: None }
}

/// Whether who wrote it meant an address.
fn is_like_address(text: &str) -> bool {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'-'));
    let v6 = |byte: u8| byte.is_ascii_hexdigit() || b":.-/%[]".contains(&byte);
    plain
        || text.contains('/')
        || (text.contains(':') && text.split('%').next().is_some_and(|text| text.bytes().all(v6)))
}

/// What can be said of text that is no address.
fn advice_on_name(text: &str) -> Option<Advice> {
    let words: Vec<&str> = WORDS.iter().map(|(word, _)| *word).collect();
    let name = Name::new(text).is_some();
    match advice_on(text, &words) {
        Some(advice) => Some(advice),
        None if name && text.contains('.') => Some(Advice::NoDomains),
        None if name => Some(Advice::ContainerByName { name: text.to_owned() }),
        None => None,
    }
}

/// An address, a network or a range.
fn addresses(text: &str) -> Result<AddressRange, Unexpected> {
    if let Some((address, prefix)) = text.split_once('/') {
        return network(text, address, prefix);
    }
    let (low, high) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (address(text, low)?, address(text, high)?);
    AddressRange::between(first, last).ok_or_else(|| {
        let mixed = first.is_ipv4() != last.is_ipv4();
        unexpected(text, Some(if mixed { Advice::NotOfOneVersion } else { Advice::LowFirst }))
    })
}

fn network(text: &str, written: &str, prefix: &str) -> Result<AddressRange, Unexpected> {
    let address: IpAddr = plain_address(text, written)?;
    let longest = if address.is_ipv4() { 32 } else { 128 };
    let prefix = number(prefix, longest).map_err(|advice| Unexpected {
        found: Some(text.to_owned()),
        expected: format!("a length of the prefix from 0 to {longest} after the /"),
        advice,
    })?;
    let network = AddressRange::network(address, prefix.to_le_bytes()[0]);
    let network = network.ok_or_else(|| unexpected(text, None))?;
    if let Some(own) = mapped(address).filter(|_| prefix >= 96) {
        let own = AddressRange::network(own, (prefix - 96).to_le_bytes()[0]);
        let own = own.map_or_else(String::new, |own| own.to_string());
        return Err(unexpected(text, Some(Advice::Mapped { own })));
    }
    if network.first() != address {
        let network = network.to_string();
        return Err(unexpected(text, Some(Advice::HostBits { network })));
    }
    Ok(network)
}

fn address(text: &str, written: &str) -> Result<IpAddr, Unexpected> {
    let address = plain_address(text, written)?;
    match mapped(address) {
        None => Ok(address),
        Some(own) => Err(unexpected(text, Some(Advice::Mapped { own: own.to_string() }))),
    }
}

/// An address in any form; `text` is all of the target.
fn plain_address(text: &str, written: &str) -> Result<IpAddr, Unexpected> {
    let parsed = written.parse().ok();
    parsed.ok_or_else(|| {
        let octal = |part: &str| part.len() > 1 && part.starts_with('0');
        let advice = if written.contains('%') {
            Some(Advice::NoZone)
        } else if text.starts_with('[') || text.parse::<SocketAddr>().is_ok() {
            Some(Advice::PortsAfterProtocol)
        } else if !written.contains(':') && written.split('.').any(octal) {
            Some(Advice::NoLeadingZero)
        } else {
            advice_on(text, &[])
        };
        unexpected(text, advice)
    })
}

/// The address of IPv4 that one of IPv6 stands for.
fn mapped(address: IpAddr) -> Option<IpAddr> {
    match address {
        IpAddr::V4(_) => None,
        IpAddr::V6(address) => Ipv6Addr::to_ipv4_mapped(&address).map(IpAddr::V4),
    }
}
