//! What is beyond the host: a network namespace behind a cable to the machine, with servers at
//! addresses of the Internet's kind, a metadata service, and a name server that the host uses.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use anyhow::{Result, ensure};

use crate::{
    binaries::{self, Binary},
    machine::Machine,
    process::Process,
    traffic::{EchoServer, Vantage},
    wait::{DEADLINE, wait_for},
};

/// The host on the cable.
pub const HOST: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(198, 51, 100, 1)),
    IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 1)),
];
/// Who is on the other end of it.
pub const CLIENT: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(198, 51, 100, 2)),
    IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 2)),
];
/// A server far away.
pub const SERVER: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(203, 0, 113, 80)),
    IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0xfeed, 0, 0, 0, 0, 0x80)),
];
/// A server at addresses that `internet` means, which those of the one above are not: they are for
/// documentation. Here it is as far away as everybody else is.
pub const PUBLIC: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(1, 1, 1, 1)),
    IpAddr::V6(Ipv6Addr::new(0x2606, 0x4700, 0x4700, 0, 0, 0, 0, 0x1111)),
];
/// Where clouds tell machines their secrets.
pub const METADATA: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
];
/// A server of a private network that the host routes to.
pub const PRIVATE: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(10, 99, 0, 80)),
    IpAddr::V6(Ipv6Addr::new(0xfd99, 0, 0, 0, 0, 0, 0, 0x80)),
];
/// The name server of the host.
pub const RESOLVER: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 53);
/// One that nobody told the host of.
pub const OTHER_RESOLVER: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 54);

/// The ports of echo servers there.
pub const PORTS: [u16; 2] = [80, 443];

const CABLE: &str = "\
ip netns add outside
ip link add up0 type veth peer name down0 netns outside
ip address add 198.51.100.1/24 dev up0
ip address add 2001:db8:1::1/64 dev up0 nodad
ip link set up0 up
ip -n outside address add 198.51.100.2/24 dev down0
ip -n outside address add 2001:db8:1::2/64 dev down0 nodad
ip -n outside link set lo up
ip -n outside link set down0 up
ip route add default via 198.51.100.2
ip -6 route add default via 2001:db8:1::2
ip -n outside route add default via 198.51.100.1
ip -n outside -6 route add default via 2001:db8:1::1
";

/// The cable and who is at its other end; it goes with the machine.
#[derive(Debug)]
pub struct Outside<'a> {
    at: Vantage<'a>,
    servers: Vec<EchoServer>,
    _names: Vec<Process>,
}

impl<'a> Outside<'a> {
    /// Puts the cable in, before a daemon or container looks for name servers.
    ///
    /// # Errors
    ///
    /// When a program of iproute2 or the probe fails.
    pub fn new(machine: &'a Machine) -> Result<Self> {
        for line in CABLE.lines() {
            machine.run("sh", ["-c", line])?;
        }
        for address in [SERVER, PUBLIC, METADATA, PRIVATE].iter().flatten() {
            machine.run(
                "ip",
                ["-n", "outside", "address", "add", &address.to_string(), "dev", "lo"],
            )?;
        }
        for address in [RESOLVER, OTHER_RESOLVER] {
            machine.run(
                "ip",
                ["-n", "outside", "address", "add", &address.to_string(), "dev", "lo"],
            )?;
        }
        let resolv_conf = machine.directory().join("resolv.conf");
        fs::write(&resolv_conf, format!("nameserver {RESOLVER}\n"))?;
        machine.run("mount", ["--bind", &resolv_conf.display().to_string(), "/etc/resolv.conf"])?;
        let at = Vantage::netns(machine, "/run/netns/outside");
        let servers = PORTS.map(|port| at.echo_server(port)).into_iter().collect::<Result<_>>()?;
        let names = [RESOLVER, OTHER_RESOLVER].map(|own| name_server(machine, &at, own));
        let names = names.into_iter().collect::<Result<_>>()?;
        Ok(Self { at, servers, _names: names })
    }

    /// How many connections and datagrams reached a server there. Datagrams that are sent to an address
    /// of many are not answered by that, so it is counted what came.
    ///
    /// # Errors
    ///
    /// When a server's log cannot be read.
    pub fn received(&self) -> Result<usize> {
        self.servers.iter().map(EchoServer::received).sum()
    }

    /// Traffic from there.
    #[must_use]
    pub fn vantage(&self) -> &Vantage<'a> {
        &self.at
    }
}

/// A name server at one of the addresses; it has the server's for every name.
fn name_server(machine: &Machine, at: &Vantage<'_>, own: Ipv4Addr) -> Result<Process> {
    let mut probe = at.command(&binaries::path(Binary::Probe)?.display().to_string());
    let [v4, v6] = SERVER.map(|address| address.to_string());
    probe.args(["names", &own.to_string(), &v4, &v6]);
    let (process, log) = machine.spawn(&mut probe, &format!("names-{own}.log"))?;
    wait_for(DEADLINE, "the name server", || {
        ensure!(fs::read_to_string(&log)?.contains("listening"), "not yet");
        Ok(())
    })?;
    Ok(process)
}
