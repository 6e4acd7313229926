//! How the driver fails: each time a sentence that `docker` shows to whoever asked.

use std::io;
use std::net::IpAddr;
use std::path::PathBuf;

use ebpf_netns::RtnlError;

use super::ids::InvalidId;
use super::network::Protocol;
use crate::nftables::NfError;

/// Why the driver did not do what Docker asked.
#[derive(Debug, thiserror::Error)]
pub enum CnmError {
    /// The call is not of the protocol.
    #[error("Docker's call is not understood")]
    Call(#[source] serde_json::Error),
    /// There is no network of this id.
    #[error("there is no network {0} of this driver: remove it and create it again")]
    NoNetwork(String),
    /// There is no endpoint of this id.
    #[error("there is no endpoint {0} of this driver")]
    NoEndpoint(String),
    /// An id is none.
    #[error(transparent)]
    Id(#[from] InvalidId),
    /// An option of a network is not understood, or an address is none.
    #[error("{0}")]
    Option(String),
    /// Networks that overlap would be one for the kernel.
    #[error("the network overlaps network {other} of this driver: choose another --subnet")]
    Overlaps {
        /// The other one.
        other: String,
    },
    /// Addresses are of one network each.
    #[error("{asked} overlaps {other} of another network: choose another --subnet")]
    PoolOverlaps {
        /// What was asked for.
        asked: String,
        /// What is there.
        other: String,
    },
    /// There is no pool of this name.
    #[error("there is no pool {0} of this IPAM driver: remove its network and create it again")]
    NoPool(String),
    /// All subnets that are chosen of are in use.
    #[error("no subnet is free that this IPAM driver chooses of: name one with --subnet")]
    NoSubnet,
    /// The kernel has no random bytes.
    #[error("read random bytes for a subnet")]
    Random(#[source] io::Error),
    /// Somebody has each address.
    #[error(
        "{0} has no free address: remove containers, or create a network with a larger --subnet"
    )]
    PoolExhausted(String),
    /// Somebody has this address.
    #[error("address {0} is in use: choose another --ip")]
    AddressInUse(IpAddr),
    /// A link has the name of one that is to be made.
    #[error("interface {0} is there and is not a bridge: remove it")]
    NotABridge(String),
    /// The kernel refuses a link.
    #[error(transparent)]
    Rtnl(#[from] RtnlError),
    /// The kernel refuses rules.
    #[error(
        "nftables rules of the network driver: Linux 5.10 with CONFIG_NF_TABLES_INET, CONFIG_NFT_NAT, \
         CONFIG_NFT_MASQ and CONFIG_NFT_FIB_INET is needed"
    )]
    Rules(#[from] NfError),
    /// A port is taken.
    #[error("port {port}/{protocol}{} is in use: publish another, or free it", on(*address))]
    PortInUse {
        /// The port.
        port: u16,
        /// Of which protocol.
        protocol: Protocol,
        /// At which address, if at one alone.
        address: Option<IpAddr>,
    },
    /// No port is free.
    #[error("no port is free to publish {0}/{1} at")]
    NoPort(u16, Protocol),
    /// The state cannot be written or read.
    #[error("{what} {}", path.display())]
    File {
        /// What was being done.
        what: &'static str,
        /// To which file.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// The policy does not stand, and will not.
    #[error("{0}")]
    Refused(String),
    /// The engine does not answer.
    #[error("the daemon does not answer within {0} seconds: {1}")]
    Late(u64, String),
    /// A thread ended by itself: a bug.
    #[error("the network driver failed: this is a bug")]
    Bug,
}

/// The address, where there is one.
fn on(address: Option<IpAddr>) -> String {
    address.map_or_else(String::new, |address| format!(" at {address}"))
}
