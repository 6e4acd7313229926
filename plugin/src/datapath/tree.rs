//! Intervals of numbers, and the tree by which the programs find the one that a number is in:
//! see `plugin_common::rules`.

use plugin_common::abi::Block;
use plugin_common::rules::{NARROW_DEPTH, NARROW_FANOUT, WIDE_DEPTH, WIDE_FANOUT};

/// How the boundaries of a tree's nodes are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Width {
    /// 16 of 32 bits.
    Narrow,
    /// Four of 128 bits.
    Wide,
}

impl Width {
    const fn fanout(self) -> usize {
        match self {
            Self::Narrow => NARROW_FANOUT as usize,
            Self::Wide => WIDE_FANOUT as usize,
        }
    }

    /// The levels that the programs go down at most.
    pub(super) const fn deepest(self) -> u32 {
        match self {
            Self::Narrow => NARROW_DEPTH,
            Self::Wide => WIDE_DEPTH,
        }
    }

    /// A node with these boundaries, and filled up with one that nothing is greater than.
    fn node(self, boundaries: impl Iterator<Item = Option<u128>>) -> Block {
        let mut words = [u64::MAX; 8];
        match self {
            Self::Narrow => {
                for (place, boundary) in boundaries.enumerate() {
                    let Some(boundary) = boundary.and_then(|it| u32::try_from(it).ok()) else {
                        continue;
                    };
                    let shift = if place % 2 == 0 { 0 } else { 32 };
                    if let Some(word) = words.get_mut(place / 2) {
                        *word = *word & !(0xffff_ffff << shift) | u64::from(boundary) << shift;
                    }
                }
            }
            Self::Wide => {
                for (pair, boundary) in words.chunks_exact_mut(2).zip(boundaries) {
                    if let ([high, low], Some(boundary)) = (pair, boundary) {
                        *high = u64::try_from(boundary >> 64).unwrap_or(u64::MAX);
                        *low = u64::try_from(boundary & u128::from(u64::MAX)).unwrap_or(u64::MAX);
                    }
                }
            }
        }
        Block(words)
    }
}

/// A tree over intervals, the first of which begins at 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Tree {
    /// Its nodes, level by level, each level but the last as long as it can be.
    pub blocks: Vec<Block>,
    /// Its levels.
    pub depth: u32,
}

impl Tree {
    /// Lays out a tree over the intervals that begin at these numbers; 0, which the first begins
    /// at, is not among them.
    pub(super) fn new(width: Width, starts: &[u128]) -> Self {
        let fanout = width.fanout();
        let intervals = starts.len() + 1;
        let mut depth = 0;
        let mut reach = 1;
        while reach < intervals {
            reach *= fanout;
            depth += 1;
        }
        // The boundary before an interval is the last number of the one before.
        let boundary = |interval: usize| {
            let start = starts.get(interval.checked_sub(1)?)?;
            start.checked_sub(1)
        };
        let mut blocks = Vec::new();
        let (mut level, mut nodes) = (0, 1);
        while level < depth {
            let step = reach / fanout;
            let needed = intervals.div_ceil(reach);
            let last = level + 1 == depth;
            for node in 0..if last { needed } else { nodes } {
                let first = node * reach;
                blocks.push(width.node((1..fanout).map(|child| boundary(first + child * step))));
            }
            level += 1;
            nodes *= fanout;
            reach = step;
        }
        Self { blocks, depth }
    }
}
