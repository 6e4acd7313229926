//! The `dockerd` that runs: finding it, having it check a configuration, having it read its own
//! again.

use std::ffi::{OsStr, OsString};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{fs, io};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// Where dockerd reads its configuration from unless it is told otherwise.
pub const DEFAULT_CONFIG: &str = "/etc/docker/daemon.json";
/// Where it writes its process id.
pub(super) const DEFAULT_PIDFILE: &str = "/var/run/docker.pid";

const PROGRAM: &str = "dockerd";
const CONFIG_OPTION: &str = "--config-file";

/// A process that is dockerd.
#[derive(Debug)]
pub(super) struct Dockerd {
    pub(super) pid: Pid,
    handle: OwnedFd,
    /// What it was started with, without its name.
    arguments: Vec<OsString>,
}

/// dockerd could not be dealt with.
#[derive(Debug, thiserror::Error)]
pub enum DockerdError {
    /// The file with its process id is not one.
    #[error("{} has no process id in it, but {found:?}", path.display())]
    BadPidfile {
        /// The file.
        path: PathBuf,
        /// What is in it.
        found: String,
    },
    /// The system does not tell.
    #[error("{what}")]
    System {
        /// What was tried.
        what: String,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// It would not start with the new configuration.
    #[error("dockerd refuses the new configuration, and nothing was changed: {0}")]
    Invalid(String),
}

impl Dockerd {
    /// The process that a pidfile names, if there is one and it is dockerd.
    pub(super) fn find(pidfile: &Path) -> Result<Option<Self>, DockerdError> {
        let system = |what: String| move |source| DockerdError::System { what, source };
        let text = match fs::read_to_string(pidfile) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(system(format!("read {}", pidfile.display()))(error)),
        };
        let number = text.trim().parse().ok().filter(|number| *number > 0).and_then(Pid::from_raw);
        let pid = number.ok_or_else(|| DockerdError::BadPidfile {
            path: pidfile.to_owned(),
            found: text.trim().chars().take(40).collect(),
        })?;
        // Held from here on: its number cannot become another's between looking and signalling.
        let handle = match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(handle) => handle,
            Err(rustix::io::Errno::SRCH) => return Ok(None),
            Err(error) => return Err(system(format!("open process {pid:?}"))(error.into())),
        };
        let about = |file: &str| fs::read(format!("/proc/{}/{file}", pid.as_raw_nonzero()));
        let (Ok(name), Ok(line)) = (about("comm"), about("cmdline")) else { return Ok(None) };
        if name.trim_ascii_end() != PROGRAM.as_bytes() {
            return Ok(None);
        }
        let words = line.strip_suffix(b"\0").unwrap_or(&line).split(|byte| *byte == 0).skip(1);
        let arguments = words.map(|word| OsString::from_vec(word.to_vec())).collect();
        Ok(Some(Self { pid, handle, arguments }))
    }

    /// Where it reads its configuration from.
    pub(super) fn config(&self) -> PathBuf {
        config_of(&self.arguments)
    }

    /// Has it read its configuration again.
    pub(super) fn reload(&self) -> Result<(), DockerdError> {
        pidfd_send_signal(&self.handle, Signal::HUP).map_err(|error| DockerdError::System {
            what: format!("have dockerd (process {}) read its configuration again", self.pid),
            source: error.into(),
        })
    }
}

/// Has dockerd check a configuration together with the arguments that it runs with, where it can:
/// from version 23 on.
pub(super) fn validate(running: Option<&Dockerd>, config: &Path) -> Result<(), DockerdError> {
    let arguments = running.map_or(&[][..], |dockerd| &dockerd.arguments);
    let output = Command::new(PROGRAM)
        .args(without_config(arguments))
        .arg("--validate")
        .arg(CONFIG_OPTION)
        .arg(config)
        .stdin(Stdio::null())
        .output();
    // One that is not in PATH cannot be asked, and says what it thinks when it reads the file.
    let Ok(output) = output else { return Ok(()) };
    let said = String::from_utf8_lossy(&output.stderr);
    if output.status.success() || said.contains("unknown flag: --validate") {
        return Ok(());
    }
    let lines: Vec<&str> = said.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    Err(DockerdError::Invalid(lines.join("; ")))
}

fn config_of(arguments: &[OsString]) -> PathBuf {
    let mut words = arguments.iter();
    let mut config = PathBuf::from(DEFAULT_CONFIG);
    while let Some(word) = words.next() {
        if word == CONFIG_OPTION {
            config = words.next().map_or(config, PathBuf::from);
        } else if let Some(value) = attached(word) {
            config = value.into();
        }
    }
    config
}

fn without_config(arguments: &[OsString]) -> Vec<&OsString> {
    let mut words = arguments.iter();
    let mut kept = Vec::new();
    while let Some(word) = words.next() {
        if word == CONFIG_OPTION {
            words.next();
        } else if attached(word).is_none() {
            kept.push(word);
        }
    }
    kept
}

/// The value of `--config-file=VALUE`.
fn attached(word: &OsStr) -> Option<&OsStr> {
    let value = word.as_bytes().strip_prefix(CONFIG_OPTION.as_bytes())?.strip_prefix(b"=")?;
    Some(OsStr::from_bytes(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_of_a_command_line_is_found_and_left_out() {
        for (line, config, rest) in [
            ("-H fd:// --debug", DEFAULT_CONFIG, "-H fd:// --debug"),
            ("--config-file /a --debug", "/a", "--debug"),
            ("--debug --config-file=/b", "/b", "--debug"),
            ("--config-file", DEFAULT_CONFIG, ""),
        ] {
            let words: Vec<OsString> = line.split(' ').map(OsString::from).collect();
            assert_eq!(config_of(&words), Path::new(config), "{line}");
            let rest: Vec<&str> = rest.split_whitespace().collect();
            assert_eq!(without_config(&words), rest, "{line}");
        }
    }

    #[test]
    fn another_process_is_not_taken_for_dockerd() {
        let directory = tempfile::tempdir().unwrap();
        let pidfile = directory.path().join("pid");
        assert!(Dockerd::find(&pidfile).unwrap().is_none(), "no file");
        fs::write(&pidfile, std::process::id().to_string()).unwrap();
        assert!(Dockerd::find(&pidfile).unwrap().is_none(), "this is a test and not dockerd");
        for bad in ["", "x", "-1", "0"] {
            fs::write(&pidfile, bad).unwrap();
            let error = Dockerd::find(&pidfile).unwrap_err();
            assert!(error.to_string().contains("no process id"), "{bad:?}: {error}");
        }
    }
}
