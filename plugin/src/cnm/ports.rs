//! Which ports of the host are free to be published at. Reads `/proc/net`, and changes nothing.
//!
//! What is published is translated before any process could get it: so a port at which one listens is
//! refused, as the kernel would refuse a second one to listen there.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

use super::error::CnmError;
use super::network::{Protocol, Published};
use super::options::Wish;

/// What ports are chosen of where none is asked for.
const DYNAMIC: (u16, u16) = (49_153, 65_535);
/// `TCP_LISTEN`, as `/proc/net/tcp` writes it.
const LISTENS: &str = "0A";

/// Chooses a port of the host that neither a process nor another endpoint has.
pub(super) fn choose(
    wish: &Wish,
    published: &[Published],
    used: &[(Protocol, IpAddr, u16)],
) -> Result<Published, CnmError> {
    let Wish { protocol, address, host_ports, port } = *wish;
    let (first, last) = host_ports.unwrap_or(DYNAMIC);
    let candidate = |host_port| Published { protocol, address, host_port, port };
    let is_free = |one: &Published| {
        let taken = |used: &(Protocol, IpAddr, u16)| {
            let (protocol, address, host_port) = *used;
            one.collides(&Published { protocol, address: bound(address), host_port, port: 0 })
        };
        !published.iter().any(|other| one.collides(other)) && !used.iter().any(taken)
    };
    (first..=last).map(candidate).find(is_free).ok_or(if first == last {
        CnmError::PortInUse { port: first, protocol, address }
    } else {
        CnmError::NoPort(port, protocol)
    })
}

/// Who listens at `::` has the port of IPv4 too, but for an option that is not told.
fn bound(address: IpAddr) -> Option<IpAddr> {
    (address != IpAddr::V6(Ipv6Addr::UNSPECIFIED)).then_some(address)
}

/// The ports that processes of the host have.
pub(super) fn used() -> Vec<(Protocol, IpAddr, u16)> {
    let tables = [
        ("tcp", Protocol::Tcp),
        ("tcp6", Protocol::Tcp),
        ("udp", Protocol::Udp),
        ("udp6", Protocol::Udp),
    ];
    let read = |(name, protocol): (&str, Protocol)| {
        // A kernel without IPv6 has no table for it.
        let text = fs::read_to_string(Path::new("/proc/net").join(name)).unwrap_or_default();
        let used: Vec<_> = text.lines().skip(1).filter_map(|line| socket(line, protocol)).collect();
        used
    };
    tables.into_iter().flat_map(read).collect()
}

/// Reads a line of `/proc/net/tcp` and its like.
fn socket(line: &str, protocol: Protocol) -> Option<(Protocol, IpAddr, u16)> {
    let mut words = line.split_whitespace().skip(1);
    let (local, _remote, state) = (words.next()?, words.next()?, words.next()?);
    if protocol == Protocol::Tcp && state != LISTENS {
        return None;
    }
    let (address, port) = local.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    // In words of 32 bits, each in the byte order of the machine.
    let words: Vec<u8> = address
        .as_bytes()
        .chunks(8)
        .filter_map(|word| u32::from_str_radix(std::str::from_utf8(word).ok()?, 16).ok())
        .flat_map(u32::to_ne_bytes)
        .collect();
    let address = match <[u8; 4]>::try_from(words.as_slice()) {
        Ok(v4) => IpAddr::V4(Ipv4Addr::from(v4)),
        Err(_longer) => IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(words).ok()?)),
    };
    Some((protocol, address, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINES: [&str; 3] = [
        "   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000 0 0 1 1 0",
        "   1: 0100007F:1F91 0100007F:0050 01 00000000:00000000 00:00000000 00000000 0 0 1 1 0",
        "   2: 00000000000000000000000000000000:0050 00000000000000000000000000000000:0000 0A 0",
    ];

    fn wish(address: Option<&str>, host_ports: Option<(u16, u16)>) -> Wish {
        let address = address.map(|address| address.parse().unwrap());
        Wish { protocol: Protocol::Tcp, address, host_ports, port: 80 }
    }

    #[test]
    fn only_who_listens_has_a_port() {
        let used: Vec<_> = LINES.iter().filter_map(|line| socket(line, Protocol::Tcp)).collect();
        let expected = [
            (Protocol::Tcp, IpAddr::from([127, 0, 0, 1]), 8080),
            (Protocol::Tcp, IpAddr::V6(Ipv6Addr::UNSPECIFIED), 80),
        ];
        assert_eq!(used, expected);
        assert_eq!(socket(LINES[1], Protocol::Udp).unwrap().2, 8081, "datagrams need no listener");
        assert!(used_of_this_machine_reads());
    }

    fn used_of_this_machine_reads() -> bool {
        used().iter().all(|(_, _, port)| *port > 0)
    }

    #[test]
    fn a_port_is_chosen_that_nobody_has() {
        let used = [(Protocol::Tcp, IpAddr::from([127, 0, 0, 1]), 8080)];
        let published = [choose(&wish(None, Some((9000, 9000))), &[], &used).unwrap()];
        let chosen = |wish: Wish| choose(&wish, &published, &used).map(|one| one.host_port);
        assert_eq!(chosen(wish(None, Some((9000, 9001)))).unwrap(), 9001, "the next of a range");
        assert_eq!(chosen(wish(Some("10.0.0.1"), Some((8080, 8080)))).unwrap(), 8080);
        assert_eq!(chosen(wish(None, None)).unwrap(), DYNAMIC.0, "any");
        let taken = chosen(wish(None, Some((8080, 8080)))).unwrap_err().to_string();
        assert_eq!(taken, "port 8080/tcp is in use: publish another, or free it");
        assert!(chosen(wish(None, Some((9000, 9000)))).is_err(), "of another endpoint");
    }
}
