//! What is allowed to be written and is probably not meant. Pure.

use std::fmt;
use std::num::NonZero;

use super::model::{
    Action, Direction, IcmpTypes, PortRange, Ports, Rule, RuleList, Target, Traffic,
};

/// Well-known ports that nobody means as the number of a protocol.
const PORTS: [u8; 23] = [
    20, 21, 22, 23, 25, 37, 43, 49, 53, 67, 68, 69, 70, 79, 80, 109, 110, 119, 123, 139, 143, 161,
    194,
];

/// A rule that says something else than it seems to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleHint {
    /// Which rule; 0 is the first.
    pub rule: usize,
    /// The line of the value where it stands; 1 is the first.
    pub line: NonZero<u32>,
    kind: Kind,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    PortAsProtocol { action: Action, number: u8 },
    NeverReached { rule: String, by: String, line: NonZero<u32> },
}

impl fmt::Display for RuleHint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            Kind::PortAsProtocol { action, number } => write!(
                f,
                "{action} {number} is about protocol {number}; for the port, write \
                 {action} tcp {number}"
            ),
            Kind::NeverReached { rule, by, line } => {
                write!(f, "{rule} never decides: {by} in line {line} matches the same before it")
            }
        }
    }
}

/// What is probably not meant in the rules of one direction, in their order.
#[must_use]
pub fn hints(direction: Direction, rules: &RuleList) -> Vec<RuleHint> {
    let mut hints = Vec::new();
    for (position, rule) in rules.iter().enumerate() {
        let mut hint = |kind| hints.push(RuleHint { rule: position, line: rule.line, kind });
        if let Traffic::Protocol(number) = rule.traffic
            && PORTS.contains(&number)
        {
            hint(Kind::PortAsProtocol { action: rule.action, number });
        }
        let mut before = rules.iter().take(position);
        if let Some(by) = before.find(|before| covers(direction, before, rule)) {
            let shown = |rule: &Rule| rule.show(direction).to_string();
            hint(Kind::NeverReached { rule: shown(rule), by: shown(by), line: by.line });
        }
    }
    hints
}

/// Whether the first of two rules certainly matches all that the second does.
fn covers(direction: Direction, first: &Rule, second: &Rule) -> bool {
    covers_traffic(&first.traffic, &second.traffic) && covers_targets(direction, first, second)
}

fn covers_traffic(first: &Traffic, second: &Traffic) -> bool {
    match (first, second) {
        (Traffic::Any, _) => true,
        (Traffic::Tcp(first), Traffic::Tcp(second))
        | (Traffic::Udp(first), Traffic::Udp(second))
        | (Traffic::Sctp(first), Traffic::Sctp(second)) => covers_ports(first, second),
        (Traffic::Icmp(IcmpTypes(first)), Traffic::Icmp(IcmpTypes(second))) => {
            first.is_empty()
                || (!second.is_empty() && second.iter().all(|icmp| first.contains(icmp)))
        }
        (first, second) => first == second,
    }
}

fn covers_ports(Ports(first): &Ports, Ports(second): &Ports) -> bool {
    let within = |inner: &PortRange| {
        first.iter().any(|outer| outer.first() <= inner.first() && inner.last() <= outer.last())
    };
    first.is_empty() || (!second.is_empty() && second.iter().all(within))
}

fn covers_targets(direction: Direction, first: &Rule, second: &Rule) -> bool {
    if anyone(direction, first) {
        return true;
    }
    // `allow dns` is with the resolvers, whoever they are.
    if first.targets.is_empty() {
        return second == &Rule { line: second.line, log: second.log, ..first.clone() };
    }
    let within = |inner: &Target| first.targets.iter().any(|outer| covers_target(outer, inner));
    !second.targets.is_empty() && second.targets.iter().all(within)
}

/// Whether a rule is about anyone.
fn anyone(direction: Direction, rule: &Rule) -> bool {
    let Rule { action, traffic, targets, log: _, line: _ } = rule;
    let resolvers =
        direction == Direction::Egress && *action == Action::Allow && *traffic == Traffic::Dns;
    (targets.is_empty() && !resolvers) || targets.contains(&Target::Any)
}

fn covers_target(outer: &Target, inner: &Target) -> bool {
    match (outer, inner) {
        (Target::Range(outer), Target::Range(inner)) => {
            outer.contains(inner.first()) && outer.contains(inner.last())
        }
        (outer, inner) => outer == inner,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &[&str]) {
        let rules = RuleList::parse(Direction::Egress, text).expect(text);
        let hints = hints(Direction::Egress, &rules);
        let said: Vec<String> = hints.iter().map(|hint| format!("{}: {hint}", hint.line)).collect();
        assert_eq!(said, expected, "{text:?}");
    }

    #[test]
    fn a_port_in_the_place_of_a_protocol_is_told() {
        let said = "1: deny 22 is about protocol 22; for the port, write deny tcp 22";
        check("deny 22; allow", &[said]);
        check("deny 47; deny 6; deny 50; deny 88; deny 132", &[]);
    }

    #[test]
    fn a_rule_that_never_decides_is_told() {
        check(
            "allow\ndeny tcp 22\n",
            &["2: deny tcp 22 never decides: allow in line 1 matches the same before it"],
        );
        check(
            "allow dns\nallow tcp 80-90 to any\nallow dns; deny log tcp 85 to lan",
            &[
                "3: allow dns never decides: allow dns in line 1 matches the same before it",
                "3: deny log tcp 85 to lan never decides: allow tcp 80-90 to any in line 2 matches \
                 the same before it",
            ],
        );
        for (first, second) in [
            ("allow tcp", "deny tcp 22 to 10.0.0.1"),
            ("allow icmp 3,8", "deny icmp 8 to any"),
            ("allow to 10.0.0.0/8", "deny udp to 10.1.0.0-10.1.0.9,10.2.0.1"),
            ("allow to lan,host", "deny sctp to host"),
            ("allow dns to any", "allow dns"),
            ("deny dns", "allow dns"),
        ] {
            let rules = RuleList::parse(Direction::Egress, &format!("{first}\n{second}")).unwrap();
            assert_eq!(hints(Direction::Egress, &rules).len(), 1, "{first}; {second}");
        }
        for (first, second) in [
            ("allow tcp 22", "deny tcp"),
            ("allow tcp 22-23", "deny tcp 22,24"),
            ("allow icmp 8", "deny icmp"),
            ("allow to 10.0.0.0/8", "deny"),
            ("allow to 10.1.0.0/16", "deny to 10.0.0.0/8"),
            ("allow to lan", "deny to 10.0.0.1"),
            ("allow dns", "deny dns"),
            ("allow dns", "allow dns to any"),
            ("allow dns", "deny udp 53"),
            ("allow 6", "deny tcp"),
        ] {
            check(&format!("{first}\n{second}"), &[]);
        }
    }
}
