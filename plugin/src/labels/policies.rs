//! Policies to which the operator gave a name, for labels to use. Pure.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use plugin_common::presets::Presets;

use crate::rules::RuleList;

/// What the name of a policy's file has behind the policy's.
pub const SUFFIX: &str = ".toml";

/// Longest name of a policy, in bytes.
const MAX_NAME_BYTES: usize = 64;

/// The policies that have a name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policies {
    directory: Option<String>,
    named: BTreeMap<String, NamedPolicy>,
}

/// What a name stands for: presets, rules, or both.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NamedPolicy {
    /// Presets.
    pub presets: Option<Presets>,
    /// Rules for what the container sends.
    pub egress: Option<Arc<RuleList>>,
    /// Rules for what the container receives.
    pub ingress: Option<Arc<RuleList>>,
}

impl NamedPolicy {
    /// Whether it says nothing at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// How many rules it has.
    #[must_use]
    pub fn rules(&self) -> usize {
        let Self { presets: _, egress, ingress } = self;
        [egress, ingress].into_iter().flatten().map(|rules| rules.len()).sum()
    }
}

impl From<Presets> for NamedPolicy {
    fn from(presets: Presets) -> Self {
        Self { presets: Some(presets), ..Self::default() }
    }
}

impl Policies {
    /// The policies of a directory.
    #[must_use]
    pub fn new(directory: String, named: BTreeMap<String, NamedPolicy>) -> Self {
        Self { directory: Some(directory), named }
    }

    /// Where they are, if there is such a place.
    pub(super) fn directory(&self) -> Option<&str> {
        self.directory.as_deref()
    }

    /// The file of a policy.
    #[must_use]
    pub fn file(&self, name: &str) -> Option<PathBuf> {
        Some(Path::new(self.directory()?).join(format!("{name}{SUFFIX}")))
    }

    /// Every name.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.named.keys().map(String::as_str)
    }

    /// What a name stands for.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&NamedPolicy> {
        self.named.get(name)
    }

    /// Every name with what it stands for, in the order of the names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &NamedPolicy)> {
        self.named.iter().map(|(name, policy)| (name.as_str(), policy))
    }

    /// Whether labels use a policy.
    #[must_use]
    pub fn is_used(name: &str, labels: &BTreeMap<String, String>) -> bool {
        let policies = ["xdp.policy", "tc.policy"].into_iter().filter_map(|key| labels.get(key));
        policies.into_iter().any(|value| value == name)
    }
}

/// Whether text has the form of a policy's name.
pub(super) fn looks_like_name(text: &str) -> bool {
    let allowed = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-');
    !text.is_empty() && text.len() <= MAX_NAME_BYTES && text.bytes().all(allowed)
}

/// Whether a policy may have this name.
///
/// # Errors
///
/// When it is not of the form of a name, or is a preset's.
pub fn check_name(name: &str) -> Result<(), String> {
    if !looks_like_name(name) {
        return Err(format!(
            "expected a name of lower-case letters, digits and -, of {MAX_NAME_BYTES} bytes at most"
        ));
    }
    if Presets::NAMED.iter().any(|(preset, _)| *preset == name) {
        return Err(format!("{name} is the name of a preset: give the policy another"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_plain_and_no_presets() {
        for name in ["web", "web-2", "0", "-", "closed"] {
            assert_eq!(check_name(name), Ok(()), "{name}");
        }
        for name in ["", "Web", "web_2", "web.2", "wéb", "a b", &"x".repeat(65), "drop-tcp", "log"]
        {
            assert!(check_name(name).is_err(), "{name}");
        }
    }
}
