//! A captured frame as the programs' own parser reads it, for filters: as much as was kept of it.

use plugin_common::capture::Head;
use plugin_common::packet::{Bytes, Frame, parse};

use super::Told;
use crate::filter::Seen;

/// Bytes that hold every header that is looked at, but for long chains of them.
pub(crate) const HEADERS: u32 = 256;

struct Kept<'a> {
    head: &'a Head,
    bytes: Bytes<'a>,
}

impl Frame for Kept<'_> {
    fn wire_len(&self) -> u32 {
        self.head.length
    }

    fn is_gso(&self) -> bool {
        self.head.segments > 1
    }

    fn load<const N: usize>(&self, offset: u32) -> Option<[u8; N]> {
        self.bytes.load(offset)
    }
}

/// What a filter looks at.
pub(super) fn seen(told: &Told<'_>, frame: &[u8]) -> Seen {
    let packet = parse(&Kept { head: told.head, bytes: Bytes(frame) });
    Seen::of_packet(&packet, told.reason())
}
