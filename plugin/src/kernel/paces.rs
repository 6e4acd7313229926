//! How much of what somebody watches was not reported: read beside the engine.

use aya::maps::{Map, MapData, PerCpuHashMap};
use plugin_common::abi::PACES_MAP;
use plugin_common::report::{Pace, PaceKey};

use super::Kernel;
use super::load::LoadError;

/// The counters of what was not reported.
pub struct PaceCounters(PerCpuHashMap<MapData, PaceKey, Pace>);

impl PaceCounters {
    /// How many packets were not reported, by interface, program and reason.
    #[must_use]
    pub fn kept_back(&self) -> Vec<(PaceKey, u64)> {
        // What is gone meanwhile is left out.
        let all = self.0.iter().filter_map(Result::ok);
        all.map(|(key, paces)| (key, paces.iter().map(|pace| pace.suppressed).sum())).collect()
    }

    /// Begins anew.
    pub fn clear(&mut self) {
        let keys: Vec<PaceKey> = self.0.keys().filter_map(Result::ok).collect();
        for key in keys {
            // What is gone is as good as removed.
            self.0.remove(&key).ok();
        }
    }
}

impl Kernel {
    /// A handle of the counters of what was not reported.
    ///
    /// # Errors
    ///
    /// When the map cannot be opened.
    pub fn pace_counters(&self) -> Result<PaceCounters, LoadError> {
        let map = MapData::from_pin(self.pins.map(PACES_MAP))
            .map_err(|error| LoadError::Object(Box::new(error.into())))?;
        let counters = PerCpuHashMap::try_from(Map::PerCpuHashMap(map));
        counters.map(PaceCounters).map_err(|_mismatch| LoadError::Missing(PACES_MAP))
    }
}
