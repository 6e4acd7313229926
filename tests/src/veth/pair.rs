//! One veth pair with addresses, for traffic through a program.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::{Context as _, Result};

use super::{Side, batch};
use crate::{machine::Machine, traffic::Vantage};

/// A veth pair; the container's end lies in a namespace of its own. Both ends have addresses of
/// IPv4 and IPv6 and are up.
#[derive(Debug)]
pub struct VethPair<'a> {
    machine: &'a Machine,
    number: u8,
}

impl<'a> VethPair<'a> {
    /// Makes the pair of this number; different numbers do not meet.
    ///
    /// # Errors
    ///
    /// When there is one of this number already.
    pub fn new(machine: &'a Machine, number: u8) -> Result<Self> {
        let pair = Self { machine, number };
        let netns = pair.netns_name();
        let (host, container) = (pair.name(Side::Host), pair.name(Side::Container));
        machine.run("ip", ["netns", "add", &netns])?;
        let address = |side, name: &str| {
            let [v4, v6] = pair.addresses(side);
            format!("address add {v4}/24 dev {name}\naddress add {v6}/64 dev {name} nodad\n")
        };
        let here = format!("link add {host} type veth peer name {container} netns {netns}\n")
            + &address(Side::Host, &host)
            + &format!("link set {host} up\n");
        let there = String::from("link set lo up\n")
            + &address(Side::Container, &container)
            + &format!("link set {container} up\n");
        batch(machine, &[], &here)?;
        batch(machine, &["-netns", &netns], &there)?;
        Ok(pair)
    }

    /// The name of an end.
    #[must_use]
    pub fn name(&self, side: Side) -> String {
        match side {
            Side::Host => format!("pair{}", self.number),
            Side::Container => "eth0".to_owned(),
        }
    }

    /// The addresses of an end, of IPv4 and of IPv6.
    #[must_use]
    pub fn addresses(&self, side: Side) -> [IpAddr; 2] {
        let last = match side {
            Side::Host => 1,
            Side::Container => 2,
        };
        let v4 = Ipv4Addr::new(10, 99, self.number, last);
        let v6 = Ipv6Addr::new(0xfd00, 0x99, self.number.into(), 0, 0, 0, 0, last.into());
        [v4.into(), v6.into()]
    }

    /// The interface index of an end, in its own namespace.
    ///
    /// # Errors
    ///
    /// When it is gone.
    pub fn ifindex(&self, side: Side) -> Result<u32> {
        let output = crate::command::stdout_of(self.from(side).command("ip").args([
            "-oneline",
            "link",
            "show",
            &self.name(side),
        ]))?;
        let (number, _) = output.split_once(':').context("ip link prints INDEX: NAME")?;
        number.parse().with_context(|| format!("an interface index in {output:?}"))
    }

    /// The path of the container's namespace in the machine.
    #[must_use]
    pub fn netns(&self) -> String {
        format!("/run/netns/{}", self.netns_name())
    }

    /// Traffic from an end.
    #[must_use]
    pub fn from(&self, side: Side) -> Vantage<'a> {
        match side {
            Side::Host => Vantage::host(self.machine),
            Side::Container => Vantage::netns(self.machine, self.netns()),
        }
    }

    fn netns_name(&self) -> String {
        format!("pair{}", self.number)
    }
}
