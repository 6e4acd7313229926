//! The named policies: a file each, in a directory beside the configuration.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use plugin_common::presets::Presets;

use super::document::{Reader, Value};
use super::file;
use super::problem::Problem;
use crate::labels::{NamedPolicy, Policies, SUFFIX, check_name, parse_list, parse_rules};
use crate::rules::{Direction, MAX_RULES, RuleList};

pub(super) const KEYS: [&str; 3] = ["egress", "ingress", "policy"];

/// Reads every policy of a directory, which need not be there. What is wrong is added to
/// `problems`; the name of a policy that is wrong counts as known, so that nothing else complains.
pub(super) fn load(directory: &Path, problems: &mut Vec<Problem>) -> Policies {
    let mut named = BTreeMap::new();
    match list(directory) {
        Err(reason) => problems.push(Problem::of_file(directory, reason)),
        Ok(files) => {
            for (name, path) in files {
                if let Err(reason) = check_name(&name) {
                    problems.push(Problem::of_file(&path, reason));
                } else {
                    named.insert(name, read(&path, problems));
                }
            }
        }
    }
    Policies::new(directory.display().to_string(), named)
}

/// The files that are policies, by the names of these. Others, such as an editor's, are left alone.
fn list(directory: &Path) -> Result<BTreeMap<String, PathBuf>, String> {
    let said = |error: io::Error| error.to_string();
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        entries => entries.map_err(said)?,
    };
    file::trust(&fs::metadata(directory).map_err(said)?)?;
    let mut files = BTreeMap::new();
    for entry in entries {
        let entry = entry.map_err(said)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if let Some(name) = name.strip_suffix(SUFFIX).filter(|name| !name.starts_with('.')) {
            files.insert(name.to_owned(), entry.path());
        }
    }
    Ok(files)
}

/// Reads a policy. One that is wrong counts as one that drops nothing: it is never used, since what
/// is wrong refuses the configuration.
fn read(path: &Path, problems: &mut Vec<Problem>) -> NamedPolicy {
    let text = match file::read(path) {
        Ok(Some(text)) => text,
        Ok(None) => {
            problems.push(Problem::of_file(path, "was removed while it was read: load it again"));
            return NamedPolicy::default();
        }
        Err(reason) => {
            problems.push(Problem::of_file(path, reason));
            return NamedPolicy::default();
        }
    };
    read_text(path, &text, problems)
}

/// The name that a file gives to the policy in it, if it is one.
pub(super) fn name_of(path: &Path) -> Option<String> {
    let name = path.file_name()?.to_string_lossy();
    name.strip_suffix(SUFFIX).map(str::to_owned)
}

/// Reads the text of a policy.
pub(super) fn read_text(path: &Path, text: &str, problems: &mut Vec<Problem>) -> NamedPolicy {
    let mut reader = Reader::new(path, text);
    let policy = parse(&mut reader);
    let mut found = reader.into_problems();
    if policy.is_empty() && found.is_empty() {
        let expected = "has none of the keys policy, egress and ingress: expected, for example, \
                        policy = \"drop-tcp, log\"";
        found.push(Problem::of_file(path, expected));
    } else if policy.rules() > MAX_RULES {
        let count = policy.rules();
        let sentence = format!("{count} rules in both directions: {MAX_RULES} are the most");
        found.push(Problem::of_file(path, sentence));
    }
    problems.append(&mut found);
    policy
}

fn parse(reader: &mut Reader<'_>) -> NamedPolicy {
    let mut policy = NamedPolicy::default();
    for (key, value) in reader.parse() {
        let name: &str = key.get_ref();
        match name {
            "policy" => policy.presets = presets(reader, &value),
            "egress" => policy.egress = rules(reader, name, Direction::Egress, &value),
            "ingress" => policy.ingress = rules(reader, name, Direction::Ingress, &value),
            _ => reader.unknown_key(key.span(), name, &KEYS),
        }
    }
    policy
}

fn presets(reader: &mut Reader<'_>, value: &Value<'_>) -> Option<Presets> {
    let text = reader.string("policy", value)?;
    let presets = parse_list("policy", text);
    presets.map_err(|error| reader.problem(value.span(), error.of_a_key())).ok()
}

fn rules(
    reader: &mut Reader<'_>,
    key: &str,
    direction: Direction,
    value: &Value<'_>,
) -> Option<Arc<RuleList>> {
    let errors = match parse_rules(key, direction, reader.string(key, value)?) {
        Ok(rules) => return Some(rules),
        Err(errors) => errors,
    };
    for error in errors {
        reader.problem(value.span(), error.of_a_key());
    }
    None
}
