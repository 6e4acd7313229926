//! The maps, and the only accesses to their values.

use core::hint::black_box;

use aya_ebpf::bindings::{BPF_F_NO_PREALLOC, BPF_NOEXIST};
use aya_ebpf::btf_maps::{HashMap, PerCpuHashMap, RingBuf};
use aya_ebpf::helpers::bpf_ktime_get_ns;
use aya_ebpf::macros::btf_map;
use plugin_common::abi::{
    Counter, EVENTS_BYTES, InterfacePolicy, InterfaceStats, LOG_BURST, LOG_WINDOW_NS, PacketRecord,
    StatsKey,
};
use plugin_common::presets::Presets;
use plugin_common::verdict::Reason;

const MAX_INTERFACES: usize = 65_536;

/// Entries are allocated as interfaces come: an idle map costs next to nothing.
const ON_DEMAND: usize = BPF_F_NO_PREALLOC as usize;

#[btf_map]
static POLICY: HashMap<u32, InterfacePolicy, MAX_INTERFACES, ON_DEMAND> = HashMap::new();

#[btf_map]
static STATS: PerCpuHashMap<StatsKey, InterfaceStats, MAX_INTERFACES, ON_DEMAND> =
    PerCpuHashMap::new();

// Without a value type: libbpf refuses a ring buffer that has one.
#[btf_map]
static EVENTS: RingBuf<(), EVENTS_BYTES> = RingBuf::new();

/// In memory of the object's own, since the value is too large for a program's stack of 512 bytes.
static NOTHING_SEEN: InterfaceStats = InterfaceStats::ZERO;

/// The policy of an interface, copied whole: user space replaces the entry, never edits it.
#[inline(always)]
#[must_use]
pub fn policy(ifindex: u32) -> InterfacePolicy {
    // SAFETY: the entry lives until the program ends (RCU), and is only ever replaced.
    match unsafe { POLICY.get(ifindex) } {
        Some(policy) => *policy,
        None => InterfacePolicy {
            xdp: Presets::UNASSIGNED,
            egress: Presets::UNASSIGNED,
            ingress: Presets::UNASSIGNED,
        },
    }
}

/// The statistics of this CPU, made on first use.
///
/// `None` when the map is full or memory is short: then nothing is counted, and the verdict
/// stands all the same.
#[inline(always)]
#[must_use]
#[expect(
    clippy::needless_borrows_for_generic_args,
    reason = "by value it would be copied to the stack, which is too small for it"
)]
pub fn stats(key: StatsKey) -> Option<Stats> {
    if let Some(found) = STATS.get_ptr_mut(key) {
        return Some(Stats(found));
    }
    // Another CPU may have made it meanwhile, which is as good.
    STATS.insert(key, &NOTHING_SEEN, BPF_NOEXIST.into()).ok();
    Some(Stats(STATS.get_ptr_mut(key)?))
}

/// One CPU's statistics of one interface, which no other CPU writes.
#[derive(Clone, Copy)]
pub struct Stats(*mut InterfaceStats);

impl Stats {
    /// Counts a packet.
    #[inline(always)]
    pub fn count(self, reason: Reason, packets: u32, bytes: u32) {
        // SAFETY: the pointer comes from a lookup that succeeded, and is this CPU's alone.
        let stats = unsafe { &mut *self.0 };
        // In the order of the reasons.
        let [passed, all, tcp, udp, icmp, truncated, malformed, unknown, closed, no_policy] =
            &mut stats.counters;
        // Each at a place that is a constant. After an offset into a value that is not, and
        // without `CAP_PERFMON`, the verifier takes no two states for the same any more, and does
        // not come to an end.
        match reason {
            Reason::Passed => add(passed, packets, bytes),
            Reason::All => add(all, packets, bytes),
            Reason::Tcp => add(tcp, packets, bytes),
            Reason::Udp => add(udp, packets, bytes),
            Reason::Icmp => add(icmp, packets, bytes),
            Reason::Truncated => add(truncated, packets, bytes),
            Reason::Malformed => add(malformed, packets, bytes),
            Reason::UnknownEthertype => add(unknown, packets, bytes),
            Reason::Closed => add(closed, packets, bytes),
            Reason::NoPolicy => add(no_policy, packets, bytes),
        }
    }

    /// Writes a record unless this CPU wrote enough of them lately; what is not written is
    /// counted.
    #[inline(always)]
    pub fn report(self, record: &PacketRecord) {
        // SAFETY: as above.
        let stats = unsafe { &mut *self.0 };
        // SAFETY: the helper takes no argument and returns a number.
        let now = unsafe { bpf_ktime_get_ns() };
        if now - stats.log_window_ns >= LOG_WINDOW_NS {
            stats.log_window_ns = now;
            stats.log_in_window = 0;
        }
        if stats.log_in_window < LOG_BURST
            && EVENTS.output_untyped::<PacketRecord>(record, 0).is_ok()
        {
            stats.log_in_window += 1;
        } else {
            stats.log_suppressed += 1;
        }
    }
}

#[inline(always)]
fn add(counter: &mut Counter, packets: u32, bytes: u32) {
    counter.packets += u64::from(packets);
    counter.bytes += u64::from(bytes);
    // Keeps the compiler from making one place of all of them again.
    black_box(());
}
