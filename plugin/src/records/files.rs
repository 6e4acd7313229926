//! The files of the records: reading what is there, writing one atomically, removing.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use ebpf_netns::Ifindex;
use nix::fcntl::OFlag;

use super::{Record, VERSION};

/// No record is nearly as long.
const MAX_BYTES: u64 = 64 * 1024;

const SUFFIX: &str = ".json";
const UNFINISHED: &str = ".new";

/// Makes the directory if it is not there.
pub(super) fn make(directory: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(directory)
}

/// Removes every record, with the directory.
///
/// # Errors
///
/// When it cannot be removed.
pub fn clean(directory: &Path) -> io::Result<()> {
    match list(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        found => found?.iter().try_for_each(fs::remove_file)?,
    }
    match fs::remove_dir(directory) {
        // There is something of somebody else's in it.
        Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => Ok(()),
        removed => removed,
    }
}

/// What has the name of a record, or of one that was being written.
pub(super) fn list(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let is_ours = |name: &str| {
        let number = name.strip_suffix(SUFFIX).or_else(|| name.strip_suffix(UNFINISHED));
        number.is_some_and(|number| number.parse::<u32>().is_ok())
    };
    let mut found = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_name().to_str().is_some_and(is_ours) {
            found.push(entry.path());
        }
    }
    Ok(found)
}

/// Reads one record: of a file that is ours alone, and not of what a link points to.
pub(super) fn read(path: &Path) -> Result<Record, String> {
    let flags = (OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK).bits();
    let file = File::options()
        .read(true)
        .custom_flags(flags)
        .open(path)
        .map_err(|error| error.to_string())?;
    let there = file.metadata().map_err(|error| error.to_string())?;
    if !there.is_file() {
        return Err("it is not a file".to_owned());
    }
    if there.uid() != nix::unistd::geteuid().as_raw() {
        return Err(format!("it belongs to user {}", there.uid()));
    }
    if there.len() > MAX_BYTES {
        return Err(format!("it has {} bytes", there.len()));
    }
    let mut text = Vec::new();
    file.take(MAX_BYTES).read_to_end(&mut text).map_err(|error| error.to_string())?;
    let record: Record = serde_json::from_slice(&text).map_err(|error| error.to_string())?;
    match record.version {
        VERSION => Ok(record),
        other => Err(format!("it is of version {other}")),
    }
}

/// Writes a record, atomically: after a power cut it is the old one or the new one.
pub(super) fn write(directory: &Path, record: &Record) -> io::Result<()> {
    let text = serde_json::to_vec(record)?;
    let path = path(directory, record.ifindex);
    let temporary = path.with_extension(UNFINISHED.trim_start_matches('.'));
    let mut file =
        File::options().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
    file.write_all(&text)?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    File::open(directory)?.sync_all()
}

/// Removes a record; one that is not there is as good as removed.
pub(super) fn remove(directory: &Path, ifindex: Ifindex) -> io::Result<()> {
    match fs::remove_file(path(directory, ifindex)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

/// Where the record of an interface is.
pub(super) fn path(directory: &Path, ifindex: Ifindex) -> PathBuf {
    directory.join(format!("{ifindex}{SUFFIX}"))
}
