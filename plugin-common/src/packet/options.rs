//! The options of an IPv4 header, walked four bytes at a time.
//!
//! An option that no receiver would step over, since its length is less than its own two bytes or
//! more than what is left, hides what follows it. Options are walked for that, and for source
//! routes; what else they say is the receiver's business.

use super::Unreadable;

/// Where a walk stands: before an option, if nothing else is said.
///
/// A number, since in the kernel it goes through functions that know nothing else: up to 253, so
/// many bytes of the option are left.
pub const BEGIN: u32 = 0;

/// The next byte is the length of the option.
const LENGTH: u32 = 0x100;
/// Behind the last option: what follows is padding.
const ENDED: u32 = 0x101;
/// An option names routers to go by.
const SOURCE_ROUTE: u32 = 0x102;
/// An option cannot be stepped over.
const MALFORMED: u32 = 0x103;
/// The frame ends before the options do.
pub(super) const TRUNCATED: u32 = 0x104;

/// Kinds of options ([RFC 791](https://www.rfc-editor.org/rfc/rfc791), 3.1).
mod kind {
    pub(super) const END: u8 = 0;
    pub(super) const NO_OPERATION: u8 = 1;
    pub(super) const LOOSE_SOURCE_ROUTE: u8 = 131;
    pub(super) const STRICT_SOURCE_ROUTE: u8 = 137;
}

/// The walk after another four bytes, the first of which is the highest of the number.
#[inline(always)]
#[must_use]
pub const fn walk(word: u32, walk: u32) -> u32 {
    let [first, second, third, fourth] = word.to_be_bytes();
    step(fourth, step(third, step(second, step(first, walk))))
}

#[inline(always)]
const fn step(byte: u8, walk: u32) -> u32 {
    match walk {
        BEGIN => match byte {
            kind::END => ENDED,
            kind::NO_OPERATION => BEGIN,
            kind::LOOSE_SOURCE_ROUTE | kind::STRICT_SOURCE_ROUTE => SOURCE_ROUTE,
            _ => LENGTH,
        },
        LENGTH if byte < 2 => MALFORMED,
        LENGTH => byte as u32 - 2,
        ENDED.. => walk,
        _ => walk - 1,
    }
}

/// What a walk came to, at the end of the header.
#[inline(always)]
pub(super) const fn end(walk: u32) -> Result<(), Unreadable> {
    match walk {
        BEGIN | ENDED => Ok(()),
        SOURCE_ROUTE => Err(Unreadable::SourceRoute),
        TRUNCATED => Err(Unreadable::Truncated),
        _ => Err(Unreadable::Malformed),
    }
}
