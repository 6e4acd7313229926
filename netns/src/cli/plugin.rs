//! The other binary, `ebpf-netns-plugin`, which has the verbs that need eBPF.

use std::{
    env,
    ffi::OsString,
    io,
    os::unix::process::CommandExt as _,
    path::PathBuf,
    process::{Command, Stdio},
};

use crate::{exit, text::printable_up_to};
use anyhow::Result;

use super::failure::Failure;

const NAME: &str = "ebpf-netns-plugin";

/// Becomes the other binary, with the verb and all that follows it.
pub(crate) fn become_it(arguments: &[OsString]) -> Result<()> {
    let error = command().args(arguments).exec();
    let verb = arguments.first().map(|verb| verb.to_string_lossy()).unwrap_or_default();
    let verb = printable_up_to(&verb, 60);
    let failure = if error.kind() == io::ErrorKind::NotFound {
        let message = format!(
            "{verb} is not a verb of ebpf-netns, and {NAME}, which may have it, is not installed \
             (see `ebpf-netns --help`)"
        );
        Failure::new(exit::COMMAND_NOT_FOUND, message)
    } else {
        Failure::new(exit::NOT_EXECUTABLE, format!("run {NAME} {verb}: {error}"))
    };
    Err(failure.into())
}

/// Runs the other binary and returns what it writes; `Err` says why there is nothing.
pub(crate) fn output(arguments: &[String]) -> Result<Vec<u8>, String> {
    let output = command().args(arguments).stdin(Stdio::null()).output().map_err(|error| {
        match error.kind() {
            io::ErrorKind::NotFound => format!("{NAME} is not installed"),
            _ => format!("run {NAME}: {error}"),
        }
    })?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let first = said.lines().find(|line| !line.trim().is_empty()).unwrap_or("it says nothing");
    Err(format!("{NAME} failed ({}): {}", output.status, printable_up_to(first, 200)))
}

/// The one next to this program, so that two installations do not mix, else the one on the path.
fn command() -> Command {
    let sibling: Option<PathBuf> = env::current_exe()
        .ok()
        .map(|own| own.with_file_name(NAME))
        .filter(|sibling| sibling.is_file());
    Command::new(sibling.unwrap_or_else(|| NAME.into()))
}
