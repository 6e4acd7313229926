//! Files that people write: Compose files, and the operator's.

use std::path::Path;

use anyhow::{Result, ensure};
use ebpf_netns_plugin::compose::{self, Checked, Source};
use ebpf_netns_plugin::config;
use ebpf_netns_plugin::finding::Finding;
use ebpf_netns_plugin::labels::Policies;

/// Compose files: they are understood or refused, at places that are there.
///
/// # Errors
///
/// What does not hold.
pub fn compose(data: &[u8]) -> Result<()> {
    let named = |(number, text)| Source { name: format!("{number}.yaml"), text };
    let sources: Vec<Source> = (1..).zip(super::texts(data)).map(named).collect();
    match compose::check(&sources, &Policies::default()) {
        Ok(Checked { services: _, hints }) => {
            hints.iter().try_for_each(|hint| is_there(&sources, hint))
        }
        Err(problems) => {
            ensure!(problems.iter().count() > 0, "refused without a reason");
            problems.iter().try_for_each(|problem| is_there(&sources, problem))
        }
    }
}

fn is_there(sources: &[Source], finding: &Finding) -> Result<()> {
    let said = finding.to_string();
    ensure!(!said.contains(char::is_control), "a control character in {said:?}");
    let source = sources.iter().find(|source| finding.file.as_ref() == Some(&source.name));
    let Some(Source { text, .. }) = source else { anyhow::bail!("{said}: of no file") };
    let Some(line) = finding.line else { return Ok(()) };
    // YAML ends lines in more ways than one.
    let lines = text.split(['\n', '\r']).count();
    ensure!((1..=lines + 1).contains(&line), "{said}: the file has {lines} lines");
    Ok(())
}

/// A configuration and a policy: they are understood or refused.
///
/// # Errors
///
/// What does not hold.
pub fn config(data: &[u8]) -> Result<()> {
    let text = String::from_utf8_lossy(data);
    let name = Path::new("web.toml");
    let errors = [
        config::parse(name, &text, Policies::default()).err(),
        config::parse_policy(name, &text).err(),
    ];
    let _known = config::is_policy(&text);
    for errors in errors.into_iter().flatten() {
        ensure!(errors.iter().count() > 0, "refused without a reason");
        for problem in errors.iter() {
            let said = problem.to_string();
            ensure!(!said.contains(char::is_control), "a control character in {said:?}");
        }
    }
    Ok(())
}
