//! The maps, and the only accesses to their values.

use core::hint::black_box;

use aya_ebpf::bindings::{BPF_F_NO_PREALLOC, BPF_NOEXIST};
use aya_ebpf::btf_maps::{Array, HashMap, PerCpuArray, PerCpuHashMap, RingBuf};
use aya_ebpf::macros::btf_map;
use aya_ebpf::maps::ring_buf::RingBufEntry;
use plugin_common::abi::{
    Block, Counter, EVENTS_BYTES, FlowBucket, FlowSecret, InterfacePolicy, InterfaceStats, Lane,
    MAX_BLOCKS, MAX_BUCKETS, MAX_HITS, MAX_IMAGES, MAX_LANES, MAX_LEAVES, MAX_PASSES, Passes,
    RuleImage, StatsKey,
};
use plugin_common::connection::flow::{self, FlowState};
use plugin_common::packet::Packet;
use plugin_common::presets::Presets;
use plugin_common::report::{Pace, PaceKey, PacketRecord};
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

#[btf_map]
static PACES: PerCpuHashMap<PaceKey, Pace, MAX_INTERFACES, ON_DEMAND> = PerCpuHashMap::new();

#[btf_map]
static IMAGES: Array<RuleImage, MAX_IMAGES> = Array::new();

#[btf_map]
static BLOCKS: Array<Block, MAX_BLOCKS> = Array::new();

#[btf_map]
static LEAVES: Array<u32, MAX_LEAVES> = Array::new();

#[btf_map]
static FLOWS: Array<FlowBucket, MAX_BUCKETS> = Array::new();

#[btf_map]
static SECRET: Array<FlowSecret, 1> = Array::new();

#[btf_map]
static HITS: Array<Counter, MAX_HITS> = Array::new();

#[btf_map]
static LANES: Array<u32, MAX_LANES> = Array::new();

#[btf_map]
static PASSES: PerCpuArray<Passes, MAX_PASSES> = PerCpuArray::new();

/// The packet that this CPU looks at. Words, for [`Packet`] is no type that BTF could describe.
#[btf_map]
static PACKET: PerCpuArray<[u64; PACKET_WORDS], 1> = PerCpuArray::new();

const PACKET_WORDS: usize = size_of::<Packet>().div_ceil(8);
const _: () = assert!(align_of::<Packet>() <= 8);

/// In memory of the object's own, since the value is too large for a program's stack of 512 bytes.
static NOTHING_SEEN: InterfaceStats = InterfaceStats::ZERO;

/// In memory too: it would be put together on the stack in a loop, which takes `CAP_PERFMON`.
static NO_PACE: Pace = Pace { window_ns: 0, in_window: 0, suppressed: 0 };

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
            rules: 0,
        },
    }
}

/// What is known of an interface without looking its policy up.
#[inline(always)]
#[must_use]
pub fn lane(ifindex: u32) -> Option<Lane> {
    LANES.get(Lane::place(ifindex)).map(|lane| Lane(*lane))
}

/// The packet that this CPU looks at.
#[inline(always)]
#[must_use]
pub fn packet() -> Option<&'static Packet> {
    // SAFETY: the place is aligned and large enough, and `packet_mut` filled it: until then it is
    // all zeros, which is a packet too.
    PACKET.get_ptr(0).map(|place| unsafe { &*place.cast::<Packet>() })
}

/// As [`packet`], to be filled.
#[inline(always)]
#[must_use]
pub fn packet_mut() -> Option<&'static mut Packet> {
    // SAFETY: as above; nobody else has it.
    PACKET.get_ptr_mut(0).map(|place| unsafe { &mut *place.cast::<Packet>() })
}

/// The rules of a policy.
#[inline(always)]
#[must_use]
pub fn image(number: u32) -> Option<&'static RuleImage> {
    IMAGES.get(number)
}

/// A block of the rules' tables.
#[inline(always)]
#[must_use]
pub fn block(number: u32) -> Option<&'static Block> {
    BLOCKS.get(number)
}

/// A leaf of a search.
#[inline(always)]
#[must_use]
pub fn leaf(number: u32) -> Option<u32> {
    LEAVES.get(number).copied()
}

/// The secret of the fingerprints.
#[inline(always)]
#[must_use]
pub fn secret() -> Option<&'static FlowSecret> {
    SECRET.get(0)
}

/// A bucket of connections.
#[inline(always)]
#[must_use]
pub fn bucket(number: u32) -> Option<Bucket> {
    FLOWS.get_ptr_mut(number).map(Bucket)
}

/// Counts a packet that rules let through; one that cannot be counted passes all the same.
#[inline(always)]
pub fn pass<const SENT: bool>(image: &RuleImage, packets: u32, bytes: u32) {
    let Some(passes) = PASSES.get_ptr_mut(image.passes()) else { return };
    // SAFETY: the pointer comes from a lookup that succeeded, and is this CPU's alone.
    let passes = unsafe { &mut *passes };
    let counter = if SENT { &mut passes.egress } else { &mut passes.ingress };
    counter.packets += u64::from(packets);
    counter.bytes += u64::from(bytes);
}

/// Counts a packet that a rule decided over.
#[inline(always)]
pub fn hit(counter: u32, packets: u32, bytes: u32) {
    if let Some(counter) = HITS.get_ptr_mut(counter) {
        // SAFETY: the pointer comes from a lookup that succeeded.
        let packet_counter = unsafe { &raw mut (*counter).packets };
        // SAFETY: as above.
        let byte_counter = unsafe { &raw mut (*counter).bytes };
        atomic_add(packet_counter, u64::from(packets));
        atomic_add(byte_counter, u64::from(bytes));
    }
}

/// Adds to a number that other processors add to.
#[inline(always)]
#[cfg(target_arch = "bpf")]
pub(crate) fn atomic_add(number: *mut u64, more: u64) {
    // SAFETY: the pointer is into a map's value, and aligned.
    unsafe {
        core::arch::asm!(
            "lock *(u64 *)({number} + 0) += {more}",
            number = in(reg) number,
            more = in(reg) more,
        );
    }
}

#[cfg(not(target_arch = "bpf"))]
pub(crate) fn atomic_add(_number: *mut u64, _more: u64) {}

/// A bucket of connections, which other processors write too.
#[derive(Clone, Copy)]
pub struct Bucket(*mut FlowBucket);

impl flow::Bucket for Bucket {
    #[inline(always)]
    fn fingerprint(&self, way: usize) -> u64 {
        // SAFETY: the pointer comes from a lookup that succeeded, and the way is a constant.
        let first = unsafe { (&raw const (*self.0).fingerprints).cast::<u64>() };
        // SAFETY: as above.
        let place = unsafe { first.add(way) };
        // SAFETY: as above.
        unsafe { place.read_volatile() }
    }

    #[inline(always)]
    fn state(&self, way: usize) -> FlowState {
        // SAFETY: as above.
        let first = unsafe { (&raw const (*self.0).states).cast::<u64>() };
        // SAFETY: as above.
        let place = unsafe { first.add(way) };
        // SAFETY: as above.
        FlowState(unsafe { place.read_volatile() })
    }

    #[inline(always)]
    fn set_fingerprint(&self, way: usize, fingerprint: u64) {
        // SAFETY: as above.
        let first = unsafe { (&raw mut (*self.0).fingerprints).cast::<u64>() };
        // SAFETY: as above.
        let place = unsafe { first.add(way) };
        // SAFETY: as above.
        unsafe { place.write_volatile(fingerprint) };
    }

    #[inline(always)]
    fn set_state(&self, way: usize, state: FlowState) {
        // SAFETY: as above.
        let first = unsafe { (&raw mut (*self.0).states).cast::<u64>() };
        // SAFETY: as above.
        let place = unsafe { first.add(way) };
        // SAFETY: as above.
        unsafe { place.write_volatile(state.0) };
    }
}

/// Counts a packet; 1 where nothing can be counted.
///
/// What an object's function of the name `ebpf_netns_count` does: one that is verified by itself,
/// since there are many reasons.
#[inline(always)]
#[must_use]
pub fn count(ifindex: u32, observer: u32, reason: u32, packets: u32, bytes: u32) -> u32 {
    let Some(stats) = stats(StatsKey { ifindex, observer }) else { return 1 };
    // In the order of the reasons.
    let [
        passed,
        all,
        tcp,
        udp,
        icmp,
        truncated,
        malformed,
        unknown,
        closed,
        no_policy,
        denied,
        no_rule,
        spoofed_mac,
        spoofed_address,
        spoofed_neighbour,
        rogue_router,
        rogue_server,
        lone_fragment,
        flow_table_full,
        source_route,
    ] = &mut stats.get().counters;
    // Each at a place that is a constant. After an offset into a value that is not, and
    // without `CAP_PERFMON`, the verifier takes no two states for the same any more, and does
    // not come to an end.
    match reason {
        number if number == Reason::Passed as u32 => add(passed, packets, bytes),
        number if number == Reason::All as u32 => add(all, packets, bytes),
        number if number == Reason::Tcp as u32 => add(tcp, packets, bytes),
        number if number == Reason::Udp as u32 => add(udp, packets, bytes),
        number if number == Reason::Icmp as u32 => add(icmp, packets, bytes),
        number if number == Reason::Truncated as u32 => add(truncated, packets, bytes),
        number if number == Reason::Malformed as u32 => add(malformed, packets, bytes),
        number if number == Reason::UnknownEthertype as u32 => add(unknown, packets, bytes),
        number if number == Reason::Closed as u32 => add(closed, packets, bytes),
        number if number == Reason::NoPolicy as u32 => add(no_policy, packets, bytes),
        number if number == Reason::Denied as u32 => add(denied, packets, bytes),
        number if number == Reason::NoRule as u32 => add(no_rule, packets, bytes),
        number if number == Reason::SpoofedMac as u32 => add(spoofed_mac, packets, bytes),
        number if number == Reason::SpoofedAddress as u32 => add(spoofed_address, packets, bytes),
        number if number == Reason::SpoofedNeighbour as u32 => {
            add(spoofed_neighbour, packets, bytes);
        }
        number if number == Reason::RogueRouter as u32 => add(rogue_router, packets, bytes),
        number if number == Reason::RogueServer as u32 => add(rogue_server, packets, bytes),
        number if number == Reason::LoneFragment as u32 => add(lone_fragment, packets, bytes),
        number if number == Reason::FlowTableFull as u32 => add(flow_table_full, packets, bytes),
        number if number == Reason::SourceRoute as u32 => add(source_route, packets, bytes),
        _ => {}
    }
    0
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
    /// To be changed.
    #[inline(always)]
    pub(crate) fn get(self) -> &'static mut InterfaceStats {
        // SAFETY: the pointer comes from a lookup that succeeded, and is this CPU's alone.
        unsafe { &mut *self.0 }
    }
}

/// How much this CPU told of late to whoever watches, made on first use; `None` when there is no room.
#[inline(always)]
#[expect(
    clippy::needless_borrows_for_generic_args,
    reason = "by value it would be copied to the stack"
)]
pub(crate) fn pace(key: &PaceKey) -> Option<&'static mut Pace> {
    let place = match PACES.get_ptr_mut(key) {
        Some(place) => place,
        None => {
            PACES.insert(key, &NO_PACE, BPF_NOEXIST.into()).ok();
            PACES.get_ptr_mut(key)?
        }
    };
    // SAFETY: as above.
    Some(unsafe { &mut *place })
}

/// Room for a record, unless nobody takes them out.
#[inline(always)]
pub(crate) fn record() -> Option<RingBufEntry<PacketRecord>> {
    EVENTS.reserve_untyped(0)
}

#[inline(always)]
fn add(counter: &mut Counter, packets: u32, bytes: u32) {
    counter.packets += u64::from(packets);
    counter.bytes += u64::from(bytes);
    // Keeps the compiler from making one place of all of them again.
    black_box(());
}
