//! A file system in a file, as the kernel unpacks it at boot: cpio's `newc` format. It is written
//! down in the kernel's documentation, `driver-api/early-userspace/buffer-format.rst`.

use std::{collections::BTreeSet, path::Path};

use anyhow::{Context as _, Result};

const DIRECTORY: u32 = 0o040_755;
const PROGRAM: u32 = 0o100_755;
const SYMLINK: u32 = 0o120_777;

/// The file system; all of it belongs to root. Paths are absolute ones without `..`.
#[derive(Default)]
pub(super) struct Archive {
    bytes: Vec<u8>,
    /// What is in it.
    paths: BTreeSet<String>,
}

impl Archive {
    /// Adds a directory, and those that it is in.
    pub(super) fn directory(&mut self, path: &Path) -> Result<()> {
        self.parents(path)?;
        self.entry(path, DIRECTORY, &[])
    }

    /// Adds a file that can be executed, and the directories that it is in.
    pub(super) fn file(&mut self, path: &Path, content: &[u8]) -> Result<()> {
        self.parents(path)?;
        self.entry(path, PROGRAM, content)
    }

    /// Adds a symbolic link, and the directories that it is in.
    pub(super) fn symlink(&mut self, path: &Path, target: &str) -> Result<()> {
        self.parents(path)?;
        self.entry(path, SYMLINK, target.as_bytes())
    }

    pub(super) fn contains(&self, path: &Path) -> bool {
        path.to_str().is_some_and(|path| self.paths.contains(path))
    }

    pub(super) fn finish(mut self) -> Result<Vec<u8>> {
        self.write("TRAILER!!!", 0, &[])?;
        Ok(self.bytes)
    }

    fn parents(&mut self, path: &Path) -> Result<()> {
        let mut parents: Vec<_> = path.ancestors().skip(1).collect();
        parents.reverse();
        // The first is the root.
        parents.into_iter().skip(1).try_for_each(|path| self.entry(path, DIRECTORY, &[]))
    }

    /// Adds what is not there yet.
    fn entry(&mut self, path: &Path, mode: u32, content: &[u8]) -> Result<()> {
        let path = path.to_str().with_context(|| format!("{} is no text", path.display()))?;
        if self.paths.insert(path.to_owned()) {
            self.write(path.trim_start_matches('/'), mode, content)?;
        }
        Ok(())
    }

    fn write(&mut self, name: &str, mode: u32, content: &[u8]) -> Result<()> {
        let inode = u32::try_from(self.paths.len()).context("count the files")?;
        let size = u32::try_from(content.len()).with_context(|| format!("{name} is too long"))?;
        let name_size = u32::try_from(name.len() + 1).context("a name is too long")?;
        // Inode, mode, user, group, links, time, size, four device numbers, size of the name with
        // its end, checksum.
        let fields = [inode, mode, 0, 0, 1, 0, size, 0, 0, 0, 0, name_size, 0];
        self.bytes.extend_from_slice(b"070701");
        for field in fields {
            self.bytes.extend_from_slice(format!("{field:08x}").as_bytes());
        }
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(content);
        self.pad();
        Ok(())
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The names in an archive, their modes and sizes.
    fn listed(mut bytes: &[u8]) -> Vec<(String, String, usize)> {
        let mut found = Vec::new();
        while let Some((header, rest)) = bytes.split_at_checked(110) {
            let field = |index: usize| std::str::from_utf8(&header[6 + 8 * index..][..8]).unwrap();
            let number = |index| usize::from_str_radix(field(index), 16).unwrap();
            assert_eq!(&header[..6], b"070701", "an entry begins on its boundary");
            let (name, size) = (number(11), number(6));
            let text = String::from_utf8(rest[..name - 1].to_vec()).unwrap();
            found.push((text, field(1).to_owned(), size));
            // Padding counts from the entry's start, where the header is.
            let content = (110 + name).next_multiple_of(4);
            bytes = &rest[(content + size).next_multiple_of(4) - 110..];
        }
        found
    }

    #[test]
    fn a_file_comes_after_its_directories_and_each_once() {
        let mut archive = Archive::default();
        archive.file(Path::new("/a/b/c"), b"12345").unwrap();
        archive.file(Path::new("/a/d"), b"").unwrap();
        archive.symlink(Path::new("/a/e"), "d").unwrap();
        archive.directory(Path::new("/a/b")).unwrap();
        assert!(archive.contains(Path::new("/a/b/c")), "it is there");
        let listed = listed(&archive.finish().unwrap());
        let expected = [
            ("a", "000041ed", 0),
            ("a/b", "000041ed", 0),
            ("a/b/c", "000081ed", 5),
            ("a/d", "000081ed", 0),
            ("a/e", "0000a1ff", 1),
            ("TRAILER!!!", "00000000", 0),
        ];
        let expected = expected.map(|(name, mode, size)| (name.to_owned(), mode.to_owned(), size));
        assert_eq!(listed, expected);
    }
}
