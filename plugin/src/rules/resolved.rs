//! Rules with addresses in place of names and numbers in place of words: what the datapath
//! compiles, and what the reference interpreter judges by. Pure.

use super::address::AddressRange;
use super::model::{Action, Name};

/// One rule of one layer, in terms of what is in a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResolvedRule {
    /// What becomes of what it matches.
    pub action: Action,
    /// Whether a connection that it decides is reported.
    pub log: bool,
    /// What it matches besides the address: any of these.
    pub traffic: Vec<Service>,
    /// Whom it is with: any of these addresses, sorted and apart from each other. `None` is anyone;
    /// an empty list is no one, of a name that stands for nothing right now.
    pub remote: Option<Vec<AddressRange>>,
    /// The rule that was written.
    pub source: RuleId,
}

/// What is matched besides the address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Service {
    /// The protocol's number; `None` is every protocol.
    pub protocol: Option<u8>,
    /// The lowest destination port, or type of an ICMP message; 0 with `last` [`u16::MAX`] is every
    /// packet, also one that has no such number.
    pub first: u16,
    /// The highest.
    pub last: u16,
    /// The version of IP; `None` is both.
    pub version: Option<IpVersion>,
}

/// A version of IP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum IpVersion {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// Which of the rules of one direction it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RuleId {
    /// Which list; 0 is the first.
    pub layer: usize,
    /// Which rule of the list; 0 is the first.
    pub rule: usize,
}

/// What has to be asked for, because it differs between containers and in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Wanted<'a> {
    /// The host's addresses on the container's networks.
    Host,
    /// Where the container's DNS queries go.
    Resolvers,
    /// The addresses of a container.
    Container(&'a Name),
    /// The addresses of the containers of a service.
    Service(&'a Name),
    /// The subnets of a network.
    Network(&'a Name),
}

/// What something stands for right now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Addresses {
    /// Its addresses, in any order.
    pub ranges: Vec<AddressRange>,
    /// Whether it is not there, or not all of its addresses are known yet.
    pub waiting: bool,
}

/// Who knows what names stand for, as one container sees them.
pub trait Resolver {
    /// What something stands for right now.
    fn resolve(&self, wanted: Wanted<'_>) -> Addresses;
}
