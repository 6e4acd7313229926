//! Sets of addresses: sorted ranges that do not touch. Pure.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::address::AddressRange;
use super::resolved::IpVersion;

/// A range as numbers, so that both versions are reckoned with alike.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Bits {
    version: IpVersion,
    first: u128,
    last: u128,
}

impl IpVersion {
    /// The version of an address.
    #[must_use]
    pub fn of(address: IpAddr) -> Self {
        if address.is_ipv4() { Self::V4 } else { Self::V6 }
    }
}

fn to_bits(range: AddressRange) -> Bits {
    match range {
        AddressRange::V4(span) => Bits {
            version: IpVersion::V4,
            first: span.first().to_bits().into(),
            last: span.last().to_bits().into(),
        },
        AddressRange::V6(span) => Bits {
            version: IpVersion::V6,
            first: span.first().to_bits(),
            last: span.last().to_bits(),
        },
    }
}

fn from_bits(Bits { version, first, last }: Bits) -> Option<AddressRange> {
    let address = |bits: u128| match version {
        IpVersion::V4 => u32::try_from(bits).ok().map(|bits| IpAddr::V4(Ipv4Addr::from(bits))),
        IpVersion::V6 => Some(IpAddr::V6(Ipv6Addr::from(bits))),
    };
    AddressRange::between(address(first)?, address(last)?)
}

/// The same addresses, sorted, without overlaps and neighbours.
pub(super) fn merge(ranges: Vec<AddressRange>) -> Vec<AddressRange> {
    let mut all: Vec<Bits> = ranges.into_iter().map(to_bits).collect();
    all.sort_unstable();
    let mut merged: Vec<Bits> = Vec::new();
    for next in all {
        match merged.last_mut() {
            Some(last)
                if last.version == next.version && next.first <= last.last.saturating_add(1) =>
            {
                last.last = last.last.max(next.last);
            }
            _ => merged.push(next),
        }
    }
    merged.into_iter().filter_map(from_bits).collect()
}

/// The addresses of `ranges` that are in none of `without`.
pub(super) fn subtract(ranges: Vec<AddressRange>, without: Vec<AddressRange>) -> Vec<AddressRange> {
    let mut left: Vec<Bits> = merge(ranges).into_iter().map(to_bits).collect();
    for hole in merge(without).into_iter().map(to_bits) {
        left = left.into_iter().flat_map(|range| around(range, hole)).flatten().collect();
    }
    left.into_iter().filter_map(from_bits).collect()
}

/// What is left of a range on both sides of a hole.
fn around(range: Bits, hole: Bits) -> [Option<Bits>; 2] {
    if range.version != hole.version || hole.last < range.first || range.last < hole.first {
        return [Some(range), None];
    }
    let below = hole.first.checked_sub(1).filter(|last| range.first <= *last);
    let above = hole.last.checked_add(1).filter(|first| *first <= range.last);
    [below.map(|last| Bits { last, ..range }), above.map(|first| Bits { first, ..range })]
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::super::arbitrary::{address, range};
    use super::*;

    fn contains(set: &[AddressRange], address: IpAddr) -> bool {
        set.iter().any(|range| range.contains(address))
    }

    /// The ends of every range and their neighbours, where a mistake would show.
    fn edges(sets: [&[AddressRange]; 2]) -> Vec<IpAddr> {
        let ranges = sets.into_iter().flatten().copied().map(to_bits);
        ranges
            .flat_map(|Bits { version, first, last }| {
                [first.wrapping_sub(1), first, last, last.wrapping_add(1)].map(|bits| Bits {
                    version,
                    first: bits,
                    last: bits,
                })
            })
            .filter_map(from_bits)
            .map(AddressRange::first)
            .collect()
    }

    proptest! {
        #[test]
        fn a_merged_set_has_the_same_addresses_and_no_neighbours(
            ranges in vec(range(), 0..8),
            address in address(),
        ) {
            let merged = merge(ranges.clone());
            for address in edges([&ranges, &merged]).into_iter().chain([address]) {
                prop_assert_eq!(contains(&merged, address), contains(&ranges, address));
            }
            for pair in merged.windows(2) {
                let [one, other] = pair else { continue };
                let (one, other) = (to_bits(*one), to_bits(*other));
                prop_assert!(one.version < other.version || one.last + 1 < other.first);
            }
        }

        #[test]
        fn what_is_taken_away_is_gone_and_the_rest_is_there(
            ranges in vec(range(), 0..6),
            without in vec(range(), 0..6),
            address in address(),
        ) {
            let left = subtract(ranges.clone(), without.clone());
            for address in edges([&ranges, &without]).into_iter().chain([address]) {
                let expected = contains(&ranges, address) && !contains(&without, address);
                prop_assert_eq!(contains(&left, address), expected, "{}", address);
            }
        }
    }
}
