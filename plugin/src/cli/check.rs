//! `check`: what labels, Compose files, rules, policies and configurations mean, before anything
//! runs with them.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;

use super::programs::check_programs;
use super::verbs::{Failure, print};
use super::{Format, table};
use crate::compose::{self, Source};
use crate::config::{self, Config, ConfigErrors, Place};
use crate::finding::{self, Finding, Findings};
use crate::labels::{self, Policies};
use crate::rules::{self, Direction, RuleError, RuleList};

/// The largest file, in bytes.
const MAX_BYTES: u64 = 1024 * 1024;
/// The name of standard input.
const STDIN: &str = "-";

#[derive(Debug, Args)]
pub(super) struct Check {
    /// A file, or - for standard input: a Compose file (.yaml, .yml), a policy (policies/NAME.toml),
    /// a configuration (any other .toml), or rules of one direction. Without such an ending, what
    /// is in it decides: services: is Compose, KEY = VALUE is TOML, anything else is rules.
    #[arg(value_name = "FILE", conflicts_with_all = ["labels", "compose"])]
    file: Option<PathBuf>,
    /// A label, as docker run takes it; may be given several times.
    #[arg(
        long = "label",
        short = 'l',
        value_name = "KEY=VALUE",
        required_unless_present_any = ["config", "compose", "file"],
        conflicts_with = "compose"
    )]
    labels: Vec<OsString>,
    /// A Compose file, or - for standard input; may be given several times, as to docker compose.
    #[arg(long, value_name = "FILE")]
    compose: Vec<PathBuf>,
    /// A configuration to check, whose policies may be named. Without it, it is
    /// /etc/ebpf-netns/config.toml if that is there.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where the programs are that labels name: has them looked up there too, and loaded if this is
    /// root. Without it, only what labels say is checked.
    #[arg(long, value_name = "DIR", requires = "labels")]
    programs: Option<PathBuf>,
    /// How to show it.
    #[arg(long, value_enum, default_value_t)]
    pub(super) format: Format,
}

/// Checks what was given.
pub(super) fn run(args: &Check) -> Result<(), Failure> {
    let Check { file, labels, compose, config, programs, format } = args;
    let place = config.clone().map_or_else(Place::default, Place::named);
    let load = || config::load(&place);
    if let Some(path) = file {
        return check_file(path, load, *format);
    }
    let config = load()?;
    if !compose.is_empty() {
        let sources = compose.iter().map(|path| source(path)).collect::<Result<Vec<_>, _>>()?;
        return check_compose(&sources, &config.policies, *format);
    }
    if labels.is_empty() {
        return show_config(&config, *format);
    }
    check_labels(labels, (&config.policies, programs.as_deref()), *format)
}

/// What a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Compose,
    Policy,
    Config,
    Rules,
}

impl Kind {
    /// By the name of the file, else by what is in it.
    fn of(path: &Path, text: &str) -> Self {
        let in_policies = path.parent().is_some_and(|parent| parent.ends_with("policies"));
        let toml = || if config::is_policy(text) { Self::Policy } else { Self::Config };
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("yaml" | "yml") => Self::Compose,
            Some("toml") if in_policies => Self::Policy,
            Some("toml") => toml(),
            _ => {
                let lines = text.lines().map(str::trim);
                let mut lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
                let first = lines.clone().next().unwrap_or_default();
                let is_rule = first.starts_with("allow") || first.starts_with("deny");
                // Compose prints JSON too, which is YAML.
                let is_compose = first.starts_with('{')
                    || text.lines().any(|line| line.starts_with("services:"));
                let is_toml = first.starts_with('[') || lines.any(|line| line.contains('='));
                if is_rule {
                    Self::Rules
                } else if is_compose {
                    Self::Compose
                } else if is_toml {
                    toml()
                } else {
                    Self::Rules
                }
            }
        }
    }
}

fn check_file(
    path: &Path,
    load: impl Fn() -> Result<Config, ConfigErrors>,
    format: Format,
) -> Result<(), Failure> {
    let source = source(path)?;
    let Source { name, text } = &source;
    match Kind::of(path, text) {
        Kind::Compose => check_compose(&[source], &load()?.policies, format),
        Kind::Policy => {
            let policy = config::parse_policy(Path::new(name), text)?;
            let lists = [
                (Direction::Egress, policy.egress.as_ref()),
                (Direction::Ingress, policy.ingress.as_ref()),
            ];
            let mut hints = Vec::new();
            for (direction, rules) in lists {
                for hint in rules.map_or_else(Vec::new, |rules| rules::hints(direction, rules)) {
                    let key = format!("{direction}, line {}", hint.line);
                    hints.push(Finding::new(name, hint.to_string()).of_key(&key));
                }
            }
            show(&Meaning { policy: policy.to_string(), hints }, format)
        }
        Kind::Config if is_stdin(path) => {
            let policies = load()?.policies;
            show_config(&config::parse(Path::new(name), text, policies)?, format)
        }
        Kind::Config => show_config(&config::load(&Place::named(path.to_owned()))?, format),
        Kind::Rules => check_rules(&source, format),
    }
}

fn is_stdin(path: &Path) -> bool {
    path == Path::new(STDIN)
}

/// Reads a file, or standard input. Who wrote it makes no difference: nothing is enforced by it.
fn source(path: &Path) -> Result<Source, Failure> {
    let name = if is_stdin(path) { "standard input".into() } else { path.to_string_lossy() };
    let mut bytes = Vec::new();
    let read = if is_stdin(path) {
        io::stdin().lock().take(MAX_BYTES + 1).read_to_end(&mut bytes)
    } else {
        File::open(path).and_then(|file| file.take(MAX_BYTES + 1).read_to_end(&mut bytes))
    };
    let unreadable = |source| Failure::Unreadable { name: name.clone().into_owned(), source };
    let length = read.map_err(unreadable)?;
    let not_understood =
        |said: String| Failure::Findings(Findings::from(Finding::new(&name, said)));
    if u64::try_from(length).is_ok_and(|length| length > MAX_BYTES) {
        return Err(not_understood(format!("is larger than {MAX_BYTES} bytes")));
    }
    match String::from_utf8(bytes) {
        Ok(text) => Ok(Source { name: name.into_owned(), text }),
        Err(error) => Err(not_understood(format!("is not UTF-8: {}", error.utf8_error()))),
    }
}

/// What something means, and what is probably not meant.
#[derive(Debug, Serialize)]
struct Meaning {
    policy: String,
    hints: Vec<Finding>,
}

fn show(meaning: &Meaning, format: Format) -> Result<(), Failure> {
    let Meaning { policy, hints } = meaning;
    print(format, meaning, || format!("{policy}\n{}", table::hints(hints)))
}

fn show_config(config: &Config, format: Format) -> Result<(), Failure> {
    let meaning = table::config(config);
    print(format, &serde_json::json!({ "config": meaning }), || meaning)
}

fn check_compose(sources: &[Source], policies: &Policies, format: Format) -> Result<(), Failure> {
    let checked = compose::check(sources, policies).map_err(Failure::Findings)?;
    print(format, &checked, || table::services(&checked))
}

fn check_labels(
    given: &[OsString],
    (policies, programs): (&Policies, Option<&Path>),
    format: Format,
) -> Result<(), Failure> {
    let mut labels = BTreeMap::new();
    for label in given {
        let label = label.to_string_lossy();
        let (key, value) = label.split_once('=').unwrap_or((&label, ""));
        labels.insert(key.to_owned(), value.to_owned());
    }
    let policy = labels::parse_with(&labels, policies).map_err(Failure::Labels)?;
    if let Some(Err(said)) = policy.as_ref().map(labels::check_size) {
        return Err(Failure::Findings(Findings::from(Finding::of_label("tc.policy", said))));
    }
    if let Some((policy, directory)) = policy.as_ref().zip(programs) {
        check_programs(&policy.programs, directory)?;
    }
    let mut hints = Vec::new();
    for (key, direction) in [("tc.egress", Direction::Egress), ("tc.ingress", Direction::Ingress)] {
        let Some(Ok(rules)) = labels.get(key).map(|text| RuleList::parse(direction, text)) else {
            continue;
        };
        for hint in rules::hints(direction, &rules) {
            let line = usize::try_from(hint.line.get()).unwrap_or(usize::MAX);
            let finding = Finding::of_label(key, hint.to_string());
            hints.push(finding.on_line(line));
        }
    }
    show(&Meaning { policy: table::policy(policy.as_ref()), hints }, format)
}

/// Rules that say neither to nor from mean the same in both directions.
fn check_rules(source: &Source, format: Format) -> Result<(), Failure> {
    let Source { name, text } = source;
    let mut refused: Option<Vec<RuleError>> = None;
    for direction in [Direction::Egress, Direction::Ingress] {
        match RuleList::parse(direction, text) {
            Ok(rules) => {
                let hints = rules::hints(direction, &rules).into_iter().map(|hint| {
                    let line = usize::try_from(hint.line.get()).unwrap_or(usize::MAX);
                    let place = finding::Place { line, column: 1 };
                    Finding::new(name, hint.to_string()).at_line(place, "")
                });
                let policy = format!("{direction} rules: {{ {} }}", rules.show_in_line(direction));
                return show(&Meaning { policy, hints: hints.collect() }, format);
            }
            // The direction in which less is wrong is the one that is meant.
            Err(errors) if refused.as_ref().is_none_or(|refused| errors.len() < refused.len()) => {
                refused = Some(errors);
            }
            Err(_) => {}
        }
    }
    let problems = refused.unwrap_or_default().into_iter().map(|error| {
        let finding = Finding::new(name, error.sentence());
        match error.place() {
            Some((line, column)) => {
                let shown = text.split('\n').nth(line - 1).unwrap_or_default();
                finding.at_line(finding::Place { line, column }, shown)
            }
            None => finding,
        }
    });
    Err(Failure::Findings(problems.collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_what_its_name_or_its_text_says() {
        for (path, text, kind) in [
            ("compose.yaml", "", Kind::Compose),
            ("a/b.yml", "allow dns", Kind::Compose),
            ("policies/web.toml", "strict = true", Kind::Policy),
            ("web.toml", "egress = 'deny'", Kind::Policy),
            ("web.toml", "# mine\npolicy = 'log'\nstrict = true", Kind::Policy),
            ("config.toml", "strict = true", Kind::Config),
            ("config.toml", "", Kind::Config),
            ("-", "name: x\nservices:\n  a: {}", Kind::Compose),
            ("-", "{\"services\": {}}", Kind::Compose),
            ("-", "# x\n\n[default]\ntc.policy = 'log'", Kind::Config),
            ("-", "policy = 'log'", Kind::Policy),
            ("-", "\n  allow tcp 80; deny", Kind::Rules),
            ("web.rules", "deny", Kind::Rules),
            ("-", "alow tcp 80", Kind::Rules),
            ("-", "", Kind::Rules),
        ] {
            assert_eq!(Kind::of(Path::new(path), text), kind, "{path}: {text:?}");
        }
    }
}
