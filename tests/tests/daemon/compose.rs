//! Starting what a Compose file describes by `docker` alone, in Compose's way: as much of the format
//! as this repository's files use.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use ebpf_netns_tests::command::stdout_of;
use saphyr::{LoadableYamlNode as _, Yaml};

use crate::scene::Scene;

/// A file that was read.
pub(crate) struct Compose {
    project: String,
    networks: Vec<(String, String)>,
    services: Vec<Service>,
}

/// A service, of which there is one container.
#[derive(Debug, Default)]
struct Service {
    name: String,
    container: String,
    image: String,
    networks: Vec<String>,
    labels: Vec<(String, String)>,
    ports: Vec<String>,
    environment: Vec<(String, String)>,
    command: Vec<String>,
}

impl Compose {
    /// Reads a file of the directory `compose`.
    pub(crate) fn read(name: &str) -> Result<Self> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../compose").join(name);
        let text = std::fs::read_to_string(&path)?;
        let documents = Yaml::load_from_str(&text).with_context(|| path.display().to_string())?;
        let document = documents.first().context("there is a document")?;
        let project = text_of(document, "name").context("a project has a name")?;
        let networks = entries(document, "networks")
            .map(|(name, network)| {
                ensure!(network["enable_ipv6"].as_bool() == Some(true), "{name} has IPv6");
                let subnet =
                    text_of(&network["ipam"]["config"][0], "subnet").context("a subnet")?;
                Ok((name.to_owned(), subnet))
            })
            .collect::<Result<_>>()?;
        let services = entries(document, "services").map(|(name, service)| {
            let container = text_of(service, "container_name");
            Some(Service {
                name: name.to_owned(),
                container: container.unwrap_or_else(|| format!("{project}-{name}-1")),
                image: text_of(service, "image")?,
                networks: list(service, "networks"),
                labels: pairs(service, "labels"),
                ports: list(service, "ports"),
                environment: pairs(service, "environment"),
                command: list(service, "command"),
            })
        });
        let services = services.collect::<Option<_>>().context("a service has an image")?;
        Ok(Self { project, networks, services })
    }

    /// Makes the networks and starts the services, each on all of its networks from the beginning.
    pub(crate) fn up(&self, scene: &Scene) -> Result<()> {
        for (name, subnet) in &self.networks {
            scene.network(&self.network(name), &["--ipv6", "--subnet", subnet])?;
        }
        for service in &self.services {
            self.start(scene, service).with_context(|| format!("{service:?}"))?;
        }
        Ok(())
    }

    /// What Docker calls a network.
    pub(crate) fn network(&self, name: &str) -> String {
        format!("{}_{name}", self.project)
    }

    /// What Docker calls the container of a service.
    pub(crate) fn container(&self, service: &str) -> Result<&str> {
        let found = self.services.iter().find(|one| one.name == service);
        Ok(&found.with_context(|| format!("no service {service}"))?.container)
    }

    fn start(&self, scene: &Scene, service: &Service) -> Result<()> {
        let Service { name, container, image, networks, labels, ports, environment, command } =
            service;
        let (first, others) = networks.split_first().context("it is on a network")?;
        let mut create = scene.engine().docker_command();
        create.args(["create", "--name", container, "--network-alias", name]);
        create.args(["--network", &self.network(first)]);
        // What Compose adds of its own.
        create.arg(format!("--label=com.docker.compose.project={}", self.project));
        create.arg(format!("--label=com.docker.compose.service={name}"));
        create.args(labels.iter().map(|(key, value)| format!("--label={key}={value}")));
        create.args(environment.iter().map(|(key, value)| format!("--env={key}={value}")));
        create.args(ports.iter().map(|port| format!("--publish={port}")));
        stdout_of(create.arg(image).args(command))?;
        for network in others {
            let network = self.network(network);
            scene.engine().docker(["network", "connect", "--alias", name, &network, container])?;
        }
        scene.engine().docker(["start", container]).map(drop)
    }
}

fn entries<'a>(node: &'a Yaml<'_>, key: &str) -> impl Iterator<Item = (&'a str, &'a Yaml<'a>)> {
    let mapping = node.as_mapping_get(key).and_then(Yaml::as_mapping);
    mapping.into_iter().flatten().filter_map(|(key, value)| Some((key.as_str()?, value)))
}

fn text_of(node: &Yaml<'_>, key: &str) -> Option<String> {
    node.as_mapping_get(key)?.as_str().map(str::to_owned)
}

fn pairs(node: &Yaml<'_>, key: &str) -> Vec<(String, String)> {
    let pairs = entries(node, key);
    pairs.filter_map(|(key, value)| Some((key.to_owned(), value.as_str()?.to_owned()))).collect()
}

fn list(node: &Yaml<'_>, key: &str) -> Vec<String> {
    let values = node.as_mapping_get(key).and_then(Yaml::as_sequence);
    values.into_iter().flatten().filter_map(|value| Some(value.as_str()?.to_owned())).collect()
}
