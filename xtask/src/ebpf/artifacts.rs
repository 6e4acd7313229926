//! What a build made, and which files it read, from cargo's own account of it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde::Deserialize;

/// What `cargo build --message-format json` said.
#[derive(Debug)]
pub(super) struct Artifacts {
    /// The linked objects, by the name of their `[[bin]]`.
    pub(super) programs: BTreeMap<String, PathBuf>,
    /// The files of this repository that the compiler read, relative to its root.
    pub(super) files: BTreeSet<String>,
}

#[derive(Deserialize)]
struct Message {
    reason: String,
    target: Option<Target>,
    #[serde(default)]
    filenames: Vec<PathBuf>,
    executable: Option<PathBuf>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
    src_path: PathBuf,
}

impl Artifacts {
    /// Reads cargo's messages, and the lists of files that it left beside each artifact.
    pub(super) fn parse(messages: &str, root: &Path) -> Result<Self> {
        let mut artifacts = Self { programs: BTreeMap::new(), files: BTreeSet::new() };
        for line in messages.lines() {
            let message: Message =
                serde_json::from_str(line).with_context(|| format!("read {line}"))?;
            let Message { reason, target: Some(target), filenames, executable } = message else {
                continue;
            };
            if reason != "compiler-artifact" || !target.src_path.starts_with(root) {
                continue;
            }
            for file in &filenames {
                let list = file.with_extension("d");
                // Only what cargo puts at the top of its directory has such a list; the libraries
                // below are in the lists of the programs.
                if let Ok(text) = fs::read_to_string(&list) {
                    artifacts.files.extend(inputs(&text, root));
                }
            }
            if let Some(program) = executable {
                artifacts.programs.insert(target.name, program);
            }
        }
        Ok(artifacts)
    }
}

/// The inputs in a make-style list (`output: input input`), as far as they lie under `root`.
fn inputs(list: &str, root: &Path) -> BTreeSet<String> {
    // A space in a name stands as `\ `.
    const SPACE: &str = "\u{1}";
    let words = list.lines().filter_map(|line| Some(line.split_once(": ")?.1.to_owned()));
    let words: Vec<String> = words.map(|inputs| inputs.replace("\\ ", SPACE)).collect();
    words
        .iter()
        .flat_map(|inputs| inputs.split_whitespace())
        .map(|word| word.replace(SPACE, " "))
        .filter_map(|path| Some(Path::new(&path).strip_prefix(root).ok()?.to_str()?.to_owned()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inputs_are_those_of_the_repository() {
        let list = "/r/target/x: /r/a/src/main.rs /r/a/b\\ c.rs /home/.cargo/registry/d.rs\n";
        let found: Vec<String> = inputs(list, Path::new("/r")).into_iter().collect();
        assert_eq!(found, ["a/b c.rs", "a/src/main.rs"]);
    }

    #[test]
    fn messages_name_programs_of_the_repository_alone() {
        let line = |path: &str, executable: &str| {
            format!(
                r#"{{"reason":"compiler-artifact","target":{{"name":"policy","src_path":"{path}"}},"filenames":[],"executable":{executable}}}"#
            )
        };
        let messages = [
            line("/r/plugin-ebpf/src/bin/policy.rs", "\"/r/target/policy\""),
            line("/cargo/build.rs", "\"/cargo/build-script\""),
            line("/r/plugin-ebpf/src/lib.rs", "null"),
            r#"{"reason":"build-finished","success":true}"#.to_owned(),
        ];
        let artifacts = Artifacts::parse(&messages.join("\n"), Path::new("/r")).unwrap();
        let expected = (&"policy".to_owned(), &PathBuf::from("/r/target/policy"));
        assert_eq!(artifacts.programs.iter().collect::<Vec<_>>(), [expected]);
    }
}
