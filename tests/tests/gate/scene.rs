//! Bridges with containers on them, without Docker, in the machine that the test runs in.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};
use ebpf_netns::{Ifindex, Rtnl};
use ebpf_netns_plugin::gate::{Gate, Ports};
use ebpf_netns_tests::{
    Machine, command,
    traffic::{Ping, Vantage},
};

/// A port that nobody serves but a test's own servers.
pub(crate) const PORT: u16 = 7777;

/// A bridge of this number; the host has the first address of its networks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bridge(pub(crate) u8);

/// A container on a bridge: which one, and which of its addresses.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Container(pub(crate) Bridge, pub(crate) u8);

pub(crate) struct Scene {
    pub(crate) gate: Gate,
    pub(crate) machine: Machine,
}

impl Bridge {
    pub(crate) fn name(self) -> String {
        format!("br{}", self.0)
    }

    /// The host's address there.
    pub(crate) fn host(self) -> IpAddr {
        self.addresses(1)[0]
    }

    fn addresses(self, last: u8) -> [IpAddr; 2] {
        let v6 = Ipv6Addr::new(0xfd00, 0x98, self.0.into(), 0, 0, 0, 0, last.into());
        [Ipv4Addr::new(10, 98, self.0, last).into(), v6.into()]
    }
}

impl Container {
    pub(crate) fn v4(self) -> IpAddr {
        self.addresses()[0]
    }

    pub(crate) fn addresses(self) -> [IpAddr; 2] {
        self.0.addresses(self.1)
    }

    pub(crate) fn netns(self) -> String {
        format!("c{}-{}", self.0.0, self.1)
    }

    /// The host's end: named unlike Docker names them, which must make no difference.
    pub(crate) fn port(self) -> String {
        format!("port{}-{}", self.0.0, self.1)
    }
}

impl Scene {
    /// Bridges and containers, all connected, and a gate that is not installed.
    pub(crate) fn new(containers: &[Container]) -> Result<Self> {
        let scene = Self { gate: Gate::open()?, machine: Machine::host()? };
        for container in containers {
            add(*container)?;
        }
        Ok(scene)
    }

    pub(crate) fn admit(&self, container: Container) -> Result<()> {
        Ok(self.gate.admit(index(container)?)?)
    }

    pub(crate) fn from(&self, container: Container) -> Vantage<'_> {
        Vantage::netns(&self.machine, format!("/run/netns/{}", container.netns()))
    }

    pub(crate) fn host(&self) -> Vantage<'_> {
        Vantage::host(&self.machine)
    }

    /// Pings between host and container, both ways, over both versions of IP.
    pub(crate) fn pings_with_host(&self, container: Container) -> Result<Vec<Ping>> {
        let mut pings = Vec::new();
        for (host, its) in container.0.addresses(1).into_iter().zip(container.addresses()) {
            forget_neighbours(container)?;
            pings.push(self.from(container).ping(host, 1)?);
            forget_neighbours(container)?;
            pings.push(self.host().ping(its, 1)?);
        }
        Ok(pings)
    }

    /// Pings from one container to another over both versions of IP.
    pub(crate) fn pings(&self, from: Container, to: Container) -> Result<Vec<Ping>> {
        let ping = |address| {
            forget_neighbours(from)?;
            forget_neighbours(to)?;
            self.from(from).ping(address, 1)
        };
        to.addresses().into_iter().map(ping).collect()
    }
}

/// Lets frames to the host's addresses in at whatever interface they come, as most kernels do.
pub(crate) fn take_any_interface(container: Container) -> Result<()> {
    for interface in ["all", &container.port()] {
        fs::write(format!("/proc/sys/net/ipv4/conf/{interface}/rp_filter"), "0")?;
    }
    Ok(())
}

/// So that ARP and neighbour discovery have to pass as well.
fn forget_neighbours(container: Container) -> Result<()> {
    ip(&format!("neighbour flush dev {}", container.0.name()))?;
    ip(&format!("-n {} neighbour flush dev eth0", container.netns()))?;
    Ok(())
}

/// One more container, and its bridge if that is not there; returns its port.
pub(crate) fn add(container: Container) -> Result<Ifindex> {
    let bridge = container.0;
    if ip(&format!("link show {}", bridge.name())).is_err() {
        let name = bridge.name();
        ip(&format!("link add {name} type bridge mcast_snooping 0"))?;
        ip(&format!("link set {name} up"))?;
        let [v4, v6] = bridge.addresses(1);
        ip(&format!("address add {v4}/24 dev {name}"))?;
        ip(&format!("address add {v6}/64 dev {name} nodad"))?;
    }
    let (netns, port) = (container.netns(), container.port());
    ip(&format!("netns add {netns}"))?;
    ip(&format!("link add {port} type veth peer name eth0 netns {netns}"))?;
    // What the host's own IP says at the port itself does not cross the bridge.
    fs::write(format!("/proc/sys/net/ipv6/conf/{port}/disable_ipv6"), "1")?;
    let [v4, v6] = container.addresses();
    ip(&format!("-n {netns} link set eth0 up"))?;
    ip(&format!("-n {netns} address add {v4}/24 dev eth0"))?;
    ip(&format!("-n {netns} address add {v6}/64 dev eth0 nodad"))?;
    ip(&format!("link set {port} master {} up", bridge.name()))?;
    index(container)
}

pub(crate) fn index(container: Container) -> Result<Ifindex> {
    let name = container.port();
    let link = Rtnl::open()?.links()?.into_iter().find(|link| link.name == name);
    Ok(link.with_context(|| format!("there is no {name}"))?.index)
}

/// Frames that came in at a container's own end so far.
pub(crate) fn received(container: Container) -> Result<u64> {
    let mut cat = Command::new("ip");
    cat.args(["netns", "exec", &container.netns(), "cat"]);
    let count = command::stdout_of(cat.arg("/sys/class/net/eth0/statistics/rx_packets"))?;
    count.parse().context("a number of packets")
}

pub(crate) fn ip(line: &str) -> Result<String> {
    command::stdout_of(Command::new("ip").args(line.split(' ')))
}

pub(crate) fn nft(line: &str) -> Result<String> {
    command::stdout_of(Command::new("nft").arg(line))
}

pub(crate) fn echo(address: IpAddr) -> SocketAddr {
    SocketAddr::new(address, PORT)
}

pub(crate) fn none() -> Ports {
    Ports::default()
}

#[track_caller]
pub(crate) fn all_lost(pings: &[Ping], what: &str) -> Result<()> {
    ensure!(pings.iter().all(|ping| ping.is_lost()), "{what}: something was answered: {pings:?}");
    Ok(())
}

#[track_caller]
pub(crate) fn all_answered(pings: &[Ping], what: &str) -> Result<()> {
    ensure!(pings.iter().all(|ping| ping.is_complete()), "{what}: not all answered: {pings:?}");
    Ok(())
}
