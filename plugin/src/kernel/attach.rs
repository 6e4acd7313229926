//! Attaching the programs: XDP and TCX by a pinned link, clsact by a filter.

use std::os::fd::AsFd as _;
use std::path::Path;

use aya::programs::links::{FdLink, LinkOrder, PinnedLink};
use aya::programs::tc::{SchedClassifierLink, TcAttachOptions};
use aya::programs::xdp::{Xdp, XdpLink, XdpMode};
use aya::programs::{ProgramError, SchedClassifier, TcAttachType};
use ebpf_netns::rtnl::{Direction, NewBpfFilter};
use ebpf_netns::{ErrorClass, Ifindex, Link as Interface};
use nix::errno::Errno;

use super::refusal::{AttachError, Attempt, Refusal};
use super::{Kernel, errno, load, pins, program, query};
use crate::error::chain;
use crate::plan::{Attachment, GUARD, Hook, Way};

/// What keeps a program attached. Dropping it changes nothing.
#[derive(Debug)]
pub(super) enum Attached {
    /// A pinned link, held open so that it outlives the pin too.
    Link(FdLink),
    /// A filter of this priority.
    Filter(u16),
}

impl Attached {
    const fn priority(&self) -> Option<u16> {
        match self {
            Self::Link(_) => None,
            Self::Filter(priority) => Some(*priority),
        }
    }
}

/// The clsact filters' handle, which nobody else takes by accident.
pub(super) const HANDLE: u32 = 0x0eb9_f001;

/// Priorities tried for it: the first that is not held by a filter of another kind.
const PRIORITIES: [u16; 3] = [1, 2, 3];

impl Kernel {
    /// Attaches a program; where one of ours is attached in this way already, it is replaced in one
    /// step, without a gap.
    pub(super) fn attach(&mut self, way: Way, interface: &Interface) -> Result<(), Refusal> {
        let key = (interface.index, way);
        if matches!(self.attached.get(&key), Some(Attached::Link(_))) {
            return if self.renew(interface.index, way)? {
                Ok(())
            } else {
                Err(Refusal::severed(&interface.name))
            };
        }
        let before = self.attached.get(&key).and_then(Attached::priority);
        let attached = self.attach_anew(way, interface, before)?;
        self.attached.insert(key, attached);
        Ok(())
    }

    /// Attaches the filters of both directions in one call to the kernel.
    pub(super) fn guard(&mut self, interface: &Interface) -> Result<(), Refusal> {
        let index = interface.index;
        let [priority, ..] = PRIORITIES;
        let guarded = self.filters(priority).and_then(|filters| {
            self.rtnl.add_clsact_with(index, &filters).map_err(AttachError::Rtnl)
        });
        match guarded {
            Ok(added) => {
                if added {
                    self.qdiscs.insert(index);
                }
                for way in GUARD {
                    self.attached.insert((index, way), Attached::Filter(priority));
                }
                Ok(())
            }
            // Somebody else's filters are in the way, or it is gone: one by one that is found out.
            Err(_) => GUARD.into_iter().try_for_each(|way| self.attach(way, interface)),
        }
    }

    /// Our filters of both directions.
    fn filters(&self, priority: u16) -> Result<Vec<NewBpfFilter<'_>>, AttachError> {
        let filter = |(hook, _)| {
            let name = load::program_name(hook);
            let program = self.ebpf.program(name).ok_or(ProgramError::NotLoaded)?;
            let program: &SchedClassifier = program.try_into()?;
            let program = program.fd()?.as_fd();
            let direction = direction(hook);
            Ok(NewBpfFilter { direction, priority, handle: HANDLE, program, name })
        };
        GUARD.into_iter().map(filter).collect()
    }

    fn attach_anew(
        &mut self,
        way: Way,
        interface: &Interface,
        before: Option<u16>,
    ) -> Result<Attached, Refusal> {
        let (hook, attachment) = way;
        let attached = match attachment {
            Attachment::XdpGeneric => self.attach_xdp(way, interface, XdpMode::Skb),
            Attachment::XdpNative => self.attach_xdp(way, interface, XdpMode::Driver),
            Attachment::XdpOffload => self.attach_xdp(way, interface, XdpMode::Hardware),
            Attachment::Tcx => self.attach_tcx(hook, interface),
            Attachment::Clsact => self.set_filter(hook, interface.index, before),
        };
        attached.map_err(|error| {
            let holder = interface.xdp.map(|xdp| query::describe(xdp.program_id));
            Refusal::explain(&error, &Attempt { attachment, interface, holder: holder.as_deref() })
        })
    }

    /// Puts our program into a link that is there, which changes nothing where it is in it already;
    /// false when the link is severed.
    pub(super) fn renew(&mut self, ifindex: Ifindex, way: Way) -> Result<bool, Refusal> {
        let failed = |error: &dyn std::error::Error| Refusal::new(chain(error));
        let key = (ifindex, way);
        let Some(Attached::Link(link)) = self.attached.remove(&key) else { return Ok(false) };
        let path = self.pins.link(ifindex, way);
        match self.update(way, link) {
            Ok(link) => {
                self.attached.insert(key, Attached::Link(link));
                Ok(true)
            }
            Err(error) if error.errno() == Some(Errno::ENOLINK) => {
                pins::unpin(&path).map_err(|error| failed(&error))?;
                Ok(false)
            }
            Err(error) => {
                // aya closed its handle of the link, which the pin still keeps attached.
                let link = PinnedLink::from_pin(&path).map_err(|error| failed(&error))?;
                self.attached.insert(key, Attached::Link(link.into()));
                Err(Refusal::new(format!("put the program into {}: {error}", path.display())))
            }
        }
    }

    fn update(&mut self, way: Way, link: FdLink) -> Result<FdLink, AttachError> {
        match way.0 {
            Hook::Xdp => {
                let program: &mut Xdp = program(&mut self.ebpf, way.0)?;
                let id = program.attach_to_link(XdpLink::try_from(link)?)?;
                Ok(FdLink::try_from(program.take_link(id)?)?)
            }
            Hook::Egress | Hook::Ingress => {
                let program: &mut SchedClassifier = program(&mut self.ebpf, way.0)?;
                let id = program.attach_to_link(SchedClassifierLink::try_from(link)?)?;
                Ok(FdLink::try_from(program.take_link(id)?)?)
            }
        }
    }

    /// Takes a program off; what is off already is as good as taken off.
    pub(super) fn detach(&mut self, ifindex: Ifindex, way: Way) -> Result<(), Refusal> {
        let failed = |error: &dyn std::error::Error| Refusal::new(chain(error));
        match self.attached.get(&(ifindex, way)) {
            Some(Attached::Link(_)) => {
                pins::unpin(&self.pins.link(ifindex, way)).map_err(|error| failed(&error))?;
            }
            Some(Attached::Filter(priority)) => {
                let direction = direction(way.0);
                match self.rtnl.remove_filter(ifindex, direction, *priority, HANDLE) {
                    Err(error) if error.class() != ErrorClass::Gone => return Err(failed(&error)),
                    _ => {}
                }
            }
            None => {}
        }
        self.attached.remove(&(ifindex, way));
        self.forget_unused(ifindex, way.0);
        Ok(())
    }

    /// What the guard counted at a hook that has no program of its own is nobody's.
    fn forget_unused(&mut self, ifindex: Ifindex, hook: Hook) {
        let used = |(index, way): &(Ifindex, Way)| *index == ifindex && way.0 == hook;
        if !self.attached.keys().any(used) {
            self.forget_traffic(ifindex, hook);
        }
    }

    /// Looks whether the name still is the interface's, for after an attachment by name: aya takes
    /// no index at TC.
    fn check_name(&self, interface: &Interface) -> Result<(), Refusal> {
        match self.rtnl.link(interface.index) {
            Ok(Some(link)) if link.name == interface.name => Ok(()),
            Ok(_) => Err(Refusal::gone(&interface.name)),
            Err(error) => Err(Refusal::new(chain(&error))),
        }
    }

    fn attach_xdp(
        &mut self,
        way: Way,
        interface: &Interface,
        mode: XdpMode,
    ) -> Result<Attached, AttachError> {
        let program: &mut Xdp = program(&mut self.ebpf, Hook::Xdp)?;
        let id = program.attach_to_if_index(interface.index.get(), mode)?;
        let link = FdLink::try_from(program.take_link(id)?)?;
        self.pin(interface.index, way, link)
    }

    /// To the head of the chain: what others attached still runs, and on what we let pass.
    fn attach_tcx(&mut self, hook: Hook, interface: &Interface) -> Result<Attached, AttachError> {
        let program: &mut SchedClassifier = program(&mut self.ebpf, hook)?;
        let order = TcAttachOptions::TcxOrder(LinkOrder::first());
        let id = program.attach_with_options(&interface.name, side(hook), order)?;
        let link = FdLink::try_from(program.take_link(id)?)?;
        self.check_name(interface)?;
        self.pin(interface.index, (hook, Attachment::Tcx), link)
    }

    fn pin(&self, ifindex: Ifindex, way: Way, link: FdLink) -> Result<Attached, AttachError> {
        pin_link(link, &self.pins.link(ifindex, way)).map(Attached::Link).map_err(|why| {
            // An unpinned link would end with this process.
            AttachError::Refused(Refusal::new(why))
        })
    }

    /// Sets the filter. One of an earlier daemon is replaced in one step.
    fn set_filter(
        &mut self,
        hook: Hook,
        ifindex: Ifindex,
        before: Option<u16>,
    ) -> Result<Attached, AttachError> {
        let priorities = if let Some(priority) = &before {
            std::slice::from_ref(priority)
        } else {
            if self.rtnl.add_clsact(ifindex).map_err(AttachError::Rtnl)? {
                self.qdiscs.insert(ifindex);
            }
            &PRIORITIES[..]
        };
        let program: &mut SchedClassifier = program(&mut self.ebpf, hook)?;
        let program = program.fd()?.as_fd();
        let mut refused = None;
        for priority in priorities {
            let filter = NewBpfFilter {
                direction: direction(hook),
                priority: *priority,
                handle: HANDLE,
                program,
                name: load::program_name(hook),
            };
            match self.rtnl.set_bpf_filter(ifindex, &filter) {
                Ok(()) => return Ok(Attached::Filter(*priority)),
                // A filter of another kind has this priority.
                Err(error) if errno::of_rtnl(&error) == Some(Errno::EINVAL) => {
                    refused = Some(error);
                }
                Err(error) => return Err(AttachError::Rtnl(error)),
            }
        }
        Err(refused.map_or_else(|| ProgramError::NotAttached.into(), AttachError::Rtnl))
    }
}

pub(super) const fn is_filter((_, attachment): Way) -> bool {
    matches!(attachment, Attachment::Clsact)
}

/// Pins a link; a pin that is there under this name is of a link that is gone.
pub(super) fn pin_link(link: FdLink, path: &Path) -> Result<FdLink, String> {
    pins::unpin(path).map_err(|error| chain(&error))?;
    let pinned: PinnedLink = link.pin(path).map_err(|error| {
        format!(
            "pin the link at {}, so that it outlives the daemon: {}",
            path.display(),
            chain(&error)
        )
    })?;
    Ok(pinned.into())
}

/// The side of the host-side veth: the container's direction reversed.
const fn side(hook: Hook) -> TcAttachType {
    match hook {
        Hook::Xdp | Hook::Egress => TcAttachType::Ingress,
        Hook::Ingress => TcAttachType::Egress,
    }
}

/// As [`side`], for rtnetlink.
pub(super) const fn direction(hook: Hook) -> Direction {
    match hook {
        Hook::Xdp | Hook::Egress => Direction::Ingress,
        Hook::Ingress => Direction::Egress,
    }
}
