//! Why the kernel refused an attachment, as one sentence with the way out. Pure.

use std::fmt;

use aya::programs::ProgramError;
use aya::programs::links::LinkError;
use ebpf_netns::{Link, LinkKind, RtnlError, text};
use nix::errno::Errno;

use super::errno;
use crate::plan::Attachment;

/// One sentence: what was refused, why, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    sentence: String,
    gone: bool,
    of_the_kernel: bool,
    severed: bool,
}

/// What was tried.
#[derive(Clone, Copy, Debug)]
pub(super) struct Attempt<'a> {
    pub attachment: Attachment,
    pub interface: &'a Link,
    /// The XDP program that the interface has, described.
    pub holder: Option<&'a str>,
}

impl Refusal {
    pub(crate) fn new(sentence: String) -> Self {
        Self { sentence, gone: false, of_the_kernel: false, severed: false }
    }

    /// The interface went away meanwhile.
    pub(super) fn gone(name: &str) -> Self {
        let sentence = format!("{}: the interface is gone", text::printable(name));
        Self { gone: true, ..Self::new(sentence) }
    }

    /// What was attached before is not any more: to be attached anew.
    pub(super) fn severed(name: &str) -> Self {
        let sentence = format!("{}: what was attached is not any more", text::printable(name));
        Self { severed: true, ..Self::new(sentence) }
    }

    /// Whether what was attached before is not any more, and is to be attached anew.
    #[must_use]
    pub fn is_severed(&self) -> bool {
        self.severed
    }

    /// Whether the interface went away meanwhile, which is nobody's fault.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        self.gone
    }

    /// Whether it is this kernel that never takes it, on whatever interface.
    #[must_use]
    pub fn is_of_the_kernel(&self) -> bool {
        self.of_the_kernel
    }

    pub(super) fn explain(error: &AttachError, attempt: &Attempt<'_>) -> Self {
        match error {
            AttachError::Refused(refusal) => refusal.clone(),
            AttachError::Program(error) => {
                Self::of_errno(errno::of_program(error), &error.to_string(), attempt)
            }
            AttachError::Rtnl(error) => {
                Self::of_errno(errno::of_rtnl(error), &error.to_string(), attempt)
            }
        }
    }

    fn of_errno(errno: Option<Errno>, detail: &str, attempt: &Attempt<'_>) -> Self {
        Self {
            gone: errno == Some(Errno::ENODEV),
            of_the_kernel: errno == Some(Errno::EINVAL) && attempt.attachment == Attachment::Tcx,
            ..Self::new(sentence(errno, detail, attempt))
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.sentence)
    }
}

impl std::error::Error for Refusal {}

/// Why a program could not be attached.
#[derive(Debug)]
pub(super) enum AttachError {
    /// The kernel or aya says so.
    Program(ProgramError),
    /// rtnetlink says so.
    Rtnl(RtnlError),
    /// It was known before the kernel was asked.
    Refused(Refusal),
}

impl AttachError {
    /// The kernel's error number, if it was the kernel that refused.
    pub(super) fn errno(&self) -> Option<Errno> {
        match self {
            Self::Program(error) => errno::of_program(error),
            Self::Rtnl(error) => errno::of_rtnl(error),
            Self::Refused(_) => None,
        }
    }
}

impl From<ProgramError> for AttachError {
    fn from(error: ProgramError) -> Self {
        Self::Program(error)
    }
}

impl From<LinkError> for AttachError {
    fn from(error: LinkError) -> Self {
        Self::Refused(Refusal::new(crate::error::chain(&error)))
    }
}

impl fmt::Display for AttachError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Program(error) => f.write_str(&crate::error::chain(error)),
            Self::Rtnl(error) => f.write_str(&crate::error::chain(error)),
            Self::Refused(refusal) => refusal.fmt(f),
        }
    }
}

impl From<Refusal> for AttachError {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

fn sentence(errno: Option<Errno>, detail: &str, attempt: &Attempt<'_>) -> String {
    let Attempt { attachment, interface, holder } = *attempt;
    let name = text::printable(&interface.name);
    let what = word(attachment);
    match (errno, attachment) {
        (Some(Errno::EPERM | Errno::EACCES), _) => {
            format!("{what} on {name}: not permitted: the daemon needs CAP_BPF and CAP_NET_ADMIN")
        }
        (Some(Errno::ENODEV), _) => format!("{what} on {name}: the interface is gone"),
        (
            Some(Errno::EBUSY | Errno::EEXIST),
            Attachment::XdpGeneric | Attachment::XdpNative | Attachment::XdpOffload,
        ) => {
            let holder = holder.unwrap_or("another program");
            format!(
                "{what} on {name}: the XDP hook is held by {holder}: stop the tool that attached \
                 it (or: ip link set dev {name} xdp off), or use tc.policy"
            )
        }
        (Some(Errno::ERANGE), Attachment::XdpNative) => format!(
            "{what} on {name}: native XDP takes frames of about 3,500 bytes at most and the MTU is \
             {}: lower the network's MTU (com.docker.network.driver.mtu), or use xdp.mode auto or \
             generic",
            interface.mtu
        ),
        (Some(Errno::EOPNOTSUPP), Attachment::XdpNative) => format!(
            "{what} on {name}: the driver ({}) has no native XDP, or an offload forbids it (on \
             virtio_net: ethtool -K {name} gro_hw off, rx off): use xdp.mode auto or generic",
            interface.kind
        ),
        (Some(Errno::EOPNOTSUPP | Errno::EINVAL), Attachment::XdpOffload) => {
            let why =
                if interface.kind == LinkKind::Veth { ": a veth has no hardware" } else { "" };
            format!("{what} on {name}: the device cannot run XDP itself{why}: use xdp.mode auto")
        }
        (Some(Errno::EINVAL), Attachment::Tcx) => format!(
            "{what} on {name}: this kernel has no TCX, which needs Linux 6.6: use --tc auto or \
             clsact"
        ),
        (Some(Errno::ENOENT | Errno::EOPNOTSUPP), Attachment::Clsact) => format!(
            "{what} on {name}: this kernel has no clsact qdisc: load it with modprobe sch_ingress \
             and cls_bpf"
        ),
        (Some(errno), _) => format!("{what} on {name}: {} ({detail})", errno.desc()),
        (None, _) => format!("{what} on {name}: {detail}"),
    }
}

const fn word(attachment: Attachment) -> &'static str {
    match attachment {
        Attachment::XdpGeneric => "attach generic XDP",
        Attachment::XdpNative => "attach native XDP",
        Attachment::XdpOffload => "attach offloaded XDP",
        Attachment::Tcx => "attach TCX",
        Attachment::Clsact => "attach a clsact filter",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn veth() -> Link {
        Link {
            index: 7.try_into().unwrap(),
            name: "veth\u{1b}1".to_owned(),
            kind: LinkKind::Veth,
            mac: None,
            peer_index: None,
            peer_nsid: None,
            master: None,
            mtu: 9000,
            up: true,
            carrier: true,
            xdp: None,
        }
    }

    /// The sentence for a refusal names the interface and each of these words.
    #[track_caller]
    fn check(errno: Errno, attachment: Attachment, words: &[&str]) {
        let interface = veth();
        let holder = Some("program 12 (xdp_foo)");
        let said =
            sentence(Some(errno), "detail", &Attempt { attachment, interface: &interface, holder });
        for word in words.iter().chain(&["veth\\u{1b}1"]) {
            assert!(said.contains(word), "{said:?} lacks {word:?}");
        }
        assert!(!said.contains(char::is_control), "{said:?}");
    }

    #[test]
    fn every_refusal_that_users_meet_has_the_way_out() {
        check(Errno::ERANGE, Attachment::XdpNative, &["9000", "3,500", "generic"]);
        check(Errno::EBUSY, Attachment::XdpGeneric, &["program 12 (xdp_foo)", "xdp off"]);
        check(Errno::EEXIST, Attachment::XdpNative, &["program 12 (xdp_foo)", "tc.policy"]);
        check(Errno::EOPNOTSUPP, Attachment::XdpNative, &["virtio_net", "gro_hw", "generic"]);
        check(Errno::EOPNOTSUPP, Attachment::XdpOffload, &["no hardware", "auto"]);
        check(Errno::EINVAL, Attachment::XdpOffload, &["no hardware", "auto"]);
        check(Errno::EINVAL, Attachment::Tcx, &["6.6", "clsact"]);
        check(Errno::ENOENT, Attachment::Clsact, &["modprobe"]);
        check(Errno::EPERM, Attachment::Tcx, &["CAP_NET_ADMIN"]);
        check(Errno::ENOMEM, Attachment::Tcx, &["memory"]);
    }
}
