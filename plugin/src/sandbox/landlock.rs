//! Landlock: which files the process can reach, and where it can connect to by TCP.
//!
//! It belongs to a thread and those that it starts. It holds on to the directories that are there
//! now, by inode: one that is replaced later is out of reach. It does not govern looking files up
//! (`stat`) and Unix sockets with a path.

use std::fmt;
use std::fs::{DirBuilder, File};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, BitFlags, LandlockStatus, NetPort, PathBeneath,
    RestrictionStatus, Ruleset, RulesetAttr as _, RulesetCreated, RulesetCreatedAttr as _,
    RulesetError, RulesetStatus, Scope,
};
use nix::libc::O_PATH;

use super::SandboxError;

/// The newest interface that is made use of: TCP since 4, signals and abstract sockets since 6.
const NEWEST: ABI = ABI::V6;

/// What can be reached.
#[derive(Clone, Debug, Default)]
pub struct Reach {
    /// The daemon's own directories: everything but executing and making devices. Made, for root
    /// alone, where they are not there yet.
    pub own: Vec<PathBuf>,
    /// Where a directory of its own is made again after somebody removed it: it makes what is
    /// missing there, and removes nothing.
    pub remade: Vec<PathBuf>,
    /// Directories that it shares with others: it reads and removes there. Made where missing.
    pub shared: Vec<PathBuf>,
    /// Where Docker mounts namespaces: it opens them. Made, for root alone, where missing, since
    /// the daemon starts before Docker does.
    pub namespaces: Vec<PathBuf>,
    /// Files and directories that it reads. Those that are not there are left out.
    pub read: Vec<PathBuf>,
    /// Files that it reads and writes to. Those that are not there are left out.
    pub written: Vec<PathBuf>,
    /// The only TCP port that it may connect to, on any host.
    pub tcp_port: Option<u16>,
}

/// What Landlock does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Landlock {
    /// Everything that was asked for.
    Full {
        /// The kernel's interface.
        abi: i32,
    },
    /// What the kernel's older interface can.
    Partial {
        /// The kernel's interface.
        abi: i32,
    },
    /// Nothing: the kernel does not have it, or it was not enabled at boot.
    Absent,
}

impl fmt::Display for Landlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full { abi } => write!(f, "full, ABI {abi}"),
            Self::Partial { abi } => write!(f, "partial, ABI {abi} of {}", NEWEST as i32),
            Self::Absent => f.write_str("absent"),
        }
    }
}

/// Confines the calling thread, and all that it starts, to this.
///
/// # Errors
///
/// When a directory cannot be opened, or the system refuses. A kernel that cannot is no error.
pub(super) fn confine(reach: &Reach) -> Result<Landlock, SandboxError> {
    let Reach { own, remade, shared, namespaces, read, written, tcp_port } = reach;
    let mut rules = Ruleset::default()
        .handle_access(AccessFs::from_all(NEWEST))
        .and_then(|rules| rules.handle_access(AccessNet::from_all(NEWEST)))
        .and_then(|rules| rules.scope(Scope::from_all(NEWEST)))
        .and_then(Ruleset::create)
        .map_err(refused)?;
    for path in own {
        rules = allow(rules, path, own_rights())?;
    }
    for path in remade {
        rules = allow(rules, path, read_rights() | AccessFs::MakeDir | AccessFs::MakeReg)?;
    }
    for path in shared {
        rules = allow(rules, path, read_rights() | AccessFs::RemoveFile)?;
    }
    for path in namespaces {
        rules = allow(rules, path, AccessFs::ReadFile.into())?;
    }
    for path in read.iter().filter(|path| path.exists()) {
        rules = allow(rules, path, read_rights())?;
    }
    for path in written.iter().filter(|path| path.exists()) {
        let rights = AccessFs::ReadFile | AccessFs::WriteFile | AccessFs::Truncate;
        rules = allow(rules, path, rights)?;
    }
    if let Some(port) = tcp_port {
        rules = rules.add_rule(NetPort::new(*port, AccessNet::ConnectTcp)).map_err(refused)?;
    }
    Ok(level(&rules.restrict_self().map_err(refused)?))
}

/// The kernel's word on what it does.
fn level(status: &RestrictionStatus) -> Landlock {
    let LandlockStatus::Available { effective_abi, kernel_abi } = status.landlock else {
        return Landlock::Absent;
    };
    let abi = kernel_abi.unwrap_or(effective_abi as i32);
    match status.ruleset {
        RulesetStatus::FullyEnforced => Landlock::Full { abi },
        RulesetStatus::PartiallyEnforced => Landlock::Partial { abi },
        RulesetStatus::NotEnforced => Landlock::Absent,
    }
}

fn read_rights() -> BitFlags<AccessFs> {
    AccessFs::ReadFile | AccessFs::ReadDir
}

/// Pins, sockets, records: files, directories and symlinks are made, renamed and removed.
fn own_rights() -> BitFlags<AccessFs> {
    let never = AccessFs::Execute
        | AccessFs::MakeBlock
        | AccessFs::MakeChar
        | AccessFs::MakeFifo
        | AccessFs::IoctlDev;
    AccessFs::from_all(NEWEST) & !never
}

fn allow(
    rules: RulesetCreated,
    path: &Path,
    rights: BitFlags<AccessFs>,
) -> Result<RulesetCreated, SandboxError> {
    let opened = File::options().read(true).custom_flags(O_PATH).open(path);
    let opened =
        opened.map_err(|source| SandboxError::File { what: "open", path: path.into(), source })?;
    // A file has no rights that only a directory can have: asking for them would count as a gap.
    let rights = if path.is_dir() { rights } else { rights & AccessFs::from_file(NEWEST) };
    rules.add_rule(PathBeneath::new(opened, rights)).map_err(refused)
}

/// Makes the directories that are missing: a rule takes one that is there.
///
/// # Errors
///
/// When one cannot be made.
pub(super) fn make_directories(reach: &Reach) -> Result<(), SandboxError> {
    make(&reach.own, 0o700)?;
    make(&reach.namespaces, 0o700)?;
    make(&reach.shared, 0o755)
}

fn make(directories: &[PathBuf], mode: u32) -> Result<(), SandboxError> {
    for path in directories {
        let make = DirBuilder::new().recursive(true).mode(mode).create(path);
        make.map_err(|source| SandboxError::File {
            what: "make directory",
            path: path.clone(),
            source,
        })?;
    }
    Ok(())
}

fn refused(source: RulesetError) -> SandboxError {
    SandboxError::Landlock(Box::new(source))
}
