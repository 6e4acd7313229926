//! The named policies: a file each, in a directory beside the configuration.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use plugin_common::presets::Presets;

use super::document::Reader;
use super::file;
use super::problem::Problem;
use crate::labels::{Policies, check_name, parse_list};

const SUFFIX: &str = ".toml";
const KEYS: [&str; 1] = ["policy"];

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

fn read(path: &Path, problems: &mut Vec<Problem>) -> Presets {
    let text = match file::read(path) {
        Ok(Some(text)) => text,
        Ok(None) => {
            problems.push(Problem::of_file(path, "was removed while it was read: load it again"));
            return Presets::PASS;
        }
        Err(reason) => {
            problems.push(Problem::of_file(path, reason));
            return Presets::PASS;
        }
    };
    let mut reader = Reader::new(path, &text);
    let presets = parse(&mut reader);
    let mut found = reader.into_problems();
    let complete = found.is_empty();
    problems.append(&mut found);
    if presets.is_none() && complete {
        let expected = "has no key policy: expected, for example, policy = \"drop-tcp, log\"";
        problems.push(Problem::of_file(path, expected));
    }
    presets.unwrap_or_default()
}

fn parse(reader: &mut Reader<'_>) -> Option<Presets> {
    let mut presets = None;
    for (key, value) in reader.parse() {
        if key.get_ref() != "policy" {
            reader.unknown_key(key.span(), key.get_ref(), &KEYS);
            continue;
        }
        let Some(text) = reader.string("policy", &value) else { continue };
        match parse_list("policy", text) {
            Ok(all) => presets = Some(all),
            Err(error) => reader.problem(value.span(), error.of_a_key()),
        }
    }
    presets
}
