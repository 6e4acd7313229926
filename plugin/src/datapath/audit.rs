//! Presets as rules, for an audit: what they would drop is counted by rules that drop nothing.

use plugin_common::packet::protocol::{ICMP, ICMPV6, TCP, UDP};
use plugin_common::presets::Presets;

use crate::rules::{Action, ResolvedRule, RuleId, Service};

/// Rules that deny what presets drop, of IP; `None` if they drop nothing.
#[must_use]
pub fn of_presets(presets: Presets) -> Option<Vec<ResolvedRule>> {
    let protocols = [
        (Presets::DROP_ALL, None),
        (Presets::DROP_TCP, Some(&[TCP][..])),
        (Presets::DROP_UDP, Some(&[UDP])),
        (Presets::DROP_ICMP, Some(&[ICMP, ICMPV6])),
    ];
    let of = |protocol| Service { protocol, first: 0, last: u16::MAX, version: None };
    let rule = |action, traffic, position| ResolvedRule {
        action,
        log: false,
        traffic,
        remote: None,
        source: RuleId { layer: usize::MAX, rule: position },
    };
    let dropped = protocols.into_iter().filter(|(preset, _)| presets.contains(*preset));
    let mut rules: Vec<ResolvedRule> = dropped
        .enumerate()
        .map(|(position, (_, protocols))| {
            let traffic = match protocols {
                None => vec![of(None)],
                Some(protocols) => protocols.iter().map(|number| of(Some(*number))).collect(),
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
