//! Frames of connections between a container and somebody else.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use plugin_common::{
    abi::Endpoint,
    frames::build::{Ipv4, Ipv6},
    packet::protocol,
};

/// The container's addresses.
const OWN_V4: Ipv4Addr = Ipv4Addr::new(172, 16, 0, 2);
const OWN_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 2);
/// Its MAC address, which built frames are from.
const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];

/// Flags of TCP.
pub(crate) const SYN: u8 = 2;
pub(crate) const RST: u8 = 4;
pub(crate) const ACK: u8 = 16;

/// What the container has been given, and its sender is checked by.
pub(crate) fn endpoint() -> Endpoint {
    let mut endpoint = Endpoint { mac: MAC, checked: 1, ..Endpoint::default() };
    let [v4, ..] = &mut endpoint.v4;
    *v4 = u32::from_ne_bytes(OWN_V4.octets());
    let [v6, ..] = &mut endpoint.v6;
    *v6 = OWN_V6.octets();
    endpoint
}

/// A connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Flow {
    pub(crate) remote: IpAddr,
    pub(crate) protocol: u8,
    pub(crate) local_port: u16,
    pub(crate) remote_port: u16,
}

impl Flow {
    /// A frame of either side, with these flags if it is TCP.
    pub(crate) fn frame(&self, from_container: bool, flags: u8) -> Vec<u8> {
        let Self { remote, protocol, local_port, remote_port } = *self;
        let (source, destination) =
            if from_container { (local_port, remote_port) } else { (remote_port, local_port) };
        let mut payload = Vec::new();
        payload.extend(source.to_be_bytes());
        payload.extend(destination.to_be_bytes());
        if protocol == protocol::TCP {
            payload.extend([0, 0, 0, 1, 0, 0, 0, 0, 0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
        } else {
            payload.extend([0, 26, 0, 0]);
            payload.extend([0; 18]);
        }
        match remote {
            IpAddr::V4(remote) => {
                let (own, remote) = (OWN_V4.octets(), remote.octets());
                let (source, destination) =
                    if from_container { (own, remote) } else { (remote, own) };
                Ipv4 { source, destination, ..Ipv4::new(protocol) }.frame(&payload)
            }
            IpAddr::V6(remote) => {
                let (own, remote) = (OWN_V6.octets(), remote.octets());
                let (source, destination) =
                    if from_container { (own, remote) } else { (remote, own) };
                Ipv6 { source, destination, ..Ipv6::new(protocol) }.frame(&payload)
            }
        }
    }
}
