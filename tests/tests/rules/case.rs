//! One run of made-up traffic under made-up policies, in the kernel and in memory.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use ebpf_netns_plugin::datapath::{self, Places as Put, Program};
use plugin_common::abi::{
    Endpoint, Extent, FlowBucket, FlowSecret, MAX_BLOCKS, MAX_BUCKETS, RuleImage,
};
use plugin_common::connection::flow::FlowState;
use plugin_common::connection::{Decision, NO_RULE};
use plugin_common::frames::Mutator;
use plugin_common::frames::memory::{Flows, Places};
use plugin_common::presets::Presets;
use plugin_common::verdict::Reason;

use crate::kernel::{Counts, Kernel, LOOPBACK};
use crate::policies::{self, Expected, Layer, expected, places};
use crate::traffic::{Sent, Traffic, endpoint};

/// One policy of the container.
#[derive(Clone, Debug, Default)]
pub(crate) struct Policy {
    pub(crate) egress: Vec<Layer>,
    pub(crate) ingress: Vec<Layer>,
}

/// What happens next.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Send {
        sent: Sent,
        packets: u32,
    },
    /// All connections are older by this.
    Age(u32),
    /// The other policy holds from now on.
    Switch,
}

/// A run from the beginning.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) policies: [Policy; 2],
    pub(crate) endpoint: Endpoint,
    pub(crate) buckets: u32,
    pub(crate) secret: FlowSecret,
    pub(crate) first_epoch: u32,
    pub(crate) steps: Vec<Step>,
}

/// How a run went.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// And so many frames opened a connection.
    Agree(u64),
    /// The clock went on meanwhile, so that times differ.
    Late,
    /// What differs, after which step if that is known.
    Differ(String),
}

impl Case {
    /// Makes one up.
    pub(crate) fn random(traffic: &mut Traffic, frames: usize) -> Option<Self> {
        traffic.forget();
        let random = &mut traffic.random;
        let policies = [(), ()].map(|()| Policy {
            egress: policies::layers(random),
            ingress: policies::layers(random),
        });
        let checked = random.below(3) != 0;
        let buckets = random.one_of(&[1, 2, 16, 64])?;
        let secret = FlowSecret([(); 24].map(|()| random.number()));
        let first_epoch = random.one_of(&[0, 1, 255, 256, 0x7f_ffff, u32::MAX])?;
        let mut steps = Vec::new();
        while steps.len() < frames {
            let step = match traffic.random.below(100) {
                0 => Step::Switch,
                1 => Step::Age(traffic.random.one_of(&[1, 5, 11, 31, 61, 121, 181, 601, 80_001])?),
                _ => {
                    let Some(sent) = traffic.frame() else { continue };
                    let packets = 1 + u32::try_from(traffic.random.below(65_535)).ok()?;
                    Step::Send { sent, packets }
                }
            };
            steps.push(step);
        }
        let endpoint = endpoint(checked);
        Some(Self { policies, endpoint, buckets, secret, first_epoch, steps })
    }

    /// Runs it in both.
    pub(crate) fn run(&self, kernel: &mut Kernel) -> Result<Outcome> {
        let Some(mut run) = Run::prepare(self, kernel)? else {
            return Ok(Outcome::Agree(0));
        };
        let started = Kernel::ticks()?;
        for (number, step) in self.steps.iter().enumerate() {
            let differs = run.step(kernel, step, started)?;
            if Kernel::ticks()? != started {
                return Ok(Outcome::Late);
            }
            if let Some(differs) = differs {
                return Ok(Outcome::Differ(format!("at step {number}: {differs}")));
            }
        }
        let differs = run.finish(kernel)?;
        Ok(differs.map_or(Outcome::Agree(run.opened), Outcome::Differ))
    }
}

/// A policy in its place.
struct Installed<'a> {
    policy: &'a Policy,
    /// The number of its image in the kernel.
    number: u32,
    image: RuleImage,
    /// As in the kernel, but from 0 on.
    in_memory: (RuleImage, Places),
}

struct Run<'a> {
    case: &'a Case,
    installed: Vec<Installed<'a>>,
    current: usize,
    epoch: u32,
    flows: Flows,
    first_bucket: u32,
    before: Counts,
    counted: Counts,
    hits: BTreeMap<u32, (u64, u64)>,
    /// Frames that opened a connection.
    opened: u64,
}

impl<'a> Run<'a> {
    fn prepare(case: &'a Case, kernel: &mut Kernel) -> Result<Option<Self>> {
        let FlowSecret([first, ..]) = case.secret;
        let mut random = Mutator::new(first);
        let mut below = |bound: usize| u32::try_from(random.below(bound));
        let first_bucket = below(MAX_BUCKETS - 64)?;
        // Apart from each other.
        let first_block = below(MAX_BLOCKS / 2)?;
        let mut put = Put { blocks: first_block, leaves: first_block, counters: below(60_000)? };
        let first_image = 1 + below(4000)?;
        let mut hits = BTreeMap::new();
        let mut installed = Vec::new();
        for (number, policy) in (first_image..).zip(&case.policies) {
            let Some(program) = compiled(policy) else { return Ok(None) };
            let placed = program.place(put);
            let here = program.place(Put { counters: put.counters, ..Put::default() });
            let image = RuleImage {
                egress: placed.egress,
                ingress: placed.ingress,
                endpoint: case.endpoint,
                flows: first_bucket,
                flows_mask: case.buckets - 1,
                epoch: 0,
                ifindex: LOOPBACK,
                extent: Extent::default(),
            };
            let in_memory = RuleImage { egress: here.egress, ingress: here.ingress, ..image };
            kernel.put(
                (number, &image),
                (put.blocks, &placed.blocks),
                (put.leaves, &placed.leaves),
            )?;
            for (table, layers) in
                [(&placed.egress, &policy.egress), (&placed.ingress, &policy.ingress)]
            {
                for place in places(layers) {
                    kernel.clear_hit(table.counters + place)?;
                    hits.insert(table.counters + place, (0, 0));
                }
            }
            let memory = Places { blocks: here.blocks, leaves: here.leaves };
            installed.push(Installed { policy, number, image, in_memory: (in_memory, memory) });
            put.blocks += u32::try_from(placed.blocks.len())?;
            put.leaves += u32::try_from(placed.leaves.len())?;
            put.counters += placed.counters;
        }
        kernel.set_secret(case.secret)?;
        for place in 0..case.buckets {
            kernel.set_bucket(first_bucket + place, &FlowBucket::default())?;
        }
        let before = kernel.counts()?;
        let flows = Flows::new(case.secret, usize::try_from(case.buckets)?);
        let (epoch, counted) = (case.first_epoch, Counts::default());
        let mut run = Self {
            case,
            installed,
            current: 0,
            epoch,
            flows,
            first_bucket,
            before,
            counted,
            hits,
            opened: 0,
        };
        run.apply(kernel)?;
        Ok(Some(run))
    }

    fn apply(&mut self, kernel: &mut Kernel) -> Result<()> {
        let Some(installed) = self.installed.get_mut(self.current) else { return Ok(()) };
        installed.image.epoch = self.epoch;
        installed.in_memory.0.epoch = self.epoch;
        kernel.put((installed.number, &installed.image), (0, &[]), (0, &[]))?;
        // Both ways do the same.
        let FlowSecret([first, ..]) = self.case.secret;
        kernel.apply(Presets::PASS, installed.number, !first.is_multiple_of(4))
    }

    /// What differs, if anything does.
    fn step(&mut self, kernel: &mut Kernel, step: &Step, now: u32) -> Result<Option<String>> {
        match step {
            Step::Send { sent, packets } => self.send(kernel, sent, *packets, now),
            Step::Age(ticks) => {
                for (place, bucket) in (self.first_bucket..).zip(&self.flows.buckets) {
                    let mut contents = bucket.contents();
                    for state in &mut contents.states {
                        let expires = FlowState(*state).expires().wrapping_sub(*ticks);
                        *state = *state & !0xffff_ffff | u64::from(expires);
                    }
                    bucket.fill(&contents);
                    kernel.set_bucket(place, &contents)?;
                }
                Ok(None)
            }
            Step::Switch => {
                self.current ^= 1;
                self.epoch = self.epoch.wrapping_add(1);
                self.apply(kernel)?;
                Ok(None)
            }
        }
    }

    fn send(
        &mut self,
        kernel: &Kernel,
        sent: &Sent,
        packets: u32,
        now: u32,
    ) -> Result<Option<String>> {
        let Sent { bytes, from_container, opens } = sent;
        if !crate::kernel::takes(bytes) {
            return Ok(None);
        }
        let Some(installed) = self.installed.get(self.current) else { return Ok(None) };
        let (image, places) = &installed.in_memory;
        let decision = self.flows.judge((image, places), bytes, *from_container, now);
        if let Some(probe) = opens {
            let (layers, table) = if *from_container {
                (&installed.policy.egress, &image.egress)
            } else {
                (&installed.policy.ingress, &image.ingress)
            };
            let expected = expected(layers, probe);
            // Where nothing is known of it: what was changed on its way may have been of it.
            let first = Flows::new(self.case.secret, 64);
            let first = first.judge((image, places), bytes, *from_container, now);
            if !is_expected(&first, expected, table.counters) {
                return Ok(Some(format!("the reference says {expected:?}, it is {first:?}")));
            }
            self.opened += u64::from(first == decision);
        }
        self.count(&decision, *from_container, packets, bytes.len())?;
        let passes = kernel.passes(bytes, *from_container, packets)?;
        let differs = passes != decision.reason.passes();
        Ok(differs.then(|| format!("in memory {decision:?}, the kernel passes: {passes}")))
    }

    fn count(
        &mut self,
        decision: &Decision,
        egress: bool,
        packets: u32,
        length: usize,
    ) -> Result<()> {
        let (packets, length) = (u64::from(packets), u64::try_from(length)?);
        let add = |(old_packets, old_bytes): &mut (u64, u64)| {
            *old_packets += packets;
            *old_bytes += length;
        };
        let counted = self.counted.get_mut(usize::from(!egress));
        if let Some(place) = counted.and_then(|counts| counts.get_mut(decision.reason as usize)) {
            add(place);
        }
        if decision.rule != NO_RULE {
            add(self.hits.entry(decision.rule).or_default());
        }
        if decision.audited != NO_RULE && decision.audited != decision.rule {
            add(self.hits.entry(decision.audited).or_default());
        }
        Ok(())
    }

    /// Compares what is left behind.
    fn finish(&self, kernel: &Kernel) -> Result<Option<String>> {
        let after = kernel.counts()?;
        for (direction, from_container) in [(0, true), (1, false)] {
            for reason in Reason::ALL {
                let at = |counts: &Counts| -> (u64, u64) {
                    let counts = counts.get(direction).and_then(|it| it.get(reason as usize));
                    counts.copied().unwrap_or_default()
                };
                let (after, before) = (at(&after), at(&self.before));
                let found = (after.0 - before.0, after.1 - before.1);
                let expected = at(&self.counted);
                if found != expected {
                    return Ok(Some(format!(
                        "the kernel counted {found:?} for {reason:?}, from the container: \
                         {from_container}; in memory {expected:?}"
                    )));
                }
            }
        }
        for (counter, expected) in &self.hits {
            let found = kernel.hit(*counter)?;
            if (found.packets, found.bytes) != *expected {
                return Ok(Some(format!("counter {counter}: {found:?}, in memory {expected:?}")));
            }
        }
        for (place, bucket) in (self.first_bucket..).zip(&self.flows.buckets) {
            let (found, expected) = (kernel.bucket(place)?, bucket.contents());
            if found != expected {
                return Ok(Some(format!("bucket {place}: {found:x?}, in memory {expected:x?}")));
            }
        }
        ensure!(
            self.flows.buckets.len() == usize::try_from(self.case.buckets)?,
            "all are compared"
        );
        Ok(None)
    }
}

/// Both directions; `None` if there are too many rules.
pub(crate) fn compiled(policy: &Policy) -> Option<Program> {
    let direction = |layers: &[Layer]| {
        let layers: Vec<_> = layers
            .iter()
            .map(|Layer { rules, audit }| datapath::Layer { rules, audit: *audit })
            .collect();
        datapath::compile(&layers).ok()
    };
    Some(Program { egress: direction(&policy.egress)?, ingress: direction(&policy.ingress)? })
}

/// Whether a decision is what the reference says of a packet that opens a connection.
fn is_expected(decision: &Decision, expected: Expected, counters: u32) -> bool {
    let reason = match decision.reason {
        Reason::FlowTableFull | Reason::Passed => expected.allowed,
        Reason::Denied => !expected.allowed && !expected.no_rule,
        Reason::NoRule => !expected.allowed && expected.no_rule,
        _ => false,
    };
    let counter = |place: Option<u32>| place.map_or(NO_RULE, |place| counters + place);
    reason
        && decision.rule == counter(expected.rule)
        && decision.audited == counter(expected.audited)
        && decision.log == expected.log
}
