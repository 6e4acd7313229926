//! What each rule decided over, for whoever tells of it: read beside the engine, which has no time
//! to read as many counters as there can be.

use aya::maps::{Array, Map, MapData};
use plugin_common::abi::{Counter, HITS_MAP};

use super::load::LoadError;
use super::{Count, Kernel};

/// The counters of all rules, to be read.
pub struct HitCounters(Array<MapData, Counter>);

impl HitCounters {
    /// What the rule with the counter at this place decided over.
    #[must_use]
    pub fn get(&self, place: u32) -> Count {
        let Counter { packets, bytes } = self.0.get(&place, 0).unwrap_or_default();
        Count { packets, bytes }
    }
}

impl Kernel {
    /// Another handle of the counters of rules.
    ///
    /// # Errors
    ///
    /// When the map cannot be opened.
    pub fn hit_counters(&self) -> Result<HitCounters, LoadError> {
        let map = MapData::from_pin(self.pins.map(HITS_MAP))
            .map_err(|error| LoadError::Object(Box::new(error.into())))?;
        let counters = Array::try_from(Map::Array(map));
        counters.map(HitCounters).map_err(|_mismatch| LoadError::Missing(HITS_MAP))
    }
}
