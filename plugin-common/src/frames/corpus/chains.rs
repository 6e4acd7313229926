//! Extension header chains of IPv6: every order, up to the bound and beyond it.

use std::format;
use std::vec;
use std::vec::Vec;

use super::MALFORMED;
use crate::frames::build::{Extension, Ipv6, tcp};
use crate::frames::{Kind, Sample};
use crate::packet::{MAX_EXTENSION_HEADERS, protocol};

/// TCP behind chains in every order, with repetition, of up to `every_order` headers, and behind
/// some of each length in `long`.
#[must_use]
pub fn chains(every_order: usize, long: &[usize]) -> Vec<Sample> {
    let short = (1..=every_order).flat_map(orders);
    let long = long.iter().flat_map(|count| variations(*count));
    short.chain(long).map(|chain| sample(&chain)).collect()
}

/// A header of a chain; fragment headers by what they say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Link {
    HopByHop,
    Routing,
    Destination,
    Authentication,
    Atomic,
    First,
    Later,
}

impl Link {
    const ALL: [Self; 7] = [
        Self::HopByHop,
        Self::Routing,
        Self::Destination,
        Self::Authentication,
        Self::Atomic,
        Self::First,
        Self::Later,
    ];

    fn is_fragment(self) -> bool {
        matches!(self, Self::Atomic | Self::First | Self::Later)
    }

    fn header(self) -> Extension {
        match self {
            Self::HopByHop => Extension::new(protocol::HOP_BY_HOP),
            Self::Routing => Extension::new(protocol::ROUTING),
            Self::Destination => Extension::of_length(protocol::DESTINATION_OPTIONS, 1),
            Self::Authentication => Extension::authentication(2),
            Self::Atomic => Extension::fragment(0, false),
            Self::First => Extension::fragment(0, true),
            Self::Later => Extension::fragment(185, true),
        }
    }
}

fn sample(chain: &[Link]) -> Sample {
    let headers: Vec<_> = chain.iter().map(|link| link.header()).collect();
    Sample {
        name: format!("IPv6 chain {chain:?}, TCP"),
        kind: kind(chain),
        bytes: Ipv6::with(&headers, protocol::TCP).frame(&tcp()),
    }
}

/// RFC 8200: hop-by-hop options stand first, a datagram is fragmented once, and what is behind
/// the header of a later fragment is a piece of payload. Beyond the bound nothing is followed.
fn kind(chain: &[Link]) -> Kind {
    let fragments = chain.iter().filter(|link| link.is_fragment()).count();
    let late_hop_by_hop = chain.iter().skip(1).any(|link| *link == Link::HopByHop);
    let behind_later =
        chain.iter().position(|link| *link == Link::Later).is_some_and(|at| at + 1 < chain.len());
    let long = u64::try_from(chain.len()).is_ok_and(|length| length > MAX_EXTENSION_HEADERS);
    if fragments > 1 || late_hop_by_hop || behind_later || long { MALFORMED } else { Kind::Tcp }
}

fn orders(length: usize) -> Vec<Vec<Link>> {
    let mut chains = vec![Vec::new()];
    for _ in 0..length {
        chains = chains
            .iter()
            .flat_map(|chain: &Vec<Link>| Link::ALL.map(|link| [&chain[..], &[link]].concat()))
            .collect();
    }
    chains
}

/// Chains of destination options in which one header, of each kind and at each place, is another;
/// of those far beyond the bound, where that changes nothing, only the first one.
fn variations(count: usize) -> Vec<Vec<Link>> {
    const FAR: usize = 16;
    let places = if count < FAR { count } else { 1 };
    let mut chains = Vec::new();
    for place in 0..places {
        for link in Link::ALL {
            let mut chain = vec![Link::Destination; count];
            if let Some(header) = chain.get_mut(place) {
                *header = link;
            }
            chains.push(chain);
        }
    }
    chains
}
