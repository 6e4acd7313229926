//! From what is demanded and what was refused to what is to be attached. Pure.
//!
//! What cannot be attached in one way is tried in the next that gives the same verdicts; where none
//! is left, the interface is closed. A mode that was asked for by name is used or the interface is
//! closed, never swapped for another.

use plugin_common::abi::InterfacePolicy;
use plugin_common::presets::Presets;

use super::{Attachment, Hook, OwnPrograms, Refusals, Target, TcFlavour};
use crate::labels::{XdpMode, XdpPolicy};
use crate::policy::{Demand, Rules, add};

/// What is to be attached to one interface, and what a user should know about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// What is to be attached.
    pub target: Target,
    /// What that amounts to.
    pub outcome: Outcome,
    /// Why it is attached as it is.
    pub notes: Vec<String>,
}

/// What a choice amounts to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The policy is enforced.
    Enforced,
    /// Nothing passes, for this reason.
    Closed(String),
    /// Not everything could be stopped, for this reason: a person must act.
    Open(String),
}

/// Why `auto` means generic on a veth.
const AUTO_IS_GENERIC: &str =
    "xdp.mode auto: generic, since native XDP on a veth turns off its peer's segmentation offload";

/// Chooses what to attach.
#[must_use]
pub fn choose(demand: &Demand, own: &OwnPrograms, tc: TcFlavour, refusals: &Refusals) -> Choice {
    match demand {
        Demand::Close(reason) => closed(reason.clone(), tc_ways(tc), refusals),
        Demand::Enforce(rules) => match enforce(rules, own, tc, refusals) {
            Ok(choice) => choice,
            Err(reason) => closed(reason, tc_ways(tc), refusals),
        },
    }
}

/// Closes an interface of which it is not known yet whose it is, by what is attached quickest.
#[must_use]
pub fn quarantine(reason: String, refusals: &Refusals) -> Choice {
    let mut choice = closed(reason, &[Attachment::Clsact, Attachment::Tcx], refusals);
    // Counted apart from what a policy drops.
    let InterfacePolicy { xdp, egress, ingress, rules: _ } = &mut choice.target.policy;
    for presets in [xdp, egress, ingress] {
        *presets = Presets::UNASSIGNED;
    }
    choice.notes.clear();
    choice
}

fn enforce(
    rules: &Rules,
    own: &OwnPrograms,
    tc: TcFlavour,
    refusals: &Refusals,
) -> Result<Choice, String> {
    let mut choice =
        Choice { target: Target::default(), outcome: Outcome::Enforced, notes: Vec::new() };
    let rules = &leave_xdp_to_program(rules, &mut choice.notes)?;
    if rules.needs_rules() {
        place_rules(rules, tc_ways(tc), refusals, &mut choice)?;
    } else {
        place_presets(rules, tc, refusals, &mut choice)?;
    }
    place_programs(rules, own, (tc_ways(tc), refusals), &mut choice)?;
    Ok(choice)
}

/// XDP has one place: what `xdp.policy` asks for is for TC where a program of the operator's has it.
fn leave_xdp_to_program(rules: &Rules, notes: &mut Vec<String>) -> Result<Rules, String> {
    let mut rules = rules.clone();
    if !rules.programs.contains_key(&Hook::Xdp) {
        return Ok(rules);
    }
    let Some(XdpPolicy { presets, mode }) = rules.xdp.take() else { return Ok(rules) };
    if mode != XdpMode::Auto {
        return Err("xdp.program has the only place that XDP has, and xdp.policy is to be there \
                    too, in the mode of xdp.mode: ask for one of them, or leave out xdp.mode"
            .to_owned());
    }
    rules.egress = add(rules.egress, Some(presets));
    notes.push(
        "TC applies xdp.policy, with the same verdicts: xdp.program has XDP's place".to_owned(),
    );
    Ok(rules)
}

/// Places the operator's programs, and ours at TC in the same direction: what ours lets pass goes to
/// theirs at TC, and what theirs lets pass at XDP comes to ours.
fn place_programs(
    rules: &Rules,
    own: &OwnPrograms,
    (tc, refusals): (&[Attachment], &Refusals),
    choice: &mut Choice,
) -> Result<(), String> {
    for (hook, program) in &rules.programs {
        let Some(id) = own.loaded.get(hook) else {
            return Err(format!("{}: is not loaded: a bug", program.name));
        };
        let at_tc = if *hook == Hook::Xdp { Hook::Egress } else { *hook };
        let attachment = if let Some(attachment) = choice.target.hooks.get(&at_tc) {
            *attachment
        } else {
            let attachment = first_left(at_tc, tc, refusals)?;
            note_fallback(at_tc, tc, attachment, refusals, &mut choice.notes);
            choice.target.hooks.insert(at_tc, attachment);
            attachment
        };
        let ways = if *hook == Hook::Xdp { xdp_ways(program.mode) } else { &[attachment] };
        let taken = first_left(*hook, ways, &own.refusals)?;
        if *hook == Hook::Xdp {
            if program.mode == XdpMode::Auto && taken == Attachment::XdpGeneric {
                choice.notes.push(AUTO_IS_GENERIC.to_owned());
            }
            note_fallback(*hook, ways, taken, &own.refusals, &mut choice.notes);
        }
        choice.target.own.insert(*hook, (taken, *id));
    }
    Ok(())
}

fn place_presets(
    rules: &Rules,
    tc: TcFlavour,
    refusals: &Refusals,
    choice: &mut Choice,
) -> Result<(), String> {
    let mut egress = rules.egress;
    if let Some(xdp) = rules.xdp {
        egress = add(egress, place_xdp(xdp, refusals, choice)?);
    }
    if let Some(presets) = egress {
        place_egress(presets, tc_ways(tc), refusals, choice)?;
    }
    if let Some(presets) = rules.ingress {
        let attachment = first_left(Hook::Ingress, tc_ways(tc), refusals)?;
        note_fallback(Hook::Ingress, tc_ways(tc), attachment, refusals, &mut choice.notes);
        choice.target.policy.ingress = presets;
        choice.target.hooks.insert(Hook::Ingress, attachment);
    }
    Ok(())
}

/// Places rules at TC, which sees both directions: a connection is known by what both sides send.
fn place_rules(
    rules: &Rules,
    tc: &[Attachment],
    refusals: &Refusals,
    choice: &mut Choice,
) -> Result<(), String> {
    let mut egress = rules.egress;
    if let Some(xdp) = rules.xdp {
        egress = add(egress, place_xdp(xdp, refusals, choice)?);
    }
    for (hook, presets) in [(Hook::Egress, egress), (Hook::Ingress, rules.ingress)] {
        let attachment = first_left(hook, tc, refusals)?;
        note_fallback(hook, tc, attachment, refusals, &mut choice.notes);
        choice.target.hooks.insert(hook, attachment);
        let place = match hook {
            Hook::Ingress => &mut choice.target.policy.ingress,
            Hook::Egress | Hook::Xdp => &mut choice.target.policy.egress,
        };
        *place = presets.unwrap_or(Presets::PASS);
    }
    Ok(())
}

/// Places XDP. Returns the presets that TC has to apply in its stead, which `auto` allows.
fn place_xdp(
    xdp: XdpPolicy,
    refusals: &Refusals,
    choice: &mut Choice,
) -> Result<Option<Presets>, String> {
    let ways = xdp_ways(xdp.mode);
    match first_left(Hook::Xdp, ways, refusals) {
        Ok(attachment) => {
            choice.target.policy.xdp = xdp.presets;
            choice.target.hooks.insert(Hook::Xdp, attachment);
            if xdp.mode == XdpMode::Auto && attachment == Attachment::XdpGeneric {
                choice.notes.push(AUTO_IS_GENERIC.to_owned());
            }
            note_fallback(Hook::Xdp, ways, attachment, refusals, &mut choice.notes);
            Ok(None)
        }
        Err(reason) if xdp.mode == XdpMode::Auto => {
            choice
                .notes
                .push(format!("{reason}; TC applies xdp.policy instead, with the same verdicts"));
            Ok(Some(xdp.presets))
        }
        Err(reason) => Err(reason),
    }
}

/// Places what the container sends at TC, or at generic XDP, which sees the same packets.
fn place_egress(
    presets: Presets,
    tc: &[Attachment],
    refusals: &Refusals,
    choice: &mut Choice,
) -> Result<(), String> {
    match first_left(Hook::Egress, tc, refusals) {
        Ok(attachment) => {
            note_fallback(Hook::Egress, tc, attachment, refusals, &mut choice.notes);
            choice.target.policy.egress = presets;
            choice.target.hooks.insert(Hook::Egress, attachment);
        }
        Err(reason) => {
            let attachment = match choice.target.hooks.get(&Hook::Xdp) {
                Some(attachment) => *attachment,
                None => first_left(Hook::Xdp, xdp_ways(XdpMode::Auto), refusals)?,
            };
            choice.notes.push(format!("{reason}; XDP applies tc.policy to egress instead"));
            choice.target.policy.xdp = choice.target.policy.xdp | presets;
            choice.target.hooks.insert(Hook::Xdp, attachment);
        }
    }
    Ok(())
}

/// Lets nothing pass, by whatever can be attached.
fn closed(reason: String, tc: &[Attachment], refusals: &Refusals) -> Choice {
    let mut choice =
        Choice { target: Target::default(), outcome: Outcome::Enforced, notes: Vec::new() };
    let egress = place_egress(Presets::CLOSED, tc, refusals, &mut choice);
    let ingress = first_left(Hook::Ingress, tc, refusals).map(|attachment| {
        choice.target.policy.ingress = Presets::CLOSED;
        choice.target.hooks.insert(Hook::Ingress, attachment);
    });
    choice.outcome = match (egress, ingress) {
        (Ok(()), Ok(())) => Outcome::Closed(reason),
        (Err(why), _) => Outcome::Open(format!("{reason}; what it sends cannot be stopped: {why}")),
        (_, Err(why)) => {
            Outcome::Open(format!("{reason}; what it receives cannot be stopped: {why}"))
        }
    };
    choice
}

const fn xdp_ways(mode: XdpMode) -> &'static [Attachment] {
    match mode {
        XdpMode::Auto => &[Attachment::XdpGeneric, Attachment::XdpNative],
        XdpMode::Native => &[Attachment::XdpNative],
        XdpMode::Generic => &[Attachment::XdpGeneric],
        XdpMode::Offload => &[Attachment::XdpOffload],
    }
}

const fn tc_ways(tc: TcFlavour) -> &'static [Attachment] {
    match tc {
        TcFlavour::Auto => &[Attachment::Tcx, Attachment::Clsact],
        TcFlavour::Tcx => &[Attachment::Tcx],
        TcFlavour::Clsact => &[Attachment::Clsact],
    }
}

/// The first way that was not refused, or the reasons for which all were.
fn first_left(hook: Hook, ways: &[Attachment], refusals: &Refusals) -> Result<Attachment, String> {
    ways.iter().copied().find(|way| !refusals.contains_key(&(hook, *way))).ok_or_else(|| {
        let mut reasons: Vec<&str> =
            ways.iter().filter_map(|way| refusals.get(&(hook, *way))).map(String::as_str).collect();
        reasons.dedup();
        reasons.join("; ")
    })
}

/// Says why an earlier way than the one taken was not.
fn note_fallback(
    hook: Hook,
    ways: &[Attachment],
    taken: Attachment,
    refusals: &Refusals,
    notes: &mut Vec<String>,
) {
    for way in ways.iter().take_while(|way| **way != taken) {
        if let Some(reason) = refusals.get(&(hook, *way)).filter(|reason| !notes.contains(reason)) {
            notes.push(reason.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::labels::{self, Policies};
    use crate::origin::Author;
    use crate::policy::Source;

    const BUSY: &str = "the hook is busy";
    const OLD: &str = "the kernel is old";

    fn xdp(mode: XdpMode) -> Demand {
        let xdp = Some(XdpPolicy { presets: Presets::DROP_TCP, mode });
        Demand::Enforce(Rules { xdp, ..Rules::default() })
    }

    fn tc() -> Demand {
        let presets = Some(Presets::DROP_UDP);
        Demand::Enforce(Rules { egress: presets, ingress: presets, ..Rules::default() })
    }

    fn refused(list: &[(Hook, Attachment, &str)]) -> Refusals {
        list.iter().map(|(hook, way, why)| ((*hook, *way), (*why).to_owned())).collect()
    }

    /// What is attached, and whether the policy is enforced.
    #[track_caller]
    fn check(
        demand: &Demand,
        refusals: &[(Hook, Attachment, &str)],
        hooks: &[(Hook, Attachment)],
    ) -> Choice {
        let choice = choose(demand, &OwnPrograms::default(), TcFlavour::Auto, &refused(refusals));
        let expected = hooks.iter().copied().collect();
        assert_eq!(choice.target.hooks, expected, "{demand:?} with {refusals:?}");
        choice
    }

    #[test]
    fn auto_takes_generic_and_says_why() {
        let choice = check(&xdp(XdpMode::Auto), &[], &[(Hook::Xdp, Attachment::XdpGeneric)]);
        assert_eq!(choice.outcome, Outcome::Enforced);
        assert_eq!(choice.target.policy.xdp, Presets::DROP_TCP);
        assert!(choice.notes.iter().any(|note| note.contains("segmentation")), "{choice:?}");
    }

    #[test]
    fn auto_goes_on_to_native_and_then_to_tc() {
        let generic = (Hook::Xdp, Attachment::XdpGeneric, BUSY);
        let native = (Hook::Xdp, Attachment::XdpNative, BUSY);
        check(&xdp(XdpMode::Auto), &[generic], &[(Hook::Xdp, Attachment::XdpNative)]);
        let choice =
            check(&xdp(XdpMode::Auto), &[generic, native], &[(Hook::Egress, Attachment::Tcx)]);
        assert_eq!(choice.outcome, Outcome::Enforced);
        assert_eq!(choice.target.policy.egress, Presets::DROP_TCP);
        assert!(choice.notes.iter().any(|note| note.contains(BUSY)), "{choice:?}");
    }

    #[test]
    fn a_mode_asked_for_by_name_is_used_or_the_interface_is_closed() {
        for (mode, way) in [
            (XdpMode::Native, Attachment::XdpNative),
            (XdpMode::Generic, Attachment::XdpGeneric),
            (XdpMode::Offload, Attachment::XdpOffload),
        ] {
            check(&xdp(mode), &[], &[(Hook::Xdp, way)]);
            let both = [(Hook::Egress, Attachment::Tcx), (Hook::Ingress, Attachment::Tcx)];
            let choice = check(&xdp(mode), &[(Hook::Xdp, way, BUSY)], &both);
            assert_eq!(choice.outcome, Outcome::Closed(BUSY.to_owned()));
            assert_eq!(choice.target.policy.egress, Presets::CLOSED);
            assert_eq!(choice.target.policy.ingress, Presets::CLOSED);
        }
    }

    #[test]
    fn tc_falls_back_to_clsact_on_an_old_kernel() {
        let old = [(Hook::Egress, Attachment::Tcx, OLD), (Hook::Ingress, Attachment::Tcx, OLD)];
        let clsact = [(Hook::Egress, Attachment::Clsact), (Hook::Ingress, Attachment::Clsact)];
        let choice = check(&tc(), &old, &clsact);
        assert_eq!(choice.outcome, Outcome::Enforced);
        assert_eq!(choice.notes, [OLD], "said once");
    }

    #[test]
    fn a_forced_flavour_is_not_swapped() {
        let choice = choose(
            &tc(),
            &OwnPrograms::default(),
            TcFlavour::Tcx,
            &refused(&[
                (Hook::Egress, Attachment::Tcx, OLD),
                (Hook::Ingress, Attachment::Tcx, OLD),
            ]),
        );
        assert!(
            matches!(choice.outcome, Outcome::Open(ref why) if why.contains(OLD)),
            "{choice:?}"
        );
        assert_eq!(choice.target.policy.xdp, Presets::CLOSED, "what can be closed is");
    }

    #[test]
    fn rules_take_both_directions_at_tc() {
        for pairs in [
            &[("tc.egress", "allow any")][..],
            &[("tc.ingress", "allow any"), ("tc.audit", "true")],
            &[("tc.policy", "drop-tcp"), ("tc.audit", "true")],
            &[("xdp.policy", "drop-tcp"), ("xdp.audit", "true")],
        ] {
            let owned = pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
            let policy = labels::parse(&owned.collect()).unwrap().unwrap();
            let (author, policies) = (Author::Default { file: None }, Policies::default());
            let source = Source { author: &author, policies: &policies };
            let demand = Demand::Enforce(Rules::of(&policy, source));
            let choice =
                choose(&demand, &OwnPrograms::default(), TcFlavour::Auto, &Refusals::new());
            assert_eq!(choice.outcome, Outcome::Enforced, "{pairs:?}");
            for hook in [Hook::Egress, Hook::Ingress] {
                let attachment = choice.target.hooks.get(&hook);
                assert_eq!(attachment, Some(&Attachment::Tcx), "{pairs:?}");
            }
        }
    }

    #[test]
    fn a_demand_to_close_closes_both_directions() {
        let demand = Demand::Close("bad label".to_owned());
        let both = [(Hook::Egress, Attachment::Tcx), (Hook::Ingress, Attachment::Tcx)];
        let choice = check(&demand, &[], &both);
        assert_eq!(choice.outcome, Outcome::Closed("bad label".to_owned()));
    }

    #[test]
    fn whatever_is_refused_nothing_is_looser_than_asked() {
        let ways = [
            (Hook::Xdp, Attachment::XdpGeneric),
            (Hook::Xdp, Attachment::XdpNative),
            (Hook::Egress, Attachment::Tcx),
            (Hook::Egress, Attachment::Clsact),
            (Hook::Ingress, Attachment::Tcx),
            (Hook::Ingress, Attachment::Clsact),
        ];
        for set in 0..1_u32 << ways.len() {
            let refusals: Refusals = (0_u32..)
                .zip(ways)
                .filter(|(bit, _)| set & (1 << bit) != 0)
                .map(|(_, way)| (way, BUSY.to_owned()))
                .collect();
            for demand in [xdp(XdpMode::Auto), xdp(XdpMode::Native), tc()] {
                let Choice { target, outcome, .. } =
                    choose(&demand, &OwnPrograms::default(), TcFlavour::Auto, &refusals);
                assert!(
                    target.hooks.iter().all(|(hook, way)| !refusals.contains_key(&(*hook, *way)))
                );
                if outcome != Outcome::Enforced {
                    continue;
                }
                let Demand::Enforce(rules) = demand else { unreachable!() };
                let seen = target.policy.xdp | target.policy.egress;
                let asked = rules.xdp.map_or(Presets::PASS, |xdp| xdp.presets)
                    | rules.egress.unwrap_or_default();
                assert!(seen.contains(asked), "{rules:?} {refusals:?}");
                assert!(target.policy.ingress.contains(rules.ingress.unwrap_or_default()));
            }
        }
    }

    /// Labels that name a program, with what is loaded at each hook.
    fn with_programs(labels: &[(&str, &str)], own: &OwnPrograms, refusals: &Refusals) -> Choice {
        let owned = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        let policy = labels::parse(&owned.collect()).unwrap().unwrap();
        let (author, policies) = (Author::Default { file: None }, Policies::default());
        let source = Source { author: &author, policies: &policies };
        choose(&Demand::Enforce(Rules::of(&policy, source)), own, TcFlavour::Auto, refusals)
    }

    fn loaded() -> OwnPrograms {
        let loaded = [(Hook::Xdp, 7), (Hook::Egress, 8), (Hook::Ingress, 8)].into();
        OwnPrograms { loaded, refusals: Refusals::new() }
    }

    #[test]
    fn a_program_has_ours_beside_it_in_its_direction() {
        let choice = with_programs(&[("xdp.program", "a.o")], &loaded(), &Refusals::new());
        assert_eq!(choice.target.hooks, [(Hook::Egress, Attachment::Tcx)].into());
        assert_eq!(choice.target.own, [(Hook::Xdp, (Attachment::XdpGeneric, 7))].into());
        assert_eq!(choice.target.policy, InterfacePolicy::default(), "ours lets all pass");
        let old =
            refused(&[(Hook::Egress, Attachment::Tcx, OLD), (Hook::Ingress, Attachment::Tcx, OLD)]);
        let choice = with_programs(&[("tc.program", "a.o")], &loaded(), &old);
        let both = [Hook::Egress, Hook::Ingress].map(|hook| (hook, Attachment::Clsact));
        assert_eq!(choice.target.hooks, both.into());
        let own = both.map(|(hook, attachment)| (hook, (attachment, 8)));
        assert_eq!(choice.target.own, own.into(), "in the way that ours is attached");
    }

    #[test]
    fn what_xdp_policy_drops_is_dropped_by_tc_beside_a_program() {
        let labels = [("xdp.program", "a.o"), ("xdp.policy", "drop-tcp"), ("xdp.mode", "native")];
        let Choice { target, outcome, notes } = with_programs(&labels, &loaded(), &Refusals::new());
        assert_eq!(outcome, Outcome::Enforced);
        assert_eq!(target.policy.egress, Presets::DROP_TCP);
        assert_eq!(target.hooks, [(Hook::Egress, Attachment::Tcx)].into());
        assert_eq!(target.own, [(Hook::Xdp, (Attachment::XdpNative, 7))].into());
        assert!(notes.iter().any(|note| note.contains("TC applies xdp.policy")), "{notes:?}");
    }

    #[test]
    fn a_program_that_cannot_be_attached_closes_the_interface() {
        let xdp = |modes: &[Attachment]| {
            let ways: Vec<_> = modes.iter().map(|mode| (Hook::Xdp, *mode, "busy")).collect();
            OwnPrograms { refusals: refused(&ways), ..loaded() }
        };
        let generic = xdp(&[Attachment::XdpGeneric]);
        let choice = with_programs(&[("xdp.program", "a.o")], &generic, &Refusals::new());
        assert_eq!(choice.target.own, [(Hook::Xdp, (Attachment::XdpNative, 7))].into());
        let named = [("xdp.program", "a.o"), ("xdp.mode", "generic")];
        let none = xdp(&[Attachment::XdpGeneric, Attachment::XdpNative]);
        let tc =
            OwnPrograms { refusals: refused(&[(Hook::Ingress, Attachment::Tcx, OLD)]), ..loaded() };
        for (labels, own) in [
            (&named[..], generic),
            (&[("xdp.program", "a.o")], none),
            (&[("tc.program", "a.o")], tc),
        ] {
            let choice = with_programs(labels, &own, &Refusals::new());
            assert!(matches!(choice.outcome, Outcome::Closed(_)), "{labels:?}: {choice:?}");
            assert_eq!(choice.target.policy.ingress, Presets::CLOSED);
            assert!(choice.target.own.is_empty() && choice.target.hooks.len() == 2, "{choice:?}");
        }
    }
}
