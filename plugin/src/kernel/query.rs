//! What is attached to an interface, by whomever.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;

use aya::programs::links::{FdLink, PinnedLink};
use aya::programs::loaded_programs;
use aya::programs::{ProgramError, ProgramInfo, SchedClassifier, TcAttachType};
use ebpf_netns::{Ifindex, Link};
use nix::errno::Errno;
use serde::Serialize;

use super::pins::{self, PinnedWay};
use super::{ProgramIdentity, errno, filters, load};
use crate::plan::Hook;

/// The hooks of TCX, each with its side of the interface.
const SIDES: [(&str, TcAttachType); 2] =
    [("tcx-ingress", TcAttachType::Ingress), ("tcx-egress", TcAttachType::Egress)];

/// One program at a hook of an interface.
#[derive(Clone, Debug, Serialize)]
pub struct AttachedProgram {
    /// The interface.
    pub ifindex: Ifindex,
    /// `xdp`, `tcx-ingress` or `tcx-egress`: the side of the interface.
    pub hook: &'static str,
    /// The program.
    pub program: ProgramIdentity,
}

/// The XDP and TCX programs of an interface, in the order in which they run. clsact filters are
/// not among them: rtnetlink shows those.
#[must_use]
pub fn attached(link: &Link) -> Vec<AttachedProgram> {
    let mut found = Vec::new();
    let mut add = |hook, info: &ProgramInfo| {
        found.push(AttachedProgram { ifindex: link.index, hook, program: identity(info) });
    };
    if let Some(info) = link.xdp.and_then(|xdp| by_id(xdp.program_id)) {
        add("xdp", &info);
    }
    for (hook, side) in SIDES {
        // A kernel without TCX has none there.
        let programs = SchedClassifier::query_tcx(&link.name, side)
            .map_or_else(|_| Vec::new(), |(_revision, programs)| programs);
        for info in programs {
            add(hook, &info);
        }
    }
    found
}

/// Whether a program or a filter has the name of one of the daemon's, or of a filter that it attached
/// for the operator.
#[must_use]
pub fn is_ours(name: &str) -> bool {
    name == filters::OPERATORS_NAME
        || Hook::ALL.into_iter().any(|hook| load::program_name(hook) == name)
}

/// The ids of the operator's programs that the daemon attached by a link. Where the pins cannot be
/// read, none.
#[must_use]
pub fn operators(pins: &Path) -> BTreeSet<u32> {
    let links = pins::links(pins).unwrap_or_default();
    let id = |pinned: PinnedWay| {
        let link = FdLink::from(PinnedLink::from_pin(&pinned.path).ok()?);
        link.info().ok().map(|info| info.program_id())
    };
    links.into_iter().filter(|pinned| pinned.is_own).filter_map(id).collect()
}

/// The names of all programs in the kernel, by their ids. Needs `CAP_SYS_ADMIN`.
///
/// # Errors
///
/// When the kernel refuses.
pub fn names() -> Result<BTreeMap<u32, String>, io::Error> {
    let mut names = BTreeMap::new();
    for info in loaded_programs() {
        let info = match info {
            Ok(info) => info,
            // It was unloaded meanwhile.
            Err(error) if errno::of_program(&error) == Some(Errno::ENOENT) => continue,
            Err(error) => return Err(as_io(&error)),
        };
        names.insert(info.id(), identity(&info).name);
    }
    Ok(names)
}

/// The ids of the TCX programs of an interface, by the side; none where the kernel has no TCX.
///
/// # Errors
///
/// When the kernel refuses, or the interface is gone.
pub fn tcx(name: &str) -> Result<Vec<(&'static str, u32)>, io::Error> {
    let mut found = Vec::new();
    for (hook, side) in SIDES {
        match SchedClassifier::query_tcx(name, side) {
            Ok((_revision, programs)) => found.extend(programs.iter().map(|one| (hook, one.id()))),
            Err(error) if errno::of_program(&error) == Some(Errno::EINVAL) => {}
            Err(error) => return Err(as_io(&error)),
        }
    }
    Ok(found)
}

fn as_io(error: &ProgramError) -> io::Error {
    errno::of_program(error).map_or_else(|| io::Error::other(error.to_string()), io::Error::from)
}

/// A program for a message. Its name takes `CAP_SYS_ADMIN`, which the daemon does not have.
pub(super) fn describe(id: u32) -> String {
    format!("program {id} (`bpftool prog show id {id}` says which)")
}

fn by_id(id: u32) -> Option<ProgramInfo> {
    loaded_programs().filter_map(Result::ok).find(|info| info.id() == id)
}

fn identity(info: &ProgramInfo) -> ProgramIdentity {
    ProgramIdentity {
        id: info.id(),
        name: String::from_utf8_lossy(info.name()).into_owned(),
        tag: format!("{:016x}", info.tag()),
    }
}
