//! Throughput of one TCP connection through a policy, both directions.

use anyhow::Result;
use plugin_common::{frames::Mutator, packet::protocol, presets::Presets};

use crate::{
    Extent,
    figures::Sample,
    loaded::{self, Rights},
    policy::{Allowed, Family},
    report::{Section, Table},
    round::{Pair, Round, Rounds},
    topology, traffic,
};

/// Entries of the rules.
const ENTRIES: usize = 64;
/// Where the connection goes: beside the other networks.
const PORT: u16 = 5201;

#[derive(Clone, Copy, Debug)]
enum Policy {
    Rules,
    Xdp,
}

impl Policy {
    fn name(self) -> &'static str {
        match self {
            Self::Rules => "tc.* rules, 64 entries a direction",
            Self::Xdp => "xdp.policy=drop-udp, generic",
        }
    }
}

pub(crate) fn measure(extent: Extent) -> Result<Section> {
    let rounds = match extent {
        Extent::Full => 5,
        Extent::Quick => 1,
    };
    let found = Rounds::run("bulk", extent, rounds)?;
    let mut section = Section::new("bulk", "Bulk");
    section.say(format!(
        "One TCP connection between a container and outside, each end on a processor of its own, {} s: \
         Gbit/s, and as a part of those right before without any policy. {rounds} pairs each.",
        seconds(extent),
    ));
    let head = ["policy and direction", "without, Gbit/s", "with, Gbit/s", "ratio", "target"];
    let mut table = Table::new("", &head);
    for (what, pairs) in &found.of {
        let giga = |sample: &Sample| sample.map(|bits| bits / 1e9).show(1);
        let target = if what.starts_with("tc") { "0.97" } else { "" };
        let (without, with) = (giga(&pairs.without), giga(&pairs.with));
        table.row([what.clone(), without, with, pairs.ratio.show(3), target.to_owned()]);
    }
    section.table(table);
    Ok(section)
}

fn seconds(extent: Extent) -> &'static str {
    match extent {
        Extent::Full => "5",
        Extent::Quick => "1",
    }
}

/// One round, inside.
pub(crate) fn round(extent: Extent) -> Result<Round> {
    topology::build()?;
    let (mut kernel, _events) = loaded::load(Rights::Usual)?;
    let mut round = Round::default();
    let family = Family { v6: false, protocol: protocol::TCP };
    let (network, prefix) = topology::NETWORK;
    let rules = Allowed::random(ENTRIES - 1, family, &mut Mutator::new(0xb01c))
        .with_last((network, prefix, PORT), false)
        .interface_rules(topology::endpoint())?;
    for policy in [Policy::Rules, Policy::Xdp] {
        for upwards in [true, false] {
            let without = traffic::bulk(upwards, seconds(extent))?;
            match policy {
                Policy::Rules => topology::enforce(&mut kernel, &rules).map(drop)?,
                Policy::Xdp => topology::enforce_xdp(&mut kernel, Presets::DROP_UDP)?,
            }
            let with = traffic::bulk(upwards, seconds(extent))?;
            topology::release(&mut kernel)?;
            let direction = if upwards { "container to outside" } else { "outside to container" };
            round.pairs.push(Pair {
                what: format!("{}, {direction}", policy.name()),
                without,
                with,
            });
        }
    }
    Ok(round)
}
