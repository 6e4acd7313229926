//! What following costs a packet: nanoseconds by the kernel's own measure (`BPF_PROG_TEST_RUN`), over
//! those of an empty program in the same round, of an interface that nobody follows and of one that
//! somebody does.
//!
//! The same frame comes as fast as it can, as in a flood: what is followed is nearly all over the rate of
//! reports, and counted.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use plugin_common::{frames::Mutator, packet::protocol, presets::Presets};

use crate::{
    Extent,
    figures::Sample,
    frames::{ACK, Flow, SYN, endpoint},
    loaded::{Loaded, Outcome, Rights},
    policy::{Allowed, Family},
    report::{Section, Table},
};

/// Entries of the rules.
const ENTRIES: usize = 64;
const FAMILY: Family = Family { v6: false, protocol: protocol::TCP };

/// What the packet meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    DroppedByPreset,
    DroppedByRule,
    PassedByPreset,
    PassedByConnection,
}

impl Kind {
    const ALL: [Self; 4] = [
        Self::DroppedByPreset,
        Self::DroppedByRule,
        Self::PassedByPreset,
        Self::PassedByConnection,
    ];

    fn describe(self) -> &'static str {
        match self {
            Self::DroppedByPreset => "dropped by drop-tcp",
            Self::DroppedByRule => "dropped by 64 rules",
            Self::PassedByPreset => "passes drop-udp",
            Self::PassedByConnection => "passes 64 rules by its connection",
        }
    }

    fn presets(self) -> Presets {
        match self {
            Self::DroppedByPreset => Presets::DROP_TCP,
            Self::PassedByPreset => Presets::DROP_UDP,
            Self::DroppedByRule | Self::PassedByConnection => Presets::PASS,
        }
    }

    fn outcome(self) -> Outcome {
        match self {
            Self::DroppedByPreset | Self::DroppedByRule => Outcome::Dropped,
            Self::PassedByPreset | Self::PassedByConnection => Outcome::Passes,
        }
    }

    fn has_rules(self) -> bool {
        matches!(self, Self::DroppedByRule | Self::PassedByConnection)
    }
}

/// Who wants to know.
const FOLLOWED: [(&str, Presets); 4] = [
    ("nobody", Presets::PASS),
    ("drops", Presets::WATCH_DROPS),
    ("everything", Presets::from_bits(Presets::WATCH_DROPS.bits() | Presets::WATCH_PASSES.bits())),
    ("the log", Presets::LOG),
];

pub(crate) fn measure(extent: Extent) -> Result<Section> {
    let (rounds, repeat) = match extent {
        Extent::Full => (9, 300_000),
        Extent::Quick => (3, 20_000),
    };
    let mut random = Mutator::new(0xbe9d);
    let allowed = Allowed::random(ENTRIES, FAMILY, &mut random);
    let mut loaded = Loaded::new(Rights::Usual)?;
    let number = loaded.write(&allowed.interface_rules(endpoint())?)?;
    let (inside, outside) = (allowed.inside(&mut random)?, allowed.outside(&mut random));
    let mut samples: BTreeMap<(Kind, &str), Sample> = BTreeMap::new();
    for round in 0..rounds {
        crate::progress(&format!("watch: round {} of {rounds}", round + 1));
        for kind in Kind::ALL {
            let (remote, remote_port) = if kind == Kind::DroppedByRule { outside } else { inside };
            let flow = Flow { remote, protocol: FAMILY.protocol, local_port: 10_000, remote_port };
            let rules = if kind.has_rules() { number } else { 0 };
            for (who, watches) in FOLLOWED {
                loaded.hold_with(kind.presets() | watches, rules)?;
                let frame = prepare(&loaded, kind, &flow)?;
                let floor = loaded.run_empty(&frame, repeat)?;
                let spent = loaded.run(true, &frame, repeat, kind.outcome())?;
                samples.entry((kind, who)).or_default().push(spent - floor);
            }
        }
    }
    report(&samples, rounds)
}

/// The frame, once the connection is there that it belongs to.
fn prepare(loaded: &Loaded, kind: Kind, flow: &Flow) -> Result<Vec<u8>> {
    if kind != Kind::PassedByConnection {
        return Ok(flow.frame(true, SYN));
    }
    for (sent, flags) in [(true, SYN), (false, SYN | ACK), (true, ACK)] {
        loaded.run(sent, &flow.frame(sent, flags), 1, Outcome::Passes)?;
    }
    Ok(flow.frame(true, ACK))
}

fn report(samples: &BTreeMap<(Kind, &str), Sample>, rounds: usize) -> Result<Section> {
    let mut section = Section::new("watch", "Following packets");
    section.say(format!(
        "Nanoseconds over an empty program of a packet of TCP over IPv4 that a container sends, in a flood \
         of which nearly nothing is reported and everything is counted: medians of {rounds} rounds, with \
         the bounds of the middle half. Columns are who follows the interface."
    ));
    let names = FOLLOWED.map(|(who, _)| who);
    let head: Vec<&str> = std::iter::once("packet").chain(names).collect();
    let mut table = Table::new("", &head);
    for kind in Kind::ALL {
        let mut row = vec![kind.describe().to_owned()];
        for who in names {
            row.push(samples.get(&(kind, who)).context("it was measured")?.to_string());
        }
        table.row(row);
    }
    section.table(table);
    Ok(section)
}
