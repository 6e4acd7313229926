//! The links of networks and endpoints: bridges and veths. What is there already is taken as it is.

use ebpf_netns::rtnl::{NewBridge, NewVeth};
use ebpf_netns::{Ifindex, LinkKind, Rtnl};

use super::error::CnmError;
use super::network::{Endpoint, Network};

/// Makes the bridge of a network, with the host's own addresses there.
pub(super) fn make_bridge(rtnl: &Rtnl, network: &Network) -> Result<Ifindex, CnmError> {
    let name = network.id.bridge();
    rtnl.add_bridge(&NewBridge { name: &name, mac: network.mac(), mtu: network.options.mtu })?;
    let link = rtnl.link_named(&name)?;
    let link = link.filter(|link| link.kind == LinkKind::Bridge);
    let index = link.ok_or(CnmError::NotABridge(name))?.index;
    for gateway in network.gateways() {
        rtnl.add_address(index, gateway.address, gateway.length)?;
    }
    rtnl.route_localnet(index)?;
    rtnl.set_up(index)?;
    Ok(index)
}

/// The bridge of a network, if it is there.
pub(super) fn bridge(rtnl: &Rtnl, network: &Network) -> Result<Option<Ifindex>, CnmError> {
    Ok(rtnl.link_named(&network.id.bridge())?.map(|link| link.index))
}

/// Makes an endpoint's pair of veths, both of which are down and in no bridge.
pub(super) fn make_veth(
    rtnl: &Rtnl,
    endpoint: &Endpoint,
    network: &Network,
) -> Result<Ifindex, CnmError> {
    let (name, peer) = (endpoint.id.host_side(), endpoint.id.container_side());
    // What is left of a call that nobody finished.
    remove(rtnl, &name)?;
    let mtu = network.options.mtu;
    let made = rtnl.add_veth(&NewVeth { name: &name, peer: &peer, peer_mac: endpoint.mac, mtu })?;
    let link = rtnl.link_named(&name)?.filter(|_| made);
    Ok(link.ok_or(CnmError::NotABridge(peer))?.index)
}

/// The host's end of an endpoint, if it is there.
pub(super) fn host_side(rtnl: &Rtnl, endpoint: &Endpoint) -> Result<Option<Ifindex>, CnmError> {
    Ok(rtnl.link_named(&endpoint.id.host_side())?.map(|link| link.index))
}

/// Plugs an endpoint in, and brings it up: the last step.
pub(super) fn plug(rtnl: &Rtnl, host: Ifindex, bridge: Ifindex) -> Result<(), CnmError> {
    rtnl.set_master(host, bridge)?;
    Ok(rtnl.set_up(host)?)
}

/// Lets what an endpoint sends go back to it: to itself, by a port of the host that leads there.
pub(super) fn send_back(rtnl: &Rtnl, host: Ifindex) -> Result<(), CnmError> {
    Ok(rtnl.set_hairpin(host)?)
}

/// Removes a link, with its other end if it has one.
pub(super) fn remove(rtnl: &Rtnl, name: &str) -> Result<(), CnmError> {
    if let Some(link) = rtnl.link_named(name)? {
        rtnl.remove_link(link.index)?;
    }
    Ok(())
}
