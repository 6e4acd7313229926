//! From two answers of the daemon to rows with rates. Pure.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use ebpf_netns::Ifindex;

use super::row::{Key, Rate, Row};
use crate::kernel::Count;
use crate::status::{ContainerStatus, HookStatus, InterfaceStatus, Status};

/// What the daemon said, and when.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    pub(crate) at: Instant,
    pub(crate) status: Status,
}

/// The rows of an answer; their rates are since an earlier one, and unknown where that did not
/// tell of the interface.
pub(crate) fn rows(earlier: Option<&Sample>, now: &Sample) -> Vec<Row> {
    let since = earlier.map(|sample| Since {
        elapsed: now.at.saturating_duration_since(sample.at),
        interfaces: interfaces(&sample.status),
    });
    let containers = now.status.containers.iter();
    containers.flat_map(|container| rows_of(container, since.as_ref())).collect()
}

/// What was there earlier.
struct Since<'a> {
    elapsed: Duration,
    interfaces: BTreeMap<Key, &'a InterfaceStatus>,
}

fn interfaces(status: &Status) -> BTreeMap<Key, &InterfaceStatus> {
    let all = status.containers.iter();
    all.flat_map(|container| container.interfaces.iter().map(move |one| (key(container, one), one)))
        .collect()
}

fn key(container: &ContainerStatus, interface: &InterfaceStatus) -> Key {
    (container.id.clone(), Some(interface.name.clone()))
}

fn rows_of(container: &ContainerStatus, since: Option<&Since<'_>>) -> Vec<Row> {
    if container.interfaces.is_empty() {
        return vec![bare(container)];
    }
    container.interfaces.iter().map(|interface| row(container, interface, since)).collect()
}

/// A container without an interface.
fn bare(container: &ContainerStatus) -> Row {
    Row {
        container: container.name.clone(),
        id: container.id.clone(),
        state: container.state,
        reason: container.reason.clone(),
        interface: None,
        network: None,
        host: None,
        policy: String::new(),
        incoming: None,
        outgoing: None,
        drops_per_second: None,
        dropped: BTreeMap::new(),
    }
}

fn row(container: &ContainerStatus, now: &InterfaceStatus, since: Option<&Since<'_>>) -> Row {
    let was = since.and_then(|since| {
        let was = since.interfaces.get(&key(container, now))?;
        Some((*was, since.elapsed))
    });
    let rated = |hook| {
        let past = was.and_then(|(was, elapsed)| past(now, was, hook, elapsed));
        Rated::new(hook, past)
    };
    let hooks: Vec<Rated<'_>> = now.hooks.iter().map(rated).collect();
    Row {
        state: now.state,
        reason: now.reason.clone().or_else(|| container.reason.clone()),
        interface: Some(now.name.clone()),
        network: now.network.clone(),
        host: now.host.as_ref().map(|host| host.name.clone()),
        policy: policy(&now.hooks),
        incoming: passed(&hooks, "ingress"),
        outgoing: passed(&hooks, "egress"),
        drops_per_second: drops(&hooks),
        dropped: dropped(&now.hooks),
        ..bare(container)
    }
}

/// What a hook had counted, and how long ago.
struct Past<'a> {
    /// None where the host's end is another one: its counters began at zero.
    hook: Option<&'a HookStatus>,
    elapsed: Duration,
}

fn past<'a>(
    now: &InterfaceStatus,
    was: &'a InterfaceStatus,
    hook: &HookStatus,
    elapsed: Duration,
) -> Option<Past<'a>> {
    let index = |interface: &InterfaceStatus| -> Option<Ifindex> {
        interface.host.as_ref().map(|host| host.ifindex)
    };
    if index(now) != index(was) {
        return Some(Past { hook: None, elapsed });
    }
    let same = |one: &&HookStatus| one.direction == hook.direction && is_xdp(one) == is_xdp(hook);
    Some(Past { hook: Some(was.hooks.iter().find(same)?), elapsed })
}

fn is_xdp(hook: &HookStatus) -> bool {
    hook.hook == "xdp"
}

/// A hook with what it did in a second.
struct Rated<'a> {
    hook: &'a HookStatus,
    passed: Option<Rate>,
    drops: Option<f64>,
}

impl<'a> Rated<'a> {
    fn new(hook: &'a HookStatus, past: Option<Past<'_>>) -> Self {
        let Some(Past { hook: was, elapsed }) = past.filter(|past| !past.elapsed.is_zero()) else {
            return Self { hook, passed: None, drops: None };
        };
        let rate = |now, was| per_second(grown(now, was), elapsed);
        let before = was.map_or(Count::default(), |was| was.traffic.passed);
        let Count { packets, bytes } = hook.traffic.passed;
        let dropped = was.map_or(0, |was| was.traffic.dropped_packets());
        Self {
            hook,
            passed: Some(Rate {
                packets_per_second: rate(packets, before.packets),
                bytes_per_second: rate(bytes, before.bytes),
            }),
            drops: Some(rate(hook.traffic.dropped_packets(), dropped)),
        }
    }
}

/// By how much a counter grew. One that went backwards began anew: all that it has came since.
fn grown(now: u64, was: u64) -> u64 {
    now.checked_sub(was).unwrap_or(now)
}

#[expect(clippy::cast_precision_loss, reason = "a rate is shown with three digits")]
fn per_second(number: u64, elapsed: Duration) -> f64 {
    number as f64 / elapsed.as_secs_f64()
}

/// What passed all hooks of a direction. A packet of the container meets XDP and then TC, so what
/// TC passed has passed both.
fn passed(hooks: &[Rated<'_>], direction: &str) -> Option<Rate> {
    let of_direction = hooks.iter().filter(|rated| rated.hook.direction == direction);
    of_direction.min_by_key(|rated| is_xdp(rated.hook))?.passed
}

fn drops(hooks: &[Rated<'_>]) -> Option<f64> {
    let known: Vec<f64> = hooks.iter().filter_map(|rated| rated.drops).collect();
    (!known.is_empty()).then(|| known.iter().sum())
}

fn dropped(hooks: &[HookStatus]) -> BTreeMap<String, u64> {
    let mut sums = BTreeMap::<String, u64>::new();
    for (reason, Count { packets, .. }) in hooks.iter().flat_map(|hook| &hook.traffic.dropped) {
        let sum = sums.entry(reason.clone()).or_default();
        *sum = sum.saturating_add(*packets);
    }
    sums
}

/// What the hooks hold: in one word where it is the same everywhere.
fn policy(hooks: &[HookStatus]) -> String {
    let mut held: Vec<(&str, &str)> =
        hooks.iter().map(|hook| (hook.policy.as_str(), hook.direction.as_str())).collect();
    held.dedup();
    match held.as_slice() {
        [] => String::new(),
        [(first, _), rest @ ..] if rest.iter().all(|(policy, _)| policy == first) => {
            (*first).to_owned()
        }
        several => {
            let several = several.iter().map(|(policy, direction)| format!("{direction} {policy}"));
            several.collect::<Vec<_>>().join(", ")
        }
    }
}
