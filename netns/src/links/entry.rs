//! What is at a link's name, and whether it still leads where its record says. Looks only.

use std::{fmt, io, path::Path};

use rustix::fs::{AtFlags, CWD, FileType, readlinkat, statat};
use serde::{Serialize, Serializer};

use super::{LinkError, ProcessStamp, Record, Target};
use crate::{ErrorClass, Namespace, NamespaceError, Process};

/// Whether a link leads where it should.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It leads to the namespace that it was made for.
    Live,
    /// It does not, or no longer.
    Stale(Stale),
    /// It cannot be told: looking at the target is not permitted.
    Unknown,
}

/// Why a link does not lead where it should.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stale {
    /// The process, and so the container, has ended.
    ContainerGone,
    /// Another process has the id now.
    PidReused,
    /// Docker's namespace file is gone or is an empty file by now.
    KeyGone,
    /// It leads to another namespace.
    OtherNamespace,
    /// The name is gone; the record remains.
    Missing,
    /// Something that is not ours has the name now.
    Replaced,
}

impl fmt::Display for Stale {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ContainerGone => "container gone",
            Self::PidReused => "pid reused",
            Self::KeyGone => "sandbox key gone",
            Self::OtherNamespace => "another namespace",
            Self::Missing => "link missing",
            Self::Replaced => "replaced by others",
        })
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Live => f.write_str("live"),
            Self::Stale(reason) => write!(f, "stale: {reason}"),
            Self::Unknown => f.write_str("unknown"),
        }
    }
}

impl Serialize for State {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// What is at a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    /// Nothing.
    Nothing,
    /// What the record says.
    Ours,
    /// The empty file that a mount of ours was on, or was about to be.
    OursUnmounted,
    /// Something else.
    Foreign,
}

/// Looks at what is at `path`, without following it, and compares it with the record.
pub(super) fn look(path: &Path, record: Option<&Record>) -> Result<Entry, LinkError> {
    let failed = |source: rustix::io::Errno| LinkError::file("look at", path, source);
    let stat = match statat(CWD, path, AtFlags::SYMLINK_NOFOLLOW) {
        Err(rustix::io::Errno::NOENT) => return Ok(Entry::Nothing),
        stat => stat.map_err(failed)?,
    };
    let Some(record) = record else {
        return Ok(Entry::Foreign);
    };
    let kind = FileType::from_raw_mode(stat.st_mode);
    match (record.target, kind) {
        (Target::Pid | Target::SandboxKey, FileType::Symlink) => {
            let text = readlinkat(CWD, path, Vec::new()).map_err(failed)?;
            let same = text.as_bytes() == record.path.as_os_str().as_encoded_bytes();
            Ok(if same { Entry::Ours } else { Entry::Foreign })
        }
        (Target::Bind, FileType::RegularFile) => Ok(match Namespace::open(path) {
            Ok(mounted) if mounted.identity() == record.namespace => Entry::Ours,
            Err(NamespaceError::NotANamespace { .. }) if stat.st_size == 0 => Entry::OursUnmounted,
            _ => Entry::Foreign,
        }),
        _ => Ok(Entry::Foreign),
    }
}

/// Whether the link that `record` tells of, at `path`, leads where it should.
pub(super) fn state(path: &Path, record: &Record) -> Result<State, LinkError> {
    let at_path = match look(path, Some(record))? {
        Entry::Nothing | Entry::OursUnmounted => return Ok(State::Stale(Stale::Missing)),
        Entry::Foreign => return Ok(State::Stale(Stale::Replaced)),
        Entry::Ours => Namespace::open(path),
    };
    if let Some(stale) = record.process.and_then(ended) {
        return Ok(State::Stale(stale));
    }
    Ok(match at_path {
        Ok(namespace) if namespace.identity() == record.namespace => State::Live,
        Ok(_) => State::Stale(Stale::OtherNamespace),
        Err(NamespaceError::Open { source, .. })
            if source.kind() == io::ErrorKind::PermissionDenied =>
        {
            State::Unknown
        }
        Err(_) if record.target == Target::SandboxKey => State::Stale(Stale::KeyGone),
        Err(_) => State::Stale(Stale::ContainerGone),
    })
}

fn ended(stamp: ProcessStamp) -> Option<Stale> {
    match Process::open(stamp.pid) {
        Ok(process) if process.start_time() == stamp.start_time => None,
        Ok(_) => Some(Stale::PidReused),
        Err(error) if error.class() == ErrorClass::Gone => Some(Stale::ContainerGone),
        // What cannot be looked at has not therefore ended.
        Err(_) => None,
    }
}
