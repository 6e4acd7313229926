//! A packet as people write it: `tcp 172.17.0.2:5000 > 1.1.1.1:443`. Pure.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use plugin_common::packet::protocol::{ICMP, ICMPV6, SCTP, TCP, UDP};

use super::{Described, End};
use crate::pointed::{TextError, Word, Words};
use crate::rules::IcmpName;

/// The word for the container's own address.
const CONTAINER: &str = "container";
/// The port that a packet comes from where none is said: the first that is nobody's (RFC 6335).
const ANY_PORT: u16 = 49_152;
/// The longest text, in bytes.
const MAX_BYTES: usize = 256;

const PROTOCOLS: &str = "tcp, udp, sctp, icmp or a number from 0 to 255";
const ADDRESSES: &str = "an address, or container";
const TYPES: &str = "a type of ICMP, such as echo-request, or a number from 0 to 255";

struct Parser<'a> {
    words: Words<'a>,
}

impl FromStr for Described {
    type Err = TextError;

    fn from_str(text: &str) -> Result<Self, TextError> {
        Parser { words: Words::new("packet", text, MAX_BYTES, |_| false)? }.packet()
    }
}

impl Parser<'_> {
    fn packet(mut self) -> Result<Described, TextError> {
        let word = self.words.take(PROTOCOLS)?;
        let named = protocol(word.text).ok_or_else(|| self.words.wrong(Some(word), PROTOCOLS))?;
        let has_ports = matches!(named, Named::Number(TCP | UDP | SCTP));
        let source_word = self.words.take(ADDRESSES)?;
        let (source, source_port) = self.end(source_word, has_ports)?;
        let arrow = self.words.take("> between the addresses")?;
        if arrow.text != ">" {
            return Err(self.words.wrong(Some(arrow), "> between the addresses"));
        }
        let word = self.words.take(ADDRESSES)?;
        let (destination, destination_port) = self.end(word, has_ports)?;
        let is_v6 = match (source, destination) {
            (None, None) => {
                return Err(self.words.wrong(Some(word), "the address of the other side"));
            }
            (Some(one), Some(other)) if one.is_ipv4() != other.is_ipv4() => {
                return Err(self.words.wrong(Some(word), "an address of the same version of IP"));
            }
            (Some(one), _) | (None, Some(one)) => one.is_ipv6(),
        };
        if has_ports && destination_port.is_none() {
            let port = if is_v6 { "[ADDRESS]:PORT" } else { "ADDRESS:PORT" };
            return Err(self.words.wrong(Some(word), format!("a port too: {port}")));
        }
        let protocol = named.number(is_v6);
        let is_icmp = protocol == if is_v6 { ICMPV6 } else { ICMP };
        let icmp_type = if is_icmp { Some(self.icmp_type(is_v6)?) } else { None };
        if let Some(word) = self.words.peek() {
            return Err(self.words.wrong(Some(word), "the end of the packet"));
        }
        Ok(Described {
            protocol,
            source: End { address: source, port: source_port.unwrap_or(ANY_PORT) },
            destination: End { address: destination, port: destination_port.unwrap_or(0) },
            icmp_type,
        })
    }

    fn icmp_type(&mut self, is_v6: bool) -> Result<u8, TextError> {
        let number = |name: IcmpName| {
            let of = crate::rules::IcmpType::Named(name);
            if is_v6 { of.v6() } else { of.v4() }
        };
        let Some(word) = self.words.peek() else {
            return Ok(if is_v6 { 128 } else { 8 });
        };
        self.words.skip();
        let found = word.text.parse().ok().or_else(|| IcmpName::new(word.text).and_then(number));
        found.ok_or_else(|| self.words.wrong(Some(word), TYPES))
    }

    /// An address, and a port if there is one; no address is the container's.
    fn end(
        &self,
        word: Word<'_>,
        has_ports: bool,
    ) -> Result<(Option<IpAddr>, Option<u16>), TextError> {
        let text = word.text;
        let (address, port) = split_port(text);
        if let Some(port) = port
            && !has_ports
        {
            let expected = "no port, which tcp, udp and sctp alone have";
            return Err(self.words.wrong(Some(word.end(port)), expected));
        }
        let address = match address {
            CONTAINER => None,
            other => {
                Some(other.parse().map_err(|_invalid| self.words.wrong(Some(word), ADDRESSES))?)
            }
        };
        let Some(text) = port else { return Ok((address, None)) };
        let number = text.parse().ok().filter(|number| *number > 0);
        let number = number
            .ok_or_else(|| self.words.wrong(Some(word.end(text)), "a port from 1 to 65535"))?;
        Ok((address, Some(number)))
    }
}

/// A protocol by its word or its number.
#[derive(Clone, Copy)]
enum Named {
    Icmp,
    Number(u8),
}

impl Named {
    const fn number(self, is_v6: bool) -> u8 {
        match self {
            Self::Icmp if is_v6 => ICMPV6,
            Self::Icmp => ICMP,
            Self::Number(number) => number,
        }
    }
}

fn protocol(word: &str) -> Option<Named> {
    Some(match word {
        "tcp" => Named::Number(TCP),
        "udp" => Named::Number(UDP),
        "sctp" => Named::Number(SCTP),
        "icmp" => Named::Icmp,
        number => Named::Number(number.parse().ok()?),
    })
}

/// Splits what may be a port from an address: `[2001:db8::1]:443`, `10.0.0.1:443`, `container:443`.
fn split_port(text: &str) -> (&str, Option<&str>) {
    if let Some((address, rest)) = text.strip_prefix('[').and_then(|text| text.split_once(']')) {
        return match rest.strip_prefix(':') {
            Some(port) => (address, Some(port)),
            None if rest.is_empty() => (address, None),
            None => (text, None),
        };
    }
    // Without brackets, colons belong to an address of IPv6.
    if text.parse::<Ipv6Addr>().is_ok() {
        return (text, None);
    }
    match text.rsplit_once(':') {
        Some((address, port)) if address == CONTAINER || address.parse::<Ipv4Addr>().is_ok() => {
            (address, Some(port))
        }
        _ => (text, None),
    }
}
