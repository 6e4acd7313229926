//! The value of `xdp.policy` and `tc.policy`: presets, comma-separated. Pure.

use plugin_common::presets::Presets;

use super::error::LabelError;

/// Reads a preset list. After a comma, spaces may stand, and nowhere else.
pub(super) fn parse(key: &str, value: &str) -> Result<Presets, LabelError> {
    let mut all = Presets::PASS;
    let mut column = 1;
    for (position, item) in value.split(',').enumerate() {
        let name = if position == 0 { item } else { item.trim_start_matches(' ') };
        let spaces = item.len() - name.len();
        let Some((_, preset)) = Presets::NAMED.iter().find(|(known, _)| *known == name) else {
            let names = Presets::NAMED.iter().map(|(known, _)| *known);
            return Err(LabelError::unexpected(key, column + spaces, name, names));
        };
        all = all | *preset;
        column += item.chars().count() + 1;
    }
    Ok(all)
}

/// The list that [`parse`] reads back as these presets, in the order of the documentation.
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
                parse("xdp.policy", &format_presets(presets)),
                Ok(presets),
                "{}",
                format_presets(presets)
            );
        }
    }
}
