//! compose/metrics.yaml: what it mounts of the repository is there, and nobody else is served.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use saphyr::{LoadableYamlNode as _, Yaml};

/// The file as text, and where it is.
const FILE: &str = include_str!("../../../compose/metrics.yaml");
const DIRECTORY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../compose");

/// A service of the file.
fn service<'a>(document: &'a Yaml<'a>, name: &str) -> Result<&'a Yaml<'a>> {
    let services = document.as_mapping_get("services").context("there are services")?;
    services.as_mapping_get(name).with_context(|| format!("there is {name}"))
}

fn texts<'a>(service: &'a Yaml<'_>, key: &str) -> Result<Vec<&'a str>> {
    let list = service.as_mapping_get(key).and_then(Yaml::as_sequence);
    let list = list.with_context(|| format!("there is a list {key}"))?;
    list.iter().map(|one| one.as_str().with_context(|| format!("{key} are texts"))).collect()
}

fn text<'a>(service: &'a Yaml<'_>, key: &str) -> Result<&'a str> {
    let text = service.as_mapping_get(key).and_then(Yaml::as_str);
    text.with_context(|| format!("there is {key}"))
}

#[test]
fn what_the_compose_file_mounts_of_the_repository_is_there() -> Result<()> {
    let documents = Yaml::load_from_str(FILE)?;
    let document = documents.first().context("there is a document")?;
    for name in ["prometheus", "grafana"] {
        let service = service(document, name)?;
        ensure!(text(service, "network_mode")? == "host", "{name} is where the metrics are");
        let volumes = texts(service, "volumes")?;
        let ours = volumes.iter().filter_map(|volume| volume.strip_prefix("./"));
        let ours: Vec<_> = ours.filter_map(|volume| volume.split(':').next()).collect();
        ensure!(ours.len() == 2, "{name}: {volumes:?}");
        for path in ours {
            ensure!(Path::new(DIRECTORY).join(path).exists(), "{name} mounts {path}");
        }
    }
    let command = texts(service(document, "prometheus")?, "command")?.join(" ");
    ensure!(command.contains("--web.listen-address=127.0.0.1:"), "{command}");
    Ok(())
}
