//! An open network namespace, checked to be one.
//!
//! Holds the file and never the path: a path may mean another namespace at the next look. Must not
//! enter a namespace.

use std::{
    fmt, io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
};

use rustix::fs::{Mode, OFlags, fstat, fstatfs};
use serde::{Deserialize, Serialize};

use crate::{ErrorClass, Pid, Process, ProcessError, RtnlError, rtnl};

/// The file system that namespace files live on: `NSFS_MAGIC` of `linux/magic.h`.
const NSFS_MAGIC: u64 = 0x6e73_6673;

/// An open network namespace.
///
/// As long as it is held, the namespace lives, and its inode number and the id that our own
/// namespace has for it mean nothing else.
#[derive(Debug)]
pub struct Namespace {
    file: OwnedFd,
    identity: NsIdentity,
}

/// What tells one network namespace from another while both exist.
///
/// The kernel uses inode numbers again: compare this only with that of a namespace that is open, or
/// along with something else, such as the start time of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NsIdentity {
    /// The device number of the namespace file system.
    pub device: u64,
    /// The inode number, as in `net:[4026531840]`.
    pub inode: u64,
}

impl fmt::Display for NsIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "net:[{}]", self.inode)
    }
}

/// Why a network namespace could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum NamespaceError {
    /// The file could not be opened.
    #[error("open network namespace {path}")]
    Open {
        /// Which file.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The file could not be looked at.
    #[error("examine {path}")]
    Examine {
        /// Which file.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// A namespace path must be absolute.
    #[error("{path} is not an absolute path")]
    NotAbsolute {
        /// The path as given.
        path: PathBuf,
    },
    /// The file is not a namespace file: most often a stale one that Docker left behind, or one
    /// whose mount does not reach the mount namespace that we run in.
    #[error(
        "{path} is not a namespace file (the container is gone, or its mount is not seen here)"
    )]
    NotANamespace {
        /// Which file.
        path: PathBuf,
    },
    /// The file is a namespace of another kind, such as mount or user.
    #[error("{path} is a namespace, but not a network namespace")]
    NotANetwork {
        /// Which file.
        path: PathBuf,
    },
    /// The kernel could not be asked what kind of namespace it is.
    #[error("ask for the kind of namespace {path}")]
    Kind {
        /// Which file.
        path: PathBuf,
        /// What went wrong.
        #[source]
        source: RtnlError,
    },
    /// The process could not be held, or ended meanwhile.
    #[error("open the network namespace of process {pid}")]
    Process {
        /// Which process.
        pid: Pid,
        /// What went wrong.
        #[source]
        source: ProcessError,
    },
    /// Neither the sandbox key nor the process leads to a namespace.
    #[error("no network namespace: {}; {}", Chain(key), Chain(process))]
    Container {
        /// Why the sandbox key did not.
        key: Box<NamespaceError>,
        /// Why the process did not.
        process: Box<NamespaceError>,
    },
    /// The container has no process, so nothing leads to a namespace.
    #[error("the container has no process")]
    NoProcess,
    /// The container has no sandbox key.
    #[error("the container has no sandbox key")]
    NoSandboxKey,
}

impl NamespaceError {
    /// What kind of failure this is.
    #[must_use]
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Open { source, .. } | Self::Examine { source, .. } => ErrorClass::of_io(source),
            Self::NotAbsolute { .. } | Self::NotANetwork { .. } => ErrorClass::User,
            Self::NotANamespace { .. } | Self::NoProcess | Self::NoSandboxKey => ErrorClass::Gone,
            Self::Kind { source, .. } => source.class(),
            Self::Process { source, .. } => source.class(),
            Self::Container { key, process } => match (key.class(), process.class()) {
                (ErrorClass::Gone, other) | (other, ErrorClass::Gone) => other,
                (first, _) => first,
            },
        }
    }
}

impl Namespace {
    /// Opens a namespace file.
    ///
    /// # Errors
    ///
    /// When there is none, or what is there is not a network namespace. A FIFO does not make this
    /// wait.
    pub fn open(path: &Path) -> Result<Self, NamespaceError> {
        if !path.is_absolute() {
            return Err(NamespaceError::NotAbsolute { path: path.to_owned() });
        }
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let file = rustix::fs::open(path, flags, Mode::empty())
            .map_err(|e| NamespaceError::Open { path: path.to_owned(), source: e.into() })?;
        Self::verify(file, path)
    }

    /// Opens the network namespace of a process, making sure that the id means the same process
    /// before and after.
    ///
    /// # Errors
    ///
    /// When there is no such process, it ended meanwhile, or it may not be looked at
    /// (`CAP_SYS_PTRACE`).
    pub fn of_process(pid: Pid) -> Result<Self, NamespaceError> {
        Process::open(pid)
            .map_err(|source| NamespaceError::Process { pid, source })
            .and_then(|process| Self::of_open_process(&process))
    }

    /// Opens the network namespace of a process that is held.
    ///
    /// # Errors
    ///
    /// As [`Namespace::of_process`].
    pub fn of_open_process(process: &Process) -> Result<Self, NamespaceError> {
        let pid = process.pid();
        let opened = Self::open(Path::new(&format!("/proc/{pid}/ns/net")));
        process.check().map_err(|source| NamespaceError::Process { pid, source })?;
        opened
    }

    /// Opens the namespace that the calling thread is in.
    ///
    /// # Errors
    ///
    /// When `/proc` is not there.
    pub fn own() -> Result<Self, NamespaceError> {
        Self::open(Path::new("/proc/thread-self/ns/net"))
    }

    /// Opens a container's namespace: by its sandbox key, else by its process.
    ///
    /// `--network container:x` leaves the sandbox key empty, which is why a process is needed.
    ///
    /// # Errors
    ///
    /// When neither leads to a network namespace; the error says why for both.
    pub fn of_container(
        sandbox_key: Option<&Path>,
        pid: Option<Pid>,
    ) -> Result<Self, NamespaceError> {
        let by_key = sandbox_key.ok_or(NamespaceError::NoSandboxKey).and_then(Self::open);
        let key = match by_key {
            Ok(namespace) => return Ok(namespace),
            Err(error) => Box::new(error),
        };
        pid.ok_or(NamespaceError::NoProcess)
            .and_then(Self::of_process)
            .map_err(|process| NamespaceError::Container { key, process: Box::new(process) })
    }

    /// What tells this namespace from others while it is open.
    #[must_use]
    pub fn identity(&self) -> NsIdentity {
        self.identity
    }

    /// Whether both are the same namespace.
    #[must_use]
    pub fn is_same_as(&self, other: &Self) -> bool {
        self.identity == other.identity
    }

    fn verify(file: OwnedFd, path: &Path) -> Result<Self, NamespaceError> {
        let examine = |source: rustix::io::Errno| NamespaceError::Examine {
            path: path.to_owned(),
            source: source.into(),
        };
        let magic = fstatfs(&file).map_err(examine)?.f_type;
        if u64::try_from(magic).ok() != Some(NSFS_MAGIC) {
            return Err(NamespaceError::NotANamespace { path: path.to_owned() });
        }
        match rtnl::is_network_namespace(file.as_fd()) {
            Ok(true) => {}
            Ok(false) => return Err(NamespaceError::NotANetwork { path: path.to_owned() }),
            Err(source) => return Err(NamespaceError::Kind { path: path.to_owned(), source }),
        }
        let stat = fstat(&file).map_err(examine)?;
        let identity = NsIdentity { device: stat.st_dev, inode: stat.st_ino };
        Ok(Self { file, identity })
    }
}

impl AsFd for Namespace {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// An error and its sources on one line.
struct Chain<'a>(&'a NamespaceError);

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut source = std::error::Error::source(self.0);
        while let Some(error) = source {
            write!(f, ": {error}")?;
            source = error.source();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own_pid() -> Pid {
        Pid::try_from(i64::from(std::process::id())).unwrap()
    }

    #[test]
    fn own_namespace_is_that_of_the_own_process() {
        let own = Namespace::own().unwrap();
        assert!(own.is_same_as(&Namespace::of_process(own_pid()).unwrap()));
        assert!(own.identity().to_string().starts_with("net:["), "{}", own.identity());
    }

    #[test]
    fn what_is_no_network_namespace_is_refused_with_its_path() {
        let dir = tempfile::tempdir().unwrap();
        let empty = dir.path().join("stale");
        std::fs::write(&empty, "").unwrap();
        let fifo = dir.path().join("fifo");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let looped = dir.path().join("loop");
        std::os::unix::fs::symlink(&looped, &looped).unwrap();

        let cases = [
            (empty, ErrorClass::Gone),
            (fifo, ErrorClass::Gone),
            (looped, ErrorClass::User),
            (dir.path().to_owned(), ErrorClass::Gone),
            (dir.path().join("absent"), ErrorClass::Gone),
            (PathBuf::from("/dev/null"), ErrorClass::Gone),
            (PathBuf::from("/proc/self/ns/mnt"), ErrorClass::User),
            (PathBuf::from("/proc/self/ns/user"), ErrorClass::User),
            (PathBuf::from("run/netns/x"), ErrorClass::User),
            (PathBuf::from(format!("/{}", "x".repeat(5000))), ErrorClass::User),
        ];
        for (path, class) in cases {
            let error = Namespace::open(&path).unwrap_err();
            assert_eq!(error.class(), class, "{error}");
            assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
        }
    }

    #[test]
    fn a_container_without_a_key_is_found_by_its_process() {
        let found = Namespace::of_container(None, Some(own_pid())).unwrap();
        assert!(found.is_same_as(&Namespace::own().unwrap()));
        let stale = Path::new("/dev/null");
        let found = Namespace::of_container(Some(stale), Some(own_pid())).unwrap();
        assert!(found.is_same_as(&Namespace::own().unwrap()));
    }

    #[test]
    fn failing_both_ways_says_both_reasons() {
        let error = Namespace::of_container(Some(Path::new("/dev/null")), None).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("/dev/null") && text.contains("no process"), "{text}");
        assert_eq!(error.class(), ErrorClass::Gone);
    }
}
