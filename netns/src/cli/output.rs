//! What is written to stdout and stderr. A reader that went away is no failure.

use std::{
    ffi::OsString,
    io::{self, Write},
};

use anyhow::{Context as _, Result};
use clap::ValueEnum;
use comfy_table::{Table, presets};
use serde::Serialize;

/// How results and errors are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For reading
    Table,
    /// For programs; a stable interface
    Json,
}

impl Format {
    /// The format that was asked for, from arguments that may otherwise be wrong.
    pub(crate) fn guess(arguments: &[OsString]) -> Self {
        let own = arguments.iter().take_while(|argument| *argument != "--");
        let mut previous = None;
        for argument in own {
            if argument == "--format=json" || (previous == Some("--format") && argument == "json") {
                return Self::Json;
            }
            previous = argument.to_str();
        }
        Self::Table
    }
}

/// Writes text to stdout.
pub(crate) fn print(text: &str) -> Result<()> {
    write(io::stdout().lock(), text).context("write to standard output")
}

/// Writes a line to stderr. If that fails there is nowhere left to say so.
pub(crate) fn note(text: &str) {
    drop(write(io::stderr().lock(), &format!("{text}\n")));
}

/// Writes a value to stdout as JSON.
pub(crate) fn print_json(value: &impl Serialize) -> Result<()> {
    let json = serde_json::to_string_pretty(value).context("write JSON")?;
    print(&format!("{json}\n"))
}

/// Columns without lines, as `docker ps` has them.
pub(crate) fn table(header: &[&str], rows: Vec<Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(header.iter().copied());
    table.add_rows(rows);
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    format!("{}\n", table.trim_fmt())
}

fn write(mut to: impl Write, text: &str) -> io::Result<()> {
    match to.write_all(text.as_bytes()).and_then(|()| to.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_format_is_known_even_if_the_rest_is_wrong() {
        let cases: [(&[&str], Format); 5] = [
            (&["x", "peer", "--format", "json", "--nonsense"], Format::Json),
            (&["x", "--format=json"], Format::Json),
            (&["x", "peer", "--format", "table"], Format::Table),
            (&["x", "json"], Format::Table),
            (&["x", "exec", "web", "--", "docker", "--format", "json"], Format::Table),
        ];
        for (arguments, expected) in cases {
            let arguments: Vec<_> = arguments.iter().map(OsString::from).collect();
            assert_eq!(Format::guess(&arguments), expected, "{arguments:?}");
        }
    }

    #[test]
    fn a_table_has_no_trailing_space() {
        let rows = vec![vec!["a".to_owned(), "b".to_owned()]];
        assert_eq!(table(&["NAME", "X"], rows), "NAME  X\na     b\n");
    }
}
