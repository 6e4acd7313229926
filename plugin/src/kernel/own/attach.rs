//! Attaching programs of the operator's, and taking them off: behind ours, by links and filters of their own.

use std::path::Path;

use aya::programs::links::{FdLink, LinkOrder};
use aya::programs::tc::TcAttachOptions;
use aya::programs::xdp::{Xdp, XdpMode};
use aya::programs::{SchedClassifier, TcAttachType};
use aya_obj::programs::XdpAttachType;
use ebpf_netns::{Ifindex, Link as Interface};

use super::hold::not_loaded;
use crate::error::chain;
use crate::kernel::attach::{Attached, pin_link};
use crate::kernel::filters::{OPERATORS, is_filter};
use crate::kernel::refusal::{AttachError, Attempt, Refusal};
use crate::kernel::worker::{Done, Made, Reply, wait_for};
use crate::kernel::{Kernel, pins};
use crate::plan::{Attachment, Hook, ProgramId, Way};

impl Kernel {
    /// Attaches a program; one that is attached in this way already is replaced in one step.
    pub(in crate::kernel) fn attach_own(
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
    pub(in crate::kernel) fn detach_own(
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
                OPERATORS.take_off(&self.rtnl, (ifindex, way.0), priority)
            }
            None => Ok(()),
        }
    }

    /// Takes in what became of something that was begun, and keeps it.
    pub(in crate::kernel) fn take_own(&mut self, done: Done) -> Result<(), Refusal> {
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
    pub(in crate::kernel) fn discard_own(&mut self, done: Done) {
        self.own.removing.remove(&(done.ifindex, done.way));
        if let Done { ifindex, way, result: Ok(Made::Link(link)), .. } = done {
            self.worker.close_own(ifindex, way, link, None);
        }
    }

    /// Takes what keeps a program attached from what is kept.
    fn unpin_own(&mut self, ifindex: Ifindex, way: Way) -> Result<Option<Attached>, Refusal> {
        if matches!(self.own.attached.get(&(ifindex, way)), Some(Attached::Link(_))) {
            let pin = self.pins.own_link(ifindex, way);
            pins::unpin(&pin).map_err(|error| Refusal::new(chain(&error)))?;
        }
        Ok(self.own.attached.remove(&(ifindex, way)))
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
        let set = handle
            .as_filter()
            .and_then(|program| OPERATORS.set(&self.rtnl, (key.0, way.0), program, before));
        let attempt = Attempt { attachment: way.1, interface, holder: None };
        let priority = set.map_err(|error| Refusal::explain(&error, &attempt))?;
        self.own.attached.insert(key, Attached::Filter(priority));
        Ok(())
    }
}

/// Makes a link for a program that is pinned there: behind `ours`, which is at TC.
pub(in crate::kernel) fn make_link(
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
