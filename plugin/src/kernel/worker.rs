//! What takes the kernel long, or may have to wait for its lock on all interfaces, on threads of their
//! own: closing new interfaces; and making links, closing them, removing filters, and looking.
//!
//! It knows nothing of what is attached: it gives each link to whoever asked for it, and one that
//! nobody pins is closed, which detaches it. It takes one job after another, in the order in which
//! they were given.

use std::os::fd::AsFd as _;
use std::path::PathBuf;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};

use aya::programs::links::{FdLink, LinkOrder};
use aya::programs::tc::TcAttachOptions;
use aya::programs::xdp::{Xdp, XdpMode};
use aya::programs::{ProgramError, SchedClassifier, TcAttachType};
use aya_obj::programs::XdpAttachType;
use ebpf_netns::rtnl::NewBpfFilter;
use ebpf_netns::veth::{self, VethError, VethPair};
use ebpf_netns::{Ifindex, Link as Interface, Rtnl};

use super::attach::{Filter, take_filter_off};
use super::filters::{OPERATORS, OURS};
use super::load::{self, LoadError};
use super::own;
use super::pins::Pins;
use super::query;
use super::refusal::{AttachError, Attempt, Refusal};
use crate::error::chain;
use crate::plan::{Attachment, GUARD, Hook, Way};
use crate::sandbox::come_in_turn;

/// Called on the worker's thread with what became of a job.
pub type Reply = Box<dyn FnOnce(Done) + Send>;

/// What became of a job.
#[derive(Debug)]
pub struct Done {
    pub(super) ifindex: Ifindex,
    pub(super) way: Way,
    /// Whether it was to do with a program of the operator's.
    pub(super) is_own: bool,
    pub(super) result: Result<Made, Refusal>,
}

impl Done {
    /// The interface.
    #[must_use]
    pub const fn ifindex(&self) -> Ifindex {
        self.ifindex
    }
}

/// What was made.
#[derive(Debug)]
pub(super) enum Made {
    /// A link, which nothing but this keeps attached yet.
    Link(FdLink),
    /// Nothing: what was there is gone.
    Nothing,
    /// The filters of both directions; whether the qdisc that they are on was added.
    Guard { added: bool },
    /// A look whether an interface is where it was.
    Look(Result<(), VethError>),
}

enum Order {
    Do(Job),
    /// To be told when everything before it is done.
    Tell(mpsc::Sender<()>),
}

struct Job {
    way: Way,
    task: Task,
    reply: Option<Reply>,
}

enum Task {
    Guard(Interface),
    Attach(Interface),
    /// A program of the operator's, which is pinned there.
    AttachOwn(Interface, PathBuf),
    Close(Ifindex, FdLink),
    /// As [`Self::Close`], of a program of the operator's.
    CloseOwn(Ifindex, FdLink),
    Remove(Ifindex, Filter),
    /// The filter of this priority, with a program of the operator's.
    RemoveOwn(Ifindex, u16),
    Verify(Box<VethPair>),
}

/// How soon a thread is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// As whoever starts it: the engine, before others.
    First,
    /// When it is its turn, as others are: nobody's frames wait for it.
    Own,
}

/// A thread. Dropping this waits until it has done all that it was given.
pub(super) struct Worker {
    jobs: Option<mpsc::Sender<Order>>,
    thread: Option<JoinHandle<()>>,
}

impl Worker {
    /// Starts the thread, with handles of its own of the pinned programs.
    pub(super) fn start(name: &str, turn: Turn, pins: &Pins) -> Result<Self, LoadError> {
        let mut hands = Hands::open(pins)?;
        let (jobs, given) = mpsc::channel();
        let work = move || {
            if turn == Turn::Own {
                come_in_turn();
            }
            for order in given {
                match order {
                    Order::Do(Job { way, task, reply }) => {
                        let done = hands.work(way, task);
                        if let Some(reply) = reply {
                            reply(done);
                        }
                    }
                    // Whoever asks waits for it.
                    Order::Tell(who) => who.send(()).unwrap_or_default(),
                }
            }
        };
        let thread =
            thread::Builder::new().name(name.to_owned()).spawn(work).map_err(LoadError::Thread)?;
        Ok(Self { jobs: Some(jobs), thread: Some(thread) })
    }

    /// Has the filters of both directions attached.
    pub(super) fn guard(&self, interface: &Interface, reply: Reply) {
        let [way, _] = GUARD;
        self.give(Job { way, task: Task::Guard(interface.clone()), reply: Some(reply) });
    }

    /// Has the filters of both directions attached, and waits for it.
    pub(super) fn guard_now(&self, interface: &Interface) -> Result<Done, Refusal> {
        wait_for(|reply| self.guard(interface, reply))
    }

    /// Has a link made.
    pub(super) fn attach(&self, way: Way, interface: &Interface, reply: Reply) {
        self.give(Job { way, task: Task::Attach(interface.clone()), reply: Some(reply) });
    }

    /// Has a link made for a program of the operator's, which is pinned there.
    pub(super) fn attach_own(&self, way: Way, interface: &Interface, pin: PathBuf, reply: Reply) {
        self.give(Job { way, task: Task::AttachOwn(interface.clone(), pin), reply: Some(reply) });
    }

    /// As [`Self::close`], of a program of the operator's.
    pub(super) fn close_own(&self, ifindex: Ifindex, way: Way, link: FdLink, reply: Option<Reply>) {
        self.give(Job { way, task: Task::CloseOwn(ifindex, link), reply });
    }

    /// Has the filter of this priority removed, with a program of the operator's.
    pub(super) fn remove_own(&self, ifindex: Ifindex, way: Way, priority: u16, reply: Reply) {
        self.give(Job { way, task: Task::RemoveOwn(ifindex, priority), reply: Some(reply) });
    }

    /// Has a link closed, which waits for the kernel's lock even where its interface is gone.
    pub(super) fn close(&self, ifindex: Ifindex, way: Way, link: FdLink, reply: Option<Reply>) {
        self.give(Job { way, task: Task::Close(ifindex, link), reply });
    }

    /// Has a filter removed.
    pub(super) fn remove(&self, ifindex: Ifindex, way: Way, filter: Filter, reply: Reply) {
        self.give(Job { way, task: Task::Remove(ifindex, filter), reply: Some(reply) });
    }

    /// Has somebody look whether an interface, to which this was attached, is where it was.
    pub(super) fn verify(&self, way: Way, pair: &VethPair, reply: Reply) {
        self.give(Job { way, task: Task::Verify(Box::new(pair.clone())), reply: Some(reply) });
    }

    /// Has a link made, and waits for it.
    pub(super) fn attach_now(&self, way: Way, interface: &Interface) -> Result<Done, Refusal> {
        wait_for(|reply| self.attach(way, interface, reply))
    }

    /// Waits until all is done that was given before.
    pub(super) fn wait(&self) {
        let (reached, wait) = mpsc::channel();
        if let Some(jobs) = &self.jobs {
            jobs.send(Order::Tell(reached)).ok();
        }
        // All is done too when the thread has ended.
        wait.recv().ok();
    }

    fn give(&self, job: Job) {
        // It takes jobs for as long as there is somebody to give them.
        if let Some(jobs) = &self.jobs {
            jobs.send(Order::Do(job)).ok();
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

/// Has something done, and waits for it.
pub(super) fn wait_for(give: impl FnOnce(Reply)) -> Result<Done, Refusal> {
    let (reply, done) = mpsc::channel();
    // Whoever asks waits for it.
    give(Box::new(move |made| reply.send(made).unwrap_or_default()));
    done.recv().map_err(|_ended| Refusal::new("the thread that attaches has ended".to_owned()))
}

/// Our filter for a hook, of the first priority.
fn filter(hook: Hook, program: &SchedClassifier) -> Result<NewBpfFilter<'_>, ProgramError> {
    Ok(OURS.filter(hook, OURS.first_priority(), program.fd()?.as_fd()))
}

/// What the thread works with.
struct Hands {
    xdp: Xdp,
    egress: SchedClassifier,
    ingress: SchedClassifier,
    rtnl: Rtnl,
}

impl Hands {
    fn open(pins: &Pins) -> Result<Self, LoadError> {
        let path = |hook| pins.program(load::program_name(hook));
        let failed = |error: ProgramError| LoadError::Pin(chain(&error));
        Ok(Self {
            xdp: Xdp::from_pin(path(Hook::Xdp), XdpAttachType::Interface).map_err(failed)?,
            egress: SchedClassifier::from_pin(path(Hook::Egress)).map_err(failed)?,
            ingress: SchedClassifier::from_pin(path(Hook::Ingress)).map_err(failed)?,
            rtnl: Rtnl::open()?,
        })
    }

    fn work(&mut self, way: Way, task: Task) -> Done {
        let is_own = matches!(task, Task::AttachOwn(..) | Task::CloseOwn(..) | Task::RemoveOwn(..));
        let (ifindex, result) = match task {
            Task::Guard(interface) => {
                (interface.index, self.guard(&interface).map(|added| Made::Guard { added }))
            }
            Task::Attach(interface) => {
                let made = self.make_link(way, &interface);
                (interface.index, self.judge(way, &interface, made).map(Made::Link))
            }
            Task::AttachOwn(interface, pin) => {
                let ours = match way.0 {
                    Hook::Xdp | Hook::Egress => &self.egress,
                    Hook::Ingress => &self.ingress,
                };
                let made = own::make_link(way, &interface, &pin, ours);
                (interface.index, self.judge(way, &interface, made).map(Made::Link))
            }
            Task::Close(ifindex, link) | Task::CloseOwn(ifindex, link) => {
                drop(link);
                (ifindex, Ok(Made::Nothing))
            }
            Task::Remove(ifindex, filter) => {
                let removed = take_filter_off(&self.rtnl, ifindex, way.0, filter);
                (ifindex, removed.map(|()| Made::Nothing))
            }
            Task::RemoveOwn(ifindex, priority) => {
                let removed = OPERATORS.take_off(&self.rtnl, (ifindex, way.0), priority);
                (ifindex, removed.map(|()| Made::Nothing))
            }
            Task::Verify(pair) => {
                let seen = veth::verify(&self.rtnl, &pair).map(drop);
                (pair.host.index, Ok(Made::Look(seen)))
            }
        };
        Done { ifindex, way, is_own, result }
    }

    /// Attaches the filters of both directions in one call to the kernel; whether the qdisc was added.
    fn guard(&self, interface: &Interface) -> Result<bool, Refusal> {
        let added = self.filters().map_err(AttachError::from).and_then(|filters| {
            self.rtnl.add_clsact_with(interface.index, &filters).map_err(AttachError::Rtnl)
        });
        let attachment = Attachment::Clsact;
        added.map_err(|error| {
            Refusal::explain(&error, &Attempt { attachment, interface, holder: None })
        })
    }

    fn filters(&self) -> Result<[NewBpfFilter<'_>; 2], ProgramError> {
        Ok([filter(Hook::Egress, &self.egress)?, filter(Hook::Ingress, &self.ingress)?])
    }

    fn make_link(
        &mut self,
        (hook, attachment): Way,
        to: &Interface,
    ) -> Result<FdLink, AttachError> {
        match attachment {
            Attachment::XdpGeneric => self.attach_xdp(to, XdpMode::Skb),
            Attachment::XdpNative => self.attach_xdp(to, XdpMode::Driver),
            Attachment::XdpOffload => self.attach_xdp(to, XdpMode::Hardware),
            Attachment::Tcx => self.attach_tcx(hook, to),
            Attachment::Clsact => Err(Refusal::new("a filter is no link: a bug".to_owned()).into()),
        }
    }

    /// Whether a link is one of the interface that was meant, and why there is none.
    fn judge(
        &self,
        (_, attachment): Way,
        interface: &Interface,
        made: Result<FdLink, AttachError>,
    ) -> Result<FdLink, Refusal> {
        let made = made.map_err(|error| {
            let holder = interface.xdp.map(|xdp| query::describe(xdp.program_id));
            Refusal::explain(&error, &Attempt { attachment, interface, holder: holder.as_deref() })
        });
        if attachment != Attachment::Tcx {
            return made;
        }
        match made {
            // Nobody has the name: its interface may have another.
            Err(refusal) if refusal.is_gone() => {
                Err(self.check_name(interface).err().unwrap_or(refusal))
            }
            Ok(link) => self.check_name(interface).map(|()| link),
            Err(refusal) => Err(refusal),
        }
    }

    /// Looks whether the name still is the interface's, for after an attachment by name: aya takes
    /// no index at TC.
    fn check_name(&self, interface: &Interface) -> Result<(), Refusal> {
        match self.rtnl.link(interface.index) {
            Ok(Some(link)) if link.name == interface.name => Ok(()),
            // Renamed: to be attached by its new name.
            Ok(Some(_)) => Err(Refusal::severed(&interface.name)),
            Ok(None) => Err(Refusal::gone(&interface.name)),
            Err(error) => Err(Refusal::new(chain(&error))),
        }
    }

    fn attach_xdp(&mut self, interface: &Interface, mode: XdpMode) -> Result<FdLink, AttachError> {
        let id = self.xdp.attach_to_if_index(interface.index.get(), mode)?;
        Ok(FdLink::try_from(self.xdp.take_link(id)?)?)
    }

    /// To the head of the chain: what others attached still runs, and on what we let pass.
    fn attach_tcx(&mut self, hook: Hook, interface: &Interface) -> Result<FdLink, AttachError> {
        let (program, side) = match hook {
            // The side of the host-side veth: the container's direction reversed.
            Hook::Xdp | Hook::Egress => (&mut self.egress, TcAttachType::Ingress),
            Hook::Ingress => (&mut self.ingress, TcAttachType::Egress),
        };
        let order = TcAttachOptions::TcxOrder(LinkOrder::first());
        let id = program.attach_with_options(&interface.name, side, order)?;
        Ok(FdLink::try_from(program.take_link(id)?)?)
    }
}
