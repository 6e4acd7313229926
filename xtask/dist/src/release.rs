//! Everything that is released for a machine: which files, and what is in each.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use sha2::{Digest as _, Sha256};

use crate::epoch::Epoch;
use crate::machine::Machine;
use crate::product::{Layout, Product};
use crate::programs::Programs;
use crate::{archive, deb, managed, oci, sbom};

/// The version of everything in the repository.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The file with the checksums.
const SUMS: &str = "SHA256SUMS";

/// What is packed, for which machine.
#[derive(Clone, Debug)]
pub struct Release {
    /// The repository.
    pub root: PathBuf,
    /// The directory with the programs.
    pub programs: PathBuf,
    /// What they run on.
    pub machine: Machine,
    /// The time that files bear.
    pub epoch: Epoch,
}

impl Release {
    /// Writes tarball, Debian package, image and bill of materials into a directory.
    ///
    /// # Errors
    ///
    /// When a program or a file of the repository is missing or not what it should be.
    pub fn write(&self, directory: &Path) -> Result<Vec<PathBuf>> {
        let Self { root, programs, machine, epoch } = self;
        let (machine, epoch) = (*machine, *epoch);
        let programs = Programs::read(programs, machine)?;
        let product = Product::new(root, &programs, epoch)?;
        let stem = format!("ebpf-netns-{VERSION}");
        let name = machine.name();
        let tarball =
            archive::tar(&product.tree(Layout::Local)?, &format!("{stem}-{name}/"), epoch)?;
        let files = [
            (format!("{stem}-{name}-linux.tar.gz"), archive::gzip(&tarball)?),
            (
                format!("ebpf-netns_{VERSION}_{}.deb", machine.architecture()),
                deb::package(&product.tree(Layout::Debian)?, machine, epoch)?,
            ),
            (format!("{stem}-{name}-oci.tar"), oci::image(&programs, machine, epoch)?),
            (format!("{stem}-{name}.cdx.json"), sbom::bill(root, machine, epoch)?),
        ];
        fs::create_dir_all(directory).with_context(|| format!("make {}", directory.display()))?;
        let write = |(name, bytes): (String, Vec<u8>)| {
            let path = directory.join(name);
            fs::write(&path, bytes).with_context(|| format!("write {}", path.display()))?;
            Ok(path)
        };
        files.into_iter().map(write).collect()
    }
}

/// Writes what `docker plugin create` takes into a directory.
///
/// # Errors
///
/// When a program is missing or not what it should be, or the directory has a plugin already.
pub fn plugin(programs: &Path, machine: Machine, directory: &Path) -> Result<()> {
    managed::write(&Programs::read(programs, machine)?, directory)
}

/// Writes the checksums of every file of a directory beside them, as `sha256sum --check` reads them.
///
/// # Errors
///
/// When the directory cannot be read or written.
pub fn sums(directory: &Path) -> Result<PathBuf> {
    let mut lines = Vec::new();
    for entry in fs::read_dir(directory).with_context(|| format!("list {}", directory.display()))? {
        let path = entry.with_context(|| format!("list {}", directory.display()))?.path();
        let name = path.file_name().and_then(|name| name.to_str()).context("a name is text")?;
        if name != SUMS {
            let bytes = fs::read(&path).with_context(|| format!("read {}", path.display()))?;
            lines.push((name.to_owned(), hexadecimal(&bytes)));
        }
    }
    lines.sort();
    let text: String = lines.iter().flat_map(|(name, digest)| [digest, "  ", name, "\n"]).collect();
    let path = directory.join(SUMS);
    fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
    Ok(path)
}

/// The SHA-256 of some bytes, in hexadecimal.
pub(crate) fn hexadecimal(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    digest.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}
