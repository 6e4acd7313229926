//! The programs where they work: on the host's side of a veth pair that is a port of a bridge.
//!
//! What gets through is seen behind another port of the bridge. All of it lies in the namespace of
//! a machine of the test's own.

use std::{fs, ops::RangeInclusive, process::Command};

use anyhow::{Result, ensure};
use aya::programs::xdp::XdpMode;
use ebpf_netns_tests::{DEADLINE, command, isolated, privilege};
use plugin_common::{
    frames::{Sample, build::ethernet, corpus},
    packet::{Bytes, ethertype, parse},
    presets::Presets,
    verdict::verdict,
};

use crate::{
    kernel::{Hook, Kernel},
    wire::{Ring, Wire},
};

/// The container's side, its host side, and what is behind the other port of the bridge.
const CONTAINER: &str = "container";
const HOST: &str = "host";
const OTHER: &str = "other";

const SETUP: &str = "\
link add bridge0 type bridge
link add host type veth peer name container
link add port type veth peer name other
link set host master bridge0
link set port master bridge0
link set bridge0 up
link set host up
link set container up
link set port up
link set other up
";

/// What arrives when nobody drops it: a bridge forwards no Ethernet header alone, and a veth takes
/// no more than its MTU.
const LENGTHS: RangeInclusive<usize> = 15..=1514;

#[test]
fn tc_reads_packets_of_which_the_linear_part_is_the_ethernet_header() -> Result<()> {
    check("tc_reads_packets_of_which_the_linear_part_is_the_ethernet_header", None)
}

#[test]
fn generic_xdp_reads_packets_of_which_the_linear_part_is_the_ethernet_header() -> Result<()> {
    check(
        "generic_xdp_reads_packets_of_which_the_linear_part_is_the_ethernet_header",
        Some(XdpMode::Skb),
    )
}

#[test]
fn native_xdp_reads_packets_of_which_the_linear_part_is_the_ethernet_header() -> Result<()> {
    check(
        "native_xdp_reads_packets_of_which_the_linear_part_is_the_ethernet_header",
        Some(XdpMode::Driver),
    )
}

/// Sends every sample through the program at XDP in this mode, or at TC.
fn check(name: &str, xdp: Option<XdpMode>) -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    isolated(&format!("live::{name}"), || {
        let ifindex = set_up()?;
        let mut kernel = Kernel::load()?;
        let hook = if let Some(mode) = xdp {
            kernel.attach_xdp(HOST, mode)?;
            Hook::Xdp
        } else {
            kernel.attach_egress(HOST)?;
            Hook::Egress
        };
        let samples = corpus();
        let samples = samples.iter().filter(|sample| LENGTHS.contains(&sample.bytes.len()));
        let samples: Vec<_> = samples.collect();
        let everything = Presets::DROP_TCP | Presets::DROP_UDP | Presets::DROP_ICMP;
        for presets in [Presets::DROP_TCP, everything] {
            kernel.set_policy(ifindex, hook, presets)?;
            check_samples(presets, &samples)?;
        }
        Ok(())
    })
}

/// Each sample arrives if the host says that it passes, and does not if not.
fn check_samples(presets: Presets, samples: &[&Sample]) -> Result<()> {
    let mut ring = Ring::open(CONTAINER)?;
    let (sender, receiver) = (Wire::open(CONTAINER)?, Wire::open(OTHER)?);
    let mut count = 0;
    for (number, sample) in samples.iter().enumerate() {
        ring.send(&sample.bytes)?;
        // What has the same way and passes whatever the preset: when it is there, the sample is
        // there before it, or not at all.
        let mark = ethernet(ethertype::ARP, &number.to_be_bytes());
        sender.send(&mark)?;
        let mut arrived = false;
        loop {
            let frame = receiver.receive(DEADLINE)?;
            if frame == mark {
                break;
            }
            arrived |= frame == as_captured(&sample.bytes);
        }
        let reason = verdict(presets, &parse(&Bytes(&sample.bytes)));
        ensure!(
            arrived == reason.passes(),
            "under {presets:?} the host says {reason:?} of {}, and it {}: {:02x?}",
            sample.name,
            if arrived { "arrives" } else { "does not arrive" },
            sample.bytes
        );
        count += usize::from(arrived);
    }
    ensure!(count > 100, "only {count} pass {presets:?}: the test shows little");
    Ok(())
}

/// A frame as a packet socket shows it: the kernel keeps the outer VLAN tag beside it.
fn as_captured(frame: &[u8]) -> Vec<u8> {
    const TYPES: [u16; 2] = [ethertype::VLAN, ethertype::SERVICE_VLAN];
    let (addresses, rest) = frame.split_at(12);
    match rest {
        [high, low, _, _, inner @ ..] if TYPES.contains(&u16::from_be_bytes([*high, *low])) => {
            [addresses, inner].concat()
        }
        _ => frame.to_vec(),
    }
}

/// Makes the bridge and the pairs, and returns the index of the host's side.
fn set_up() -> Result<u32> {
    // Nothing but the test's frames: no neighbour discovery of the kernel's own, and no filter of
    // the bridge's that looks into IP.
    fs::write("/proc/sys/net/ipv6/conf/all/disable_ipv6", "1")?;
    fs::write("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1")?;
    let filter = "/proc/sys/net/bridge/bridge-nf-call-iptables";
    for filter in [filter, &filter.replace("iptables", "ip6tables")] {
        if fs::exists(filter)? {
            fs::write(filter, "0")?;
        }
    }
    for line in SETUP.lines() {
        command::stdout_of(Command::new("ip").args(line.split(' ')))?;
    }
    Ok(fs::read_to_string(format!("/sys/class/net/{HOST}/ifindex"))?.trim().parse()?)
}
