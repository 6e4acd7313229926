//! Captures: which interfaces the programs copy frames of, and the ring buffers that they copy into.
//!
//! A ring buffer takes memory while its capture goes on, and at no other time; it is that capture's
//! alone, so that a flood in one is no loss in another. Used beside the engine, which has no part in it
//! but for the bit of a policy that has the programs look here at all.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aya::maps::{Array, HashMap, HashOfMaps, Map, MapData, MapError, RingBuf};
use aya_obj::generated::bpf_map_type::BPF_MAP_TYPE_RINGBUF;
use ebpf_netns::Ifindex;
use plugin_common::capture::{
    CAPTURE_LOST_MAP, CAPTURE_RINGS_MAP, CAPTURES_MAP, MAX_CAPTURES, Wish, Wishes,
};
use tokio::io::unix::AsyncFd;

use super::Kernel;
use super::load::LoadError;

/// The size of a ring buffer, in bytes: some thousand large frames.
const RING_BYTES: u32 = 4 << 20;

/// A capture could not be begun, or could not go on.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// There are too many.
    #[error("{MAX_CAPTURES} captures go on already: end one of them")]
    TooMany,
    /// The kernel refuses.
    #[error("{what}")]
    Map {
        /// What was being done.
        what: &'static str,
        /// Why it failed.
        #[source]
        source: Box<MapError>,
    },
    /// The ring buffer cannot be waited for.
    #[error("wait for the ring buffer of a capture")]
    Wait(#[from] io::Error),
}

/// All captures.
#[derive(Clone)]
pub struct Captures(Arc<Mutex<Maps>>);

struct Maps {
    wishes: HashMap<MapData, u32, Wishes>,
    rings: HashOfMaps<MapData, u32, RingBuf<MapData>>,
    lost: Array<MapData, u64>,
    taken: BTreeSet<u32>,
}

impl Kernel {
    /// The captures, of which there is none: what a daemon left that was killed is taken away.
    ///
    /// # Errors
    ///
    /// When a map cannot be opened.
    pub fn captures(&self) -> Result<Captures, LoadError> {
        let open = |name| {
            MapData::from_pin(self.pins.map(name))
                .map_err(|error| LoadError::Object(Box::new(error.into())))
        };
        let wishes = HashMap::try_from(Map::HashMap(open(CAPTURES_MAP)?));
        let rings = HashOfMaps::try_from(Map::HashOfMaps(open(CAPTURE_RINGS_MAP)?));
        let lost = Array::try_from(Map::Array(open(CAPTURE_LOST_MAP)?));
        let mut maps = Maps {
            wishes: wishes.map_err(|_mismatch| LoadError::Missing(CAPTURES_MAP))?,
            rings: rings.map_err(|_mismatch| LoadError::Missing(CAPTURE_RINGS_MAP))?,
            lost: lost.map_err(|_mismatch| LoadError::Missing(CAPTURE_LOST_MAP))?,
            taken: BTreeSet::new(),
        };
        maps.clear();
        Ok(Captures(Arc::new(Mutex::new(maps))))
    }
}

impl Captures {
    /// Begins one, of nothing yet. May take the kernel some milliseconds.
    ///
    /// # Errors
    ///
    /// When there are too many, or the kernel refuses.
    pub fn begin(&self) -> Result<Tap, CaptureError> {
        let ring = ring()?;
        let mut maps = self.maps();
        let place = maps.free().ok_or(CaptureError::TooMany)?;
        maps.lost.set(place, 0, 0).map_err(failed("count anew what a capture loses"))?;
        maps.rings.insert(place, &ring, 0).map_err(failed("hand on a capture's ring buffer"))?;
        maps.taken.insert(place);
        drop(maps);
        let captures = self.clone();
        // From here on, it is taken away again whatever happens.
        let held = Place { captures, number: place, interfaces: BTreeSet::new() };
        #[expect(
            deprecated,
            reason = "its successor is unsafe, against descriptors that change: this one does not"
        )]
        let ring = AsyncFd::new(ring)?;
        Ok(Tap { ring, held })
    }

    fn maps(&self) -> MutexGuard<'_, Maps> {
        // Whoever panicked left nothing half done that the kernel would mind.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Maps {
    fn free(&self) -> Option<u32> {
        let places = 0..u32::try_from(MAX_CAPTURES).unwrap_or(u32::MAX);
        places.into_iter().find(|place| !self.taken.contains(place))
    }

    /// Sets what the capture at a place wants of an interface.
    fn set(&mut self, ifindex: u32, place: u32, wish: Wish) -> Result<(), MapError> {
        let Wishes(mut wishes) = self.wishes.get(&ifindex, 0).unwrap_or_default();
        let own = usize::try_from(place).ok().and_then(|place| wishes.get_mut(place));
        if let Some(own) = own {
            *own = wish;
        }
        if wishes.iter().any(|wish| wish.what != 0) {
            self.wishes.insert(ifindex, Wishes(wishes), 0)
        } else {
            // What is not there is as good as removed.
            self.wishes.remove(&ifindex).ok();
            Ok(())
        }
    }

    fn clear(&mut self) {
        let left: Vec<u32> = self.wishes.keys().filter_map(Result::ok).collect();
        for ifindex in left {
            self.wishes.remove(&ifindex).ok();
        }
        for place in (0..).take(MAX_CAPTURES) {
            self.rings.remove(&place).ok();
        }
    }
}

/// The place of a capture, given back when it is dropped.
struct Place {
    captures: Captures,
    number: u32,
    interfaces: BTreeSet<u32>,
}

impl Drop for Place {
    /// The kernel waits until no program has the ring buffer any more: some milliseconds.
    fn drop(&mut self) {
        let mut maps = self.captures.maps();
        for ifindex in &self.interfaces {
            maps.set(*ifindex, self.number, Wish::default()).ok();
        }
        maps.rings.remove(&self.number).ok();
        maps.taken.remove(&self.number);
    }
}

/// One capture, to be read by one task.
pub struct Tap {
    ring: AsyncFd<RingBuf<MapData>>,
    held: Place,
}

impl Tap {
    /// Has the programs copy these, and nothing else.
    ///
    /// # Errors
    ///
    /// When the kernel refuses.
    pub fn set(&mut self, wishes: &BTreeMap<Ifindex, Wish>) -> Result<(), CaptureError> {
        let Place { captures, number, interfaces } = &mut self.held;
        let mut maps = captures.maps();
        let wanted: BTreeMap<u32, Wish> =
            wishes.iter().map(|(ifindex, wish)| (ifindex.get(), *wish)).collect();
        interfaces.retain(|gone| {
            let stays = wanted.contains_key(gone);
            if !stays {
                maps.set(*gone, *number, Wish::default()).ok();
            }
            stays
        });
        for (ifindex, wish) in wanted {
            interfaces.insert(ifindex);
            maps.set(ifindex, *number, wish).map_err(failed("say which frames are captured"))?;
        }
        Ok(())
    }

    /// Waits until there are frames, and hands them over until there is none left or `sink` has enough.
    ///
    /// # Errors
    ///
    /// When they cannot be waited for.
    pub async fn drain(&mut self, mut sink: impl FnMut(&[u8]) -> bool) -> Result<(), CaptureError> {
        let mut ready = self.ring.readable_mut().await?;
        while let Some(record) = ready.get_inner_mut().next() {
            if !sink(&record) {
                return Ok(());
            }
        }
        ready.clear_ready();
        Ok(())
    }

    /// Hands over what there is, at the end.
    pub fn rest(&mut self, mut sink: impl FnMut(&[u8])) {
        while let Some(record) = self.ring.get_mut().next() {
            sink(&record);
        }
    }

    /// How many frames found no room so far.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.held.captures.maps().lost.get(&self.held.number, 0).unwrap_or_default()
    }
}

fn ring() -> Result<RingBuf<MapData>, CaptureError> {
    let making = "make a ring buffer";
    let kind = BPF_MAP_TYPE_RINGBUF as u32;
    let wanted = aya_obj::Map::new_from_params(kind, 0, 0, RING_BYTES, 0);
    let map = MapData::create(wanted, "CAPTURE", None).map_err(failed(making))?;
    RingBuf::try_from(Map::RingBuf(map)).map_err(failed(making))
}

fn failed(what: &'static str) -> impl FnOnce(MapError) -> CaptureError {
    move |error| CaptureError::Map { what, source: Box::new(error) }
}
