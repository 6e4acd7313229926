//! The engine's state for metrics. Whoever measures may do so often: nothing here asks the kernel or
//! anybody else, and counters of traffic are read by whoever asked.

use std::collections::BTreeSet;

use ebpf_netns::veth::VethPair;

use super::Engine;
use super::world::Watched;
use crate::kernel::CountedAt;
use crate::metrics::{ContainerSample, InterfaceSample, Sample};
use crate::plan::Hook;

impl Engine {
    /// Everything that is measured, as it is now.
    pub(super) fn sample(&self) -> Sample {
        let containers = self.world.containers.values();
        Sample {
            docker_reachable: matches!(self.world.docker, Some(Ok(_))),
            strict: self.strict.is_some(),
            config_taken: self.operator.refused.is_empty(),
            config_since: self.operator.since,
            quarantined: self.world.newcomers.held().count(),
            backlog: self.backlog.len(),
            counts: self.counts(),
            containers: containers.map(|container| self.container_sample(container)).collect(),
        }
    }

    fn container_sample(&self, container: &Watched) -> ContainerSample {
        let interfaces = container.pairs().map(|pair| InterfaceSample {
            name: pair.container.name.clone(),
            counted: self.counted(pair),
        });
        ContainerSample {
            id: container.facts.id.clone(),
            name: container.facts.name.clone(),
            state: self.state(container),
            interfaces: interfaces.collect(),
        }
    }

    /// Where the traffic of an interface is counted: once a hook, however many programs are at it.
    fn counted(&self, pair: &VethPair) -> Vec<CountedAt> {
        let ifindex = pair.host.index;
        let ways = self.world.enforced.get(&ifindex).map(|enforced| &enforced.current.ways);
        let hooks: BTreeSet<Hook> = ways.into_iter().flatten().map(|(hook, _)| *hook).collect();
        hooks.into_iter().map(|hook| self.kernel.counted_at(ifindex, hook)).collect()
    }
}
