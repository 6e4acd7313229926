//! The policies that containers of the chaos tests have, and what each forbids and asks for.

use crate::stream::Kind;

/// The name of the operator's policy.
pub(super) const NAMED: &str = "swapped";
/// What it is, in turn: UDP is forbidden by both.
pub(super) const SWAPPED: [&str; 2] = ["drop-udp", "drop-udp, drop-icmp"];

/// What a container is labelled with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// `xdp.policy=drop-udp`.
    XdpDropUdp,
    /// `tc.policy=drop-udp`, in both directions.
    TcDropUdp,
    /// `xdp.policy=drop-all`.
    DropAll,
    /// `tc.policy` is `NAMED`, a policy of the operator's that drops UDP and, at times, ICMP.
    TcNamed,
    /// `xdp.policy`, as above.
    XdpNamed,
    /// A label that nobody understands: closed.
    Invalid,
    /// No label.
    None,
}

/// Where programs have to stand on a host-side veth.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Demand {
    /// For what the container sends.
    pub egress: bool,
    /// For what it receives.
    pub ingress: bool,
}

impl Policy {
    /// The labels, as `docker run --label` takes them.
    #[must_use]
    pub const fn labels(self) -> &'static [&'static str] {
        match self {
            Self::XdpDropUdp => &["xdp.policy=drop-udp"],
            Self::TcDropUdp => &["tc.policy=drop-udp"],
            Self::TcNamed => &["tc.policy=swapped"],
            Self::XdpNamed => &["xdp.policy=swapped"],
            Self::DropAll => &["xdp.policy=drop-all"],
            Self::Invalid => &["xdp.policy=drop-upd"],
            Self::None => &[],
        }
    }

    /// Whether frames of a kind may not leave the container. What no policy knows is dropped by
    /// each.
    #[must_use]
    pub const fn forbids(self, kind: Kind) -> bool {
        match self {
            Self::XdpDropUdp | Self::TcDropUdp | Self::TcNamed | Self::XdpNamed => {
                matches!(kind, Kind::Udp | Kind::Strange)
            }
            Self::DropAll | Self::Invalid => true,
            Self::None => false,
        }
    }

    /// Whether any frame may leave the container, so that its silence would be a fault.
    #[must_use]
    pub const fn lets_some_out(self) -> bool {
        !self.forbids(Kind::Icmp)
    }

    /// Where programs have to stand.
    #[must_use]
    pub const fn demand(self) -> Demand {
        match self {
            Self::XdpDropUdp | Self::XdpNamed | Self::DropAll => {
                Demand { egress: true, ingress: false }
            }
            Self::TcDropUdp | Self::TcNamed | Self::Invalid => {
                Demand { egress: true, ingress: true }
            }
            Self::None => Demand { egress: false, ingress: false },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lets_some_out_forbids_not_all() {
        for policy in [Policy::XdpDropUdp, Policy::TcNamed, Policy::DropAll, Policy::Invalid] {
            let all = Kind::ALL.into_iter().all(|kind| policy.forbids(kind));
            assert_eq!(policy.lets_some_out(), !all, "{policy:?}");
            assert!(policy.demand().egress, "{policy:?} forbids what a container sends");
        }
    }
}
