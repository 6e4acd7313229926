//! From what was seen to what is to be said of it: what it means, and the way out. Pure.

mod containers;
mod daemon;
mod docker;
mod host;
mod kernel;
mod networks;
#[cfg(test)]
mod tests;

use std::path::Path;

use ebpf_netns::docker::Survey;

use super::finding::Findings;
use super::{Facts, Report};
use crate::runtime;

/// Everything that is to be said of a machine.
#[must_use]
pub fn report(facts: &Facts) -> Report {
    let areas: [fn(&Facts) -> Findings; 6] = [
        kernel::findings,
        host::rights,
        docker::findings,
        networks::findings,
        containers::findings,
        daemon::findings,
    ];
    Report::of(areas.into_iter().flat_map(|area| area(facts).into_vec()).collect())
}

/// The name under which an engine has our runtime, and its program.
#[must_use]
pub fn registered(survey: &Survey) -> Option<(&str, &Path)> {
    survey.runtimes.iter().find_map(|(name, program)| {
        let program = program.as_deref()?;
        let ours = program.file_name().is_some_and(|file| file == runtime::PROGRAM);
        ours.then_some((name.as_str(), program))
    })
}

/// A few names in a sentence.
fn list<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    const SHOWN: usize = 5;
    let names: Vec<&str> = names.into_iter().collect();
    let mut shown = names.iter().take(SHOWN).copied().collect::<Vec<_>>().join(", ");
    if let Some(more @ 1..) = names.len().checked_sub(SHOWN) {
        shown = format!("{shown} and {more} more");
    }
    shown
}

/// `1 veth`, `2 veths`.
fn count(number: usize, one: &str) -> String {
    if number == 1 { format!("1 {one}") } else { format!("{number} {one}s") }
}
