//! Whether what was attached still is: other tools remove what is ours, and some of that no event
//! tells.

use ebpf_netns::Ifindex;

use super::attach::{Attached, pin_link};
use super::filters::{OURS, direction};
use super::{Kernel, Refusal, load};
use crate::error::chain;
use crate::plan::{Hook, Standing, Way};

/// What somebody else did to an interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Damage {
    /// What is not attached any more.
    pub gone: Vec<Way>,
    /// What is not attached any more of the operator's programs.
    pub own: Vec<Way>,
    /// Whether the entry of the policy map is another, which it is not any more then: it is to be
    /// written again.
    pub policy: bool,
    /// Pins that were missing, and are there again.
    pub repinned: usize,
}

impl Damage {
    /// How many things were not as they should be.
    #[must_use]
    pub fn count(&self) -> usize {
        self.gone.len() + self.own.len() + usize::from(self.policy) + self.repinned
    }
}

impl Kernel {
    /// Looks whether an interface is as it was left.
    ///
    /// # Errors
    ///
    /// When the kernel does not tell.
    pub fn audit(&mut self, ifindex: Ifindex, standing: &Standing) -> Result<Damage, Refusal> {
        let entry = self.policies.get(ifindex);
        let mut damage = Damage { policy: entry != standing.policy, ..Damage::default() };
        // Nothing is known of the programs of an earlier daemon, and they are about to be replaced.
        for way in standing.ways.difference(&standing.inherited) {
            let attached = match self.attached.get(&(ifindex, *way)) {
                Some(Attached::Filter(priority)) => self.has_filter(ifindex, *way, *priority)?,
                Some(Attached::Link(_)) => {
                    damage.repinned += usize::from(self.repin(ifindex, *way)?);
                    self.renew(ifindex, *way)?
                }
                None => false,
            };
            if !attached {
                self.attached.remove(&(ifindex, *way));
                damage.gone.push(*way);
            }
        }
        for (way, program) in &standing.own {
            let (attached, repinned) = self.audit_own(ifindex, *way, *program)?;
            damage.repinned += usize::from(repinned);
            if !attached {
                damage.own.push(*way);
            }
        }
        Ok(damage)
    }

    /// Pins the maps and programs again if somebody removed them; how many were missing.
    ///
    /// # Errors
    ///
    /// When they cannot be pinned.
    pub fn audit_pins(&mut self) -> Result<usize, Refusal> {
        let failed = |error: &dyn std::error::Error| Refusal::new(chain(error));
        let missing = load::MAPS.iter().filter(|name| !self.pins.map(name).exists()).count();
        let programs = Hook::ALL.map(load::program_name);
        let lost = programs.iter().filter(|name| !self.pins.program(name).exists()).count();
        if missing + lost == 0 {
            return Ok(0);
        }
        self.pins.make_directories().map_err(|error| failed(&error))?;
        for (name, map) in &self.maps {
            let path = self.pins.map(name);
            if !path.exists() {
                map.pin(&path).map_err(|error| failed(&error))?;
            }
        }
        load::pin_programs(&mut self.ebpf, &self.pins).map_err(Refusal::new)?;
        Ok(missing + lost)
    }

    fn has_filter(&self, ifindex: Ifindex, way: Way, priority: u16) -> Result<bool, Refusal> {
        let filters = self
            .rtnl
            .bpf_filters(ifindex, direction(way.0))
            .map_err(|error| Refusal::new(chain(&error)))?;
        let ours = self.identities.get(&way.0).map(|identity| identity.id);
        Ok(filters.iter().any(|filter| {
            filter.handle == OURS.handle
                && filter.priority == priority
                && Some(filter.program_id) == ours
        }))
    }

    /// Pins a link again whose pin is missing, which it is not for long: with this process what is
    /// not pinned would end. Whether it was.
    fn repin(&mut self, ifindex: Ifindex, way: Way) -> Result<bool, Refusal> {
        let path = self.pins.link(ifindex, way);
        if path.exists() {
            return Ok(false);
        }
        // aya closes a link that cannot be pinned: as much as can be is found out before.
        self.pins.make_directories().map_err(|error| Refusal::new(chain(&error)))?;
        if let Some(Attached::Link(link)) = self.attached.remove(&(ifindex, way)) {
            let link = pin_link(link, &path).map_err(Refusal::new)?;
            self.attached.insert((ifindex, way), Attached::Link(link));
        }
        Ok(true)
    }
}
