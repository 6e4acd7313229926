//! The network driver: `docker network create -d ebpf-netns`, by CNM's protocol of remote drivers; and
//! the IPAM driver for networks of Docker's own bridge driver, `--ipam-driver ebpf-netns`.
//!
//! In CNM's words, a *network* is a bridge here, an *endpoint* is a veth pair of which one end is a
//! port of that bridge, and a *sandbox* is the network namespace of a container. Docker asks
//! (`server`), `driver` makes and removes; the engine closes each endpoint before it is plugged in,
//! and says at Join whether the policies of its container, its network and its own stand.
//!
//! Nothing here asks Docker anything: it waits for our answer with locks held. Whose an endpoint is
//! comes from the Docker source, by way of the engine.

mod driver;
mod error;
mod forward;
mod ids;
mod ipam;
mod links;
mod nat;
mod network;
mod options;
mod pool;
mod ports;
mod protocol;
mod rule;
mod server;
mod socket;
mod store;

use std::io;
use std::path::{Path, PathBuf};

pub use self::error::CnmError;
pub use self::ids::{InvalidId, bridge_of, is_bridge, is_driver};
pub use self::network::Protocol;
pub use self::server::{Driver, found, serve};
pub use self::socket::{Plugin, bind};
use crate::nftables::Socket;
use ebpf_netns::Rtnl;

/// The name of the driver, which Docker takes from the name of the socket.
pub const NAME: &str = "ebpf-netns";

/// What the socket has to be called, so that this is the driver's name.
const SOCKET_NAME: &str = "ebpf-netns.sock";

/// Where Docker looks for the socket.
pub const DEFAULT_SOCKET: &str = "/run/docker/plugins/ebpf-netns.sock";

/// Where it is written down which networks there are: Docker does not tell again.
pub const NETWORKS: &str = "/var/lib/ebpf-netns/networks";

/// Where it is written down which endpoints there are; they do not outlive the machine.
pub const ENDPOINTS: &str = "/run/ebpf-netns/endpoints";

/// Where it is written down who has which address on networks with the IPAM driver.
pub const POOLS: &str = "/var/lib/ebpf-netns/pools";

/// Read to see whether a port is free, beside `/proc/net`, and written to have IPv6 forwarded.
pub const FORWARDING_V6: &str = "/proc/sys/net/ipv6/conf/all/forwarding";

/// Takes away all that drivers made: bridges with what is plugged in, rules, and what is on record.
/// What was removed, in words.
///
/// # Errors
///
/// When the system refuses.
pub fn clean() -> Result<Vec<String>, CnmError> {
    let rtnl = Rtnl::open()?;
    let mut removed = Vec::new();
    for link in rtnl.links()? {
        if is_bridge(&link.name) || ids::is_host_side(&link.name) {
            rtnl.remove_link(link.index)?;
            removed.push(format!("interface {}", link.name));
        }
    }
    // A kernel without nftables has none of it.
    if let Ok(socket) = Socket::open() {
        if nat::remove(&socket)? {
            removed.push(format!("nftables table inet {}", nat::TABLE));
        }
        if forward::remove(&socket)? {
            removed.push("rules in iptables' chain FORWARD".to_owned());
        }
    }
    for directory in [NETWORKS, ENDPOINTS, POOLS] {
        if store::clean(Path::new(directory))? {
            removed.push(directory.to_owned());
        }
    }
    Ok(removed)
}

/// Reads where the socket is to be.
///
/// # Errors
///
/// When Docker would call the driver something else by it.
pub fn socket(path: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(path);
    match path.file_name() {
        Some(name) if *name == *SOCKET_NAME => Ok(path),
        _ => Err(format!("expected a path that ends in /{SOCKET_NAME}")),
    }
}

/// Whether a missing file is what an error is about.
fn is_missing(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
}
