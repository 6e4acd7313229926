//! Making links, plugging them together and giving them addresses: what a network driver does.
//!
//! Each of these changes our own namespace alone, and can be asked for again: what is there already
//! is said to be there, and what is gone already is as good as removed.

use std::net::IpAddr;

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::{
    AddressFamily, RouteNetlinkMessage,
    address::{AddressAttribute, AddressFlags, AddressMessage},
    link::{
        AfSpecInet, AfSpecUnspec, InetDevConf, InfoBridgePort, InfoData, InfoKind, InfoPortData,
        InfoPortKind, InfoVeth, LinkAttribute, LinkExtentMask, LinkFlags, LinkInfo, LinkMessage,
    },
};
use rustix::io::Errno;

use super::{Operation, Rtnl, RtnlError, checked_link};
use crate::{Ifindex, Link, MacAddress};

/// A bridge that is to be.
#[derive(Clone, Copy, Debug)]
pub struct NewBridge<'a> {
    /// Its name: 15 bytes at most.
    pub name: &'a str,
    /// Its address; without one, it would change with its ports.
    pub mac: MacAddress,
    /// Its MTU, or the kernel's choice.
    pub mtu: Option<u32>,
}

/// A pair of veths that is to be, both of them in our own namespace and down.
#[derive(Clone, Copy, Debug)]
pub struct NewVeth<'a> {
    /// The name of the end that stays.
    pub name: &'a str,
    /// The name of the other end.
    pub peer: &'a str,
    /// The address of the other end.
    pub peer_mac: MacAddress,
    /// The MTU of both, or the kernel's choice.
    pub mtu: Option<u32>,
}

impl Rtnl {
    /// The link of our own namespace that has this name.
    ///
    /// # Errors
    ///
    /// When the kernel refuses.
    pub fn link_named(&self, name: &str) -> Result<Option<Link>, RtnlError> {
        let operation = Operation::LinkNamed;
        let mut message = LinkMessage::default();
        message.attributes.push(LinkAttribute::IfName(name.to_owned()));
        message.attributes.push(LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats]));
        match self.socket.borrow().get(operation, &RouteNetlinkMessage::GetLink(message)) {
            Err(error) if error.errno() == Some(Errno::NODEV) => Ok(None),
            reply => checked_link(operation, &reply?, None).map(Some),
        }
    }

    /// Makes a bridge, which is down; false if there is a link of this name.
    ///
    /// # Errors
    ///
    /// When the kernel refuses.
    pub fn add_bridge(&self, bridge: &NewBridge<'_>) -> Result<bool, RtnlError> {
        let NewBridge { name, mac, mtu } = *bridge;
        let mut message = named(name, Some(mac), mtu);
        message.attributes.push(LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Bridge)]));
        self.add_link(message)
    }

    /// Makes a pair of veths; false if there is a link of either name.
    ///
    /// # Errors
    ///
    /// When the kernel refuses.
    pub fn add_veth(&self, pair: &NewVeth<'_>) -> Result<bool, RtnlError> {
        let NewVeth { name, peer, peer_mac, mtu } = *pair;
        let peer = InfoData::Veth(InfoVeth::Peer(named(peer, Some(peer_mac), mtu)));
        let mut message = named(name, None, mtu);
        let info = vec![LinkInfo::Kind(InfoKind::Veth), LinkInfo::Data(peer)];
        message.attributes.push(LinkAttribute::LinkInfo(info));
        self.add_link(message)
    }

    /// Makes a link a port of a bridge.
    ///
    /// # Errors
    ///
    /// When the kernel refuses.
    pub fn set_master(&self, index: Ifindex, bridge: Ifindex) -> Result<(), RtnlError> {
        let mut message = of(index);
        message.attributes.push(LinkAttribute::Controller(bridge.get()));
        self.set_link(Operation::Plug(index), message)
    }

    /// Brings a link up.
    ///
    /// # Errors
    ///
    /// When the kernel refuses.
    pub fn set_up(&self, index: Ifindex) -> Result<(), RtnlError> {
        let mut message = of(index);
        message.header.flags = LinkFlags::Up;
        message.header.change_mask = LinkFlags::Up;
        self.set_link(Operation::BringUp(index), message)
    }

    /// Has the kernel take packets for `127.0.0.0/8` by a link (`route_localnet`): those that answer
    /// what came from there. Whoever does that has to drop the others.
    ///
    /// # Errors
    ///
    /// When the kernel refuses.
    pub fn route_localnet(&self, index: Ifindex) -> Result<(), RtnlError> {
        let mut settings = InetDevConf::default();
        settings.route_localnet = 1;
        let settings = AfSpecUnspec::Inet(vec![AfSpecInet::DevConfRequest(settings)]);
        let mut message = of(index);
        message.attributes.push(LinkAttribute::AfSpecUnspec(vec![settings]));
        self.set_link(Operation::RouteLocalnet(index), message)
    }

    /// Lets a port of a bridge have back what it sends: where netfilter sees bridged packets
    /// (`br_netfilter`), one that is translated to its sender's address does not leave the bridge.
    ///
    /// # Errors
    ///
    /// When the kernel refuses.
    pub fn set_hairpin(&self, port: Ifindex) -> Result<(), RtnlError> {
        let settings = InfoPortData::BridgePort(vec![InfoBridgePort::HairpinMode(true)]);
        let info = vec![LinkInfo::PortKind(InfoPortKind::Bridge), LinkInfo::PortData(settings)];
        let mut message = of(port);
        message.attributes.push(LinkAttribute::LinkInfo(info));
        // Setting a link leaves this out; making one that is there does not.
        let request = RouteNetlinkMessage::NewLink(message);
        self.socket.borrow().change(Operation::SetHairpin(port), &request)
    }

    /// Gives a link an address, which is usable at once; false if it has it already.
    ///
    /// # Errors
    ///
    /// When the kernel refuses.
    pub fn add_address(
        &self,
        index: Ifindex,
        address: IpAddr,
        prefix: u8,
    ) -> Result<bool, RtnlError> {
        let mut message = AddressMessage::default();
        message.header.family =
            if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
        message.header.prefix_len = prefix;
        message.header.index = index.get();
        message.attributes = vec![
            AddressAttribute::Local(address),
            AddressAttribute::Address(address),
            // Nobody else can have the address of a bridge that was just made.
            AddressAttribute::Flags(AddressFlags::Nodad),
        ];
        let request = RouteNetlinkMessage::NewAddress(message);
        let flags = NLM_F_CREATE | NLM_F_EXCL;
        match self.socket.borrow().change_with(Operation::AddAddress(index), &request, flags) {
            Err(error) if error.errno() == Some(Errno::EXIST) => Ok(false),
            result => result.map(|()| true),
        }
    }

    /// Removes a link; false if there is none of this index.
    ///
    /// # Errors
    ///
    /// When the kernel refuses.
    pub fn remove_link(&self, index: Ifindex) -> Result<bool, RtnlError> {
        let request = RouteNetlinkMessage::DelLink(of(index));
        match self.socket.borrow().change(Operation::RemoveLink(index), &request) {
            Err(error) if error.errno() == Some(Errno::NODEV) => Ok(false),
            result => result.map(|()| true),
        }
    }

    fn add_link(&self, message: LinkMessage) -> Result<bool, RtnlError> {
        let request = RouteNetlinkMessage::NewLink(message);
        let flags = NLM_F_CREATE | NLM_F_EXCL;
        match self.socket.borrow().change_with(Operation::AddLink, &request, flags) {
            Err(error) if error.errno() == Some(Errno::EXIST) => Ok(false),
            result => result.map(|()| true),
        }
    }

    fn set_link(&self, operation: Operation, message: LinkMessage) -> Result<(), RtnlError> {
        self.socket.borrow().change(operation, &RouteNetlinkMessage::SetLink(message))
    }
}

fn of(index: Ifindex) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.header.index = index.get();
    message
}

fn named(name: &str, mac: Option<MacAddress>, mtu: Option<u32>) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.attributes.push(LinkAttribute::IfName(name.to_owned()));
    message.attributes.extend(mac.map(|mac| LinkAttribute::Address(mac.0.to_vec())));
    message.attributes.extend(mtu.map(LinkAttribute::Mtu));
    message
}
