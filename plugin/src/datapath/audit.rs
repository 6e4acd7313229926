//! Presets as rules, for an audit: what they would drop is counted by rules that drop nothing.

use plugin_common::packet::protocol::{ICMP, ICMPV6, TCP, UDP};
use plugin_common::presets::Presets;

use crate::rules::{Action, ResolvedRule, RuleId, Service};

/// Rules that deny what presets drop, of IP; `None` if they drop nothing.
#[must_use]
pub fn of_presets(presets: Presets) -> Option<Vec<ResolvedRule>> {
    let of = |protocol| Service { protocol, first: 0, last: u16::MAX, version: None };
    let rule = |action, traffic, position| ResolvedRule {
        action,
        log: false,
        traffic,
        remote: None,
        source: RuleId { layer: usize::MAX, rule: position },
    };
    let mut rules: Vec<ResolvedRule> = dropped(presets)
        .enumerate()
        .map(|(position, (_, protocols))| {
            let traffic = match protocols {
                [] => vec![of(None)],
                protocols => protocols.iter().map(|number| of(Some(*number))).collect(),
            };
            rule(Action::Deny, traffic, position)
        })
        .collect();
    if rules.is_empty() {
        return None;
    }
    rules.push(rule(Action::Allow, vec![of(None)], rules.len()));
    Some(rules)
}

/// What each of the rules that [`of_presets`] makes is called; the last, which lets the rest pass,
/// is no preset's.
pub fn names_of_rules(presets: Presets) -> impl Iterator<Item = &'static str> {
    dropped(presets).filter_map(|(preset, _)| {
        Presets::NAMED.iter().find(|(_, named)| *named == preset).map(|(name, _)| *name)
    })
}

/// The presets that drop something, with the protocols that each does; none is every protocol.
fn dropped(presets: Presets) -> impl Iterator<Item = (Presets, &'static [u8])> {
    const PROTOCOLS: [(Presets, &[u8]); 4] = [
        (Presets::DROP_ALL, &[]),
        (Presets::DROP_TCP, &[TCP]),
        (Presets::DROP_UDP, &[UDP]),
        (Presets::DROP_ICMP, &[ICMP, ICMPV6]),
    ];
    PROTOCOLS.into_iter().filter(move |(preset, _)| presets.contains(*preset))
}
