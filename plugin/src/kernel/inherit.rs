//! What an earlier daemon left attached: found and taken over as it stands, or removed.
//!
//! Nothing of it is changed here but what hangs on interfaces that are gone: its programs go on
//! enforcing what they were told, until it is known what is wanted.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use aya::programs::links::{FdLink, PinnedLink};
use ebpf_netns::{Ifindex, Link, Rtnl, RtnlError};
use tracing::{info, warn};

use super::attach::{Attached, MARK, pin_link};
use super::filters::{Found, OPERATORS, OURS};
use super::pins::{self, PinnedWay, Pins, PinsError};
use super::{Kernel, Refusal};
use crate::error::chain;
use crate::plan::{Standing, Way};

impl Kernel {
    /// What is attached to these interfaces, which are all that there are. Pins and entries of
    /// interfaces that are gone are removed.
    ///
    /// # Errors
    ///
    /// When pins cannot be listed.
    pub fn inherit(
        &mut self,
        interfaces: &[&Link],
    ) -> Result<BTreeMap<Ifindex, Standing>, PinsError> {
        let there: BTreeSet<Ifindex> = interfaces.iter().map(|link| link.index).collect();
        let mut found: BTreeMap<Ifindex, Standing> = BTreeMap::new();
        for pinned in self.pins.links()? {
            if there.contains(&pinned.ifindex) {
                if pinned.is_own {
                    if let Some(program) = self.inherit_own_link(&pinned) {
                        let standing = found.entry(pinned.ifindex).or_default();
                        standing.own.insert(pinned.way, program);
                    }
                } else if let Some(way) = self.inherit_link(&pinned) {
                    found.entry(pinned.ifindex).or_default().ways.insert(way);
                }
            } else {
                info!(pin = %pinned.path.display(), "its interface is gone: removed");
                pins::unpin(&pinned.path)?;
            }
        }
        for index in &there {
            for Found { way, priority, .. } in OURS.find(&self.rtnl, *index) {
                self.attached.insert((*index, way), Attached::Filter(priority));
                // Whoever else uses the qdisc keeps it by a filter of theirs.
                self.qdiscs.insert(*index);
                found.entry(*index).or_default().ways.insert(way);
            }
            for (way, program) in self.inherit_own_filters(*index) {
                found.entry(*index).or_default().own.insert(way, program);
            }
        }
        for (index, standing) in &mut found {
            standing.policy = self.policies.get(*index);
            standing.inherited.clone_from(&standing.ways);
            if let Some(policy) = standing.policy.filter(|policy| policy.rules != 0) {
                self.rules.inherit(*index, policy.rules);
                // The daemon before may have ended between two writes.
                if let Err(error) = self.policies.open(*index) {
                    warn!(%index, %error, "packets take the long way");
                }
            }
        }
        self.forget_all_but(&found);
        self.pins.remove_old_layouts()?;
        Ok(found)
    }

    /// Takes over a link, under the name that this layout gives it.
    fn inherit_link(&mut self, pinned: &PinnedWay) -> Option<Way> {
        let PinnedWay { ifindex, way, is_own: _, path } = pinned;
        let link = take_link(path, &self.pins.link(*ifindex, *way))?;
        self.attached.insert((*ifindex, *way), Attached::Link(link));
        Some(*way)
    }

    /// Removes the entries of interfaces that have nothing of ours: an index names another
    /// interface once the first is gone.
    fn forget_all_but(&mut self, found: &BTreeMap<Ifindex, Standing>) {
        let entries: Vec<u32> = self.policies.interfaces().collect();
        let counted: Vec<u32> =
            self.stats.keys().filter_map(Result::ok).map(|key| key.ifindex).collect();
        let indices: BTreeSet<u32> = entries.into_iter().chain(counted).collect();
        for index in indices.into_iter().filter_map(|index| Ifindex::try_from(index).ok()) {
            if !found.contains_key(&index) {
                self.forget(index);
            }
        }
    }
}

/// Takes a pinned link, under the name that this layout gives it.
pub(super) fn take_link(path: &Path, name: &Path) -> Option<FdLink> {
    let taken = PinnedLink::from_pin(path).map(FdLink::from).map_err(|error| chain(&error));
    let taken = taken.and_then(|link| {
        if path == name {
            return Ok(link);
        }
        let link = pin_link(link, name)?;
        pins::unpin(path).map_err(|error| chain(&error))?;
        Ok(link)
    });
    taken
        .inspect_err(|error| {
            warn!(pin = %path.display(), error, "cannot be taken over: it stays as it is");
        })
        .ok()
}

/// What [`clean`] could not do.
#[derive(Debug, thiserror::Error)]
pub enum CleanError {
    /// The directory of the pins.
    #[error(transparent)]
    Pins(#[from] PinsError),
    /// rtnetlink.
    #[error("ask rtnetlink")]
    Rtnl(#[from] RtnlError),
    /// A filter.
    #[error("remove a filter")]
    Filter(#[source] Refusal),
}

/// Takes everything off that any daemon attached, and nothing else; returns what that was, a line
/// each.
///
/// # Errors
///
/// When something cannot be removed.
pub fn clean(pins: Pins) -> Result<Vec<String>, CleanError> {
    let rtnl = Rtnl::open()?;
    let mut removed = Vec::new();
    for PinnedWay { ifindex, way: (hook, attachment), is_own, .. } in pins.links()? {
        let own = if is_own { ", the operator's program" } else { "" };
        let mechanism = attachment.mechanism();
        removed.push(format!("{mechanism} {} of interface {ifindex}{own}", hook.name()));
    }
    // What is pinned goes first: a filter on the same interface holds until it is gone.
    pins.remove()?;
    for link in rtnl.links()? {
        let filters = OURS.find(&rtnl, link.index);
        for Found { way: (hook, _), priority, .. } in &filters {
            let place = (link.index, *hook);
            OURS.take_off(&rtnl, place, *priority).map_err(CleanError::Filter)?;
            removed.push(format!("clsact {} of interface {}", hook.name(), link.index));
        }
        for Found { way: (hook, _), priority, .. } in OPERATORS.find(&rtnl, link.index) {
            let place = (link.index, hook);
            OPERATORS.take_off(&rtnl, place, priority).map_err(CleanError::Filter)?;
            let of = format!("clsact {} of interface {}", hook.name(), link.index);
            removed.push(format!("{of}, the operator's program"));
        }
        if !filters.is_empty() || rtnl.has_chain(link.index, MARK)? {
            rtnl.remove_unused_clsact(link.index)?;
        }
    }
    Ok(removed)
}
