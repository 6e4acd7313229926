//! Programs of the operator's: attached as ours are, behind them, and counted apart.
//!
//! At TC ours is always there too, and comes first: what it drops these never see, and what they say
//! cannot let pass what ours drops.
//!
//! - `attach.rs` attaches them and takes them off;
//! - `hold.rs` takes over, looks after and renews what they are attached by.

mod attach;
mod hold;

use std::collections::BTreeMap;
use std::path::PathBuf;

use ebpf_netns::Ifindex;

pub(super) use self::attach::make_link;
use super::attach::Attached;
use super::instance::{Handle, Instance, InstanceKey};
use super::load::LoadError;
use super::loader::{Loader, LoaderReply};
use super::refusal::Refusal;
use super::{Kernel, Order, pins};
use crate::error::chain;
use crate::plan::{ProgramId, Way};

/// Programs of the operator's that are loaded, and what they are attached to.
#[derive(Default)]
pub(super) struct Own {
    loader: Option<Loader>,
    programs: BTreeMap<ProgramId, Handle>,
    attached: BTreeMap<(Ifindex, Way), Attached>,
    /// Interfaces from which the worker is removing a filter.
    removing: BTreeMap<(Ifindex, Way), u16>,
}

impl Own {
    /// Filters went with their interface.
    pub(super) fn release_gone(&mut self, ifindex: Ifindex) {
        self.removing.retain(|(index, _), _| *index != ifindex);
        self.attached.retain(|(index, _), attached| *index != ifindex || !attached.is_filter());
    }
}

impl Kernel {
    /// From now on programs of the operator's can be ordered, of this directory.
    ///
    /// # Errors
    ///
    /// When the thread that loads them cannot be started.
    pub fn load_from(&mut self, directory: PathBuf) -> Result<(), LoadError> {
        self.own.loader = Some(Loader::start(directory, self.pins.containers())?);
        Ok(())
    }

    /// Has programs loaded for a container. What became of it is told on another thread.
    pub fn order(&self, order: Order, reply: LoaderReply) {
        if let Some(loader) = &self.own.loader {
            loader.order(order, reply);
        }
    }

    /// Takes programs that were loaded, so that they can be attached.
    pub fn keep(&mut self, instance: &mut Instance) {
        let handles = std::mem::take(&mut instance.handles);
        self.own.programs.extend(handles.into_iter().map(|handle| (handle.id, handle)));
    }

    /// Gives up programs that are not to be attached any more. What they are attached to they stay
    /// attached to.
    pub fn give_up(&mut self, instance: &Instance) {
        for identity in instance.programs.values() {
            self.own.programs.remove(&identity.id);
        }
    }

    /// Unpins what was loaded for containers, but for these.
    ///
    /// # Errors
    ///
    /// When it cannot be removed.
    pub fn unload_all_but(&self, kept: &[&InstanceKey]) -> Result<(), Refusal> {
        let failed = |error: &dyn std::error::Error| Refusal::new(chain(error));
        let containers = self.pins.containers();
        let kept: Vec<PathBuf> = kept.iter().map(|key| key.place(&containers)).collect();
        let of_container = pins::entries(&containers).map_err(|error| failed(&error))?;
        for (_, container) in of_container {
            if kept.iter().all(|place| !place.starts_with(&container)) {
                pins::remove_tree(&container).map_err(|error| failed(&error))?;
                continue;
            }
            for (name, place) in pins::entries(&container).map_err(|error| failed(&error))? {
                // What is just being loaded has another name.
                if !kept.contains(&place) && !name.ends_with('~') {
                    pins::remove_tree(&place).map_err(|error| failed(&error))?;
                }
            }
        }
        Ok(())
    }
}
