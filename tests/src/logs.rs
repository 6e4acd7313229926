//! Where the programs of a test write, and what of it is shown when something fails.
//!
//! Logs lie in the target directory, named after the test, so that they outlive both the test and
//! the machine it ran in.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    path::{Path, PathBuf},
    thread,
};

use anyhow::{Context as _, Result};

use crate::binaries;

/// How many lines of a log an error shows.
const SHOWN: usize = 40;

/// Makes the log file `name` of the current test, in a directory of its own per machine.
pub(crate) fn create(machine: &str, name: &str) -> Result<(PathBuf, File)> {
    let test = thread::current().name().unwrap_or("unnamed").replace("::", ".");
    let serial = machine.rsplit('-').next().unwrap_or_default();
    let directory = binaries::cache()?.join("logs").join(format!("{test}-{serial}"));
    fs::create_dir_all(&directory).with_context(|| format!("create {}", directory.display()))?;
    let path = directory.join(name);
    let file = File::options()
        .create(true)
        .append(true)
        .open(&path)
        .with_context(|| format!("open {}", path.display()))?;
    file.set_len(0)?;
    Ok((path, file))
}

/// The last lines of a log, for an error message.
pub(crate) fn tail(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    let lines: Vec<_> = text.lines().collect();
    let start = lines.len().saturating_sub(SHOWN);
    let shown = lines.get(start..).unwrap_or_default().join("\n");
    format!("{}:\n{shown}", path.display())
}

/// Prints the last lines of a log, for a test that is failing.
pub(crate) fn show(path: &Path) {
    drop(writeln!(io::stderr().lock(), "{}", tail(path)));
}
