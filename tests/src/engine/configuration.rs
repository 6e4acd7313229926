//! The engine's configuration file, and having it read again.

use std::{fs, path::PathBuf};

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::{Engine, GATED_RUNTIME, Gate};
use crate::{
    machine::Machine,
    wait::{DEADLINE, wait_for},
};

/// Where the engine of a machine has it.
pub(super) fn path(machine: &Machine) -> PathBuf {
    machine.directory().join("daemon.json")
}

/// Writes what every engine begins with.
pub(super) fn write(machine: &Machine, gate: &Gate) -> Result<()> {
    let beginning = json!({ "runtimes": { GATED_RUNTIME: { "path": gate.runtime() } } });
    fs::write(path(machine), beginning.to_string()).context("write the engine's configuration")
}

impl Engine {
    /// The configuration file, at the same path inside and outside.
    #[must_use]
    pub fn configuration(&self) -> PathBuf {
        path(&self.machine)
    }

    /// Adds an OCI runtime, as the engine's reference describes one, while the engine runs.
    ///
    /// # Errors
    ///
    /// When the engine does not take it.
    pub fn add_runtime(&self, name: &str, runtime: &Value) -> Result<()> {
        let file = self.configuration();
        let mut configuration: Value = serde_json::from_slice(&fs::read(&file)?)?;
        let runtimes = configuration.get_mut("runtimes").and_then(Value::as_object_mut);
        runtimes
            .context("the configuration has runtimes")?
            .insert(name.to_owned(), runtime.clone());
        fs::write(&file, configuration.to_string())?;
        self.reload()?;
        wait_for(DEADLINE, &format!("runtime {name}"), || {
            let known = self.runtimes()?;
            ensure!(known.iter().any(|known| known == name), "it has {known:?}");
            Ok(())
        })
    }

    /// The names of the OCI runtimes that the engine has, in order.
    ///
    /// # Errors
    ///
    /// When it does not answer.
    pub fn runtimes(&self) -> Result<Vec<String>> {
        let known = self.docker(["info", "--format", "{{json .Runtimes}}"])?;
        let known: Value = serde_json::from_str(&known)?;
        let known = known.as_object().context("an object of runtimes")?;
        Ok(known.keys().cloned().collect())
    }

    /// Has the engine read its configuration again (SIGHUP).
    ///
    /// # Errors
    ///
    /// When it does not run.
    pub fn reload(&self) -> Result<()> {
        self.server().as_ref().context("the engine does not run")?.signal(Signal::SIGHUP)
    }
}
