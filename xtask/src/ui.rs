//! What the commands print: headings, commands and their output, failures.
//!
//! Narration goes to stdout, failures to stderr. A closed stdout (`cargo xtask demo | head`) is not
//! an error of the command that was printing, so write errors are dropped here and nowhere else.

use std::{
    fmt::{self, Display},
    io::{self, Write as _},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};
use ebpf_netns_tests::command::shown;

/// Prints one line of narration.
pub(crate) fn line(text: impl Display) {
    print(format_args!("{text}\n"));
}

/// Prints a heading, set apart from what came before.
pub(crate) fn heading(text: impl Display) {
    print(format_args!("\n== {text}\n"));
}

/// Prints a command the way that one types it.
pub(crate) fn typed(text: impl Display) {
    print(format_args!("$ {text}\n"));
}

/// Prints a command, runs it to its end, and lets its output through.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    typed(shown(command));
    let status = command.status().with_context(|| format!("start {}", shown(command)))?;
    ensure!(status.success(), "{} failed, {status}", shown(command));
    Ok(())
}

/// Prints an error with its chain of causes.
pub(crate) fn failure(error: &anyhow::Error) {
    drop(writeln!(io::stderr().lock(), "\nerror: {error:#}"));
}

fn print(text: fmt::Arguments<'_>) {
    let mut out = io::stdout().lock();
    drop(out.write_fmt(text).and_then(|()| out.flush()));
}
