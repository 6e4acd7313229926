//! The operator's configuration: a file, and a directory of named policies beside it.
//!
//! Strict: what is not understood is an error, all errors are collected, and an error never becomes
//! a default. Reads files, and changes nothing.

mod document;
mod file;
mod policies;
mod problem;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use self::document::{Reader, Value};
pub(crate) use self::file::trust;
pub use self::problem::{ConfigErrors, Problem};
use crate::labels::{self, LabelPolicy, NamedPolicy, Policies};
use crate::metrics::Loopback;
use crate::plan::TcFlavour;

/// The file unless the daemon is told otherwise; it need not be there.
pub const DEFAULT_FILE: &str = "/etc/ebpf-netns/config.toml";

/// The directory of the named policies, beside the file.
const POLICIES: &str = "policies";

const KEYS: [&str; 9] = [
    "default",
    "driver",
    "metrics",
    "on_error",
    "programs",
    "require_sandbox",
    "strict",
    "strict_bridges",
    "tc",
];

/// The longest name of an interface, in bytes.
const MAX_INTERFACE_BYTES: usize = 15;

/// Where the configuration is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    file: PathBuf,
    required: bool,
}

impl Place {
    /// A file that has to be there.
    #[must_use]
    pub fn named(file: PathBuf) -> Self {
        Self { file, required: true }
    }

    /// The directory that all of it is in.
    #[must_use]
    pub fn directory(&self) -> &Path {
        match self.file.parent() {
            Some(parent) if parent != Path::new("") => parent,
            _ => Path::new("."),
        }
    }
}

impl Default for Place {
    /// [`DEFAULT_FILE`], which need not be there.
    fn default() -> Self {
        Self { file: PathBuf::from(DEFAULT_FILE), required: false }
    }
}

/// What the operator wants.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// The file that it was read from; none if there is no file.
    pub file: Option<PathBuf>,
    /// The policy of every container, which labels can only tighten.
    pub default: Option<LabelPolicy>,
    /// Whether to be Docker's network driver.
    pub driver: bool,
    /// Where metrics are served, beside the control socket.
    pub metrics: Option<Loopback>,
    /// What a label does that is not understood.
    pub on_error: OnError,
    /// The directory of the programs that labels can name.
    pub programs: Option<PathBuf>,
    /// Whether the daemon ends where the kernel cannot confine it in every way.
    pub require_sandbox: bool,
    /// Whether what crosses a bridge has to belong to an interface that is known.
    pub strict: bool,
    /// Bridges that strict mode governs, in place of all of Docker's.
    pub strict_bridges: Vec<String>,
    /// Which ways to attach at TC may be used.
    pub tc: Option<TcFlavour>,
    /// Policies that labels can name.
    pub policies: Policies,
}

/// What a label does that is not understood.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnError {
    /// Nothing passes.
    #[default]
    Closed,
    /// The operator's default policy stands, or nothing where there is none.
    Audit,
}

/// Reads the configuration.
///
/// # Errors
///
/// Everything that is wrong with any of its files.
pub fn load(place: &Place) -> Result<Config, ConfigErrors> {
    let Place { file: path, required } = place;
    let mut problems = Vec::new();
    let policies = policies::load(&place.directory().join(POLICIES), &mut problems);
    let config = match file::read(path) {
        Ok(Some(text)) => {
            let mut reader = Reader::new(path, &text);
            let config = read(&mut reader, policies);
            // The file first, and the policies that it may name after it.
            problems.splice(0..0, reader.into_problems());
            Config { file: Some(path.clone()), ..config }
        }
        Ok(None) => {
            if *required {
                let gone = "is not there: make it, or leave out --config";
                problems.insert(0, Problem::of_file(path, gone));
            }
            Config { policies, ..Config::default() }
        }
        Err(reason) => {
            problems.insert(0, Problem::of_file(path, reason));
            Config::default()
        }
    };
    if problems.is_empty() { Ok(config) } else { Err(ConfigErrors(problems)) }
}

/// Reads the text of a configuration, wherever it is from, to which these policies are known.
///
/// # Errors
///
/// Everything that is wrong with it.
pub fn parse(name: &Path, text: &str, policies: Policies) -> Result<Config, ConfigErrors> {
    let mut reader = Reader::new(name, text);
    let config = read(&mut reader, policies);
    let problems = reader.into_problems();
    if problems.is_empty() {
        Ok(Config { file: Some(name.to_owned()), ..config })
    } else {
        Err(ConfigErrors(problems))
    }
}

/// Reads the text of a named policy, wherever it is from.
///
/// # Errors
///
/// Everything that is wrong with it, and with the name if the text is of a file.
pub fn parse_policy(name: &Path, text: &str) -> Result<NamedPolicy, ConfigErrors> {
    let mut problems = Vec::new();
    if let Some(Err(reason)) = policies::name_of(name).map(|name| labels::check_name(&name)) {
        problems.push(Problem::of_file(name, reason));
    }
    let policy = policies::read_text(name, text, &mut problems);
    if problems.is_empty() { Ok(policy) } else { Err(ConfigErrors(problems)) }
}

/// Whether a text is a named policy rather than a configuration: by the keys that it has.
#[must_use]
pub fn is_policy(text: &str) -> bool {
    let mut reader = Reader::new(Path::new(""), text);
    reader.parse().keys().any(|key| policies::KEYS.contains(&key.get_ref().as_ref()))
}

fn read(reader: &mut Reader<'_>, policies: Policies) -> Config {
    let mut config = Config { policies, ..Config::default() };
    for (key, value) in reader.parse() {
        let name: &str = key.get_ref();
        match name {
            "default" => config.default = default_policy(reader, &value, &config.policies),
            "driver" => config.driver = reader.boolean(name, &value).unwrap_or_default(),
            "metrics" => config.metrics = metrics(reader, name, &value),
            "on_error" => {
                let words = [("closed", OnError::Closed), ("audit", OnError::Audit)];
                config.on_error = reader.word(name, &value, &words).unwrap_or_default();
            }
            "programs" => config.programs = programs(reader, name, &value),
            "require_sandbox" => {
                config.require_sandbox = reader.boolean(name, &value).unwrap_or_default();
            }
            "strict" => config.strict = reader.boolean(name, &value).unwrap_or_default(),
            "strict_bridges" => config.strict_bridges = bridges(reader, name, &value),
            "tc" => {
                let words = [
                    ("auto", TcFlavour::Auto),
                    ("tcx", TcFlavour::Tcx),
                    ("clsact", TcFlavour::Clsact),
                ];
                config.tc = reader.word(name, &value, &words);
            }
            _ => reader.unknown_key(key.span(), name, &KEYS),
        }
    }
    config
}

fn metrics(reader: &mut Reader<'_>, key: &str, value: &Value<'_>) -> Option<Loopback> {
    match reader.string(key, value)?.parse() {
        Ok(address) => Some(address),
        Err(error) => {
            reader.problem(value.span(), format!("{key}: {error}"));
            None
        }
    }
}

fn programs(reader: &mut Reader<'_>, key: &str, value: &Value<'_>) -> Option<PathBuf> {
    let directory = PathBuf::from(reader.string(key, value)?);
    if !directory.is_absolute() {
        let found = directory.display();
        reader
            .problem(value.span(), format!("{key}: found \"{found}\", expected an absolute path"));
        return None;
    }
    Some(directory)
}

fn bridges(reader: &mut Reader<'_>, key: &str, value: &Value<'_>) -> Vec<String> {
    let mut bridges = Vec::new();
    for (at, name) in reader.strings(key, value) {
        let odd = |c: char| c == '/' || c == ':' || c.is_whitespace() || c.is_control();
        if name.is_empty() || name.len() > MAX_INTERFACE_BYTES || name.contains(odd) {
            reader.problem(at, format!("{key}: \"{name}\" cannot be the name of an interface"));
        } else {
            bridges.push(name.to_owned());
        }
    }
    bridges
}

/// Reads the table whose keys are those of labels. TOML makes tables of `xdp.policy = …` without
/// quotes, which mean the same.
fn default_policy(
    reader: &mut Reader<'_>,
    value: &Value<'_>,
    policies: &Policies,
) -> Option<LabelPolicy> {
    let mut labels = BTreeMap::new();
    let mut places = BTreeMap::new();
    let Some(table) = value.get_ref().as_table() else {
        let example =
            "default: expected a table: [default], and a line such as \"xdp.policy\" = \"log\"";
        reader.problem(value.span(), example);
        return None;
    };
    for (key, value) in table {
        flatten(reader, key.get_ref(), key.span(), value, &mut |key, at, value| {
            labels.insert(key.to_owned(), value.to_owned());
            places.insert(key.to_owned(), at);
        });
    }
    for key in labels.keys().filter(|key| !labels::is_ours(key)) {
        let at = places.get(key).cloned().unwrap_or_default();
        let expected = "expected a key of labels, such as \"xdp.policy\" or \"tc.policy\"";
        reader.problem(at, format!("[default] {key}: {expected}"));
    }
    match labels::parse_with(&labels, policies) {
        Ok(policy) => policy,
        Err(errors) => {
            for error in errors.iter() {
                let at = places.get(error.key()).cloned().unwrap_or_default();
                reader.problem(at, format!("[default] {}", error.of_a_key()));
            }
            None
        }
    }
}

fn flatten<'v>(
    reader: &mut Reader<'_>,
    key: &str,
    at: Range<usize>,
    value: &'v Value<'_>,
    take: &mut impl FnMut(&str, Range<usize>, &'v str),
) {
    if let Some(table) = value.get_ref().as_table() {
        for (inner, value) in table {
            let key = format!("{key}.{}", inner.get_ref());
            flatten(reader, &key, inner.span(), value, take);
        }
    } else if let Some(text) = reader.string(&format!("[default] {key}"), value) {
        take(key, at, text);
    }
}
