//! A container behind a bridge, a host that routes, and an outside: in namespaces of a machine of
//! its own, for traffic that never leaves it.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr},
    process::Command,
};

use anyhow::{Context as _, Result, anyhow, ensure};
use ebpf_netns::{Ifindex, Link, Rtnl};
use ebpf_netns_plugin::{
    kernel::{InterfaceRules, Kernel, attached},
    plan::{Attachment, GUARD, Hook, Step},
};
use ebpf_netns_tests::{DEADLINE, command, wait_until};
use nix::net::if_::if_nametoindex;
use plugin_common::{
    abi::{Endpoint, InterfacePolicy},
    presets::Presets,
};

/// The container's namespace, and who is outside.
pub(crate) const CONTAINER: &str = "container";
pub(crate) const OUTSIDE: &str = "outside";
/// Who is outside, and somebody who is not there: what is sent to it is dropped on arrival.
pub(crate) const SOMEBODY: Ipv4Addr = Ipv4Addr::new(10, 98, 0, 2);
pub(crate) const NOBODY: Ipv4Addr = Ipv4Addr::new(10, 98, 0, 99);
/// Their network.
pub(crate) const NETWORK: (IpAddr, u8) = (IpAddr::V4(Ipv4Addr::new(10, 98, 0, 0)), 24);
const OWN: Ipv4Addr = Ipv4Addr::new(10, 97, 0, 2);
const MAC: [u8; 6] = [2, 0, 0, 0, 0, 0x0a];
/// The host's end of the container's veth pair.
const PORT: &str = "port";

const LINES: [&str; 21] = [
    "link add br0 type bridge mcast_snooping 0",
    "address add 10.97.0.1/24 dev br0",
    "link set br0 up",
    "netns add container",
    "netns add outside",
    "link add port type veth peer name eth0 netns container",
    "link set port master br0 up",
    "-n container link set lo up",
    "-n container link set eth0 address 02:00:00:00:00:0a up",
    "-n container address add 10.97.0.2/24 dev eth0",
    "-n container route add default via 10.97.0.1",
    "link add wan type veth peer name eth0 netns outside",
    "link set wan up",
    "address add 10.98.0.1/24 dev wan",
    "-n outside link set lo up",
    "-n outside link set eth0 address 02:00:00:00:00:0b up",
    "-n outside address add 10.98.0.2/24 dev eth0",
    "-n outside route add default via 10.98.0.1",
    // Nobody has to be asked for.
    "neighbour add 10.98.0.99 lladdr 02:00:00:00:00:0b nud permanent dev wan",
    "neighbour add 10.98.0.2 lladdr 02:00:00:00:00:0b nud permanent dev wan",
    "neighbour add 10.97.0.2 lladdr 02:00:00:00:00:0a nud permanent dev br0",
];

/// Makes it, in the machine that this process is in.
pub(crate) fn build() -> Result<()> {
    for line in LINES {
        command::stdout_of(Command::new("ip").args(line.split(' ')))?;
    }
    fs::write("/proc/sys/net/ipv4/ip_forward", "1").context("let the host route")
}

/// This program again, in a namespace.
pub(crate) fn command_in(netns: &str) -> Result<Command> {
    let mut command = Command::new("ip");
    command.args(["netns", "exec", netns]).arg(std::env::current_exe()?);
    Ok(command)
}

/// Frames that have come outside so far.
pub(crate) fn arrived() -> Result<u64> {
    let arguments = ["-n", OUTSIDE, "-stats", "-json", "link", "show", "dev", "eth0"];
    let text = command::stdout_of(Command::new("ip").args(arguments))?;
    let links: serde_json::Value = serde_json::from_str(&text)?;
    links.pointer("/0/stats64/rx/packets").and_then(serde_json::Value::as_u64).context("packets")
}

/// The host's end.
pub(crate) fn port() -> Result<Link> {
    let index = Ifindex::try_from(if_nametoindex(PORT)?)?;
    Rtnl::open()?.link(index)?.context("the container's port is gone")
}

/// What the container has been given.
pub(crate) fn endpoint() -> Endpoint {
    let mut endpoint = Endpoint { mac: MAC, checked: 1, ..Endpoint::default() };
    let [first, ..] = &mut endpoint.v4;
    *first = u32::from_ne_bytes(OWN.octets());
    endpoint
}

/// Puts a policy of rules on the container's port, both directions by TCX; returns their number.
pub(crate) fn enforce(kernel: &mut Kernel, rules: &InterfaceRules) -> Result<u32> {
    let port = port()?;
    let ifindex = port.index;
    let number = kernel.write_rules(ifindex, rules).map_err(|refusal| anyhow!("{refusal}"))?;
    let presets = Presets::PASS;
    let policy = InterfacePolicy { xdp: presets, egress: presets, ingress: presets, rules: number };
    let mut steps = vec![Step::SetPolicy { ifindex, policy }];
    steps.extend(ways().map(|(hook, attachment)| Step::Attach { ifindex, hook, attachment }));
    carry_out(kernel, steps, &port)?;
    Ok(number)
}

/// Sets presets beside the rules of that number.
pub(crate) fn hold(kernel: &mut Kernel, rules: u32, presets: Presets) -> Result<()> {
    let port = port()?;
    let policy = InterfacePolicy { xdp: presets, egress: presets, ingress: presets, rules };
    carry_out(kernel, vec![Step::SetPolicy { ifindex: port.index, policy }], &port)
}

/// Puts a preset on it, by generic XDP.
pub(crate) fn enforce_xdp(kernel: &mut Kernel, presets: Presets) -> Result<()> {
    let port = port()?;
    let ifindex = port.index;
    let policy = InterfacePolicy { xdp: presets, ..InterfacePolicy::default() };
    let (hook, attachment) = (Hook::Xdp, Attachment::XdpGeneric);
    let steps =
        [Step::SetPolicy { ifindex, policy }, Step::Attach { ifindex, hook, attachment }].into();
    carry_out(kernel, steps, &port)
}

/// Closes it as a new interface is closed, and lets it go.
pub(crate) fn let_go(kernel: &mut Kernel) -> Result<()> {
    let port = port()?;
    let ifindex = port.index;
    let off = GUARD.map(|(hook, attachment)| Step::Detach { ifindex, hook, attachment });
    let steps = [Step::Guard { ifindex }].into_iter().chain(off);
    carry_out(kernel, steps.chain([Step::Forget { ifindex }]).collect(), &port)
}

/// Removes what stays of that.
pub(crate) fn forget_qdisc() -> Result<()> {
    let removed = Rtnl::open()?.remove_unused_clsact(port()?.index)?;
    ensure!(removed, "there was no qdisc to remove");
    Ok(())
}

/// Takes everything off.
pub(crate) fn release(kernel: &mut Kernel) -> Result<()> {
    let port = port()?;
    let ifindex = port.index;
    let all = ways().chain([(Hook::Xdp, Attachment::XdpGeneric)]);
    let steps = all.map(|(hook, attachment)| Step::Detach { ifindex, hook, attachment });
    carry_out(kernel, steps.chain([Step::Forget { ifindex }]).collect(), &port)?;
    // The kernel gives up a link that was pinned a moment later.
    wait_until(DEADLINE, "programs to be detached", || {
        self::port().is_ok_and(|port| attached(&port).is_empty())
    })
}

fn ways() -> impl Iterator<Item = (Hook, Attachment)> {
    [Hook::Egress, Hook::Ingress].into_iter().map(|hook| (hook, Attachment::Tcx))
}

fn carry_out(kernel: &mut Kernel, steps: Vec<Step>, port: &Link) -> Result<()> {
    steps
        .into_iter()
        .try_for_each(|step| kernel.apply(step, port).map_err(|refusal| anyhow!("{refusal}")))
}
