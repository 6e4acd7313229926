//! Rules: text, what it means, and what the datapath makes of it.

use anyhow::{Result, ensure};
use ebpf_netns_plugin::rules::{self, Direction, RuleList, check_entries, expand};

use super::probes::{Names, agree, compiled, edges};

/// Any text is read or refused; what is read shows as text that reads as the same; and the tables
/// that the kernel searches say what the reference says.
///
/// # Errors
///
/// What does not hold.
pub fn rules(data: &[u8]) -> Result<()> {
    let text = String::from_utf8_lossy(data);
    for direction in [Direction::Egress, Direction::Ingress] {
        match RuleList::parse(direction, &text) {
            Ok(rules) => understood(direction, &rules)?,
            Err(errors) => {
                ensure!(!errors.is_empty(), "refused without a reason");
                for error in errors {
                    let (said, shown) = (error.to_string(), format!("{error:#}"));
                    ensure!(!said.contains(char::is_control), "a control character in {said:?}");
                    ensure!(shown.len() < 4096, "a flood: {} bytes", shown.len());
                    let Some((line, column)) = error.place() else { continue };
                    let found = text.split('\n').nth(line - 1).map(|line| line.chars().count());
                    ensure!(
                        found.is_some_and(|length| (1..=length + 1).contains(&column)),
                        "there is no line {line}, column {column}"
                    );
                }
            }
        }
    }
    Ok(())
}

fn understood(direction: Direction, list: &RuleList) -> Result<()> {
    let shown = list.show(direction).to_string();
    let again = RuleList::parse(direction, &shown);
    let again = again.map_err(|errors| anyhow::anyhow!("{shown:?} is refused: {errors:?}"))?;
    ensure!(again.show(direction).to_string() == shown, "{shown:?} is shown differently");
    for hint in rules::hints(direction, list) {
        ensure!(hint.rule > 0 || !hint.to_string().contains("never decides"), "{hint}");
    }
    let expansion = expand(direction, [list], &Names);
    let same = expand(direction, [&again], &Names);
    ensure!(expansion.layers == same.layers, "{shown:?} means something else");
    if check_entries([&expansion]).is_err() {
        return Ok(());
    }
    let Some(tables) = compiled(&expansion) else { return Ok(()) };
    edges(&expansion).try_for_each(|probe| agree(&expansion, &tables, &probe))
}
