//! Docker's programs of a newer Debian than this one, for tests that take Compose, or an engine that
//! knows capabilities by their names of today.
//!
//! They are unpacked below the target directory; nothing is installed, and this machine's settings
//! of apt are left alone.

use std::{fs, path::Path, process::Command};

use anyhow::{Context as _, Result};
use ebpf_netns_tests::{command::stdout_of, newer};

use crate::{
    kernels::{apt, source},
    setup, ui,
};

/// The release that has them, and its packages.
const SUITE: &str = "trixie";
const PACKAGES: [&str; 4] = ["containerd", "docker-cli", "docker-compose", "docker.io"];
/// What of a package is no program.
const REST: &str = "usr/share";

/// Fetches what is not there. Where Debian's archive is out of reach, the tests that need it are
/// skipped and say so.
pub(crate) fn provide() -> Result<()> {
    let place = newer::root()?;
    if place.exists() || !setup::is_root() {
        return Ok(());
    }
    ui::heading(format_args!("Docker's programs of Debian {SUITE}, for {}", place.display()));
    let parent = place.parent().context("it is below the target directory")?;
    fs::create_dir_all(parent).with_context(|| format!("make {}", parent.display()))?;
    let scratch = tempfile::tempdir_in(parent).context("make a directory to download to")?;
    match fetch(scratch.path()) {
        Ok(()) => fs::rename(scratch.path().join("root"), &place)
            .with_context(|| format!("make {}", place.display())),
        Err(error) => {
            ui::line(format_args!("not fetched, some tests will be skipped: {error:#}"));
            Ok(())
        }
    }
}

/// Unpacks the packages into `root` below a directory.
fn fetch(dir: &Path) -> Result<()> {
    for part in ["apt/lists/partial", "apt/cache/archives/partial", "root"] {
        let part = dir.join(part);
        fs::create_dir_all(&part).with_context(|| format!("make {}", part.display()))?;
    }
    fs::write(dir.join("apt/sources.list"), source("debian", SUITE))
        .context("write apt/sources.list")?;
    stdout_of(apt(dir, "apt-get").args(["--quiet=2", "update"]))?;
    let mut download = apt(dir, "apt-get");
    stdout_of(download.args(["--quiet=2", "download"]).args(PACKAGES).current_dir(dir))?;
    for file in fs::read_dir(dir).context("list what was downloaded")? {
        let file = file?.path();
        if file.extension().is_some_and(|extension| extension == "deb") {
            stdout_of(Command::new("dpkg-deb").arg("-x").arg(&file).arg(dir.join("root")))?;
        }
    }
    let rest = dir.join("root").join(REST);
    fs::remove_dir_all(&rest).with_context(|| format!("remove {}", rest.display()))
}
