//! What becomes of a packet, for people.

use std::fmt::Write as _;

use ebpf_netns::text::printable;
use plugin_common::verdict::Reason;

use super::{new_table, render};
use crate::explain::{Explanation, HookOutcome, LayerVerdict, Whereabouts};
use crate::status::State;

/// The packet, what each part of the policy says, what each program does, and what becomes of it.
pub(crate) fn explanation(explanation: &Explanation) -> String {
    let Explanation { on, layers, hooks, disagreements, .. } = explanation;
    let Whereabouts { container, interface, network, host, direction, packet, .. } = on;
    let network = network.as_ref().map_or(String::new(), |name| format!("@{}", printable(name)));
    let mut text = format!(
        "{} {}{network}, host {}({}), {direction}: {packet}\n",
        printable(container),
        printable(interface),
        printable(&host.name),
        host.ifindex
    );
    if !layers.is_empty() {
        let mut table = new_table(&["LINE", "RULE", "SAYS", "WRITTEN IN"]);
        for layer in layers {
            let line = layer.line.map_or_else(|| "-".to_owned(), |line| line.to_string());
            let rule = printable(&layer.rule).to_string();
            table.add_row([
                line,
                rule,
                layer.verdict.name().to_owned(),
                written_in(layer, container),
            ]);
        }
        text.push_str(&render(&mut table));
    }
    if !hooks.is_empty() {
        let mut table = new_table(&["HOOK", "PROGRAM", "VERDICT"]);
        for outcome in hooks {
            let HookOutcome { hook, attached, program, run, now, .. } = outcome;
            let how = if *run { "" } else { " (by the reference: this kernel cannot run it)" };
            let attached = match attached.strip_prefix("xdp ") {
                Some(mode) => format!("xdp {mode}"),
                None => format!("{attached} {}", hook.name()),
            };
            table.add_row([attached, program.clone(), format!("{now}{how}")]);
        }
        text.push_str(&render(&mut table));
    }
    // Writing to a string cannot fail.
    writeln!(text, "{}", sentence(explanation)).ok();
    for program in &on.programs {
        writeln!(text, "but {}", printable(program)).ok();
    }
    for problem in disagreements {
        writeln!(text, "BUG: {}", printable(problem)).ok();
    }
    text
}

fn written_in(layer: &LayerVerdict, container: &str) -> String {
    let origins = layer.origins.iter().map(|origin| origin.seen_by(container).to_string());
    origins.collect::<Vec<_>>().join(" and ")
}

/// What becomes of it, and why.
fn sentence(explanation: &Explanation) -> String {
    let Explanation { on, passes, reason, connection, hooks, layers, decided_by, .. } = explanation;
    if hooks.is_empty() {
        return format!("passes: nothing is attached for {}", on.direction);
    }
    if *connection && *passes {
        let alone = hooks.iter().map(|outcome| outcome.alone.as_str());
        let alone = alone.filter(|alone| *alone != Reason::Passed.name()).collect::<Vec<_>>();
        let else_dropped = match alone.first() {
            Some(reason) => format!("; as the beginning of one it would be dropped ({reason})"),
            None => String::new(),
        };
        return format!(
            "passes: it belongs to a connection that is known, and no rule is asked{else_dropped}"
        );
    }
    if *passes {
        return "passes".to_owned();
    }
    if on.state == State::Closed {
        let why = on.reason.as_deref().unwrap_or_default();
        return format!("dropped ({reason}): the container is closed: {}", printable(why));
    }
    let part = decided_by.and_then(|place| layers.get(place));
    match part {
        Some(layer) => {
            let line = layer.line.map_or(String::new(), |line| format!(", line {line}"));
            let rule = printable(&layer.rule);
            let origin = written_in(layer, &on.container);
            format!("dropped ({reason}): {origin}{line}: {rule}")
        }
        None => format!("dropped ({reason}): {}", why(reason)),
    }
}

/// Why it is dropped where no part of the policy says it.
fn why(reason: &str) -> &'static str {
    let known = Reason::ALL.into_iter().find(|known| known.name() == reason);
    match known {
        Some(Reason::Truncated) => "the frame ends before the headers that decide do",
        Some(Reason::Malformed) => "a header contradicts itself or hides what follows it",
        Some(Reason::SourceRoute) => "it names routers to go by",
        Some(Reason::UnknownEthertype) => "it is neither IPv4, IPv6 nor ARP",
        Some(Reason::Closed) => "the policy could not be understood",
        Some(Reason::NoPolicy) => "the interface has no policy yet",
        Some(Reason::SpoofedMac) => "the sender's MAC address is not the container's",
        Some(Reason::SpoofedAddress) => "the sender's IP address is not the container's",
        Some(Reason::SpoofedNeighbour) => "it claims an address that is not the container's",
        Some(Reason::RogueRouter) => "only routers send it",
        Some(Reason::RogueServer) => "only DHCP servers send it",
        Some(Reason::LoneFragment) => "it is a part of a datagram of which no first part passed",
        Some(Reason::FlowTableFull) => "the table of connections has no room for it",
        Some(
            Reason::Passed
            | Reason::All
            | Reason::Tcp
            | Reason::Udp
            | Reason::Icmp
            | Reason::Denied
            | Reason::NoRule,
        )
        | None => "the policy drops it",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::explain::Says;
    use crate::origin::{Author, Origin};
    use crate::plan::Hook;
    use crate::rules::Direction;
    use crate::status::HostSide;

    /// A packet that the second of two lists denies.
    fn denied() -> Explanation {
        let layer = |author, line, rule: &str, verdict| LayerVerdict {
            origins: vec![Origin { author, key: "tc.egress".to_owned(), policy: None }],
            line: Some(line),
            rule: rule.to_owned(),
            verdict,
            counter: None,
        };
        let labels = Author::Labels { container: "web".to_owned() };
        let ifindex = 6.try_into().unwrap();
        Explanation {
            on: Whereabouts {
                container: "web".to_owned(),
                interface: "eth0".to_owned(),
                network: Some("lan".to_owned()),
                host: HostSide { name: "veth6".to_owned(), ifindex, bridge: None },
                state: State::Enforced,
                reason: None,
                direction: Direction::Egress,
                programs: Vec::new(),
                packet: "tcp 10.0.0.2:5 > 10.0.0.9:80 SYN, 54 bytes".to_owned(),
            },
            passes: false,
            reason: "denied".to_owned(),
            dropped_at: Some(Hook::Egress),
            connection: false,
            hooks: vec![HookOutcome {
                hook: Hook::Egress,
                attached: "tcx".to_owned(),
                program: "ebpf_netns_out".to_owned(),
                run: true,
                alone: "denied".to_owned(),
                now: "denied".to_owned(),
            }],
            layers: vec![
                layer(Author::Default { file: None }, 2, "allow", Says::Allow),
                layer(labels, 3, "deny log to lan", Says::Deny),
            ],
            decided_by: Some(1),
            disagreements: Vec::new(),
        }
    }

    #[test]
    fn every_list_is_shown_and_the_one_that_decides() {
        let expected = "\
web eth0@lan, host veth6(6), egress: tcp 10.0.0.2:5 > 10.0.0.9:80 SYN, 54 bytes
LINE  RULE             SAYS   WRITTEN IN
2     allow            allow  [default] tc.egress
3     deny log to lan  deny   label tc.egress
HOOK        PROGRAM         VERDICT
tcx egress  ebpf_netns_out  denied
dropped (denied): label tc.egress, line 3: deny log to lan
";
        assert_eq!(explanation(&denied()), expected);
    }

    #[test]
    fn what_decides_besides_rules_is_said() {
        let said = |change: fn(&mut Explanation)| {
            let mut explanation = denied();
            change(&mut explanation);
            sentence(&explanation)
        };
        let connection = said(|it| (it.passes, it.connection) = (true, true));
        assert!(connection.starts_with("passes: it belongs to a connection"), "{connection}");
        assert!(connection.ends_with("it would be dropped (denied)"), "{connection}");
        let closed = said(|it| {
            (it.on.state, it.on.reason) = (State::Closed, Some("label tc.x: \u{1b}".to_owned()));
        });
        assert_eq!(closed, "dropped (denied): the container is closed: label tc.x: \\u{1b}");
        let spoofed = said(|it| (it.reason, it.decided_by) = ("spoofed-mac".to_owned(), None));
        assert!(spoofed.ends_with("MAC address is not the container's"), "{spoofed}");
        assert_eq!(said(|it| it.hooks.clear()), "passes: nothing is attached for egress");
        let mut wrong = denied();
        wrong.disagreements.push("one thing and another".to_owned());
        assert!(explanation(&wrong).ends_with("BUG: one thing and another\n"));
    }
}
