//! A kernel out of its packages: the image, and the modules that the tests take.

use std::{
    ffi::OsStr,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};
use ebpf_netns_tests::command::stdout_of;

use super::release::Release;
use crate::setup;

/// What the tests need of the kernel: veths, and what TC is made of.
const MODULES: [&str; 5] = ["veth", "sch_ingress", "cls_bpf", "cls_u32", "sch_tbf"];

/// The files of a kernel.
pub(super) struct Unpacked {
    pub(super) image: PathBuf,
    /// In the order in which they can be loaded.
    pub(super) modules: Vec<PathBuf>,
}

impl Unpacked {
    /// Unpacks packages into `dir`.
    pub(super) fn from_packages(
        packages: &[PathBuf],
        release: &Release,
        dir: &Path,
    ) -> Result<Self> {
        for package in packages {
            stdout_of(Command::new("dpkg").arg("-x").args([package.as_path(), dir]))?;
        }
        if !dir.join("lib").exists() {
            symlink("usr/lib", dir.join("lib")).context("link lib to usr/lib")?;
        }
        // Where it is since the packages are more than one, and where it was before.
        let images = [format!("lib/modules/{release}/vmlinuz"), format!("boot/vmlinuz-{release}")];
        let image = images.iter().map(|image| dir.join(image)).find(|image| image.is_file());
        let image =
            image.with_context(|| format!("the packages have no {}", images.join(" or ")))?;
        let modules = modules(dir, &release.to_string())?;
        Ok(Self { image, modules })
    }
}

/// The files of the modules and of those that they need; what is built in has none.
fn modules(dir: &Path, release: &str) -> Result<Vec<PathBuf>> {
    let dir = dir.canonicalize().context("find the unpacked kernel")?;
    let tool = |name| Command::new(setup::find(name).unwrap_or_else(|| name.into()));
    stdout_of(tool("depmod").arg("--basedir").arg(&dir).arg(release))?;
    let mut files: Vec<PathBuf> = Vec::new();
    for module in MODULES {
        let mut modprobe = tool("modprobe");
        modprobe.arg("--dirname").arg(&dir).args(["--set-version", release, "--show-depends"]);
        let shown = stdout_of(modprobe.args(["--ignore-install", module]))
            .with_context(|| format!("find module {module}"))?;
        for line in shown.lines() {
            let file = line.strip_prefix("insmod ").map(|file| PathBuf::from(file.trim()));
            files.extend(file.filter(|file| !files.contains(file)));
        }
    }
    Ok(files)
}

/// A module's file name.
pub(super) fn name(module: &Path) -> String {
    module.file_name().unwrap_or(OsStr::new("")).to_string_lossy().into_owned()
}
