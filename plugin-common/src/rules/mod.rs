//! Which rule decides over the first packet of a connection: two searches, whatever the number of
//! rules, and an intersection. Pure.
//!
//! The rules of one direction are bits, the first rule the lowest. Addresses fall into intervals, and
//! so do services (protocol and port); each interval has the set of rules that match it, a bitmap
//! of 512 bits. The lowest bit that the sets of a packet's address and of its service have in common
//! is the rule that decides. User space makes intervals and sets; the programs search them.
//!
//! A search goes down a tree whose nodes are blocks of 64 bytes: 16 boundaries of 32 bits, or four
//! of 128. A boundary is the last value before an interval: what is greater lies behind it. Nodes
//! are filled up with the greatest value, which nothing is greater than.

#[cfg(test)]
mod tests;

use crate::abi::{Block, RuleTable, Search};
use crate::compiler::opaque;

/// Boundaries in a node of a search for 32 bits.
pub const NARROW_FANOUT: u32 = 17;
/// Children of a node of a search for 128 bits.
pub const WIDE_FANOUT: u32 = 5;
/// Levels of a search for 32 bits at most.
pub const NARROW_DEPTH: u32 = 3;
/// Levels of a search for 128 bits at most.
pub const WIDE_DEPTH: u32 = 5;
/// Rules of one direction, of all layers together, with the one at each layer's end that matches
/// what no other does.
pub const MAX_BITS: u32 = 512;
/// The bits of a word.
pub const WORD: u32 = 64;

/// Where blocks and leaves are.
pub trait Tables {
    /// A block by its number.
    fn block(&self, number: u32) -> Option<&Block>;

    /// A leaf, which is the number of the block with the rules of an interval.
    fn leaf(&self, number: u32) -> Option<u32>;
}

/// What the rules are asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Question {
    /// The address of the other side in network byte order; IPv4 takes the first word.
    pub remote: [u32; 4],
    /// What is asked of it, or of the container: see [`service`].
    pub service: u32,
    /// 4 or 6.
    pub ip_version: u32,
}

/// What the rules make of a packet. One word, which a function of the kernel can return.
///
/// Bits 0 to 16 are the counter of the rule that decided, plus one; 17 to 33 that of the first
/// that would have denied, but for an audit, plus one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ruling(u64);

impl Ruling {
    /// The tables contradict themselves.
    pub const BROKEN: Self = Self(1 << 40);
    /// There are no rules.
    pub const NO_RULES: Self = Self(Self::ALLOWED);
    const COUNTER: u64 = 0x1_ffff;
    const AUDITED_AT: u32 = 17;
    const AUDITED: u64 = Self::COUNTER << Self::AUDITED_AT;
    const ALLOWED_AT: u32 = 36;
    const ALLOWED: u64 = 1 << Self::ALLOWED_AT;
    const LOG_AT: u32 = 37;
    const LOG: u64 = 1 << Self::LOG_AT;
    const LAST_AT: u32 = 38;
    const LAST: u64 = 1 << Self::LAST_AT;

    /// As a number.
    #[inline(always)]
    #[must_use]
    pub const fn number(self) -> u64 {
        self.0
    }

    /// Out of its number.
    #[inline(always)]
    #[must_use]
    pub const fn from_number(number: u64) -> Self {
        Self(number)
    }

    /// Whether every layer allows it.
    #[inline(always)]
    #[must_use]
    pub const fn allowed(self) -> bool {
        self.0 & Self::ALLOWED != 0
    }

    /// Whether a rule that decided wants it reported.
    #[inline(always)]
    #[must_use]
    pub const fn log(self) -> bool {
        self.0 & Self::LOG != 0
    }

    /// Whether what denied it is the end of a layer, which matches what no rule does.
    #[inline(always)]
    #[must_use]
    pub const fn is_last(self) -> bool {
        self.0 & Self::LAST != 0
    }

    /// Whether nothing could be decided, which is to be taken for a denial.
    #[inline(always)]
    #[must_use]
    pub const fn is_broken(self) -> bool {
        self.0 & Self::BROKEN.0 != 0
    }

    /// The counter of the rule that denied it, or of the one by which the last layer allowed it.
    #[inline(always)]
    #[must_use]
    pub const fn rule(self) -> Option<u32> {
        counter(self.0)
    }

    /// The counter of the first rule that would have denied it, but for an audit.
    #[inline(always)]
    #[must_use]
    pub const fn audited(self) -> Option<u32> {
        counter(self.0 >> Self::AUDITED_AT)
    }
}

#[inline(always)]
const fn counter(bits: u64) -> Option<u32> {
    match (bits & Ruling::COUNTER) as u32 {
        0 => None,
        more => Some(more - 1),
    }
}

/// The number by which services are told apart: the version of IP above, then the protocol, and
/// below the port or type.
#[inline(always)]
#[must_use]
pub const fn service(ip_version: u8, protocol: u8, number: u16) -> u32 {
    const V6: u32 = 1 << 24;
    let version = if ip_version == 6 { V6 } else { 0 };
    version | (protocol as u32) << 16 | number as u32
}

/// Finds the rule that decides.
#[inline(always)]
pub fn decide<T: Tables>(tables: &T, table: &RuleTable, question: &Question) -> Ruling {
    find(tables, table, question).unwrap_or(Ruling::BROKEN)
}

#[inline(always)]
fn find<T: Tables>(tables: &T, table: &RuleTable, question: &Question) -> Option<Ruling> {
    if table.words == 0 {
        return Some(Ruling::NO_RULES);
    }
    let [first, second, third, fourth] = question.remote.map(u32::from_be);
    let addresses = if question.ip_version == 4 {
        narrow(tables, &table.v4, first)?
    } else {
        let high = u64::from(first) << 32 | u64::from(second);
        let low = u64::from(third) << 32 | u64::from(fourth);
        wide(tables, &table.v6, high, low)?
    };
    let services = narrow(tables, &table.service, question.service)?;
    let (deny, log) = (tables.block(table.deny)?, tables.block(table.log)?);
    first_in_each_layer(table, (addresses, services), deny, log)
}

/// Goes through the words, and in each layer stops at the first rule.
///
/// Without a branch but for the end: the verifier would follow each of them at every word.
#[inline(always)]
fn first_in_each_layer(
    table: &RuleTable,
    (addresses, services): (&Block, &Block),
    deny: &Block,
    log: &Block,
) -> Option<Ruling> {
    let mut ruling = 0;
    // Each is 0 or 1: the layer has decided; a layer has denied; a layer has not decided.
    let (mut decided, mut denied, mut broken) = (0, 0, 0);
    macro_rules! word {
        ($($number:literal)*) => {$(
            if $number < table.words {
                let both = word::<$number>(addresses) & word::<$number>(services);
                let bit = both & both.wrapping_neg();
                let first = is_set(both) & (decided ^ 1) & (denied ^ 1);
                let place = ones(bit.wrapping_sub(1));
                let rule = u64::from(table.counters) + $number * u64::from(WORD) + place + 1;
                let end = u64::from(table.layer_ends) >> $number & 1;
                let audited = u64::from(table.audited) >> $number & 1;
                let against = is_set(word::<$number>(deny) & bit) & first;
                let noted = against & audited & (is_set(ruling & Ruling::AUDITED) ^ 1);
                let last = bit >> 63 & end & against & (audited ^ 1);
                let mask = first.wrapping_neg();
                ruling = ruling & !(mask & Ruling::COUNTER)
                    | mask & rule
                    | (noted.wrapping_neg() & rule) << Ruling::AUDITED_AT
                    | (is_set(word::<$number>(log) & bit) & first) << Ruling::LOG_AT
                    | last << Ruling::LAST_AT;
                denied |= against & (audited ^ 1);
                decided |= first;
                // Each layer ends with a rule that matches everything.
                broken |= end & (decided ^ 1) & (denied ^ 1);
                decided &= end ^ 1;
            }
        )*};
    }
    word!(0 1 2 3 4 5 6 7);
    if broken | decided & (denied ^ 1) != 0 {
        return None;
    }
    Some(Ruling(ruling | (denied ^ 1) << Ruling::ALLOWED_AT))
}

/// 1 if any bit is set, else 0.
#[inline(always)]
fn is_set(bits: u64) -> u64 {
    (bits | opaque(bits.wrapping_neg())) >> 63
}

/// How many bits are set. Without a table, and without a branch.
#[inline(always)]
const fn ones(bits: u64) -> u64 {
    let pairs = bits - (bits >> 1 & 0x5555_5555_5555_5555);
    let fours = (pairs & 0x3333_3333_3333_3333) + (pairs >> 2 & 0x3333_3333_3333_3333);
    let bytes = (fours + (fours >> 4)) & 0x0f0f_0f0f_0f0f_0f0f;
    bytes.wrapping_mul(0x0101_0101_0101_0101) >> 56
}

#[inline(always)]
fn word<const NUMBER: usize>(block: &Block) -> u64 {
    let Block(words) = block;
    match words.get(NUMBER) {
        Some(word) => *word,
        None => 0,
    }
}

/// The rules that match a value of 32 bits.
#[inline(always)]
#[expect(unused_assignments, reason = "the last level is as the others")]
fn narrow<'a, T: Tables>(tables: &'a T, search: &Search, key: u32) -> Option<&'a Block> {
    let mut position = 0;
    let mut level = search.root;
    macro_rules! down {
        ($($depth:literal $width:literal)*) => {$(
            if $depth < search.depth {
                let below = below_narrow(tables.block(level + position)?, key);
                position = position * NARROW_FANOUT + below;
                level += $width;
            }
        )*};
    }
    down!(0 1 1 17 2 289);
    tables.block(tables.leaf(search.leaves + position)?)
}

/// The rules that match a value of 128 bits, given as two halves.
#[inline(always)]
#[expect(unused_assignments, reason = "the last level is as the others")]
fn wide<'a, T: Tables>(tables: &'a T, search: &Search, high: u64, low: u64) -> Option<&'a Block> {
    let mut position = 0;
    let mut level = search.root;
    macro_rules! down {
        ($($depth:literal $width:literal)*) => {$(
            if $depth < search.depth {
                let below = below_wide(tables.block(level + position)?, high, low);
                position = position * WIDE_FANOUT + below;
                level += $width;
            }
        )*};
    }
    down!(0 1 1 5 2 25 3 125 4 625);
    tables.block(tables.leaf(search.leaves + position)?)
}

/// How many of the boundaries of a node are below a key. Without a branch, which a processor would
/// guess wrong half the time.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "it is 16 at most")]
fn below_narrow(node: &Block, key: u32) -> u32 {
    let key = opaque(key.into());
    let Block(words) = node;
    let mut below = 0;
    for word in words {
        below += (word & 0xffff_ffff).wrapping_sub(key) >> 63;
        below += (word >> 32).wrapping_sub(key) >> 63;
    }
    below as u32
}

/// As [`below_narrow`], for boundaries of two words, the high half first.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "it is four at most")]
fn below_wide(node: &Block, high: u64, low: u64) -> u32 {
    let Block([h0, l0, h1, l1, h2, l2, h3, l3]) = *node;
    let below = is_below((h0, l0), (high, low))
        + is_below((h1, l1), (high, low))
        + is_below((h2, l2), (high, low))
        + is_below((h3, l3), (high, low));
    below as u32
}

/// 1 if one number of 128 bits is less than another, else 0.
#[inline(always)]
fn is_below((one_high, one_low): (u64, u64), (high, low): (u64, u64)) -> u64 {
    let borrow = borrow(one_low, low);
    // With a borrow, equal halves are enough.
    let difference = one_high.wrapping_sub(high);
    borrow_of(one_high, high, opaque(difference.wrapping_sub(borrow)))
}

/// 1 if `one - other` borrows.
#[inline(always)]
fn borrow(one: u64, other: u64) -> u64 {
    borrow_of(one, other, opaque(one.wrapping_sub(other)))
}

/// The borrow out of the highest bit of a subtraction with this difference.
#[inline(always)]
const fn borrow_of(one: u64, other: u64, difference: u64) -> u64 {
    ((!one & other) | (!(one ^ other) & difference)) >> 63
}
