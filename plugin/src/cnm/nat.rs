//! The driver's nftables table: published ports, masquerading, and what keeps networks apart.
//!
//! The table is one of the family `inet`, and all of it follows from which networks and endpoints
//! there are. It is written anew as a whole, in one transaction that replaces the rules: no packet is
//! judged by half of them. Connections that are translated are the kernel's, and go on.

use std::collections::BTreeSet;
use std::iter;
use std::net::{IpAddr, Ipv4Addr};

use netlink_packet_core::{NLM_F_APPEND, NLM_F_CREATE};
use netlink_packet_netfilter::{
    NetfilterProtoFamily as Family,
    nftables::{
        ChainAttribute, ChainMessage, Hook, HookNumber, NfTablesMessage, RuleAttribute,
        RuleMessage, TableAttribute, TableMessage,
    },
};
use nix::errno::Errno;

use super::ids::BRIDGE;
use super::network::{Endpoint, Network, Prefix, Published};
use super::rule::{self, End, Rule, Which};
use crate::nftables::{Command, NfError, Socket};

/// The table's name.
pub(super) const TABLE: &str = "ebpf-netns-network";

const FAMILY: Family = Family::Inet;
/// The addresses of the host that nobody else has.
const LOOPBACK: Prefix = Prefix { address: IpAddr::V4(Ipv4Addr::LOCALHOST), length: 8 };

/// A chain, and where it hooks in.
struct Chain {
    name: &'static str,
    /// Type, hook and priority.
    base: Option<(&'static str, u32, i32)>,
}

/// Hooks of `inet`.
const PREROUTING: u32 = 0;
const FORWARD: u32 = 2;
const OUTPUT: u32 = 3;
const POSTROUTING: u32 = 4;

/// Which ports of the host lead to which endpoints.
const PUBLISHED: &str = "published";

const CHAINS: [Chain; 6] = [
    Chain { name: PUBLISHED, base: None },
    Chain { name: "guard", base: Some(("filter", PREROUTING, -300)) },
    Chain { name: "forward", base: Some(("filter", FORWARD, 0)) },
    Chain { name: "prerouting", base: Some(("nat", PREROUTING, -100)) },
    Chain { name: "output", base: Some(("nat", OUTPUT, -100)) },
    Chain { name: "postrouting", base: Some(("nat", POSTROUTING, 100)) },
];

/// All that rules follow from.
pub(super) struct Rules<'a> {
    pub networks: Vec<&'a Network>,
    pub endpoints: Vec<&'a Endpoint>,
    /// Bridges of Docker's own networks.
    pub foreign: &'a BTreeSet<String>,
}

/// Makes the table what it should be.
///
/// # Errors
///
/// When the kernel refuses; nothing is changed then.
pub(super) fn write(socket: &Socket, rules: &Rules<'_>) -> Result<(), NfError> {
    socket.change(None, commands(rules))
}

/// Removes the table; whether there was one.
///
/// # Errors
///
/// When the kernel refuses.
pub(super) fn remove(socket: &Socket) -> Result<bool, NfError> {
    let table = TableMessage { attributes: vec![TableAttribute::Name(TABLE.to_owned())] };
    match socket.change(None, vec![command(0, NfTablesMessage::DeleteTable(table))]) {
        Err(error) if error.is(Errno::ENOENT) => Ok(false),
        result => result.map(|()| true),
    }
}

fn commands(rules: &Rules<'_>) -> Vec<Command> {
    let table = TableMessage { attributes: vec![TableAttribute::Name(TABLE.to_owned())] };
    let mut commands = vec![command(NLM_F_CREATE, NfTablesMessage::NewTable(table))];
    commands.extend(CHAINS.iter().map(make_chain));
    // A rule may lead to a chain that stands further up.
    commands.extend(CHAINS.iter().map(|chain| command(0, flush(chain.name))));
    for chain in &CHAINS {
        let rules = match chain.name {
            PUBLISHED => published(rules),
            "guard" => guard(),
            "forward" => forward(rules),
            "postrouting" => postrouting(rules),
            _ => vec![[rule::to_the_host(), rule::jump(PUBLISHED)].concat()],
        };
        commands.extend(rules.into_iter().map(|rule| make_rule(chain.name, rule)));
    }
    commands
}

/// What a container sends to `127.0.0.0/8` is not for the host: only what answers a connection that
/// was translated may have such an address, and gets it later.
fn guard() -> Vec<Rule> {
    let from_network = rule::interfaces(End::In, BRIDGE);
    vec![[from_network, rule::address(Which::Destination, LOOPBACK), rule::drop()].concat()]
}

/// Which packets go from one interface to another. What this accepts, other tables may still drop.
fn forward(rules: &Rules<'_>) -> Vec<Rule> {
    let mut all = Vec::new();
    for network in &rules.networks {
        let bridge = network.id.bridge();
        let (from, to) =
            (rule::interface(End::In, &bridge, true), rule::interface(End::Out, &bridge, true));
        // Where bridged packets are seen here too (br_netfilter), or are routed back.
        all.push([from.clone(), to.clone(), rule::accept()].concat());
        if network.internal {
            all.push([from, rule::drop()].concat());
            all.push([to, rule::drop()].concat());
        }
    }
    let (from, to) = (rule::interfaces(End::In, BRIDGE), rule::interfaces(End::Out, BRIDGE));
    all.push([to.clone(), rule::answers(), rule::accept()].concat());
    all.push([to.clone(), rule::published(), rule::accept()].concat());
    all.push([to, rule::drop()].concat());
    for bridge in rules.foreign {
        let docker = rule::interface(End::Out, bridge, true);
        let answers = [from.clone(), docker.clone(), rule::answers(), rule::accept()];
        let published = [from.clone(), docker.clone(), rule::published(), rule::accept()];
        all.push(answers.concat());
        all.push(published.concat());
        all.push([from.clone(), docker, rule::drop()].concat());
    }
    all
}

fn postrouting(rules: &Rules<'_>) -> Vec<Rule> {
    let mut all = Vec::new();
    for network in rules.networks.iter().filter(|network| !network.internal) {
        let bridge = network.id.bridge();
        for pool in &network.pools {
            let from = rule::address(Which::Source, pool.subnet);
            let elsewhere = rule::interface(End::Out, &bridge, false);
            let back = rule::interface(End::Out, &bridge, true);
            if network.options.masquerade {
                all.push([from.clone(), elsewhere, rule::masquerade()].concat());
            }
            // A container that comes to one of its own network by a published port is to be answered
            // by way of the host.
            all.push([back, from, rule::published(), rule::masquerade()].concat());
        }
    }
    // Who comes from 127.0.0.1 could not be answered.
    let to_network = rule::interfaces(End::Out, BRIDGE);
    all.push([to_network, rule::address(Which::Source, LOOPBACK), rule::masquerade()].concat());
    all
}

fn published(rules: &Rules<'_>) -> Vec<Rule> {
    let each = rules
        .endpoints
        .iter()
        .flat_map(|endpoint| endpoint.published.iter().flat_map(|port| publish(endpoint, port)));
    each.collect()
}

/// One rule for each version of IP that both the port and the endpoint have.
fn publish(endpoint: &Endpoint, port: &Published) -> Vec<Rule> {
    let mut all = Vec::new();
    for to in &endpoint.addresses {
        let at = match port.address {
            Some(address) if address.is_ipv4() != to.is_ipv4() => continue,
            Some(address) if !address.is_unspecified() => {
                let length = if address.is_ipv4() { 32 } else { 128 };
                rule::address(Which::Destination, Prefix { address, length })
            }
            _ => rule::version(*to),
        };
        let matches = rule::port(port.protocol, port.host_port);
        all.push([at, matches, rule::translate(*to, port.port)].concat());
    }
    all
}

fn command(flags: u16, message: NfTablesMessage) -> Command {
    Command { family: FAMILY, flags, message }
}

fn make_chain(chain: &Chain) -> Command {
    let mut attributes =
        vec![ChainAttribute::Table(TABLE.to_owned()), ChainAttribute::Name(chain.name.to_owned())];
    if let Some((kind, hook, priority)) = chain.base {
        let hook =
            vec![Hook::Number(HookNumber::Other(hook)), Hook::Priority(priority.cast_unsigned())];
        attributes.extend([ChainAttribute::Hook(hook), ChainAttribute::Type(kind.to_owned())]);
    }
    command(NLM_F_CREATE, NfTablesMessage::NewChain(ChainMessage { attributes }))
}

fn of_chain(chain: &str) -> Vec<RuleAttribute> {
    vec![RuleAttribute::Table(TABLE.to_owned()), RuleAttribute::Chain(chain.to_owned())]
}

fn flush(chain: &str) -> NfTablesMessage {
    NfTablesMessage::DeleteRule(RuleMessage { attributes: of_chain(chain) })
}

fn make_rule(chain: &str, rule: Rule) -> Command {
    let expressions = rule.into_iter().map(Into::into).collect();
    let expressions = iter::once(RuleAttribute::Expressions(expressions));
    let attributes = of_chain(chain).into_iter().chain(expressions).collect();
    let message = NfTablesMessage::NewRule(RuleMessage { attributes });
    command(NLM_F_CREATE | NLM_F_APPEND, message)
}
