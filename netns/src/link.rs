//! What a network interface is, as rtnetlink describes it. Data only; nothing here asks the kernel.

use std::fmt;

use serde::{Serialize, Serializer};

use crate::{Ifindex, MacAddress, Nsid};

/// A network interface, as seen from our own namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Link {
    /// Its index within its own namespace.
    pub index: Ifindex,
    /// Its name, which a container with `CAP_NET_ADMIN` chooses: bytes that are not UTF-8 are
    /// replaced, and it must go through [`text::printable`](crate::text::printable) to be shown.
    pub name: String,
    /// What kind of device it is.
    pub kind: LinkKind,
    /// Its Ethernet address; `None` if its hardware address is not six bytes.
    pub mac: Option<MacAddress>,
    /// `IFLA_LINK`: the index of the link that it belongs to. For a veth this is its peer, within
    /// the peer's own namespace; for a macvlan it is the parent NIC.
    pub peer_index: Option<Ifindex>,
    /// `IFLA_LINK_NETNSID`: where that other link lives, as our own namespace numbers it; `None`
    /// means in the same namespace as this link.
    pub peer_nsid: Option<Nsid>,
    /// `IFLA_MASTER`: the bridge or bond that it is a port of.
    pub master: Option<Ifindex>,
    /// Its MTU in bytes.
    pub mtu: u32,
    /// Whether it is administratively up (`IFF_UP`).
    pub up: bool,
    /// Whether it has a carrier.
    pub carrier: bool,
    /// The XDP program attached to it. TCX programs are not visible in rtnetlink.
    pub xdp: Option<XdpAttachment>,
}

/// An XDP program attached to a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct XdpAttachment {
    /// How it is attached.
    pub mode: XdpMode,
    /// The kernel's id for the program.
    pub program_id: u32,
}

/// How an XDP program is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum XdpMode {
    /// In the driver, before a socket buffer is made.
    Native,
    /// After a socket buffer is made.
    Generic,
    /// In the network card.
    Offload,
    /// In the network card and on the host at once; the program told of is the host's.
    Multiple,
}

impl fmt::Display for XdpMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Native => "native",
            Self::Generic => "generic",
            Self::Offload => "offload",
            Self::Multiple => "multiple",
        })
    }
}

/// What kind of device a link is: `IFLA_INFO_KIND`, which only the kernel's driver sets.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum LinkKind {
    /// The loopback device.
    Loopback,
    /// No kind: most often a physical network card.
    Physical,
    /// One end of a virtual Ethernet pair.
    Veth,
    /// A bridge.
    Bridge,
    /// A macvlan or macvtap; its `peer_index` is the parent NIC.
    Macvlan,
    /// An ipvlan or ipvtap; its `peer_index` is the parent NIC.
    Ipvlan,
    /// A VLAN; its `peer_index` is the parent NIC.
    Vlan,
    /// A VXLAN tunnel.
    Vxlan,
    /// A dummy device.
    Dummy,
    /// A bond.
    Bond,
    /// A tun or tap device.
    Tun,
    /// A netkit device.
    Netkit,
    /// A `WireGuard` tunnel.
    Wireguard,
    /// Any other, by the kernel's name for it.
    Other(String),
}

impl LinkKind {
    /// The kind that the kernel calls so.
    #[must_use]
    pub fn from_kernel(name: &str) -> Self {
        match name {
            "veth" => Self::Veth,
            "bridge" => Self::Bridge,
            "macvlan" | "macvtap" => Self::Macvlan,
            "ipvlan" | "ipvtap" => Self::Ipvlan,
            "vlan" => Self::Vlan,
            "vxlan" => Self::Vxlan,
            "dummy" => Self::Dummy,
            "bond" => Self::Bond,
            "tun" => Self::Tun,
            "netkit" => Self::Netkit,
            "wireguard" => Self::Wireguard,
            other => Self::Other(other.to_owned()),
        }
    }
}

impl fmt::Display for LinkKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Loopback => "loopback",
            Self::Physical => "physical",
            Self::Veth => "veth",
            Self::Bridge => "bridge",
            Self::Macvlan => "macvlan",
            Self::Ipvlan => "ipvlan",
            Self::Vlan => "vlan",
            Self::Vxlan => "vxlan",
            Self::Dummy => "dummy",
            Self::Bond => "bond",
            Self::Tun => "tun",
            Self::Netkit => "netkit",
            Self::Wireguard => "wireguard",
            Self::Other(name) => name,
        })
    }
}

impl Serialize for LinkKind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
