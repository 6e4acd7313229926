//! A project of `docker compose`, of a file of the repository's directory `compose`.

use std::{
    ffi::OsStr,
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};

use crate::{command, engine::Engine, newer::Newer};

/// A project on an engine; what it has started ends with the engine.
#[derive(Debug)]
pub struct Compose<'e> {
    engine: &'e Engine,
    files: Vec<PathBuf>,
}

impl<'e> Compose<'e> {
    /// The project of a file, `demo.yaml` for example.
    ///
    /// # Errors
    ///
    /// When the plugin cannot be put where `docker` looks for it.
    pub fn new(engine: &'e Engine, newer: &Newer, file: &str) -> Result<Self> {
        let plugins = engine.machine().directory().join("cli-plugins");
        let plugin = plugins.join("docker-compose");
        fs::create_dir_all(&plugins).with_context(|| format!("make {}", plugins.display()))?;
        if !plugin.exists() {
            symlink(newer.compose(), &plugin)
                .with_context(|| format!("make {}", plugin.display()))?;
        }
        Ok(Self { engine, files: vec![directory().join(file)] })
    }

    /// With another file over it, which is anywhere.
    #[must_use]
    pub fn over(mut self, file: PathBuf) -> Self {
        self.files.push(file);
        self
    }

    /// `docker compose` without a verb.
    #[must_use]
    pub fn command(&self) -> Command {
        let mut command = self.engine.docker_command();
        command.arg("compose");
        for file in &self.files {
            command.arg("--file").arg(file);
        }
        command
    }

    /// Runs a verb to its end and returns what it wrote to stdout.
    ///
    /// # Errors
    ///
    /// When it fails; the error shows its stderr.
    pub fn run<I>(&self, arguments: I) -> Result<String>
    where
        I: IntoIterator<Item: AsRef<OsStr>>,
    {
        command::stdout_of(self.command().args(arguments))
    }

    /// Starts these services, all of them when none is named, without asking a registry.
    ///
    /// # Errors
    ///
    /// When one of them does not start.
    pub fn up(&self, services: &[&str]) -> Result<()> {
        let up = ["up", "--detach", "--pull=never", "--no-build"];
        self.run(up.iter().chain(services)).map(drop)
    }
}

/// Where the files are.
#[must_use]
pub fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../compose")
}
