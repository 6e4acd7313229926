//! What is attached to an interface, by whomever.

use aya::programs::loaded_programs;
use aya::programs::{ProgramInfo, SchedClassifier, TcAttachType};
use ebpf_netns::{Ifindex, Link};
use serde::Serialize;

use super::ProgramIdentity;

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
    for (hook, side) in
        [("tcx-ingress", TcAttachType::Ingress), ("tcx-egress", TcAttachType::Egress)]
    {
        // A kernel without TCX has none there.
        let programs = SchedClassifier::query_tcx(&link.name, side)
            .map_or_else(|_| Vec::new(), |(_revision, programs)| programs);
        for info in programs {
            add(hook, &info);
        }
    }
    found
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
