//! Layout of the maps and records that the kernel programs and user space exchange.
//!
//! Integers are in the byte order of the machine unless a field says otherwise; addresses are in
//! network byte order. No struct here has implicit padding, and none is defined a second time
//! elsewhere.

use crate::connection::flow::WAYS;
use crate::presets::Presets;
use crate::verdict::Reason;

/// Name of the hash map from ifindex (`u32`) to [`InterfacePolicy`].
pub const POLICY_MAP: &str = "POLICY";
/// Name of the per-CPU hash map from [`StatsKey`] to [`InterfaceStats`].
pub const STATS_MAP: &str = "STATS";
/// Name of the ring buffer of [`crate::report::PacketRecord`]s.
pub const EVENTS_MAP: &str = "EVENTS";
/// Name of the XDP program for what a container sends.
pub const XDP_PROGRAM: &str = "ebpf_netns_xdp";
/// Name of the TC program for what a container sends: TC ingress of the host-side veth.
pub const EGRESS_PROGRAM: &str = "ebpf_netns_out";
/// Name of the TC program for what a container receives: TC egress of the host-side veth.
pub const INGRESS_PROGRAM: &str = "ebpf_netns_in";

/// Name of the array of [`RuleImage`]s.
pub const IMAGES_MAP: &str = "IMAGES";
/// Name of the array of [`Block`]s.
pub const BLOCKS_MAP: &str = "BLOCKS";
/// Name of the array of leaves: numbers of blocks (`u32`).
pub const LEAVES_MAP: &str = "LEAVES";
/// Name of the array of [`FlowBucket`]s.
pub const FLOWS_MAP: &str = "FLOWS";
/// Name of the array whose one entry is the [`FlowSecret`].
pub const SECRET_MAP: &str = "SECRET";
/// Name of the array of [`Counter`]s of rules.
pub const HITS_MAP: &str = "HITS";
/// Name of the array of [`Lane`]s, by the lower bits of an ifindex.
pub const LANES_MAP: &str = "LANES";
/// Name of the per-CPU hash map from [`PaceKey`](crate::report::PaceKey) to
/// [`Pace`](crate::report::Pace).
pub const PACES_MAP: &str = "PACES";
/// Name of the per-CPU array of [`Passes`].
pub const PASSES_MAP: &str = "PASSES";

/// Name of the global (`u64`) that says how many nanoseconds a tick of the kernel takes; 0 where the
/// programs are to ask a clock.
pub const JIFFY_GLOBAL: &str = "JIFFY_NS";
/// Name of the global (`u64`) that says how many nanoseconds the count of ticks is ahead of the clock.
pub const JIFFIES_AHEAD_GLOBAL: &str = "JIFFIES_AHEAD_NS";

/// Entries of [`IMAGES_MAP`].
pub const MAX_IMAGES: usize = 4096;
/// Entries of [`BLOCKS_MAP`].
pub const MAX_BLOCKS: usize = 65_536;
/// Entries of [`LEAVES_MAP`].
pub const MAX_LEAVES: usize = 262_144;
/// Entries of [`HITS_MAP`].
pub const MAX_HITS: usize = 65_536;
/// Entries of [`FLOWS_MAP`].
pub const MAX_BUCKETS: usize = 131_072;
/// Entries of [`LANES_MAP`], a power of two.
pub const MAX_LANES: usize = 65_536;
/// Entries of [`PASSES_MAP`]: one for each table of connections there can be.
pub const MAX_PASSES: usize = MAX_BUCKETS >> TABLE_SHIFT;
/// A table of connections has a power of two of buckets, this power at least: so no two of them begin
/// among the same so many.
pub const TABLE_SHIFT: u32 = 6;

/// The policy of one host-side veth: value of [`POLICY_MAP`].
///
/// Directions are the container's. An interface that a program is attached to and that has no
/// entry is closed ([`Reason::NoPolicy`]).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InterfacePolicy {
    /// Applied by XDP to what the container sends.
    pub xdp: Presets,
    /// Applied by TC to what the container sends.
    pub egress: Presets,
    /// Applied by TC to what the container receives.
    pub ingress: Presets,
    /// The number of the [`RuleImage`] that TC applies too; 0 for none.
    pub rules: u32,
}

const _: () = assert!(size_of::<InterfacePolicy>() == 16);

impl InterfacePolicy {
    /// The same policy, with these watches on it and no others.
    #[must_use]
    pub const fn watched(self, watches: Presets) -> Self {
        let watches = Presets::from_bits(watches.bits() & Presets::WATCHES.bits());
        let Self { xdp, egress, ingress, rules } = self;
        Self {
            xdp: xdp.without(Presets::WATCHES).union(watches),
            egress: egress.without(Presets::WATCHES).union(watches),
            ingress: ingress.without(Presets::WATCHES).union(watches),
            rules,
        }
    }

    /// What the programs assume of an interface that has no entry: nothing passes.
    pub const CLOSED: Self = Self {
        xdp: Presets::UNASSIGNED,
        egress: Presets::UNASSIGNED,
        ingress: Presets::UNASSIGNED,
        rules: 0,
    };
}

/// The short way from an interface to its rules, past [`POLICY_MAP`]: value of [`LANES_MAP`].
///
/// It says the same as the policy, or nothing: whoever finds it closed, or finds the rules to be
/// another interface's, looks the policy up. It is closed before a policy changes and opened after
/// that. The upper half is the lower one inverted, so that no mixture of an open and a closed one
/// passes for open: the kernel copies values byte by byte.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lane(pub u32);

impl Lane {
    /// Says nothing.
    pub const CLOSED: Self = Self(0);
    /// The bits of the number of an image.
    const RULES: u32 = 0xfff;
    /// The bits of an ifindex that name a place.
    const PLACES: u32 = 0xffff;
    /// No preset does anything to what the container sends.
    const EGRESS: u32 = 1 << 12;
    /// No preset does anything to what it receives.
    const INGRESS: u32 = 1 << 13;

    /// The place of an interface's.
    #[inline(always)]
    #[must_use]
    pub const fn place(ifindex: u32) -> u32 {
        ifindex & Self::PLACES
    }

    /// The one that says what a policy does.
    #[must_use]
    pub const fn of(policy: &InterfacePolicy) -> Self {
        let mut half = policy.rules;
        if half == 0 || half > Self::RULES {
            return Self::CLOSED;
        }
        if policy.egress.bits() == Presets::PASS.bits() {
            half |= Self::EGRESS;
        }
        if policy.ingress.bits() == Presets::PASS.bits() {
            half |= Self::INGRESS;
        }
        Self((!half & 0xffff) << 16 | half)
    }

    /// The number of the [`RuleImage`] that alone decides over what the container sends, or receives.
    #[inline(always)]
    #[must_use]
    pub const fn rules(self, sent: bool) -> Option<u32> {
        let plain = if sent { Self::EGRESS } else { Self::INGRESS };
        let is_open = (self.0 ^ self.0 >> 16) & 0xffff == 0xffff;
        if is_open && self.0 & plain != 0 { Some(self.0 & Self::RULES) } else { None }
    }
}

const _: () = assert!(Lane::RULES as usize == MAX_IMAGES - 1);
const _: () = assert!(Lane::PLACES as usize == MAX_LANES - 1);

/// What was let through to and from one interface by rules, on one CPU: value of [`PASSES_MAP`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Passes {
    /// What the container sent.
    pub egress: Counter,
    /// What it received.
    pub ingress: Counter,
}

/// A node of a search, or a set of rules: see [`crate::rules`]. All blocks are alike, and what one
/// is follows from how it was come to.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Block(pub [u64; 8]);

const _: () = assert!(size_of::<Block>() == 64);

/// A search for the set of rules that match a value.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Search {
    /// The block of the tree's root; the levels follow, each as long as it can be.
    pub root: u32,
    /// Levels of the tree; 0 where all values are alike.
    pub depth: u32,
    /// The first leaf.
    pub leaves: u32,
}

/// The rules of one direction.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RuleTable {
    /// Words of a set that are in use; 0 for no rules, which let everything pass.
    pub words: u32,
    /// Bit `n` is set where word `n` is the last of a layer.
    pub layer_ends: u32,
    /// Bit `n` is set where word `n` belongs to a layer that counts and does not drop.
    pub audited: u32,
    /// The counter of the first rule, in [`HITS_MAP`].
    pub counters: u32,
    /// For addresses of IPv4, as a number.
    pub v4: Search,
    /// For addresses of IPv6, as a number.
    pub v6: Search,
    /// For services: [`crate::rules::service`].
    pub service: Search,
    /// The block with the rules that deny.
    pub deny: u32,
    /// The block with the rules that report.
    pub log: u32,
    /// Nothing.
    pub reserved: u32,
}

const _: () = assert!(size_of::<RuleTable>() == 64);

/// What a container has been given: nothing else is its own.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Endpoint {
    /// Its addresses of IPv4 in network byte order; 0 where there are fewer.
    pub v4: [u32; 4],
    /// Its addresses of IPv6, the link-local one too; 0 where there are fewer.
    pub v6: [[u8; 16]; 4],
    /// Its MAC address.
    pub mac: [u8; 6],
    /// Whether the sender of packets is checked.
    pub checked: u16,
}

const _: () = assert!(size_of::<Endpoint>() == 88);

/// The rules of one interface: value of [`IMAGES_MAP`]. It is written whole before a policy names
/// it, and not changed while one does.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RuleImage {
    /// For connections that the container begins.
    pub egress: RuleTable,
    /// For connections to the container.
    pub ingress: RuleTable,
    /// What is the container's.
    pub endpoint: Endpoint,
    /// Its first bucket in [`FLOWS_MAP`].
    pub flows: u32,
    /// The number of its buckets, a power of two, less one.
    pub flows_mask: u32,
    /// Which of its policies this is; of it, the bits of [`crate::connection::flow::EPOCH`] count.
    pub epoch: u32,
    /// The interface.
    pub ifindex: u32,
    /// What of the other maps is this image's, for the next daemon.
    pub extent: Extent,
}

impl RuleImage {
    /// The entry of [`PASSES_MAP`].
    #[inline(always)]
    #[must_use]
    pub const fn passes(&self) -> u32 {
        self.flows >> TABLE_SHIFT
    }
}

const _: () = assert!(size_of::<RuleImage>() == 256);

/// Entries of maps, each from one on.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extent {
    /// The first of [`BLOCKS_MAP`].
    pub first_block: u32,
    /// How many.
    pub blocks: u32,
    /// The first of [`LEAVES_MAP`].
    pub first_leaf: u32,
    /// How many.
    pub leaves: u32,
    /// The first of [`HITS_MAP`].
    pub first_counter: u32,
    /// How many.
    pub counters: u32,
}

/// Connections with the same lower bits of their fingerprints: value of [`FLOWS_MAP`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FlowBucket {
    /// 0 where there is none.
    pub fingerprints: [u64; WAYS],
    /// [`crate::connection::flow::FlowState`].
    pub states: [u64; WAYS],
}

const _: () = assert!(size_of::<FlowBucket>() == 128);

/// What fingerprints of connections are made with: random, and known to nobody.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowSecret(pub [u64; 24]);

/// Which program judged a packet.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Observer {
    /// XDP on the host-side veth: the container's egress.
    Xdp = 0,
    /// TC ingress of the host-side veth: the container's egress.
    Egress = 1,
    /// TC egress of the host-side veth: the container's ingress.
    Ingress = 2,
    /// TC on whichever side a preset's own object was attached to by hand, which a program
    /// cannot tell.
    Tc = 3,
}

/// Key of [`STATS_MAP`].
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatsKey {
    /// The interface that the program is attached to.
    pub ifindex: u32,
    /// An [`Observer`] as a number.
    pub observer: u32,
}

const _: () = assert!(size_of::<StatsKey>() == 8);

/// Packets and bytes with one outcome.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counter {
    /// Number of packets; a GSO packet counts as the segments that it becomes, where the hook
    /// can tell (TC).
    pub packets: u64,
    /// Bytes from the Ethernet header on.
    pub bytes: u64,
}

/// What one program saw on one interface and one CPU: value of [`STATS_MAP`].
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InterfaceStats {
    /// One counter for each [`Reason`], in its order.
    pub counters: [Counter; Reason::COUNT],
    /// Start of the current window of the `log` preset, in nanoseconds of the monotonic clock.
    pub log_window_ns: u64,
    /// Records written in that window.
    pub log_in_window: u64,
    /// Packets that `log` did not report: over the rate, or because the ring buffer was full.
    pub log_suppressed: u64,
}

const _: () = assert!(size_of::<InterfaceStats>() == 16 * Reason::COUNT + 24);

impl InterfaceStats {
    /// Nothing seen yet.
    pub const ZERO: Self = Self {
        counters: [Counter { packets: 0, bytes: 0 }; Reason::COUNT],
        log_window_ns: 0,
        log_in_window: 0,
        log_suppressed: 0,
    };
}

/// Records that `log` writes in one [`LOG_WINDOW_NS`], for each interface, program and CPU.
pub const LOG_BURST: u64 = 20;
/// Length of the window that [`LOG_BURST`] counts in, in nanoseconds.
pub const LOG_WINDOW_NS: u64 = 1_000_000_000;
/// Size of the ring buffer in bytes.
pub const EVENTS_BYTES: usize = 256 * 1024;

#[cfg(feature = "user")]
mod pod {
    use super::{
        Block, Counter, FlowBucket, FlowSecret, InterfacePolicy, InterfaceStats, Lane, Passes,
        RuleImage, StatsKey,
    };
    use crate::report::{Pace, PaceKey};

    // SAFETY: `repr(C)` of four words: no padding, every bit pattern is a value.
    unsafe impl aya::Pod for InterfacePolicy {}
    // SAFETY: words alone.
    unsafe impl aya::Pod for Block {}
    // SAFETY: two words.
    unsafe impl aya::Pod for Counter {}
    // SAFETY: one word.
    unsafe impl aya::Pod for Lane {}
    // SAFETY: four words.
    unsafe impl aya::Pod for Passes {}
    // SAFETY: words alone.
    unsafe impl aya::Pod for FlowBucket {}
    // SAFETY: words alone.
    unsafe impl aya::Pod for FlowSecret {}
    // SAFETY: `repr(C)` of words, and of bytes that fill them: no padding, every bit pattern is a
    // value.
    unsafe impl aya::Pod for RuleImage {}
    // SAFETY: `repr(C)` of two `u32`: no padding, every bit pattern is a value.
    unsafe impl aya::Pod for StatsKey {}
    // SAFETY: `repr(C)` of `u64` alone: no padding, every bit pattern is a value.
    unsafe impl aya::Pod for InterfaceStats {}
    // SAFETY: three words.
    unsafe impl aya::Pod for PaceKey {}
    // SAFETY: `repr(C)` of `u64` alone.
    unsafe impl aya::Pod for Pace {}
}
