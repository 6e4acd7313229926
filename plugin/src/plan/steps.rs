//! From what stands to what is to stand, in an order that opens nothing. Pure.
//!
//! The programs at clsact, which are attached in no time, hold the whole policy while what takes
//! long is attached and detached behind them: they are called the guard.
//!
//! What a program of the operator's would let pass, nobody else can tell: where one is wanted that is
//! not attached, everything is closed until it is. One in the place of another takes it in one step.

use std::collections::{BTreeMap, BTreeSet};

use ebpf_netns::Ifindex;
use plugin_common::abi::InterfacePolicy;

use super::{Attachment, Hook, ProgramId, Refusals, Standing, Step, Target, Way};

/// The filters that close or police both directions at once.
pub const GUARD: [Way; 2] =
    [(Hook::Egress, Attachment::Clsact), (Hook::Ingress, Attachment::Clsact)];

/// The steps from one state of an interface to another. Whatever of them is done, the rest is what
/// this says for the state then.
#[must_use]
pub fn steps(
    ifindex: Ifindex,
    current: &Standing,
    wanted: &Target,
    refusals: &Refusals,
) -> Vec<Step> {
    Plan { ifindex, current, wanted, policy: current.policy, steps: Vec::new() }.make(refusals)
}

struct Plan<'a> {
    ifindex: Ifindex,
    current: &'a Standing,
    wanted: &'a Target,
    /// The entry of the policy map after the steps so far.
    policy: Option<InterfacePolicy>,
    steps: Vec<Step>,
}

impl Plan<'_> {
    fn make(mut self, refusals: &Refusals) -> Vec<Step> {
        let Self { current, wanted, .. } = self;
        let ways: BTreeSet<Way> = wanted.hooks.iter().map(|(hook, way)| (*hook, *way)).collect();
        if ways.is_empty() {
            return self.release();
        }
        let missing: BTreeSet<Way> = ways.difference(&current.ways).copied().collect();
        let surplus: BTreeSet<Way> = current.ways.difference(&ways).copied().collect();
        let fresh = current.ways.is_empty();
        let guarded = GUARD.iter().all(|way| !refusals.contains_key(way));
        let own: BTreeMap<Way, ProgramId> =
            wanted.own.iter().map(|(hook, (way, program))| ((*hook, *way), *program)).collect();
        let absent: BTreeMap<Way, ProgramId> =
            own.iter().filter(|(way, _)| !current.own.contains_key(way)).map(copied).collect();
        // What is to be closed for want of a program, and has nothing yet that could close it.
        let bare = !absent.is_empty()
            && wanted.hooks.keys().any(|hook| current.ways.iter().all(|(its, _)| its != hook));
        let enough = !bare && missing.iter().all(|way| GUARD.contains(way));
        let guards: &[Way] = if enough || !guarded { &[] } else { &GUARD };

        let interim = if !absent.is_empty() {
            InterfacePolicy::CLOSED
        } else if missing.is_empty() && surplus.is_empty() {
            wanted.policy
        } else if guarded || fresh {
            held_by_guard(wanted)
        } else {
            union(current.policy.unwrap_or_default(), held_by_guard(wanted))
        };
        // A policy stands before its first program, and changes where programs stand.
        if fresh {
            self.set(interim);
        }
        let filters = guards.iter().chain(missing.iter().filter(|way| GUARD.contains(way)));
        let filters: BTreeSet<Way> =
            filters.filter(|way| !current.ways.contains(way)).copied().collect();
        if filters.len() == GUARD.len() {
            self.steps.push(Step::Guard { ifindex: self.ifindex });
        } else {
            for way in filters {
                self.attach(way);
            }
        }
        self.set(interim);
        for way in ways.intersection(&current.inherited) {
            self.attach(*way);
        }
        for (way, program) in &own {
            if current.own.get(way).is_some_and(|before| before != program) {
                self.attach_own(*way, *program);
            }
        }
        let unwanted: BTreeMap<Way, ProgramId> =
            current.own.iter().filter(|(way, _)| !own.contains_key(way)).map(copied).collect();
        self.rearrange(&missing, &surplus, &ways, guards, (&absent, &unwanted));
        self.set(wanted.policy);
        self.steps
    }

    /// Detaches and attaches what is not the guard, and the guard's last. Of the operator's programs
    /// some are absent, and some unwanted: each is behind ours for as long as it is there.
    fn rearrange(
        &mut self,
        missing: &BTreeSet<Way>,
        surplus: &BTreeSet<Way>,
        ways: &BTreeSet<Way>,
        guards: &[Way],
        (absent, unwanted): (&BTreeMap<Way, ProgramId>, &BTreeMap<Way, ProgramId>),
    ) {
        // XDP holds one program, so another mode has to wait for the hook.
        let mut to_come = missing.iter().chain(absent.keys());
        let waits = to_come.any(|(hook, _)| *hook == Hook::Xdp);
        let is_in_the_way = |(hook, _): &&Way| waits && *hook == Hook::Xdp;
        let (first, last): (Vec<Way>, Vec<Way>) = surplus.iter().partition(is_in_the_way);
        let (first_own, last_own): (Vec<_>, Vec<_>) =
            unwanted.iter().map(copied).partition(|(way, _)| is_in_the_way(&way));
        for way in first {
            self.detach(way);
        }
        for (way, program) in first_own {
            self.detach_own(way, program);
        }
        for way in missing.iter().filter(|way| !GUARD.contains(way)) {
            self.attach(*way);
        }
        for (way, program) in absent {
            self.attach_own(*way, *program);
        }
        for (way, program) in last_own {
            self.detach_own(way, program);
        }
        let (guard, slow): (Vec<Way>, Vec<Way>) =
            last.into_iter().partition(|way| GUARD.contains(way));
        let added = guards
            .iter()
            .filter(|way| !self.current.ways.contains(way) && !ways.contains(way))
            .copied();
        for way in slow.into_iter().chain(guard).chain(added.collect::<Vec<_>>()) {
            self.detach(way);
        }
    }

    fn release(mut self) -> Vec<Step> {
        for (way, program) in &self.current.own {
            self.detach_own(*way, *program);
        }
        let ways = self.current.ways.iter().copied();
        let (guard, slow): (Vec<Way>, Vec<Way>) = ways.partition(|way| GUARD.contains(way));
        for way in slow.into_iter().chain(guard) {
            self.detach(way);
        }
        if *self.current != Standing::default() {
            self.steps.push(Step::Forget { ifindex: self.ifindex });
        }
        self.steps
    }

    fn set(&mut self, policy: InterfacePolicy) {
        // What has no entry is closed by that, and needs none to be.
        if self.policy.unwrap_or(InterfacePolicy::CLOSED) != policy {
            self.policy = Some(policy);
            self.steps.push(Step::SetPolicy { ifindex: self.ifindex, policy });
        }
    }

    fn attach(&mut self, (hook, attachment): Way) {
        self.steps.push(Step::Attach { ifindex: self.ifindex, hook, attachment });
    }

    fn detach(&mut self, (hook, attachment): Way) {
        self.steps.push(Step::Detach { ifindex: self.ifindex, hook, attachment });
    }

    fn attach_own(&mut self, way: Way, program: ProgramId) {
        self.steps.push(Step::AttachOwn { ifindex: self.ifindex, way, program });
    }

    fn detach_own(&mut self, way: Way, program: ProgramId) {
        self.steps.push(Step::DetachOwn { ifindex: self.ifindex, way, program });
    }
}

fn copied((way, program): (&Way, &ProgramId)) -> (Way, ProgramId) {
    (*way, *program)
}

/// The policy with which the guard alone enforces all that is wanted.
fn held_by_guard(wanted: &Target) -> InterfacePolicy {
    let InterfacePolicy { xdp, egress, ingress, rules } = wanted.policy;
    InterfacePolicy { xdp, egress: egress | xdp, ingress, rules }
}

/// What both drop; of rules, those that are to come.
fn union(one: InterfacePolicy, other: InterfacePolicy) -> InterfacePolicy {
    InterfacePolicy {
        xdp: one.xdp | other.xdp,
        egress: one.egress | other.egress,
        ingress: one.ingress | other.ingress,
        rules: other.rules,
    }
}

#[cfg(test)]
mod tests {
    use plugin_common::presets::Presets;

    use super::*;

    const XDP: Way = (Hook::Xdp, Attachment::XdpGeneric);
    const NATIVE: Way = (Hook::Xdp, Attachment::XdpNative);
    const EGRESS: Way = (Hook::Egress, Attachment::Tcx);
    const FILTER: Way = (Hook::Egress, Attachment::Clsact);
    const INGRESS: Way = (Hook::Ingress, Attachment::Tcx);

    fn policy(xdp: Presets, egress: Presets) -> InterfacePolicy {
        InterfacePolicy { xdp, egress, ingress: Presets::PASS, rules: 0 }
    }

    fn target(xdp: Presets, egress: Presets, ways: &[Way]) -> Target {
        let hooks = ways.iter().copied().collect();
        Target { policy: policy(xdp, egress), hooks, own: BTreeMap::new() }
    }

    fn standing(xdp: Presets, egress: Presets, ways: &[Way]) -> Standing {
        Standing {
            policy: Some(policy(xdp, egress)),
            ways: ways.iter().copied().collect(),
            ..Standing::default()
        }
    }

    fn words(current: &Standing, wanted: &Target, refusals: &Refusals) -> Vec<String> {
        let ifindex = Ifindex::try_from(7).unwrap();
        let steps = steps(ifindex, current, wanted, refusals);
        steps
            .iter()
            .map(|step| match step {
                Step::SetPolicy { policy, .. } => {
                    format!("set {} {}", policy.xdp.bits(), policy.egress.bits())
                }
                Step::Attach { hook, attachment, .. } => {
                    format!("+{} {}", hook.name(), attachment.name())
                }
                Step::Detach { hook, attachment, .. } => {
                    format!("-{} {}", hook.name(), attachment.name())
                }
                Step::Guard { .. } => "guard".to_owned(),
                Step::AttachOwn { way: (hook, attachment), program, .. } => {
                    format!("+{program} at {} {}", hook.name(), attachment.name())
                }
                Step::DetachOwn { way: (hook, attachment), .. } => {
                    format!("-own at {} {}", hook.name(), attachment.name())
                }
                Step::Forget { .. } => "forget".to_owned(),
            })
            .collect()
    }

    #[track_caller]
    fn check(current: &Standing, wanted: &Target, expected: &[&str]) {
        assert_eq!(words(current, wanted, &Refusals::new()), expected, "{current:?} {wanted:?}");
    }

    #[test]
    fn the_guard_holds_the_policy_while_its_programs_are_attached() {
        let wanted = target(Presets::DROP_TCP, Presets::PASS, &[XDP]);
        check(
            &Standing::default(),
            &wanted,
            &["set 2 2", "guard", "+xdp generic", "-egress clsact", "-ingress clsact", "set 2 0"],
        );
    }

    #[test]
    fn a_quarantine_becomes_a_policy_by_one_write_and_the_rest_follows() {
        let closed = standing(Presets::UNASSIGNED, Presets::UNASSIGNED, &GUARD);
        check(
            &closed,
            &target(Presets::PASS, Presets::DROP_TCP, &[EGRESS]),
            &["set 0 2", "+egress tcx", "-egress clsact", "-ingress clsact"],
        );
        let both = [FILTER, (Hook::Ingress, Attachment::Clsact)];
        check(&closed, &target(Presets::PASS, Presets::DROP_TCP, &both), &["set 0 2"]);
    }

    #[test]
    fn filters_need_no_guard() {
        let wanted = target(Presets::PASS, Presets::DROP_TCP, &[FILTER]);
        check(&Standing::default(), &wanted, &["set 0 2", "+egress clsact"]);
    }

    #[test]
    fn a_change_of_policy_is_one_map_write() {
        let old = standing(Presets::DROP_TCP, Presets::PASS, &[XDP]);
        check(&old, &target(Presets::DROP_UDP, Presets::PASS, &[XDP]), &["set 4 0"]);
    }

    #[test]
    fn moving_between_hooks_opens_nothing() {
        let old = standing(Presets::DROP_TCP, Presets::PASS, &[XDP]);
        check(
            &old,
            &target(Presets::PASS, Presets::DROP_TCP, &[EGRESS]),
            &[
                "guard",
                "set 0 2",
                "+egress tcx",
                "-xdp generic",
                "-egress clsact",
                "-ingress clsact",
            ],
        );
    }

    #[test]
    fn another_xdp_mode_waits_for_the_hook_behind_the_guard() {
        let old = standing(Presets::DROP_TCP, Presets::PASS, &[XDP]);
        check(
            &old,
            &target(Presets::DROP_TCP, Presets::PASS, &[NATIVE]),
            &[
                "guard",
                "set 2 2",
                "-xdp generic",
                "+xdp native",
                "-egress clsact",
                "-ingress clsact",
                "set 2 0",
            ],
        );
    }

    #[test]
    fn without_a_guard_both_policies_hold_meanwhile() {
        let refusals = Refusals::from([(FILTER, "no clsact here".to_owned())]);
        let old = standing(Presets::DROP_TCP, Presets::PASS, &[XDP]);
        let wanted = target(Presets::PASS, Presets::DROP_UDP, &[EGRESS]);
        let expected = ["set 2 4", "+egress tcx", "-xdp generic", "set 0 4"];
        assert_eq!(words(&old, &wanted, &refusals), expected);
    }

    #[test]
    fn what_an_earlier_daemon_attached_is_replaced_in_place() {
        let wanted = target(Presets::PASS, Presets::DROP_TCP, &[EGRESS]);
        let same = standing(Presets::PASS, Presets::DROP_TCP, &[EGRESS]);
        let inherited = same.ways.clone();
        let same = Standing { inherited, ..same };
        check(&same, &wanted, &["+egress tcx"]);
        // A new layout has new maps, which are filled first.
        let unknown = Standing { policy: None, ..same };
        check(&unknown, &wanted, &["set 0 2", "+egress tcx"]);
    }

    #[test]
    fn nothing_stays_of_what_is_released_and_the_guard_goes_last() {
        let old = standing(Presets::DROP_TCP, Presets::DROP_TCP, &[XDP, EGRESS, FILTER]);
        check(
            &old,
            &Target::default(),
            &["-xdp generic", "-egress tcx", "-egress clsact", "forget"],
        );
    }

    #[test]
    fn no_change_is_no_step() {
        let same = standing(Presets::DROP_TCP, Presets::PASS, &[XDP]);
        check(&same, &target(Presets::DROP_TCP, Presets::PASS, &[XDP]), &[]);
        check(&Standing::default(), &Target::default(), &[]);
    }

    /// What is dropped of what the container sends, by any program.
    fn dropped(state: &Standing) -> Presets {
        let policy = state.policy.unwrap_or(policy(Presets::UNASSIGNED, Presets::UNASSIGNED));
        state.ways.iter().fold(Presets::PASS, |sum, (hook, _)| match hook {
            Hook::Xdp => sum | policy.xdp,
            Hook::Egress => sum | policy.egress,
            Hook::Ingress => sum,
        })
    }

    fn after(state: &Standing, step: &Step) -> Standing {
        let mut state = state.clone();
        match step {
            Step::SetPolicy { policy, .. } => state.policy = Some(*policy),
            Step::Attach { hook, attachment, .. } => {
                state.ways.insert((*hook, *attachment));
                state.inherited.remove(&(*hook, *attachment));
            }
            Step::Guard { .. } => state.ways.extend(GUARD),
            Step::Detach { hook, attachment, .. } => {
                state.ways.remove(&(*hook, *attachment));
            }
            Step::AttachOwn { way, program, .. } => {
                state.own.insert(*way, *program);
            }
            Step::DetachOwn { way, .. } => {
                state.own.remove(way);
            }
            Step::Forget { .. } => state = Standing::default(),
        }
        state
    }

    /// From every set of programs to every other: at each step what both policies drop is dropped,
    /// and from each step on the plan made anew ends in the same.
    #[test]
    fn at_each_step_what_both_policies_drop_is_dropped() {
        let ways = [XDP, NATIVE, EGRESS, FILTER, INGRESS];
        let sets = |keep: fn(&[Way]) -> bool| {
            (0..1_u32 << ways.len())
                .map(move |set| {
                    let chosen = (0..).zip(ways).filter(|(bit, _)| set & (1 << bit) != 0);
                    chosen.map(|(_, way)| way).collect::<Vec<Way>>()
                })
                .filter(move |set| keep(set))
        };
        let one_a_hook = |set: &[Way]| {
            !(set.contains(&XDP) && set.contains(&NATIVE)
                || set.contains(&EGRESS) && set.contains(&FILTER))
        };
        let egress = |set: &[Way]| set.iter().any(|(hook, _)| *hook == Hook::Egress);
        let xdp = |set: &[Way]| set.iter().any(|(hook, _)| *hook == Hook::Xdp);
        let both = Presets::DROP_TCP;
        for old in sets(|set| !(set.contains(&XDP) && set.contains(&NATIVE))) {
            for new in sets(one_a_hook) {
                if !(egress(&old) || xdp(&old)) || !(egress(&new) || xdp(&new)) {
                    continue;
                }
                let presets = |set: &[Way], own: Presets| {
                    let of = |there: bool| if there { both | own } else { Presets::PASS };
                    (of(xdp(set)), of(egress(set)))
                };
                let (old_xdp, old_egress) = presets(&old, Presets::DROP_UDP);
                let (new_xdp, new_egress) = presets(&new, Presets::DROP_ICMP);
                let wanted = target(new_xdp, new_egress, &new);
                let mut state = standing(old_xdp, old_egress, &old);
                let ifindex = Ifindex::try_from(7).unwrap();
                let plan = steps(ifindex, &state, &wanted, &Refusals::new());
                for step in &plan {
                    state = after(&state, step);
                    assert!(
                        dropped(&state).contains(both),
                        "{old:?} {new:?}: {step:?} in {plan:?}"
                    );
                    let mut rest = state.clone();
                    for step in steps(ifindex, &state, &wanted, &Refusals::new()) {
                        rest = after(&rest, &step);
                        assert!(dropped(&rest).contains(both), "{old:?} {new:?}: {step:?}");
                    }
                    assert_eq!(rest, standing(new_xdp, new_egress, &new), "{old:?} {new:?}");
                }
            }
        }
    }

    /// A target or a state with programs of the operator's.
    const OWN: Way = (Hook::Xdp, Attachment::XdpGeneric);

    fn wants(program: Option<ProgramId>) -> Target {
        let own = program.map(|program| (Hook::Xdp, (Attachment::XdpGeneric, program)));
        Target { own: own.into_iter().collect(), ..target(Presets::PASS, Presets::PASS, &[EGRESS]) }
    }

    fn has(policy: InterfacePolicy, ways: &[Way], own: &[(Way, ProgramId)]) -> Standing {
        Standing {
            policy: Some(policy),
            own: own.iter().copied().collect(),
            ..standing(Presets::PASS, Presets::PASS, ways)
        }
    }

    #[test]
    fn all_is_closed_until_a_program_stands() {
        let all = [
            "guard",
            "+egress tcx",
            "+7 at xdp generic",
            "-egress clsact",
            "-ingress clsact",
            "set 0 0",
        ];
        check(&Standing::default(), &wants(Some(7)), &all);
        let closed = InterfacePolicy::CLOSED;
        check(
            &has(closed, &[FILTER, EGRESS], &[]),
            &wants(Some(7)),
            &["+7 at xdp generic", "-egress clsact", "set 0 0"],
        );
        check(&has(closed, &[EGRESS], &[(OWN, 7)]), &wants(Some(7)), &["set 0 0"]);
        // Somebody took it off.
        let set = format!("set {0} {0}", Presets::UNASSIGNED.bits());
        let open = InterfacePolicy::default();
        check(&has(open, &[EGRESS], &[]), &wants(Some(7)), &[&set, "+7 at xdp generic", "set 0 0"]);
    }

    #[test]
    fn a_program_takes_the_place_of_another_in_one_step() {
        let open = InterfacePolicy::default();
        check(&has(open, &[EGRESS], &[(OWN, 7)]), &wants(Some(8)), &["+8 at xdp generic"]);
        check(&has(open, &[EGRESS], &[(OWN, 7)]), &wants(Some(7)), &[]);
    }

    #[test]
    fn a_program_goes_when_what_is_wanted_stands() {
        let open = InterfacePolicy::default();
        check(&has(open, &[EGRESS], &[(OWN, 7)]), &wants(None), &["-own at xdp generic"]);
        let ours = target(Presets::DROP_TCP, Presets::PASS, &[XDP]);
        let bits = Presets::DROP_TCP.bits();
        let held = format!("set {bits} {bits}");
        let alone = format!("set {bits} 0");
        check(
            &has(open, &[EGRESS], &[(OWN, 7)]),
            &ours,
            &[
                "guard",
                &held,
                "-own at xdp generic",
                "+xdp generic",
                "-egress tcx",
                "-egress clsact",
                "-ingress clsact",
                &alone,
            ],
        );
        let native = (Hook::Xdp, Attachment::XdpNative);
        let set = format!("set {0} {0}", Presets::UNASSIGNED.bits());
        check(
            &has(open, &[EGRESS], &[(native, 7)]),
            &wants(Some(7)),
            &[&set, "-own at xdp native", "+7 at xdp generic", "set 0 0"],
        );
        check(
            &has(open, &[FILTER], &[((Hook::Egress, Attachment::Clsact), 7)]),
            &Target::default(),
            &["-own at egress clsact", "-egress clsact", "forget"],
        );
    }
}
