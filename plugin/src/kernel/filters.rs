//! Filters of clsact: how those of our programs and of the operator's are known, set and taken off.

use std::os::fd::BorrowedFd;

use aya::programs::ProgramError;
use ebpf_netns::rtnl::{Direction, NewBpfFilter};
use ebpf_netns::{ErrorClass, Ifindex, Rtnl};
use nix::errno::Errno;
use tracing::warn;

use super::refusal::{AttachError, Refusal};
use super::{errno, load};
use crate::error::chain;
use crate::plan::{Attachment, Hook, ProgramId, Way};

/// The name of the filters with programs of the operator's.
pub(super) const OPERATORS_NAME: &str = "ebpf_netns_own";

/// Filters with our programs.
pub(super) const OURS: Filters =
    Filters { handle: 0x0eb9_f001, priorities: [1, 2, 3], name: load::program_name };

/// Filters with programs of the operator's, all behind ours.
pub(super) const OPERATORS: Filters =
    Filters { handle: 0x0eb9_f002, priorities: [11, 12, 13], name: |_hook| OPERATORS_NAME };

/// The filters of one kind.
#[derive(Clone, Copy, Debug)]
pub(super) struct Filters {
    /// Their handle, which nobody else takes by accident.
    pub(super) handle: u32,
    /// What is tried for one: the first that is not held by a filter of another kind.
    priorities: [u16; 3],
    /// What they are called, by the hook.
    name: fn(Hook) -> &'static str,
}

/// A filter that is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) way: Way,
    pub(super) program: ProgramId,
    pub(super) priority: u16,
}

impl Filters {
    /// The priority of a filter where nobody else is in the way.
    pub(super) const fn first_priority(&self) -> u16 {
        let [first, ..] = self.priorities;
        first
    }

    /// A filter for a hook, as it is to be.
    pub(super) fn filter<'a>(
        &self,
        hook: Hook,
        priority: u16,
        program: BorrowedFd<'a>,
    ) -> NewBpfFilter<'a> {
        let (handle, name) = (self.handle, (self.name)(hook));
        NewBpfFilter { direction: direction(hook), priority, handle, program, name }
    }

    /// Sets a filter; its priority. That of `before` is replaced in one step.
    pub(super) fn set(
        &self,
        rtnl: &Rtnl,
        (ifindex, hook): (Ifindex, Hook),
        program: BorrowedFd<'_>,
        before: Option<u16>,
    ) -> Result<u16, AttachError> {
        let priorities = before.as_ref().map_or(&self.priorities[..], std::slice::from_ref);
        let mut refused = None;
        for priority in priorities {
            match rtnl.set_bpf_filter(ifindex, &self.filter(hook, *priority, program)) {
                Ok(()) => return Ok(*priority),
                // A filter of another kind has this priority.
                Err(error) if errno::of_rtnl(&error) == Some(Errno::EINVAL) => {
                    refused = Some(error);
                }
                Err(error) => return Err(AttachError::Rtnl(error)),
            }
        }
        Err(refused.map_or_else(|| ProgramError::NotAttached.into(), AttachError::Rtnl))
    }

    /// Takes a filter off; one that is gone already is as good as taken off.
    pub(super) fn take_off(
        &self,
        rtnl: &Rtnl,
        (ifindex, hook): (Ifindex, Hook),
        priority: u16,
    ) -> Result<(), Refusal> {
        match rtnl.remove_filter(ifindex, direction(hook), priority, self.handle) {
            Err(error) if error.class() != ErrorClass::Gone => Err(Refusal::new(chain(&error))),
            _ => Ok(()),
        }
    }

    /// Those on an interface.
    pub(super) fn find(&self, rtnl: &Rtnl, ifindex: Ifindex) -> Vec<Found> {
        let mut found = Vec::new();
        for hook in [Hook::Egress, Hook::Ingress] {
            let of_kind = match rtnl.bpf_filters(ifindex, direction(hook)) {
                Ok(filters) => filters,
                Err(error) if error.class() == ErrorClass::Gone => continue,
                Err(error) => {
                    warn!(%ifindex, error = chain(&error), "filters could not be listed");
                    continue;
                }
            };
            let of_kind = of_kind
                .into_iter()
                .filter(|one| one.handle == self.handle && one.name == (self.name)(hook));
            found.extend(of_kind.map(|one| Found {
                way: (hook, Attachment::Clsact),
                program: one.program_id,
                priority: one.priority,
            }));
        }
        found
    }
}

pub(super) const fn is_filter((_, attachment): Way) -> bool {
    matches!(attachment, Attachment::Clsact)
}

/// The side of the host-side veth: the container's direction reversed.
pub(super) const fn direction(hook: Hook) -> Direction {
    match hook {
        Hook::Xdp | Hook::Egress => Direction::Ingress,
        Hook::Ingress => Direction::Egress,
    }
}
