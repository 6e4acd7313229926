//! The directory in the BPF file system that keeps what is attached attached, whatever becomes of
//! this process.
//!
//! ```text
//! /sys/fs/bpf/ebpf-netns/       0700; locked by the daemon that runs
//!     v4/                       the layout of the maps (plugin_common::abi)
//!         maps/POLICY …
//!         programs/ebpf_netns_xdp …
//!         links/17-egress-tcx   ifindex, hook, attachment
//!         links/17-xdp-generic-own    a program of the operator's
//!     containers/ID/NAME/       of NAME.o of the operator's programs, for the container of this id:
//!         maps/…                its maps, for whoever wants to read them
//!         programs/FUNCTION
//!         object/HASH/          of which file they are
//! ```
//!
//! Knows names and files; of the objects behind them it knows nothing.

use std::cmp::Ordering;
use std::fs::{self, DirBuilder, File, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use ebpf_netns::Ifindex;
use nix::mount::{MsFlags, mount};
use nix::sys::statfs::{BPF_FS_MAGIC, statfs};
use tracing::info;

use crate::plan::{Attachment, Hook, Way};

/// Where the daemon pins if it is not told otherwise.
pub const DEFAULT_DIRECTORY: &str = "/sys/fs/bpf/ebpf-netns";

/// Where the BPF file system is by custom.
const USUAL_MOUNT_POINT: &str = "/sys/fs/bpf";

/// The layout of the maps that this version writes. To be raised with every change of a map's key
/// or value, so that no program reads what was written for another.
const LAYOUT: u32 = 4;

/// The directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PinsError {
    /// There is no BPF file system.
    #[error(
        "{} is not on a BPF file system, without which nothing stays attached when the daemon \
         ends: mount -t bpf bpf {}",
        path.display(), mount_point.display()
    )]
    NoBpfFs {
        /// The directory.
        path: PathBuf,
        /// Where one is expected.
        mount_point: PathBuf,
    },
    /// A newer version has been here.
    #[error(
        "{} is of a newer version of ebpf-netns than this one: what it attached stays enforced; \
         run that version, or give it up with its ebpf-netns-plugin clean",
        path.display()
    )]
    Newer {
        /// What it left.
        path: PathBuf,
    },
    /// Another daemon has it.
    #[error("another ebpf-netns-plugin runs already: it holds {}", path.display())]
    Taken {
        /// The directory.
        path: PathBuf,
    },
    /// Somebody else could change what is in there.
    #[error("{} belongs to user {owner} and not to the daemon's: remove it", path.display())]
    Foreign {
        /// The directory.
        path: PathBuf,
        /// Its owner's user id.
        owner: u32,
    },
    /// Something else has its name.
    #[error("{} is not a directory: remove it", path.display())]
    NoDirectory {
        /// The name.
        path: PathBuf,
    },
    /// A file could not be made, read or removed.
    #[error("{what} {}", path.display())]
    File {
        /// What was being done.
        what: &'static str,
        /// To which file.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
}

/// The directory, held by one daemon.
#[derive(Debug)]
pub struct Pins {
    root: PathBuf,
    _lock: File,
}

/// A pinned link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PinnedWay {
    pub ifindex: Ifindex,
    pub way: Way,
    /// Whether it has a program of the operator's.
    pub is_own: bool,
    pub path: PathBuf,
}

impl Pins {
    /// Makes the directory if it is not there, and takes it for this process. Mounts the BPF file
    /// system at `/sys/fs/bpf` where it is missing, for which `CAP_SYS_ADMIN` is needed.
    ///
    /// # Errors
    ///
    /// When there is no BPF file system, another daemon runs, or a newer one has run.
    pub fn open(root: &Path) -> Result<Self, PinsError> {
        require_bpf_fs(root)?;
        make_directory(root)?;
        let lock = File::open(root).map_err(failed("open", root))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(PinsError::Taken { path: root.to_owned() });
            }
            Err(TryLockError::Error(source)) => return Err(failed("lock", root)(source)),
        }
        let pins = Self { root: root.to_owned(), _lock: lock };
        if let Some((_, path)) = pins.layouts()?.into_iter().find(|(number, _)| *number > LAYOUT) {
            return Err(PinsError::Newer { path });
        }
        pins.make_directories()?;
        Ok(pins)
    }

    /// Makes what is missing of the directories, also after somebody removed them.
    pub(super) fn make_directories(&self) -> Result<(), PinsError> {
        if !is_on_bpf_fs(&self.root) {
            return Err(no_bpf_fs(&self.root));
        }
        let layout = self.layout();
        let parts = ["maps", "programs", "links"].map(|part| layout.join(part));
        [self.root.clone(), layout].iter().chain(&parts).try_for_each(|path| make_directory(path))
    }

    pub(super) fn maps(&self) -> PathBuf {
        self.layout().join("maps")
    }

    pub(super) fn map(&self, name: &str) -> PathBuf {
        self.maps().join(name)
    }

    pub(super) fn program(&self, name: &str) -> PathBuf {
        self.layout().join("programs").join(name)
    }

    pub(super) fn link(&self, ifindex: Ifindex, way: Way) -> PathBuf {
        self.layout().join("links").join(link_name(ifindex, way))
    }

    /// The link of a program of the operator's.
    pub(super) fn own_link(&self, ifindex: Ifindex, way: Way) -> PathBuf {
        self.layout().join("links").join(format!("{}-{OWN}", link_name(ifindex, way)))
    }

    /// What is loaded for containers.
    pub(super) fn containers(&self) -> PathBuf {
        self.root.join("containers")
    }

    /// The pinned links of every layout, in the order of their names.
    pub(super) fn links(&self) -> Result<Vec<PinnedWay>, PinsError> {
        links(&self.root)
    }

    /// Removes the directories of older layouts that hold no link any more.
    pub(super) fn remove_old_layouts(&self) -> Result<(), PinsError> {
        for (number, path) in self.layouts()? {
            if number != LAYOUT && entries(&path.join("links"))?.is_empty() {
                remove_tree(&path)?;
                info!(path = %path.display(), "the older layout is not needed any more: removed");
            }
        }
        Ok(())
    }

    /// Removes everything; what was attached by it alone is detached by that.
    ///
    /// # Errors
    ///
    /// When a file cannot be removed.
    pub fn remove(self) -> Result<(), PinsError> {
        for (_, layout) in self.layouts()? {
            remove_tree(&layout)?;
        }
        remove_tree(&self.containers())?;
        fs::remove_dir(&self.root).map_err(failed("remove", &self.root))
    }

    fn layout(&self) -> PathBuf {
        self.root.join(format!("v{LAYOUT}"))
    }

    /// Each layout that is there, with its number.
    fn layouts(&self) -> Result<Vec<(u32, PathBuf)>, PinsError> {
        numbered(&self.root)
    }
}

/// A layout of the maps that some version left, as seen from outside of the daemon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Where.
    pub path: PathBuf,
    /// How it compares with this version's.
    pub age: Ordering,
    /// How many links are pinned in it.
    pub links: usize,
}

/// Looks at what versions left in a directory, without taking or making it.
///
/// # Errors
///
/// When it cannot be read.
pub fn layouts(root: &Path) -> Result<Vec<Layout>, PinsError> {
    let mut found = Vec::new();
    for (number, path) in numbered(root)? {
        let links = entries(&path.join("links"))?.len();
        found.push(Layout { path, age: number.cmp(&LAYOUT), links });
    }
    Ok(found)
}

/// The directory of each layout, with its number.
fn numbered(root: &Path) -> Result<Vec<(u32, PathBuf)>, PinsError> {
    let number = |name: &str| name.strip_prefix('v')?.parse().ok();
    let all = entries(root)?;
    Ok(all.into_iter().filter_map(|(name, path)| Some((number(&name)?, path))).collect())
}

/// The pinned links of every layout, in the order of their names.
pub(super) fn links(root: &Path) -> Result<Vec<PinnedWay>, PinsError> {
    let mut found = Vec::new();
    for (_, layout) in numbered(root)? {
        for (name, path) in entries(&layout.join("links"))? {
            if let Some((ifindex, way, is_own)) = parse_link_name(&name) {
                found.push(PinnedWay { ifindex, way, is_own, path });
            }
        }
    }
    Ok(found)
}

/// Removes a pin; one that is gone is as good as removed.
pub(super) fn unpin(path: &Path) -> Result<(), PinsError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("remove", path)(error)),
        _ => Ok(()),
    }
}

/// What the name of a link ends in that has a program of the operator's.
const OWN: &str = "own";

/// Dots cannot be in names of the BPF file system.
fn link_name(ifindex: Ifindex, (hook, attachment): Way) -> String {
    format!("{ifindex}-{}-{}", hook.name(), attachment.name())
}

fn parse_link_name(name: &str) -> Option<(Ifindex, Way, bool)> {
    let mut words = name.split('-');
    let ifindex = Ifindex::try_from(words.next()?.parse::<u32>().ok()?).ok()?;
    let (hook, attachment) = (words.next()?, words.next()?);
    let hook = Hook::ALL.into_iter().find(|known| known.name() == hook)?;
    let attachment = Attachment::ALL.into_iter().find(|known| known.name() == attachment)?;
    let is_own = match words.next() {
        None => false,
        Some(OWN) => true,
        Some(_) => return None,
    };
    words.next().is_none().then_some((ifindex, (hook, attachment), is_own))
}

fn require_bpf_fs(root: &Path) -> Result<(), PinsError> {
    let usual = Path::new(USUAL_MOUNT_POINT);
    // Nowhere else: it would hide what is there.
    if !is_on_bpf_fs(root) && root.parent() == Some(usual) {
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
        if mount(Some("bpf"), usual, Some("bpf"), flags, Some("mode=700")).is_ok() {
            info!(path = %usual.display(), "mounted the BPF file system");
        }
    }
    if is_on_bpf_fs(root) { Ok(()) } else { Err(no_bpf_fs(root)) }
}

/// Whether a directory, or where it would be, is on a BPF file system.
#[must_use]
pub fn is_on_bpf_fs(root: &Path) -> bool {
    [root, root.parent().unwrap_or(root)].into_iter().any(|path| {
        statfs(path).is_ok_and(|file_system| file_system.filesystem_type() == BPF_FS_MAGIC)
    })
}

fn no_bpf_fs(root: &Path) -> PinsError {
    let mount_point = root.parent().unwrap_or(root).to_owned();
    PinsError::NoBpfFs { path: root.to_owned(), mount_point }
}

/// Makes a directory for this user alone, or sees that it is.
pub(super) fn make_directory(path: &Path) -> Result<(), PinsError> {
    match DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(failed("make directory", path)(error)),
    }
    let there = fs::symlink_metadata(path).map_err(failed("look at", path))?;
    if !there.is_dir() {
        return Err(PinsError::NoDirectory { path: path.to_owned() });
    }
    if there.uid() != nix::unistd::geteuid().as_raw() {
        return Err(PinsError::Foreign { path: path.to_owned(), owner: there.uid() });
    }
    if there.mode() & 0o077 != 0 {
        let own = fs::Permissions::from_mode(0o700);
        fs::set_permissions(path, own).map_err(failed("set the permissions of", path))?;
    }
    Ok(())
}

/// Name and path of what is in a directory, in the order of the names; nothing if it is gone.
pub(super) fn entries(directory: &Path) -> Result<Vec<(String, PathBuf)>, PinsError> {
    let found = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        found => found.map_err(failed("list", directory))?,
    };
    let entry = |entry: io::Result<fs::DirEntry>| {
        let entry = entry?;
        Ok((entry.file_name().to_string_lossy().into_owned(), entry.path()))
    };
    let mut entries =
        found.map(entry).collect::<io::Result<Vec<_>>>().map_err(failed("list", directory))?;
    entries.sort();
    Ok(entries)
}

pub(super) fn remove_tree(path: &Path) -> Result<(), PinsError> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("remove", path)(error)),
        _ => Ok(()),
    }
}

fn failed(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> PinsError + use<> {
    let path = path.to_path_buf();
    move |source| PinsError::File { what, path, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_has_a_name_that_reads_back() {
        let ifindex = Ifindex::try_from(17).unwrap();
        for hook in Hook::ALL {
            for attachment in Attachment::ALL {
                let name = link_name(ifindex, (hook, attachment));
                let way = (hook, attachment);
                assert_eq!(parse_link_name(&name), Some((ifindex, way, false)), "{name}");
                let own = format!("{name}-own");
                assert_eq!(parse_link_name(&own), Some((ifindex, way, true)), "{own}");
                assert!(!name.contains('.'), "{name}: the kernel refuses dots");
            }
        }
    }

    #[test]
    fn what_is_not_a_link_of_ours_is_left_alone() {
        for name in ["", "17", "17-egress", "0-egress-tcx", "x-egress-tcx", "17-egress-tcx-1"] {
            assert_eq!(parse_link_name(name), None, "{name}");
        }
    }
}
