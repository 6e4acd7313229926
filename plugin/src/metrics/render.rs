//! Metrics as text: which series there are, and what they say. Pure.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ebpf_netns::text::printable_up_to;

use super::catalogue as metric;
use super::exposition::Exposition;
use super::process::Process;
use super::sample::{ContainerSample, InterfaceSample, Sample};
use crate::gate::{Counted, Dropped};
use crate::kernel::{Count, CountedAt, Traffic};
use crate::plan::Hook;
use crate::status::{Counts, State};

/// How many containers have series of their own: the first in the order of their names.
pub const MOST_CONTAINERS: usize = 500;
/// How many interfaces of one container do.
pub const MOST_INTERFACES: usize = 16;

/// How much of a name is a label, in characters: of a container's, and of an interface's.
const NAME: usize = 64;
const INTERFACE: usize = 32;
/// How much of an id.
const ID: usize = 12;

/// What the engine knows nothing of.
#[derive(Clone, Debug)]
pub(super) struct Outside {
    pub(super) started: SystemTime,
    pub(super) process: Process,
    /// What strict mode's gate dropped, if there is one.
    pub(super) gate: Option<Dropped>,
    pub(super) queue_length: usize,
    pub(super) engine_took: Duration,
    pub(super) log_lines_lost: u64,
    pub(super) reports_lost: u64,
    pub(super) docker_stalls: u64,
    /// When Docker was last looked at.
    pub(super) docker_looked: Option<Duration>,
}

/// All metrics. `traffic` tells what was counted somewhere.
pub(super) fn render(
    mut sample: Sample,
    outside: &Outside,
    traffic: impl Fn(CountedAt) -> Traffic,
) -> prometheus::Result<String> {
    sample.containers.sort_by(|one, other| (&one.name, &one.id).cmp(&(&other.name, &other.id)));
    let mut out = Exposition::default();
    engine(&mut out, &sample);
    counts(&mut out, &sample.counts);
    surroundings(&mut out, outside);
    let (mut containers, mut interfaces) = (0, 0);
    for (place, container) in sample.containers.iter().enumerate() {
        let most = if place < MOST_CONTAINERS { MOST_INTERFACES } else { 0 };
        containers += usize::from(place >= MOST_CONTAINERS);
        interfaces += container.interfaces.len().saturating_sub(most);
        for interface in container.interfaces.iter().take(most) {
            of_interface(&mut out, container, interface, &traffic);
        }
    }
    out.count(&metric::OMITTED_CONTAINERS, &[], number(containers));
    out.count(&metric::OMITTED_INTERFACES, &[], number(interfaces));
    out.text()
}

fn engine(out: &mut Exposition, sample: &Sample) {
    for state in State::ALL {
        let name = state.name().to_lowercase();
        let all = sample.containers.iter().filter(|container| container.state == state);
        out.count(&metric::CONTAINERS, &[&name], number(all.count()));
    }
    out.count(&metric::QUARANTINED, &[], number(sample.quarantined));
    out.count(&metric::BACKLOG, &[], number(sample.backlog));
    out.count(&metric::DOCKER_REACHABLE, &[], sample.docker_reachable.into());
    out.count(&metric::STRICT, &[], sample.strict.into());
    out.count(&metric::CONFIG_TAKEN, &[], sample.config_taken.into());
    out.add(&metric::CONFIG_SINCE, &[], since_1970(sample.config_since));
}

fn counts(out: &mut Exposition, counts: &Counts) {
    let Counts {
        quarantined,
        repairs,
        overruns,
        record_failures,
        reconciliations,
        docker_outages,
        reloads,
        refused_reloads,
    } = *counts;
    out.count(&metric::QUARANTINES, &[], quarantined);
    out.count(&metric::REPAIRS, &[], repairs);
    out.count(&metric::LINK_OVERRUNS, &[], overruns);
    out.count(&metric::RECORD_FAILURES, &[], record_failures);
    out.count(&metric::RECONCILIATIONS, &[], reconciliations);
    out.count(&metric::DOCKER_OUTAGES, &[], docker_outages);
    out.count(&metric::RELOADS, &["taken"], reloads);
    out.count(&metric::RELOADS, &["refused"], refused_reloads);
}

fn surroundings(out: &mut Exposition, outside: &Outside) {
    let Outside { started, process, gate, queue_length, engine_took, .. } = outside;
    let Process { cpu, resident_bytes, open_files } = process;
    out.count(&metric::BUILD, &[env!("CARGO_PKG_VERSION")], 1);
    out.add(&metric::STARTED, &[], since_1970(*started));
    out.add(&metric::CPU, &[], cpu.as_secs_f64());
    if let Some(bytes) = resident_bytes {
        out.count(&metric::RESIDENT, &[], *bytes);
    }
    if let Some(files) = open_files {
        out.count(&metric::OPEN_FILES, &[], *files);
    }
    out.count(&metric::QUEUE_LENGTH, &[], number(*queue_length));
    out.add(&metric::ENGINE_ANSWER, &[], engine_took.as_secs_f64());
    out.count(&metric::LOG_LINES_LOST, &[], outside.log_lines_lost);
    out.count(&metric::REPORTS_LOST, &[], outside.reports_lost);
    out.count(&metric::DOCKER_STALLS, &[], outside.docker_stalls);
    if let Some(looked) = outside.docker_looked {
        out.add(&metric::DOCKER_LOOKED, &[], looked.as_secs_f64());
    }
    if let Some(Dropped { from, to }) = gate {
        for (end, Counted { packets, bytes }) in [("from", from), ("to", to)] {
            out.count(&metric::GATE_PACKETS, &[end], *packets);
            out.count(&metric::GATE_BYTES, &[end], *bytes);
        }
    }
}

fn of_interface(
    out: &mut Exposition,
    container: &ContainerSample,
    interface: &InterfaceSample,
    traffic: &impl Fn(CountedAt) -> Traffic,
) {
    let name = printable_up_to(&container.name, NAME).to_string();
    let id: String = container.id.chars().take(ID).collect();
    let id = printable_up_to(&id, NAME).to_string();
    let interface_name = printable_up_to(&interface.name, INTERFACE).to_string();
    for at in &interface.counted {
        let hook = if at.hook == Hook::Xdp { "xdp" } else { "tc" };
        let direction = at.hook.direction();
        let labels = [&*name, &*id, &*interface_name, direction, hook];
        let Traffic { passed, dropped, log_suppressed } = traffic(*at);
        let all = dropped.values().fold(Count::default(), |sum, count| Count {
            packets: sum.packets + count.packets,
            bytes: sum.bytes + count.bytes,
        });
        out.count(&metric::PASSED_PACKETS, &labels, passed.packets);
        out.count(&metric::PASSED_BYTES, &labels, passed.bytes);
        out.count(&metric::DROPPED_PACKETS, &labels, all.packets);
        out.count(&metric::DROPPED_BYTES, &labels, all.bytes);
        out.count(&metric::LOG_SUPPRESSED, &labels, log_suppressed);
        for (reason, count) in &dropped {
            let labels = [&*name, &*id, &*interface_name, direction, hook, reason];
            out.count(&metric::DROPPED_FOR, &labels, count.packets);
        }
    }
}

fn number(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

fn since_1970(moment: SystemTime) -> f64 {
    moment.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}
