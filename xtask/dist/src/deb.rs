//! The Debian package: an `ar` archive of what dpkg is to know and of what it is to install.

use std::io;

use anyhow::{Context as _, Result};

use crate::archive::{gzip, tar};
use crate::epoch::Epoch;
use crate::machine::Machine;
use crate::release::VERSION;
use crate::tree::{Node, Tree};

/// Scripts that dpkg runs; each says when.
const SCRIPTS: [(&str, &str); 3] = [
    ("postinst", include_str!("../debian/postinst")),
    ("prerm", include_str!("../debian/prerm")),
    ("postrm", include_str!("../debian/postrm")),
];

/// A package of a tree. It depends on nothing: the programs are linked statically, and an engine can
/// come from elsewhere than from Debian.
pub(crate) fn package(tree: &Tree, machine: Machine, epoch: Epoch) -> Result<Vec<u8>> {
    let members = [
        ("debian-binary", b"2.0\n".to_vec()),
        ("control.tar.gz", gzip(&tar(&control(tree, machine), "./", epoch)?)?),
        ("data.tar.gz", gzip(&tar(tree, "./", epoch)?)?),
    ];
    let mut archive = ar::Builder::new(Vec::new());
    for (name, bytes) in members {
        append(&mut archive, name, &bytes, epoch).with_context(|| format!("pack {name}"))?;
    }
    archive.into_inner().context("end the package")
}

fn append(
    archive: &mut ar::Builder<Vec<u8>>,
    name: &str,
    bytes: &[u8],
    epoch: Epoch,
) -> io::Result<()> {
    let size = u64::try_from(bytes.len()).map_err(io::Error::other)?;
    let mut header = ar::Header::new(name.as_bytes().to_vec(), size);
    header.set_mode(0o100_644);
    header.set_mtime(epoch.seconds());
    archive.append(&header, bytes)
}

/// What dpkg is to know.
fn control(tree: &Tree, machine: Machine) -> Tree {
    let mut control = Tree::default();
    control.file("control", description(tree, machine));
    control.file("conffiles", conffiles(tree));
    for (name, script) in SCRIPTS {
        control.program(name, script.as_bytes().to_vec());
    }
    control
}

fn description(tree: &Tree, machine: Machine) -> String {
    format!(
        "Package: ebpf-netns\n\
         Version: {VERSION}\n\
         Architecture: {}\n\
         Maintainer: ebpf-netns contributors <ebpf-netns@users.noreply.github.com>\n\
         Installed-Size: {}\n\
         Suggests: docker.io | docker-ce\n\
         Section: net\n\
         Priority: optional\n\
         Homepage: {}\n\
         Description: network policy for each Docker container, in eBPF, by label\n \
         A daemon that reads the labels of containers and attaches XDP and TC programs\n \
         to the host's ends of their veth pairs: no proxy, no sidecar, no iptables.\n \
         What is enforced stays while the daemon is stopped, killed or upgraded.\n \
         .\n \
         The command ebpf-netns shows what is enforced and why, and makes the network\n \
         namespaces of containers visible to ip-netns(8).\n",
        machine.architecture(),
        tree.size().div_ceil(1024),
        env!("CARGO_PKG_REPOSITORY"),
    )
}

/// The files that belong to the administrator once they are installed.
fn conffiles(tree: &Tree) -> String {
    let files = tree.nodes().filter(|(_, node)| matches!(node, Node::File { .. }));
    let files = files.filter(|(path, _)| path.starts_with("etc/"));
    files.flat_map(|(path, _)| ["/", path, "\n"]).collect()
}
