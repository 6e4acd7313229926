//! The daemon's object in the kernel with the maps that rules are in.

use anyhow::{Context as _, Result, bail};
use aya::{
    Ebpf, EbpfLoader, Pod, TestRun as _, TestRunOptions,
    maps::{Array, HashMap, Map, MapData, MapError, PerCpuArray, PerCpuHashMap},
    programs::SchedClassifier,
};
use plugin_common::{
    abi::{
        BLOCKS_MAP, Block, Counter, EGRESS_PROGRAM, FLOWS_MAP, FlowBucket, FlowSecret, HITS_MAP,
        IMAGES_MAP, INGRESS_PROGRAM, InterfacePolicy, InterfaceStats, LANES_MAP, LEAVES_MAP, Lane,
        MAX_PASSES, Observer, PASSES_MAP, POLICY_MAP, Passes, RuleImage, SECRET_MAP, STATS_MAP,
        StatsKey,
    },
    connection::flow::TICK_SHIFT,
    presets::Presets,
    verdict::Reason,
};
use rustix::time::{ClockId, clock_gettime};

const DIRECTORY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../plugin/bytecode/");
/// The interface that a run happens on.
pub(crate) const LOOPBACK: u32 = 1;

/// One of the committed objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Object {
    /// As loaded on Linux 5.18 and later.
    Current,
    /// As loaded before.
    Direct,
}

/// Packets and bytes by reason, of both programs.
pub(crate) type Counts = [[(u64, u64); Reason::COUNT]; 2];

/// The loaded object; its maps are its own.
pub(crate) struct Kernel {
    // The maps that are taken out of it stay with their handles.
    object: Ebpf,
    policy: HashMap<MapData, u32, InterfacePolicy>,
    stats: PerCpuHashMap<MapData, StatsKey, InterfaceStats>,
    images: Array<MapData, RuleImage>,
    blocks: Array<MapData, Block>,
    leaves: Array<MapData, u32>,
    flows: Array<MapData, FlowBucket>,
    secret: Array<MapData, FlowSecret>,
    hits: Array<MapData, Counter>,
    lanes: Array<MapData, Lane>,
    passes: PerCpuArray<MapData, Passes>,
}

impl Kernel {
    pub(crate) fn load(which: Object) -> Result<Self> {
        let name = match which {
            Object::Current => "policy.o",
            Object::Direct => "policy-direct.o",
        };
        let mut object = EbpfLoader::new().load_file(format!("{DIRECTORY}{name}"))?;
        for name in [EGRESS_PROGRAM, INGRESS_PROGRAM] {
            let program = object.program_mut(name).context("no such program")?;
            <&mut SchedClassifier>::try_from(program)?.load().context(name)?;
        }
        let mut map = |name| object.take_map(name).with_context(|| format!("no map {name}"));
        Ok(Self {
            policy: map(POLICY_MAP)?.try_into()?,
            stats: map(STATS_MAP)?.try_into()?,
            images: array(map(IMAGES_MAP)?)?,
            blocks: array(map(BLOCKS_MAP)?)?,
            leaves: array(map(LEAVES_MAP)?)?,
            flows: array(map(FLOWS_MAP)?)?,
            secret: array(map(SECRET_MAP)?)?,
            hits: array(map(HITS_MAP)?)?,
            lanes: array(map(LANES_MAP)?)?,
            passes: map(PASSES_MAP)?.try_into()?,
            object,
        })
    }

    /// Puts rules at their places.
    pub(crate) fn put(
        &mut self,
        (number, image): (u32, &RuleImage),
        (first_block, blocks): (u32, &[Block]),
        (first_leaf, leaves): (u32, &[u32]),
    ) -> Result<()> {
        for (place, block) in (first_block..).zip(blocks) {
            self.blocks.set(place, block, 0)?;
        }
        for (place, leaf) in (first_leaf..).zip(leaves) {
            self.leaves.set(place, leaf, 0)?;
        }
        Ok(self.images.set(number, image, 0)?)
    }

    pub(crate) fn set_secret(&mut self, secret: FlowSecret) -> Result<()> {
        Ok(self.secret.set(0, secret, 0)?)
    }

    /// Makes an image the one that holds, to be found by the short way too or by the long one alone.
    pub(crate) fn apply(&mut self, presets: Presets, rules: u32, short: bool) -> Result<()> {
        let policy =
            InterfacePolicy { xdp: Presets::PASS, egress: presets, ingress: presets, rules };
        self.policy.insert(LOOPBACK, policy, 0)?;
        let lane = if short { Lane::of(&policy) } else { Lane::CLOSED };
        Ok(self.lanes.set(LOOPBACK, lane, 0)?)
    }

    pub(crate) fn bucket(&self, place: u32) -> Result<FlowBucket> {
        Ok(self.flows.get(&place, 0)?)
    }

    pub(crate) fn set_bucket(&mut self, place: u32, bucket: &FlowBucket) -> Result<()> {
        Ok(self.flows.set(place, bucket, 0)?)
    }

    pub(crate) fn hit(&self, counter: u32) -> Result<Counter> {
        Ok(self.hits.get(&counter, 0)?)
    }

    pub(crate) fn clear_hit(&mut self, counter: u32) -> Result<()> {
        Ok(self.hits.set(counter, Counter::default(), 0)?)
    }

    /// What was counted so far.
    pub(crate) fn counts(&self) -> Result<Counts> {
        let mut counts = Counts::default();
        let [(sent, sent_bytes), (received, received_bytes)] =
            counts.each_mut().map(|[(packets, bytes), ..]| (packets, bytes));
        for place in 0..u32::try_from(MAX_PASSES)? {
            for Passes { egress, ingress } in self.passes.get(&place, 0)?.iter() {
                *sent += egress.packets;
                *sent_bytes += egress.bytes;
                *received += ingress.packets;
                *received_bytes += ingress.bytes;
            }
        }
        for (counts, observer) in counts.iter_mut().zip([Observer::Egress, Observer::Ingress]) {
            let key = StatsKey { ifindex: LOOPBACK, observer: observer as u32 };
            let stats = match self.stats.get(&key, 0) {
                Ok(stats) => stats.to_vec(),
                Err(MapError::KeyNotFound) => Vec::new(),
                Err(error) => return Err(error.into()),
            };
            for cpu in stats {
                for ((packets, bytes), counter) in counts.iter_mut().zip(cpu.counters) {
                    *packets += counter.packets;
                    *bytes += counter.bytes;
                }
            }
        }
        Ok(counts)
    }

    /// Runs the program of a direction on a frame that stands for some packets.
    pub(crate) fn passes(&self, frame: &[u8], from_container: bool, packets: u32) -> Result<bool> {
        const SHOT: u32 = 2;
        const NEXT: u32 = u32::MAX;
        const SEGMENTS: usize = 164;
        let name = if from_container { EGRESS_PROGRAM } else { INGRESS_PROGRAM };
        let program = self.object.program(name).context("no such program")?;
        let mut context = [0; 192];
        if let Some(field) = context.get_mut(SEGMENTS..SEGMENTS + 4) {
            field.copy_from_slice(&packets.to_ne_bytes());
        }
        let options = TestRunOptions {
            data_in: Some(frame),
            ctx_in: Some(&context),
            ..TestRunOptions::new()
        };
        let result = <&SchedClassifier>::try_from(program)?.test_run(options);
        match result?.return_value {
            NEXT => Ok(true),
            SHOT => Ok(false),
            other => bail!("{name} returned {other:#x}"),
        }
    }

    /// The time as the programs see it, which have not been told of the kernel's ticks here.
    pub(crate) fn ticks() -> Result<u32> {
        let time = clock_gettime(ClockId::Monotonic);
        let nanoseconds =
            u64::try_from(time.tv_sec)? * 1_000_000_000 + u64::try_from(time.tv_nsec)?;
        Ok(u32::try_from(nanoseconds >> TICK_SHIFT)?)
    }
}

fn array<V: Pod>(map: Map) -> Result<Array<MapData, V>> {
    Ok(Array::try_from(map)?)
}

/// Whether the kernel makes a packet of a frame: none of an Ethernet header alone, and since 6.17
/// none of an IP header cut short.
pub(crate) fn takes(frame: &[u8]) -> bool {
    match frame {
        [_, _, _, _, _, _, _, _, _, _, _, _, 0x08, 0x00, packet @ ..] => packet.len() >= 20,
        [_, _, _, _, _, _, _, _, _, _, _, _, 0x86, 0xdd, packet @ ..] => packet.len() >= 40,
        _ => frame.len() > 14,
    }
}
