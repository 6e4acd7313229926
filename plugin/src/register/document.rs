//! Docker's configuration as text: adding and removing a runtime changes what it must and nothing
//! else, order, spaces and unknown keys included. Pure.

use std::path::{Path, PathBuf};

use jsonc_parser::ParseOptions;
use jsonc_parser::cst::{CstInputValue, CstObject, CstObjectProp, CstRootNode};
use serde_json::Value;

use super::RuntimeName;
use crate::runtime::PROGRAM;

const RUNTIMES: &str = "runtimes";
const DEFAULT: &str = "default-runtime";
const PATH: &str = "path";
/// What Docker uses when nothing is said.
const STOCK: &str = "runc";

/// A change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change<'a> {
    /// The runtime is there.
    Add {
        /// Our program.
        program: &'a Path,
        /// Whether it is what containers get that ask for none.
        default: bool,
    },
    /// The runtime is not there, and a Docker that runs notices: a key that is missing from the file
    /// leaves it as it was, so emptied keys stay.
    Empty,
    /// The runtime is not there, and neither are the keys that were emptied.
    Remove,
}

/// What the configuration says of a runtime.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Registered {
    /// The program, if the runtime is there.
    pub(super) program: Option<PathBuf>,
    /// Whether it is what containers get that ask for none.
    pub(super) default: bool,
}

/// The configuration is not what Docker takes.
#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    /// It is not JSON.
    #[error("line {}, column {}: not JSON: {}", .0.line(), .0.column(), without_place(.0))]
    Syntax(serde_json::Error),
    /// It is JSON that cannot be edited.
    #[error("not understood: {0}")]
    Edit(String),
    /// A value is of another kind than Docker takes.
    #[error("{what}: expected {expected}")]
    Kind {
        /// Which value.
        what: String,
        /// What it should be.
        expected: &'static str,
    },
    /// The name is taken.
    #[error("it has a runtime {name} already, and that is {program}: give another --name")]
    Taken {
        /// The name.
        name: String,
        /// What has it.
        program: String,
    },
}

/// What the configuration says of the runtime.
pub(super) fn registered(text: &str, name: &RuntimeName) -> Result<Registered, DocumentError> {
    let document = check(text)?;
    let program = document.get(RUNTIMES).and_then(|all| all.get(name.as_str()));
    let program = program.and_then(|one| one.get(PATH)).and_then(Value::as_str);
    if let Some(program) = program.filter(|program| !is_ours(program)) {
        let (name, program) = (name.to_string(), program.to_owned());
        return Err(DocumentError::Taken { name, program });
    }
    let default = document.get(DEFAULT).and_then(Value::as_str) == Some(name.as_str());
    Ok(Registered { program: program.map(PathBuf::from), default })
}

/// Where the configuration says that dockerd writes its process id.
pub(super) fn pidfile(text: &str) -> Option<PathBuf> {
    check(text).ok()?.get("pidfile")?.as_str().map(PathBuf::from)
}

/// The text with a change made. The same text when there is nothing to change.
pub(super) fn edit(
    text: &str,
    name: &RuntimeName,
    change: Change<'_>,
) -> Result<String, DocumentError> {
    let there = registered(text, name)?;
    let blank = text.trim().is_empty();
    let root = CstRootNode::parse(if blank { "{}\n" } else { text }, &ParseOptions::default())
        .map_err(|error| DocumentError::Edit(error.to_string()))?;
    let document = root.object_value_or_set();
    match change {
        Change::Add { program, default } => add(&document, name, program, default, &there)?,
        Change::Empty | Change::Remove => take(&document, name, change, &there)?,
    }
    let edited = root.to_string();
    let nothing = blank && matches!(change, Change::Empty | Change::Remove);
    Ok(if nothing { text.to_owned() } else { edited })
}

fn add(
    document: &CstObject,
    name: &RuntimeName,
    program: &Path,
    default: bool,
    there: &Registered,
) -> Result<(), DocumentError> {
    if there.program.as_deref() != Some(program) {
        let path = program.to_str().ok_or_else(|| DocumentError::Kind {
            what: program.display().to_string(),
            expected: "a path that is text, which is all that JSON can hold",
        })?;
        let runtimes = object(document, RUNTIMES)?;
        // What else was said of it, such as arguments, stays.
        let entry = runtimes.object_value_or_set(name.as_str());
        set(&entry, PATH, path);
    }
    if default && !there.default {
        set(document, DEFAULT, name.as_str());
    }
    Ok(())
}

fn take(
    document: &CstObject,
    name: &RuntimeName,
    change: Change<'_>,
    there: &Registered,
) -> Result<(), DocumentError> {
    if there.default {
        match change {
            Change::Remove => document.get(DEFAULT).into_iter().for_each(CstObjectProp::remove),
            _ => set(document, DEFAULT, STOCK),
        }
    }
    if there.program.is_some() {
        let runtimes = object(document, RUNTIMES)?;
        runtimes.get(name.as_str()).into_iter().for_each(CstObjectProp::remove);
        if change == Change::Remove && runtimes.properties().is_empty() {
            document.get(RUNTIMES).into_iter().for_each(CstObjectProp::remove);
        }
    }
    Ok(())
}

fn set(document: &CstObject, key: &str, value: &str) {
    let value = CstInputValue::String(value.to_owned());
    match document.get(key) {
        Some(entry) => entry.set_value(value),
        None => drop(document.append(key, value)),
    }
}

fn object(document: &CstObject, key: &str) -> Result<CstObject, DocumentError> {
    document
        .object_value_or_create(key)
        .ok_or_else(|| DocumentError::Kind { what: key.to_owned(), expected: "an object" })
}

/// Reads it as strictly as Docker does; what it takes as empty is an empty object.
fn check(text: &str) -> Result<Value, DocumentError> {
    if text.trim().is_empty() {
        return Ok(Value::Object(serde_json::Map::new()));
    }
    let document: Value = serde_json::from_str(text).map_err(DocumentError::Syntax)?;
    let wrong = |what: &str| DocumentError::Kind { what: what.to_owned(), expected: "an object" };
    if !document.is_object() {
        return Err(wrong("the file"));
    }
    if let Some(runtimes) = document.get(RUNTIMES) {
        let runtimes = runtimes.as_object().ok_or_else(|| wrong(RUNTIMES))?;
        let odd = runtimes.iter().find(|(_, runtime)| !runtime.is_object());
        if let Some((name, _)) = odd {
            return Err(wrong(&format!("{RUNTIMES}.{name}")));
        }
    }
    Ok(document)
}

/// Whether a program is ours, wherever it lies.
fn is_ours(program: &str) -> bool {
    Path::new(program).file_name().is_some_and(|name| name == PROGRAM)
}

/// The reader's message without the place, which comes first in ours.
fn without_place(error: &serde_json::Error) -> String {
    let said = error.to_string();
    said.split_once(" at line ").map_or(said.clone(), |(before, _)| before.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name() -> RuntimeName {
        "ebpf-netns".parse().unwrap()
    }

    const PROGRAM: &str = "/usr/bin/ebpf-netns-runtime";

    fn edited(text: &str, change: Change<'_>) -> String {
        edit(text, &name(), change).unwrap()
    }

    fn adding(default: bool) -> Change<'static> {
        Change::Add { program: Path::new(PROGRAM), default }
    }

    #[test]
    fn a_new_file_has_the_runtime_alone() {
        let expected = format!(
            "{{\n  \"runtimes\": {{\n    \"ebpf-netns\": {{\n      \"path\": \"{PROGRAM}\"\n    \
             }}\n  }}\n}}\n"
        );
        assert_eq!(edited("", adding(false)), expected);
        assert_eq!(edited(" \n", adding(false)), expected, "Docker takes it as empty too");
    }

    #[test]
    fn everything_else_stays_as_it_was_written() {
        // Odd on purpose: tabs, values in one line, a large number, a key nobody knows, an escape.
        let text = "{\n\t\"zz-unknown\" : {\"b\":1,  \"a\": 1e400},\n\t\"hosts\": [\"unix://\", \
                    \"fd://\"],\n\n\t\"big\": 123456789012345678901234567890,\n\t\"runtimes\": \
                    {\n\t\t\"crun\": { \"path\": \"/usr/bin/crun\" }\n\t},\n\t\"x\": \"\\u00e9\"\n}";
        let added = edited(&text.replace("1e400", "1e40"), adding(true));
        for part in [
            "\t\"zz-unknown\" : {\"b\":1,  \"a\": 1e40},",
            "[\"unix://\", \"fd://\"]",
            "\n\n\t\"big\": 123456789012345678901234567890",
            "{ \"path\": \"/usr/bin/crun\" }",
            "\"\\u00e9\"",
            "\t\"default-runtime\": \"ebpf-netns\"",
        ] {
            assert!(added.contains(part), "{part:?} in {added}");
        }
        let there = registered(&added, &name()).unwrap();
        assert_eq!(there, Registered { program: Some(PROGRAM.into()), default: true });
        assert_eq!(edited(&added, adding(true)), added, "nothing to add");
        assert_eq!(edited(&added, adding(false)), added, "a default is not taken back");
        assert_eq!(edited(&added, Change::Remove), text.replace("1e400", "1e40"), "as before");
    }

    #[test]
    fn emptied_keys_stay_for_a_docker_that_runs() {
        let added = edited("{}", adding(true));
        let emptied: Value = serde_json::from_str(&edited(&added, Change::Empty)).unwrap();
        assert_eq!(emptied, serde_json::json!({ "runtimes": {}, "default-runtime": "runc" }));
        let removed = edited(&edited(&added, Change::Empty), Change::Remove);
        assert!(removed.contains("runc"), "what is not ours is not taken: {removed}");
        let removed: Value = serde_json::from_str(&edited(&added, Change::Remove)).unwrap();
        assert_eq!(removed, serde_json::json!({}));
        for text in ["", "{}", "{ \"debug\": true }\n"] {
            assert_eq!(edited(text, Change::Remove), text, "nothing to remove");
        }
    }

    #[test]
    fn our_program_may_move_and_keeps_its_arguments() {
        let text = r#"{"runtimes":{"ebpf-netns":{"runtimeArgs":["--x"],"path":"/old/ebpf-netns-runtime"}}}"#;
        let moved: Value = serde_json::from_str(&edited(text, adding(false))).unwrap();
        let expected = serde_json::json!({ "runtimeArgs": ["--x"], "path": PROGRAM });
        assert_eq!(moved["runtimes"]["ebpf-netns"], expected);
    }

    #[test]
    fn what_is_not_dockers_configuration_is_refused_with_its_place() {
        for (text, words) in [
            ("{\n  \"a\": 1,\n}", ["line 3, column 1", "trailing comma"]),
            ("{\n  // no\n}", ["line 2, column 3", "not JSON"]),
            ("{\"a\": 'x'}", ["line 1, column 7", "not JSON"]),
            ("[]", ["the file", "an object"]),
            ("{\"runtimes\": []}", ["runtimes:", "an object"]),
            ("{\"runtimes\": {\"x\": 1}}", ["runtimes.x:", "an object"]),
            (
                "{\"runtimes\": {\"ebpf-netns\": {\"path\": \"/bin/crun\"}}}",
                ["/bin/crun", "--name"],
            ),
        ] {
            let error = edit(text, &name(), adding(false)).unwrap_err().to_string();
            assert!(words.iter().all(|word| error.contains(word)), "{text}: {error}");
            assert_eq!(error.lines().count(), 1, "{error}");
        }
    }
}
