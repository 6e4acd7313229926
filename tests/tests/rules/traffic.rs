//! Made-up traffic of one container: connections with their answers, fragments, errors about them,
//! what only belongs to a link, and what nobody should send.

use std::collections::HashSet;
use std::net::IpAddr;

use ebpf_netns_plugin::rules::Probe;
use plugin_common::abi::Endpoint;
use plugin_common::frames::build::{Extension, Ipv4, Ipv6, MORE_FRAGMENTS, icmp, tagged};
use plugin_common::frames::{Mutator, Sample, corpus};
use plugin_common::packet::{ethertype, protocol};

use crate::policies::{PORTS, PROTOCOLS, remote};

/// The container's MAC address, which frames are built with.
const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];

/// Its addresses.
const OWN: [&str; 4] = ["10.0.0.5", "10.0.0.6", "fd00::5", "fe80::5"];

/// A frame, and what it is if that is certain.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    pub(crate) bytes: Vec<u8>,
    pub(crate) from_container: bool,
    /// It opens a connection of which nothing was seen before.
    pub(crate) opens: Option<Probe>,
}

/// What has been given to the container.
pub(crate) fn endpoint(checked: bool) -> Endpoint {
    let mut endpoint = Endpoint { mac: MAC, checked: checked.into(), ..Endpoint::default() };
    let own = OWN.iter().filter_map(|text| text.parse::<IpAddr>().ok());
    let (v4, v6): (Vec<IpAddr>, Vec<IpAddr>) = own.partition(IpAddr::is_ipv4);
    for (place, address) in endpoint.v4.iter_mut().zip(v4) {
        if let IpAddr::V4(address) = address {
            *place = u32::from_ne_bytes(address.octets());
        }
    }
    for (place, address) in endpoint.v6.iter_mut().zip(v6) {
        if let IpAddr::V6(address) = address {
            *place = address.octets();
        }
    }
    endpoint
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Connection {
    local: IpAddr,
    remote: IpAddr,
    protocol: u8,
    /// Of the container and of the other side; of ICMP the type, and its number.
    ports: (u16, u16),
    from_container: bool,
}

/// An endless source of frames.
pub(crate) struct Traffic {
    pub(crate) random: Mutator,
    samples: Vec<Sample>,
    known: Vec<Connection>,
    /// What was seen, as far as it tells connections apart.
    seen: HashSet<(IpAddr, IpAddr, u8, (u16, u16))>,
}

impl Traffic {
    pub(crate) fn new(seed: u64) -> Self {
        let known = Vec::new();
        Self { random: Mutator::new(seed), samples: corpus(), known, seen: HashSet::new() }
    }

    /// Forgets the connections.
    pub(crate) fn forget(&mut self) {
        self.known.clear();
        self.seen.clear();
    }

    /// The next frame.
    pub(crate) fn frame(&mut self) -> Option<Sent> {
        let mut sent = match self.random.below(20) {
            0..=5 => self.opening(),
            6..=11 => self.more(),
            12 | 13 => self.error(),
            14 | 15 => self.fragment(),
            16 => self.on_link(),
            17 => self.sample(),
            _ => {
                let mut sent = self.more()?;
                sent.opens = None;
                for _ in 0..=self.random.below(3) {
                    self.random.change(&mut sent.bytes);
                }
                Some(sent)
            }
        }?;
        if self.random.below(64) == 0 {
            self.random.change(&mut sent.bytes);
            sent.opens = None;
        }
        Some(sent)
    }

    fn own(&mut self, v4: bool) -> Option<IpAddr> {
        let own = OWN.iter().filter_map(|text| text.parse::<IpAddr>().ok());
        let own: Vec<_> = own.filter(|address| address.is_ipv4() == v4).collect();
        self.random.one_of(&own)
    }

    fn connection(&mut self) -> Option<Connection> {
        let remote = remote(&mut self.random)?;
        let local = self.own(remote.is_ipv4())?;
        let protocol = self.random.one_of(&PROTOCOLS)?;
        let ports = match protocol {
            protocol::ICMP => (self.random.one_of(&[0, 5, 8, 13, 14, 17, 128, 255])?, self.port()?),
            protocol::ICMPV6 => {
                (self.random.one_of(&[0, 8, 13, 127, 128, 129, 140])?, self.port()?)
            }
            protocol::TCP | protocol::UDP | protocol::SCTP => (self.port()?, self.port()?),
            _ => (0, 0),
        };
        let from_container = self.random.below(3) != 0;
        Some(Connection { local, remote, protocol, ports, from_container })
    }

    fn port(&mut self) -> Option<u16> {
        if self.random.below(3) == 0 {
            return u16::try_from(2000 + self.random.below(60_000)).ok();
        }
        self.random.one_of(&PORTS)
    }

    /// A packet that opens a connection, which may be one that there is already.
    fn opening(&mut self) -> Option<Sent> {
        const SYN: u8 = 2;
        let connection = self.connection()?;
        let Connection { local, remote, protocol, ports, from_container } = connection;
        // The container's ports are its own, and so is the number of an echo; a type is not.
        let is_icmp = matches!(protocol, protocol::ICMP | protocol::ICMPV6);
        let identity = if is_icmp { (0, ports.1) } else { ports };
        let fresh = self.seen.insert((local, remote, protocol, identity));
        let flags = if self.random.below(4) == 0 { self.flags() } else { SYN };
        let bytes = self.packet(connection, from_container, flags);
        self.known.push(connection);
        let number = match protocol {
            protocol::ICMP | protocol::ICMPV6 => ports.0,
            _ if from_container => ports.1,
            _ => ports.0,
        };
        let probe = Probe { remote, protocol, number };
        Some(Sent { bytes, from_container, opens: fresh.then_some(probe) })
    }

    fn flags(&mut self) -> u8 {
        self.random
            .one_of(&[0x10, 0x10, 0x12, 0x11, 0x01, 0x04, 0x14, 0x02, 0x03, 0x06])
            .unwrap_or(2)
    }

    /// A packet of a connection that was opened, of either side.
    fn more(&mut self) -> Option<Sent> {
        let connection = self.random.one_of(&self.known)?;
        let from_container = self.random.below(2) == 0;
        let flags = self.flags();
        let mut connection = connection;
        // Answers, where it was a question.
        connection.ports.0 = match (connection.protocol, connection.ports.0) {
            (protocol::ICMP, 8) if from_container != connection.from_container => 0,
            (protocol::ICMP, 13) if from_container != connection.from_container => 14,
            (protocol::ICMPV6, 128) if from_container != connection.from_container => 129,
            (_, other) => other,
        };
        let bytes = self.packet(connection, from_container, flags);
        Some(Sent { bytes, from_container, opens: None })
    }

    fn packet(&mut self, connection: Connection, from_container: bool, flags: u8) -> Vec<u8> {
        let Connection { local, remote, protocol, ports, .. } = connection;
        let payload = transport(protocol, ports, from_container, flags);
        let (source, destination) = if from_container { (local, remote) } else { (remote, local) };
        let part =
            (self.random.below(32) == 0).then_some(Part { offset: 0, more: false, number: 1 });
        let packet = ip(source, destination, protocol, part, &payload);
        self.framed(source.is_ipv4(), &packet)
    }

    /// In a frame, now and then behind tags.
    fn framed(&mut self, v4: bool, packet: &[u8]) -> Vec<u8> {
        let number = if v4 { ethertype::IPV4 } else { ethertype::IPV6 };
        let tags: &[u16] = match self.random.below(24) {
            0 => &[ethertype::VLAN],
            1 => &[ethertype::SERVICE_VLAN, ethertype::VLAN],
            _ => &[],
        };
        tagged(tags, number, packet)
    }

    /// An error about a connection, mostly to who sent what it quotes.
    fn error(&mut self) -> Option<Sent> {
        let connection = match self.random.below(4) {
            0 => self.connection(),
            _ => self.random.one_of(&self.known).or_else(|| self.connection()),
        }?;
        let Connection { local, remote: peer, protocol, ports, .. } = connection;
        let from_container = self.random.below(2) == 0;
        let flags = self.flags();
        // The quoted packet went the other way, unless it is made up.
        let quoted = from_container == (self.random.below(8) == 0);
        let (inner_source, inner_destination) = if quoted { (local, peer) } else { (peer, local) };
        let quote = transport(protocol, ports, quoted, flags);
        let mut quote = ip(inner_source, inner_destination, protocol, None, &quote);
        if self.random.below(8) == 0 {
            let length = self.random.below(quote.len());
            quote.truncate(length);
        }
        let other = remote(&mut self.random).filter(|it| it.is_ipv4() == local.is_ipv4());
        let other = other.filter(|_| self.random.below(4) == 0);
        let (source, destination) = match (from_container, other) {
            (true, other) => (local, other.unwrap_or(peer)),
            (false, other) => (other.unwrap_or(peer), local),
        };
        let (number, types) = if local.is_ipv4() {
            (protocol::ICMP, [3, 11, 12, 4, 5])
        } else {
            (protocol::ICMPV6, [1, 2, 3, 4, 100])
        };
        let mut message = icmp(self.random.one_of(&types)?, 1);
        message.extend(quote);
        let packet = ip(source, destination, number, None, &message);
        let bytes = self.framed(local.is_ipv4(), &packet);
        Some(Sent { bytes, from_container, opens: None })
    }

    /// A part of a datagram, of one of a few.
    fn fragment(&mut self) -> Option<Sent> {
        let connection = match self.random.below(4) {
            0 => self.connection(),
            _ => self.random.one_of(&self.known).or_else(|| self.connection()),
        }?;
        let Connection { local, remote, protocol, ports, from_container } = connection;
        let number = u16::try_from(self.random.below(3)).ok()?;
        let offset = u16::try_from(self.random.below(3)).ok()?;
        let flags = self.flags();
        let payload = transport(protocol, ports, from_container, flags);
        let part = Part { offset, more: self.random.below(3) != 0, number };
        let (source, destination) = if from_container { (local, remote) } else { (remote, local) };
        let packet = ip(source, destination, protocol, Some(part), &payload);
        // A first part opens what it is of.
        let is_icmp = matches!(protocol, protocol::ICMP | protocol::ICMPV6);
        let identity = if is_icmp { (0, ports.1) } else { ports };
        self.seen.insert((local, remote, protocol, identity));
        let bytes = self.framed(local.is_ipv4(), &packet);
        Some(Sent { bytes, from_container, opens: None })
    }

    /// ARP, neighbour and listener discovery, DHCP; true and false.
    fn on_link(&mut self) -> Option<Sent> {
        let from_container = self.random.below(3) != 0;
        let v4 = self.random.below(2) == 0;
        let stranger = remote(&mut self.random).filter(|it| it.is_ipv4() == v4);
        let own = self.own(v4)?;
        let source = stranger.filter(|_| self.random.below(3) == 0).unwrap_or(own);
        let mac = if self.random.below(6) == 0 { [2, 0, 0, 0, 0, 9] } else { MAC };
        let bytes = if let IpAddr::V4(source) = source {
            self.arp_or_dhcp(source.octets(), mac)?
        } else {
            self.discovery(source, mac)?
        };
        Some(Sent { bytes, from_container, opens: None })
    }

    fn arp_or_dhcp(&mut self, source: [u8; 4], mac: [u8; 6]) -> Option<Vec<u8>> {
        let source = if self.random.below(4) == 0 { [0; 4] } else { source };
        if self.random.below(2) == 0 {
            let ports = self.random.one_of(&[(68, 67), (67, 68), (67, 67), (68, 68)])?;
            let payload = transport(protocol::UDP, ports, true, 0);
            let header = Ipv4 { source, destination: [255; 4], ..Ipv4::new(protocol::UDP) };
            return Some(header.frame(&payload));
        }
        let operation = self.random.one_of(&[1, 2, 1, 2, 3])?;
        let mut arp = vec![0, 1, 8, 0, 6, 4, 0, operation];
        arp.extend(mac);
        arp.extend(source);
        arp.extend([0; 6]);
        arp.extend([10, 0, 0, 1]);
        let mut frame = tagged(&[], ethertype::ARP, &arp);
        if self.random.below(8) == 0 {
            self.random.change(&mut frame);
        }
        Some(frame)
    }

    fn discovery(&mut self, source: IpAddr, mac: [u8; 6]) -> Option<Vec<u8>> {
        let IpAddr::V6(source) = source else { return None };
        let source = if self.random.below(6) == 0 { [0; 16] } else { source.octets() };
        let IpAddr::V6(target) = self.own(false)? else { return None };
        let strangers = [0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9];
        let target = if self.random.below(3) == 0 { strangers } else { target.octets() };
        let all = [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
        let destination = self.random.one_of(&[all, all, target, strangers])?;
        let message =
            self.random.one_of(&[130, 131, 132, 133, 134, 135, 135, 136, 136, 137, 143])?;
        let mut payload = icmp(message, 0);
        payload.extend(target);
        match self.random.below(4) {
            0 => {}
            1 => payload.extend([14, 1, 1, 2, 3, 4, 5, 6]),
            2 => payload.extend([2, 1, 2, 0, 0, 0, 0, 9]),
            _ => {
                payload.extend([self.random.one_of(&[1, 2])?, self.random.one_of(&[1, 1, 0, 2])?]);
                payload.extend(mac);
            }
        }
        let hop_limit = self.random.one_of(&[255, 255, 1, 1, 64])?;
        let extensions: &[_] =
            if self.random.below(8) == 0 { &[Extension::fragment(0, false)] } else { &[] };
        let header =
            Ipv6 { source, destination, hop_limit, ..Ipv6::with(extensions, protocol::ICMPV6) };
        Some(header.frame(&payload))
    }

    /// A sample as it is, or changed.
    fn sample(&mut self) -> Option<Sent> {
        let bytes = if self.random.below(2) == 0 {
            let index = self.random.below(self.samples.len());
            self.samples.get(index)?.bytes.clone()
        } else {
            self.random.mutated(&self.samples)
        };
        Some(Sent { bytes, from_container: self.random.below(2) == 0, opens: None })
    }
}

/// Which part of a datagram.
#[derive(Clone, Copy)]
struct Part {
    offset: u16,
    more: bool,
    number: u16,
}

/// What a side of a connection sends.
fn transport(number: u8, ports: (u16, u16), from_container: bool, flags: u8) -> Vec<u8> {
    let (local, remote) = ports;
    let (source, destination) = if from_container { (local, remote) } else { (remote, local) };
    let mut bytes = Vec::new();
    if matches!(number, protocol::ICMP | protocol::ICMPV6) {
        let [_, kind] = local.to_be_bytes();
        bytes.extend([kind, 0, 0, 0]);
        bytes.extend(remote.to_be_bytes());
        bytes.extend([0, 1]);
        return bytes;
    }
    bytes.extend(source.to_be_bytes());
    bytes.extend(destination.to_be_bytes());
    match number {
        protocol::TCP => bytes.extend([0, 0, 0, 1, 0, 0, 0, 0, 0x50, flags, 9, 9, 0, 0, 0, 0]),
        protocol::UDP => bytes.extend([0, 8, 0, 0]),
        _ => bytes.extend([0; 12]),
    }
    bytes
}

fn ip(
    source: IpAddr,
    destination: IpAddr,
    number: u8,
    part: Option<Part>,
    payload: &[u8],
) -> Vec<u8> {
    match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let (source, destination) = (source.octets(), destination.octets());
            let mut header = Ipv4 { source, destination, ..Ipv4::new(number) };
            if let Some(Part { offset, more, number }) = part {
                header.fragment = offset | if more { MORE_FRAGMENTS } else { 0 };
                header.identification = number;
            }
            header.packet(payload)
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            let extensions: Vec<_> = part
                .map(|Part { offset, more, number }| {
                    let mut header = Extension::fragment(offset, more);
                    let [high, low] = number.to_be_bytes();
                    header.rest.truncate(5);
                    header.rest.extend([high, low]);
                    header
                })
                .into_iter()
                .collect();
            let (source, destination) = (source.octets(), destination.octets());
            Ipv6 { source, destination, ..Ipv6::with(&extensions, number) }.packet(payload)
        }
        _ => Vec::new(),
    }
}
