//! The configuration file on disk: replaced as a whole or not at all, with the owner and mode that
//! it had, and with a copy of what it was before.

use std::fs::{self, File, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, fchown};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

/// What the name of the copy ends with.
const BACKUP: &str = ".before-ebpf-netns";
/// The mode of a file that was not there.
const NEW_MODE: u32 = 0o644;

/// The file could not be read or written.
#[derive(Debug, thiserror::Error)]
#[error("{what} {}", path.display())]
pub struct FileError {
    what: &'static str,
    path: PathBuf,
    #[source]
    source: io::Error,
}

fn failed(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> FileError {
    let path = path.to_owned();
    move |source| FileError { what, path, source }
}

/// A file as it was read.
#[derive(Debug)]
pub(super) struct ConfigFile {
    /// Where it really is: symbolic links are followed, not replaced.
    pub(super) path: PathBuf,
    /// What was in it; `None` when it was not there.
    pub(super) text: Option<String>,
}

impl ConfigFile {
    /// Reads it.
    pub(super) fn read(path: &Path) -> Result<Self, FileError> {
        let real = match fs::canonicalize(path) {
            Ok(real) => real,
            // A link to nothing is not a file that is not there: writing would have to guess.
            Err(error)
                if error.kind() == io::ErrorKind::NotFound
                    && fs::symlink_metadata(path).is_err() =>
            {
                return Ok(Self { path: path.to_owned(), text: None });
            }
            Err(error) => return Err(failed("find", path)(error)),
        };
        let text = fs::read_to_string(&real).map_err(failed("read", &real))?;
        Ok(Self { path: real, text: Some(text) })
    }

    /// What was in it, as text.
    pub(super) fn text(&self) -> &str {
        self.text.as_deref().unwrap_or_default()
    }

    /// Writes a new version beside it, for somebody to look at first.
    pub(super) fn prepare(&self, text: &str) -> Result<Prepared<'_>, FileError> {
        let directory = self.directory();
        if self.text.is_none() {
            fs::create_dir_all(directory).map_err(failed("make directory", directory))?;
        }
        let file = self.write(text).map_err(failed("write a new version of", &self.path))?;
        Ok(Prepared { of: self, file })
    }

    /// Puts it back to what it was when it was read.
    pub(super) fn restore(&self) -> Result<(), FileError> {
        match &self.text {
            Some(text) => self.prepare(text)?.replace(),
            None => fs::remove_file(&self.path).map_err(failed("remove", &self.path)),
        }
    }

    /// Keeps a copy of what was in it, and says where.
    pub(super) fn back_up(&self) -> Result<Option<PathBuf>, FileError> {
        let Some(text) = &self.text else { return Ok(None) };
        let mut name = self.path.clone().into_os_string();
        name.push(BACKUP);
        let copy = PathBuf::from(name);
        self.write(text)
            .and_then(|file| Ok(file.persist(&copy)?))
            .map_err(failed("write", &copy))?;
        Ok(Some(copy))
    }

    fn directory(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new("/"))
    }

    /// A file beside it, with its owner and mode, and on the disk.
    fn write(&self, text: &str) -> io::Result<NamedTempFile> {
        let mut file = NamedTempFile::new_in(self.directory())?;
        match fs::metadata(&self.path) {
            Ok(old) => {
                fchown(file.as_file(), Some(old.uid()), Some(old.gid()))?;
                file.as_file().set_permissions(Permissions::from_mode(old.mode() & 0o7777))?;
            }
            Err(_new) => file.as_file().set_permissions(Permissions::from_mode(NEW_MODE))?,
        }
        file.write_all(text.as_bytes())?;
        file.as_file().sync_all()?;
        Ok(file)
    }
}

/// A new version, not yet in place; gone when dropped.
pub(super) struct Prepared<'a> {
    of: &'a ConfigFile,
    file: NamedTempFile,
}

impl Prepared<'_> {
    /// Where it is for now.
    pub(super) fn path(&self) -> &Path {
        self.file.path()
    }

    /// Puts it in place of the old one, at once and for good.
    pub(super) fn replace(self) -> Result<(), FileError> {
        let Self { of, file } = self;
        let replaced = file.persist(&of.path).map_err(|error| error.error);
        // A rename is on the disk when its directory is.
        replaced
            .and_then(|_file| File::open(of.directory())?.sync_all())
            .map_err(failed("replace", &of.path))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_link_is_followed_and_mode_and_backup_are_kept() {
        let directory = tempfile::tempdir().unwrap();
        let (real, link) = (directory.path().join("real.json"), directory.path().join("link"));
        fs::write(&real, "old").unwrap();
        fs::set_permissions(&real, Permissions::from_mode(0o640)).unwrap();
        symlink("real.json", &link).unwrap();
        let file = ConfigFile::read(&link).unwrap();
        assert_eq!((&file.path, file.text()), (&real, "old"));
        let copy = file.back_up().unwrap().unwrap();
        file.prepare("new").unwrap().replace().unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink(), "the link is a link");
        assert_eq!(fs::read_to_string(&real).unwrap(), "new");
        assert_eq!(fs::read_to_string(&copy).unwrap(), "old");
        for path in [&real, &copy] {
            assert_eq!(fs::metadata(path).unwrap().mode() & 0o7777, 0o640, "{}", path.display());
        }
        file.restore().unwrap();
        assert_eq!(fs::read_to_string(&real).unwrap(), "old");
        let names = fs::read_dir(directory.path()).unwrap().count();
        assert_eq!(names, 3, "no temporary file is left");
    }

    #[test]
    fn a_file_that_was_not_there_is_made_and_taken_away_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("docker/daemon.json");
        let file = ConfigFile::read(&path).unwrap();
        assert_eq!((file.text(), file.back_up().unwrap()), ("", None));
        file.prepare("new").unwrap().replace().unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o644);
        file.restore().unwrap();
        assert!(!path.exists());
    }

    #[test]
    fn a_link_to_nothing_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let link = directory.path().join("link");
        symlink("nothing", &link).unwrap();
        let error = ConfigFile::read(&link).unwrap_err();
        assert!(error.to_string().contains("find "), "{error}");
    }
}
