//! Attaching the programs: XDP and TCX by a pinned link, clsact by a filter.

use std::os::fd::AsFd as _;
use std::path::Path;

use aya::programs::SchedClassifier;
use aya::programs::links::{FdLink, PinnedLink};
use aya::programs::tc::SchedClassifierLink;
use aya::programs::xdp::{Xdp, XdpLink};
use ebpf_netns::veth::{VethError, VethPair};
use ebpf_netns::{ErrorClass, Ifindex, Link as Interface, Rtnl};
use nix::errno::Errno;

use super::filters::{OURS, is_filter};
use super::refusal::{AttachError, Attempt, Refusal};
use super::worker::{Done, Made, Reply};
use super::{Kernel, pins, program};
use crate::error::chain;
use crate::plan::{GUARD, Hook, Way};

/// What keeps a program attached. Dropping it changes nothing.
#[derive(Debug)]
pub(super) enum Attached {
    /// A pinned link, held open so that it outlives the pin too.
    Link(FdLink),
    /// A filter of this priority.
    Filter(u16),
}

impl Attached {
    pub(super) const fn is_filter(&self) -> bool {
        matches!(self, Self::Filter(_))
    }

    const fn priority(&self) -> Option<u16> {
        match self {
            Self::Link(_) => None,
            Self::Filter(priority) => Some(*priority),
        }
    }
}

/// The number of the chain by which a clsact qdisc that has no filter of ours is known as ours.
pub(super) const MARK: u32 = OURS.handle;

/// A filter to be taken off.
#[derive(Clone, Copy, Debug)]
pub(super) struct Filter {
    pub(super) priority: u16,
    /// Whether it is the last of ours, on a qdisc that is ours.
    pub(super) last: bool,
}

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
        self.let_remove(interface.index);
        let done = self.guard.guard_now(interface)?;
        match self.take(done) {
            Ok(_) => Ok(()),
            // Somebody else's filters are in the way, or it is gone: one by one that is found out.
            Err(_) => GUARD.into_iter().try_for_each(|way| self.attach(way, interface)),
        }
    }

    /// Begins to do so. What became of it is to be [taken](Self::take) in.
    pub fn begin_guard(&mut self, interface: &Interface, reply: Reply) {
        self.let_remove(interface.index);
        self.guard.guard(interface, reply);
    }

    /// Both filters are attached.
    fn guarded(&mut self, ifindex: Ifindex, added: bool) {
        if added {
            self.qdiscs.insert(ifindex);
        }
        for way in GUARD {
            self.attached.insert((ifindex, way), Attached::Filter(OURS.first_priority()));
        }
    }

    fn attach_anew(
        &mut self,
        way: Way,
        interface: &Interface,
        before: Option<u16>,
    ) -> Result<Attached, Refusal> {
        let (hook, attachment) = way;
        if !is_filter(way) {
            return match self.worker.attach_now(way, interface)?.result? {
                Made::Link(link) => self.pin(interface.index, way, link),
                Made::Nothing | Made::Guard { .. } | Made::Look(_) => {
                    Err(Refusal::severed(&interface.name))
                }
            };
        }
        self.let_remove(interface.index);
        self.set_filter(hook, interface.index, before).map_err(|error| {
            Refusal::explain(&error, &Attempt { attachment, interface, holder: None })
        })
    }

    /// Attaches too, but for what takes the kernel long, which is begun: whether it was. What
    /// became of it is to be [taken](Self::take) in.
    ///
    /// # Errors
    ///
    /// Why the kernel refused.
    pub fn begin_attach(
        &mut self,
        way: Way,
        interface: &Interface,
        reply: Reply,
    ) -> Result<bool, Refusal> {
        if is_filter(way) || self.attached.contains_key(&(interface.index, way)) {
            return self.attach(way, interface).map(|()| false);
        }
        self.worker.attach(way, interface, reply);
        Ok(true)
    }

    /// Begins to take a program off: whether that is under way. From now on it is not kept.
    ///
    /// # Errors
    ///
    /// When it cannot be unpinned.
    pub fn begin_detach(
        &mut self,
        ifindex: Ifindex,
        way: Way,
        reply: Reply,
    ) -> Result<bool, Refusal> {
        let under_way = if let Some(link) = self.unpin(ifindex, way)? {
            self.worker.close(ifindex, way, link, Some(reply));
            true
        } else if let Some(filter) = self.take_filter(ifindex, way) {
            self.removing.insert(ifindex, (way, filter));
            self.worker.remove(ifindex, way, filter, reply);
            true
        } else {
            false
        };
        self.forget_unused(ifindex, way.0);
        Ok(under_way)
    }

    /// Begins to look whether an interface is where it was when it was attached to.
    pub fn begin_look(&self, pair: &VethPair, reply: Reply) {
        let [way, _] = GUARD;
        self.worker.verify(way, pair, reply);
    }

    /// Takes in what became of something that was begun, and keeps it; of a look, what was seen.
    ///
    /// # Errors
    ///
    /// Why the kernel refused it.
    pub fn take(&mut self, done: Done) -> Result<Option<Result<(), VethError>>, Refusal> {
        if done.is_own {
            return self.take_own(done).map(|()| None);
        }
        let Done { ifindex, way, is_own: _, result } = done;
        let removing = self.removing.remove(&ifindex);
        if let (Err(_), Some((way, filter))) = (&result, removing) {
            self.keep_filter(ifindex, way, filter);
        }
        match result? {
            Made::Link(link) => {
                let attached = self.pin(ifindex, way, link)?;
                self.attached.insert((ifindex, way), attached);
                Ok(None)
            }
            Made::Guard { added } => {
                self.guarded(ifindex, added);
                Ok(None)
            }
            Made::Nothing => Ok(None),
            Made::Look(seen) => Ok(Some(seen)),
        }
    }

    /// Undoes what became of something that was begun: nobody wants it any more.
    pub fn discard(&mut self, done: Done) {
        if done.is_own {
            return self.discard_own(done);
        }
        self.removing.remove(&done.ifindex);
        if let Done { ifindex, way, is_own: false, result: Ok(Made::Link(link)) } = done {
            self.worker.close(ifindex, way, link, None);
        }
    }

    /// Waits until no filter of an interface is being removed, which would take a new one's place for
    /// the old one's.
    pub(super) fn let_remove(&mut self, ifindex: Ifindex) {
        if self.removing.remove(&ifindex).is_some() {
            self.worker.wait();
        }
    }

    /// Takes a link from those that are kept; what it has attached stays so until it is closed.
    fn unpin(&mut self, ifindex: Ifindex, way: Way) -> Result<Option<FdLink>, Refusal> {
        let key = (ifindex, way);
        if !matches!(self.attached.get(&key), Some(Attached::Link(_))) {
            return Ok(None);
        }
        pins::unpin(&self.pins.link(ifindex, way)).map_err(|error| Refusal::new(chain(&error)))?;
        match self.attached.remove(&key) {
            Some(Attached::Link(link)) => Ok(Some(link)),
            _ => Ok(None),
        }
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

    /// Takes a program off; what is off already is as good as taken off. A link is detached soon after
    /// if that is not waited for.
    pub(super) fn detach(
        &mut self,
        ifindex: Ifindex,
        way: Way,
        waiting: bool,
    ) -> Result<(), Refusal> {
        if let Some(link) = self.unpin(ifindex, way)? {
            self.worker.close(ifindex, way, link, None);
            if waiting {
                self.worker.wait();
            }
        }
        if let Some(filter) = self.take_filter(ifindex, way) {
            self.let_remove(ifindex);
            take_filter_off(&self.rtnl, ifindex, way.0, filter)
                .inspect_err(|_| self.keep_filter(ifindex, way, filter))?;
        }
        self.forget_unused(ifindex, way.0);
        Ok(())
    }

    /// Takes a filter from those that are kept, and its qdisc where that is ours and the filter the
    /// last of ours on it.
    fn take_filter(&mut self, ifindex: Ifindex, way: Way) -> Option<Filter> {
        let priority = self.attached.get(&(ifindex, way))?.priority()?;
        self.attached.remove(&(ifindex, way));
        let other = |(index, its): &(Ifindex, Way)| *index == ifindex && is_filter(*its);
        let last = !self.attached.keys().any(other) && self.qdiscs.remove(&ifindex);
        Some(Filter { priority, last })
    }

    /// It could not be removed.
    fn keep_filter(&mut self, ifindex: Ifindex, way: Way, Filter { priority, last }: Filter) {
        self.attached.insert((ifindex, way), Attached::Filter(priority));
        if last {
            self.qdiscs.insert(ifindex);
        }
    }

    /// What the guard counted at a hook that has no program of its own is nobody's.
    fn forget_unused(&mut self, ifindex: Ifindex, hook: Hook) {
        let used = |(index, way): &(Ifindex, Way)| *index == ifindex && way.0 == hook;
        if !self.attached.keys().any(used) {
            self.forget_traffic(ifindex, hook);
        }
    }

    /// Keeps a link attached beyond this process.
    fn pin(&self, ifindex: Ifindex, way: Way, link: FdLink) -> Result<Attached, Refusal> {
        // An unpinned link would end with this process.
        pin_link(link, &self.pins.link(ifindex, way)).map(Attached::Link).map_err(Refusal::new)
    }

    /// Sets the filter. One of an earlier daemon is replaced in one step.
    fn set_filter(
        &mut self,
        hook: Hook,
        ifindex: Ifindex,
        before: Option<u16>,
    ) -> Result<Attached, AttachError> {
        if before.is_none() && self.rtnl.add_clsact(ifindex).map_err(AttachError::Rtnl)? {
            self.qdiscs.insert(ifindex);
        }
        let program: &mut SchedClassifier = program(&mut self.ebpf, hook)?;
        let program = program.fd()?.as_fd();
        OURS.set(&self.rtnl, (ifindex, hook), program, before).map(Attached::Filter)
    }
}

/// Takes a filter off; one that is gone already is as good as taken off. The qdisc stays, marked as ours:
/// to remove it would drop what is just being sent to the container.
pub(super) fn take_filter_off(
    rtnl: &Rtnl,
    ifindex: Ifindex,
    hook: Hook,
    filter: Filter,
) -> Result<(), Refusal> {
    let Filter { priority, last } = filter;
    if last {
        match rtnl.add_chain(ifindex, MARK) {
            Err(error) if error.class() != ErrorClass::Gone => {
                return Err(Refusal::new(chain(&error)));
            }
            _ => {}
        }
    }
    OURS.take_off(rtnl, (ifindex, hook), priority)
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
