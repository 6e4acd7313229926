//! What to capture of a container as the engine knows it: which frames of which interfaces, and what
//! there is to say of them. Pure.

use std::collections::BTreeSet;

use plugin_common::abi::Observer;
use plugin_common::capture::{MIN_KEPT, Wish};

use super::{Captured, Question, RuleTexts};
use crate::explain::{Candidate, Subject};
use crate::plan::Hook;
use crate::rules::Direction;

/// What to capture of an interface. What XDP lets pass is told by TC, if that sees it too.
pub(super) fn wish(question: &Question, candidate: &Candidate) -> Wish {
    let hooks: BTreeSet<Hook> = candidate.ways.iter().map(|(hook, _)| *hook).collect();
    let mut wish = Wish { snaplen: question.snaplen.max(MIN_KEPT), what: 0 };
    if question.is_about(Direction::Egress) {
        if hooks.contains(&Hook::Xdp) {
            wish = wish.and(Observer::Xdp, false);
            if !hooks.contains(&Hook::Egress) {
                wish = wish.and(Observer::Xdp, true);
            }
        }
        if hooks.contains(&Hook::Egress) {
            wish = wish.and(Observer::Egress, false).and(Observer::Egress, true);
        }
    }
    if question.is_about(Direction::Ingress) && hooks.contains(&Hook::Ingress) {
        wish = wish.and(Observer::Ingress, false).and(Observer::Ingress, true);
    }
    wish
}

pub(super) fn captured(question: &Question, container: &str, candidate: &Candidate) -> Captured {
    let sees = |hook: Hook| candidate.ways.iter().any(|(at, _)| *at == hook);
    let (sent, received) = (sees(Hook::Xdp) || sees(Hook::Egress), sees(Hook::Ingress));
    let unseen = [(Direction::Egress, sent), (Direction::Ingress, received)]
        .into_iter()
        .filter(|(direction, seen)| !seen && question.is_about(*direction));
    Captured {
        ifindex: candidate.host.ifindex.get(),
        name: candidate.host.name.clone(),
        container: container.to_owned(),
        interface: candidate.name.clone(),
        network: candidate.network.clone(),
        unseen: unseen.map(|(direction, _)| direction).collect(),
    }
}

/// Every rule with where it was written.
pub(super) fn rules(subject: &Subject) -> RuleTexts {
    let standing = subject.interfaces.iter().filter_map(|candidate| candidate.rules.as_ref());
    let layers = standing.flat_map(|standing| {
        let first = standing.first_counter;
        standing.listing.layers.iter().map(move |layer| (first, layer))
    });
    let mut texts = RuleTexts::new();
    for (first, layer) in layers {
        let origins =
            layer.origins.iter().map(|origin| origin.seen_by(&subject.container).to_string());
        let origins = origins.collect::<Vec<_>>().join(" and ");
        for rule in layer.rules.iter().chain([&layer.rest]) {
            let line = rule.line.map_or(String::new(), |line| format!(", line {line}"));
            if let Some(counter) = rule.counter {
                let text = format!("\"{}\" ({origins}{line})", rule.text);
                texts.insert(first.saturating_add(counter), text);
            }
        }
    }
    texts
}
