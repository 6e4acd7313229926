//! An OCI runtime that holds a container just before its first instruction.
//!
//! While it is held, the container's interfaces exist, and `docker inspect` of it blocks: Docker
//! holds the container's lock for the whole start.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

use crate::{
    machine::Machine,
    wait::{DEADLINE, wait_until},
};

/// The gate that containers of [`super::GATED_RUNTIME`] wait at; closed at first.
#[derive(Debug)]
pub struct Gate {
    directory: PathBuf,
}

impl Gate {
    pub(super) fn new(machine: &Machine) -> Result<Self> {
        let directory = machine.directory().join("gate");
        fs::create_dir(&directory).with_context(|| format!("create {}", directory.display()))?;
        let gate = Self { directory };
        let script = format!(
            "#!/bin/sh\n\
             # `runc [OPTIONS] start ID` waits here; every other verb passes.\n\
             for word; do\n\
             if [ \"$word\" = start ]; then\n\
             touch '{held}'\n\
             while [ ! -e '{open}' ]; do sleep 0.02; done\n\
             rm -f '{held}'\n\
             fi\n\
             done\n\
             exec runc \"$@\"\n",
            held = gate.held().display(),
            open = gate.opened().display(),
        );
        fs::write(gate.runtime(), script)?;
        fs::set_permissions(gate.runtime(), Permissions::from_mode(0o755))?;
        Ok(gate)
    }

    /// Waits until a container stands before the gate.
    ///
    /// # Errors
    ///
    /// When none does in time.
    pub fn wait_held(&self) -> Result<()> {
        wait_until(DEADLINE, "a container to be held at its start", || self.held().exists())
    }

    /// Lets containers pass, those that wait and those to come.
    ///
    /// # Errors
    ///
    /// When the machine is gone.
    pub fn open(&self) -> Result<()> {
        fs::write(self.opened(), "").context("open the gate")
    }

    /// Holds the containers that start from now on.
    ///
    /// # Errors
    ///
    /// When it is closed already.
    pub fn close(&self) -> Result<()> {
        fs::remove_file(self.opened()).context("close the gate")
    }

    /// The runtime that waits, for whoever starts it otherwise than by its name in the engine.
    #[must_use]
    pub fn runtime(&self) -> PathBuf {
        self.file("runtime")
    }

    fn held(&self) -> PathBuf {
        self.file("held")
    }

    fn opened(&self) -> PathBuf {
        self.file("open")
    }

    fn file(&self, name: &str) -> PathBuf {
        Path::join(&self.directory, name)
    }
}
