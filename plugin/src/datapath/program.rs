//! Both directions of one interface, as they stand in the maps.

use std::collections::BTreeMap;

use plugin_common::abi::{self, Block, RuleTable};

use super::compile::{Search, Searches};
use crate::rules::Direction;

/// The rules of one interface, compiled.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Program {
    /// For connections that the container begins.
    pub egress: Searches,
    /// For connections to the container.
    pub ingress: Searches,
}

/// Where a program is put.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Places {
    /// Its first block.
    pub blocks: u32,
    /// Its first leaf.
    pub leaves: u32,
    /// Its first counter.
    pub counters: u32,
}

/// A program as it stands in the maps.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Placed {
    /// The blocks, from its first place on.
    pub blocks: Vec<Block>,
    /// The leaves, from its first place on.
    pub leaves: Vec<u32>,
    /// The counters that it needs.
    pub counters: u32,
    /// For connections that the container begins.
    pub egress: RuleTable,
    /// For connections to the container.
    pub ingress: RuleTable,
}

/// Which rule a counter belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counted {
    /// The direction.
    pub direction: Direction,
    /// The layer of that direction; 0 is the first.
    pub layer: usize,
    /// The rule of the layer; `None` is what no rule of it matches.
    pub rule: Option<usize>,
}

impl Program {
    /// The counter of each rule, from the first place on.
    pub fn counters(&self) -> impl Iterator<Item = (u32, Counted)> {
        let Self { egress, ingress } = self;
        // As they are placed.
        let behind = egress.words * plugin_common::rules::WORD;
        let directions = [(Direction::Egress, egress, 0), (Direction::Ingress, ingress, behind)];
        directions.into_iter().flat_map(|(direction, searches, first)| {
            searches.counters.iter().map(move |(counter, (layer, rule))| {
                (first + counter, Counted { direction, layer: *layer, rule: *rule })
            })
        })
    }

    /// Puts it at these places.
    #[must_use]
    pub fn place(&self, at: Places) -> Placed {
        let mut placed = Placed::default();
        let mut sets = Sets { first: at.blocks, known: BTreeMap::new() };
        let egress = placed.add(&self.egress, at, &mut sets);
        let ingress = placed.add(&self.ingress, at, &mut sets);
        Placed { egress, ingress, ..placed }
    }
}

/// The sets that have been put somewhere.
struct Sets {
    first: u32,
    known: BTreeMap<[u64; 8], u32>,
}

impl Sets {
    /// The place of a set, which is added if it is new.
    fn place(&mut self, set: [u64; 8], blocks: &mut Vec<Block>) -> u32 {
        *self.known.entry(set).or_insert_with(|| {
            blocks.push(Block(set));
            self.first + count(blocks) - 1
        })
    }
}

impl Placed {
    fn add(&mut self, direction: &Searches, places: Places, sets: &mut Sets) -> RuleTable {
        let Searches { words, layer_ends, audited, deny, log, v4, v6, service, counters: _ } =
            direction;
        if *words == 0 {
            return RuleTable::default();
        }
        let counters = places.counters + self.counters;
        self.counters += words * plugin_common::rules::WORD;
        let (Block(deny), Block(log)) = (deny, log);
        RuleTable {
            words: *words,
            layer_ends: *layer_ends,
            audited: *audited,
            counters,
            v4: self.search(v4, places, sets),
            v6: self.search(v6, places, sets),
            service: self.search(service, places, sets),
            deny: sets.place(*deny, &mut self.blocks),
            log: sets.place(*log, &mut self.blocks),
            reserved: 0,
        }
    }

    fn search(&mut self, search: &Search, places: Places, sets: &mut Sets) -> abi::Search {
        let root = places.blocks + count(&self.blocks);
        self.blocks.extend(&search.nodes);
        let leaves = places.leaves + count(&self.leaves);
        for Block(set) in &search.leaves {
            let place = sets.place(*set, &mut self.blocks);
            self.leaves.push(place);
        }
        abi::Search { root, depth: search.depth, leaves }
    }
}

fn count<T>(items: &[T]) -> u32 {
    u32::try_from(items.len()).unwrap_or(u32::MAX)
}
