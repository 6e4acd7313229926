//! Telling of packets: to the daemon's log, and to whoever watches an interface. It decides nothing, and
//! where neither wants to know, nothing of it is run.

use plugin_common::abi::{LOG_BURST, LOG_WINDOW_NS, Observer, StatsKey};
use plugin_common::packet::Packet;
use plugin_common::report::{
    FOR_LOG, FOR_WATCH, Pace, PaceKey, PacketRecord, WATCH_BURST, WATCH_WINDOW_NS,
};
use plugin_common::verdict::Reason;

use crate::clock;
use crate::maps;

/// What became of a packet, and where.
pub(crate) struct Outcome {
    pub(crate) ifindex: u32,
    pub(crate) observer: Observer,
    pub(crate) reason: Reason,
    /// The counter of the rule that decided.
    pub(crate) rule: u32,
    pub(crate) length: u32,
}

/// Writes a record of a packet for the log, for who watches, or for both, unless there are too many.
#[inline(always)]
pub(crate) fn report(packet: &Packet, outcome: &Outcome, log: bool, watch: bool) {
    let mut wanted = 0;
    if log && within_log(outcome) {
        wanted |= FOR_LOG;
    }
    if watch && within_watch(outcome) {
        wanted |= FOR_WATCH;
    }
    if wanted == 0 {
        return;
    }
    if let Some(mut entry) = maps::record() {
        entry.write(record(packet, outcome, wanted));
        entry.submit(0);
        return;
    }
    if wanted & FOR_LOG != 0
        && let Some(stats) = maps::stats(log_key(outcome))
    {
        stats.get().log_suppressed += 1;
    }
    if wanted & FOR_WATCH != 0
        && let Some(pace) = maps::pace(&pace_key(outcome))
    {
        pace.suppressed += 1;
    }
}

/// Whether the log is to have another record; one that it is not to have is counted.
#[inline(always)]
fn within_log(outcome: &Outcome) -> bool {
    let Some(stats) = maps::stats(log_key(outcome)) else { return false };
    let stats = stats.get();
    let now = clock::exactly();
    if now - stats.log_window_ns >= LOG_WINDOW_NS {
        stats.log_window_ns = now;
        stats.log_in_window = 0;
    }
    if stats.log_in_window < LOG_BURST {
        stats.log_in_window += 1;
        true
    } else {
        stats.log_suppressed += 1;
        false
    }
}

/// As [`within_log`], for who watches.
#[inline(always)]
fn within_watch(outcome: &Outcome) -> bool {
    let Some(Pace { window_ns, in_window, suppressed }) = maps::pace(&pace_key(outcome)) else {
        return false;
    };
    let now = clock::nanoseconds();
    if now.wrapping_sub(*window_ns) >= WATCH_WINDOW_NS {
        *window_ns = now;
        *in_window = 0;
    }
    if *in_window < WATCH_BURST {
        *in_window += 1;
        true
    } else {
        *suppressed += 1;
        false
    }
}

#[inline(always)]
fn log_key(outcome: &Outcome) -> StatsKey {
    StatsKey { ifindex: outcome.ifindex, observer: outcome.observer as u32 }
}

#[inline(always)]
fn pace_key(outcome: &Outcome) -> PaceKey {
    let Outcome { ifindex, observer, reason, .. } = *outcome;
    PaceKey { ifindex, observer: observer as u32, reason: reason as u32 }
}

#[inline(always)]
fn record(packet: &Packet, outcome: &Outcome, wanted: u16) -> PacketRecord {
    let Outcome { ifindex, observer, reason, rule, length } = *outcome;
    PacketRecord {
        time_ns: clock::exactly(),
        ifindex,
        observer: observer as u32,
        reason: reason as u32,
        rule,
        length,
        wanted,
        tcp_flags: packet.tcp_flags.into(),
        ethertype: packet.ethertype,
        ip_version: packet.ip_version,
        protocol: packet.protocol,
        source_port: packet.source_port,
        destination_port: packet.destination_port,
        source: packet.source,
        destination: packet.destination,
    }
}
