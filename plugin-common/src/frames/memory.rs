//! The datapath of one interface in memory: what the kernel programs do with a frame under rules,
//! with tables of its own.

use core::cell::Cell;
use std::vec::Vec;

use crate::abi::{Block, FlowBucket, FlowSecret, RuleImage};
use crate::connection::flow::{self, Bucket, FlowState, Said, WAYS};
use crate::connection::{self, Context, Decision, NO_RULE, Of};
use crate::identity::Standing;
use crate::packet::{Bytes, Packet, parse};
use crate::rules::{self, Ruling, Tables};
use crate::verdict::Reason;

/// Blocks and leaves, from place 0 on.
#[derive(Clone, Debug, Default)]
pub struct Places {
    /// The blocks.
    pub blocks: Vec<Block>,
    /// The leaves.
    pub leaves: Vec<u32>,
}

impl Tables for Places {
    fn block(&self, number: u32) -> Option<&Block> {
        self.blocks.get(usize::try_from(number).ok()?)
    }

    fn leaf(&self, number: u32) -> Option<u32> {
        self.leaves.get(usize::try_from(number).ok()?).copied()
    }
}

/// A bucket of connections.
#[derive(Debug, Default)]
pub struct Ways {
    fingerprints: [Cell<u64>; WAYS],
    states: [Cell<u64>; WAYS],
}

impl Ways {
    /// As it stands in the map.
    #[must_use]
    pub fn contents(&self) -> FlowBucket {
        FlowBucket {
            fingerprints: self.fingerprints.each_ref().map(Cell::get),
            states: self.states.each_ref().map(Cell::get),
        }
    }

    /// Puts this in its place.
    pub fn fill(&self, contents: &FlowBucket) {
        let FlowBucket { fingerprints, states } = contents;
        for (place, value) in self.fingerprints.iter().zip(fingerprints) {
            place.set(*value);
        }
        for (place, value) in self.states.iter().zip(states) {
            place.set(*value);
        }
    }
}

impl Bucket for Ways {
    fn fingerprint(&self, way: usize) -> u64 {
        self.fingerprints.get(way).map_or(0, Cell::get)
    }

    fn state(&self, way: usize) -> FlowState {
        FlowState(self.states.get(way).map_or(0, Cell::get))
    }

    fn set_fingerprint(&self, way: usize, fingerprint: u64) {
        if let Some(place) = self.fingerprints.get(way) {
            place.set(fingerprint);
        }
    }

    fn set_state(&self, way: usize, state: FlowState) {
        if let Some(place) = self.states.get(way) {
            place.set(state.0);
        }
    }
}

/// The connections of one interface.
#[derive(Debug)]
pub struct Flows {
    /// What fingerprints are made with.
    pub secret: FlowSecret,
    /// The buckets, the first of which is number 0.
    pub buckets: Vec<Ways>,
}

impl Flows {
    /// None yet, in this many buckets.
    #[must_use]
    pub fn new(secret: FlowSecret, buckets: usize) -> Self {
        Self { secret, buckets: (0..buckets).map(|_| Ways::default()).collect() }
    }

    /// Judges a frame that no preset drops, at a time in units of [`flow::TICK_SHIFT`].
    #[must_use]
    pub fn judge(
        &self,
        (image, places): (&RuleImage, &Places),
        frame: &[u8],
        from_container: bool,
        now: u32,
    ) -> Decision {
        let packet = parse(&Bytes(frame));
        if let Some(unreadable) = packet.unreadable {
            let reason = Reason::from(unreadable);
            return Decision { reason, rule: NO_RULE, audited: NO_RULE, log: false };
        }
        let context = InMemory {
            flows: self,
            image,
            places,
            frame: Bytes(frame),
            packet: &packet,
            from_container,
            now,
        };
        connection::judge(&context, &packet, image.epoch, from_container)
    }
}

struct InMemory<'a> {
    flows: &'a Flows,
    image: &'a RuleImage,
    places: &'a Places,
    frame: Bytes<'a>,
    packet: &'a Packet,
    from_container: bool,
    now: u32,
}

impl InMemory<'_> {
    fn bucket(&self, fingerprint: u64) -> Option<&Ways> {
        let number = connection::bucket(self.image, fingerprint) - self.image.flows;
        self.flows.buckets.get(usize::try_from(number).ok()?)
    }
}

impl Context for InMemory<'_> {
    fn standing(&self) -> Standing {
        // There and back, as through a function of the kernel.
        let standing =
            connection::standing(&self.frame, self.packet, self.image, self.from_container);
        Standing::from_number(standing.number())
    }

    fn fingerprint(&self, of: Of) -> u64 {
        let secret = &self.flows.secret;
        connection::fingerprint(&self.frame, self.packet, secret, of, self.from_container)
    }

    fn touch(&self, fingerprint: u64, said: Said) -> Option<FlowState> {
        let bucket = self.bucket(fingerprint)?;
        let noted = |before: FlowState| !before.gives_way(said);
        flow::touch(bucket, fingerprint, self.from_container, said, self.now, noted)
    }

    fn find(&self, fingerprint: u64) -> Option<FlowState> {
        flow::find(self.bucket(fingerprint)?, fingerprint, self.now)
    }

    fn keep(&self, fingerprint: u64, state: FlowState) -> bool {
        self.bucket(fingerprint)
            .is_some_and(|bucket| flow::insert(bucket, fingerprint, state, self.now))
    }

    fn forget(&self, fingerprint: u64) {
        if let Some(bucket) = self.bucket(fingerprint) {
            flow::remove(bucket, fingerprint);
        }
    }

    fn ruling(&self, egress: bool) -> Ruling {
        let table = if egress { &self.image.egress } else { &self.image.ingress };
        let question = connection::question(self.packet, egress, self.from_container);
        Ruling::from_number(rules::decide(self.places, table, &question).number())
    }

    fn now(&self) -> u32 {
        self.now
    }
}
