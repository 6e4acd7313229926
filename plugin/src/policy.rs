//! What is to be enforced on one interface: the policies of all who use it, added up. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use plugin_common::presets::Presets;

use crate::labels::{
    Audit, Direction, LabelPolicy, Lists, Named, Policies, Programs, XdpMode, XdpPolicy,
};
use crate::origin::{Author, NamedOrigin, Origin};
use crate::plan::Hook;
use crate::programs::ProgramName;
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
    /// Programs of the operator's, which have to let pass what all of the above lets pass.
    pub programs: BTreeMap<Hook, OwnProgram>,
    /// Which presets were asked for where, for people: what is enforced stands above.
    pub asked: Vec<Asked>,
}

/// A program of the operator's, at one hook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnProgram {
    /// Which.
    pub name: ProgramName,
    /// Where XDP is to run.
    pub mode: XdpMode,
    /// For whom it is loaded.
    pub container: Container,
}

/// A container, which has programs loaded for itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Container {
    /// Its full id.
    pub id: String,
    /// Whether its interfaces are another container's.
    pub is_guest: bool,
}

/// Presets for one direction as one source wrote them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// Where they were to be applied.
    pub hook: Hook,
    /// All of them, also those that are only counted.
    pub presets: Presets,
    /// Whether what they would drop is counted and reported, and not dropped.
    pub audit: bool,
    /// Where they were written.
    pub origin: Arc<Origin>,
}

/// Rules of one direction, one of the lists of which each has to let a packet pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layer {
    /// The rules.
    pub rules: Arc<RuleList>,
    /// Whether what they would drop is counted and reported, and not dropped.
    pub audit: bool,
    /// Where they were written.
    pub origin: Arc<Origin>,
}

/// Who wrote labels, and which policies these could name.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    /// Who.
    pub author: &'a Author,
    /// Which policies.
    pub policies: &'a Policies,
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

impl Rules {
    /// What labels ask for, or the operator's default policy, which is written as they are.
    #[must_use]
    pub fn of(labels: &LabelPolicy, source: Source<'_>) -> Self {
        let LabelPolicy { xdp, tc, audit, named, programs } = labels;
        let Named { xdp: named_for_xdp, tc: named } = named;
        let mut rules = Self { programs: own(programs), ..Self::default() };
        if let Some(XdpPolicy { presets, mode }) = *xdp {
            let (enforced, audited) = split(presets, audit.xdp);
            // The mode is the program's, where there is one: it has XDP's only place.
            let mode = if programs.xdp.is_some() { XdpMode::Auto } else { mode };
            rules.xdp = Some(XdpPolicy { presets: enforced, mode });
            rules.audited.xdp = audited;
            let origin = source.origin("xdp.policy", named_for_xdp.as_deref(), "policy");
            rules.asked.push(Asked { hook: Hook::Xdp, presets, audit: audit.xdp, origin });
        }
        let Some(tc) = tc else { return rules };
        let Audit { tc: audit, xdp: _ } = *audit;
        if let Some(presets) = tc.presets {
            let (enforced, audited) = split(presets, audit);
            let origin = source.origin("tc.policy", named.as_deref(), "policy");
            let asked = |hook| Asked { hook, presets, audit, origin: Arc::clone(&origin) };
            if tc.direction != Direction::Ingress {
                rules.egress = Some(enforced);
                rules.audited.egress = audited;
                rules.asked.push(asked(Hook::Egress));
            }
            if tc.direction != Direction::Egress {
                rules.ingress = Some(enforced);
                rules.audited.ingress = audited;
                rules.asked.push(asked(Hook::Ingress));
            }
        }
        let layers = |lists: &Lists, own_key: &str, key: &str| {
            let Lists { named: of_policy, own } = lists;
            let of_policy = of_policy.as_ref().map(|rules| {
                let origin = source.origin("tc.policy", named.as_deref(), key);
                Layer { rules: Arc::clone(rules), audit, origin }
            });
            let own = own.as_ref().map(|rules| {
                let origin = source.origin(own_key, None, key);
                Layer { rules: Arc::clone(rules), audit, origin }
            });
            of_policy.into_iter().chain(own).collect()
        };
        rules.egress_rules = layers(&tc.egress, "tc.egress", "egress");
        rules.ingress_rules = layers(&tc.ingress, "tc.ingress", "ingress");
        rules
    }
}

impl Source<'_> {
    /// What a key says, or the key of the policy that it names.
    fn origin(&self, key: &str, named: Option<&str>, key_there: &str) -> Arc<Origin> {
        let policy = named.map(|name| NamedOrigin {
            name: name.to_owned(),
            key: key_there.to_owned(),
            file: self.policies.file(name),
        });
        Arc::new(Origin { author: self.author.clone(), key: key.to_owned(), policy })
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

/// The programs that labels name, by hook.
fn own(programs: &Programs) -> BTreeMap<Hook, OwnProgram> {
    let Programs { xdp, tc } = programs;
    let own = |name: &ProgramName, mode| OwnProgram {
        name: name.clone(),
        mode,
        container: Container::default(),
    };
    let mut found = BTreeMap::new();
    if let Some((name, mode)) = xdp {
        found.insert(Hook::Xdp, own(name, *mode));
    }
    if let Some((name, direction)) = tc {
        let hooks: &[Hook] = match direction {
            Direction::Egress => &[Hook::Egress],
            Direction::Ingress => &[Hook::Ingress],
            Direction::Both => &[Hook::Egress, Hook::Ingress],
        };
        found.extend(hooks.iter().map(|hook| (*hook, own(name, XdpMode::Auto))));
    }
    found
}

impl Rules {
    /// The same, with programs that are loaded for this container.
    #[must_use]
    pub fn of_container(mut self, container: &Container) -> Self {
        for program in self.programs.values_mut() {
            program.container = container.clone();
        }
        self
    }

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
        let programs = match join(self.programs, other.programs) {
            Ok(programs) => programs,
            Err(reason) => return Demand::Close(reason),
        };
        Demand::Enforce(Self {
            xdp,
            programs,
            egress: add(self.egress, other.egress),
            ingress: add(self.ingress, other.ingress),
            egress_rules: [self.egress_rules, other.egress_rules].concat(),
            ingress_rules: [self.ingress_rules, other.ingress_rules].concat(),
            audited: Audited {
                xdp: self.audited.xdp | other.audited.xdp,
                egress: self.audited.egress | other.audited.egress,
                ingress: self.audited.ingress | other.audited.ingress,
            },
            asked: [self.asked, other.asked].concat(),
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

/// The programs of both. A hook has one, which is loaded for whose interface it is.
fn join(
    mut one: BTreeMap<Hook, OwnProgram>,
    other: BTreeMap<Hook, OwnProgram>,
) -> Result<BTreeMap<Hook, OwnProgram>, String> {
    for (hook, program) in other {
        let Some(before) = one.remove(&hook) else {
            one.insert(hook, program);
            continue;
        };
        let mode = common_mode(before.mode, program.mode).filter(|_| before.name == program.name);
        let Some(mode) = mode else {
            return Err(format!(
                "different programs are asked for at one hook ({}): {} and {}: by containers that \
                 share this interface, or by the operator's default policy and a label",
                hook.name(),
                before.name,
                program.name
            ));
        };
        let host = if before.container.is_guest { program } else { before };
        one.insert(hook, OwnProgram { mode, ..host });
    }
    Ok(one)
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

    /// What labels ask for.
    fn of(labels: &LabelPolicy) -> Rules {
        let author = Author::Labels { container: "web".to_owned() };
        Rules::of(labels, Source { author: &author, policies: &Policies::default() })
    }

    /// As [`of`], without where it was written.
    fn enforced(labels: &LabelPolicy) -> Rules {
        Rules { asked: Vec::new(), ..of(labels) }
    }

    fn label(key: &str) -> Arc<Origin> {
        let author = Author::Labels { container: "web".to_owned() };
        Arc::new(Origin { author, key: key.to_owned(), policy: None })
    }

    #[test]
    fn tc_presets_apply_where_the_direction_says() {
        let rules = |direction| {
            let presets = Some(Presets::DROP_TCP);
            let tc = Some(TcPolicy { presets, direction, ..TcPolicy::default() });
            enforced(&LabelPolicy { tc, ..LabelPolicy::default() })
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
        let own = |rules: &Arc<RuleList>| Lists { own: Some(Arc::clone(rules)), named: None };
        let tc = TcPolicy { egress: own(&one), ..TcPolicy::default() };
        let plain = LabelPolicy { tc: Some(tc), ..LabelPolicy::default() };
        let tc = TcPolicy { egress: own(&other), ingress: own(&ingress), ..TcPolicy::default() };
        let audit = Audit { xdp: false, tc: true };
        let audited = LabelPolicy { tc: Some(tc), audit, ..LabelPolicy::default() };
        let expected = Rules {
            egress_rules: vec![
                Layer { rules: one, audit: false, origin: label("tc.egress") },
                Layer { rules: other, audit: true, origin: label("tc.egress") },
            ],
            ingress_rules: vec![Layer { rules: ingress, audit: true, origin: label("tc.ingress") }],
            ..Rules::default()
        };
        assert!(expected.has_rules() && !Rules::default().has_rules());
        let [plain, audited] = [plain, audited].map(|labels| Demand::Enforce(of(&labels)));
        assert_eq!(plain.and(audited), Demand::Enforce(expected));
    }

    #[test]
    fn a_hook_has_one_program_which_is_loaded_for_whose_interface_it_is() {
        let asked = |name: &str, id: &str, is_guest| {
            let name = ProgramName::parse(name).unwrap();
            let tc = Some((name, Direction::Both));
            let programs = Programs { tc, ..Programs::default() };
            let labels = LabelPolicy { programs, ..LabelPolicy::default() };
            of(&labels).of_container(&Container { id: id.to_owned(), is_guest })
        };
        let (guest, host) = (asked("a.o", "a", true), asked("a.o", "b", false));
        assert_eq!(
            host.programs.keys().copied().collect::<Vec<_>>(),
            [Hook::Egress, Hook::Ingress]
        );
        assert_eq!(guest.clone().and(host.clone()), Demand::Enforce(host.clone()));
        assert_eq!(host.clone().and(guest.clone()), Demand::Enforce(host.clone()));
        let conflict = host.and(asked("b.o", "c", true));
        let told = matches!(&conflict, Demand::Close(why) if why.contains("a.o and b.o"));
        assert!(told, "{conflict:?}");
    }

    #[test]
    fn the_mode_is_the_programs_where_there_is_one() {
        let program = (ProgramName::parse("a.o").unwrap(), XdpMode::Native);
        let rules = enforced(&LabelPolicy {
            xdp: Some(XdpPolicy { presets: Presets::DROP_TCP, mode: XdpMode::Native }),
            programs: Programs { xdp: Some(program), tc: None },
            ..LabelPolicy::default()
        });
        let auto = XdpPolicy { presets: Presets::DROP_TCP, mode: XdpMode::Auto };
        assert_eq!(rules.xdp, Some(auto));
        assert_eq!(rules.programs.get(&Hook::Xdp).map(|own| own.mode), Some(XdpMode::Native));
    }

    #[test]
    fn an_audit_takes_from_presets_what_drops() {
        let (presets, dropped) = (Presets::DROP_TCP | Presets::LOG, Presets::DROP_TCP);
        let audited = enforced(&LabelPolicy {
            xdp: Some(XdpPolicy { presets, mode: XdpMode::Generic }),
            tc: Some(TcPolicy { presets: Some(presets), ..TcPolicy::default() }),
            audit: Audit { xdp: true, tc: true },
            ..LabelPolicy::default()
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
            let origin = label("tc.egress");
            let layer = |count| Layer {
                rules: rules(Egress, &"deny\n".repeat(count)),
                audit: false,
                origin: Arc::clone(&origin),
            };
            let egress_rules = vec![layer(count / 2), layer(count - count / 2)];
            Demand::Enforce(Rules { egress_rules, ..Rules::default() })
        };
        assert!(matches!(demand(100).and(demand(MAX_RULES - 100)), Demand::Enforce(_)));
        assert!(matches!(
            demand(100).and(demand(MAX_RULES - 99)),
            Demand::Close(reason) if reason.contains("257") && reason.contains("256")
        ));
    }

    #[test]
    fn each_part_knows_where_it_was_written() {
        let presets = Presets::DROP_UDP;
        let named = [(
            "strict".to_owned(),
            crate::labels::NamedPolicy {
                presets: Some(presets),
                egress: Some(rules(Egress, "allow dns")),
                ingress: None,
            },
        )];
        let policies = Policies::new("/p".to_owned(), named.into());
        let written = [("tc.policy", "strict"), ("tc.egress", "deny"), ("tc.audit", "true")];
        let written = written.map(|(key, value)| (key.to_owned(), value.to_owned()));
        let labels = crate::labels::parse_with(&written.into(), &policies).unwrap().unwrap();
        let author = Author::Default { file: None };
        let rules = Rules::of(&labels, Source { author: &author, policies: &policies });
        let origins = |layers: &[Layer]| -> Vec<String> {
            layers.iter().map(|layer| layer.origin.seen_by("web").to_string()).collect()
        };
        let there = "[default] tc.policy, egress of policy strict (/p/strict.toml)";
        assert_eq!(origins(&rules.egress_rules), [there, "[default] tc.egress"]);
        assert!(origins(&rules.ingress_rules).is_empty());
        let asked: Vec<(Hook, Presets, bool)> =
            rules.asked.iter().map(|asked| (asked.hook, asked.presets, asked.audit)).collect();
        assert_eq!(asked, [(Hook::Egress, presets, true), (Hook::Ingress, presets, true)]);
    }
}
