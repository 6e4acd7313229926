//! The rules of an interface, with what each decided over.

use std::fmt::Write as _;

use ebpf_netns::text::printable;

use super::{new_table, render};
use crate::status::{InterfaceStatus, LayerStatus, RuleStatus};

/// Adds the rules of an interface, list by list.
pub(super) fn add(text: &mut String, container: &str, interface: &InterfaceStatus) {
    for LayerStatus { direction, origins, audit, rules } in &interface.rules {
        let (who, inside) = (printable(container), printable(&interface.name));
        let origins: Vec<String> =
            origins.iter().map(|origin| origin.seen_by(container).to_string()).collect();
        let audit = if *audit { ", audit: what it would drop passes" } else { "" };
        // Writing to a string cannot fail.
        writeln!(text, "\n{who} {inside} {direction}, {}{audit}", origins.join(" and ")).ok();
        let decided = if audit.is_empty() { "DROPPED" } else { "WOULD DROP" };
        let mut table = new_table(&["LINE", "RULE", "ALLOWED", decided]);
        for RuleStatus { line, rule, action, hits } in rules {
            let line = line.map_or_else(|| "-".to_owned(), |line| line.to_string());
            let packets = hits.packets.to_string();
            let [allowed, denied] = match action.as_str() {
                "allow" => [packets, String::new()],
                _ => [String::new(), packets],
            };
            table.add_row([line, printable(rule).to_string(), allowed, denied]);
        }
        text.push_str(&render(&mut table));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::Count;
    use crate::origin::{Author, Origin};
    use crate::status::State;

    #[test]
    fn each_list_is_shown_with_where_it_was_written() {
        let rule = |line, rule: &str, action: &str, packets| RuleStatus {
            line,
            rule: rule.to_owned(),
            action: action.to_owned(),
            hits: Count { packets, bytes: 60 * packets },
        };
        let author = Author::Labels { container: "web".to_owned() };
        let interface = InterfaceStatus {
            name: "eth0".to_owned(),
            ifindex: 2.try_into().unwrap(),
            network: None,
            host: None,
            state: State::Enforced,
            reason: None,
            notes: Vec::new(),
            hooks: Vec::new(),
            programs: Vec::new(),
            rules: vec![LayerStatus {
                direction: "egress".to_owned(),
                origins: vec![Origin { author, key: "tc.egress".to_owned(), policy: None }],
                audit: true,
                rules: vec![
                    rule(Some(1), "allow dns", "allow", 3),
                    rule(None, "no rule matches", "deny", 12),
                ],
            }],
        };
        let mut text = String::new();
        add(&mut text, "web", &interface);
        let expected = "
web eth0 egress, label tc.egress, audit: what it would drop passes
LINE  RULE             ALLOWED  WOULD DROP
1     allow dns        3
-     no rule matches           12
";
        assert_eq!(text, expected);
    }
}
