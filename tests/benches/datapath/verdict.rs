//! What one packet costs: nanoseconds by the kernel's own measure (`BPF_PROG_TEST_RUN`), over those
//! of an empty program in the same round.
//!
//! The kernel runs a program on the same frame again and again. So a first packet has to be one each
//! time: a TCP segment with SYN and RST ends its connection by itself, and the next one with the same
//! ports is a beginning again. Of UDP there is no such packet, and of what is not in a cache there is
//! nothing to be seen in that way: the cold figures are of many connections, one run each.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use plugin_common::{frames::Mutator, packet::protocol};

use crate::{
    Extent,
    figures::Sample,
    frames::{ACK, Flow, RST, SYN, endpoint},
    loaded::{Loaded, Outcome, Rights},
    plot::{Plot, Series},
    policy::{Allowed, Family},
    report::{Section, Table},
};

/// Entries of the rules of a direction; 0 is presets that let everything pass, and no rules.
const ENTRIES: [usize; 6] = [0, 1, 10, 64, 100, 1000];
/// Addresses that a measurement of spread ones has, so many that all cases have room in one table of
/// connections, and by how much it is shorter.
const SPREAD: u32 = 16;
const SHORTER: u32 = 4;
/// Nanoseconds that a measurement takes at most: what costs much is run less often.
const BUDGET: f64 = 30e6;
/// Runs that go before, and tell how much it costs.
const PILOT: u32 = 1000;
/// Connections of a cold measurement.
const COLD: usize = 1000;
/// Own ports of the connections: some for each kind, so that no one's are another's.
const LOCAL_PORT: u16 = 20_000;

/// What the packet is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Established,
    EstablishedSpread,
    First,
    FirstSpread,
    FirstCold,
    Denied,
    DeniedSpread,
}

impl Kind {
    const ALL: [Self; 7] = [
        Self::Established,
        Self::EstablishedSpread,
        Self::First,
        Self::FirstSpread,
        Self::FirstCold,
        Self::Denied,
        Self::DeniedSpread,
    ];

    fn describe(self) -> &'static str {
        match self {
            Self::Established => "Of a connection that was allowed: one address",
            Self::EstablishedSpread => "Of a connection that was allowed: 16 addresses at random",
            Self::First => "First of a connection: one address",
            Self::FirstSpread => "First of a connection: 16 addresses at random",
            Self::FirstCold => {
                "First of a connection, cold: a new connection each time, one run a system call"
            }
            Self::Denied => "Denied: one address",
            Self::DeniedSpread => "Denied: 16 addresses at random",
        }
    }

    /// Whether it can be measured of this.
    fn is_of(self, case: Case) -> bool {
        match self {
            Self::Established | Self::EstablishedSpread | Self::FirstCold => true,
            Self::First | Self::FirstSpread => case.family.is_tcp(),
            Self::Denied | Self::DeniedSpread => case.entries > 0,
        }
    }
}

/// What is being measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Case {
    family: Family,
    egress: bool,
    entries: usize,
}

/// Rules, and their number in the kernel.
struct Written {
    allowed: Allowed,
    number: u32,
}

struct Bench {
    loaded: Loaded,
    written: BTreeMap<(Family, usize), Written>,
    random: Mutator,
    repeat: u32,
    samples: BTreeMap<(Kind, Case), Sample>,
    floor: Sample,
    /// So that a cold connection is a new one.
    next_port: u16,
}

pub(crate) fn measure(extent: Extent, rights: Rights) -> Result<Section> {
    let (rounds, repeat) = match extent {
        Extent::Full => (9, 300_000),
        Extent::Quick => (3, 20_000),
    };
    let mut bench = Bench::new(repeat, rights)?;
    for round in 0..rounds {
        crate::progress(&format!("verdict: round {} of {rounds}", round + 1));
        for (family, egress) in sides() {
            for entries in ENTRIES {
                bench.case(Case { family, egress, entries })?;
            }
        }
    }
    bench.report(rounds)
}

impl Bench {
    fn new(repeat: u32, rights: Rights) -> Result<Self> {
        let mut loaded = Loaded::new(rights)?;
        let mut random = Mutator::new(0xbe9c);
        let mut written = BTreeMap::new();
        for family in families() {
            for entries in ENTRIES {
                // Of none, there still are addresses to send to.
                let allowed = Allowed::random(entries.max(1), family, &mut random);
                let number = match entries {
                    0 => 0,
                    _ => loaded.write(&allowed.interface_rules(endpoint())?)?,
                };
                written.insert((family, entries), Written { allowed, number });
            }
        }
        let (samples, floor) = (BTreeMap::new(), Sample::default());
        Ok(Self { loaded, written, random, repeat, samples, floor, next_port: LOCAL_PORT })
    }

    fn case(&mut self, case: Case) -> Result<()> {
        let number = self.rules(case)?.number;
        self.loaded.hold(number)?;
        for kind in Kind::ALL.into_iter().filter(|kind| kind.is_of(case)) {
            let over = match kind {
                Kind::FirstCold => self.cold(case)?,
                Kind::Established | Kind::First | Kind::Denied => self.hot(kind, case, 1)?,
                Kind::EstablishedSpread | Kind::FirstSpread | Kind::DeniedSpread => {
                    self.hot(kind, case, SPREAD)?
                }
            };
            self.samples.entry((kind, case)).or_default().push(over);
        }
        Ok(())
    }

    /// So many addresses, and for each the same frame again and again.
    fn hot(&mut self, kind: Kind, case: Case, addresses: u32) -> Result<f64> {
        let mut repeat = None;
        // The same addresses in each round: open connections take room.
        self.random = Mutator::new(1 + u64::from(addresses));
        let (mut spent, mut floor) = (0.0, 0.0);
        for _ in 0..addresses {
            let denied = matches!(kind, Kind::Denied | Kind::DeniedSpread);
            let port = self.port(kind);
            let flow = self.flow(case, denied, port)?;
            let (frame, outcome) = match kind {
                Kind::Established | Kind::EstablishedSpread => {
                    self.open(case, &flow)?;
                    (flow.frame(case.egress, ACK), Outcome::Passes)
                }
                Kind::Denied | Kind::DeniedSpread => {
                    (flow.frame(case.egress, SYN), Outcome::Dropped)
                }
                _ => (flow.frame(case.egress, SYN | RST), Outcome::Passes),
            };
            let repeat = match repeat {
                Some(repeat) => repeat,
                None => *repeat.insert(self.repeat(case, &frame, outcome, addresses)?),
            };
            floor += self.loaded.run_empty(&frame, repeat)?;
            spent += self.loaded.run(case.egress, &frame, repeat, outcome)?;
        }
        self.floor.push(floor / f64::from(addresses));
        Ok((spent - floor) / f64::from(addresses))
    }

    /// How often each address has its turn.
    fn repeat(&self, case: Case, frame: &[u8], outcome: Outcome, addresses: u32) -> Result<u32> {
        let pilot = self.loaded.run(case.egress, frame, PILOT, outcome)?;
        let (most, budget) = match addresses {
            1 => (self.repeat, BUDGET),
            _ => (self.repeat / SHORTER, BUDGET / f64::from(SHORTER)),
        };
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a positive number, and it is bounded"
        )]
        let affordable = (budget / pilot.max(1.0)) as u32;
        Ok(affordable.min(most).div_ceil(addresses))
    }

    /// Many connections, once each: the median.
    fn cold(&mut self, case: Case) -> Result<f64> {
        let (mut with, mut without) = (Sample::default(), Sample::default());
        for _ in 0..COLD {
            let port = self.port(Kind::FirstCold);
            let flow = self.flow(case, false, port)?;
            let frame = flow.frame(case.egress, SYN);
            without.push(self.loaded.run_empty(&frame, 1)?);
            with.push(self.loaded.run(case.egress, &frame, 1, Outcome::Passes)?);
        }
        Ok(with.median() - without.median())
    }

    /// A port of the side that begins.
    fn port(&mut self, kind: Kind) -> u16 {
        if kind == Kind::FirstCold {
            self.next_port = self.next_port.checked_add(1).unwrap_or(LOCAL_PORT);
            return self.next_port;
        }
        10_000 + kind as u16
    }

    fn flow(&mut self, case: Case, denied: bool, port: u16) -> Result<Flow> {
        let Written { allowed, .. } =
            self.written.get(&(case.family, case.entries)).context("no such rules")?;
        let random = &mut self.random;
        let (remote, service) =
            if denied { allowed.outside(random) } else { allowed.inside(random)? };
        let (local_port, remote_port) = if case.egress { (port, service) } else { (service, port) };
        Ok(Flow { remote, protocol: case.family.protocol, local_port, remote_port })
    }

    /// What goes before: both sides have spoken.
    fn open(&self, case: Case, flow: &Flow) -> Result<()> {
        let began = case.egress;
        for (side, flags) in [(began, SYN), (!began, SYN | ACK), (began, ACK)] {
            self.loaded.run(side, &flow.frame(side, flags), 1, Outcome::Passes)?;
        }
        Ok(())
    }

    fn rules(&self, case: Case) -> Result<&Written> {
        self.written.get(&(case.family, case.entries)).context("no such rules")
    }

    fn report(&self, rounds: usize) -> Result<Section> {
        let mut section = Section::new("verdict", "One packet");
        section.say(format!(
            "Nanoseconds over an empty program, which takes {}: medians of {rounds} rounds of up to \
             {} packets ({} of random addresses), with the bounds of the middle half of the rounds. {}. Columns are entries of \
             the rules of a direction: networks with a port; 0 is presets that let everything pass, \
             and no rules.",
            self.floor,
            self.repeat,
            self.repeat / SHORTER,
            self.loaded.sizes()?,
        ));
        section.table(self.targets());
        section.plot(self.plot());
        for kind in Kind::ALL {
            section.table(self.kind(kind));
        }
        Ok(section)
    }

    /// What was asked for, and what it is at its worst.
    fn targets(&self) -> Table {
        let head = ["what", "target", "IPv4", "IPv6"];
        let mut table = Table::new("The worst of both directions and protocols, in ns:", &head);
        let worst = |kind: Kind, v6: bool, entries: &[usize]| {
            let of = self.samples.iter().filter(|((found, case), _)| {
                *found == kind && case.family.v6 == v6 && entries.contains(&case.entries)
            });
            of.map(|(_, sample)| sample.median()).fold(f64::NAN, f64::max)
        };
        for (what, target, kind, entries) in [
            (
                "established, 1 to 1,000 entries",
                "25",
                Kind::Established,
                [1, 10, 64, 100, 1000].as_slice(),
            ),
            (
                "established, random addresses",
                "25",
                Kind::EstablishedSpread,
                &[1, 10, 64, 100, 1000],
            ),
            ("first, 64 entries", "80", Kind::First, &[64]),
            ("first, 64 entries, random addresses", "80", Kind::FirstSpread, &[64]),
        ] {
            let [v4, v6] = [false, true].map(|v6| format!("{:.0}", worst(kind, v6, entries)));
            table.row([what, target, &v4, &v6]);
        }
        for (what, kind) in [
            ("first, 1,000 entries to 64", Kind::First),
            ("first, 1,000 entries to 64, random addresses", Kind::FirstSpread),
        ] {
            let [v4, v6] = [false, true]
                .map(|v6| format!("{:.2} x", worst(kind, v6, &[1000]) / worst(kind, v6, &[64])));
            table.row([what, "2 x", &v4, &v6]);
        }
        table
    }

    fn plot(&self) -> Plot {
        let mut series = Vec::new();
        for (name, kind) in [
            ("established", Kind::EstablishedSpread),
            ("first", Kind::FirstSpread),
            ("denied", Kind::DeniedSpread),
        ] {
            for v6 in [false, true] {
                let family = Family { v6, protocol: protocol::TCP };
                let samples = ENTRIES.map(|entries| {
                    self.samples.get(&(kind, Case { family, egress: true, entries })).cloned()
                });
                let name = format!("{name}, IPv{}", if v6 { 6 } else { 4 });
                series.push(Series::new(&name, &samples));
            }
        }
        Plot {
            name: "datapath-verdict".to_owned(),
            title: "One packet of TCP from a container, random addresses".to_owned(),
            x: "entries of the rules".to_owned(),
            y: "ns over an empty program".to_owned(),
            categories: ENTRIES.map(|entries| entries.to_string()).into(),
            logarithmic: false,
            legend_below: false,
            series,
        }
    }

    fn kind(&self, kind: Kind) -> Table {
        let entries = ENTRIES.map(|entries| entries.to_string());
        let head: Vec<_> = ["of"].into_iter().chain(entries.iter().map(String::as_str)).collect();
        let mut table = Table::new(&format!("{}:", kind.describe()), &head);
        for (family, egress) in sides() {
            let cells = ENTRIES.map(|entries| {
                let sample = self.samples.get(&(kind, Case { family, egress, entries }));
                sample.map_or_else(|| "–".to_owned(), Sample::to_string)
            });
            if cells.iter().all(|cell| cell == "–") {
                continue;
            }
            let direction = if egress { "egress" } else { "ingress" };
            table.row([format!("{}, {direction}", family.name())].into_iter().chain(cells));
        }
        table
    }
}

fn families() -> impl Iterator<Item = Family> {
    let versions = [false, true].into_iter();
    versions.flat_map(|v6| {
        [protocol::TCP, protocol::UDP].into_iter().map(move |protocol| Family { v6, protocol })
    })
}

fn sides() -> impl Iterator<Item = (Family, bool)> {
    families().flat_map(|family| [true, false].into_iter().map(move |egress| (family, egress)))
}
