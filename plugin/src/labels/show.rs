//! A policy in one line, for people. Pure.

use std::fmt;
use std::sync::Arc;

use super::presets::format_presets;
use super::{Audit, Direction, LabelPolicy, NamedPolicy, Programs, TcPolicy, XdpMode, XdpPolicy};
use crate::rules::{Direction as RuleDirection, RuleList};

impl fmt::Display for LabelPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { xdp, tc, audit: Audit { xdp: xdp_audit, tc: tc_audit }, named: _, programs } =
            self;
        let mut parts = Vec::new();
        if let Some(XdpPolicy { presets, mode }) = xdp {
            let mode = mode.name();
            let audit = audited(*xdp_audit);
            parts.push(format!("XDP ({mode}){audit}, egress: {}", format_presets(*presets)));
        }
        if let Some(TcPolicy { presets, direction, egress, ingress }) = tc {
            let audit = audited(*tc_audit);
            if let Some(presets) = presets {
                let direction = direction.name();
                parts.push(format!("TC{audit}, {direction}: {}", format_presets(*presets)));
            }
            let lists = [(RuleDirection::Egress, egress), (RuleDirection::Ingress, ingress)];
            for (direction, lists) in lists {
                let shown = lists.iter().map(|rules| rules_of(direction, rules));
                parts.extend(shown.map(|rules| format!("TC{audit}, {rules}")));
            }
        }
        let Programs { xdp, tc } = programs;
        if let Some((name, mode)) = xdp {
            parts.push(format!("XDP ({}), egress: program {name}", mode.name()));
        }
        if let Some((name, direction)) = tc {
            parts.push(format!("TC, {}: program {name}", direction.name()));
        }
        f.write_str(&parts.join("; "))
    }
}

impl XdpMode {
    const fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Native => "native",
            Self::Generic => "generic",
            Self::Offload => "offload",
        }
    }
}

impl Direction {
    const fn name(self) -> &'static str {
        match self {
            Self::Egress => "egress",
            Self::Ingress => "ingress",
            Self::Both => "egress and ingress",
        }
    }
}

impl fmt::Display for NamedPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { presets, egress, ingress } = self;
        let presets = presets.map(format_presets);
        let egress = egress.as_ref().map(|rules| rules_of(RuleDirection::Egress, rules));
        let ingress = ingress.as_ref().map(|rules| rules_of(RuleDirection::Ingress, rules));
        let parts: Vec<String> = [presets, egress, ingress].into_iter().flatten().collect();
        f.write_str(&parts.join("; "))
    }
}

fn audited(audit: bool) -> &'static str {
    if audit { " (audit)" } else { "" }
}

/// Rules in braces, since `;` stands between them and between the parts of a policy.
fn rules_of(direction: RuleDirection, rules: &Arc<RuleList>) -> String {
    format!("{direction} rules: {{ {} }}", rules.show_in_line(direction))
}
