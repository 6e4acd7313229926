//! The operator's directory of programs: what may be read from it, and nothing besides.
//!
//! What is loaded from it runs in the kernel, and a container's policy rests on it. So nobody but
//! root may be able to change it: neither a file, nor the directory, nor what leads there.

use std::fs::{self, File, Metadata};
use std::io::{self, Read as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::OFlag;

use super::name::is_file_name;
use crate::config::trust;

/// Where programs are if the daemon is not told otherwise.
pub const DEFAULT_DIRECTORY: &str = "/etc/ebpf-netns/programs";

/// The largest object, in bytes.
const MAX_BYTES: u64 = 16 * 1024 * 1024;
/// The bit by which who may write to a directory can only remove what is theirs.
const STICKY: u32 = 0o1000;

/// Looks whether nobody but root can change what is in a directory.
///
/// # Errors
///
/// Why it is not used.
pub fn check(directory: &Path) -> Result<(), String> {
    let wrong = |path: &Path, why: String| format!("{}: {why}", path.display());
    if !directory.is_absolute() {
        return Err(wrong(directory, "is not an absolute path: programs are not read".to_owned()));
    }
    for path in directory.ancestors() {
        let there = match fs::symlink_metadata(path) {
            Ok(there) => there,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let gone = "is not there: make it, for programs that labels name".to_owned();
                return Err(wrong(path, gone));
            }
            Err(error) => return Err(wrong(path, error.to_string())),
        };
        check_part(&there, path == directory).map_err(|why| wrong(path, why))?;
    }
    Ok(())
}

/// One directory on the way. Who may write to one with the sticky bit cannot replace what is root's.
fn check_part(there: &Metadata, is_last: bool) -> Result<(), String> {
    if there.is_symlink() {
        return Err("is a symbolic link: name the directory itself".to_owned());
    }
    if !there.is_dir() {
        return Err("is not a directory".to_owned());
    }
    if !is_last && there.uid() == 0 && there.mode() & STICKY != 0 {
        return Ok(());
    }
    trust(there)
}

/// Reads an object of a directory that was not checked yet.
///
/// # Errors
///
/// Why it is not used.
pub fn read(directory: &Path, file: &str) -> Result<Vec<u8>, String> {
    check(directory)?;
    let path = directory.join(file);
    let wrong = |why: String| format!("{}: {why}", path.display());
    if !is_file_name(file) {
        return Err(wrong("is not the name of an object".to_owned()));
    }
    // A pipe would be waited for, and a link may lead to what somebody else can change.
    let flags = (OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK).bits();
    let opened = File::options().read(true).custom_flags(flags).open(&path);
    let opened = opened.map_err(|error| match error.raw_os_error().map(Errno::from_raw) {
        Some(Errno::ENOENT) => wrong(format!("is not there{}", instead(directory))),
        Some(Errno::ELOOP) => {
            wrong("is a symbolic link: put the object itself into the directory".to_owned())
        }
        _ => wrong(error.to_string()),
    })?;
    let there = opened.metadata().map_err(|error| wrong(error.to_string()))?;
    if !there.is_file() {
        return Err(wrong("is not a regular file".to_owned()));
    }
    trust(&there).map_err(wrong)?;
    let mut bytes = Vec::new();
    opened.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(|error| wrong(error.to_string()))?;
    if u64::try_from(bytes.len()).is_ok_and(|length| length > MAX_BYTES) {
        return Err(wrong(format!("is larger than {MAX_BYTES} bytes")));
    }
    Ok(bytes)
}

/// The names of the objects in a directory, in their order.
///
/// # Errors
///
/// Why it is not used.
pub fn list(directory: &Path) -> Result<Vec<String>, String> {
    check(directory)?;
    let failed = |error: io::Error| format!("list {}: {error}", directory.display());
    let mut names = Vec::new();
    for entry in fs::read_dir(directory).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        names.extend(name.to_str().filter(|name| is_file_name(name)).map(str::to_owned));
    }
    names.sort();
    Ok(names)
}

/// What there is, for who asked for something that is not.
fn instead(directory: &Path) -> String {
    const SHOWN: usize = 8;
    let names = list(directory).unwrap_or_default();
    match names.get(..SHOWN.min(names.len())) {
        None | Some([]) => ": the directory has no object".to_owned(),
        Some(shown) => {
            let more = if names.len() > SHOWN { ", …" } else { "" };
            format!(": there are {}{more}", shown.join(", "))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    fn set_mode(path: &Path, mode: u32) {
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }

    /// A directory whose owner is who runs the test, which is as good as root.
    fn programs() -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        set_mode(directory.path(), 0o755);
        fs::write(directory.path().join("a.o"), b"object").unwrap();
        directory
    }

    #[track_caller]
    fn refused(directory: &Path, file: &str, word: &str) {
        let error = read(directory, file).unwrap_err();
        assert!(error.contains(word), "{error:?} lacks {word:?}");
    }

    #[test]
    fn an_object_is_read_and_what_is_not_there_is_told_with_what_is() {
        let directory = programs();
        assert_eq!(read(directory.path(), "a.o").unwrap(), b"object");
        assert_eq!(list(directory.path()).unwrap(), ["a.o"]);
        refused(directory.path(), "b.o", "is not there: there are a.o");
        refused(&directory.path().join("none"), "b.o", "none: is not there: make it");
        refused(Path::new("programs"), "b.o", "absolute");
    }

    #[test]
    fn what_others_can_change_is_not_read() {
        let directory = programs();
        let file = directory.path().join("a.o");
        for (path, mode) in [(directory.path(), 0o777), (directory.path(), 0o1777), (&file, 0o664)]
        {
            let before = fs::metadata(path).unwrap().permissions();
            set_mode(path, mode);
            refused(directory.path(), "a.o", "may be written by others");
            fs::set_permissions(path, before).unwrap();
        }
        let below = directory.path().join("below");
        fs::create_dir(&below).unwrap();
        fs::write(below.join("b.o"), b"x").unwrap();
        assert!(read(&below, "b.o").is_ok());
        set_mode(directory.path(), 0o777);
        refused(&below, "b.o", "may be written by others");
    }

    #[test]
    fn nothing_leads_out_of_the_directory() {
        let directory = programs();
        symlink("/etc/passwd", directory.path().join("link.o")).unwrap();
        refused(directory.path(), "link.o", "symbolic link");
        refused(directory.path(), "../a.o", "not the name of an object");
        let link = directory.path().join("link");
        symlink(directory.path(), &link).unwrap();
        refused(&link, "a.o", "symbolic link: name the directory itself");
        nix::unistd::mkfifo(&directory.path().join("pipe.o"), nix::sys::stat::Mode::S_IRWXU)
            .unwrap();
        refused(directory.path(), "pipe.o", "not a regular file");
        fs::create_dir(directory.path().join("sub.o")).unwrap();
        refused(directory.path(), "sub.o", "not a regular file");
    }
}
