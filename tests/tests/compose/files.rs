//! Each file is one that Compose understands, and what it mounts of the repository is there.

use std::{fs, path::Path, process::Command};

use anyhow::{Context as _, Result, ensure};
use ebpf_netns_tests::{command::stdout_of, compose, documents, newer::Newer};
use serde_json::Value;

#[test]
fn every_file_is_understood_by_compose_and_mounts_what_is_there() -> Result<()> {
    let Some(newer) = Newer::find()? else { return Ok(()) };
    let mut seen = 0;
    for entry in fs::read_dir(compose::directory())? {
        let path = entry?.path();
        if path.extension().is_none_or(|extension| extension != "yaml") {
            continue;
        }
        let mut config = Command::new(newer.compose());
        config.arg("--file").arg(&path).args(["config", "--format", "json"]);
        let config = stdout_of(&mut config).with_context(|| path.display().to_string())?;
        check(&serde_json::from_str(&config)?).with_context(|| path.display().to_string())?;
        seen += 1;
    }
    ensure!(seen >= 5, "there are {seen} files");
    Ok(())
}

/// What is built and mounted of the repository is there.
fn check(config: &Value) -> Result<()> {
    let root = documents::root().canonicalize()?;
    let services = config.get("services").and_then(Value::as_object).context("services")?;
    for (name, service) in services {
        if let Some(build) = service.get("build") {
            let text = |key: &str| build.get(key).and_then(Value::as_str).unwrap_or_default();
            let dockerfile = Path::new(text("context")).join(text("dockerfile"));
            ensure!(dockerfile.is_file(), "{name} is built by {}", dockerfile.display());
        }
        for volume in service.get("volumes").and_then(Value::as_array).into_iter().flatten() {
            let source = Path::new(volume.get("source").and_then(Value::as_str).unwrap_or("/"));
            let ours = source.starts_with(&root);
            ensure!(!ours || source.exists(), "{name} mounts {}", source.display());
        }
    }
    Ok(())
}

#[test]
fn an_editor_finds_the_development_container() -> Result<()> {
    let directory = documents::root().join(".devcontainer");
    let text = fs::read_to_string(directory.join("devcontainer.json"))?;
    let settings: Value = serde_json::from_str(&text)?;
    let text = |key: &str| settings.get(key).and_then(Value::as_str).context(key.to_owned());
    let file = fs::read_to_string(directory.join(text("dockerComposeFile")?))?;
    ensure!(file.contains(&format!("\n  {}:\n", text("service")?)), "the service is there");
    ensure!(file.contains(&format!(":{}\n", text("workspaceFolder")?)), "and so is the sources");
    Ok(())
}
