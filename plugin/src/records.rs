//! What is attached for whom, on disk: a record for each interface, for the next daemon.
//!
//! A record is there before a link is pinned for its interface, and gone after the last of them is.
//! It is a cache: what cannot be read is rebuilt from the pins and from Docker, and enforcement goes
//! on when nothing can be written.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use ebpf_netns::Ifindex;
use nix::fcntl::OFlag;
use serde::{Deserialize, Serialize};
use tracing::{debug, warn};

/// Where records are if the daemon is not told otherwise: they are of this boot alone.
pub const DEFAULT_DIRECTORY: &str = "/run/ebpf-netns/state";

/// The version of what is written.
const VERSION: u32 = 1;

/// No record is nearly as long.
const MAX_BYTES: u64 = 64 * 1024;

const SUFFIX: &str = ".json";
const UNFINISHED: &str = ".new";

/// What is attached to one interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    version: u32,
    /// The host-side veth.
    pub ifindex: Ifindex,
    /// Its name, for people.
    pub interface: String,
    /// Whether what is wanted stands.
    pub state: Progress,
    /// Whose it is, where that is known.
    pub container: Option<Owner>,
}

/// How far the change of an interface has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Progress {
    /// It is closed until it is known whose it is, or is being changed.
    Pending,
    /// It is as its container's policy wants it.
    Active,
}

/// A container that an interface belongs to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// The full id.
    pub id: String,
    /// The name, for people.
    pub name: String,
}

impl Record {
    /// A record of an interface.
    #[must_use]
    pub fn new(
        ifindex: Ifindex,
        interface: &str,
        state: Progress,
        container: Option<Owner>,
    ) -> Self {
        Self { version: VERSION, ifindex, interface: interface.to_owned(), state, container }
    }
}

/// The directory of the records.
#[derive(Debug)]
pub struct Records {
    directory: PathBuf,
    /// What was written last, so that nothing is written twice.
    written: BTreeMap<Ifindex, Record>,
    failures: u64,
}

impl Records {
    /// Uses a directory, which is made if it is not there.
    #[must_use]
    pub fn open(directory: &Path) -> Self {
        let mut records =
            Self { directory: directory.to_owned(), written: BTreeMap::new(), failures: 0 };
        let made = DirBuilder::new().recursive(true).mode(0o700).create(directory);
        records.note("make the directory", made);
        records
    }

    /// How often something could not be written or removed.
    #[must_use]
    pub fn failures(&self) -> u64 {
        self.failures
    }

    /// Reads what an earlier daemon wrote. What is no record is removed.
    pub fn read(&mut self) -> BTreeMap<Ifindex, Record> {
        let found = list(&self.directory).unwrap_or_else(|error| {
            self.note("list", Err(error));
            Vec::new()
        });
        for path in found {
            match read(&path) {
                Ok(record) if path == self.path(record.ifindex) => {
                    self.written.insert(record.ifindex, record);
                }
                Ok(_) => self.discard(&path, "it is named for another interface"),
                Err(reason) => self.discard(&path, &reason),
            }
        }
        self.written.clone()
    }

    /// Writes a record, atomically, unless it stands there already.
    pub fn put(&mut self, record: Record) {
        if self.written.get(&record.ifindex) == Some(&record) {
            return;
        }
        let path = self.path(record.ifindex);
        let written = write(&self.directory, &path, &record);
        if self.note("write a record in", written) {
            self.written.insert(record.ifindex, record);
        }
    }

    /// Removes a record; one that is not there is as good as removed.
    pub fn remove(&mut self, ifindex: Ifindex) {
        self.written.remove(&ifindex);
        let removed = match fs::remove_file(self.path(ifindex)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed,
        };
        self.note("remove a record from", removed);
    }

    fn path(&self, ifindex: Ifindex) -> PathBuf {
        self.directory.join(format!("{ifindex}{SUFFIX}"))
    }

    fn discard(&mut self, path: &Path, reason: &str) {
        warn!(path = %path.display(), reason, "no record that this version reads: removed");
        self.note("clear", fs::remove_file(path));
    }

    /// Counts a failure, and tells the first of several that are alike.
    fn note(&mut self, what: &str, result: io::Result<()>) -> bool {
        let Err(error) = result else { return true };
        let directory = self.directory.display();
        if self.failures == 0 {
            warn!(%directory, %error, "{what} the records: enforcement goes on without them");
        } else {
            debug!(%directory, %error, "{what} the records");
        }
        self.failures += 1;
        false
    }
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
fn list(directory: &Path) -> io::Result<Vec<PathBuf>> {
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
fn read(path: &Path) -> Result<Record, String> {
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

fn write(directory: &Path, path: &Path, record: &Record) -> io::Result<()> {
    let text = serde_json::to_vec(record)?;
    let temporary = path.with_extension(UNFINISHED.trim_start_matches('.'));
    let mut file =
        File::options().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
    file.write_all(&text)?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn record(index: u32, state: Progress) -> Record {
        let owner = Owner { id: "1".repeat(64), name: "web".to_owned() };
        Record::new(index.try_into().unwrap(), "veth1", state, Some(owner))
    }

    #[test]
    fn what_is_written_is_read_by_the_next_daemon() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("state");
        let mut records = Records::open(&path);
        records.put(record(7, Progress::Pending));
        records.put(record(7, Progress::Active));
        records.put(record(8, Progress::Active));
        records.remove(8.try_into().unwrap());
        records.remove(9.try_into().unwrap());
        let read = Records::open(&path).read();
        let expected = record(7, Progress::Active);
        assert_eq!(read.into_values().collect::<Vec<_>>(), [expected]);
        assert_eq!(records.failures(), 0);
    }

    #[test]
    fn what_is_no_record_is_removed_and_does_no_harm() {
        let directory = tempfile::tempdir().unwrap();
        let mut records = Records::open(directory.path());
        records.put(record(7, Progress::Active));
        let good = fs::read(directory.path().join("7.json")).unwrap();
        let put = |name: &str, text: &[u8]| fs::write(directory.path().join(name), text).unwrap();
        put("1.json", b"");
        put("2.json", &good[..good.len() / 2]);
        put("3.json", &[0; 100]);
        let newer = String::from_utf8(good.clone()).unwrap().replace("n\":1,", "n\":2,");
        put("4.json", newer.as_bytes());
        put("5.json", &good);
        put("6.new", &good);
        let huge = File::create(directory.path().join("9.json")).unwrap();
        huge.set_len(1 << 30).unwrap();
        symlink("/etc/passwd", directory.path().join("10.json")).unwrap();
        put("notes.json", b"somebody else's");
        nix::unistd::mkfifo(&directory.path().join("12.json"), nix::sys::stat::Mode::S_IRWXU)
            .unwrap();
        let read = Records::open(directory.path()).read();
        assert_eq!(read.into_keys().map(Ifindex::get).collect::<Vec<_>>(), [7]);
        let left = || {
            let entries = fs::read_dir(directory.path()).unwrap();
            let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
            names.sort();
            names
        };
        assert_eq!(left(), ["7.json", "notes.json"], "the rest is gone");
        clean(directory.path()).unwrap();
        assert_eq!(left(), ["notes.json"], "what is not ours stays");
        assert!(Path::new("/etc/passwd").exists());
    }

    #[test]
    fn a_directory_that_cannot_be_written_is_counted_and_no_more() {
        let mut records = Records::open(Path::new("/proc/ebpf-netns"));
        records.put(record(7, Progress::Active));
        assert!(records.read().is_empty());
        assert!(records.failures() >= 2, "{}", records.failures());
    }
}
