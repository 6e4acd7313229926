//! Network namespaces of containers, read from outside.
//!
//! Opens and verifies a container's network namespace, lists the links in it without entering it,
//! finds the host-side end of each of its veth pairs, and keeps the names that make a container's
//! namespace visible to `ip netns`. Knows nothing of eBPF, and never calls `setns`: only the
//! command's `exec` verb does, right before it becomes another program.
#![forbid(unsafe_code)]

mod class;
#[cfg(feature = "cli")]
pub mod cli;
#[cfg(feature = "docker")]
pub mod docker;
pub mod exit;
mod ids;
mod link;
pub mod links;
mod mac;
pub mod monitor;
mod namespace;
mod process;
pub mod rtnl;
pub mod scratch;
pub mod text;
pub mod veth;

pub use class::ErrorClass;
pub use ids::{Ifindex, InvalidIfindex, InvalidPid, Nsid, Pid};
pub use link::{Link, LinkKind, XdpAttachment, XdpMode};
pub use mac::{InvalidMac, MacAddress};
pub use namespace::{Namespace, NamespaceError, NsIdentity};
pub use process::{Process, ProcessError};
pub use rtnl::{Rtnl, RtnlError};
