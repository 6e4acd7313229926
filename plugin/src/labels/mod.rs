//! Labels to policy: the user's language, as `docs/labels.md` specifies it. Pure.
//!
//! Strict: what is under our prefixes and is not understood is an error, all errors of a container
//! are collected, and an error never becomes a default.

#[cfg(test)]
mod bad_inputs;
mod error;
mod keys;
mod policies;
mod presets;
mod rules;
mod show;
mod size;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use plugin_common::presets::Presets;
use serde::Serialize;

pub(crate) use self::error::nearest;
pub use self::error::{LabelError, LabelErrors, LabelPlace};
use self::keys::Key;
pub use self::keys::is_ours;
pub use self::policies::{NamedPolicy, Policies, SUFFIX, check_name};
pub(crate) use self::presets::format_presets;
pub use self::presets::parse_list;
pub use self::rules::parse_rules;
pub use self::size::check_size;
use crate::programs::ProgramName;
use crate::rules::{Direction as RuleDirection, MAX_RULES, RuleList};

/// Longest key under our prefixes, in bytes.
pub const MAX_KEY_BYTES: usize = 256;
/// Longest value of a label, in bytes.
pub const MAX_VALUE_BYTES: usize = 4096;

/// What the labels of one container ask for. At least one of the policies and programs is there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LabelPolicy {
    /// `xdp.*`.
    pub xdp: Option<XdpPolicy>,
    /// `tc.*`.
    pub tc: Option<TcPolicy>,
    /// What is counted and reported, and not dropped.
    pub audit: Audit,
    /// Which of the operator's policies they name.
    pub named: Named,
    /// Which of the operator's programs they name.
    pub programs: Programs,
}

/// `xdp.program` and `tc.program`, where they name some.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Programs {
    /// For XDP, with where it is to run.
    pub xdp: Option<(ProgramName, XdpMode)>,
    /// For TC, with the packets that it sees: the container's direction.
    pub tc: Option<(ProgramName, Direction)>,
}

/// The operator's policies that `xdp.policy` and `tc.policy` name, where they name some.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Named {
    /// Of `xdp.policy`.
    pub xdp: Option<String>,
    /// Of `tc.policy`.
    pub tc: Option<String>,
}

/// `xdp.audit` and `tc.audit`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Audit {
    /// What `xdp.*` would drop.
    pub xdp: bool,
    /// What `tc.*` would drop.
    pub tc: bool,
}

/// `xdp.policy` and `xdp.mode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct XdpPolicy {
    /// What to do with what the container sends.
    pub presets: Presets,
    /// Where XDP is to run.
    pub mode: XdpMode,
}

/// Where XDP runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum XdpMode {
    /// The mode that costs passing traffic least on the device.
    #[default]
    Auto,
    /// In the driver.
    Native,
    /// In the network stack, on any device.
    Generic,
    /// On the network card.
    Offload,
}

/// `tc.policy`, `tc.direction`, `tc.egress` and `tc.ingress`. At least one of them says something.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TcPolicy {
    /// What to do with the packets.
    pub presets: Option<Presets>,
    /// To which packets the presets apply: the container's direction.
    pub direction: Direction,
    /// Rules for what the container sends.
    pub egress: Lists,
    /// Rules for what it receives.
    pub ingress: Lists,
}

/// The rules of one direction; a packet has to pass each of the lists.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lists {
    /// Of the operator's policy that `tc.policy` names.
    pub named: Option<Arc<RuleList>>,
    /// Of `tc.egress` or `tc.ingress`.
    pub own: Option<Arc<RuleList>>,
}

impl Lists {
    /// Those that there are.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<RuleList>> {
        let Self { named, own } = self;
        named.iter().chain(own)
    }
}

impl TcPolicy {
    /// How many rules it has in all.
    fn rules(&self) -> usize {
        let Self { presets: _, direction: _, egress, ingress } = self;
        egress.iter().chain(ingress.iter()).map(|rules| rules.len()).sum()
    }
}

/// A direction as the container sees it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Direction {
    /// What the container sends.
    Egress,
    /// What the container receives.
    Ingress,
    /// Both.
    #[default]
    Both,
}

/// Reads the labels of one container. `None` when none of them is ours.
///
/// # Errors
///
/// Every label of ours that is not understood.
pub fn parse(labels: &BTreeMap<String, String>) -> Result<Option<LabelPolicy>, LabelErrors> {
    parse_with(labels, &Policies::default())
}

/// As [`parse`], where labels may name these policies.
///
/// # Errors
///
/// As [`parse`].
pub fn parse_with(
    labels: &BTreeMap<String, String>,
    policies: &Policies,
) -> Result<Option<LabelPolicy>, LabelErrors> {
    let mut fields = Fields::default();
    let mut errors = Vec::new();
    for (key, value) in labels.iter().filter(|(key, _)| is_ours(key)) {
        if let Err(Wrong(wrong)) = read(key, value, policies, &mut fields) {
            errors.extend(wrong);
        }
    }
    match fields.into_policy() {
        Ok(policy) if errors.is_empty() => Ok(policy),
        Ok(_) => Err(errors.into()),
        Err(missing) => {
            // A policy that is there and does not parse explains the modifier that lacks it.
            if errors.is_empty() {
                errors.extend(missing);
            }
            Err(errors.into())
        }
    }
}

/// What was read so far; the defaults of the missing keys are not yet filled in.
#[derive(Default)]
struct Fields {
    named: Named,
    xdp_policy: Option<Presets>,
    xdp_mode: Option<XdpMode>,
    xdp_audit: Option<bool>,
    tc_policy: Option<(String, NamedPolicy)>,
    tc_direction: Option<Direction>,
    tc_egress: Option<Arc<RuleList>>,
    tc_ingress: Option<Arc<RuleList>>,
    tc_audit: Option<bool>,
    xdp_program: Option<ProgramName>,
    tc_program: Option<ProgramName>,
}

impl Fields {
    fn into_policy(self) -> Result<Option<LabelPolicy>, Vec<LabelError>> {
        let missing = self.without_policy();
        if !missing.is_empty() {
            return Err(missing);
        }
        let Self { xdp_policy, xdp_mode, xdp_audit, .. } = self;
        let named = self.named.clone();
        let audit =
            Audit { xdp: xdp_audit.unwrap_or_default(), tc: self.tc_audit.unwrap_or_default() };
        let xdp =
            xdp_policy.map(|presets| XdpPolicy { presets, mode: xdp_mode.unwrap_or_default() });
        let programs = Programs {
            xdp: self.xdp_program.clone().map(|name| (name, xdp_mode.unwrap_or_default())),
            tc: self.tc_program.clone().map(|name| (name, self.tc_direction.unwrap_or_default())),
        };
        let tc = self.tc().map_err(|error| vec![error])?;
        let anything = xdp.is_some() || tc.is_some() || programs != Programs::default();
        Ok(anything.then_some(LabelPolicy { xdp, tc, audit, named, programs }))
    }

    /// Every key that has no effect for want of another.
    fn without_policy(&self) -> Vec<LabelError> {
        let Self { xdp_policy, xdp_mode, xdp_audit, tc_policy, tc_direction, .. } = self;
        let Self { tc_egress, tc_ingress, tc_audit, .. } = self;
        let any_tc = tc_policy.is_some() || tc_egress.is_some() || tc_ingress.is_some();
        let any_xdp = xdp_policy.is_some() || self.xdp_program.is_some();
        let directed = tc_policy.is_some() || self.tc_program.is_some();
        let modifiers = [
            ("xdp.mode", xdp_mode.is_some(), any_xdp, "xdp.policy or xdp.program"),
            ("xdp.audit", xdp_audit.is_some(), xdp_policy.is_some(), "xdp.policy"),
            ("tc.direction", tc_direction.is_some(), directed, "tc.policy or tc.program"),
            ("tc.audit", tc_audit.is_some(), any_tc, "tc.policy, tc.egress or tc.ingress"),
        ];
        let missing =
            modifiers.into_iter().filter(|(_, given, has_effect, _)| *given && !has_effect);
        missing.map(|(key, _, _, policy)| LabelError::without_policy(key, policy)).collect()
    }

    fn tc(self) -> Result<Option<TcPolicy>, LabelError> {
        let Self { tc_policy, tc_direction, tc_egress, tc_ingress, .. } = self;
        let key = match (&tc_egress, &tc_ingress) {
            (Some(_), _) => "tc.egress",
            (None, Some(_)) => "tc.ingress",
            (None, None) => "tc.policy",
        };
        let direction = tc_direction.unwrap_or_default();
        let mut tc = TcPolicy { direction, ..TcPolicy::default() };
        if let Some((name, NamedPolicy { presets, egress, ingress })) = tc_policy {
            tc.presets = presets;
            tc.egress.named = egress.filter(|_| direction != Direction::Ingress);
            tc.ingress.named = ingress.filter(|_| direction != Direction::Egress);
            if presets.is_none() && tc.rules() == 0 {
                let direction = match direction {
                    Direction::Ingress => RuleDirection::Ingress,
                    Direction::Egress | Direction::Both => RuleDirection::Egress,
                };
                return Err(LabelError::no_rules_there("tc.direction", &name, direction));
            }
        }
        tc.egress.own = tc_egress;
        tc.ingress.own = tc_ingress;
        if tc.rules() > MAX_RULES {
            return Err(LabelError::too_many_rules(key, tc.rules()));
        }
        Ok((tc.presets.is_some() || tc.rules() > 0).then_some(tc))
    }
}

/// What is wrong with one label.
struct Wrong(Vec<LabelError>);

impl From<LabelError> for Wrong {
    fn from(error: LabelError) -> Self {
        Self(vec![error])
    }
}

impl From<Vec<LabelError>> for Wrong {
    fn from(errors: Vec<LabelError>) -> Self {
        Self(errors)
    }
}

fn read(key: &str, value: &str, policies: &Policies, fields: &mut Fields) -> Result<(), Wrong> {
    let known = keys::classify(key)?;
    if value.len() > MAX_VALUE_BYTES {
        return Err(LabelError::value_too_long(key).into());
    }
    let name = || policies.get(value).map(|_| value.to_owned());
    match known {
        Key::XdpPolicy => {
            fields.named.xdp = name();
            let policy = presets::parse(key, value, policies)?;
            if policy.rules() > 0 {
                return Err(LabelError::rules_of_policy_on_xdp(key, value).into());
            }
            fields.xdp_policy = Some(policy.presets.unwrap_or_default());
        }
        Key::TcPolicy => {
            fields.named.tc = name();
            fields.tc_policy = Some((value.to_owned(), presets::parse(key, value, policies)?));
        }
        Key::XdpMode => {
            fields.xdp_mode = Some(word(
                key,
                value,
                &[
                    ("auto", XdpMode::Auto),
                    ("native", XdpMode::Native),
                    ("generic", XdpMode::Generic),
                    ("offload", XdpMode::Offload),
                ],
            )?);
        }
        Key::TcDirection => {
            fields.tc_direction = Some(word(
                key,
                value,
                &[
                    ("egress", Direction::Egress),
                    ("ingress", Direction::Ingress),
                    ("both", Direction::Both),
                ],
            )?);
        }
        Key::XdpProgram => fields.xdp_program = Some(program(key, value)?),
        Key::TcProgram => fields.tc_program = Some(program(key, value)?),
        Key::XdpAudit => fields.xdp_audit = Some(word(key, value, &BOOLEANS)?),
        Key::TcAudit => fields.tc_audit = Some(word(key, value, &BOOLEANS)?),
        Key::TcEgress => {
            fields.tc_egress = Some(parse_rules(key, RuleDirection::Egress, value)?);
        }
        Key::TcIngress => {
            fields.tc_ingress = Some(parse_rules(key, RuleDirection::Ingress, value)?);
        }
    }
    Ok(())
}

fn program(key: &str, value: &str) -> Result<ProgramName, LabelError> {
    ProgramName::parse(value).map_err(|expected| LabelError::bad_program(key, value, expected))
}

const BOOLEANS: [(&str, bool); 2] = [("true", true), ("false", false)];

/// A value that is one of a few words.
fn word<T: Copy>(key: &str, value: &str, words: &[(&str, T)]) -> Result<T, LabelError> {
    match words.iter().find(|(word, _)| *word == value) {
        Some((_, meaning)) => Ok(*meaning),
        None => Err(LabelError::unexpected(key, 1, value, words.iter().map(|(word, _)| *word))),
    }
}
