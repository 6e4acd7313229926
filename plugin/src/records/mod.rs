//! What is attached for whom, on disk: a record for each interface, for the next daemon.
//!
//! Records are a cache: what is missing or cannot be read is rebuilt from the pins and from Docker,
//! and enforcement goes on when nothing can be written. So nobody waits for them: the engine says
//! what is to be on the disk, and a thread of its own brings the disk there, in its own time. Until
//! it has, a record is missing or is older than what is attached. A daemon that is killed in that
//! time leaves an interface of which the next one has to ask Docker; Docker does not know whose it
//! is only where its container moved its own end to another namespace.

mod files;
mod writer;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use ebpf_netns::Ifindex;
use serde::{Deserialize, Serialize};
use tracing::warn;

pub use self::files::clean;
use self::writer::Shared;
use crate::sandbox::come_in_turn;

/// Where records are if the daemon is not told otherwise: they are of this boot alone.
pub const DEFAULT_DIRECTORY: &str = "/run/ebpf-netns/state";

/// The version of what is written.
const VERSION: u32 = 1;

/// How long an orderly end waits for the disk: what is not written then is rebuilt.
const PATIENCE: Duration = Duration::from_secs(2);

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

/// The records. Dropping them waits, for a while, until everything is written.
#[derive(Debug)]
pub struct Records {
    shared: Arc<Shared>,
    found: BTreeMap<Ifindex, Record>,
}

impl Records {
    /// Reads what an earlier daemon wrote to a directory, which is made if it is not there, and
    /// starts the thread that writes. What is no record is removed.
    ///
    /// # Errors
    ///
    /// When the thread cannot be started. A directory that cannot be had is counted and no more.
    pub fn open(directory: &Path) -> io::Result<Self> {
        let shared = Arc::new(Shared::new(directory));
        shared.note("make the directory of", files::make(directory));
        let found = read(&shared, directory);
        shared.lock().found(&found);
        let writer = Arc::clone(&shared);
        thread::Builder::new().name("records".to_owned()).spawn(move || {
            come_in_turn();
            writer.run();
        })?;
        Ok(Self { shared, found })
    }

    /// How often something could not be read, written or removed.
    #[must_use]
    pub fn failures(&self) -> u64 {
        self.shared.lock().failures()
    }

    /// What an earlier daemon wrote; nothing when asked again.
    pub fn inherited(&mut self) -> BTreeMap<Ifindex, Record> {
        std::mem::take(&mut self.found)
    }

    /// A record is to be there. This never waits for the disk.
    pub fn put(&self, record: Record) {
        self.shared.change(|state| state.put(record));
    }

    /// No record is to be there. This never waits for the disk.
    pub fn remove(&self, ifindex: Ifindex) {
        self.shared.change(|state| state.remove(ifindex));
    }
}

impl Drop for Records {
    fn drop(&mut self) {
        if !self.shared.end(PATIENCE) {
            warn!("the disk of the records does not answer: the next daemon rebuilds them");
        }
    }
}

/// The records of a directory, cleared of what is none.
fn read(shared: &Shared, directory: &Path) -> BTreeMap<Ifindex, Record> {
    let mut records = BTreeMap::new();
    let discard = |path: &PathBuf, reason: &str| {
        warn!(path = %path.display(), reason, "no record that this version reads: removed");
        shared.note("clear", fs::remove_file(path));
    };
    let found = files::list(directory).unwrap_or_else(|error| {
        shared.note("list", Err(error));
        Vec::new()
    });
    for path in &found {
        match files::read(path) {
            Ok(record) if *path == files::path(directory, record.ifindex) => {
                records.insert(record.ifindex, record);
            }
            Ok(_) => discard(path, "it is named for another interface"),
            Err(reason) => discard(path, &reason),
        }
    }
    records
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::unix::fs::symlink;
    use std::time::Instant;

    use super::*;

    fn record(index: u32, state: Progress) -> Record {
        let owner = Owner { id: "1".repeat(64), name: "web".to_owned() };
        Record::new(index.try_into().unwrap(), "veth1", state, Some(owner))
    }

    /// What the next daemon finds.
    fn inherited(directory: &Path) -> BTreeMap<Ifindex, Record> {
        Records::open(directory).unwrap().inherited()
    }

    #[test]
    fn what_is_written_is_read_by_the_next_daemon() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("state");
        let records = Records::open(&path).unwrap();
        records.put(record(7, Progress::Pending));
        records.put(record(7, Progress::Active));
        records.put(record(8, Progress::Active));
        records.remove(8.try_into().unwrap());
        records.remove(9.try_into().unwrap());
        assert_eq!(records.failures(), 0);
        drop(records);
        let expected = record(7, Progress::Active);
        assert_eq!(inherited(&path).into_values().collect::<Vec<_>>(), [expected]);
    }

    #[test]
    fn what_is_no_record_is_removed_and_does_no_harm() {
        let directory = tempfile::tempdir().unwrap();
        Records::open(directory.path()).unwrap().put(record(7, Progress::Active));
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
        let read = inherited(directory.path());
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
        let mut records = Records::open(Path::new("/proc/ebpf-netns")).unwrap();
        records.put(record(7, Progress::Active));
        assert!(records.inherited().is_empty());
        assert!(records.failures() >= 2, "{}", records.failures());
    }

    #[test]
    fn what_could_not_be_written_is_written_with_the_next_change() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("state");
        let records = Records::open(&path).unwrap();
        fs::remove_dir(&path).unwrap();
        records.put(record(7, Progress::Active));
        let start = Instant::now();
        while records.failures() == 0 {
            assert!(start.elapsed() < PATIENCE, "the failure is counted");
            thread::yield_now();
        }
        files::make(&path).unwrap();
        records.put(record(8, Progress::Active));
        drop(records);
        assert_eq!(inherited(&path).len(), 2, "both are there");
    }
}
