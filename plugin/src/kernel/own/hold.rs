//! Holding what programs of the operator's are attached by: taken over, looked after, renewed in one step.

use std::os::fd::{AsFd as _, BorrowedFd};
use std::path::PathBuf;

use aya::programs::ProgramError;
use aya::programs::links::{FdLink, PinnedLink};
use aya::programs::tc::SchedClassifierLink;
use aya::programs::xdp::XdpLink;
use ebpf_netns::Ifindex;
use nix::errno::Errno;
use tracing::warn;

use crate::error::chain;
use crate::kernel::Kernel;
use crate::kernel::attach::{Attached, pin_link};
use crate::kernel::filters::{Found, OPERATORS};
use crate::kernel::inherit::take_link;
use crate::kernel::instance::{Handle, OwnProgram};
use crate::kernel::pins::{self, PinnedWay};
use crate::kernel::refusal::{AttachError, Refusal};
use crate::plan::{ProgramId, Way};

impl Kernel {
    /// Whether a program is attached as it was, and whether its pin was missing.
    pub(in crate::kernel) fn audit_own(
        &mut self,
        ifindex: Ifindex,
        way: Way,
        program: ProgramId,
    ) -> Result<(bool, bool), Refusal> {
        match self.own.attached.get(&(ifindex, way)) {
            Some(Attached::Filter(priority)) => {
                let wanted = Found { way, program, priority: *priority };
                let there = OPERATORS.find(&self.rtnl, ifindex).contains(&wanted);
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
    pub(in crate::kernel) fn inherit_own_link(&mut self, pinned: &PinnedWay) -> Option<ProgramId> {
        let PinnedWay { ifindex, way, path, .. } = pinned;
        let link = take_link(path, &self.pins.own_link(*ifindex, *way))?;
        let told = link.info().map(|info| info.program_id());
        self.own.attached.insert((*ifindex, *way), Attached::Link(link));
        told.inspect_err(|error| warn!(pin = %path.display(), %error, "its program is not known"))
            .ok()
    }

    /// Takes over the filters of an earlier daemon's on an interface; which programs they have.
    pub(in crate::kernel) fn inherit_own_filters(
        &mut self,
        ifindex: Ifindex,
    ) -> Vec<(Way, ProgramId)> {
        let found = OPERATORS.find(&self.rtnl, ifindex);
        for Found { way, priority, .. } in &found {
            self.own.attached.insert((ifindex, *way), Attached::Filter(*priority));
        }
        found.into_iter().map(|filter| (filter.way, filter.program)).collect()
    }

    /// Puts a program into a link that is there, which changes nothing where it is in it already;
    /// false when the link is severed.
    pub(super) fn renew_own(
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

    /// Where a program is pinned, which it is after this.
    pub(super) fn pin_of_own(&mut self, program: ProgramId) -> Result<PathBuf, Refusal> {
        let handle = self.own.programs.get_mut(&program).ok_or_else(|| not_loaded(program))?;
        handle.repin().map_err(Refusal::new)?;
        Ok(handle.pin.clone())
    }

    /// Pins again what somebody removed of what is loaded for containers; how much that was. Not to be
    /// done while something is being loaded, which takes the place of what is there.
    ///
    /// # Errors
    ///
    /// When it cannot be pinned.
    pub fn audit_own_pins(&mut self) -> Result<usize, Refusal> {
        let repinned = self.own.programs.values_mut().map(Handle::repin);
        repinned.sum::<Result<usize, String>>().map_err(Refusal::new)
    }
}

impl Handle {
    /// The program, for a filter.
    pub(super) fn as_filter(&self) -> Result<BorrowedFd<'_>, AttachError> {
        match &self.program {
            OwnProgram::Tc(program) => Ok(program.fd()?.as_fd()),
            OwnProgram::Xdp(_) => Err(ProgramError::UnexpectedProgramType.into()),
        }
    }

    /// Pins the program and what is beside it again where it is missing; how much was.
    fn repin(&mut self) -> Result<usize, String> {
        let maps = self.beside.repin()?;
        if self.pin.exists() {
            return Ok(maps);
        }
        let pinned = match &mut self.program {
            OwnProgram::Xdp(program) => program.pin(&self.pin),
            OwnProgram::Tc(program) => program.pin(&self.pin),
        };
        pinned.map_err(|error| format!("pin {}: {}", self.pin.display(), chain(&error)))?;
        Ok(maps + 1)
    }

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

pub(super) fn not_loaded(program: ProgramId) -> Refusal {
    Refusal::new(format!("program id {program} is not loaded: a bug"))
}
