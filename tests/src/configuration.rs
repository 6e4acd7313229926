//! A configuration of the daemon, in files of a machine.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

use crate::machine::Machine;

/// A configuration in a directory of a machine.
#[derive(Clone, Debug)]
pub struct Configuration {
    directory: PathBuf,
}

impl Configuration {
    /// One that says `text`, and has no policies.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    pub fn new(machine: &Machine, text: &str) -> Result<Self> {
        let configuration = Self::of(machine);
        let policies = configuration.directory.join("policies");
        fs::create_dir_all(&policies).context("make the directory of policies")?;
        fs::set_permissions(&policies, Permissions::from_mode(0o755))?;
        configuration.write(text)?;
        Ok(configuration)
    }

    /// The one that a machine has.
    #[must_use]
    pub fn of(machine: &Machine) -> Self {
        Self { directory: machine.directory().join("configuration") }
    }

    /// Replaces what it says.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    pub fn write(&self, text: &str) -> Result<()> {
        put(&self.file(), text)
    }

    /// Makes or replaces a named policy.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    pub fn policy(&self, name: &str, presets: &str) -> Result<()> {
        self.policy_of(name, &format!("policy = {presets:?}\n"))
    }

    /// As [`Self::policy`], by all that its file says.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    pub fn policy_of(&self, name: &str, text: &str) -> Result<()> {
        put(&self.policy_file(name), text)
    }

    /// The file itself, at the same path inside of the machine and outside.
    #[must_use]
    pub fn file(&self) -> PathBuf {
        self.directory.join("config.toml")
    }

    /// The file of a named policy.
    #[must_use]
    pub fn policy_file(&self, name: &str) -> PathBuf {
        self.directory.join(format!("policies/{name}.toml"))
    }

    /// The argument that gives it to `ebpf-netns-plugin run`.
    #[must_use]
    pub fn argument(&self) -> String {
        format!("--config={}", self.file().display())
    }
}

/// Puts a whole file in the place of another, as an editor does.
fn put(path: &Path, text: &str) -> Result<()> {
    let new = path.with_extension("new");
    fs::write(&new, text).with_context(|| format!("write {}", new.display()))?;
    fs::set_permissions(&new, Permissions::from_mode(0o644))?;
    fs::rename(&new, path).with_context(|| format!("replace {}", path.display()))
}
