//! What a capture of frames exchanges between the kernel programs and user space: who wants which
//! frames, and how a frame stands in a ring buffer. As in [`abi`](crate::abi), integers are in the byte
//! order of the machine, and nothing has implicit padding.

use crate::abi::Observer;

/// Name of the hash map from ifindex (`u32`) to [`Wishes`].
pub const CAPTURES_MAP: &str = "CAPTURES";
/// Name of the hash map from the place of a capture (`u32`) to its ring buffer, which is there only while
/// the capture is.
pub const CAPTURE_RINGS_MAP: &str = "CAPTURE_RINGS";
/// Name of the array, by the place of a capture, of how many frames found no room (`u64`).
pub const CAPTURE_LOST_MAP: &str = "CAPTURE_LOST";

/// How many captures there can be at a time.
pub const MAX_CAPTURES: usize = 4;
/// Entries of [`CAPTURES_MAP`].
pub const MAX_CAPTURED: usize = 4096;
/// So many bytes are kept of a frame at least: no frame has fewer, and programs copy several at once.
pub const MIN_KEPT: u32 = 14;
/// The most bytes that are kept of a frame.
pub const MAX_SNAPLEN: u32 = 1 << 16;
/// As many are kept at XDP by the programs for old kernels.
pub const MAX_SNAPLEN_DIRECT: u32 = 1 << 11;
/// The smallest room for a frame in a ring buffer, in bytes: the headers of most.
pub const SMALL_ROOM: usize = 88;
/// The size in bytes by which the programs are told of ring buffers: a real one is larger. Every size of
/// a page divides it.
pub const TEMPLATE_BYTES: usize = 1 << 16;

/// What one capture wants of one interface.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wish {
    /// How many bytes of a frame: [`MIN_KEPT`] or more.
    pub snaplen: u32,
    /// Of which frames: a bit for each [`Observer`] and outcome; none for no capture.
    pub what: u32,
}

impl Wish {
    /// The bit of what an observer lets pass, or drops.
    #[inline(always)]
    #[must_use]
    pub const fn bit(observer: u32, passed: bool) -> u32 {
        1 << ((observer & 7) << 1 | passed as u32)
    }

    /// This, and what an observer lets pass, or drops.
    #[must_use]
    pub const fn and(self, observer: Observer, passed: bool) -> Self {
        Self { snaplen: self.snaplen, what: self.what | Self::bit(observer as u32, passed) }
    }

    /// Whether it is about such a frame.
    #[inline(always)]
    #[must_use]
    pub const fn wants(self, observer: u32, passed: bool) -> bool {
        self.what & Self::bit(observer, passed) != 0
    }
}

/// What captures want of one interface, each at its own place: value of [`CAPTURES_MAP`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wishes(pub [Wish; MAX_CAPTURES]);

const _: () = assert!(size_of::<Wishes>() == 8 * MAX_CAPTURES);

/// What is told of a captured frame; its bytes follow.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// When the program had decided, in nanoseconds of the monotonic clock.
    pub time_ns: u64,
    /// The interface that the program is attached to.
    pub ifindex: u32,
    /// An [`Observer`] as a number.
    pub observer: u32,
    /// A [`Reason`](crate::verdict::Reason) as a number: what became of the frame.
    pub reason: u32,
    /// Bytes from the Ethernet header on.
    pub length: u32,
    /// How many of them follow.
    pub captured: u32,
    /// How many packets it becomes on the wire, where the hook can tell.
    pub segments: u32,
    /// The counter of the rule that decided, in [`HITS_MAP`](crate::abi::HITS_MAP);
    /// [`NO_RULE`](crate::connection::NO_RULE) if none did.
    pub rule: u32,
    /// As `rule`, of the audited one that would have dropped it.
    pub audited: u32,
}

const _: () = assert!(size_of::<Head>() == Head::BYTES);

impl Head {
    /// Its size in bytes.
    pub const BYTES: usize = 40;

    /// It with the bytes that are there of the frame, as a ring buffer has them. `None` of something else.
    #[must_use]
    pub fn split(record: &[u8]) -> Option<(Self, &[u8])> {
        let (head, rest) = record.split_first_chunk::<{ Self::BYTES }>()?;
        let head = Self::from_bytes(head);
        Some((head, rest.get(..usize::try_from(head.captured).ok()?)?))
    }

    /// Reads it as a ring buffer has it.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; Self::BYTES]) -> Self {
        let word = |at: usize| {
            let word = bytes.get(at..).and_then(|rest| rest.first_chunk());
            word.copied().map_or(0, u32::from_ne_bytes)
        };
        Self {
            time_ns: bytes.first_chunk().copied().map_or(0, u64::from_ne_bytes),
            ifindex: word(8),
            observer: word(12),
            reason: word(16),
            length: word(20),
            captured: word(24),
            segments: word(28),
            rule: word(32),
            audited: word(36),
        }
    }
}

#[cfg(feature = "user")]
mod pod {
    // SAFETY: `repr(C)` of words alone: no padding, every bit pattern is a value.
    unsafe impl aya::Pod for super::Wishes {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wish_is_about_what_was_asked_for_alone() {
        let wish = Wish { snaplen: 64, what: 0 }.and(Observer::Xdp, false);
        let wish = wish.and(Observer::Ingress, true);
        for observer in [Observer::Xdp, Observer::Egress, Observer::Ingress, Observer::Tc] {
            for passed in [false, true] {
                let asked = matches!(
                    (observer, passed),
                    (Observer::Xdp, false) | (Observer::Ingress, true)
                );
                assert_eq!(wish.wants(observer as u32, passed), asked, "{observer:?} {passed}");
            }
        }
        assert_eq!(wish.snaplen, 64);
    }

    #[test]
    fn a_frame_is_read_as_it_stands_in_a_ring_buffer() {
        let mut record = std::vec![0; Head::BYTES + 16];
        record[..8].copy_from_slice(&7_u64.to_ne_bytes());
        for (at, word) in (8..Head::BYTES).step_by(4).zip([3_u32, 2, 10, 99, 5, 1, 12, 13]) {
            record[at..at + 4].copy_from_slice(&word.to_ne_bytes());
        }
        record[Head::BYTES..Head::BYTES + 5].copy_from_slice(b"frame");
        let head = Head {
            time_ns: 7,
            ifindex: 3,
            observer: 2,
            reason: 10,
            length: 99,
            captured: 5,
            segments: 1,
            rule: 12,
            audited: 13,
        };
        assert_eq!(Head::split(&record), Some((head, b"frame".as_slice())));
        assert_eq!(Head::split(&record[..Head::BYTES + 4]), None, "the frame is cut");
        assert_eq!(Head::split(&record[..Head::BYTES - 1]), None, "the head is cut");
    }
}
