//! Debian's archive, asked with this machine's apt-get but apart from its settings: its sources,
//! lists and downloads are in a directory of our own, and nothing is installed from them.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail, ensure};
use ebpf_netns_tests::command::stdout_of;

use super::release::{Release, Wanted, choose};
use crate::ui;

/// Where the kernels of the supported releases are updated, and the newest are put: short lists,
/// unlike those of the releases themselves.
const SUITES: [(&str, &str); 5] = [
    ("debian-security", "bullseye-security"),
    ("debian-security", "bookworm-security"),
    ("debian-security", "trixie-security"),
    ("debian", "bookworm-backports"),
    ("debian", "trixie-backports"),
];

/// The kernels that Debian has, and those of them that were downloaded.
pub(super) struct Archive {
    dir: PathBuf,
    /// Names of packages.
    names: String,
}

impl Archive {
    /// Fetches the lists into `dir`. Without a network, earlier ones are used.
    pub(super) fn open(dir: &Path) -> Result<Self> {
        for part in ["apt/lists/partial", "apt/cache/archives/partial"] {
            let part = dir.join(part);
            fs::create_dir_all(&part).with_context(|| format!("make {}", part.display()))?;
        }
        let sources: String = SUITES.map(|(archive, suite)| source(archive, suite)).concat();
        fs::write(dir.join("apt/sources.list"), sources).context("write apt/sources.list")?;
        stdout_of(apt(dir, "apt-get").args(["--quiet=2", "update"]))?;
        let names = stdout_of(apt(dir, "apt-cache").args(["pkgnames", "linux-"]))?;
        Ok(Self { dir: dir.to_owned(), names })
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// The kernels that were asked for, each once, in order.
    pub(super) fn choose(&self, wanted: &[Wanted]) -> Result<Vec<Release>> {
        let mut chosen: Vec<Release> = Vec::new();
        for &wanted in wanted {
            let Some(release) = choose(self.names.lines(), wanted) else {
                bail!("Debian has no kernel {wanted}; it has {}", self.versions().join(", "));
            };
            if !chosen.contains(&release) {
                ui::line(format_args!("{wanted}: {release}"));
                chosen.push(release);
            }
        }
        Ok(chosen)
    }

    /// The package files of a kernel, downloaded unless they are here.
    pub(super) fn download(&self, release: &Release) -> Result<Vec<PathBuf>> {
        let target = self.dir.join(release.to_string());
        if !target.is_dir() {
            let new = tempfile::tempdir_in(&self.dir).context("make a directory to download to")?;
            let known = |name: &String| self.names.lines().any(|line| line == name);
            let packages = release.packages().into_iter().filter(known);
            let mut get = apt(&self.dir, "apt-get");
            get.args(["--quiet=2", "download"]).args(packages).current_dir(new.path());
            ui::line(format_args!("downloading to {}", target.display()));
            stdout_of(&mut get)?;
            fs::rename(new.keep(), &target)
                .with_context(|| format!("make {}", target.display()))?;
        }
        let entries =
            fs::read_dir(&target).with_context(|| format!("list {}", target.display()))?;
        let mut files = Vec::new();
        for entry in entries {
            files.push(entry.with_context(|| format!("list {}", target.display()))?.path());
        }
        ensure!(!files.is_empty(), "{} is empty: remove it", target.display());
        Ok(files)
    }

    /// The versions that there are, each once, the oldest first.
    fn versions(&self) -> Vec<String> {
        let releases = self.names.lines().filter_map(Release::of_package);
        let by_age: BTreeMap<_, _> =
            releases.map(|release| (release.clone(), release.version().to_string())).collect();
        let mut versions: Vec<_> = by_age.into_values().collect();
        versions.dedup();
        versions
    }
}

/// A line of `sources.list`.
pub(crate) fn source(archive: &str, suite: &str) -> String {
    let key = "signed-by=/usr/share/keyrings/debian-archive-keyring.gpg";
    format!("deb [arch=amd64 {key}] http://deb.debian.org/{archive} {suite} main\n")
}

/// A program of apt with settings of our own.
pub(crate) fn apt(dir: &Path, program: &str) -> Command {
    let dir = dir.join("apt");
    let mut command = Command::new(program);
    for setting in [
        format!("Dir::Etc::sourcelist={}", dir.join("sources.list").display()),
        "Dir::Etc::sourceparts=/dev/null".to_owned(),
        format!("Dir::State::lists={}", dir.join("lists").display()),
        format!("Dir::Cache={}", dir.join("cache").display()),
        "APT::Architecture=amd64".to_owned(),
        // The directories are not for apt's own user.
        "APT::Sandbox::User=".to_owned(),
        // Nothing but the lists of packages.
        "Acquire::Languages=none".to_owned(),
        "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false".to_owned(),
    ] {
        command.args(["-o", &setting]);
    }
    command
}
