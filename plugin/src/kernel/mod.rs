//! The kernel's side of the daemon: the loaded programs, their maps, links and pins. The only place
//! that names aya, and the interpreter of [`Step`]s: every change of the kernel's state is one.
//!
//! Nothing is detached when this process ends, in whatever way: links are pinned before anything
//! relies on them, and filters stay by themselves.

mod attach;
mod audit;
mod capture;
mod errno;
mod events;
pub mod examine;
mod execs;
mod filters;
mod hits;
mod inherit;
mod instance;
mod load;
mod loader;
mod object;
mod own;
mod paces;
mod pins;
mod policies;
mod pool;
pub mod probe;
pub mod query;
mod refusal;
mod rules;
mod stats;
mod ticks;
mod traffic;
mod worker;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use aya::Ebpf;
use aya::maps::{MapData, PerCpuHashMap};
use aya::programs::{Program, ProgramError};
use ebpf_netns::{Ifindex, Link, Rtnl};
use plugin_common::abi::{
    EVENTS_MAP, InterfacePolicy, InterfaceStats, Observer, STATS_MAP, StatsKey,
};

pub use self::audit::Damage;
pub use self::capture::{CaptureError, Captures, Tap};
pub use self::events::PacketEvents;
pub(crate) use self::execs::TRACEFS;
pub use self::execs::{Execs, ExecsError};
pub use self::hits::HitCounters;
pub use self::inherit::{CleanError, clean};
pub use self::instance::{Instance, InstanceKey, Loaded, Order, verify};
pub use self::load::{LoadError, ProgramIdentity, Programs, probe};
pub use self::loader::LoaderReply;
pub use self::paces::PaceCounters;
pub use self::pins::{DEFAULT_DIRECTORY, Layout, Pins, PinsError, is_on_bpf_fs, layouts};
pub use self::query::{AttachedProgram, attached};
pub use self::refusal::Refusal;
pub use self::rules::InterfaceRules;
pub use self::stats::{Count, Traffic};
pub use self::traffic::{CountedAt, TrafficCounters};
use self::worker::Turn;
pub use self::worker::{Done, Reply};
use crate::plan::{Hook, Step, Way};

/// The loaded programs, and what they are attached to. Dropping it detaches nothing.
pub struct Kernel {
    pins: Pins,
    ebpf: Ebpf,
    policies: policies::Policies,
    stats: PerCpuHashMap<MapData, StatsKey, InterfaceStats>,
    rules: rules::RuleStore,
    /// Every map once more, to pin it again with.
    maps: Vec<(&'static str, MapData)>,
    attached: BTreeMap<(Ifindex, Way), attach::Attached>,
    /// Interfaces whose clsact qdisc is ours, by the filters on it.
    qdiscs: BTreeSet<Ifindex>,
    /// Interfaces from which the worker is removing a filter.
    removing: BTreeMap<Ifindex, (Way, attach::Filter)>,
    identities: BTreeMap<Hook, ProgramIdentity>,
    /// Programs of the operator's.
    own: own::Own,
    rtnl: Rtnl,
    /// Closes new interfaces.
    guard: worker::Worker,
    /// Does all else that takes long.
    worker: worker::Worker,
}

impl Kernel {
    /// Takes the programs, which are pinned. From here on there are two more threads.
    ///
    /// # Errors
    ///
    /// When the kernel refuses.
    pub fn new(programs: Programs, pins: Pins) -> Result<(Self, PacketEvents), LoadError> {
        let Programs { mut ebpf, identities } = programs;
        load::pin_programs(&mut ebpf, &pins).map_err(LoadError::Pin)?;
        let policies = policies::Policies::new(&mut ebpf)?;
        let stats = load::take(&mut ebpf, STATS_MAP)?;
        let events = PacketEvents::new(load::take(&mut ebpf, EVENTS_MAP)?);
        let rules = rules::RuleStore::new(&mut ebpf)?;
        let kernel = Self {
            rules,
            maps: load::pinned_maps(&pins)?,
            guard: worker::Worker::start("guard", Turn::First, &pins)?,
            worker: worker::Worker::start("attach", Turn::Own, &pins)?,
            pins,
            ebpf,
            policies,
            stats,
            attached: BTreeMap::new(),
            qdiscs: BTreeSet::new(),
            removing: BTreeMap::new(),
            identities,
            own: own::Own::default(),
            rtnl: Rtnl::open()?,
        };
        Ok((kernel, events))
    }

    /// Carries out one step. `interface` is the step's interface as it is now.
    ///
    /// # Errors
    ///
    /// Why the kernel refused, as a sentence with the way out.
    pub fn apply(&mut self, step: Step, interface: &Link) -> Result<(), Refusal> {
        match step {
            Step::SetPolicy { ifindex, policy } => self.set_policy(ifindex, policy),
            Step::Attach { hook, attachment, .. } => self.attach((hook, attachment), interface),
            Step::Guard { .. } => self.guard(interface),
            Step::Detach { ifindex, hook, attachment } => {
                self.detach(ifindex, (hook, attachment), true)
            }
            Step::AttachOwn { way, program, .. } => self.attach_own(way, program, interface),
            Step::DetachOwn { ifindex, way, .. } => self.detach_own(ifindex, way, true),
            Step::Forget { .. } => self.release(step),
        }
    }

    /// Carries out a step that takes something away, for which the interface need not be there. A link
    /// is detached soon after.
    ///
    /// # Errors
    ///
    /// When the step is not of that kind: a bug.
    pub fn release(&mut self, step: Step) -> Result<(), Refusal> {
        match step {
            Step::Detach { ifindex, hook, attachment } => {
                self.detach(ifindex, (hook, attachment), false)
            }
            Step::DetachOwn { ifindex, way, .. } => self.detach_own(ifindex, way, false),
            Step::Forget { ifindex } => {
                self.forget(ifindex);
                Ok(())
            }
            Step::SetPolicy { .. }
            | Step::Attach { .. }
            | Step::AttachOwn { .. }
            | Step::Guard { .. } => Err(Refusal::new(format!("{step:?} takes nothing away"))),
        }
    }

    /// Gives up what was attached to an interface that is gone, without asking the kernel, whose lock
    /// may be held by what removes it.
    pub fn release_gone(&mut self, ifindex: Ifindex) {
        self.qdiscs.remove(&ifindex);
        self.removing.remove(&ifindex);
        self.attached.retain(|(index, _), attached| *index != ifindex || !attached.is_filter());
        self.own.release_gone(ifindex);
    }

    /// One write: the programs see the old entry or the new one.
    fn set_policy(&mut self, ifindex: Ifindex, policy: InterfacePolicy) -> Result<(), Refusal> {
        let before = self.policies.get(ifindex);
        let quarantined = before.is_none_or(|old| old == InterfacePolicy::CLOSED);
        self.policies
            .set(ifindex, policy)
            .map_err(|error| Refusal::new(format!("write the policy map: {error}")))?;
        // What was dropped before anybody knew whose the interface is says nothing of the policy.
        if quarantined && policy != InterfacePolicy::CLOSED {
            self.forget_all_traffic(ifindex);
        }
        Ok(())
    }

    /// Writes rules that no policy names yet; returns the number to name them by.
    ///
    /// # Errors
    ///
    /// When there is no room, or the kernel refuses.
    pub fn write_rules(
        &mut self,
        ifindex: Ifindex,
        rules: &InterfaceRules,
    ) -> Result<u32, Refusal> {
        self.rules.write(ifindex, rules)
    }

    /// Gives back rules that no policy names any more.
    pub fn give_up_rules(&mut self, number: u32) {
        self.rules.give_up(number);
    }

    /// Where the maps are pinned.
    #[must_use]
    pub fn maps_directory(&self) -> PathBuf {
        self.pins.maps()
    }

    /// The place of the first counter of rules, which the others follow.
    #[must_use]
    pub fn first_counter(&self, number: u32) -> Option<u32> {
        self.rules.first_counter(number)
    }

    /// The program of a hook.
    #[must_use]
    pub fn program(&self, hook: Hook) -> Option<&ProgramIdentity> {
        self.identities.get(&hook)
    }

    /// Removes an interface from the maps. What is not there is as good as removed.
    fn forget(&mut self, ifindex: Ifindex) {
        let policy = self.policies.get(ifindex);
        self.policies.remove(ifindex);
        if let Some(policy) = policy {
            self.rules.give_up(policy.rules);
        }
        self.rules.forget(ifindex);
        self.forget_all_traffic(ifindex);
    }

    /// Begins to count an interface's traffic anew.
    fn forget_all_traffic(&mut self, ifindex: Ifindex) {
        for hook in Hook::ALL {
            self.forget_traffic(ifindex, hook);
        }
    }

    fn forget_traffic(&mut self, ifindex: Ifindex, hook: Hook) {
        let key = StatsKey { ifindex: ifindex.get(), observer: observer(hook) as u32 };
        self.stats.remove(&key).ok();
        self.rules.forget_passed(ifindex, hook);
    }
}

/// The observer under which a hook's program counts.
const fn observer(hook: Hook) -> Observer {
    match hook {
        Hook::Xdp => Observer::Xdp,
        Hook::Egress => Observer::Egress,
        Hook::Ingress => Observer::Ingress,
    }
}

/// The hook whose program counts under an observer of this number.
pub(crate) fn hook_of(number: u32) -> Option<Hook> {
    Hook::ALL.into_iter().find(|hook| observer(*hook) as u32 == number)
}

/// The program of a hook, as the type that attaches it.
fn program<'a, P>(ebpf: &'a mut Ebpf, hook: Hook) -> Result<P, Refusal>
where
    P: TryFrom<&'a mut Program, Error = ProgramError>,
{
    let name = load::program_name(hook);
    ebpf.program_mut(name)
        .ok_or(ProgramError::NotLoaded)
        .and_then(P::try_from)
        .map_err(|error| Refusal::new(format!("program {name}: {error}")))
}
