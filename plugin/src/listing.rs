//! The rules of one interface as people wrote them, with where each is counted: what
//! `status --rules` and `explain` tell of them. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use ebpf_netns::Ifindex;
use plugin_common::presets::Presets;

use crate::datapath::{self, Counted, Program};
use crate::kernel::Count;
use crate::origin::Origin;
use crate::plan::Hook;
use crate::policy::{Layer, Rules};
use crate::rules::{Action, Direction, Expansion, ResolvedRule};
use crate::status::{LayerStatus, RuleStatus};

/// What is said of what no rule of a layer matches.
const NO_RULE: &str = "no rule matches";

/// The rules of one interface: of both directions, in the order in which they are asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// The layers.
    pub layers: Vec<ListedLayer>,
}

/// One list of rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedLayer {
    /// Its direction.
    pub direction: Direction,
    /// Where it was written; presets that are only counted are one list, wherever they were.
    pub origins: Vec<Arc<Origin>>,
    /// Whether what it would drop is counted and reported, and not dropped.
    pub audit: bool,
    /// Its rules as they were written, in their order. What lets the rest pass of presets that are
    /// only counted is none.
    pub rules: Vec<ListedRule>,
    /// What none of them matches.
    pub rest: ListedRule,
    /// The rules as the kernel has them, for the reference to judge by.
    pub resolved: Vec<ResolvedRule>,
}

/// One rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedRule {
    /// Its line in the value; 1 is the first.
    pub line: Option<u32>,
    /// What it says.
    pub text: String,
    /// What becomes of what it matches.
    pub action: Action,
    /// Where it is counted, from the interface's first counter on.
    pub counter: Option<u32>,
}

/// The rules that stand on one interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StandingRules {
    /// The host-side veth.
    pub ifindex: Ifindex,
    /// The place of the first of their counters.
    pub first_counter: u32,
    /// What they are.
    pub listing: Arc<Listing>,
}

/// What the rules of one direction became.
#[derive(Clone, Debug)]
pub struct Resolved {
    /// Of each list of rules.
    pub expansion: Expansion,
    /// Of the presets that are only counted.
    pub audited: Option<Vec<ResolvedRule>>,
}

impl Listing {
    /// Lists what is demanded of an interface, as it was resolved and compiled.
    #[must_use]
    pub fn new(demanded: &Rules, egress: Resolved, ingress: Resolved, program: &Program) -> Self {
        let counters: BTreeMap<(Direction, usize, Option<usize>), u32> = program
            .counters()
            .map(|(counter, Counted { direction, layer, rule })| {
                ((direction, layer, rule), counter)
            })
            .collect();
        let mut listing = Self::default();
        let directions = [
            (Direction::Egress, &demanded.egress_rules, egress),
            (Direction::Ingress, &demanded.ingress_rules, ingress),
        ];
        for (direction, layers, Resolved { expansion, audited }) in directions {
            let counter = |layer, rule| counters.get(&(direction, layer, rule)).copied();
            for ((number, layer), resolved) in layers.iter().enumerate().zip(expansion.layers) {
                let counter = |rule| counter(number, rule);
                listing.layers.push(written(direction, layer, resolved, counter));
            }
            if let Some(resolved) = audited {
                let counter = |rule| counter(layers.len(), rule);
                listing.layers.push(counted(direction, demanded, resolved, counter));
            }
        }
        listing
    }

    /// The rule that is counted there, from the first counter on.
    #[must_use]
    pub fn rule_at(&self, counter: u32) -> Option<(&ListedLayer, &ListedRule)> {
        self.layers.iter().find_map(|layer| {
            let mut rules = layer.rules.iter().chain([&layer.rest]);
            rules.find(|rule| rule.counter == Some(counter)).map(|rule| (layer, rule))
        })
    }

    /// With what each rule decided over.
    #[must_use]
    pub fn status(&self, hits: impl Fn(u32) -> Count) -> Vec<LayerStatus> {
        let rule = |rule: &ListedRule| RuleStatus {
            line: rule.line,
            rule: rule.text.clone(),
            action: rule.action.to_string(),
            hits: rule.counter.map(&hits).unwrap_or_default(),
        };
        let layers = self.layers.iter().map(|layer| LayerStatus {
            direction: layer.direction.to_string(),
            origins: layer.origins.iter().map(|origin| Origin::clone(origin)).collect(),
            audit: layer.audit,
            rules: layer.rules.iter().chain([&layer.rest]).map(rule).collect(),
        });
        layers.collect()
    }
}

/// Rules as somebody wrote them.
fn written(
    direction: Direction,
    layer: &Layer,
    resolved: Vec<ResolvedRule>,
    counter: impl Fn(Option<usize>) -> Option<u32>,
) -> ListedLayer {
    let Layer { rules, audit, origin } = layer;
    let rules = rules.iter().enumerate().map(|(position, rule)| ListedRule {
        line: Some(rule.line.get()),
        text: rule.show(direction).to_string(),
        action: rule.action,
        counter: counter(Some(position)),
    });
    ListedLayer {
        direction,
        origins: vec![Arc::clone(origin)],
        audit: *audit,
        rules: rules.collect(),
        rest: ListedRule {
            line: None,
            text: NO_RULE.to_owned(),
            action: Action::Deny,
            counter: counter(None),
        },
        resolved,
    }
}

/// Presets that are only counted, which are rules to the kernel.
fn counted(
    direction: Direction,
    demanded: &Rules,
    resolved: Vec<ResolvedRule>,
    counter: impl Fn(Option<usize>) -> Option<u32>,
) -> ListedLayer {
    let of_this = demanded.asked.iter().filter(|asked| {
        asked.audit && of_hook(asked.hook) == direction && !drops(asked.presets).is_empty()
    });
    let names = drops(of_audit(demanded, direction));
    let rules = names.iter().enumerate().map(|(position, name)| ListedRule {
        line: None,
        text: (*name).to_owned(),
        action: Action::Deny,
        counter: counter(Some(position)),
    });
    ListedLayer {
        direction,
        origins: of_this.map(|asked| Arc::clone(&asked.origin)).collect(),
        audit: true,
        rules: rules.collect(),
        rest: ListedRule {
            line: None,
            text: NO_RULE.to_owned(),
            action: Action::Allow,
            counter: counter(Some(names.len())),
        },
        resolved,
    }
}

/// The presets of a direction that are only counted.
#[must_use]
pub fn of_audit(demanded: &Rules, direction: Direction) -> Presets {
    match direction {
        Direction::Egress => demanded.audited.egress | demanded.audited.xdp,
        Direction::Ingress => demanded.audited.ingress,
    }
}

fn drops(presets: Presets) -> Vec<&'static str> {
    datapath::names_of_rules(presets).collect()
}

/// The container's direction at a hook.
#[must_use]
pub const fn of_hook(hook: Hook) -> Direction {
    match hook {
        Hook::Xdp | Hook::Egress => Direction::Egress,
        Hook::Ingress => Direction::Ingress,
    }
}
