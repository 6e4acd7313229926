//! Frames: any bytes, from and to a container that has rules.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::OnceLock;

use anyhow::{Result, ensure};
use ebpf_netns_plugin::datapath::{self, Places as Put, Program};
use ebpf_netns_plugin::rules::{Direction, Expansion, Probe, RuleList, expand, judge};
use plugin_common::abi::{Endpoint, FlowSecret, RuleImage};
use plugin_common::connection::standing;
use plugin_common::frames::memory::{Flows, Places};
use plugin_common::identity::Standing;
use plugin_common::packet::{Bytes, Fragment, Packet, parse, protocol};
use plugin_common::verdict::Reason;

use super::probes::Names;

/// Rules of both directions, of which the first byte of an input chooses.
const RULES: [(&str, &str); 6] = [
    ("deny", "deny"),
    ("allow", "allow"),
    ("allow dns\nallow tcp 443 to internet\ndeny to lan\nallow icmp", "allow tcp 80,443 from lan"),
    ("allow udp\nallow icmp echo-request", "deny log tcp\nallow icmp\nallow 47"),
    ("deny to 10.0.0.0/8,fd00::/8\nallow", "allow from 10.0.0.1-10.0.0.9,::/1"),
    ("allow sctp; allow tcp 1-1023; allow to container:db", "allow dns; deny udp; allow any"),
];
const SECRET: FlowSecret = FlowSecret([7; 24]);
const BUCKETS: u32 = 16;
/// The time, in the units of connections.
const NOW: u32 = 1000;
/// Of one input.
const MOST_FRAMES: usize = 8;

struct Policy {
    egress: Expansion,
    ingress: Expansion,
    image: RuleImage,
    tables: Places,
}

/// Frames, one after the other: each is judged as the reference judges it, and after others as
/// itself or as a part of what they began.
///
/// The first byte is the number of the rules; before each frame stand a byte of which the lowest bit
/// says who sent it, and its length in two.
///
/// # Errors
///
/// What does not hold.
pub fn frames(data: &[u8]) -> Result<()> {
    let Some((number, mut rest)) = data.split_first() else { return Ok(()) };
    let all = policies()?;
    let Some(policy) = all.get(usize::from(*number) % all.len()) else { return Ok(()) };
    let flows = Flows::new(SECRET, usize::try_from(BUCKETS)?);
    let mut opened = false;
    for _ in 0..MOST_FRAMES {
        let Some(([flags, high, low], after)) = rest.split_first_chunk() else { break };
        let length = usize::from(u16::from_be_bytes([*high, *low])).min(after.len());
        let (frame, next) = after.split_at(length);
        let from_container = flags & 1 == 1;
        let mut image = policy.image;
        image.endpoint.checked = u16::from(flags & 2 == 2);
        let expected = expected(policy, &image, frame, from_container);

        let first = Flows::new(SECRET, usize::try_from(BUCKETS)?);
        for again in [false, true] {
            let said = first.judge((&image, &policy.tables), frame, from_container, NOW).reason;
            ensure!(
                said == expected || (said == Reason::Malformed && !passes_anyway(frame)),
                "{said:?}, expected {expected:?}, again: {again}, from the container: \
                 {from_container}: {frame:x?}"
            );
        }
        let said = flows.judge((&image, &policy.tables), frame, from_container, NOW).reason;
        ensure!(
            said == expected || opened || said == Reason::Malformed,
            "{said:?} after frames that opened nothing, by itself {expected:?}: {frame:x?}"
        );
        opened |= said.passes();
        rest = next;
    }
    Ok(())
}

/// What becomes of a frame of which nothing is known, by its fields and the reference.
fn expected(policy: &Policy, image: &RuleImage, frame: &[u8], from_container: bool) -> Reason {
    let packet = parse(&Bytes(frame));
    if let Some(unreadable) = packet.unreadable {
        return unreadable.into();
    }
    match standing(&Bytes(frame), &packet, image, from_container) {
        Standing::Refused(reason) => return reason,
        Standing::Needed => return Reason::Passed,
        Standing::Ordinary => {}
    }
    if packet.fragment == Fragment::Later {
        return Reason::LoneFragment;
    }
    let expansion = if from_container { &policy.egress } else { &policy.ingress };
    let probe = probe(&packet, from_container);
    let layers: Vec<_> = expansion.layers.iter().map(Vec::as_slice).collect();
    let verdict = judge(&layers, &probe);
    match verdict.deciding.first() {
        _ if verdict.allowed => Reason::Passed,
        Some(Some(_)) => Reason::Denied,
        _ => Reason::NoRule,
    }
}

/// What rules see of a packet.
fn probe(packet: &Packet, from_container: bool) -> Probe {
    let remote = if from_container { packet.destination } else { packet.source };
    let remote = if packet.ip_version == 4 {
        let [a, b, c, d, ..] = remote;
        IpAddr::from([a, b, c, d])
    } else {
        IpAddr::V6(Ipv6Addr::from(remote))
    };
    let number = match packet.protocol {
        protocol::TCP | protocol::UDP | protocol::SCTP => packet.destination_port,
        protocol::ICMP | protocol::ICMPV6 => packet.source_port,
        _ => 0,
    };
    Probe { remote, protocol: packet.protocol, number }
}

/// Whether a frame is long enough for what tells its connection.
fn passes_anyway(frame: &[u8]) -> bool {
    let packet = parse(&Bytes(frame));
    let icmp = matches!(packet.protocol, protocol::ICMP | protocol::ICMPV6);
    !icmp && packet.fragment == Fragment::Whole
}

fn policies() -> Result<&'static [Policy]> {
    static POLICIES: OnceLock<Vec<Policy>> = OnceLock::new();
    let known = POLICIES.get_or_init(|| RULES.iter().filter_map(policy).collect());
    ensure!(known.len() == RULES.len(), "all rules are read");
    Ok(known)
}

fn policy((egress, ingress): &(&str, &str)) -> Option<Policy> {
    let read = |direction, text: &str| {
        let rules = RuleList::parse(direction, text).ok()?;
        Some(expand(direction, [&rules], &Names))
    };
    let (egress, ingress) = (read(Direction::Egress, egress)?, read(Direction::Ingress, ingress)?);
    let compiled = |expansion: &Expansion| {
        let layers = expansion.layers.iter().map(|rules| datapath::Layer { rules, audit: false });
        datapath::compile(&layers.collect::<Vec<_>>()).ok()
    };
    let program = Program { egress: compiled(&egress)?, ingress: compiled(&ingress)? };
    let placed = program.place(Put::default());
    let mut endpoint = Endpoint { mac: [2, 0, 0, 0, 0, 1], ..Endpoint::default() };
    *endpoint.v4.first_mut()? = u32::from_ne_bytes([10, 0, 0, 5]);
    *endpoint.v6.first_mut()? = "fd00::5".parse::<Ipv6Addr>().ok()?.octets();
    let image = RuleImage {
        egress: placed.egress,
        ingress: placed.ingress,
        endpoint,
        flows: 0,
        flows_mask: BUCKETS - 1,
        ..RuleImage::default()
    };
    let tables = Places { blocks: placed.blocks, leaves: placed.leaves };
    Some(Policy { egress, ingress, image, tables })
}
