//! Decides what to attach where, and the steps that lead there. Pure: the same inputs give the same
//! plan in the same order, and nothing here asks the kernel or Docker anything.

mod choose;
mod steps;

use std::collections::{BTreeMap, BTreeSet};

use ebpf_netns::Ifindex;
use plugin_common::abi::InterfacePolicy;
use serde::{Deserialize, Serialize};

pub use self::choose::{Choice, Outcome, choose, quarantine};
pub use self::steps::{GUARD, steps};

/// A place where packets are judged, by the container's direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Hook {
    /// XDP on the host-side veth: what the container sends.
    Xdp,
    /// TC ingress of the host-side veth: what the container sends.
    Egress,
    /// TC egress of the host-side veth: what the container receives.
    Ingress,
}

impl Hook {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Xdp, Self::Egress, Self::Ingress];

    /// Its name, one word.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Xdp => "xdp",
            Self::Egress => "egress",
            Self::Ingress => "ingress",
        }
    }

    /// The container's direction: `egress` is what it sends.
    #[must_use]
    pub const fn direction(self) -> &'static str {
        match self {
            Self::Xdp | Self::Egress => "egress",
            Self::Ingress => "ingress",
        }
    }

    /// The side of the host-side veth that it is on: the direction reversed.
    #[must_use]
    pub const fn host_side(self) -> &'static str {
        match self {
            Self::Xdp | Self::Egress => "ingress",
            Self::Ingress => "egress",
        }
    }
}

/// A way to attach a program to a hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Attachment {
    /// XDP in the network stack.
    XdpGeneric,
    /// XDP in the driver.
    XdpNative,
    /// XDP on the network card.
    XdpOffload,
    /// TCX, from Linux 6.6.
    Tcx,
    /// A clsact filter with direct action.
    Clsact,
}

impl Attachment {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::XdpGeneric, Self::XdpNative, Self::XdpOffload, Self::Tcx, Self::Clsact];

    /// Its name, one word.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::XdpGeneric => "generic",
            Self::XdpNative => "native",
            Self::XdpOffload => "offload",
            Self::Tcx => "tcx",
            Self::Clsact => "clsact",
        }
    }

    /// `xdp`, `tcx` or `clsact`.
    #[must_use]
    pub const fn mechanism(self) -> &'static str {
        match self {
            Self::XdpGeneric | Self::XdpNative | Self::XdpOffload => "xdp",
            Self::Tcx => "tcx",
            Self::Clsact => "clsact",
        }
    }

    /// Where XDP runs.
    #[must_use]
    pub const fn xdp_mode(self) -> Option<&'static str> {
        match self {
            Self::XdpGeneric => Some("generic"),
            Self::XdpNative => Some("native"),
            Self::XdpOffload => Some("offload"),
            Self::Tcx | Self::Clsact => None,
        }
    }
}

/// Which ways to attach at TC may be used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum TcFlavour {
    /// TCX where the kernel has it, else clsact.
    #[default]
    Auto,
    /// TCX alone.
    Tcx,
    /// clsact alone.
    Clsact,
}

/// A hook and how it is attached to.
pub type Way = (Hook, Attachment);

/// The kernel's number of a program of the operator's, which is loaded.
pub type ProgramId = u32;

/// The operator's programs for one interface: those that are loaded, and why some could not be
/// attached.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OwnPrograms {
    /// By hook.
    pub loaded: BTreeMap<Hook, ProgramId>,
    /// As those of our programs, which may be attached where these may not.
    pub refusals: Refusals,
}

/// What stands on one interface: nothing by default. More than one program may be on a hook while
/// they are changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// The entry of the policy map; without one, what is attached lets nothing pass.
    pub policy: Option<InterfacePolicy>,
    /// What is attached.
    pub ways: BTreeSet<Way>,
    /// What of it has the program of an earlier daemon, which enforces what that one was told.
    pub inherited: BTreeSet<Way>,
    /// Where a program of the operator's is attached, and which.
    pub own: BTreeMap<Way, ProgramId>,
}

/// What is to be attached to one interface: nothing by default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Target {
    /// The entry of the policy map.
    pub policy: InterfacePolicy,
    /// How each hook in use is attached.
    pub hooks: BTreeMap<Hook, Attachment>,
    /// Programs of the operator's, which see what ours let pass at TC, and what comes at XDP. Where
    /// there is one, ours is at TC in the same direction, by which all of it can be closed.
    pub own: BTreeMap<Hook, (Attachment, ProgramId)>,
}

/// Why an attachment could not be made, by hook and way: it is not tried again until it is
/// forgotten.
pub type Refusals = BTreeMap<Way, String>;

/// One change of the kernel's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Write the interface's entry of the policy map, whole.
    SetPolicy {
        /// The host-side veth.
        ifindex: Ifindex,
        /// The entry.
        policy: InterfacePolicy,
    },
    /// Attach the hook's program, or put it in the place of an earlier daemon's.
    Attach {
        /// The host-side veth.
        ifindex: Ifindex,
        /// The hook.
        hook: Hook,
        /// How.
        attachment: Attachment,
    },
    /// Attach the filters of both directions at once, where there are none.
    Guard {
        /// The host-side veth.
        ifindex: Ifindex,
    },
    /// Detach it.
    Detach {
        /// The host-side veth.
        ifindex: Ifindex,
        /// The hook.
        hook: Hook,
        /// How it was attached.
        attachment: Attachment,
    },
    /// Attach a program of the operator's behind ours, or put it in the place of the one that is
    /// there.
    AttachOwn {
        /// The host-side veth.
        ifindex: Ifindex,
        /// Where.
        way: Way,
        /// Which.
        program: ProgramId,
    },
    /// Detach the program of the operator's that is there.
    DetachOwn {
        /// The host-side veth.
        ifindex: Ifindex,
        /// Where.
        way: Way,
        /// Which.
        program: ProgramId,
    },
    /// Remove the interface from all maps.
    Forget {
        /// The host-side veth.
        ifindex: Ifindex,
    },
}

impl Step {
    /// Whether the kernel waits a grace period in it, with its lock on all interfaces held: 8 to 16
    /// ms, in which nobody else can attach.
    #[must_use]
    pub fn is_slow(self) -> bool {
        match self {
            Self::Attach { attachment, .. }
            | Self::Detach { attachment, .. }
            | Self::AttachOwn { way: (_, attachment), .. }
            | Self::DetachOwn { way: (_, attachment), .. } => attachment != Attachment::Clsact,
            Self::SetPolicy { .. } | Self::Guard { .. } | Self::Forget { .. } => false,
        }
    }

    /// Whether nobody has to wait for it: it is slow, or takes off what may stay. Either takes the
    /// kernel's lock on all interfaces, which others may hold for long on a busy machine.
    #[must_use]
    pub fn can_wait(self) -> bool {
        self.is_slow() || matches!(self, Self::Detach { .. } | Self::DetachOwn { .. })
    }
}
