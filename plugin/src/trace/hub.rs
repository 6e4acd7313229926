//! Handing what the kernel tells to everybody who listens.
//!
//! All of them have one queue of bounded length. Who is too slow for it loses what is oldest and is
//! told how much that was; nobody else notices, and nobody is waited for.

use std::collections::BTreeMap;
use std::time::Duration;

use plugin_common::report::{PaceKey, PacketRecord};
use tokio::sync::broadcast;
use tokio::time::sleep;

use crate::kernel::PaceCounters;

/// Events that are kept for who has not taken them yet.
const QUEUE: usize = 4096;
/// How often is looked whether something was not reported.
const LOOK: Duration = Duration::from_millis(500);

/// What there is to be heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// A packet.
    Packet(PacketRecord),
    /// Packets that the kernel did not report.
    KeptBack {
        /// Where, and what became of them.
        of: PaceKey,
        /// How many.
        packets: u64,
    },
}

/// Where it is to be heard.
#[derive(Clone, Debug)]
pub struct Hub(broadcast::Sender<Heard>);

impl Default for Hub {
    fn default() -> Self {
        Self(broadcast::Sender::new(QUEUE))
    }
}

impl Hub {
    /// Tells everybody who listens, if anybody does.
    pub fn tell(&self, heard: Heard) {
        if self.is_heard() {
            // Whoever listened may have gone.
            self.0.send(heard).ok();
        }
    }

    fn is_heard(&self) -> bool {
        self.0.receiver_count() > 0
    }

    pub(super) fn listen(&self) -> broadcast::Receiver<Heard> {
        self.0.subscribe()
    }
}

/// Tells what the kernel did not report, for as long as somebody listens. Never ends.
pub async fn count_kept_back(mut counters: PaceCounters, hub: Hub) {
    // Of a daemon before, and so nobody's.
    counters.clear();
    let mut before = BTreeMap::new();
    loop {
        sleep(LOOK).await;
        if !hub.is_heard() {
            if !before.is_empty() {
                counters.clear();
                before.clear();
            }
            continue;
        }
        for (key, kept_back) in counters.kept_back() {
            let PaceKey { ifindex, observer, reason } = key;
            let place = before.entry((ifindex, observer, reason)).or_insert(0);
            // Where it is less, somebody has begun anew.
            let packets = kept_back.checked_sub(*place).unwrap_or(kept_back);
            *place = kept_back;
            if packets > 0 {
                hub.tell(Heard::KeptBack { of: key, packets });
            }
        }
    }
}
