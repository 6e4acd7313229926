//! What is to be enforced on one interface: the policies of all who use it, added up. Pure.

use std::sync::Arc;

use plugin_common::presets::Presets;

use crate::labels::{Audit, Direction, LabelPolicy, XdpMode, XdpPolicy};
use crate::rules::{MAX_RULES, RuleList};

/// What one interface is to enforce. Directions are the container's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Demand {
    /// The policy is understood.
    Enforce(Rules),
    /// It is not, for this reason: nothing may pass.
    Close(String),
}

/// A policy that is understood.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// For XDP: what the container sends.
    pub xdp: Option<XdpPolicy>,
    /// For TC: what the container sends.
    pub egress: Option<Presets>,
    /// For TC: what the container receives.
    pub ingress: Option<Presets>,
    /// For TC: rules for what the container sends.
    pub egress_rules: Vec<Layer>,
    /// For TC: rules for what the container receives.
    pub ingress_rules: Vec<Layer>,
    /// What is counted and reported, and not dropped.
    pub audited: Audited,
}

/// Rules of one direction, one of the lists of which each has to let a packet pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layer {
    /// The rules.
    pub rules: Arc<RuleList>,
    /// Whether what they would drop is counted and reported, and not dropped.
    pub audit: bool,
}

/// Presets that count and report what they would drop, and drop nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Audited {
    /// For XDP.
    pub xdp: Presets,
    /// For TC: what the container sends.
    pub egress: Presets,
    /// For TC: what the container receives.
    pub ingress: Presets,
}

impl From<&LabelPolicy> for Rules {
    fn from(labels: &LabelPolicy) -> Self {
        let LabelPolicy { xdp, tc, audit } = labels;
        let mut rules = Self::default();
        if let Some(XdpPolicy { presets, mode }) = *xdp {
            let (presets, audited) = split(presets, audit.xdp);
            rules.xdp = Some(XdpPolicy { presets, mode });
            rules.audited.xdp = audited;
        }
        let Some(tc) = tc else { return rules };
        if let Some(presets) = tc.presets {
            let (presets, audited) = split(presets, audit.tc);
            if tc.direction != Direction::Ingress {
                rules.egress = Some(presets);
                rules.audited.egress = audited;
            }
            if tc.direction != Direction::Egress {
                rules.ingress = Some(presets);
                rules.audited.ingress = audited;
            }
        }
        let layers = |lists: &[Arc<RuleList>]| {
            let Audit { tc: audit, xdp: _ } = *audit;
            lists.iter().map(|rules| Layer { rules: Arc::clone(rules), audit }).collect()
        };
        rules.egress_rules = layers(&tc.egress);
        rules.ingress_rules = layers(&tc.ingress);
        rules
    }
}

/// What is enforced of presets, and what is counted alone. `log` drops nothing, and stays.
fn split(presets: Presets, audit: bool) -> (Presets, Presets) {
    if !audit {
        return (presets, Presets::PASS);
    }
    let audited = presets.without(Presets::LOG);
    (presets.without(audited), audited)
}

impl Rules {
    /// Whether packets have to be judged by more than presets.
    #[must_use]
    pub fn needs_rules(&self) -> bool {
        self.has_rules() || self.audited != Audited::default()
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
    /// Whether there is something that only rules can do.
    #[must_use]
    pub fn has_rules(&self) -> bool {
        self.layers().next().is_some()
    }

    /// The lists of rules of both directions.
    fn layers(&self) -> impl Iterator<Item = &Layer> {
        self.egress_rules.iter().chain(&self.ingress_rules)
    }

    fn and(self, other: Self) -> Demand {
        let count =
            self.layers().chain(other.layers()).map(|layer| layer.rules.len()).sum::<usize>();
        if count > MAX_RULES {
            return Demand::Close(format!(
                "{count} rules in all, of containers that share this interface, or of the operator's \
                 default policy and labels: {MAX_RULES} are the most"
            ));
        }
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
            egress_rules: [self.egress_rules, other.egress_rules].concat(),
            ingress_rules: [self.ingress_rules, other.ingress_rules].concat(),
            audited: Audited {
                xdp: self.audited.xdp | other.audited.xdp,
                egress: self.audited.egress | other.audited.egress,
                ingress: self.audited.ingress | other.audited.ingress,
            },
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
    use crate::rules::Direction::{Egress, Ingress};

    fn xdp(presets: Presets, mode: XdpMode) -> Demand {
        Demand::Enforce(Rules { xdp: Some(XdpPolicy { presets, mode }), ..Rules::default() })
    }

    #[test]
    fn tc_presets_apply_where_the_direction_says() {
        let rules = |direction| {
            let presets = Some(Presets::DROP_TCP);
            let tc = Some(TcPolicy { presets, direction, ..TcPolicy::default() });
            Rules::from(&LabelPolicy { tc, ..LabelPolicy::default() })
        };
        let dropped = Some(Presets::DROP_TCP);
        for (direction, egress, ingress) in [
            (Direction::Egress, dropped, None),
            (Direction::Ingress, None, dropped),
            (Direction::Both, dropped, dropped),
        ] {
            let expected = Rules { egress, ingress, ..Rules::default() };
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

    fn rules(direction: crate::rules::Direction, text: &str) -> Arc<RuleList> {
        Arc::new(RuleList::parse(direction, text).unwrap())
    }

    #[test]
    fn rules_of_all_who_share_an_interface_are_layers() {
        let (one, other) = (rules(Egress, "allow dns"), rules(Egress, "deny; allow"));
        let ingress = rules(Ingress, "allow");
        let tc = TcPolicy { egress: vec![Arc::clone(&one)], ..TcPolicy::default() };
        let plain = LabelPolicy { tc: Some(tc), ..LabelPolicy::default() };
        let tc = TcPolicy {
            egress: vec![Arc::clone(&other)],
            ingress: vec![Arc::clone(&ingress)],
            ..TcPolicy::default()
        };
        let audit = Audit { xdp: false, tc: true };
        let audited = LabelPolicy { tc: Some(tc), audit, xdp: None };
        let expected = Rules {
            egress_rules: vec![
                Layer { rules: one, audit: false },
                Layer { rules: other, audit: true },
            ],
            ingress_rules: vec![Layer { rules: ingress, audit: true }],
            ..Rules::default()
        };
        assert!(expected.has_rules() && !Rules::default().has_rules());
        let [plain, audited] = [plain, audited].map(|labels| Demand::Enforce(Rules::from(&labels)));
        assert_eq!(plain.and(audited), Demand::Enforce(expected));
    }

    #[test]
    fn an_audit_takes_from_presets_what_drops() {
        let (presets, dropped) = (Presets::DROP_TCP | Presets::LOG, Presets::DROP_TCP);
        let audited = Rules::from(&LabelPolicy {
            xdp: Some(XdpPolicy { presets, mode: XdpMode::Generic }),
            tc: Some(TcPolicy { presets: Some(presets), ..TcPolicy::default() }),
            audit: Audit { xdp: true, tc: true },
        });
        let expected = Rules {
            xdp: Some(XdpPolicy { presets: Presets::LOG, mode: XdpMode::Generic }),
            egress: Some(Presets::LOG),
            ingress: Some(Presets::LOG),
            audited: Audited { xdp: dropped, egress: dropped, ingress: dropped },
            ..Rules::default()
        };
        assert_eq!(audited, expected);
        // What somebody else enforces is enforced.
        let other = Rules { egress: Some(dropped), ..Rules::default() };
        let both = Rules { egress: Some(presets), ..expected };
        assert_eq!(audited.and(other), Demand::Enforce(both));
    }

    #[test]
    fn more_rules_than_one_interface_may_have_close_it() {
        let demand = |count: usize| {
            let layer =
                |count| Layer { rules: rules(Egress, &"deny\n".repeat(count)), audit: false };
            let egress_rules = vec![layer(count / 2), layer(count - count / 2)];
            Demand::Enforce(Rules { egress_rules, ..Rules::default() })
        };
        assert!(matches!(demand(100).and(demand(MAX_RULES - 100)), Demand::Enforce(_)));
        assert!(matches!(
            demand(100).and(demand(MAX_RULES - 99)),
            Demand::Close(reason) if reason.contains("257") && reason.contains("256")
        ));
    }
}
