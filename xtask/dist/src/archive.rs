//! Archives of a tree: all of it belongs to root, and is as old as the sources.

use std::io::{self, Write as _};

use flate2::{Compression, GzBuilder};
use tar::{Builder, EntryType, Header};

use crate::epoch::Epoch;
use crate::tree::{Node, Tree};

/// A tar archive, with every path below `prefix`, which is empty or ends in a slash.
pub(crate) fn tar(tree: &Tree, prefix: &str, epoch: Epoch) -> io::Result<Vec<u8>> {
    let mut archive = Builder::new(Vec::new());
    for (path, node) in tree.nodes() {
        let path = format!("{prefix}{path}");
        match node {
            Node::Directory => {
                let mut header = header(EntryType::Directory, 0o755, epoch)?;
                archive.append_data(&mut header, format!("{path}/"), io::empty())?;
            }
            Node::File { mode, bytes } => {
                let mut header = header(EntryType::Regular, *mode, epoch)?;
                header.set_size(u64::try_from(bytes.len()).map_err(io::Error::other)?);
                archive.append_data(&mut header, path, bytes.as_slice())?;
            }
            Node::Link { target } => {
                let mut header = header(EntryType::Symlink, 0o777, epoch)?;
                archive.append_link(&mut header, path, target)?;
            }
        }
    }
    archive.into_inner()
}

fn header(kind: EntryType, mode: u32, epoch: Epoch) -> io::Result<Header> {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_mtime(epoch.seconds());
    header.set_uid(0);
    header.set_gid(0);
    header.set_username("root")?;
    header.set_groupname("root")?;
    header.set_size(0);
    Ok(header)
}

/// Compressed by gzip, without a name and a time in it.
pub(crate) fn gzip(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = GzBuilder::new().mtime(0).write(Vec::new(), Compression::best());
    encoder.write_all(bytes)?;
    encoder.finish()
}
