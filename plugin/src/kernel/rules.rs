//! Rules in the kernel's maps: written whole before a policy names them, never changed while one
//! does, and given back some time after.
//!
//! A program that is running while a policy changes may still look at the rules of the one before.
//! It runs for microseconds; what is given back is kept from use for much longer.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use aya::Ebpf;
use aya::maps::{Array, MapData, PerCpuArray, PerCpuValues};
use ebpf_netns::Ifindex;
use plugin_common::abi::{
    BLOCKS_MAP, Block, Counter, Endpoint, Extent, FLOWS_MAP, FlowBucket, FlowSecret, HITS_MAP,
    IMAGES_MAP, LEAVES_MAP, MAX_BLOCKS, MAX_BUCKETS, MAX_HITS, MAX_IMAGES, MAX_LEAVES, PASSES_MAP,
    Passes, RuleImage, SECRET_MAP, TABLE_SHIFT,
};
use rustix::rand::{GetRandomFlags, getrandom};

use super::load::{self, LoadError};
use super::pool::{Pool, Run};
use super::refusal::Refusal;
use crate::datapath::{Places, Program};
use crate::plan::Hook;

/// For how long nothing is used again that a program might still look at.
const GRACE: Duration = Duration::from_secs(10);
/// Buckets of an interface's table of connections.
const BUCKETS: u32 = 1024;
/// For how many more of its size there has to be room: where there is not, it has half as many.
const MORE: u32 = 64;
/// The fewest.
const FEWEST_BUCKETS: u32 = 1 << TABLE_SHIFT;

/// The rules of one interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InterfaceRules {
    /// What is searched.
    pub program: Program,
    /// What is the container's own.
    pub endpoint: Endpoint,
}

/// The maps of rules, and what of them is whose.
pub(super) struct RuleStore {
    blocks: Array<MapData, Block>,
    leaves: Array<MapData, u32>,
    images: Array<MapData, RuleImage>,
    hits: Array<MapData, Counter>,
    flows: Array<MapData, FlowBucket>,
    passes: PerCpuArray<MapData, Passes>,
    free: Free,
    /// What each image has taken of the other maps.
    taken: BTreeMap<u32, Extent>,
    /// The table of connections of each interface, and the number of its last policy.
    tables: BTreeMap<Ifindex, Table>,
    /// What nothing names any more, since when.
    limbo: VecDeque<(Instant, Given)>,
}

struct Free {
    blocks: Pool,
    leaves: Pool,
    counters: Pool,
    images: Pool,
    flows: Pool,
}

#[derive(Clone, Copy)]
struct Table {
    buckets: Run,
    epoch: u32,
}

impl Table {
    /// The entry of [`PASSES_MAP`], as [`RuleImage::passes`] says.
    fn passes(&self) -> u32 {
        self.buckets.first >> TABLE_SHIFT
    }
}

#[derive(Clone, Copy)]
enum Given {
    Image(u32, Extent),
    Table(Run),
}

impl RuleStore {
    pub(super) fn new(ebpf: &mut Ebpf) -> Result<Self, LoadError> {
        let mut secret: Array<MapData, FlowSecret> = load::take(ebpf, SECRET_MAP)?;
        keep_secret(&mut secret)?;
        Ok(Self {
            blocks: load::take(ebpf, BLOCKS_MAP)?,
            leaves: load::take(ebpf, LEAVES_MAP)?,
            images: load::take(ebpf, IMAGES_MAP)?,
            hits: load::take(ebpf, HITS_MAP)?,
            flows: load::take(ebpf, FLOWS_MAP)?,
            passes: load::take(ebpf, PASSES_MAP)?,
            free: Free {
                blocks: Pool::new(MAX_BLOCKS),
                leaves: Pool::new(MAX_LEAVES),
                counters: Pool::new(MAX_HITS),
                images: Pool::new(MAX_IMAGES),
                flows: Pool::new(MAX_BUCKETS),
            },
            taken: BTreeMap::new(),
            tables: BTreeMap::new(),
            limbo: VecDeque::new(),
        })
    }

    /// Takes over the rules that an earlier daemon's policy names.
    pub(super) fn inherit(&mut self, ifindex: Ifindex, number: u32) {
        let Ok(image) = self.images.get(&number, 0) else { return };
        let RuleImage { flows, flows_mask, epoch, extent, .. } = image;
        self.free.images.reserve(Run { first: number, length: 1 });
        self.free.blocks.reserve(Run { first: extent.first_block, length: extent.blocks });
        self.free.leaves.reserve(Run { first: extent.first_leaf, length: extent.leaves });
        self.free.counters.reserve(Run { first: extent.first_counter, length: extent.counters });
        let buckets = Run { first: flows, length: flows_mask.saturating_add(1) };
        self.free.flows.reserve(buckets);
        self.taken.insert(number, extent);
        self.tables.insert(ifindex, Table { buckets, epoch });
    }

    /// Writes rules that no policy names yet; returns the number to name them by.
    pub(super) fn write(
        &mut self,
        ifindex: Ifindex,
        rules: &InterfaceRules,
    ) -> Result<u32, Refusal> {
        self.reclaim();
        let table = self.table(ifindex)?;
        let size = rules.program.place(Places::default());
        let lengths = [size.blocks.len(), size.leaves.len(), size.counters as usize, 1];
        let [blocks, leaves, counters, image] = self.take(lengths)?;
        let at = Places { blocks: blocks.first, leaves: leaves.first, counters: counters.first };
        let placed = rules.program.place(at);
        let extent = Extent {
            first_block: blocks.first,
            blocks: blocks.length,
            first_leaf: leaves.first,
            leaves: leaves.length,
            first_counter: counters.first,
            counters: counters.length,
        };
        self.taken.insert(image.first, extent);
        let epoch = table.epoch.wrapping_add(1);
        self.tables.insert(ifindex, Table { epoch, ..table });
        let written = RuleImage {
            egress: placed.egress,
            ingress: placed.ingress,
            endpoint: rules.endpoint,
            flows: table.buckets.first,
            flows_mask: table.buckets.length - 1,
            epoch,
            ifindex: ifindex.get(),
            extent,
        };
        let written = set_all(&mut self.blocks, blocks.first, placed.blocks)
            .and_then(|()| set_all(&mut self.leaves, leaves.first, placed.leaves))
            .and_then(|()| {
                let zeros = (0..counters.length).map(|_| Counter::default());
                set_all(&mut self.hits, counters.first, zeros)
            })
            .and_then(|()| set_all(&mut self.images, image.first, [written]));
        match written {
            Ok(()) => Ok(image.first),
            Err(refusal) => {
                self.give_up(image.first);
                Err(refusal)
            }
        }
    }

    /// Gives back rules that no policy names any more.
    pub(super) fn give_up(&mut self, number: u32) {
        if let Some(extent) = self.taken.remove(&number) {
            self.limbo.push_back((Instant::now(), Given::Image(number, extent)));
        }
    }

    /// Gives back what belongs to an interface that has no rules any more.
    pub(super) fn forget(&mut self, ifindex: Ifindex) {
        if let Some(Table { buckets, .. }) = self.tables.remove(&ifindex) {
            self.limbo.push_back((Instant::now(), Given::Table(buckets)));
        }
    }

    /// The place of the first counter of rules.
    pub(super) fn first_counter(&self, number: u32) -> Option<u32> {
        self.taken.get(&number).map(|extent| extent.first_counter)
    }

    /// The map that counts what rules let through.
    pub(super) fn passes(&self) -> &PerCpuArray<MapData, Passes> {
        &self.passes
    }

    /// Where in it an interface with rules is counted.
    pub(super) fn passes_of(&self, ifindex: Ifindex) -> Option<u32> {
        self.tables.get(&ifindex).map(Table::passes)
    }

    /// Counts anew what rules let through.
    pub(super) fn forget_passed(&mut self, ifindex: Ifindex, hook: Hook) {
        // Rules are at TC alone.
        let Some(table) = self.tables.get(&ifindex).filter(|_| hook != Hook::Xdp) else { return };
        let Ok(per_cpu) = self.passes.get(&table.passes(), 0) else { return };
        let mut left = per_cpu.to_vec();
        left.iter_mut().filter_map(|passes| of_hook(passes, hook)).for_each(|counter| {
            *counter = Counter::default();
        });
        // What cannot be written is counted on.
        if let Ok(left) = PerCpuValues::try_from(left) {
            self.passes.set(table.passes(), left, 0).ok();
        }
    }

    /// The table of connections of an interface, made empty where it has none yet.
    fn table(&mut self, ifindex: Ifindex) -> Result<Table, Refusal> {
        if let Some(table) = self.tables.get(&ifindex) {
            return Ok(*table);
        }
        let mut length = BUCKETS;
        while length > FEWEST_BUCKETS && length * MORE > self.free.flows.left() {
            length /= 2;
        }
        let buckets = loop {
            match self.free.flows.take(length) {
                Some(buckets) => break buckets,
                None if length > FEWEST_BUCKETS => length /= 2,
                None => return Err(full("tables of connections")),
            }
        };
        // A container that had the same address must leave nothing to this one.
        let empty = (0..buckets.length).map(|_| FlowBucket::default());
        set_all(&mut self.flows, buckets.first, empty)?;
        let table = Table { buckets, epoch: 0 };
        self.tables.insert(ifindex, table);
        self.forget_passed(ifindex, Hook::Egress);
        self.forget_passed(ifindex, Hook::Ingress);
        Ok(table)
    }

    fn take(&mut self, lengths: [usize; 4]) -> Result<[Run; 4], Refusal> {
        let [blocks, leaves, counters, images] =
            lengths.map(|length| u32::try_from(length).unwrap_or(u32::MAX));
        let Free {
            blocks: block_pool,
            leaves: leaf_pool,
            counters: counter_pool,
            images: image_pool,
            flows: _,
        } = &mut self.free;
        let wanted = [
            block_pool.take(blocks),
            leaf_pool.take(leaves),
            counter_pool.take(counters),
            image_pool.take(images),
        ];
        if let [Some(blocks), Some(leaves), Some(counters), Some(image)] = wanted {
            return Ok([blocks, leaves, counters, image]);
        }
        for (pool, run) in [block_pool, leaf_pool, counter_pool, image_pool].into_iter().zip(wanted)
        {
            if let Some(run) = run {
                pool.give_back(run);
            }
        }
        Err(full("rules"))
    }

    /// Has used again what was given back long enough ago.
    fn reclaim(&mut self) {
        while let Some((since, given)) = self.limbo.front().copied() {
            if since.elapsed() < GRACE {
                return;
            }
            self.limbo.pop_front();
            match given {
                Given::Image(number, extent) => {
                    let Extent { first_block, blocks, first_leaf, leaves, first_counter, counters } =
                        extent;
                    self.free.images.give_back(Run { first: number, length: 1 });
                    self.free.blocks.give_back(Run { first: first_block, length: blocks });
                    self.free.leaves.give_back(Run { first: first_leaf, length: leaves });
                    self.free.counters.give_back(Run { first: first_counter, length: counters });
                }
                Given::Table(buckets) => self.free.flows.give_back(buckets),
            }
        }
    }
}

/// What rules let through at a hook, by the place in the map.
pub(super) fn passed(passes: &PerCpuArray<MapData, Passes>, place: u32, hook: Hook) -> Counter {
    let mut sum = Counter::default();
    for mut passes in passes.get(&place, 0).iter().flat_map(|values| values.to_vec()) {
        if let Some(Counter { packets, bytes }) = of_hook(&mut passes, hook) {
            sum.packets += *packets;
            sum.bytes += *bytes;
        }
    }
    sum
}

fn of_hook(Passes { egress, ingress }: &mut Passes, hook: Hook) -> Option<&mut Counter> {
    match hook {
        Hook::Xdp => None,
        Hook::Egress => Some(egress),
        Hook::Ingress => Some(ingress),
    }
}

fn set_all<V: aya::Pod>(
    array: &mut Array<MapData, V>,
    first: u32,
    values: impl IntoIterator<Item = V>,
) -> Result<(), Refusal> {
    for (place, value) in (first..).zip(values) {
        array
            .set(place, value, 0)
            .map_err(|error| Refusal::new(format!("write the maps of rules: {error}")))?;
    }
    Ok(())
}

/// A secret that is made once, and stays for as long as the maps do: connections are found by it.
fn keep_secret(secret: &mut Array<MapData, FlowSecret>) -> Result<(), LoadError> {
    let failed = |why: String| LoadError::Pin(format!("the secret of connections: {why}"));
    let there = secret.get(&0, 0).map_err(|error| failed(error.to_string()))?;
    let FlowSecret(words) = there;
    if words.iter().any(|word| *word != 0) {
        return Ok(());
    }
    let mut bytes = [0_u8; size_of::<FlowSecret>()];
    let filled = getrandom(&mut bytes, GetRandomFlags::empty());
    if filled.map_err(|error| failed(error.to_string()))? != bytes.len() {
        return Err(failed("too little of it is random".to_owned()));
    }
    let mut words = words;
    for (word, bytes) in words.iter_mut().zip(bytes.as_chunks().0) {
        *word = u64::from_ne_bytes(*bytes);
    }
    secret.set(0, FlowSecret(words), 0).map_err(|error| failed(error.to_string()))
}

fn full(what: &str) -> Refusal {
    Refusal::new(format!(
        "there is no room for more {what}: fewer containers with rules, or fewer rules"
    ))
}
