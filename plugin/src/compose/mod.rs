//! Compose files: what the labels of each service mean, what is wrong with them and what is
//! probably not meant, without Compose and without Docker. Pure.
//!
//! - `yaml.rs` reads a document so that everything in it knows where it stands;
//! - `scalar.rs` is what Compose makes of a value;
//! - `project.rs` has the services of all files, put together as Compose does;
//! - `names.rs` tells which names in rules nobody of the files has.
//!
//! What cannot be told from the files alone (variables, other files) is a problem and not passed
//! over: a check of another text than the one that Compose uses would be worse than none.

mod names;
mod project;
mod scalar;
#[cfg(test)]
mod tests;
mod yaml;

use std::collections::BTreeMap;

use saphyr_parser::ScalarStyle;
use serde::Serialize;

use self::project::{File, Label, Project, Service};
use self::yaml::{Kind, NotYaml, Yaml};
use crate::finding::{Finding, Findings};
use crate::labels::{self, LabelError, LabelPlace, LabelPolicy, Policies};
use crate::rules::{self, Direction, RuleList};

/// A Compose file.
#[derive(Clone, Debug)]
pub struct Source {
    /// What it is called in messages.
    pub name: String,
    /// Its text.
    pub text: String,
}

/// Files that are understood.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Checked {
    /// The services that have policy, in the order of the files.
    pub services: Vec<ServicePolicy>,
    /// What is probably not meant.
    pub hints: Vec<Finding>,
}

/// What the labels of one service mean.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ServicePolicy {
    /// The service.
    pub service: String,
    /// Its policy, as it is shown.
    pub policy: String,
}

/// Reads the files of one project; later ones count more, as to Compose.
///
/// # Errors
///
/// Everything that is wrong with them.
pub fn check(sources: &[Source], policies: &Policies) -> Result<Checked, Findings> {
    let mut problems = Vec::new();
    let mut files = Vec::new();
    for Source { name, text } in sources {
        match Yaml::parse(text) {
            Ok(yaml) => files.push(File { name, yaml }),
            Err(NotYaml { at, reason }) => {
                let line = text.lines().nth(at.line.saturating_sub(1)).unwrap_or_default();
                problems
                    .push(Finding::new(name, format!("is not YAML: {reason}")).at_line(at, line));
            }
        }
    }
    for File { name, yaml } in &files {
        let twice = yaml.duplicate_keys().into_iter();
        problems.extend(twice.map(|(at, key)| {
            Finding::new(name, "stands twice in one mapping")
                .of_key(key)
                .at_line(at, yaml.line(at.line))
        }));
    }
    if !problems.is_empty() {
        return Err(sorted(problems, sources));
    }
    let project = project::read(&files, &mut problems);
    let mut checked = Checked::default();
    for (name, service) in &project.services {
        let reader = Reader { files: &files, project: &project, name, service };
        match labels::parse_with(&reader.values(), policies) {
            Ok(None) => {}
            Ok(Some(policy)) => {
                problems.extend(reader.too_large(&policy));
                reader.hints(&mut checked.hints);
                let policy = policy.to_string();
                checked.services.push(ServicePolicy { service: name.clone(), policy });
            }
            Err(errors) => {
                problems.extend(errors.iter().map(|error| reader.problem(error)));
                if errors.more() > 0 {
                    let file = sources.first().map_or("", |source| source.name.as_str());
                    let more = format!("and {} more", errors.more());
                    problems.push(Finding::new(file, more).of_service(name));
                }
            }
        }
    }
    if problems.is_empty() {
        return Ok(checked);
    }
    Err(sorted(problems, sources))
}

/// In the order of files and lines.
fn sorted(mut findings: Vec<Finding>, sources: &[Source]) -> Findings {
    let file = |finding: &Finding| {
        sources.iter().position(|source| finding.file.as_ref() == Some(&source.name))
    };
    findings.sort_by_key(|finding| (file(finding), finding.line, finding.column));
    Findings(findings)
}

/// One service, and what its labels say.
struct Reader<'a> {
    files: &'a [File<'a>],
    project: &'a Project,
    name: &'a str,
    service: &'a Service,
}

impl Reader<'_> {
    fn values(&self) -> BTreeMap<String, String> {
        let labels = self.service.labels();
        labels.map(|(key, label)| (key.to_owned(), label.value.clone())).collect()
    }

    /// Says something of a label, at a place of it.
    fn of_label(&self, key: &str, place: LabelPlace, message: String) -> Finding {
        let known = self.service.label(key);
        let known = known.and_then(|label| Some((label, self.files.get(label.file)?)));
        let Some((label, file)) = known else {
            let name = self.files.first().map_or("", |file| file.name);
            return Finding::new(name, message).of_service(self.name).of_key(key);
        };
        let Label { key_at, value: _, node, skipped, file: _ } = label;
        let node = file.yaml.get(*node);
        let start = node.map_or(*key_at, |node| node.start);
        let mut message = message;
        let at = match place {
            LabelPlace::Key => *key_at,
            LabelPlace::Value => start,
            LabelPlace::Within { line, column } => {
                let place = (line, column);
                let at = node.and_then(|node| scalar::place(&file.yaml, node, *skipped, place));
                at.unwrap_or_else(|| {
                    message = format!("line {line}, column {column} of the value: {message}");
                    start
                })
            }
        };
        if let Some(Kind::Scalar { style: ScalarStyle::Folded, .. }) = node.map(|node| &node.kind)
            && matches!(place, LabelPlace::Within { .. })
        {
            message.push_str("; > makes one line of several: write | to keep them");
        }
        Finding::new(file.name, message)
            .of_service(self.name)
            .of_key(key)
            .at_line(at, file.yaml.line(at.line))
    }

    fn problem(&self, error: &LabelError) -> Finding {
        self.of_label(error.key(), error.place(), error.sentence())
    }

    fn too_large(&self, policy: &LabelPolicy) -> Option<Finding> {
        let said = labels::check_size(policy).err()?;
        let key = ["tc.egress", "tc.ingress", "tc.policy"]
            .into_iter()
            .find(|key| self.service.label(key).is_some())?;
        Some(self.of_label(key, LabelPlace::Value, said))
    }

    fn hints(&self, hints: &mut Vec<Finding>) {
        for (key, direction) in
            [("tc.egress", Direction::Egress), ("tc.ingress", Direction::Ingress)]
        {
            let Some(label) = self.service.label(key) else { continue };
            let Ok(rules) = RuleList::parse(direction, &label.value) else { continue };
            let of_rules = rules::hints(direction, &rules).into_iter();
            let mut found: Vec<_> = of_rules.map(|hint| (hint.line, hint.to_string())).collect();
            for rule in rules.iter() {
                let said = names::unknown(self.project, rule).into_iter();
                found.extend(said.map(|sentence| (rule.line, sentence)));
            }
            found.sort_by_key(|(line, _)| *line);
            for (line, sentence) in found {
                let line = usize::try_from(line.get()).unwrap_or(usize::MAX);
                let text = label.value.split('\n').nth(line - 1).unwrap_or_default();
                let column = text.chars().take_while(|c| *c == ' ').count() + 1;
                hints.push(self.of_label(key, LabelPlace::Within { line, column }, sentence));
            }
        }
        for (file, at, sentence) in self.service.out_of_reach(self.project) {
            let Some(file) = self.files.get(file) else { continue };
            let finding = Finding::new(file.name, sentence).of_service(self.name);
            hints.push(finding.at_line(at, file.yaml.line(at.line)));
        }
    }
}
