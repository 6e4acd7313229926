//! Pools of addresses: which one is next, and which subnets are free. Pure.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

use super::error::CnmError;
use super::network::{Prefix, VERSION};

/// The addresses of one subnet of a network, and which of them somebody has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AddressPool {
    pub version: u32,
    pub subnet: Prefix,
    /// Where addresses are chosen, if not in all of the subnet: `--ip-range`.
    range: Option<Prefix>,
    taken: BTreeSet<IpAddr>,
    /// The one that was chosen last: what was given back is chosen again as late as can be.
    last: Option<IpAddr>,
}

impl AddressPool {
    /// A pool of which nothing is taken. What is written behind the prefixes is let be.
    pub(super) fn new(subnet: Prefix, range: Option<Prefix>) -> Result<Self, CnmError> {
        let subnet = subnet.network();
        let range = range.map(Prefix::network);
        if let Some(range) = range
            && !(range.length >= subnet.length && range.overlaps(subnet))
        {
            let outside = format!("the range {range} is not within the subnet {subnet}");
            return Err(CnmError::Option(outside));
        }
        Ok(Self { version: VERSION, subnet, range, taken: BTreeSet::new(), last: None })
    }

    /// What Docker calls it by.
    pub(super) fn id(&self) -> String {
        self.subnet.to_string()
    }

    /// Whether nobody has an address of it.
    pub(super) fn is_unused(&self) -> bool {
        self.taken.is_empty()
    }

    /// Takes this address, or the next one that is free.
    pub(super) fn take(&mut self, wanted: Option<IpAddr>) -> Result<Prefix, CnmError> {
        let address = match wanted {
            Some(wanted) => self.check(wanted)?,
            None => self.next_free().ok_or_else(|| CnmError::PoolExhausted(self.id()))?,
        };
        self.taken.insert(address);
        if wanted.is_none() {
            self.last = Some(address);
        }
        Ok(Prefix { address, length: self.subnet.length })
    }

    /// Gives an address back; whether it was taken.
    pub(super) fn release(&mut self, address: IpAddr) -> bool {
        self.taken.remove(&address)
    }

    fn check(&self, wanted: IpAddr) -> Result<IpAddr, CnmError> {
        let (first, last) = usable(self.subnet);
        let is_within = wanted.is_ipv4() == self.subnet.address.is_ipv4()
            && (first..=last).contains(&number(wanted));
        if !is_within {
            let none = format!("{wanted} is no address of an interface on {}", self.subnet);
            return Err(CnmError::Option(none));
        }
        if self.taken.contains(&wanted) {
            return Err(CnmError::AddressInUse(wanted));
        }
        Ok(wanted)
    }

    /// The first one that is free behind the last that was chosen, beginning again at the end.
    fn next_free(&self) -> Option<IpAddr> {
        let (first, last) = usable(self.subnet);
        let (first, last) = self.range.map_or((first, last), |range| {
            let (from, to) = bounds(range);
            (first.max(from), last.min(to))
        });
        let address = |number| address(number, self.subnet.address.is_ipv4());
        let behind = self.last.map_or(first, |last| number(last).saturating_add(1));
        let mut candidates = (behind.max(first)..=last).chain(first..=last);
        candidates.find(|one| !self.taken.contains(&address(*one))).map(address)
    }
}

/// A subnet for a network that asks for none, which overlaps none of these: of those that Docker uses
/// for IPv4, and for IPv6 a local one ([RFC 4193](https://www.rfc-editor.org/rfc/rfc4193)) of these random
/// bytes.
pub(super) fn free_subnet(is_v4: bool, taken: &[Prefix], random: [u8; 5]) -> Option<Prefix> {
    if !is_v4 {
        let mut octets = [0; 16];
        octets[0] = 0xfd;
        octets[1..6].copy_from_slice(&random);
        let subnet = Prefix { address: Ipv6Addr::from(octets).into(), length: 64 };
        return Some(subnet).filter(|one| !taken.iter().any(|other| one.overlaps(*other)));
    }
    let large = (18..=31).map(|second| ([172, second, 0, 0], 16));
    let small = (0..16).map(|third| ([192, 168, third * 16, 0], 20));
    large
        .chain(small)
        .map(|(octets, length)| Prefix { address: Ipv4Addr::from(octets).into(), length })
        .find(|one| !taken.iter().any(|other| one.overlaps(*other)))
}

/// The first and the last address that an interface may have: of a subnet of IPv4 neither its own
/// address nor the broadcast address, of IPv6 not that of its routers
/// ([RFC 4291, 2.6.1](https://www.rfc-editor.org/rfc/rfc4291#section-2.6.1)).
fn usable(subnet: Prefix) -> (u128, u128) {
    let (first, last) = bounds(subnet);
    match last - first {
        0 | 1 => (first, last),
        _ if subnet.address.is_ipv4() => (first + 1, last - 1),
        _ => (first + 1, last),
    }
}

/// The first and the last address.
fn bounds(prefix: Prefix) -> (u128, u128) {
    let first = number(prefix.network().address);
    let bits = if prefix.address.is_ipv4() { 32 } else { 128 };
    let others = u32::from(prefix.length).abs_diff(bits);
    let hosts = u128::MAX.checked_shr(u128::BITS - others).unwrap_or_default();
    (first, first | hosts)
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_bits().into(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

/// The address of a number that one of that version has.
fn address(number: u128, is_v4: bool) -> IpAddr {
    match u32::try_from(number) {
        Ok(number) if is_v4 => Ipv4Addr::from_bits(number).into(),
        _ => Ipv6Addr::from_bits(number).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix(text: &str) -> Prefix {
        Prefix::parse(text).unwrap()
    }

    fn pool(subnet: &str, range: Option<&str>) -> AddressPool {
        AddressPool::new(prefix(subnet), range.map(prefix)).unwrap()
    }

    fn take(pool: &mut AddressPool) -> String {
        pool.take(None).map_or_else(|error| error.to_string(), |taken| taken.to_string())
    }

    #[test]
    fn addresses_are_given_in_turn_and_again_as_late_as_can_be() {
        let mut pool = pool("10.9.0.7/29", None);
        assert_eq!(pool.id(), "10.9.0.0/29");
        let all: Vec<_> = (0..6).map(|_| take(&mut pool)).collect();
        assert_eq!(all[0], "10.9.0.1/29");
        assert_eq!(all[5], "10.9.0.6/29");
        assert!(take(&mut pool).starts_with("10.9.0.0/29 has no free address"));
        for back in ["10.9.0.2", "10.9.0.4"] {
            assert!(pool.release(back.parse().unwrap()));
        }
        assert!(!pool.release("10.9.0.2".parse().unwrap()), "it was given back");
        assert_eq!([take(&mut pool), take(&mut pool)], ["10.9.0.2/29", "10.9.0.4/29"]);
    }

    #[test]
    fn an_address_that_is_asked_for_is_given_once() {
        let mut pool = pool("10.9.0.0/24", Some("10.9.0.128/31"));
        let mut ask = |address: &str| {
            let taken = pool.take(Some(address.parse().unwrap()));
            taken.map_or_else(|error| error.to_string(), |taken| taken.to_string())
        };
        assert_eq!(ask("10.9.0.5"), "10.9.0.5/24", "also beside the range");
        assert!(ask("10.9.0.5").contains("in use"));
        for none in ["10.9.0.0", "10.9.0.255", "10.9.1.1", "fd00::1"] {
            assert!(ask(none).contains("is no address"), "{none}");
        }
        assert_eq!([take(&mut pool), take(&mut pool)], ["10.9.0.128/24", "10.9.0.129/24"]);
        assert!(take(&mut pool).contains("no free address"));
    }

    #[test]
    fn pools_of_every_size_have_the_addresses_that_they_have() {
        for (subnet, first, second) in [
            ("10.9.0.0/31", "10.9.0.0/31", "10.9.0.1/31"),
            ("10.9.0.9/32", "10.9.0.9/32", "10.9.0.9/32 has no free address: remove"),
            ("255.255.255.252/30", "255.255.255.253/30", "255.255.255.254/30"),
            ("0.0.0.0/0", "0.0.0.1/0", "0.0.0.2/0"),
            ("fd00:1::/64", "fd00:1::1/64", "fd00:1::2/64"),
            ("::/0", "::1/0", "::2/0"),
            ("fd00::1/128", "fd00::1/128", "fd00::1/128 has no free address: remove"),
        ] {
            let mut pool = pool(subnet, None);
            assert_eq!(take(&mut pool), first);
            assert!(take(&mut pool).starts_with(second), "{subnet}");
        }
    }

    #[test]
    fn a_range_is_within_its_subnet() {
        for range in ["10.8.0.0/24", "10.0.0.0/8", "fd00::/64"] {
            let refused = AddressPool::new(prefix("10.9.0.0/24"), Some(prefix(range)));
            assert!(refused.is_err(), "{range}");
        }
    }

    #[test]
    fn subnets_that_nobody_asked_for_overlap_none() {
        let mut taken = vec![prefix("172.16.0.0/13"), prefix("172.24.0.0/16")];
        assert_eq!(free_subnet(true, &taken, [0; 5]), Some(prefix("172.25.0.0/16")));
        taken.push(prefix("172.16.0.0/12"));
        assert_eq!(free_subnet(true, &taken, [0; 5]), Some(prefix("192.168.0.0/20")));
        taken.push(prefix("192.168.0.0/16"));
        assert_eq!(free_subnet(true, &taken, [0; 5]), None);
        let local = free_subnet(false, &taken, [1, 2, 3, 4, 5]).unwrap();
        assert_eq!(local, prefix("fd01:203:405::/64"));
        assert_eq!(free_subnet(false, &[local], [1, 2, 3, 4, 5]), None);
    }

    #[test]
    fn what_is_written_reads_back() {
        let mut pool = pool("10.9.0.0/24", Some("10.9.0.128/25"));
        take(&mut pool);
        let text = serde_json::to_string(&pool).unwrap();
        assert_eq!(serde_json::from_str::<AddressPool>(&text).unwrap(), pool, "{text}");
    }
}
