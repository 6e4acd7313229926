//! Docker's programs of a newer release of Debian, where this machine's are too old for a test:
//! Compose, and an engine that knows `CAP_BPF` by its name.
//!
//! `cargo xtask setup` unpacks them below the target directory; nothing here fetches anything.

use std::{
    env,
    ffi::OsString,
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

use crate::binaries;

/// Where a newer release's packages are unpacked, as if it were `/`.
///
/// # Errors
///
/// When there is no target directory.
pub fn root() -> Result<PathBuf> {
    Ok(binaries::target_directory()?.join("tools/docker"))
}

/// What is there of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Newer {
    root: PathBuf,
}

impl Newer {
    /// The programs, or none after printing that a test is skipped for want of them: a machine that
    /// cannot reach Debian's archive runs all the others.
    ///
    /// # Errors
    ///
    /// When there is no target directory.
    pub fn find() -> Result<Option<Self>> {
        let newer = Self { root: root()? };
        if newer.compose().exists() && newer.engine().exists() {
            return Ok(Some(newer));
        }
        let root = newer.root.display();
        writeln!(io::stderr().lock(), "skipped: needs {root}: run `cargo xtask setup` as root")?;
        Ok(None)
    }

    /// `docker-compose`, a plugin of `docker`.
    #[must_use]
    pub fn compose(&self) -> PathBuf {
        self.below("usr/libexec/docker/cli-plugins/docker-compose")
    }

    /// `dockerd`.
    #[must_use]
    pub fn engine(&self) -> PathBuf {
        self.below("usr/sbin/dockerd")
    }

    /// `docker`.
    #[must_use]
    pub fn client(&self) -> PathBuf {
        self.below("usr/bin/docker")
    }

    /// A `PATH` on which they come before this machine's.
    ///
    /// # Errors
    ///
    /// When a directory's name has a colon.
    pub fn path(&self) -> Result<OsString> {
        let usual = env::var_os("PATH").unwrap_or_default();
        let own = ["usr/bin", "usr/sbin"].map(|directory| self.below(directory));
        env::join_paths(own.into_iter().chain(env::split_paths(&usual))).context("make a PATH")
    }

    fn below(&self, path: impl AsRef<Path>) -> PathBuf {
        self.root.join(path)
    }
}
