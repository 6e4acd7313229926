//! The programs that are packed, and that they run wherever the kernel does.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use object::read::elf::{ElfFile64, FileHeader as _, ProgramHeader as _};
use object::{Endianness, elf};

use crate::machine::Machine;

/// Their names, as users type them.
pub(crate) const NAMES: [&str; 3] = ["ebpf-netns", "ebpf-netns-plugin", "ebpf-netns-runtime"];

/// A program of each name.
#[derive(Clone, Debug)]
pub(crate) struct Programs(Vec<(&'static str, Vec<u8>)>);

impl Programs {
    /// Reads them, and looks whether they are what they are packed as.
    pub(crate) fn read(directory: &Path, machine: Machine) -> Result<Self> {
        let mut programs = Vec::new();
        for name in NAMES {
            let path = directory.join(name);
            let bytes = fs::read(&path).with_context(|| format!("read {}", path.display()))?;
            check(&bytes, machine).with_context(|| format!("look at {}", path.display()))?;
            programs.push((name, bytes));
        }
        Ok(Self(programs))
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&'static str, &[u8])> {
        self.0.iter().map(|(name, bytes)| (*name, bytes.as_slice()))
    }
}

fn check(bytes: &[u8], machine: Machine) -> Result<()> {
    let file = ElfFile64::<Endianness>::parse(bytes).context("it is no 64-bit ELF file")?;
    let endian = file.endian();
    let expected = match machine {
        Machine::X86_64 => elf::EM_X86_64,
        Machine::Aarch64 => elf::EM_AARCH64,
    };
    let found = file.elf_header().e_machine(endian);
    ensure!(found == expected, "it is for another machine than {machine}: {found:?}");
    let needs_loader =
        file.elf_program_headers().iter().any(|part| part.p_type(endian) == elf::PT_INTERP);
    ensure!(
        !needs_loader,
        "it needs a loader and shared libraries: build it for {}",
        machine.target()
    );
    Ok(())
}
