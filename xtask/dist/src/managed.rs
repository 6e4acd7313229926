//! The managed plugin of Docker: the directory that `docker plugin create` takes.
//!
//! What Docker gives it is in [`config.json`](../plugin/config.json), and nowhere else.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, symlink};
use std::path::Path;

use anyhow::{Context as _, Result, ensure};

use crate::programs::Programs;
use crate::tree::{Node, Tree};

const CONFIG: &str = include_str!("../plugin/config.json");

/// What is mounted over; and the directory for the socket by which Docker reaches the plugin.
const DIRECTORIES: [&str; 8] = [
    "etc/ebpf-netns",
    "proc",
    "run/docker/plugins",
    "run/ebpf-netns",
    "sys/fs/bpf",
    "tmp",
    "var/lib/ebpf-netns",
    "var/run",
];

/// Writes `config.json` and `rootfs` into a directory, which must not have them yet.
pub(crate) fn write(programs: &Programs, directory: &Path) -> Result<()> {
    let mut root = Tree::default();
    for (name, bytes) in programs.iter() {
        root.program(&format!("usr/bin/{name}"), bytes.to_vec());
    }
    for path in DIRECTORIES {
        root.directory(path);
    }
    let rootfs = directory.join("rootfs");
    ensure!(!rootfs.exists(), "{} is there already: remove it", rootfs.display());
    fs::create_dir_all(&rootfs).with_context(|| format!("make {}", rootfs.display()))?;
    for (path, node) in root.nodes() {
        let path = rootfs.join(path);
        put(&path, node).with_context(|| format!("make {}", path.display()))?;
    }
    let config = directory.join("config.json");
    fs::write(&config, CONFIG).with_context(|| format!("write {}", config.display()))
}

fn put(path: &Path, node: &Node) -> std::io::Result<()> {
    match node {
        Node::Directory => DirBuilder::new().mode(0o755).create(path),
        Node::File { mode, bytes } => {
            let mut options = OpenOptions::new();
            options.write(true).create_new(true).mode(*mode).open(path)?.write_all(bytes)
        }
        Node::Link { target } => symlink(target, path),
    }
}
