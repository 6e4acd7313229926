//! Which policy an interface has: in a hash map, which holds for everybody, and for those whose rules
//! alone decide in an array too, which is quicker to look up.

use aya::Ebpf;
use aya::maps::{Array, HashMap, MapData, MapError};
use ebpf_netns::Ifindex;
use plugin_common::abi::{InterfacePolicy, LANES_MAP, Lane, POLICY_MAP};

use super::load::{self, LoadError};

/// The maps of policies.
pub(super) struct Policies {
    policies: HashMap<MapData, u32, InterfacePolicy>,
    lanes: Array<MapData, Lane>,
}

impl Policies {
    pub(super) fn new(ebpf: &mut Ebpf) -> Result<Self, LoadError> {
        Ok(Self { policies: load::take(ebpf, POLICY_MAP)?, lanes: load::take(ebpf, LANES_MAP)? })
    }

    /// The policy of an interface.
    pub(super) fn get(&self, ifindex: Ifindex) -> Option<InterfacePolicy> {
        self.policies.get(&ifindex.get(), 0).ok()
    }

    /// Every interface that has one.
    pub(super) fn interfaces(&self) -> impl Iterator<Item = u32> {
        self.policies.keys().filter_map(Result::ok)
    }

    /// Gives an interface a policy, in one write: programs see the one before or this one.
    pub(super) fn set(
        &mut self,
        ifindex: Ifindex,
        policy: InterfacePolicy,
    ) -> Result<(), MapError> {
        // What is closed is looked up in the hash map, which is written in one piece.
        self.set_lane(ifindex, Lane::CLOSED)?;
        self.policies.insert(ifindex.get(), policy, 0)?;
        self.set_lane(ifindex, Lane::of(&policy))
    }

    /// Opens the short way again to the policy that an interface has.
    pub(super) fn open(&mut self, ifindex: Ifindex) -> Result<(), MapError> {
        self.get(ifindex).map_or(Ok(()), |policy| self.set_lane(ifindex, Lane::of(&policy)))
    }

    /// Takes an interface's policy away. What is not there is as good as taken away.
    pub(super) fn remove(&mut self, ifindex: Ifindex) {
        // The rules that it leads to say whose they are; so nobody is misled where it cannot be closed.
        self.set_lane(ifindex, Lane::CLOSED).ok();
        self.policies.remove(&ifindex.get()).ok();
    }

    /// Interfaces whose indices have the same lower bits share one: the last one to be written has it.
    fn set_lane(&mut self, ifindex: Ifindex, lane: Lane) -> Result<(), MapError> {
        let place = Lane::place(ifindex.get());
        if self.lanes.get(&place, 0)? == lane {
            return Ok(());
        }
        self.lanes.set(place, lane, 0)
    }
}
