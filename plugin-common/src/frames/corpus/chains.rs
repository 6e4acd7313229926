//! Extension header chains of IPv6: every order, up to the bound and beyond it.

use std::format;
use std::vec;
use std::vec::Vec;

use super::{MALFORMED, SOURCE_ROUTE};
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
    SourceRoute,
    Destination,
    Authentication,
    Atomic,
    First,
    Later,
}

impl Link {
    const ALL: [Self; 8] = [
        Self::HopByHop,
        Self::Routing,
        Self::SourceRoute,
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
            Self::SourceRoute => source_route(),
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
/// the header of a later fragment is a piece of payload. Beyond the bound nothing is followed. The
/// first that is wrong counts.
fn kind(chain: &[Link]) -> Kind {
    let mut fragment = None;
    for (place, link) in (0_u64..).zip(chain) {
        let late_hop_by_hop = place > 0 && *link == Link::HopByHop;
        let again = fragment.is_some() && link.is_fragment();
        let behind_later = fragment == Some(Link::Later);
        if place >= MAX_EXTENSION_HEADERS || late_hop_by_hop || again || behind_later {
            return MALFORMED;
        }
        if *link == Link::SourceRoute {
            return SOURCE_ROUTE;
        }
        if link.is_fragment() {
            fragment = Some(*link);
        }
    }
    Kind::Tcp
}

/// A routing header of type 0 through one router.
fn source_route() -> Extension {
    let mut rest = vec![2, 0, 1];
    rest.resize(23, 0);
    Extension { number: protocol::ROUTING, rest }
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
