//! The services of Compose files, put together as Compose does: later files count more, and each
//! label by itself. Pure.

use std::collections::{BTreeMap, BTreeSet};

use super::scalar::{self, Unclear};
use super::yaml::{Id, Kind, Node, Yaml};
use crate::finding::{Finding, Place};
use crate::labels::is_ours;

/// A file that is YAML.
#[derive(Debug)]
pub(super) struct File<'a> {
    pub(super) name: &'a str,
    pub(super) yaml: Yaml<'a>,
}

/// What all files say together.
#[derive(Debug, Default)]
pub(super) struct Project {
    pub(super) name: Option<String>,
    /// In the order in which they are named first.
    pub(super) services: Vec<(String, Service)>,
    pub(super) networks: BTreeMap<String, Network>,
}

/// A service.
#[derive(Debug, Default)]
pub(super) struct Service {
    /// Of the image that is built for it, which its containers have too.
    image: BTreeMap<String, Label>,
    own: BTreeMap<String, Label>,
    pub(super) container_name: Option<String>,
    network_mode: Option<(String, usize, Place)>,
    networks: Vec<(String, usize, Place)>,
}

/// A label.
#[derive(Debug)]
pub(super) struct Label {
    pub(super) value: String,
    pub(super) file: usize,
    pub(super) key_at: Place,
    /// What its value is in.
    pub(super) node: Id,
    /// Characters that stand before the value in there.
    pub(super) skipped: usize,
}

/// A network of the files.
#[derive(Debug, Default)]
pub(super) struct Network {
    /// The name that it has in Docker, where that is not the project's and its own.
    pub(super) name: Option<String>,
    pub(super) external: bool,
    driver: Option<String>,
}

impl Service {
    /// The labels that its containers have.
    pub(super) fn labels(&self) -> impl Iterator<Item = (&str, &Label)> {
        let image = self.image.iter().filter(|(key, _)| !self.own.contains_key(*key));
        image.chain(&self.own).map(|(key, label)| (key.as_str(), label))
    }

    pub(super) fn label(&self, key: &str) -> Option<&Label> {
        self.own.get(key).or_else(|| self.image.get(key))
    }

    /// Why policy cannot be enforced, or is not the service's alone, and where that is said.
    pub(super) fn out_of_reach(&self, project: &Project) -> Vec<(usize, Place, String)> {
        let mut found = Vec::new();
        if let Some((mode, file, at)) = &self.network_mode {
            let sentence = match mode.as_str() {
                "host" => Some("is on the host's network, where its policy cannot be enforced"),
                "none" => Some("has no network, so its policy has nothing to do"),
                other if other.starts_with("service:") || other.starts_with("container:") => Some(
                    "uses another container's network: its policy holds for both, from a moment \
                     after its start on",
                ),
                _ => None,
            };
            found.extend(sentence.map(|sentence| (*file, *at, sentence.to_owned())));
        }
        for (network, file, at) in &self.networks {
            let driver = project.networks.get(network).and_then(|known| known.driver.as_deref());
            if let Some(driver @ ("macvlan" | "ipvlan" | "host")) = driver {
                let sentence = format!(
                    "network {network} has driver {driver}, so no interface on the host at which \
                     policy could be enforced"
                );
                found.push((*file, *at, sentence));
            }
        }
        found
    }
}

/// Puts the files together.
pub(super) fn read(files: &[File<'_>], problems: &mut Vec<Finding>) -> Project {
    let mut project = Project::default();
    for (number, file) in files.iter().enumerate() {
        let mut reader = Reader { file, number, project: &mut project, problems };
        for root in &file.yaml.roots {
            reader.document(*root);
        }
    }
    if project.services.is_empty() && problems.is_empty() {
        let name = files.first().map_or("", |file| file.name);
        problems.push(Finding::new(name, "has no services: expected a Compose file"));
    }
    project
}

/// Reads one file into the project.
struct Reader<'a> {
    file: &'a File<'a>,
    number: usize,
    project: &'a mut Project,
    problems: &'a mut Vec<Finding>,
}

impl<'a> Reader<'a> {
    fn document(&mut self, root: Id) {
        for (key, at, value) in self.entries(root, None, "the file") {
            match key {
                "services" => {
                    for (name, _, service) in self.entries(value, None, "services") {
                        self.service(name, service);
                    }
                }
                "networks" => {
                    for (name, _, network) in self.entries(value, None, "networks") {
                        self.network(name, network);
                    }
                }
                "volumes" | "configs" | "secrets" => {
                    for (_, _, thing) in self.entries(value, None, key) {
                        self.labels_without_effect(thing, None, key);
                    }
                }
                "name" => self.project.name = self.text(value),
                "include" => self.elsewhere(None, key, at),
                _ => {}
            }
        }
    }

    fn service(&mut self, name: &'a str, id: Id) {
        let known = self.project.services.iter().position(|(known, _)| known == name);
        let known = known.unwrap_or_else(|| {
            self.project.services.push((name.to_owned(), Service::default()));
            self.project.services.len() - 1
        });
        for (key, at, value) in self.entries(id, Some(name), "the service") {
            let mut found = BTreeMap::new();
            match key {
                "labels" => self.labels(name, value, &mut found),
                "build" if self.is_mapping(value) => {
                    for (key, _, value) in self.entries(value, Some(name), "build") {
                        if key == "labels" {
                            self.labels(name, value, &mut found);
                        }
                    }
                }
                "deploy" => self.labels_without_effect(value, Some(name), key),
                "extends" | "label_file" => self.elsewhere(Some(name), key, at),
                _ => {}
            }
            let text = if matches!(key, "container_name" | "network_mode") {
                self.text(value)
            } else {
                None
            };
            let networks = if key == "networks" { self.keys_or_items(value) } else { Vec::new() };
            let (number, place) = (self.number, self.start(value).unwrap_or(at));
            let Some((_, service)) = self.project.services.get_mut(known) else { return };
            match key {
                "labels" => service.own.extend(found),
                "build" => service.image.extend(found),
                "container_name" => service.container_name = text.or(service.container_name.take()),
                "network_mode" => {
                    service.network_mode = text.map(|mode| (mode, number, place));
                }
                "networks" => {
                    service
                        .networks
                        .extend(networks.into_iter().map(|(name, at)| (name, number, at)));
                }
                _ => {}
            }
        }
    }

    fn network(&mut self, name: &str, id: Id) {
        let mut network = self.project.networks.remove(name).unwrap_or_default();
        self.labels_without_effect(id, None, "networks");
        if self.is_mapping(id) {
            for (key, _, value) in self.entries(id, None, "the network") {
                match key {
                    "name" => network.name = self.text(value),
                    "driver" => network.driver = self.text(value),
                    "external" => network.external = self.text(value).as_deref() != Some("false"),
                    _ => {}
                }
            }
        }
        self.project.networks.insert(name.to_owned(), network);
    }

    /// What another file says is not known.
    fn elsewhere(&mut self, service: Option<&str>, key: &str, at: Place) {
        let message = "brings what is not in this file: check what Compose makes of it, \
                       docker compose config | ebpf-netns check --compose -";
        self.problem(service, key, at, message);
    }

    /// Labels of something that is no container.
    fn labels_without_effect(&mut self, id: Id, service: Option<&str>, key: &str) {
        if !self.is_mapping(id) {
            return;
        }
        let mut found = BTreeMap::new();
        for (inner, _, value) in self.entries(id, service, key) {
            if inner == "labels" {
                self.labels(service.unwrap_or_default(), value, &mut found);
            }
        }
        for (label, Label { key_at, .. }) in found {
            let message = format!(
                "has no effect: labels of {key} are not of containers: write it in the labels of \
                 a service"
            );
            self.problem(service, &label, key_at, &message);
        }
    }

    /// Reads labels in either form; those of others are left out.
    fn labels(&mut self, service: &str, id: Id, found: &mut BTreeMap<String, Label>) {
        let file = self.file;
        let Some(node) = file.yaml.get(id) else { return };
        match &node.kind {
            Kind::Scalar { .. } if scalar::text(node) == Some(Ok(String::new())) => {}
            Kind::Scalar { .. } => {
                let message = "found a value, expected a mapping or a list of KEY=VALUE";
                self.problem(Some(service), "labels", node.start, message);
            }
            Kind::Mapping(_) => {
                for (key, key_at, value) in self.entries(id, Some(service), "labels") {
                    if is_ours(key)
                        && let Some(value) = self.label(service, key, key_at, value)
                    {
                        found.insert(key.to_owned(), value);
                    }
                }
            }
            Kind::Sequence(items) => {
                self.no_tag(Some(service), "labels", node);
                for item in items {
                    self.item(service, *item, found);
                }
            }
        }
    }

    fn label(&mut self, service: &str, key: &str, key_at: Place, id: Id) -> Option<Label> {
        let node = self.file.yaml.get(id)?;
        let value = self.clear(Some(service), key, node)?;
        Some(Label { value, file: self.number, key_at, node: id, skipped: 0 })
    }

    /// Reads `KEY=VALUE`.
    fn item(&mut self, service: &str, id: Id, found: &mut BTreeMap<String, Label>) {
        let file = self.file;
        let Some(node) = file.yaml.get(id) else { return };
        let Kind::Scalar { text: written, .. } = &node.kind else { return };
        let key = written.split_once('=').map_or(written.as_ref(), |(key, _)| key);
        let variable = key.replace("$$", "").contains('$');
        if !is_ours(key) && !variable {
            return;
        }
        let Some(text) = self.clear(Some(service), key, node) else { return };
        let (key, value) = text.split_once('=').unwrap_or((&text, ""));
        let skipped = key.chars().count() + 1;
        let label = Label {
            value: value.to_owned(),
            file: self.number,
            key_at: node.start,
            node: id,
            skipped,
        };
        if found.insert(key.to_owned(), label).is_some() {
            self.problem(Some(service), key, node.start, "stands twice in one list");
        }
    }

    /// The text of a scalar; else what is wrong is noted.
    fn clear(&mut self, service: Option<&str>, key: &str, node: &Node<'_>) -> Option<String> {
        let message = match scalar::text(node) {
            Some(Ok(text)) => return Some(text),
            Some(Err(unclear)) => unclear.sentence().to_owned(),
            None => format!("found {}, expected a value", node.kind.name()),
        };
        self.problem(service, key, node.start, &message);
        None
    }

    /// The entries of a mapping, with what merge keys bring; none of nothing.
    fn entries(&mut self, id: Id, service: Option<&str>, what: &str) -> Vec<(&'a str, Place, Id)> {
        let file = self.file;
        let Some(node) = file.yaml.get(id) else { return Vec::new() };
        if scalar::text(node) == Some(Ok(String::new())) {
            return Vec::new();
        }
        if !matches!(node.kind, Kind::Mapping(_)) {
            let message = format!("found {}, expected a mapping", node.kind.name());
            self.problem(service, what, node.start, &message);
            return Vec::new();
        }
        let (mut found, mut keys, mut seen) = (Vec::new(), BTreeSet::new(), BTreeSet::new());
        let mut next = vec![id];
        // What stands in a mapping counts more than what it merges, and that more the earlier it is.
        while let Some(id) = next.pop() {
            let Some(node) = file.yaml.get(id).filter(|_| seen.insert(id)) else { continue };
            self.no_tag(service, what, node);
            let mut merged = Vec::new();
            match &node.kind {
                Kind::Sequence(items) => merged.extend(items),
                Kind::Scalar { .. } => {
                    let message = "found a value, expected what is merged: a mapping or a list";
                    self.problem(service, "<<", node.start, message);
                }
                Kind::Mapping(entries) => {
                    for (key, value) in entries {
                        let Some(key) = file.yaml.get(*key) else { continue };
                        let Kind::Scalar { text, .. } = &key.kind else { continue };
                        if text == "<<" {
                            merged.push(*value);
                        } else if keys.insert(text.as_ref()) {
                            found.push((text.as_ref(), key.start, *value));
                        }
                    }
                }
            }
            next.extend(merged.into_iter().rev());
        }
        found
    }

    /// The keys of a mapping, or the items of a list.
    fn keys_or_items(&mut self, id: Id) -> Vec<(String, Place)> {
        let file = self.file;
        match file.yaml.get(id).map(|node| &node.kind) {
            Some(Kind::Sequence(items)) => {
                let nodes = items.iter().filter_map(|item| file.yaml.get(*item));
                let texts = nodes.filter_map(|node| Some((scalar::text(node)?.ok()?, node.start)));
                texts.collect()
            }
            Some(Kind::Mapping(_)) => {
                let entries = self.entries(id, None, "networks").into_iter();
                entries.map(|(key, at, _)| (key.to_owned(), at)).collect()
            }
            Some(Kind::Scalar { .. }) | None => Vec::new(),
        }
    }

    /// The text of something that only hints are made of.
    fn text(&self, id: Id) -> Option<String> {
        scalar::text(self.file.yaml.get(id)?)?.ok()
    }

    fn start(&self, id: Id) -> Option<Place> {
        Some(self.file.yaml.get(id)?.start)
    }

    fn is_mapping(&self, id: Id) -> bool {
        matches!(self.file.yaml.get(id).map(|node| &node.kind), Some(Kind::Mapping(_)))
    }

    /// Tags of Compose's change what other files say.
    fn no_tag(&mut self, service: Option<&str>, what: &str, node: &Node<'_>) {
        let tag = node.tag.as_deref();
        if tag.is_some_and(|tag| !tag.starts_with("tag:yaml.org,2002:") && tag != "!") {
            self.problem(service, what, node.start, Unclear::Tag.sentence());
        }
    }

    fn problem(&mut self, service: Option<&str>, key: &str, at: Place, message: &str) {
        let mut finding = Finding::new(self.file.name, message).of_key(key);
        if let Some(service) = service.filter(|service| !service.is_empty()) {
            finding = finding.of_service(service);
        }
        self.problems.push(finding.at_line(at, self.file.yaml.line(at.line)));
    }
}
