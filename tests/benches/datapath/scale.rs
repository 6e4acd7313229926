//! Many containers: what a packet costs, what it takes to give each its rules, and to change one's.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, ensure};
use ebpf_netns::{Link, LinkKind, Rtnl};
use ebpf_netns_plugin::{kernel::Kernel, plan::Step};
use ebpf_netns_tests::{Machine, VethFarm, command};
use plugin_common::{abi::InterfacePolicy, frames::Mutator, packet::protocol, presets::Presets};
use serde::{Deserialize, Serialize};

use crate::{
    Extent,
    figures::Sample,
    frames::{ACK, Flow, SYN, endpoint},
    loaded::{Loaded, Outcome, Rights},
    policy::{Allowed, Family},
    report::{Section, Table},
};

/// Entries of each container's rules, in each direction.
const ENTRIES: usize = 16;
/// How often one container's rules are changed.
const CHANGES: usize = 200;
/// Packets of each container that are measured, and times that all have their turn.
const TURNS: usize = 5;

/// What one number of containers costs.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Found {
    containers: usize,
    /// With rules, if there is no room for all of them.
    held: usize,
    compile: Vec<f64>,
    write: Vec<f64>,
    change: Vec<f64>,
    established: Vec<f64>,
    first: Vec<f64>,
}

pub(crate) fn measure(extent: Extent) -> Result<Section> {
    let counts: &[usize] = match extent {
        Extent::Full => &[1, 100, 1000],
        Extent::Quick => &[1, 20],
    };
    let mut section = Section::new("scale", "Many containers");
    section.say(format!(
        "{ENTRIES} entries in each direction for each container, all different. A packet is of \
         another container each time, once, and so cold: ns over an empty program measured in the \
         same way. Medians, with the bounds of the middle half.",
    ));
    let head = [
        "containers",
        "with rules",
        "compile, µs",
        "write, µs",
        "change one, µs",
        "established, ns",
        "first, ns",
    ];
    let mut table = Table::new("", &head);
    for count in counts {
        let found = one(*count, extent)?;
        let Found { containers, held, compile, write, change, established, first } = found;
        let micro = |values: Vec<f64>| values.into_iter().collect::<Sample>().show(0);
        table.row([
            containers.to_string(),
            held.to_string(),
            micro(compile),
            micro(write),
            micro(change),
            micro(established),
            micro(first),
        ]);
    }
    section.table(table);
    Ok(section)
}

fn one(count: usize, extent: Extent) -> Result<Found> {
    crate::progress(&format!("scale: {count} containers"));
    let machine = Machine::start()?;
    let _farm = VethFarm::plant(&machine, count)?;
    let mut inside = machine.command(std::env::current_exe()?);
    inside.args(["scale-inside", &count.to_string(), extent.name()]);
    let said = command::stdout_of(&mut inside)?;
    serde_json::from_str(&said).with_context(|| format!("what {count} containers cost"))
}

/// A container, and whom it may talk to.
struct Container {
    link: Link,
    allowed: Allowed,
    number: u32,
}

/// In a machine with so many veths.
pub(crate) fn inside(count: usize, extent: Extent) -> Result<Found> {
    let links = Rtnl::open()?.links()?;
    let links: Vec<_> = links.into_iter().filter(|link| link.kind == LinkKind::Veth).collect();
    ensure!(links.len() == count, "{} veths instead of {count}", links.len());
    let mut loaded = Loaded::new(Rights::Usual)?;
    let mut random = Mutator::new(0x5ca1e);
    let family = Family { v6: false, protocol: protocol::TCP };
    let (mut compile, mut write) = (Vec::new(), Vec::new());
    let mut containers = Vec::new();
    for link in links {
        let allowed = Allowed::random(ENTRIES, family, &mut random);
        let start = Instant::now();
        let rules = allowed.interface_rules(endpoint())?;
        compile.push(micros(start.elapsed()));
        let start = Instant::now();
        // There is room for some number of rules in all.
        let Ok(number) = loaded.kernel.write_rules(link.index, &rules) else { break };
        hold(&mut loaded.kernel, &link, number)?;
        write.push(micros(start.elapsed()));
        containers.push(Container { link, allowed, number });
    }
    let change = changes(&mut loaded, &mut containers, &mut random, extent)?;
    let (established, first) = packets(&loaded, &containers, &mut random)?;
    let held = containers.len();
    Ok(Found { containers: count, held, compile, write, change, established, first })
}

fn hold(kernel: &mut Kernel, link: &Link, rules: u32) -> Result<()> {
    let presets = Presets::PASS;
    let policy = InterfacePolicy { xdp: presets, egress: presets, ingress: presets, rules };
    let step = Step::SetPolicy { ifindex: link.index, policy };
    kernel.apply(step, link).map_err(|refusal| anyhow!("{refusal}"))
}

/// Other rules for one of the containers, from labels on.
fn changes(
    loaded: &mut Loaded,
    containers: &mut [Container],
    random: &mut Mutator,
    extent: Extent,
) -> Result<Vec<f64>> {
    let times = if extent == Extent::Full { CHANGES } else { 5 };
    let mut spent = Vec::new();
    for _ in 0..times {
        let place = random.below(containers.len());
        let container = containers.get_mut(place).context("a container")?;
        let start = Instant::now();
        let rules = container.allowed.interface_rules(endpoint())?;
        // What was given up is not used again at once: there may be no room until then.
        let Ok(number) = loaded.kernel.write_rules(container.link.index, &rules) else { break };
        hold(&mut loaded.kernel, &container.link, number)?;
        loaded.kernel.give_up_rules(container.number);
        spent.push(micros(start.elapsed()));
        container.number = number;
    }
    Ok(spent)
}

/// A packet of each container, in turn: of an open connection, and the first of another.
fn packets(
    loaded: &Loaded,
    containers: &[Container],
    random: &mut Mutator,
) -> Result<(Vec<f64>, Vec<f64>)> {
    let (mut established, mut first) = (Vec::new(), Vec::new());
    let flow = |container: &Container, random: &mut Mutator, local_port: u16| -> Result<Flow> {
        let (remote, remote_port) = container.allowed.inside(random)?;
        Ok(Flow { remote, protocol: protocol::TCP, local_port, remote_port })
    };
    let mut open = Vec::new();
    for container in containers {
        let flow = flow(container, random, 10_000)?;
        for (side, flags) in [(true, SYN), (false, SYN | ACK), (true, ACK)] {
            let frame = flow.frame(side, flags);
            loaded.run_at(container.link.index, side, &frame, 1, Outcome::Passes)?;
        }
        open.push(flow);
    }
    let mut port = 20_000;
    let turns = TURNS.max(500 / containers.len().max(1));
    for _ in 0..turns {
        for (container, opened) in containers.iter().zip(&open) {
            let index = container.link.index;
            let frame = opened.frame(true, ACK);
            let floor = loaded.run_empty(&frame, 1)?;
            let spent = loaded.run_at(index, true, &frame, 1, Outcome::Passes)?;
            established.push(spent - floor);
        }
        port += 1;
        for container in containers {
            let frame = flow(container, random, port)?.frame(true, SYN);
            let floor = loaded.run_empty(&frame, 1)?;
            let index = container.link.index;
            let spent = loaded.run_at(index, true, &frame, 1, Outcome::Passes)?;
            first.push(spent - floor);
        }
    }
    Ok((established, first))
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}
