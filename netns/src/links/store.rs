//! Makes, lists and removes links, each step in an order that a crash cannot spoil.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _, symlink},
    path::{Path, PathBuf},
};

use rustix::{
    fs::{FlockOperation, flock},
    io::Errno,
};
use serde::Serialize;

use super::{
    LinkError, LinkName, LinkedContainer, ProcessStamp, Record, State, Target,
    entry::{self, Entry},
    mount,
};
use crate::{Namespace, Process};

/// Where `ip netns` looks.
const NETNS_DIR: &str = "/var/run/netns";
const STATE_DIR: &str = "/run/ebpf-netns";
const RECORD_SUFFIX: &str = ".json";

/// The links, and their records.
#[derive(Debug)]
pub struct Store {
    links: PathBuf,
    records: PathBuf,
}

/// A link to make.
#[derive(Debug)]
pub struct Request<'a> {
    /// What to call it.
    pub name: LinkName,
    /// What it is to lead to.
    pub target: Target,
    /// The container's namespace.
    pub namespace: &'a Namespace,
    /// The container, unless the user named a process.
    pub container: Option<LinkedContainer>,
    /// A process in the namespace, whose end means the end of the link.
    pub process: Option<&'a Process>,
    /// Docker's namespace file.
    pub sandbox_key: Option<&'a Path>,
}

/// What making a link came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Made {
    /// It was not there before.
    Created,
    /// One of ours was there that led elsewhere, or to nowhere.
    Replaced,
    /// It was there already.
    Unchanged,
}

/// A link of ours.
#[derive(Clone, Debug, Serialize)]
pub struct Listed {
    /// As it was made.
    #[serde(flatten)]
    pub record: Record,
    /// Whether it leads where it should.
    pub state: State,
}

/// What removing a link came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unlinked {
    /// It is gone.
    Removed,
    /// It was gone already; only the record was left.
    RecordOnly,
    /// Something that is not ours has the name now; only the record was removed.
    LeftForeign,
}

/// A link that a sweep was to remove.
#[derive(Debug)]
pub struct Swept {
    /// Its name.
    pub name: LinkName,
    /// What came of it.
    pub result: Result<Unlinked, LinkError>,
}

impl Store {
    /// The links of this machine. Makes nothing yet.
    #[must_use]
    pub fn system() -> Self {
        Self::at(NETNS_DIR, Path::new(STATE_DIR).join("links"))
    }

    /// Links and records in directories of the caller's.
    #[must_use]
    pub fn at(links: impl Into<PathBuf>, records: impl Into<PathBuf>) -> Self {
        Self { links: links.into(), records: records.into() }
    }

    /// The directory of the links.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.links
    }

    /// Where the link with this name is.
    #[must_use]
    pub fn path(&self, name: &LinkName) -> PathBuf {
        self.links.join(name.as_str())
    }

    /// Makes a link, or makes sure that it is there.
    ///
    /// # Errors
    ///
    /// When the name is taken by what is not ours, or by a link of ours that is alive and leads to
    /// another container; and when the system refuses.
    pub fn link(&self, request: Request<'_>) -> Result<Made, LinkError> {
        let namespace = request.namespace;
        let wanted = request.into_record()?;
        make_dir(&self.links, 0o755)?;
        let _lock = self.lock()?;
        let path = self.path(&wanted.name);
        let old = self.read(&wanted.name)?;
        let made = match (entry::look(&path, old.as_ref())?, &old) {
            (Entry::Nothing, _) => Made::Created,
            (Entry::Foreign, _) | (_, None) => return Err(LinkError::Foreign { path }),
            (Entry::Ours | Entry::OursUnmounted, Some(old)) => match self.compare(old, &wanted)? {
                Made::Unchanged => return Ok(Made::Unchanged),
                made => {
                    self.remove_entry(old)?;
                    made
                }
            },
        };
        self.write(&wanted)?;
        self.make_entry(&wanted, namespace)?;
        match entry::state(&path, &wanted)? {
            State::Live | State::Unknown => Ok(made),
            State::Stale(reason) => {
                self.remove(&wanted)?;
                Err(LinkError::NotRight { name: wanted.name, reason })
            }
        }
    }

    /// The links of ours, in the order of their names, each with its state.
    ///
    /// # Errors
    ///
    /// When a record or a link cannot be looked at.
    pub fn list(&self) -> Result<Vec<Listed>, LinkError> {
        let directory = match fs::read_dir(&self.records) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            directory => directory.map_err(|e| LinkError::file("read", &self.records, e))?,
        };
        let mut listed = Vec::new();
        for file in directory {
            let file = file.map_err(|e| LinkError::file("read", &self.records, e))?.file_name();
            let name = file.to_str().and_then(|file| file.strip_suffix(RECORD_SUFFIX));
            let Some(name) = name.and_then(|name| name.parse().ok()) else {
                continue;
            };
            if let Some(record) = self.read(&name)? {
                let state = entry::state(&self.path(&name), &record)?;
                listed.push(Listed { record, state });
            }
        }
        listed.sort_by(|a, b| a.record.name.cmp(&b.record.name));
        Ok(listed)
    }

    /// Removes a link of ours and its record; `None` if there is no such record.
    ///
    /// # Errors
    ///
    /// When the system refuses.
    pub fn unlink(&self, name: &LinkName) -> Result<Option<Unlinked>, LinkError> {
        if !self.records.exists() {
            return Ok(None);
        }
        let _lock = self.lock()?;
        self.read(name)?.map(|record| self.remove(&record)).transpose()
    }

    /// Removes the links that lead nowhere any more, and returns what came of each. None that was
    /// made right again meanwhile is among them.
    ///
    /// # Errors
    ///
    /// When the links cannot be listed.
    pub fn sweep(&self) -> Result<Vec<Swept>, LinkError> {
        if !self.records.exists() {
            return Ok(Vec::new());
        }
        let _lock = self.lock()?;
        let stale = self.list()?.into_iter().filter(|l| matches!(l.state, State::Stale(_)));
        let swept = stale.map(|l| Swept { result: self.remove(&l.record), name: l.record.name });
        Ok(swept.collect())
    }

    /// What is to happen to the link of ours that has the name already.
    fn compare(&self, old: &Record, wanted: &Record) -> Result<Made, LinkError> {
        match entry::state(&self.path(&old.name), old)? {
            State::Live | State::Unknown if !old.same_owner(wanted) => {
                Err(LinkError::Taken { name: old.name.clone() })
            }
            State::Live | State::Unknown if old.is_same_link(wanted) => Ok(Made::Unchanged),
            State::Live | State::Unknown | State::Stale(_) => Ok(Made::Replaced),
        }
    }

    fn make_entry(&self, record: &Record, namespace: &Namespace) -> Result<(), LinkError> {
        let path = self.path(&record.name);
        let made = match record.target {
            // symlink(2) is atomic and never replaces anything, so no temporary name is needed.
            Target::Pid | Target::SandboxKey => symlink(&record.path, &path)
                .map_err(|source| LinkError::file("create", &path, source)),
            Target::Bind => mount::make(&self.links, &path, namespace),
        };
        made.map_err(|error| match error {
            LinkError::File { source, .. }
                if Errno::from_io_error(&source) == Some(Errno::EXIST) =>
            {
                LinkError::Foreign { path }
            }
            error => error,
        })
    }

    fn remove(&self, record: &Record) -> Result<Unlinked, LinkError> {
        let unlinked = self.remove_entry(record)?;
        let file = self.record_path(&record.name);
        fs::remove_file(&file).map_err(|source| LinkError::file("remove", file, source))?;
        Ok(unlinked)
    }

    fn remove_entry(&self, record: &Record) -> Result<Unlinked, LinkError> {
        let path = self.path(&record.name);
        match entry::look(&path, Some(record))? {
            Entry::Nothing => return Ok(Unlinked::RecordOnly),
            Entry::Foreign => return Ok(Unlinked::LeftForeign),
            Entry::Ours if record.target == Target::Bind => mount::remove(&path)?,
            Entry::Ours | Entry::OursUnmounted => {}
        }
        fs::remove_file(&path).map_err(|source| LinkError::file("remove", path, source))?;
        Ok(Unlinked::Removed)
    }

    fn record_path(&self, name: &LinkName) -> PathBuf {
        self.records.join(format!("{name}{RECORD_SUFFIX}"))
    }

    fn read(&self, name: &LinkName) -> Result<Option<Record>, LinkError> {
        let path = self.record_path(name);
        let bytes = match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            bytes => bytes.map_err(|source| LinkError::file("read", &path, source))?,
        };
        let record: Record = serde_json::from_slice(&bytes)
            .map_err(|source| LinkError::Record { path: path.clone(), source })?;
        // A record under another's name would lead to removing what it does not tell of.
        if record.name == *name {
            Ok(Some(record))
        } else {
            let source = serde::de::Error::custom("it is the record of another link");
            Err(LinkError::Record { path, source })
        }
    }

    /// Puts a record on disk whole or not at all.
    fn write(&self, record: &Record) -> Result<(), LinkError> {
        let path = self.record_path(&record.name);
        let temporary = path.with_extension("json.new");
        let failed = |source| LinkError::file("write", &path, source);
        let json = serde_json::to_vec_pretty(record)
            .map_err(|source| LinkError::Record { path: path.clone(), source })?;
        let mut options = File::options();
        options.write(true).create(true).truncate(true).mode(0o600);
        let mut file = options.open(&temporary).map_err(failed)?;
        file.write_all(&json).and_then(|()| file.sync_all()).map_err(failed)?;
        fs::rename(&temporary, &path).map_err(failed)?;
        File::open(&self.records).and_then(|directory| directory.sync_all()).map_err(failed)
    }

    /// Keeps others from changing links until the file is closed.
    fn lock(&self) -> Result<File, LinkError> {
        if let Some(parent) = self.records.parent() {
            make_dir(parent, 0o755)?;
        }
        make_dir(&self.records, 0o700)?;
        let path = self.records.join(".lock");
        let failed = |source: io::Error| LinkError::file("lock", &path, source);
        let mut options = File::options();
        options.write(true).create(true).truncate(false).mode(0o600);
        let file = options.open(&path).map_err(failed)?;
        loop {
            match flock(&file, FlockOperation::LockExclusive) {
                Err(Errno::INTR) => {}
                result => return result.map(|()| file).map_err(|errno| failed(errno.into())),
            }
        }
    }
}

impl Request<'_> {
    fn into_record(self) -> Result<Record, LinkError> {
        let path = match self.target {
            Target::SandboxKey => self.sandbox_key.ok_or(LinkError::NoSandboxKey)?.to_owned(),
            Target::Pid => process_path(self.process.ok_or(LinkError::NoProcess)?),
            Target::Bind => match (self.sandbox_key, self.process) {
                (Some(key), _) => key.to_owned(),
                (None, Some(process)) => process_path(process),
                (None, None) => return Err(LinkError::NoProcess),
            },
        };
        Ok(Record {
            name: self.name,
            target: self.target,
            path,
            namespace: self.namespace.identity(),
            container: self.container,
            process: self.process.map(|process| ProcessStamp {
                pid: process.pid(),
                start_time: process.start_time(),
            }),
        })
    }
}

impl Record {
    /// Whether making `wanted` would change nothing. The container may have been renamed since.
    fn is_same_link(&self, wanted: &Self) -> bool {
        let Self { name, target, path, namespace, container: _, process } = self;
        (name, target, path, namespace, process)
            == (&wanted.name, &wanted.target, &wanted.path, &wanted.namespace, &wanted.process)
    }
}

fn process_path(process: &Process) -> PathBuf {
    format!("/proc/{}/ns/net", process.pid()).into()
}

/// Makes a directory with exactly these permissions, whatever the umask; one that is there stays
/// as it is.
fn make_dir(path: &Path, mode: u32) -> Result<(), LinkError> {
    let failed = |source| LinkError::file("create directory", path, source);
    match fs::DirBuilder::new().mode(mode).create(path) {
        Ok(()) => fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(failed),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(failed(error)),
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command, Stdio};

    use super::*;
    use crate::{Pid, links::Stale};

    /// A store in a directory of its own, and a child process to link to.
    struct Fixture {
        dir: tempfile::TempDir,
        store: Store,
        child: Child,
    }

    impl Fixture {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let store = Store::at(dir.path().join("netns"), dir.path().join("state/links"));
            Self { store, child: child(), dir }
        }

        fn process(&self) -> Process {
            Process::open(Pid::try_from(i64::from(self.child.id())).unwrap()).unwrap()
        }

        fn link(&self, container: &str) -> Result<Made, LinkError> {
            let (process, namespace) = (self.process(), Namespace::own().unwrap());
            self.store.link(Request {
                name: "docker-web".parse().unwrap(),
                target: Target::Pid,
                namespace: &namespace,
                container: Some(LinkedContainer {
                    id: container.to_owned(),
                    name: "web".to_owned(),
                    sandbox_id: None,
                }),
                process: Some(&process),
                sandbox_key: None,
            })
        }

        fn entry(&self) -> PathBuf {
            self.dir.path().join("netns/docker-web")
        }

        fn states(&self) -> Vec<State> {
            self.store.list().unwrap().iter().map(|listed| listed.state).collect()
        }

        fn unlink(&self) -> Option<Unlinked> {
            self.store.unlink(&"docker-web".parse().unwrap()).unwrap()
        }

        fn end_child(&mut self) {
            drop(self.child.stdin.take());
            self.child.wait().unwrap();
        }
    }

    impl Drop for Fixture {
        fn drop(&mut self) {
            self.end_child();
        }
    }

    fn child() -> Child {
        Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap()
    }

    #[test]
    fn a_link_is_made_once_listed_and_removed() {
        let f = Fixture::new();
        assert!(f.store.list().unwrap().is_empty(), "nothing is made by looking");
        assert_eq!(f.unlink(), None);
        assert_eq!(f.link("a").unwrap(), Made::Created);
        assert_eq!(f.link("a").unwrap(), Made::Unchanged);
        let target = fs::read_link(f.entry()).unwrap();
        assert_eq!(target, PathBuf::from(format!("/proc/{}/ns/net", f.child.id())));
        assert_eq!(f.states(), [State::Live]);
        let mode = fs::metadata(f.dir.path().join("state/links")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        assert_eq!(f.unlink(), Some(Unlinked::Removed));
        assert!(fs::symlink_metadata(f.entry()).is_err());
        assert_eq!(f.unlink(), None);
    }

    #[test]
    fn what_is_not_ours_is_never_replaced_nor_removed() {
        let f = Fixture::new();
        fs::create_dir(f.dir.path().join("netns")).unwrap();
        symlink("/proc/1/ns/net", f.entry()).unwrap();
        assert!(matches!(f.link("a"), Err(LinkError::Foreign { .. })));
        assert_eq!(f.unlink(), None);
        fs::remove_file(f.entry()).unwrap();

        // Ours at first, and then someone put their own there.
        f.link("a").unwrap();
        fs::remove_file(f.entry()).unwrap();
        fs::write(f.entry(), "theirs").unwrap();
        assert_eq!(f.states(), [State::Stale(Stale::Replaced)]);
        assert!(matches!(f.link("a"), Err(LinkError::Foreign { .. })));
        assert_eq!(f.unlink(), Some(Unlinked::LeftForeign));
        assert_eq!(fs::read(f.entry()).unwrap(), b"theirs");
        assert!(f.states().is_empty());
    }

    #[test]
    fn a_live_link_is_not_taken_over_by_another_container() {
        let mut f = Fixture::new();
        f.link("a").unwrap();
        assert!(matches!(f.link("b"), Err(LinkError::Taken { .. })));
        f.end_child();
        assert_eq!(f.states(), [State::Stale(Stale::ContainerGone)]);
        f.child = child();
        assert_eq!(f.link("b").unwrap(), Made::Replaced);
        assert_eq!(f.states(), [State::Live]);
    }

    #[test]
    fn an_id_that_means_another_process_now_is_stale() {
        let f = Fixture::new();
        f.link("a").unwrap();
        let file = f.dir.path().join("state/links/docker-web.json");
        let mut record: Record = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
        record.process.as_mut().unwrap().start_time -= 1;
        fs::write(&file, serde_json::to_vec(&record).unwrap()).unwrap();
        assert_eq!(f.states(), [State::Stale(Stale::PidReused)]);
        assert_eq!(f.link("a").unwrap(), Made::Replaced);
    }

    #[test]
    fn a_sweep_removes_what_is_stale_and_nothing_else() {
        let mut f = Fixture::new();
        assert!(f.store.sweep().unwrap().is_empty());
        f.link("a").unwrap();
        assert!(f.store.sweep().unwrap().is_empty());
        assert_eq!(f.states(), [State::Live]);
        f.end_child();
        let swept = f.store.sweep().unwrap();
        assert!(
            matches!(swept.as_slice(), [Swept { result: Ok(Unlinked::Removed), .. }]),
            "{swept:?}"
        );
        assert!(f.states().is_empty());
    }

    /// Each crash leaves a record whose entry is not there yet, or not there any more.
    #[test]
    fn a_record_without_its_entry_is_listed_and_healed() {
        let f = Fixture::new();
        f.link("a").unwrap();
        fs::remove_file(f.entry()).unwrap();
        assert_eq!(f.states(), [State::Stale(Stale::Missing)]);
        assert_eq!(f.link("a").unwrap(), Made::Created);
        fs::remove_file(f.entry()).unwrap();
        assert_eq!(f.unlink(), Some(Unlinked::RecordOnly));
    }

    #[test]
    fn a_record_that_is_none_is_an_error_that_names_it() {
        let f = Fixture::new();
        f.link("a").unwrap();
        let records = f.dir.path().join("state/links");
        for bad in ["", "null", "{}", "[1]"] {
            fs::write(records.join("docker-web.json"), bad).unwrap();
            let error = f.store.list().unwrap_err();
            assert!(error.to_string().contains("docker-web.json"), "{error}");
            assert_eq!(error.exit_code(), crate::exit::BAD_DATA);
        }
        let copied = f.dir.path().join("state/links/other.json");
        fs::remove_file(records.join("docker-web.json")).unwrap();
        fs::remove_file(f.entry()).unwrap();
        f.link("a").unwrap();
        fs::copy(records.join("docker-web.json"), copied).unwrap();
        assert!(f.store.list().is_err(), "a record under another's name is refused");
    }
}
