//! What the programs counted at each hook. Whoever tells of many reads them beside the engine, which
//! only says where they are.

use aya::maps::{Map, MapData, PerCpuArray, PerCpuHashMap};
use ebpf_netns::Ifindex;
use plugin_common::abi::{InterfaceStats, PASSES_MAP, Passes, STATS_MAP, StatsKey};

use super::load::LoadError;
use super::{Kernel, Traffic, observer, rules};
use crate::plan::Hook;

/// Counters of each program and interface.
pub(super) type Stats = PerCpuHashMap<MapData, StatsKey, InterfaceStats>;

/// Where the traffic at a hook of an interface is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CountedAt {
    /// The interface.
    pub ifindex: Ifindex,
    /// The hook.
    pub hook: Hook,
    /// Where what rules let through is counted, if it has rules.
    pub passes: Option<u32>,
}

/// The counters of all traffic, to be read.
pub struct TrafficCounters {
    stats: Stats,
    passes: PerCpuArray<MapData, Passes>,
}

impl TrafficCounters {
    /// What was counted there: nothing, if the interface is gone meanwhile.
    #[must_use]
    pub fn get(&self, at: CountedAt) -> Traffic {
        read(&self.stats, &self.passes, at)
    }
}

impl Kernel {
    /// Another handle of the counters of traffic.
    ///
    /// # Errors
    ///
    /// When a map cannot be opened.
    pub fn traffic_counters(&self) -> Result<TrafficCounters, LoadError> {
        let open = |name| {
            MapData::from_pin(self.pins.map(name))
                .map_err(|error| LoadError::Object(Box::new(error.into())))
        };
        let stats = PerCpuHashMap::try_from(Map::PerCpuHashMap(open(STATS_MAP)?));
        let passes = PerCpuArray::try_from(Map::PerCpuArray(open(PASSES_MAP)?));
        Ok(TrafficCounters {
            stats: stats.map_err(|_mismatch| LoadError::Missing(STATS_MAP))?,
            passes: passes.map_err(|_mismatch| LoadError::Missing(PASSES_MAP))?,
        })
    }

    /// Where the traffic at a hook of an interface is counted now.
    #[must_use]
    pub fn counted_at(&self, ifindex: Ifindex, hook: Hook) -> CountedAt {
        CountedAt { ifindex, hook, passes: self.rules.passes_of(ifindex) }
    }

    /// What the program of a hook saw on an interface.
    #[must_use]
    pub fn traffic(&self, ifindex: Ifindex, hook: Hook) -> Traffic {
        read(&self.stats, self.rules.passes(), self.counted_at(ifindex, hook))
    }
}

fn read(stats: &Stats, passes: &PerCpuArray<MapData, Passes>, at: CountedAt) -> Traffic {
    let CountedAt { ifindex, hook, passes: place } = at;
    let key = StatsKey { ifindex: ifindex.get(), observer: observer(hook) as u32 };
    let mut traffic =
        stats.get(&key, 0).map_or_else(|_| Traffic::default(), |stats| Traffic::sum(&stats));
    if let Some(place) = place {
        traffic.let_through(rules::passed(passes, place, hook));
    }
    traffic
}
