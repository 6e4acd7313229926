//! What should become of a packet that begins a connection: presets and connections by the functions
//! that the programs have too, rules by the reference interpreter. Pure.

use std::cell::Cell;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use plugin_common::abi::{FlowSecret, RuleImage};
use plugin_common::connection::flow::{FlowState, Said};
use plugin_common::connection::{self, Context, Of};
use plugin_common::identity::Standing;
use plugin_common::packet::protocol::{ICMP, ICMPV6, SCTP, TCP, UDP};
use plugin_common::packet::{Bytes, Packet, parse};
use plugin_common::rules::Ruling;
use plugin_common::verdict::{Reason, verdict};

use super::subject::Candidate;
use super::{Finding, LayerVerdict, PolicyEntry, Says};
use crate::labels::format_presets;
use crate::listing::{ListedLayer, ListedRule, StandingRules, of_hook};
use crate::origin::Origin;
use crate::plan::Hook;
use crate::policy::Asked;
use crate::rules::{self, Action, Direction, Probe};

/// What should become of a packet.
pub(super) struct Judged {
    /// What each part of the policy says, as far as it is asked.
    pub layers: Vec<LayerVerdict>,
    /// Where the counters of the interface's rules are.
    pub counters: (u32, u32),
    packet: Packet,
    policy: PolicyEntry,
    /// By presets that were read, standing and rules, if the policy has rules.
    by_rules: Option<Finding>,
}

impl Judged {
    /// What the program of a hook should make of it.
    pub(super) fn expect(&self, hook: Hook) -> Finding {
        let reason = verdict(self.policy.presets(hook), &self.packet);
        match &self.by_rules {
            Some(finding) if hook != Hook::Xdp && reason.passes() => finding.clone(),
            _ => Finding { reason: reason.name().to_owned(), counters: Vec::new() },
        }
    }
}

/// Judges a packet as the beginning of a connection.
pub(super) fn judge(candidate: &Candidate, frame: &[u8], direction: Direction) -> Judged {
    let packet = parse(&Bytes(frame));
    let mut layers = by_presets(&candidate.asked, &packet, direction);
    let mut judged = Judged {
        layers: Vec::new(),
        counters: (0, 0),
        packet,
        policy: candidate.policy.into(),
        by_rules: None,
    };
    if let Some(StandingRules { first_counter, listing, .. }) = &candidate.rules {
        let counters = listing.layers.iter().map(|layer| {
            let of_rules = layer.rules.iter().chain([&layer.rest]);
            of_rules.filter_map(|rule| rule.counter).max().map_or(0, |last| last + 1)
        });
        judged.counters = (*first_counter, counters.max().unwrap_or(0));
        let before = ask_before_rules(candidate, frame, &packet, direction);
        judged.by_rules = Some(match before {
            Before::Decided(reason) => {
                Finding { reason: reason.name().to_owned(), counters: Vec::new() }
            }
            Before::RulesDecide => {
                let of_direction = |layer: &&ListedLayer| layer.direction == direction;
                let asked: Vec<Answered<'_>> = listing
                    .layers
                    .iter()
                    .filter(of_direction)
                    .map(|layer| ask(layer, &packet, direction))
                    .collect();
                layers.extend(asked.iter().map(|answer| answer.told(*first_counter)));
                sum_up(&asked, *first_counter)
            }
        });
    }
    judged.layers = layers;
    judged
}

/// What each set of presets says that is enforced. Those that are only counted are rules.
fn by_presets(asked: &[Asked], packet: &Packet, direction: Direction) -> Vec<LayerVerdict> {
    let enforced = asked.iter().filter(|asked| !asked.audit && of_hook(asked.hook) == direction);
    let said = enforced.map(|Asked { presets, origin, .. }| LayerVerdict {
        origins: vec![Origin::clone(origin)],
        line: None,
        rule: format_presets(*presets),
        verdict: Says::of(verdict(*presets, packet).passes(), false),
        counter: None,
    });
    said.collect()
}

/// What is decided of a packet before any rule is asked.
enum Before {
    Decided(Reason),
    RulesDecide,
}

fn ask_before_rules(
    candidate: &Candidate,
    frame: &[u8],
    packet: &Packet,
    direction: Direction,
) -> Before {
    if let Some(unreadable) = packet.unreadable {
        return Before::Decided(unreadable.into());
    }
    let from_container = direction == Direction::Egress;
    let image = RuleImage { endpoint: candidate.endpoint, ..RuleImage::default() };
    let context = Nothing { frame, packet, image, from_container, asked: Cell::new(false) };
    let decision = connection::judge(&context, packet, 0, from_container);
    if context.asked.get() { Before::RulesDecide } else { Before::Decided(decision.reason) }
}

/// An interface without a connection, whose rules allow everything.
struct Nothing<'a> {
    frame: &'a [u8],
    packet: &'a Packet,
    image: RuleImage,
    from_container: bool,
    /// Whether the rules were asked.
    asked: Cell<bool>,
}

impl Context for Nothing<'_> {
    fn standing(&self) -> Standing {
        connection::standing(&Bytes(self.frame), self.packet, &self.image, self.from_container)
    }

    fn fingerprint(&self, of: Of) -> u64 {
        // Any secret will do: nothing is looked up.
        let secret = FlowSecret([1; 24]);
        let frame = Bytes(self.frame);
        connection::fingerprint(&frame, self.packet, &secret, of, self.from_container)
    }

    fn touch(&self, _fingerprint: u64, _said: Said) -> Option<FlowState> {
        None
    }

    fn find(&self, _fingerprint: u64) -> Option<FlowState> {
        None
    }

    fn keep(&self, _fingerprint: u64, _state: FlowState) -> bool {
        true
    }

    fn forget(&self, _fingerprint: u64) {}

    fn ruling(&self, _egress: bool) -> Ruling {
        self.asked.set(true);
        Ruling::NO_RULES
    }

    fn now(&self) -> u32 {
        0
    }
}

/// What a list of rules says.
struct Answered<'a> {
    layer: &'a ListedLayer,
    rule: &'a ListedRule,
}

impl Answered<'_> {
    fn allows(&self) -> bool {
        self.rule.action == Action::Allow
    }

    fn told(&self, first_counter: u32) -> LayerVerdict {
        let ListedLayer { origins, audit, .. } = self.layer;
        LayerVerdict {
            origins: origins.iter().map(|origin| Origin::clone(origin)).collect(),
            line: self.rule.line,
            rule: self.rule.text.clone(),
            verdict: Says::of(self.allows(), *audit),
            counter: self.rule.counter.map(|counter| first_counter + counter),
        }
    }
}

fn ask<'a>(layer: &'a ListedLayer, packet: &Packet, direction: Direction) -> Answered<'a> {
    let verdict = rules::judge(&[&layer.resolved], &probe(packet, direction));
    let position = verdict.deciding.first().copied().flatten();
    let rule = position.and_then(|position| layer.rules.get(position));
    Answered { layer, rule: rule.unwrap_or(&layer.rest) }
}

/// What becomes of the packet, and which rules count it: the one that drops it, or the last list's,
/// and the first that would have, but for an audit.
fn sum_up(asked: &[Answered<'_>], first_counter: u32) -> Finding {
    let denies = |answer: &&Answered<'_>| !answer.allows();
    let dropped = asked.iter().position(|answer| denies(&answer) && !answer.layer.audit);
    let heard = asked.get(..dropped.map_or(asked.len(), |last| last + 1)).unwrap_or_default();
    let noted = heard.iter().filter(denies).find(|answer| answer.layer.audit);
    let mut counters: Vec<u32> = [heard.last(), noted]
        .into_iter()
        .flatten()
        .filter_map(|answer| answer.rule.counter)
        .map(|counter| first_counter + counter)
        .collect();
    counters.sort_unstable();
    counters.dedup();
    let reason = match dropped.and_then(|dropped| asked.get(dropped)) {
        None => Reason::Passed,
        Some(answer) if std::ptr::eq(answer.rule, &raw const answer.layer.rest) => Reason::NoRule,
        Some(_) => Reason::Denied,
    };
    Finding { reason: reason.name().to_owned(), counters }
}

fn probe(packet: &Packet, direction: Direction) -> Probe {
    let address = match direction {
        Direction::Egress => packet.destination,
        Direction::Ingress => packet.source,
    };
    let [a, b, c, d, ..] = address;
    let remote = if packet.ip_version == 4 {
        IpAddr::V4(Ipv4Addr::new(a, b, c, d))
    } else {
        IpAddr::V6(Ipv6Addr::from(address))
    };
    let number = match packet.protocol {
        TCP | UDP | SCTP => packet.destination_port,
        ICMP | ICMPV6 => packet.source_port,
        _ => 0,
    };
    Probe { remote, protocol: packet.protocol, number }
}
