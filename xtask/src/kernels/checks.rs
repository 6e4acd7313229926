//! What is done on each kernel: the tests, and loading the objects.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, ensure};
use ebpf_netns_tests::command::{shown, stdout_of};
use serde_json::Value;

use super::{release::Release, report::Report};
use crate::ui;

/// The test program, a file in `tests/tests`.
const TEST_PROGRAM: &str = "attach";
/// Where the objects are, from the root of the repository.
const BYTECODE: &str = "plugin/bytecode";

/// One thing that passes or fails.
#[derive(Debug)]
pub(super) enum Check {
    /// A test of the test program.
    Test { name: String },
    /// An object that bpftool loads.
    Object { file: PathBuf },
}

impl Check {
    /// Its name in the guest's report.
    pub(super) fn name(&self) -> String {
        match self {
            Self::Test { name } => format!("test {name}"),
            Self::Object { file } => {
                let name = file.file_name().map(|name| name.to_string_lossy().into_owned());
                format!("load {}", name.unwrap_or_default())
            }
        }
    }
}

/// What ends the names of objects for kernels before 5.18, which go beyond two capabilities.
const DIRECT: &str = "-direct.o";

impl Check {
    /// Whether it is for this kernel.
    pub(super) fn is_for(&self, release: &Release) -> bool {
        match self {
            Self::Test { .. } => true,
            Self::Object { .. } => self.is_direct() || release.is_since(5, 18),
        }
    }

    fn is_direct(&self) -> bool {
        self.name().ends_with(DIRECT)
    }

    /// The capabilities that it is done with on this kernel, as setpriv takes them; all, where
    /// there are none.
    pub(super) fn capabilities(&self, release: &Release) -> Option<&'static str> {
        match self {
            Self::Test { .. } => None,
            Self::Object { .. } if self.is_direct() || !release.is_since(6, 8) => {
                Some("-all,+bpf,+net_admin,+perfmon")
            }
            Self::Object { .. } => Some("-all,+bpf,+net_admin"),
        }
    }
}

/// Everything that is done, and the files that it takes.
pub(super) struct Plan {
    /// The root of the repository, which the test program has compiled in.
    pub(super) root: PathBuf,
    /// The test program.
    pub(super) program: PathBuf,
    pub(super) checks: Vec<Check>,
}

impl Plan {
    /// Builds the test program and asks it for its tests.
    pub(super) fn build(root: &Path) -> Result<Self> {
        let program = build_tests(root)?;
        let listed = stdout_of(Command::new(&program).args(["--list", "--format", "terse"]))?;
        let names = listed.lines().filter_map(|line| line.strip_suffix(": test"));
        let mut checks: Vec<_> = names.map(|name| Check::Test { name: name.to_owned() }).collect();
        ensure!(!checks.is_empty(), "{} has no tests", program.display());
        checks.extend(objects(root)?.into_iter().map(|file| Check::Object { file }));
        Ok(Self { root: root.to_owned(), program, checks })
    }

    /// What is done on a kernel.
    pub(super) fn on(&self, release: &Release) -> impl Iterator<Item = &Check> {
        self.checks.iter().filter(|check| check.is_for(release))
    }

    /// How many checks of a kind there are on a kernel.
    pub(super) fn count(&self, release: &Release, kind: fn(&Check) -> bool) -> usize {
        self.on(release).filter(|check| kind(check)).count()
    }

    /// How many checks of a kind passed on a kernel; what was not done has not.
    pub(super) fn passed(
        &self,
        release: &Release,
        report: &Report,
        kind: fn(&Check) -> bool,
    ) -> usize {
        self.on(release).filter(|check| kind(check) && report.passed(&check.name())).count()
    }

    /// The objects, in order.
    pub(super) fn objects(&self) -> impl Iterator<Item = &Path> {
        self.checks.iter().filter_map(|check| match check {
            Check::Object { file } => Some(file.as_path()),
            Check::Test { .. } => None,
        })
    }
}

fn build_tests(root: &Path) -> Result<PathBuf> {
    let mut cargo = Command::new("cargo");
    cargo.args(["test", "--no-run", "--package", "ebpf-netns-tests", "--test", TEST_PROGRAM]);
    cargo.args(["--message-format", "json-render-diagnostics"]).current_dir(root);
    ui::typed(shown(&cargo));
    let output = cargo.stdin(Stdio::null()).stderr(Stdio::inherit()).output();
    let output = output.with_context(|| format!("start {}", shown(&cargo)))?;
    ensure!(output.status.success(), "{} failed, {}", shown(&cargo), output.status);
    let messages = String::from_utf8_lossy(&output.stdout);
    messages.lines().find_map(executable).context("cargo names no test program")
}

/// The test program in a message of cargo, if it is that.
fn executable(message: &str) -> Option<PathBuf> {
    let message: Value = serde_json::from_str(message).ok()?;
    let target = message.get("target")?;
    let is_test = target.get("kind")?.as_array()?.iter().any(|kind| kind == "test");
    let ours = is_test && target.get("name")? == TEST_PROGRAM;
    ours.then(|| message.get("executable")?.as_str().map(PathBuf::from))?
}

fn objects(root: &Path) -> Result<Vec<PathBuf>> {
    let dir = root.join(BYTECODE);
    let entries = fs::read_dir(&dir).with_context(|| format!("list {}", dir.display()))?;
    let mut files = Vec::new();
    for entry in entries {
        let file = entry.with_context(|| format!("list {}", dir.display()))?.path();
        if file.extension().is_some_and(|extension| extension == "o") {
            files.push(file);
        }
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_test_program_is_told_from_what_else_cargo_builds() {
        let message = |kind: &str, name: &str| {
            format!(r#"{{"target":{{"kind":["{kind}"],"name":"{name}"}},"executable":"/x"}}"#)
        };
        assert_eq!(executable(&message("test", "attach")), Some(PathBuf::from("/x")));
        assert_eq!(executable(&message("bench", "attach")), None, "a benchmark of that name");
        assert_eq!(executable(&message("test", "harness")), None, "another test program");
        assert_eq!(executable(r#"{"reason":"build-finished"}"#), None, "no artifact");
    }
}
