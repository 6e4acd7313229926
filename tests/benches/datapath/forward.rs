//! What a policy costs a packet from a container to outside that the host forwards, and what it
//! takes to drop one; beside the firewalls that Docker hosts have, with the same rules.

use std::{fmt, time::Duration};

use anyhow::{Result, ensure};
use ebpf_netns_plugin::kernel::Kernel;
use plugin_common::{frames::Mutator, packet::protocol};

use crate::{
    Extent,
    figures::Sample,
    firewall::{Firewall, Rules},
    loaded::{self, Rights},
    plot::{Plot, Series},
    policy::{Allowed, Entry, Family},
    report::{Section, Table},
    round::{Pair, Round, Rounds},
    topology, traffic,
};

/// Entries of the rules.
const ENTRIES: [usize; 4] = [1, 64, 100, 1000];

/// Who drops or lets through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Who {
    /// What is left on the interface of a container without a label: an empty clsact qdisc.
    LetGo,
    Ours,
    Theirs(Firewall),
}

/// Who, with how many entries.
#[derive(Clone, Copy, Debug)]
struct Contender(Who, usize);

impl Contender {
    /// In this order: the last leaves something behind.
    fn all() -> Vec<Self> {
        let mut all = Vec::new();
        let theirs = [
            (Firewall::Nft, [1, 64, 1000].as_slice()),
            (Firewall::NftSet, &[64, 1000]),
            (Firewall::IptablesNft, &[1, 100, 1000]),
            (Firewall::IptablesLegacy, &[1, 100, 1000]),
        ];
        all.push(Self(Who::LetGo, 0));
        all.extend([1, 64, 1000].map(|entries| Self(Who::Ours, entries)));
        for (firewall, entries) in theirs {
            all.extend(entries.iter().map(|entries| Self(Who::Theirs(firewall), *entries)));
        }
        all
    }
}

impl Who {
    fn name(self) -> &'static str {
        match self {
            Self::LetGo => "ebpf-netns, no label",
            Self::Ours => "ebpf-netns",
            Self::Theirs(firewall) => firewall.name(),
        }
    }
}

impl fmt::Display for Contender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self(who @ Who::LetGo, _) => f.write_str(who.name()),
            Self(who, entries) => write!(f, "{}, {entries}", who.name()),
        }
    }
}

/// Measures in rounds, and tells.
pub(crate) fn forward(extent: Extent) -> Result<Section> {
    let rounds = rounds(extent);
    let found = Rounds::run("forward", extent, rounds)?;
    let mut section = Section::new("forward", "Forwarding");
    section.say(format!(
        "A container's datagrams to outside (bridge, host, veth), which drops them on arrival: ns of \
         a processor a packet that are added, and packets a second as a part of those without any \
         policy. {rounds} pairs each; medians, with the bounds of the middle half. The packet is of \
         the last entry. None of the firewalls looks at connections here; ebpf-netns does.",
    ));
    let mut table = Table::new("", &["policy, entries", "added, ns", "rate, of no policy"]);
    for (what, pairs) in &found.of {
        let rate: Sample = pairs.ratio.map(|ratio| 1.0 / ratio);
        table.row([what.clone(), pairs.added.to_string(), rate.show(3)]);
    }
    section.table(table);
    section.say(format!("Without any policy a packet takes {} ns.", without(&found)));
    finish(&mut section, &found, "added", |found, what| Some(found.get(what)?.added.clone()));
    Ok(section)
}

/// The same of packets that are dropped.
pub(crate) fn drop_rate(extent: Extent) -> Result<Section> {
    let rounds = rounds(extent);
    let found = Rounds::run("drop", extent, rounds)?;
    let mut section = Section::new("drop", "Dropping");
    section.say(format!(
        "The same way, packets that the policy drops: how many a second of one processor, and how \
         many times those that are delivered to a process outside without any policy. {rounds} pairs \
         each.",
    ));
    let head = ["policy, entries", "dropped a second", "times no policy, delivered"];
    let mut table = Table::new("", &head);
    for (what, pairs) in &found.of {
        let rate = pairs.with.map(|cost| 1e6 / cost);
        let times = pairs.ratio.map(|ratio| 1.0 / ratio);
        table.row([what.clone(), format!("{} k", rate.show(0)), times.show(2)]);
    }
    section.table(table);
    section.say(format!("Without any policy, delivered, a packet takes {} ns.", without(&found)));
    section.table(targets(&found));
    finish(&mut section, &found, "dropped a second", |found, what| {
        Some(found.get(what)?.with.map(|cost| 1e9 / cost))
    });
    Ok(section)
}

fn targets(found: &Rounds) -> Table {
    let mut table = Table::new("", &["what", "target", "found"]);
    for entries in [64, 1000] {
        let times = |who: Who| {
            let pairs = found.get(&Contender(who, entries).to_string());
            pairs.map_or(f64::NAN, |pairs| 1.0 / pairs.ratio.median())
        };
        let (ours, sets) = (times(Who::Ours), times(Who::Theirs(Firewall::NftSet)));
        let what = format!("{entries} entries, times no policy, delivered");
        table.row([what, "3".to_owned(), format!("{ours:.2}")]);
        let what = format!("{entries} entries, times nftables with a set");
        table.row([what, "1.6".to_owned(), format!("{:.2}", ours / sets)]);
    }
    table
}

fn without(found: &Rounds) -> Sample {
    found.of.first().map(|(_, pairs)| pairs.without.clone()).unwrap_or_default()
}

/// The plot, and what is missing.
fn finish(
    section: &mut Section,
    found: &Rounds,
    y: &str,
    value: impl Fn(&Rounds, &str) -> Option<Sample>,
) {
    let mut series = Vec::new();
    let mut whos = vec![Who::Ours];
    whos.extend(
        [Firewall::Nft, Firewall::NftSet, Firewall::IptablesNft, Firewall::IptablesLegacy]
            .map(Who::Theirs),
    );
    for who in whos {
        let points = ENTRIES.map(|entries| value(found, &Contender(who, entries).to_string()));
        if points.iter().any(Option::is_some) {
            series.push(Series::new(who.name(), &points));
        }
    }
    let unit = if y == "added" { "ns added to a packet" } else { "packets dropped a second" };
    section.plot(Plot {
        name: format!("datapath-{}", section.name),
        title: section.title.clone(),
        x: "entries".to_owned(),
        y: unit.to_owned(),
        categories: ENTRIES.map(|entries| entries.to_string()).into(),
        logarithmic: true,
        legend_below: y != "added",
        series,
    });
    if let Some(said) = found.say_left_out() {
        section.say(said);
    }
}

fn rounds(extent: Extent) -> usize {
    match extent {
        Extent::Full => 11,
        Extent::Quick => 1,
    }
}

/// One round, inside.
pub(crate) fn round(extent: Extent, drop: bool) -> Result<Round> {
    let time = Duration::from_millis(match extent {
        Extent::Full => 250,
        Extent::Quick => 40,
    });
    topology::build()?;
    let _sink = if drop { Some(traffic::receiver(&["sink"])?) } else { None };
    let (mut kernel, _events) = loaded::load(Rights::Usual)?;
    let measure = |expected| measure(drop, expected, time);
    measure(Expected::Arrives)?;
    let mut round = Round::default();
    // `iptables` of old is in the way as soon as it was there once.
    let mut before_legacy = None;
    for contender in Contender::all() {
        let Contender(who, entries) = contender;
        if drop && who == Who::LetGo {
            continue;
        }
        let without = match before_legacy {
            Some(without) => without,
            None => measure(Expected::Arrives)?,
        };
        if who == Who::Theirs(Firewall::IptablesLegacy) {
            before_legacy = Some(without);
        }
        if let Err(error) = install(&mut kernel, who, entries, drop) {
            round.left_out.insert(contender.to_string(), format!("{error:#}"));
            continue;
        }
        let with = measure(if drop { Expected::Dropped } else { Expected::Arrives })?;
        match who {
            Who::LetGo => topology::forget_qdisc()?,
            Who::Ours => topology::release(&mut kernel)?,
            Who::Theirs(firewall) => firewall.remove()?,
        }
        round.pairs.push(Pair { what: contender.to_string(), without, with });
    }
    Ok(round)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expected {
    Arrives,
    Dropped,
}

/// The cost of a packet; it must have become of it what is expected.
fn measure(drop: bool, expected: Expected, time: Duration) -> Result<f64> {
    let to = if drop { topology::SOMEBODY } else { topology::NOBODY };
    let before = topology::arrived()?;
    let flood = traffic::flood(to, time)?;
    let arrived = topology::arrived()? - before;
    // Hosts tell each other this and that, and a queue may be too short now and then.
    let right = match expected {
        Expected::Arrives => arrived >= flood.sent / 100 * 99,
        Expected::Dropped => arrived < 10,
    };
    ensure!(right, "{arrived} of {} datagrams arrived, expected: {expected:?}", flood.sent);
    Ok(flood.cost)
}

fn install(kernel: &mut Kernel, who: Who, entries: usize, drop: bool) -> Result<()> {
    let family = Family { v6: false, protocol: protocol::UDP };
    let others = Allowed::random(entries.saturating_sub(1), family, &mut Mutator::new(0xf0e));
    let (network, prefix) = topology::NETWORK;
    let last: Entry = (network, prefix, traffic::PORT);
    match who {
        Who::LetGo => topology::let_go(kernel),
        Who::Ours => {
            let rules = others.with_last(last, drop).interface_rules(topology::endpoint())?;
            topology::enforce(kernel, &rules).map(|_number| ())
        }
        Who::Theirs(firewall) => {
            let others: Vec<_> = others.entries().collect();
            firewall.install(&Rules { others: &others, last, drop })
        }
    }
}
