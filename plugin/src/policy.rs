//! What is to be enforced on one interface: the policies of all who use it, added up. Pure.

use plugin_common::presets::Presets;

use crate::labels::{Direction, LabelPolicy, XdpMode, XdpPolicy};

/// What one interface is to enforce. Directions are the container's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Demand {
    /// The policy is understood.
    Enforce(Rules),
    /// It is not, for this reason: nothing may pass.
    Close(String),
}

/// A policy that is understood.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// For XDP: what the container sends.
    pub xdp: Option<XdpPolicy>,
    /// For TC: what the container sends.
    pub egress: Option<Presets>,
    /// For TC: what the container receives.
    pub ingress: Option<Presets>,
}

impl From<&LabelPolicy> for Rules {
    fn from(labels: &LabelPolicy) -> Self {
        let LabelPolicy { xdp, tc } = labels;
        let tc_in = |direction| {
            tc.filter(|tc| tc.direction == direction || tc.direction == Direction::Both)
                .map(|tc| tc.presets)
        };
        Self { xdp: *xdp, egress: tc_in(Direction::Egress), ingress: tc_in(Direction::Ingress) }
    }
}

impl Demand {
    /// Whether there is nothing to enforce.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        *self == Self::Enforce(Rules::default())
    }

    /// Both demands: a packet passes when each of them lets it pass. Containers that share a
    /// namespace share its interfaces, and none may loosen what another asks for.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Close(one), Self::Close(other)) if one != other => {
                Self::Close(format!("{one}; {other}"))
            }
            (Self::Close(reason), _) | (_, Self::Close(reason)) => Self::Close(reason),
            (Self::Enforce(one), Self::Enforce(other)) => one.and(other),
        }
    }
}

impl Rules {
    fn and(self, other: Self) -> Demand {
        let xdp = match (self.xdp, other.xdp) {
            (Some(one), Some(other)) => match common_mode(one.mode, other.mode) {
                Some(mode) => Some(XdpPolicy { presets: one.presets | other.presets, mode }),
                None => {
                    return Demand::Close(
                        "different values of xdp.mode are asked for: by containers that share this \
                         interface, or by the operator's default policy and a label"
                            .to_owned(),
                    );
                }
            },
            (one, other) => one.or(other),
        };
        Demand::Enforce(Self {
            xdp,
            egress: add(self.egress, other.egress),
            ingress: add(self.ingress, other.ingress),
        })
    }
}

/// A mode asked for by name wins over `auto`; two different names cannot both be had.
fn common_mode(one: XdpMode, other: XdpMode) -> Option<XdpMode> {
    match (one, other) {
        (XdpMode::Auto, mode) | (mode, XdpMode::Auto) => Some(mode),
        (one, other) => (one == other).then_some(one),
    }
}

/// Both sets of presets, where there are any.
pub(crate) fn add(one: Option<Presets>, other: Option<Presets>) -> Option<Presets> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one | other),
        (one, other) => one.or(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::labels::TcPolicy;

    fn xdp(presets: Presets, mode: XdpMode) -> Demand {
        Demand::Enforce(Rules { xdp: Some(XdpPolicy { presets, mode }), ..Rules::default() })
    }

    #[test]
    fn tc_presets_apply_where_the_direction_says() {
        let rules = |direction| {
            let tc = Some(TcPolicy { presets: Presets::DROP_TCP, direction });
            Rules::from(&LabelPolicy { xdp: None, tc })
        };
        let dropped = Some(Presets::DROP_TCP);
        for (direction, egress, ingress) in [
            (Direction::Egress, dropped, None),
            (Direction::Ingress, None, dropped),
            (Direction::Both, dropped, dropped),
        ] {
            let expected = Rules { xdp: None, egress, ingress };
            assert_eq!(rules(direction), expected, "{direction:?}");
        }
    }

    #[test]
    fn who_shares_an_interface_can_only_tighten_it() {
        let tcp = xdp(Presets::DROP_TCP, XdpMode::Auto);
        let pass = xdp(Presets::PASS, XdpMode::Generic);
        assert_eq!(tcp.clone().and(pass), xdp(Presets::DROP_TCP, XdpMode::Generic));
        assert_eq!(tcp.clone().and(Demand::Enforce(Rules::default())), tcp);
        let closed = Demand::Close("why".to_owned());
        assert_eq!(tcp.clone().and(closed.clone()), closed);
        assert_eq!(closed.clone().and(tcp), closed);
        assert_eq!(closed.clone().and(closed.clone()), closed);
    }

    #[test]
    fn modes_that_exclude_each_other_close_the_interface() {
        let native = xdp(Presets::LOG, XdpMode::Native);
        let generic = xdp(Presets::LOG, XdpMode::Generic);
        assert!(
            matches!(native.and(generic), Demand::Close(reason) if reason.contains("xdp.mode"))
        );
    }
}
