//! What the programs counted, summed over the CPUs.

use std::collections::BTreeMap;

use plugin_common::abi::{Counter, InterfaceStats};
use plugin_common::verdict::Reason;
use serde::{Deserialize, Serialize};

/// What one program saw on one interface since it was attached.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traffic {
    /// What was let through.
    pub passed: Count,
    /// What was dropped, by reason; reasons that never occurred are left out.
    pub dropped: BTreeMap<String, Count>,
    /// Packets that `log` did not report, over its rate.
    pub log_suppressed: u64,
}

/// Packets and bytes, from the Ethernet header on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Count {
    /// Number of packets; of a GSO packet at TC, its segments.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl Traffic {
    pub(super) fn sum(per_cpu: &[InterfaceStats]) -> Self {
        let mut traffic = Self::default();
        for stats in per_cpu {
            let InterfaceStats { counters, log_suppressed, log_window_ns: _, log_in_window: _ } =
                stats;
            traffic.log_suppressed += log_suppressed;
            for (reason, counter) in Reason::ALL.iter().zip(counters) {
                traffic.add(*reason, *counter);
            }
        }
        traffic
    }

    /// Adds what was let through, and counted elsewhere.
    pub(super) fn let_through(&mut self, counter: Counter) {
        self.add(Reason::Passed, counter);
    }

    /// Packets dropped, for whatever reason.
    #[must_use]
    pub fn dropped_packets(&self) -> u64 {
        self.dropped.values().map(|count| count.packets).sum()
    }

    fn add(&mut self, reason: Reason, Counter { packets, bytes }: Counter) {
        if packets == 0 {
            return;
        }
        let count = if reason.passes() {
            &mut self.passed
        } else {
            self.dropped.entry(reason.name().to_owned()).or_default()
        };
        count.packets += packets;
        count.bytes += bytes;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpus_are_summed_and_reasons_kept_apart() {
        let mut one = InterfaceStats::ZERO;
        one.counters[Reason::Passed as usize] = Counter { packets: 1, bytes: 60 };
        one.counters[Reason::Tcp as usize] = Counter { packets: 2, bytes: 120 };
        one.log_suppressed = 3;
        let traffic = Traffic::sum(&[one, one, InterfaceStats::ZERO]);
        assert_eq!(traffic.passed, Count { packets: 2, bytes: 120 });
        assert_eq!(traffic.dropped["drop-tcp"], Count { packets: 4, bytes: 240 });
        assert_eq!((traffic.dropped.len(), traffic.dropped_packets()), (1, 4));
        assert_eq!(traffic.log_suppressed, 6);
    }
}
