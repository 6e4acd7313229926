//! A process held by a pidfd, so that its id cannot come to mean another process unnoticed.

use std::{fs, io, os::fd::OwnedFd};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{PidfdFlags, pidfd_open},
};

use crate::{ErrorClass, Pid};

/// A running process, held by a pidfd.
///
/// Needs Linux 5.3.
#[derive(Debug)]
pub struct Process {
    pid: Pid,
    pidfd: OwnedFd,
    start_time: u64,
}

/// Why a process could not be held or looked at.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// The pidfd could not be opened.
    #[error("open process {pid}")]
    Open {
        /// Which process.
        pid: Pid,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// `/proc/PID/stat` could not be read, or does not read as expected.
    #[error("read the start time of process {pid}")]
    StartTime {
        /// Which process.
        pid: Pid,
        /// What went wrong.
        #[source]
        source: io::Error,
    },
    /// The process ended, and its id may already belong to another one.
    #[error("process {pid} has ended")]
    Ended {
        /// Which process.
        pid: Pid,
    },
}

impl ProcessError {
    /// What kind of failure this is.
    #[must_use]
    pub fn class(&self) -> ErrorClass {
        match self {
            // The id belongs to a thread: its process has another one.
            Self::Open { source, .. } if source.kind() == io::ErrorKind::InvalidInput => {
                ErrorClass::Gone
            }
            Self::Open { source, .. } | Self::StartTime { source, .. } => ErrorClass::of_io(source),
            Self::Ended { .. } => ErrorClass::Gone,
        }
    }
}

impl Process {
    /// Holds the process that has this id now.
    ///
    /// # Errors
    ///
    /// When there is none, or `/proc` cannot be read.
    pub fn open(pid: Pid) -> Result<Self, ProcessError> {
        let open = |source| ProcessError::Open { pid, source };
        let raw = rustix::process::Pid::from_raw(pid.get())
            .ok_or_else(|| open(io::ErrorKind::InvalidInput.into()))?;
        let pidfd = pidfd_open(raw, PidfdFlags::empty()).map_err(|e| open(e.into()))?;
        let process = Self { pid, pidfd, start_time: start_time(pid)? };
        process.check()?;
        Ok(process)
    }

    /// The id of the process.
    #[must_use]
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// When the process started, in clock ticks since boot: with the id, this names one process
    /// until the next boot.
    #[must_use]
    pub fn start_time(&self) -> u64 {
        self.start_time
    }

    /// Succeeds while the process runs: what was read under its id so far was read from it.
    ///
    /// # Errors
    ///
    /// [`ProcessError::Ended`] once it has ended.
    pub fn check(&self) -> Result<(), ProcessError> {
        let ended = || ProcessError::Ended { pid: self.pid };
        let mut fds = [PollFd::new(&self.pidfd, PollFlags::IN)];
        let ready = poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }))
            .map_err(|e| ProcessError::Open { pid: self.pid, source: e.into() })?;
        if ready != 0 || start_time(self.pid)? != self.start_time {
            return Err(ended());
        }
        Ok(())
    }
}

fn start_time(pid: Pid) -> Result<u64, ProcessError> {
    let failed = |source| ProcessError::StartTime { pid, source };
    let stat = fs::read(format!("/proc/{pid}/stat")).map_err(failed)?;
    parse_start_time(&stat).ok_or_else(|| failed(io::ErrorKind::InvalidData.into()))
}

/// Field 22 of `/proc/PID/stat`. The command in field 2 may itself hold parentheses, spaces and
/// any bytes, so fields are counted from the last `)`.
fn parse_start_time(stat: &[u8]) -> Option<u64> {
    let close = stat.iter().rposition(|byte| *byte == b')')?;
    let rest = std::str::from_utf8(stat.get(close + 1..)?).ok()?;
    rest.split_ascii_whitespace().nth(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn start_time_survives_a_hostile_command_name() {
        let tail = b" S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4711 20 21";
        for name in [&b"sh"[..], b") S 1 2 3", b"\xff\xfe )(", b""] {
            let stat = [b"42 (", name, b")", tail].concat();
            assert_eq!(parse_start_time(&stat), Some(4711), "{name:?}");
        }
    }

    #[test]
    fn text_that_is_no_stat_has_no_start_time() {
        for stat in [&b""[..], b"42", b"42 (x", b"42 (x) S 1", b"42 (x) S \xff"] {
            assert_eq!(parse_start_time(stat), None, "{stat:?}");
        }
    }

    #[test]
    fn own_process_is_alive_and_an_ended_child_is_not() {
        let own = Pid::try_from(i64::from(std::process::id())).unwrap();
        Process::open(own).unwrap().check().unwrap();

        let mut child = std::process::Command::new("cat")
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let process = Process::open(Pid::try_from(i64::from(child.id())).unwrap()).unwrap();
        process.check().unwrap();
        drop(child.stdin.take());
        child.wait().unwrap();
        assert_eq!(process.check().unwrap_err().class(), ErrorClass::Gone);
    }
}
