//! The settings of `ebpf-netns-runtime`: a small file, since its command line is the real runtime's.

use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fs, io};

use serde::Deserialize;

use crate::control;

/// Where the settings are unless `runtimeArgs` says otherwise. It need not be there.
pub const DEFAULT_PATH: &str = "/etc/ebpf-netns/runtime.toml";

/// The name of our own program, which must not be its own real runtime.
pub const PROGRAM: &str = "ebpf-netns-runtime";

/// Longer than this nobody waits for a container.
const LONGEST: u64 = 60_000;

/// What the operator decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The real runtime: a path, or a name that is looked for in `PATH`.
    pub runtime: PathBuf,
    /// Where the daemon listens.
    pub control_socket: PathBuf,
    /// Whether a container that may not start, or of which nobody knows whether it may, starts all
    /// the same.
    pub fail_open: bool,
    /// How long a start waits for the daemon's word.
    pub deadline: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            runtime: "runc".into(),
            control_socket: control::DEFAULT_SOCKET.into(),
            fail_open: false,
            deadline: Duration::from_secs(2),
        }
    }
}

/// The file, as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    runtime: Option<PathBuf>,
    control_socket: Option<PathBuf>,
    fail_open: Option<bool>,
    deadline_ms: Option<u64>,
}

/// The settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The file cannot be read.
    #[error("read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// What it says is not understood.
    #[error("{}: {problem}", path.display())]
    Bad {
        /// The file.
        path: PathBuf,
        /// What is wrong, and where.
        problem: String,
    },
}

impl Settings {
    /// Reads them from a file that was asked for, else from the usual one if it is there.
    ///
    /// # Errors
    ///
    /// When a file that was asked for is not there, or cannot be read or understood.
    pub fn load(asked: Option<&Path>) -> Result<Self, SettingsError> {
        let path = asked.unwrap_or(Path::new(DEFAULT_PATH));
        match fs::read_to_string(path) {
            Ok(text) => Self::parse(&text)
                .map_err(|problem| SettingsError::Bad { path: path.to_owned(), problem }),
            Err(error) if error.kind() == io::ErrorKind::NotFound && asked.is_none() => {
                Ok(Self::default())
            }
            Err(source) => Err(SettingsError::Read { path: path.to_owned(), source }),
        }
    }

    fn parse(text: &str) -> Result<Self, String> {
        let Written { runtime, control_socket, fail_open, deadline_ms } =
            toml::from_str(text).map_err(|error| one_line(text, &error))?;
        let usual = Self::default();
        let read = Self {
            runtime: runtime.unwrap_or(usual.runtime),
            control_socket: control_socket.unwrap_or(usual.control_socket),
            fail_open: fail_open.unwrap_or(usual.fail_open),
            deadline: deadline_ms.map_or(usual.deadline, Duration::from_millis),
        };
        if read.runtime.file_name().is_none_or(|name| name == PROGRAM) {
            return Err(format!(
                "runtime: \"{}\" is not a real runtime: give the path of runc, crun or the like",
                read.runtime.display()
            ));
        }
        if !read.control_socket.is_absolute() {
            let path = read.control_socket.display();
            return Err(format!("control_socket: \"{path}\" is not an absolute path"));
        }
        if !(1..=LONGEST).contains(&deadline_ms.unwrap_or(1)) {
            return Err(format!("deadline_ms: expected 1 to {LONGEST}"));
        }
        Ok(read)
    }
}

/// What TOML's reader has to say, which is several lines with a drawing, in one.
fn one_line(text: &str, error: &toml::de::Error) -> String {
    let said = error.message().lines().collect::<Vec<_>>().join(", ");
    match error.span().and_then(|span| text.get(..span.start)) {
        Some(before) => {
            let line = before.matches('\n').count() + 1;
            let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
            format!("line {line}, column {column}: {said}")
        }
        None => said,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_written_is_as_usual() {
        assert_eq!(Settings::parse("").unwrap(), Settings::default());
        let read = Settings::parse("runtime = \"/usr/bin/crun\"\nfail_open = true\n").unwrap();
        let expected =
            Settings { runtime: "/usr/bin/crun".into(), fail_open: true, ..Settings::default() };
        assert_eq!(read, expected);
        let read = Settings::parse("deadline_ms = 500\ncontrol_socket = \"/x\"").unwrap();
        assert_eq!(read.deadline, Duration::from_millis(500));
        assert_eq!(read.control_socket, Path::new("/x"));
    }

    #[test]
    fn what_is_wrong_is_told_in_one_line() {
        for (text, words) in [
            ("fail_open = \"yes\"", ["line 1, column 13", "boolean"]),
            ("\nfailopen = true", ["line 2, column 1", "unknown field `failopen`"]),
            ("runtime = ", ["line 1, column 11", "quoted"]),
            ("deadline_ms = 0", ["deadline_ms", "1 to 60000"]),
            ("deadline_ms = 60001", ["deadline_ms", "1 to 60000"]),
            ("deadline_ms = -1", ["line 1, column 15", "-1"]),
            ("runtime = \"\"", ["runtime", "not a real runtime"]),
            ("runtime = \"/bin/ebpf-netns-runtime\"", ["runtime", "not a real runtime"]),
            ("control_socket = \"x\"", ["control_socket", "absolute"]),
        ] {
            let problem = Settings::parse(text).unwrap_err();
            assert!(words.iter().all(|word| problem.contains(word)), "{text}: {problem}");
            assert_eq!(problem.lines().count(), 1, "{text}: {problem}");
        }
    }

    #[test]
    fn a_file_that_was_asked_for_must_be_there() {
        let error = Settings::load(Some(Path::new("/nowhere/x.toml"))).unwrap_err();
        assert_eq!(error.to_string(), "read /nowhere/x.toml");
    }
}
