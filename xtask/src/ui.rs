//! What the commands print: headings, commands and their output, failures.
//!
//! Narration goes to stdout, failures to stderr. A closed stdout (`cargo xtask demo | head`) is not
//! an error of the command that was printing, so write errors are dropped here and nowhere else.

use std::{
    fmt::{self, Display},
    io::{self, Write as _},
};

/// Prints one line of narration.
pub(crate) fn line(text: impl Display) {
    print(format_args!("{text}\n"));
}

/// Prints a heading, set apart from what came before.
pub(crate) fn heading(text: impl Display) {
    print(format_args!("\n== {text}\n"));
}

/// Prints an error with its chain of causes.
pub(crate) fn failure(error: &anyhow::Error) {
    drop(writeln!(io::stderr().lock(), "\nerror: {error:#}"));
}

fn print(text: fmt::Arguments<'_>) {
    let mut out = io::stdout().lock();
    drop(out.write_fmt(text).and_then(|()| out.flush()));
}
