//! The value of `xdp.policy` and `tc.policy`: presets, comma-separated, or the name of a policy.
//! Pure.

use plugin_common::presets::Presets;

use super::error::LabelError;
use super::policies::{NamedPolicy, Policies, looks_like_name};

/// Reads a preset list, or the name of one of the policies.
pub(super) fn parse(
    key: &str,
    value: &str,
    policies: &Policies,
) -> Result<NamedPolicy, LabelError> {
    if let Some(policy) = policies.get(value) {
        return Ok(policy.clone());
    }
    parse_list(key, value).map(NamedPolicy::from).map_err(|error| {
        if policies.directory().is_some() && looks_like_name(value) {
            LabelError::no_such_policy(key, value, names(), policies)
        } else {
            error
        }
    })
}

/// Reads a preset list. After a comma, spaces may stand, and nowhere else.
///
/// # Errors
///
/// At the first word that is no preset.
pub fn parse_list(key: &str, value: &str) -> Result<Presets, LabelError> {
    let mut all = Presets::PASS;
    let mut column = 1;
    for (position, item) in value.split(',').enumerate() {
        let name = if position == 0 { item } else { item.trim_start_matches(' ') };
        let spaces = item.len() - name.len();
        let Some((_, preset)) = Presets::NAMED.iter().find(|(known, _)| *known == name) else {
            return Err(LabelError::unexpected(key, column + spaces, name, names()));
        };
        all = all | *preset;
        column += item.chars().count() + 1;
    }
    Ok(all)
}

fn names() -> impl Iterator<Item = &'static str> {
    Presets::NAMED.iter().map(|(known, _)| *known)
}

/// The list that [`parse_list`] reads back as these presets, in the order of the documentation.
#[must_use]
pub(crate) fn format_presets(presets: Presets) -> String {
    let mut names: Vec<&str> = Presets::NAMED
        .iter()
        .filter(|(_, preset)| *preset != Presets::PASS && presets.contains(*preset))
        .map(|(name, _)| *name)
        .collect();
    if presets.contains(Presets::CLOSED) {
        names.push("closed");
    }
    if names.is_empty() {
        names.push("pass");
    }
    names.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_formatted_reads_back() {
        for bits in 0..32 {
            let presets = Presets::from_bits(bits);
            assert_eq!(
                parse_list("xdp.policy", &format_presets(presets)),
                Ok(presets),
                "{}",
                format_presets(presets)
            );
        }
    }
}
