//! Reports of the `log` preset, for the daemon's log.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ebpf_netns::{Ifindex, text};
use plugin_common::abi::Observer;
use plugin_common::packet::protocol;
use plugin_common::report::PacketRecord;
use plugin_common::verdict::Reason;
use tracing::info;

use super::world::World;

/// Writes a line about one packet.
pub(super) fn log(record: &PacketRecord, world: &World) {
    let container = Ifindex::try_from(record.ifindex)
        .ok()
        .and_then(|ifindex| world.container_of(ifindex))
        .map_or("", |facts| facts.name.as_str());
    let container = text::printable(container);
    let direction = if record.observer == Observer::Ingress as u32 { "ingress" } else { "egress" };
    let verdict = Reason::ALL
        .iter()
        .find(|reason| **reason as u32 == record.reason)
        .map_or("unknown", |reason| reason.name());
    info!(
        %container,
        direction,
        verdict,
        source = %Side { record, source: true },
        destination = %Side { record, source: false },
        protocol = %Protocol(record),
        length = record.length,
        "packet"
    );
}

/// Address and, where there is one, port.
struct Side<'a> {
    record: &'a PacketRecord,
    source: bool,
}

impl fmt::Display for Side<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { record, source } = self;
        let (bytes, port) = if *source {
            (record.source, record.source_port)
        } else {
            (record.destination, record.destination_port)
        };
        let address = match record.ip_version {
            4 => IpAddr::V4(Ipv4Addr::from(bytes.first_chunk().copied().unwrap_or_default())),
            6 => IpAddr::V6(Ipv6Addr::from(bytes)),
            _ => return f.write_str("-"),
        };
        match record.protocol {
            protocol::TCP | protocol::UDP => write!(f, "{}", SocketAddr::new(address, port)),
            _ => write!(f, "{address}"),
        }
    }
}

/// The protocol's name, and for ICMP the type and code.
struct Protocol<'a>(&'a PacketRecord);

impl fmt::Display for Protocol<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(record) = self;
        match (record.ip_version, record.protocol) {
            (0, _) => write!(f, "ethertype {:#06x}", record.ethertype),
            (_, protocol::TCP) => f.write_str("tcp"),
            (_, protocol::UDP) => f.write_str("udp"),
            (_, protocol::ICMP) => {
                write!(f, "icmp {}/{}", record.source_port, record.destination_port)
            }
            (_, protocol::ICMPV6) => {
                write!(f, "icmpv6 {}/{}", record.source_port, record.destination_port)
            }
            (_, other) => write!(f, "ip protocol {other}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(ip_version: u8, protocol: u8) -> PacketRecord {
        let mut record = PacketRecord::from_bytes(&[0; PacketRecord::BYTES]);
        record.ethertype = 0x0806;
        record.ip_version = ip_version;
        record.protocol = protocol;
        record.source = [10, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
        record.source_port = 8;
        record
    }

    #[test]
    fn packets_read_as_in_tcpdump() {
        for (version, protocol, source, name) in [
            (4, 6, "10.0.0.1:8", "tcp"),
            (6, 17, "[a00:1::1]:8", "udp"),
            (4, 1, "10.0.0.1", "icmp 8/0"),
            (6, 58, "a00:1::1", "icmpv6 8/0"),
            (4, 132, "10.0.0.1", "ip protocol 132"),
            (0, 0, "-", "ethertype 0x0806"),
        ] {
            let record = record(version, protocol);
            assert_eq!(Side { record: &record, source: true }.to_string(), source);
            assert_eq!(Protocol(&record).to_string(), name);
        }
    }
}
