//! `ebpf-netns peer`: gathers what is known of each interface and of its host-side end.

mod text;

use std::{collections::BTreeMap, net::IpAddr};

use crate::{
    Ifindex, Link, MacAddress, Nsid, Rtnl,
    docker::ContainerNetwork,
    veth::{self, Interface},
};
use anyhow::{Context as _, Result};
use serde::Serialize;

use super::{
    args::PeerArgs,
    attached::{self, Attachment},
    output::{Format, print, print_json},
    subject::Subject,
};

#[derive(Serialize)]
struct Report {
    container: Option<Named>,
    pid: Option<i32>,
    namespace: String,
    nsid: Nsid,
    interfaces: Vec<Row>,
    /// Why programs attached as TCX are not shown; `None` if they are.
    tcx_unknown: Option<String>,
}

#[derive(Serialize)]
struct Named {
    id: String,
    name: String,
}

#[derive(Serialize)]
struct Row {
    name: String,
    ifindex: Ifindex,
    kind: String,
    mac: Option<MacAddress>,
    addresses: Vec<String>,
    /// The Docker network; `None` if Docker does not know of the interface.
    network: Option<String>,
    host: Option<HostSide>,
    /// Why there is no host side.
    reason: Option<String>,
}

#[derive(Serialize)]
struct HostSide {
    name: String,
    ifindex: Ifindex,
    mtu: u32,
    up: bool,
    /// The bridge or other device that it is a port of.
    master: Option<String>,
    attached: Vec<Attachment>,
}

type Addresses = BTreeMap<Ifindex, Vec<(IpAddr, u8)>>;

pub(crate) fn run(args: &PeerArgs) -> Result<()> {
    let subject = Subject::open(&args.subject)?;
    let report = report(&subject)
        .with_context(|| format!("look at the interfaces of {}", subject.describe()))?;
    match args.output.format {
        Format::Json => print_json(&report),
        Format::Table if report.interfaces.is_empty() => print(&format!(
            "{} has no interfaces but loopback, so there is no host side\n",
            subject.describe()
        )),
        Format::Table => print(&report.to_string()),
    }
}

fn report(subject: &Subject) -> Result<Report> {
    let rtnl = Rtnl::open()?;
    let nsid = rtnl.nsid(&subject.namespace)?;
    let interfaces = veth::interfaces(&rtnl, &subject.namespace)?;
    let mut addresses = Addresses::new();
    for (index, address, prefix) in rtnl.addresses_in(nsid)? {
        addresses.entry(index).or_default().push((address, prefix));
    }
    let hosts: Vec<_> = interfaces.iter().filter_map(host_index).collect();
    let by_plugin = if hosts.is_empty() { Ok(Vec::new()) } else { attached::by_plugin(&hosts) };
    let (by_plugin, tcx_unknown) = match by_plugin {
        Ok(attached) => (attached, None),
        Err(reason) => (Vec::new(), Some(reason)),
    };
    let (container, networks) = (subject.container.as_ref(), subject.networks());
    let rows = interfaces.iter().map(|interface| {
        let link = interface.container();
        let addresses = addresses.get(&link.index).map(Vec::as_slice).unwrap_or_default();
        Ok(Row {
            name: link.name.clone(),
            ifindex: link.index,
            kind: link.kind.to_string(),
            mac: link.mac,
            addresses: addresses.iter().map(|(ip, prefix)| format!("{ip}/{prefix}")).collect(),
            network: network(&networks, link, addresses),
            host: host_side(&rtnl, interface, &by_plugin)?,
            reason: match interface {
                Interface::Veth(_) => None,
                Interface::NoHostSide { reason, .. } => Some(reason.to_string()),
            },
        })
    });
    Ok(Report {
        interfaces: rows.collect::<Result<_>>()?,
        container: container.map(|c| Named { id: c.id.clone(), name: c.name.clone() }),
        pid: subject.process.as_ref().map(|process| process.pid().get()),
        namespace: subject.namespace.identity().to_string(),
        nsid,
        tcx_unknown,
    })
}

fn host_index(interface: &Interface) -> Option<Ifindex> {
    match interface {
        Interface::Veth(pair) => Some(pair.host.index),
        Interface::NoHostSide { .. } => None,
    }
}

fn host_side(
    rtnl: &Rtnl,
    interface: &Interface,
    by_plugin: &[Attachment],
) -> Result<Option<HostSide>> {
    let Interface::Veth(pair) = interface else {
        return Ok(None);
    };
    let host = &pair.host;
    let by_plugin: Vec<_> = by_plugin.iter().filter(|a| a.ifindex == host.index).cloned().collect();
    let master = host.master.map(|index| rtnl.link(index)).transpose()?.flatten();
    Ok(Some(HostSide {
        name: host.name.clone(),
        ifindex: host.index,
        mtu: host.mtu,
        up: host.up,
        master: master.map(|master| master.name),
        attached: attached::merge(attached::by_rtnetlink(rtnl, host)?, &by_plugin),
    }))
}

/// The Docker network of an interface: the one where the container has its Ethernet address, else
/// the one where it has one of its addresses.
fn network(
    networks: &[ContainerNetwork],
    link: &Link,
    addresses: &[(IpAddr, u8)],
) -> Option<String> {
    let by_mac = networks.iter().find(|network| network.mac.is_some() && network.mac == link.mac);
    let by_address = || {
        networks.iter().find(|network| {
            addresses.iter().any(|(address, _)| network.addresses.contains(address))
        })
    };
    by_mac.or_else(by_address).map(|network| network.name.clone())
}

#[cfg(test)]
mod tests {
    use crate::LinkKind;

    use super::*;

    #[test]
    fn a_network_is_found_by_mac_and_else_by_address() {
        let mac = |last| MacAddress([2, 0, 0, 0, 0, last]);
        let on = |name: &str, mac: Option<MacAddress>, ip: &str| ContainerNetwork {
            name: name.to_owned(),
            network_id: None,
            mac,
            addresses: vec![ip.parse().unwrap()],
        };
        let networks = [on("a", Some(mac(1)), "10.0.0.1"), on("b", None, "10.0.0.2")];
        let link = |mac| Link {
            index: 2.try_into().unwrap(),
            name: "eth0".to_owned(),
            kind: LinkKind::Veth,
            mac,
            peer_index: None,
            peer_nsid: None,
            master: None,
            mtu: 1500,
            up: true,
            carrier: true,
            xdp: None,
        };
        let cases = [
            (Some(mac(1)), "10.0.0.9", Some("a")),
            (Some(mac(9)), "10.0.0.2", Some("b")),
            (None, "10.0.0.9", None),
        ];
        for (mac, ip, expected) in cases {
            let found = network(&networks, &link(mac), &[(ip.parse().unwrap(), 24)]);
            assert_eq!(found.as_deref(), expected, "{mac:?} {ip}");
        }
    }
}
