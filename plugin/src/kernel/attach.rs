//! Attaching the programs: XDP by link, TC by TCX link or clsact filter.

use aya::programs::links::LinkOrder;
use aya::programs::tc::{
    NlOptions, SchedClassifierLink, TcAttachOptions, TcError, TcHandle, qdisc_add_clsact,
};
use aya::programs::xdp::{Xdp, XdpLink, XdpMode};
use aya::programs::{ProgramError, SchedClassifier, TcAttachType};
use ebpf_netns::{Ifindex, Link as Interface};
use nix::errno::Errno;

use super::errno::{of_program as errno, of_tc as errno_of_tc};
use super::refusal::{AttachError, Attempt, Refusal};
use super::{Kernel, program, query};
use crate::error::chain;
use crate::plan::{Attachment, Hook};

/// What keeps a program attached; dropping it detaches.
#[derive(Debug)]
#[expect(dead_code, reason = "held for its destructor")]
pub(super) enum Link {
    Xdp(XdpLink),
    Tc(SchedClassifierLink),
}

/// The clsact filter's handle, which nobody else takes by accident.
const HANDLE: TcHandle = TcHandle::new(0x0eb9, 0xf001);

/// Priorities tried for it: the first that is not held by a filter of another kind.
const PRIORITIES: [u16; 3] = [1, 2, 3];

impl Kernel {
    pub(super) fn attach(
        &mut self,
        hook: Hook,
        attachment: Attachment,
        interface: &Interface,
    ) -> Result<Link, Refusal> {
        let attached = match attachment {
            Attachment::XdpGeneric => self.attach_xdp(interface.index, XdpMode::Skb),
            Attachment::XdpNative => self.attach_xdp(interface.index, XdpMode::Driver),
            Attachment::XdpOffload => self.attach_xdp(interface.index, XdpMode::Hardware),
            Attachment::Tcx => self.attach_tcx(hook, interface),
            Attachment::Clsact => self.attach_clsact(hook, interface),
        };
        attached.map_err(|error| {
            let holder = interface.xdp.map(|xdp| query::describe(xdp.program_id));
            Refusal::explain(&error, &Attempt { attachment, interface, holder: holder.as_deref() })
        })
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

    fn attach_xdp(&mut self, ifindex: Ifindex, mode: XdpMode) -> Result<Link, AttachError> {
        let program: &mut Xdp = program(&mut self.ebpf, Hook::Xdp)?;
        let link = program.attach_to_if_index(ifindex.get(), mode)?;
        Ok(Link::Xdp(program.take_link(link)?))
    }

    /// To the head of the chain: what others attached still runs, and on what we let pass.
    fn attach_tcx(&mut self, hook: Hook, interface: &Interface) -> Result<Link, AttachError> {
        let program: &mut SchedClassifier = program(&mut self.ebpf, hook)?;
        let order = TcAttachOptions::TcxOrder(LinkOrder::first());
        let link = program.attach_with_options(&interface.name, side(hook), order)?;
        let link = program.take_link(link)?;
        self.check_name(interface)?;
        Ok(Link::Tc(link))
    }

    fn attach_clsact(&mut self, hook: Hook, interface: &Interface) -> Result<Link, AttachError> {
        match qdisc_add_clsact(&interface.name) {
            Ok(()) => {
                self.qdiscs.insert(interface.index);
            }
            Err(error) if errno_of_tc(&error) == Some(Errno::EEXIST) => {}
            Err(error) => return Err(ProgramError::from(error).into()),
        }
        let program: &mut SchedClassifier = program(&mut self.ebpf, hook)?;
        let mut refused = None;
        for priority in PRIORITIES {
            match attach_filter(program, side(hook), &interface.name, priority) {
                Err(error) if errno(&error) == Some(Errno::EINVAL) => refused = Some(error),
                result => {
                    let link = result?;
                    self.check_name(interface)?;
                    return Ok(Link::Tc(link));
                }
            }
        }
        Err(refused.unwrap_or(ProgramError::NotAttached).into())
    }
}

/// Adds the filter; one that a killed daemon left is replaced in one step, without a gap.
fn attach_filter(
    program: &mut SchedClassifier,
    side: TcAttachType,
    name: &str,
    priority: u16,
) -> Result<SchedClassifierLink, ProgramError> {
    let options = NlOptions { priority, handle: HANDLE, classid: None };
    let added = program.attach_with_options(name, side, TcAttachOptions::Netlink(options));
    let link = match added {
        Err(error) if errno(&error) == Some(Errno::EEXIST) => {
            let old = SchedClassifierLink::attached(name, side, priority, HANDLE, None)
                .map_err(TcError::IoError)?;
            program.attach_to_link(old)?
        }
        added => added?,
    };
    program.take_link(link)
}

/// The side of the host-side veth: the container's direction reversed.
pub(super) const fn side(hook: Hook) -> TcAttachType {
    match hook {
        Hook::Xdp | Hook::Egress => TcAttachType::Ingress,
        Hook::Ingress => TcAttachType::Egress,
    }
}
