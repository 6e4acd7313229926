//! The presets of a policy, as a bit set that travels in a map value.

use core::ops::BitOr;

use crate::verdict::Reason;

/// A set of presets; the empty set is `pass`.
///
/// One word, so that a policy changes by one map write. The bits are ABI: they are never given
/// another meaning, only added to.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Presets(u32);

impl Presets {
    /// Let everything pass.
    pub const PASS: Self = Self(0);
    /// Drop every frame, ARP and neighbour discovery included.
    pub const DROP_ALL: Self = Self(1 << 0);
    /// Drop TCP over IPv4 and IPv6.
    pub const DROP_TCP: Self = Self(1 << 1);
    /// Drop UDP over IPv4 and IPv6.
    pub const DROP_UDP: Self = Self(1 << 2);
    /// Drop ICMP and `ICMPv6`, except neighbour discovery.
    pub const DROP_ICMP: Self = Self(1 << 3);
    /// Report each packet, rate-limited.
    pub const LOG: Self = Self(1 << 4);
    /// Drop every frame because the container's policy could not be understood.
    ///
    /// Not a preset that a user can ask for: it is what an error in a label becomes, told apart
    /// from [`Self::DROP_ALL`] so that counters name the cause.
    pub const CLOSED: Self = Self(1 << 5);

    /// Drop every frame because the interface has no policy: what a program assumes when it finds
    /// none.
    pub const UNASSIGNED: Self = Self(1 << 6);
    /// Report what is dropped to whoever listens. Changes no verdict, and neither do the next two:
    /// they are set on an interface while somebody watches it, and no label can name them.
    pub const WATCH_DROPS: Self = Self(1 << 7);
    /// Report what passes to whoever listens.
    pub const WATCH_PASSES: Self = Self(1 << 8);
    /// Hand frames themselves to whoever captures them.
    pub const CAPTURE: Self = Self(1 << 9);

    /// What somebody who watches an interface can want of it: no part of its policy.
    pub const WATCHES: Self = Self(Self::WATCH_DROPS.0 | Self::WATCH_PASSES.0 | Self::CAPTURE.0);

    /// The presets for which a frame has to be read.
    const SELECTIVE: Self = Self(Self::DROP_TCP.0 | Self::DROP_UDP.0 | Self::DROP_ICMP.0);

    /// Those for which a packet is reported, or may be.
    const REPORTING: Self = Self(Self::LOG.0 | Self::WATCH_DROPS.0 | Self::WATCH_PASSES.0);

    /// The bits that have a meaning.
    const KNOWN: Self = Self((1 << 10) - 1);

    /// Every preset that a label can name, with its name.
    pub const NAMED: [(&'static str, Self); 6] = [
        ("pass", Self::PASS),
        ("drop-all", Self::DROP_ALL),
        ("drop-tcp", Self::DROP_TCP),
        ("drop-udp", Self::DROP_UDP),
        ("drop-icmp", Self::DROP_ICMP),
        ("log", Self::LOG),
    ];

    /// The set with exactly these bits, unknown ones included.
    #[must_use]
    pub const fn from_bits(bits: u32) -> Self {
        Self(bits)
    }

    /// The bits, in the byte order of the machine.
    #[must_use]
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// Whether every preset of `other` is in this set.
    #[inline(always)]
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether the verdict depends on what is in the frame.
    #[inline(always)]
    #[must_use]
    pub const fn is_selective(self) -> bool {
        self.0 & Self::SELECTIVE.0 != 0
    }

    /// Whether the frame has to be read at all, be it for the verdict or for a report.
    #[inline(always)]
    #[must_use]
    pub const fn needs_frame(self) -> bool {
        self.0 & (Self::SELECTIVE.0 | Self::REPORTING.0) != 0
    }

    /// Whether some packets are reported.
    #[inline(always)]
    #[must_use]
    pub const fn reports(self) -> bool {
        self.0 & Self::REPORTING.0 != 0
    }

    /// Whether whoever listens is told of packets of which this became.
    #[inline(always)]
    #[must_use]
    pub const fn watches(self, reason: Reason) -> bool {
        self.contains(if reason.passes() { Self::WATCH_PASSES } else { Self::WATCH_DROPS })
    }

    /// Whether a bit is set that has no meaning here, as a newer version of user space may write:
    /// what to drop is then not known.
    #[inline(always)]
    #[must_use]
    pub const fn has_unknown(self) -> bool {
        self.0 & !Self::KNOWN.0 != 0
    }

    /// Both sets: a packet passes when each of them lets it pass.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// This set without the presets of `other`.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }
}

impl BitOr for Presets {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        self.union(other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_named_preset_but_pass_has_a_bit_of_its_own() {
        let mut seen = 0;
        for (name, preset) in Presets::NAMED {
            assert_eq!(seen & preset.bits(), 0, "{name} shares a bit");
            assert_eq!(preset.bits() == 0, name == "pass", "only pass has no bit: {name}");
            seen |= preset.bits();
        }
        let internal = Presets::CLOSED | Presets::UNASSIGNED | Presets::WATCHES;
        assert_eq!(seen & internal.bits(), 0, "closed cannot be named by a label");
        assert_eq!(
            seen | internal.bits(),
            Presets::KNOWN.bits(),
            "a preset added to one is added to the other"
        );
    }

    #[test]
    fn a_bit_without_a_meaning_is_noticed() {
        for bit in 0..32 {
            let presets = Presets::from_bits(1 << bit);
            assert_eq!(presets.has_unknown(), bit >= 10, "bit {bit}");
        }
        assert!(!Presets::KNOWN.has_unknown() && !Presets::PASS.has_unknown());
    }

    #[test]
    fn a_union_contains_both_sides() {
        let both = Presets::DROP_TCP | Presets::LOG;
        assert!(both.contains(Presets::DROP_TCP) && both.contains(Presets::LOG));
        assert!(!both.contains(Presets::DROP_UDP));
        assert_eq!(both.without(Presets::LOG), Presets::DROP_TCP);
    }

    #[test]
    fn a_watch_is_for_drops_or_for_passes() {
        for (presets, drops, passes) in [
            (Presets::LOG, false, false),
            (Presets::WATCH_DROPS, true, false),
            (Presets::WATCH_PASSES | Presets::DROP_TCP, false, true),
            (Presets::WATCH_DROPS | Presets::WATCH_PASSES, true, true),
            (Presets::CAPTURE, false, false),
        ] {
            assert_eq!(presets.watches(Reason::Tcp), drops, "{presets:?}");
            assert_eq!(presets.watches(Reason::Passed), passes, "{presets:?}");
        }
    }
}
