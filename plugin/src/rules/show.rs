//! Rules as text that reads back as the same rules. Pure.

use std::fmt;

use super::icmp::IcmpType;
use super::model::{
    Action, Direction, IcmpTypes, Name, PortRange, Ports, Rule, RuleList, Target, Traffic,
};

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Egress => "egress",
            Self::Ingress => "ingress",
        })
    }
}

impl RuleList {
    /// The rules, one a line, in the words of their direction.
    #[must_use]
    pub fn show(&self, direction: Direction) -> impl fmt::Display {
        fmt::from_fn(move |f| {
            for (position, rule) in self.iter().enumerate() {
                let separator = if position == 0 { "" } else { "\n" };
                write!(f, "{separator}{}", rule.show(direction))?;
            }
            Ok(())
        })
    }
}

impl RuleList {
    /// The rules in one line, in the words of their direction.
    #[must_use]
    pub fn show_in_line(&self, direction: Direction) -> String {
        self.show(direction).to_string().replace('\n', "; ")
    }
}

impl Rule {
    /// The rule in the words of its direction.
    #[must_use]
    pub fn show(&self, direction: Direction) -> impl fmt::Display {
        let Self { action, log, traffic, targets, line: _ } = self;
        fmt::from_fn(move |f| {
            let log = if *log { " log" } else { "" };
            write!(f, "{action}{log}{traffic}")?;
            let preposition = match direction {
                Direction::Egress => "to",
                Direction::Ingress => "from",
            };
            if targets.is_empty() { Ok(()) } else { write!(f, " {preposition} {}", List(targets)) }
        })
    }
}

/// Items with commas between them.
struct List<'a, T>(&'a [T]);

impl<T: fmt::Display> fmt::Display for List<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, item) in self.0.iter().enumerate() {
            let separator = if position == 0 { "" } else { "," };
            write!(f, "{separator}{item}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
        })
    }
}

impl fmt::Display for Traffic {
    /// Its words, each behind a space; none for any.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => Ok(()),
            Self::Dns => write!(f, " dns"),
            Self::Tcp(Ports(ports)) => write!(f, " tcp{}", Behind(ports)),
            Self::Udp(Ports(ports)) => write!(f, " udp{}", Behind(ports)),
            Self::Sctp(Ports(ports)) => write!(f, " sctp{}", Behind(ports)),
            Self::Icmp(IcmpTypes(types)) => write!(f, " icmp{}", Behind(types)),
            Self::Protocol(number) => write!(f, " {number}"),
        }
    }
}

/// A list behind a space, or nothing.
struct Behind<'a, T>(&'a [T]);

impl<T: fmt::Display> fmt::Display for Behind<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() { Ok(()) } else { write!(f, " {}", List(self.0)) }
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (first, last) = (self.first(), self.last());
        if first == last { write!(f, "{first}") } else { write!(f, "{first}-{last}") }
    }
}

impl fmt::Display for IcmpType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Named(name) => f.write_str(name.as_str()),
            Self::Number(number) => write!(f, "{number}"),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("any"),
            Self::Range(range) => write!(f, "{range}"),
            Self::Host => f.write_str("host"),
            Self::Lan => f.write_str("lan"),
            Self::Metadata => f.write_str("metadata"),
            Self::Internet => f.write_str("internet"),
            Self::Container(name) => write!(f, "container:{name}"),
            Self::Service(name) => write!(f, "service:{name}"),
            Self::Network(name) => write!(f, "network:{name}"),
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::arbitrary::{nearly_rules, rule_list};
    use super::*;

    proptest! {
        #[test]
        fn what_is_shown_reads_back(rules in rule_list(), ingress: bool) {
            let direction = if ingress { Direction::Ingress } else { Direction::Egress };
            let text = rules.show(direction).to_string();
            prop_assert_eq!(RuleList::parse(direction, &text), Ok(rules), "{}", text);
        }

        #[test]
        fn what_is_read_is_shown_in_one_way(
            text in rule_list().prop_flat_map(|rules| {
                nearly_rules(&rules.show(Direction::Egress).to_string())
            }),
        ) {
            if let Ok(rules) = RuleList::parse(Direction::Egress, &text) {
                let shown = rules.show(Direction::Egress).to_string();
                let again = RuleList::parse(Direction::Egress, &shown);
                let again = again.map(|rules| rules.show(Direction::Egress).to_string());
                prop_assert_eq!(again, Ok(shown), "{}", text);
            }
        }

        #[test]
        fn any_text_is_read_or_refused_in_words(text in any::<String>()) {
            for error in RuleList::parse(Direction::Egress, &text).err().unwrap_or_default() {
                prop_assert!(!error.to_string().contains(char::is_control), "{}", error);
                let lines = format!("{error:#}");
                prop_assert!(!lines.replace('\n', "").contains(char::is_control), "{}", lines);
            }
        }
    }
}
