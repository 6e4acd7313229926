//! Rules of one direction as intervals of addresses and of services, each with the set of rules that
//! match it.

use std::collections::BTreeMap;
use std::fmt;

use plugin_common::abi::Block;
use plugin_common::rules::{MAX_BITS, WORD, service};

use super::tree::{Tree, Width};
use crate::rules::{Action, AddressRange, IpVersion, ResolvedRule, Service};

/// The rules of one who may have some: each layer has to allow a packet.
#[derive(Clone, Copy, Debug)]
pub struct Layer<'a> {
    /// The rules, in their order.
    pub rules: &'a [ResolvedRule],
    /// Whether what they deny is counted and let pass.
    pub audit: bool,
}

/// More rules than fit into a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooManyRules;

impl fmt::Display for TooManyRules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the rules of one direction, of all who have some for it, are more than {MAX_BITS} with \
             those that stand at each one's end"
        )
    }
}

impl std::error::Error for TooManyRules {}

/// The rules of one direction, compiled.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Searches {
    pub(super) words: u32,
    pub(super) layer_ends: u32,
    pub(super) audited: u32,
    pub(super) deny: Block,
    pub(super) log: Block,
    pub(super) v4: Search,
    pub(super) v6: Search,
    pub(super) service: Search,
    /// Of each counter, layer and rule; `None` for the end of a layer.
    pub counters: BTreeMap<u32, (usize, Option<usize>)>,
}

/// A search for a set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Search {
    pub nodes: Vec<Block>,
    pub depth: u32,
    /// The set of each interval.
    pub leaves: Vec<Block>,
}

/// Compiles the rules of one direction; without a layer there are no rules, and everything passes.
///
/// # Errors
///
/// When there are too many.
pub fn compile(layers: &[Layer<'_>]) -> Result<Searches, TooManyRules> {
    let mut direction = Searches::default();
    let (mut v4, mut v6) = (Intervals::default(), Intervals::default());
    let mut services = Intervals::default();
    for (number, layer) in layers.iter().enumerate() {
        let first_word = direction.words;
        for (position, rule) in layer.rules.iter().enumerate() {
            let bit =
                first_word * WORD + u32::try_from(position).map_err(|_overflow| TooManyRules)?;
            direction.add(bit, rule)?;
            direction.counters.insert(bit, (number, Some(position)));
            add_addresses(bit, rule.remote.as_deref(), &mut v4, &mut v6);
            for service in &rule.traffic {
                add_service(bit, *service, &mut services);
            }
        }
        // One more, for what no rule of the layer matches: the last bit of its last word.
        let rules = u32::try_from(layer.rules.len()).map_err(|_overflow| TooManyRules)?;
        direction.words += rules / WORD + 1;
        let last = direction.words * WORD - 1;
        set(&mut direction.deny, last)?;
        direction.counters.insert(last, (number, None));
        add_addresses(last, None, &mut v4, &mut v6);
        services.add(last, 0, u128::MAX);
        direction.layer_ends |= 1 << (direction.words - 1);
        if layer.audit {
            direction.audited |=
                (first_word..direction.words).fold(0, |bits, word| bits | 1 << word);
        }
    }
    if !layers.is_empty() {
        direction.v4 = v4.search(Width::Narrow, u32::MAX.into())?;
        direction.v6 = v6.search(Width::Wide, u128::MAX)?;
        direction.service = services.search(Width::Narrow, u32::MAX.into())?;
    }
    Ok(direction)
}

impl Searches {
    fn add(&mut self, bit: u32, rule: &ResolvedRule) -> Result<(), TooManyRules> {
        if rule.action == Action::Deny {
            set(&mut self.deny, bit)?;
        }
        if rule.log {
            set(&mut self.log, bit)?;
        }
        Ok(())
    }
}

fn add_addresses(
    bit: u32,
    remote: Option<&[AddressRange]>,
    v4: &mut Intervals,
    v6: &mut Intervals,
) {
    let Some(ranges) = remote else {
        v4.add(bit, 0, u128::MAX);
        v6.add(bit, 0, u128::MAX);
        return;
    };
    for range in ranges {
        match range {
            AddressRange::V4(span) => {
                v4.add(bit, span.first().to_bits().into(), span.last().to_bits().into());
            }
            AddressRange::V6(span) => v6.add(bit, span.first().to_bits(), span.last().to_bits()),
        }
    }
}

/// The numbers that stand for a service, as [`service`] says.
fn add_service(bit: u32, wanted: Service, services: &mut Intervals) {
    let Service { protocol, first, last, version } = wanted;
    for ip_version in [IpVersion::V4, IpVersion::V6] {
        if version.is_some_and(|version| version != ip_version) {
            continue;
        }
        let number = match ip_version {
            IpVersion::V4 => 4,
            IpVersion::V6 => 6,
        };
        let mut add = |low, high| {
            services.add(
                bit,
                service(number, low, first).into(),
                service(number, high, last).into(),
            );
        };
        match protocol {
            Some(protocol) => add(protocol, protocol),
            None if (first, last) == (0, u16::MAX) => add(0, u8::MAX),
            None => (0..=u8::MAX).for_each(|protocol| add(protocol, protocol)),
        }
    }
}

fn set(block: &mut Block, bit: u32) -> Result<(), TooManyRules> {
    let Block(words) = block;
    let word = words.get_mut((bit / WORD) as usize).ok_or(TooManyRules)?;
    *word |= 1 << (bit % WORD);
    Ok(())
}

/// Which rules match from where to where.
#[derive(Default)]
struct Intervals {
    /// Of each number, the rules that match from there on, and those that no longer do.
    edges: BTreeMap<u128, Edge>,
}

#[derive(Default)]
struct Edge {
    begins: Vec<u32>,
    ends: Vec<u32>,
}

impl Intervals {
    fn add(&mut self, bit: u32, first: u128, last: u128) {
        self.edges.entry(first).or_default().begins.push(bit);
        if let Some(next) = last.checked_add(1) {
            self.edges.entry(next).or_default().ends.push(bit);
        }
    }

    fn search(self, width: Width, greatest: u128) -> Result<Search, TooManyRules> {
        // A rule may match a number more than once.
        let mut matching: BTreeMap<u32, usize> = BTreeMap::new();
        let mut starts = Vec::new();
        let mut leaves: Vec<Block> = Vec::new();
        for (start, edge) in self.edges.into_iter().take_while(|(start, _)| *start <= greatest) {
            for bit in edge.begins {
                *matching.entry(bit).or_default() += 1;
            }
            for bit in edge.ends {
                if let Some(times) = matching.get_mut(&bit) {
                    *times -= 1;
                }
            }
            matching.retain(|_, times| *times > 0);
            let mut rules = Block::default();
            matching.keys().try_for_each(|bit| set(&mut rules, *bit))?;
            if leaves.is_empty() && start > 0 {
                leaves.push(Block::default());
            }
            if leaves.last() != Some(&rules) {
                if start > 0 {
                    starts.push(start);
                }
                leaves.push(rules);
            }
        }
        let Tree { blocks: nodes, depth } = Tree::new(width, &starts);
        if depth > width.deepest() {
            return Err(TooManyRules);
        }
        Ok(Search { nodes, depth, leaves })
    }
}
