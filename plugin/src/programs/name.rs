//! `FILE` or `FILE#FUNCTION`, as labels name a program. Pure.
//!
//! A name can be no path: it has no slash and does not begin with a dot.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The longest name of a file, in bytes.
const MAX_FILE_BYTES: usize = 64;
/// The longest name of a function, in bytes.
const MAX_FUNCTION_BYTES: usize = 128;
/// How the name of an object ends.
const SUFFIX: &str = ".o";

/// A program in the directory of the operator's programs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ProgramName {
    /// The file.
    pub file: String,
    /// Its function; the only one of the right type if none is named.
    pub function: Option<String>,
}

impl ProgramName {
    /// Reads a value of `xdp.program` or `tc.program`.
    ///
    /// # Errors
    ///
    /// What is wrong with it, for after what was found.
    pub fn parse(value: &str) -> Result<Self, &'static str> {
        let (file, function) = match value.split_once('#') {
            Some((file, function)) => (file, Some(function)),
            None => (value, None),
        };
        if file.contains('/') {
            return Err("expected FILE or FILE#FUNCTION: the name of a file in the programs \
                        directory, and no path");
        }
        if !is_file_name(file) {
            return Err("expected FILE or FILE#FUNCTION: the name of a file has letters, digits, \
                        _, - and dots, ends in .o and has 64 bytes at most");
        }
        if function.is_some_and(|function| !is_function_name(function)) {
            return Err("expected FILE#FUNCTION: a function is named as in C");
        }
        Ok(Self { file: file.to_owned(), function: function.map(str::to_owned) })
    }
}

impl fmt::Display for ProgramName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, function } = self;
        f.write_str(file)?;
        function.as_ref().map_or(Ok(()), |function| write!(f, "#{function}"))
    }
}

/// Whether a file can be named by a label.
pub(super) fn is_file_name(name: &str) -> bool {
    let known = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    name.strip_suffix(SUFFIX).is_some_and(|stem| !stem.is_empty())
        && name.len() <= MAX_FILE_BYTES
        && !name.starts_with(['.', '-'])
        && name.chars().all(known)
}

fn is_function_name(name: &str) -> bool {
    let known = |c: char| c.is_ascii_alphanumeric() || c == '_';
    (1..=MAX_FUNCTION_BYTES).contains(&name.len())
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.chars().all(known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_and_a_function_are_told_apart() {
        let count = |function: Option<&str>| ProgramName {
            file: "count.bpf.o".to_owned(),
            function: function.map(str::to_owned),
        };
        for (value, expected) in
            [("count.bpf.o", count(None)), ("count.bpf.o#drop_udp", count(Some("drop_udp")))]
        {
            assert_eq!(ProgramName::parse(value), Ok(expected.clone()));
            assert_eq!(expected.to_string(), value);
        }
    }

    #[test]
    fn nothing_else_is_a_name_of_a_program() {
        for value in [
            "", ".o", "x", "x.c", "../x.o", "/etc/x.o", "a/b.o", "..o", ".x.o", "-x.o", "x.o#",
            "x.o#1", "x.o#a b", "x.o#a#b", "x .o", "x\0.o", "ü.o", "x.o ", "x.o/..",
        ] {
            assert!(ProgramName::parse(value).is_err(), "{value:?}");
        }
        let long = format!("{}.o", "x".repeat(MAX_FILE_BYTES - 2));
        assert!(ProgramName::parse(&long).is_ok());
        assert!(ProgramName::parse(&format!("x{long}")).is_err());
    }
}
