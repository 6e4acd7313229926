//! Decides what to attach where, and the steps that lead there. Pure: the same inputs give the same
//! plan in the same order, and nothing here asks the kernel or Docker anything.

mod choose;
mod steps;

use std::collections::BTreeMap;

use ebpf_netns::Ifindex;
use plugin_common::abi::InterfacePolicy;
use serde::Serialize;

pub use self::choose::{Choice, Outcome, choose};
pub use self::steps::steps;

/// A place where packets are judged, by the container's direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Hook {
    /// XDP on the host-side veth: what the container sends.
    Xdp,
    /// TC ingress of the host-side veth: what the container sends.
    Egress,
    /// TC egress of the host-side veth: what the container receives.
    Ingress,
}

impl Hook {
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

/// What is attached to one interface, or is to be: nothing by default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Target {
    /// The entry of the policy map.
    pub policy: InterfacePolicy,
    /// How each hook in use is attached.
    pub hooks: BTreeMap<Hook, Attachment>,
}

/// Why an attachment could not be made, by hook and way: it is not tried again until it is
/// forgotten.
pub type Refusals = BTreeMap<(Hook, Attachment), String>;

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
    /// Attach the hook's program.
    Attach {
        /// The host-side veth.
        ifindex: Ifindex,
        /// The hook.
        hook: Hook,
        /// How.
        attachment: Attachment,
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
    /// Remove the interface from all maps.
    Forget {
        /// The host-side veth.
        ifindex: Ifindex,
    },
}
