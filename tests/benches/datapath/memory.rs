//! Memory: of the kernel's maps, of what a container takes of them, and of this process with the
//! daemon's tables for as many.

use std::{
    fs,
    os::fd::{AsFd as _, AsRawFd as _},
};

use anyhow::{Context as _, Result, anyhow};
use aya::maps::MapData;
use ebpf_netns::{LinkKind, Rtnl};
use ebpf_netns_plugin::{
    datapath::Places,
    plan::{Attachment, Hook, Step},
};
use ebpf_netns_tests::{Machine, VethFarm, command};
use plugin_common::{
    abi::{Counter, FlowBucket, InterfacePolicy, RuleImage},
    frames::Mutator,
    packet::protocol,
    presets::Presets,
};
use serde::{Deserialize, Serialize};

use crate::{
    Extent,
    frames::endpoint,
    loaded::{self, Rights},
    policy::{Allowed, Family},
    report::{Section, Table},
};

/// Entries of a container's rules in each direction, for which is told what they take.
const SIZES: [usize; 4] = [1, 16, 64, 1000];
/// Of the containers that are made.
const ENTRIES: usize = 16;
/// Buckets of connections that a container has as long as there is room.
const BUCKETS: usize = 1024;

/// Bytes of each map, of the kernel's tables and of this process.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct State {
    maps: Vec<(String, u64)>,
    slab: u64,
    per_cpu: u64,
    resident: u64,
}

/// Before and after.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Found {
    containers: usize,
    loaded: State,
    with_rules: State,
    attached: State,
}

pub(crate) fn measure(extent: Extent) -> Result<Section> {
    let count = if extent == Extent::Full { 200 } else { 10 };
    crate::progress(&format!("memory: {count} containers"));
    let machine = Machine::start()?;
    let _farm = VethFarm::plant(&machine, count)?;
    let mut inside = machine.command(std::env::current_exe()?);
    inside.arg("memory-inside");
    let found: Found = serde_json::from_str(&command::stdout_of(&mut inside)?)?;
    let mut section = Section::new("memory", "Memory");
    section.say(format!(
        "Maps by what the kernel has them down for (`memlock` in `/proc/self/fdinfo`), before and \
         with {} containers with {ENTRIES} entries in each direction. Arrays are allocated whole when \
         the daemon first starts; a container takes its part of them.",
        found.containers,
    ));
    section.table(maps(&found));
    section.table(parts()?);
    section.table(each(&found));
    Ok(section)
}

fn maps(found: &Found) -> Table {
    let mut table = Table::new("", &["map", "KiB at first", "KiB with the containers"]);
    let mut sums = [0, 0];
    for ((name, before), (_, after)) in found.loaded.maps.iter().zip(&found.attached.maps) {
        table.row([name.clone(), kib(*before), kib(*after)]);
        let [first, last] = &mut sums;
        *first += before;
        *last += after;
    }
    let [first, last] = sums.map(kib);
    table.row(["all".to_owned(), first, last]);
    table
}

/// What rules take of the arrays.
fn parts() -> Result<Table> {
    let head = ["entries a direction", "IPv4, KiB", "IPv6, KiB", "connections, KiB"];
    let mut table = Table::new("What a container takes of the arrays:", &head);
    for entries in SIZES {
        let of = |v6| -> Result<String> {
            let family = Family { v6, protocol: protocol::TCP };
            let allowed = Allowed::random(entries, family, &mut Mutator::new(0x3e3));
            let placed = allowed.compile()?.place(Places::default());
            let bytes = size_of_val(placed.blocks.as_slice())
                + size_of_val(placed.leaves.as_slice())
                + usize::try_from(placed.counters)? * size_of::<Counter>()
                + size_of::<RuleImage>();
            Ok(kib(u64::try_from(bytes)?))
        };
        let connections = kib(u64::try_from(BUCKETS * size_of::<FlowBucket>())?);
        table.row([entries.to_string(), of(false)?, of(true)?, connections]);
    }
    Ok(table)
}

fn each(found: &Found) -> Table {
    let Found { containers, loaded, with_rules, attached } = found;
    let each = |before: u64, after: u64| {
        let before = i64::try_from(before).unwrap_or_default();
        let after = i64::try_from(after).unwrap_or_default();
        let containers = i64::try_from(*containers).unwrap_or(1);
        format!("{} B", (after - before) / containers)
    };
    let caption =
        "More for each container, of what the whole machine has, so that other work shows:";
    let mut table = Table::new(caption, &["what", "rules written", "TCX attached, both ways"]);
    table.row([
        "kernel's tables (`Slab`)".to_owned(),
        each(loaded.slab, with_rules.slab),
        each(with_rules.slab, attached.slab),
    ]);
    table.row([
        "kernel's memory for each processor (`Percpu`)".to_owned(),
        each(loaded.per_cpu, with_rules.per_cpu),
        each(with_rules.per_cpu, attached.per_cpu),
    ]);
    table.row([
        "this process, resident (`VmRSS`)".to_owned(),
        each(loaded.resident, with_rules.resident),
        each(with_rules.resident, attached.resident),
    ]);
    table
}

fn kib(bytes: u64) -> String {
    format!("{}.{}", bytes / 1024, bytes % 1024 * 10 / 1024)
}

/// In a machine with veths.
pub(crate) fn inside() -> Result<Found> {
    let links = Rtnl::open()?.links()?;
    let links: Vec<_> = links.into_iter().filter(|link| link.kind == LinkKind::Veth).collect();
    let mut kernel = loaded::load(Rights::Usual)?.0;
    let family = Family { v6: false, protocol: protocol::TCP };
    let mut random = Mutator::new(0x3e3);
    let before = state()?;
    let mut held = Vec::new();
    for link in &links {
        let rules = Allowed::random(ENTRIES, family, &mut random).interface_rules(endpoint())?;
        // There is room for some number of them.
        let Ok(number) = kernel.write_rules(link.index, &rules) else { break };
        held.push(link);
        let presets = Presets::PASS;
        let policy =
            InterfacePolicy { xdp: presets, egress: presets, ingress: presets, rules: number };
        let step = Step::SetPolicy { ifindex: link.index, policy };
        kernel.apply(step, link).map_err(|refusal| anyhow!("{refusal}"))?;
    }
    let with_rules = state()?;
    for link in &held {
        for hook in [Hook::Egress, Hook::Ingress] {
            let attachment = Attachment::Tcx;
            let step = Step::Attach { ifindex: link.index, hook, attachment };
            kernel.apply(step, link).map_err(|refusal| anyhow!("{refusal}"))?;
        }
    }
    let attached = state()?;
    Ok(Found { containers: held.len(), loaded: before, with_rules, attached })
}

fn state() -> Result<State> {
    let directory = loaded::layout()?.join("maps");
    let mut maps = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let map = MapData::from_pin(entry.path())?;
        let path = format!("/proc/self/fdinfo/{}", map.fd().as_fd().as_raw_fd());
        let bytes = number(&path, "memlock:")?;
        maps.push((entry.file_name().to_string_lossy().into_owned(), bytes));
    }
    maps.sort();
    let kib = |path: &str, word| number(path, word).map(|number| number * 1024);
    Ok(State {
        maps,
        slab: kib("/proc/meminfo", "Slab:")?,
        per_cpu: kib("/proc/meminfo", "Percpu:")?,
        resident: kib("/proc/self/status", "VmRSS:")?,
    })
}

/// The number behind a word of a file.
fn number(path: &str, word: &str) -> Result<u64> {
    let text = fs::read_to_string(path).with_context(|| format!("read {path}"))?;
    let line = text.lines().find_map(|line| line.strip_prefix(word));
    let number = line.and_then(|rest| rest.split_whitespace().next());
    number.with_context(|| format!("{path} has no {word}"))?.parse().context("a number")
}
