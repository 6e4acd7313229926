//! From what is attached to what is to be attached, in an order that opens nothing. Pure.

use ebpf_netns::Ifindex;
use plugin_common::abi::InterfacePolicy;

use super::{Hook, Step, Target};

/// The steps from one state of an interface to another.
///
/// While programs come and go, the policy map holds the union of both policies: whatever the old
/// or the new attachment would have dropped is dropped throughout.
#[must_use]
pub fn steps(ifindex: Ifindex, current: &Target, wanted: &Target) -> Vec<Step> {
    if current == wanted {
        return Vec::new();
    }
    let mut steps = Vec::new();
    let fresh = current.hooks.is_empty();
    let rearranged = current.hooks != wanted.hooks;
    let interim = if fresh { wanted.policy } else { union(current.policy, wanted.policy) };
    if rearranged && !wanted.hooks.is_empty() && (fresh || interim != current.policy) {
        steps.push(Step::SetPolicy { ifindex, policy: interim });
    }
    let (detach_first, detach_last) = detachments(ifindex, current, wanted);
    steps.extend(detach_first);
    for (hook, attachment) in &wanted.hooks {
        if current.hooks.get(hook) != Some(attachment) {
            steps.push(Step::Attach { ifindex, hook: *hook, attachment: *attachment });
        }
    }
    steps.extend(detach_last);
    if wanted.hooks.is_empty() {
        steps.push(Step::Forget { ifindex });
    } else if !rearranged || interim != wanted.policy {
        steps.push(Step::SetPolicy { ifindex, policy: wanted.policy });
    }
    steps
}

/// What to detach before anything is attached, and what after. XDP holds one program, so another
/// mode has to wait for the hook; at TC the old program stays until the new one stands.
fn detachments(ifindex: Ifindex, current: &Target, wanted: &Target) -> (Vec<Step>, Vec<Step>) {
    let superfluous =
        current.hooks.iter().filter(|(hook, way)| wanted.hooks.get(hook) != Some(way));
    let (replaced, removed): (Vec<_>, Vec<_>) = superfluous
        .partition(|(hook, _)| **hook == Hook::Xdp && wanted.hooks.contains_key(&Hook::Xdp));
    let step = |(hook, attachment): (&Hook, &_)| Step::Detach {
        ifindex,
        hook: *hook,
        attachment: *attachment,
    };
    (replaced.into_iter().map(step).collect(), removed.into_iter().map(step).collect())
}

fn union(one: InterfacePolicy, other: InterfacePolicy) -> InterfacePolicy {
    InterfacePolicy {
        xdp: one.xdp | other.xdp,
        egress: one.egress | other.egress,
        ingress: one.ingress | other.ingress,
    }
}

#[cfg(test)]
mod tests {
    use plugin_common::presets::Presets;

    use super::*;
    use crate::plan::Attachment;

    const XDP: (Hook, Attachment) = (Hook::Xdp, Attachment::XdpGeneric);
    const EGRESS: (Hook, Attachment) = (Hook::Egress, Attachment::Tcx);

    fn target(xdp: Presets, egress: Presets, hooks: &[(Hook, Attachment)]) -> Target {
        let policy = InterfacePolicy { xdp, egress, ingress: Presets::PASS };
        Target { policy, hooks: hooks.iter().copied().collect() }
    }

    #[track_caller]
    fn check(current: &Target, wanted: &Target, expected: &[&str]) {
        let ifindex = Ifindex::try_from(7).unwrap();
        let words: Vec<String> = steps(ifindex, current, wanted).iter().map(word).collect();
        assert_eq!(words, expected, "{current:?} to {wanted:?}");
    }

    fn word(step: &Step) -> String {
        match step {
            Step::SetPolicy { policy, .. } => {
                format!("set {} {}", policy.xdp.bits(), policy.egress.bits())
            }
            Step::Attach { hook, .. } => format!("attach {hook:?}"),
            Step::Detach { hook, .. } => format!("detach {hook:?}"),
            Step::Forget { .. } => "forget".to_owned(),
        }
    }

    #[test]
    fn the_policy_stands_before_the_program() {
        let wanted = target(Presets::DROP_TCP, Presets::PASS, &[XDP]);
        check(&Target::default(), &wanted, &["set 2 0", "attach Xdp"]);
    }

    #[test]
    fn a_policy_of_nothing_but_pass_is_written_too() {
        let wanted = target(Presets::PASS, Presets::PASS, &[XDP]);
        check(&Target::default(), &wanted, &["set 0 0", "attach Xdp"]);
    }

    #[test]
    fn a_change_of_policy_is_one_map_write() {
        let old = target(Presets::DROP_TCP, Presets::PASS, &[XDP]);
        let new = target(Presets::DROP_UDP, Presets::PASS, &[XDP]);
        check(&old, &new, &["set 4 0"]);
    }

    #[test]
    fn moving_between_hooks_opens_nothing() {
        let old = target(Presets::DROP_TCP, Presets::PASS, &[XDP]);
        let new = target(Presets::PASS, Presets::DROP_TCP, &[EGRESS]);
        check(&old, &new, &["set 2 2", "attach Egress", "detach Xdp", "set 0 2"]);
    }

    #[test]
    fn another_xdp_mode_waits_for_the_hook() {
        let old = target(Presets::DROP_TCP, Presets::PASS, &[XDP]);
        let native = (Hook::Xdp, Attachment::XdpNative);
        let new = target(Presets::DROP_TCP, Presets::PASS, &[native]);
        check(&old, &new, &["detach Xdp", "attach Xdp"]);
    }

    #[test]
    fn nothing_stays_of_what_is_released() {
        let old = target(Presets::DROP_TCP, Presets::DROP_TCP, &[XDP, EGRESS]);
        check(&old, &Target::default(), &["detach Xdp", "detach Egress", "forget"]);
    }

    #[test]
    fn no_change_is_no_step() {
        let same = target(Presets::DROP_TCP, Presets::PASS, &[XDP]);
        check(&same, &same, &[]);
        check(&Target::default(), &Target::default(), &[]);
    }
}
