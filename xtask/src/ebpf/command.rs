//! Running other programs: what to run, where, and an error that names the command.

use std::ffi::OsStr;
use std::process::{Command, Output, Stdio};

use anyhow::{Context as _, Result, bail};

use crate::ui;

/// Runs the command and returns its standard output; what it says on standard error is shown when
/// it fails.
pub(super) fn read(command: &mut Command) -> Result<String> {
    let Output { status, stdout, stderr } =
        command.output().with_context(|| format!("start {}", shown(command)))?;
    if !status.success() {
        let said = String::from_utf8_lossy(&stderr);
        bail!("{} failed ({status}): {}", shown(command), said.trim());
    }
    String::from_utf8(stdout).with_context(|| format!("{} did not print text", shown(command)))
}

/// Runs the command with its messages going to the terminal; returns its standard output.
pub(super) fn read_showing_progress(command: &mut Command) -> Result<String> {
    let output = command
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("start {}", shown(command)))?;
    let Output { status, stdout, stderr: _ } = output;
    if !status.success() {
        bail!("{} failed ({status}), see above", program(command));
    }
    String::from_utf8(stdout).with_context(|| format!("{} did not print text", program(command)))
}

/// Runs the command with all it prints going to the terminal.
pub(super) fn run(command: &mut Command) -> Result<()> {
    ui::line(format_args!("$ {}", shown(command)));
    let status = command.status().with_context(|| format!("start {}", shown(command)))?;
    if !status.success() {
        bail!("{} failed ({status}), see above", program(command));
    }
    Ok(())
}

fn program(command: &Command) -> String {
    command.get_program().to_string_lossy().into_owned()
}

fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(OsStr::to_string_lossy).collect::<Vec<_>>().join(" ")
}
