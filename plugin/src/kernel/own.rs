//! Attaching programs of the operator's: as ours are, behind them, and counted apart.
//!
//! At TC ours is always there too, and comes first: what it drops these never see, and what they say
//! cannot let pass what ours drops.

use std::collections::BTreeMap;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};

use aya::programs::links::{FdLink, LinkOrder, PinnedLink};
use aya::programs::tc::{SchedClassifierLink, TcAttachOptions};
use aya::programs::xdp::{Xdp, XdpLink, XdpMode};
use aya::programs::{ProgramError, SchedClassifier, TcAttachType};
use aya_obj::programs::XdpAttachType;
use ebpf_netns::rtnl::{Direction, NewBpfFilter};
use ebpf_netns::{ErrorClass, Ifindex, Link as Interface, Rtnl};
use nix::errno::Errno;
use tracing::warn;

use super::attach::{Attached, direction, is_filter, pin_link};
use super::inherit::take_link;
use super::instance::{Handle, Instance, InstanceKey, OwnProgram};
use super::load::LoadError;
use super::loader::{Loader, LoaderReply};
use super::pins::{self, PinnedWay};
use super::refusal::{AttachError, Attempt, Refusal};
use super::worker::{Done, Made, Reply, wait_for};
use super::{Kernel, Order, errno};
use crate::error::chain;
use crate::plan::{Attachment, Hook, ProgramId, Way};

/// The filters' handle, and the name by which they are known.
const HANDLE: u32 = 0x0eb9_f002;
pub(super) const NAME: &str = "ebpf_netns_own";

/// Priorities tried for a filter, all behind ours.
const PRIORITIES: [u16; 3] = [11, 12, 13];

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

    /// Attaches a program; one that is attached in this way already is replaced in one step.
    pub(super) fn attach_own(
        &mut self,
        way: Way,
        program: ProgramId,
        interface: &Interface,
    ) -> Result<(), Refusal> {
        let key = (interface.index, way);
        if matches!(self.own.attached.get(&key), Some(Attached::Link(_))) {
            return if self.renew_own(interface.index, way, program)? {
                Ok(())
            } else {
                Err(Refusal::severed(&interface.name))
            };
        }
        if is_filter(way) {
            return self.set_own_filter(way, program, interface);
        }
        let pin = self.pin_of_own(program)?;
        let done = wait_for(|reply| self.worker.attach_own(way, interface, pin, reply))?;
        self.take_own(done)
    }

    /// Attaches too, but for what takes the kernel long, which is begun: whether it was.
    ///
    /// # Errors
    ///
    /// Why the kernel refused.
    pub fn begin_attach_own(
        &mut self,
        way: Way,
        program: ProgramId,
        interface: &Interface,
        reply: Reply,
    ) -> Result<bool, Refusal> {
        if is_filter(way) || self.own.attached.contains_key(&(interface.index, way)) {
            return self.attach_own(way, program, interface).map(|()| false);
        }
        let pin = self.pin_of_own(program)?;
        self.worker.attach_own(way, interface, pin, reply);
        Ok(true)
    }

    /// Begins to take a program off: whether that is under way. From now on it is not kept.
    ///
    /// # Errors
    ///
    /// When it cannot be unpinned.
    pub fn begin_detach_own(
        &mut self,
        ifindex: Ifindex,
        way: Way,
        reply: Reply,
    ) -> Result<bool, Refusal> {
        match self.unpin_own(ifindex, way)? {
            Some(Attached::Link(link)) => self.worker.close_own(ifindex, way, link, Some(reply)),
            Some(Attached::Filter(priority)) => {
                self.own.removing.insert((ifindex, way), priority);
                self.worker.remove_own(ifindex, way, priority, reply);
            }
            None => return Ok(false),
        }
        Ok(true)
    }

    /// Takes a program off; a link is detached soon after if that is not waited for.
    pub(super) fn detach_own(
        &mut self,
        ifindex: Ifindex,
        way: Way,
        waiting: bool,
    ) -> Result<(), Refusal> {
        match self.unpin_own(ifindex, way)? {
            Some(Attached::Link(link)) => {
                self.worker.close_own(ifindex, way, link, None);
                if waiting {
                    self.worker.wait();
                }
                Ok(())
            }
            Some(Attached::Filter(priority)) => {
                take_filter_off(&self.rtnl, ifindex, direction(way.0), priority)
            }
            None => Ok(()),
        }
    }

    /// Takes in what became of something that was begun, and keeps it.
    pub(super) fn take_own(&mut self, done: Done) -> Result<(), Refusal> {
        let key = (done.ifindex, done.way);
        let removing = self.own.removing.remove(&key);
        if let (Err(_), Some(priority)) = (&done.result, removing) {
            self.own.attached.insert(key, Attached::Filter(priority));
        }
        if let Made::Link(link) = done.result? {
            let path = self.pins.own_link(done.ifindex, done.way);
            let link = pin_link(link, &path).map_err(Refusal::new)?;
            self.own.attached.insert(key, Attached::Link(link));
        }
        Ok(())
    }

    /// Undoes what became of something that was begun.
    pub(super) fn discard_own(&mut self, done: Done) {
        self.own.removing.remove(&(done.ifindex, done.way));
        if let Done { ifindex, way, result: Ok(Made::Link(link)), .. } = done {
            self.worker.close_own(ifindex, way, link, None);
        }
    }

    /// Whether a program is attached as it was, and whether its pin was missing.
    pub(super) fn audit_own(
        &mut self,
        ifindex: Ifindex,
        way: Way,
        program: ProgramId,
    ) -> Result<(bool, bool), Refusal> {
        match self.own.attached.get(&(ifindex, way)) {
            Some(Attached::Filter(priority)) => {
                let priority = *priority;
                let is_it = |one: &(Way, ProgramId, u16)| *one == (way, program, priority);
                let there = filters(&self.rtnl, ifindex).iter().any(is_it);
                if !there {
                    self.own.attached.remove(&(ifindex, way));
                }
                Ok((there, false))
            }
            Some(Attached::Link(_)) => {
                let repinned = self.repin_own(ifindex, way)?;
                // What an earlier daemon attached is not known yet, and stays as it is.
                if !self.own.programs.contains_key(&program) {
                    return Ok((true, repinned));
                }
                Ok((self.renew_own(ifindex, way, program)?, repinned))
            }
            None => Ok((false, false)),
        }
    }

    fn repin_own(&mut self, ifindex: Ifindex, way: Way) -> Result<bool, Refusal> {
        let path = self.pins.own_link(ifindex, way);
        if path.exists() {
            return Ok(false);
        }
        self.pins.make_directories().map_err(|error| Refusal::new(chain(&error)))?;
        if let Some(Attached::Link(link)) = self.own.attached.remove(&(ifindex, way)) {
            let link = pin_link(link, &path).map_err(Refusal::new)?;
            self.own.attached.insert((ifindex, way), Attached::Link(link));
        }
        Ok(true)
    }

    /// Takes over a link of an earlier daemon's; which program it has.
    pub(super) fn inherit_own_link(&mut self, pinned: &PinnedWay) -> Option<ProgramId> {
        let PinnedWay { ifindex, way, path, .. } = pinned;
        let link = take_link(path, &self.pins.own_link(*ifindex, *way))?;
        let told = link.info().map(|info| info.program_id());
        self.own.attached.insert((*ifindex, *way), Attached::Link(link));
        told.inspect_err(|error| warn!(pin = %path.display(), %error, "its program is not known"))
            .ok()
    }

    /// Takes over the filters of an earlier daemon's on an interface; which programs they have.
    pub(super) fn inherit_own_filters(&mut self, ifindex: Ifindex) -> Vec<(Way, ProgramId)> {
        let found = filters(&self.rtnl, ifindex);
        for (way, _, priority) in &found {
            self.own.attached.insert((ifindex, *way), Attached::Filter(*priority));
        }
        found.into_iter().map(|(way, program, _)| (way, program)).collect()
    }

    /// Takes what keeps a program attached from what is kept.
    fn unpin_own(&mut self, ifindex: Ifindex, way: Way) -> Result<Option<Attached>, Refusal> {
        if matches!(self.own.attached.get(&(ifindex, way)), Some(Attached::Link(_))) {
            let pin = self.pins.own_link(ifindex, way);
            pins::unpin(&pin).map_err(|error| Refusal::new(chain(&error)))?;
        }
        Ok(self.own.attached.remove(&(ifindex, way)))
    }

    /// Puts a program into a link that is there, which changes nothing where it is in it already;
    /// false when the link is severed.
    fn renew_own(
        &mut self,
        ifindex: Ifindex,
        way: Way,
        program: ProgramId,
    ) -> Result<bool, Refusal> {
        let failed = |error: &dyn std::error::Error| Refusal::new(chain(error));
        let handle = self.own.programs.get_mut(&program).ok_or_else(|| not_loaded(program))?;
        let key = (ifindex, way);
        let Some(Attached::Link(link)) = self.own.attached.remove(&key) else { return Ok(false) };
        let path = self.pins.own_link(ifindex, way);
        match handle.put_into(link) {
            Ok(link) => {
                self.own.attached.insert(key, Attached::Link(link));
                Ok(true)
            }
            Err(error) if error.errno() == Some(Errno::ENOLINK) => {
                pins::unpin(&path).map_err(|error| failed(&error))?;
                Ok(false)
            }
            Err(error) => {
                // aya closed its handle of the link, which the pin still keeps attached.
                let link = PinnedLink::from_pin(&path).map_err(|error| failed(&error))?;
                self.own.attached.insert(key, Attached::Link(link.into()));
                Err(Refusal::new(format!("put the program into {}: {error}", path.display())))
            }
        }
    }

    fn set_own_filter(
        &mut self,
        way: Way,
        program: ProgramId,
        interface: &Interface,
    ) -> Result<(), Refusal> {
        let key = (interface.index, way);
        if self.own.removing.remove(&key).is_some() {
            // What is being removed would take the new one's place for the old one's.
            self.worker.wait();
        }
        let before = match self.own.attached.get(&key) {
            Some(Attached::Filter(priority)) => Some(*priority),
            _ => None,
        };
        let handle = self.own.programs.get(&program).ok_or_else(|| not_loaded(program))?;
        let set = set_filter(&self.rtnl, handle, key, before);
        let attempt = Attempt { attachment: way.1, interface, holder: None };
        let priority = set.map_err(|error| Refusal::explain(&error, &attempt))?;
        self.own.attached.insert(key, Attached::Filter(priority));
        Ok(())
    }

    /// Where a program is pinned, which it is after this.
    fn pin_of_own(&mut self, program: ProgramId) -> Result<PathBuf, Refusal> {
        let handle = self.own.programs.get_mut(&program).ok_or_else(|| not_loaded(program))?;
        if !handle.pin.exists() {
            let failed = |error: &dyn std::error::Error| Refusal::new(chain(error));
            let above: Vec<&Path> = handle.pin.ancestors().skip(1).take(4).collect();
            for directory in above.into_iter().rev() {
                pins::make_directory(directory).map_err(|error| failed(&error))?;
            }
            let pin = handle.pin.clone();
            let pinned = match &mut handle.program {
                OwnProgram::Xdp(program) => program.pin(&pin),
                OwnProgram::Tc(program) => program.pin(&pin),
            };
            pinned.map_err(|error| failed(&error))?;
        }
        Ok(handle.pin.clone())
    }
}

impl Handle {
    /// Puts the program into a link, in one step.
    fn put_into(&mut self, link: FdLink) -> Result<FdLink, AttachError> {
        match &mut self.program {
            OwnProgram::Xdp(program) => {
                let id = program.attach_to_link(XdpLink::try_from(link)?)?;
                Ok(FdLink::try_from(program.take_link(id)?)?)
            }
            OwnProgram::Tc(program) => {
                let id = program.attach_to_link(SchedClassifierLink::try_from(link)?)?;
                Ok(FdLink::try_from(program.take_link(id)?)?)
            }
        }
    }
}

fn not_loaded(program: ProgramId) -> Refusal {
    Refusal::new(format!("program id {program} is not loaded: a bug"))
}

/// Makes a link for a program that is pinned there: behind `ours`, which is at TC.
pub(super) fn make_link(
    (hook, attachment): Way,
    interface: &Interface,
    pin: &Path,
    ours: &SchedClassifier,
) -> Result<FdLink, AttachError> {
    let mode = match attachment {
        Attachment::XdpGeneric => XdpMode::Skb,
        Attachment::XdpNative => XdpMode::Driver,
        Attachment::XdpOffload => XdpMode::Hardware,
        Attachment::Tcx | Attachment::Clsact => {
            let side = match hook {
                Hook::Xdp | Hook::Egress => TcAttachType::Ingress,
                Hook::Ingress => TcAttachType::Egress,
            };
            let mut program = SchedClassifier::from_pin(pin)?;
            let order = TcAttachOptions::TcxOrder(LinkOrder::after_program(ours)?);
            let id = program.attach_with_options(&interface.name, side, order)?;
            return Ok(FdLink::try_from(program.take_link(id)?)?);
        }
    };
    let mut program = Xdp::from_pin(pin, XdpAttachType::Interface)?;
    let id = program.attach_to_if_index(interface.index.get(), mode)?;
    Ok(FdLink::try_from(program.take_link(id)?)?)
}

/// Sets a filter with a program; its priority. One that is there is replaced in one step.
fn set_filter(
    rtnl: &Rtnl,
    handle: &Handle,
    (ifindex, (hook, _)): (Ifindex, Way),
    before: Option<u16>,
) -> Result<u16, AttachError> {
    let OwnProgram::Tc(program) = &handle.program else {
        return Err(ProgramError::UnexpectedProgramType.into());
    };
    let program = program.fd()?.as_fd();
    let mut refused = None;
    let priorities = before.as_ref().map_or(&PRIORITIES[..], std::slice::from_ref);
    for priority in priorities {
        let direction = direction(hook);
        let filter =
            NewBpfFilter { direction, priority: *priority, handle: HANDLE, program, name: NAME };
        match rtnl.set_bpf_filter(ifindex, &filter) {
            Ok(()) => return Ok(*priority),
            // A filter of another kind has this priority.
            Err(error) if errno::of_rtnl(&error) == Some(Errno::EINVAL) => refused = Some(error),
            Err(error) => return Err(AttachError::Rtnl(error)),
        }
    }
    Err(refused.map_or_else(|| ProgramError::NotAttached.into(), AttachError::Rtnl))
}

/// Takes a filter off; one that is gone already is as good as taken off.
pub(super) fn take_filter_off(
    rtnl: &Rtnl,
    ifindex: Ifindex,
    direction: Direction,
    priority: u16,
) -> Result<(), Refusal> {
    match rtnl.remove_filter(ifindex, direction, priority, HANDLE) {
        Err(error) if error.class() != ErrorClass::Gone => Err(Refusal::new(chain(&error))),
        _ => Ok(()),
    }
}

/// The filters with programs of the operator's on an interface: each with its program and priority.
pub(super) fn filters(rtnl: &Rtnl, ifindex: Ifindex) -> Vec<(Way, ProgramId, u16)> {
    let mut found = Vec::new();
    for hook in [Hook::Egress, Hook::Ingress] {
        match rtnl.bpf_filters(ifindex, direction(hook)) {
            Ok(filters) => found.extend(
                filters
                    .iter()
                    .filter(|filter| filter.handle == HANDLE && filter.name == NAME)
                    .map(|filter| ((hook, Attachment::Clsact), filter.program_id, filter.priority)),
            ),
            Err(error) if error.class() == ErrorClass::Gone => {}
            Err(error) => warn!(%ifindex, error = chain(&error), "filters could not be listed"),
        }
    }
    found
}
