//! The operator's directory of programs, in files of a machine, with objects that clang makes.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};

use crate::{command::stdout_of, machine::Machine};

/// The examples that come with the kernel programs, and our own objects, which are aya's.
const EXAMPLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../plugin-ebpf/examples");
const BYTECODE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../plugin/bytecode");

/// A directory of programs that a daemon of a machine may be given.
#[derive(Clone, Debug)]
pub struct Programs {
    directory: PathBuf,
}

impl Programs {
    /// An empty one.
    ///
    /// # Errors
    ///
    /// When it cannot be made.
    pub fn new(machine: &Machine) -> Result<Self> {
        let directory = machine.directory().join("programs");
        fs::create_dir_all(&directory).context("make the directory of programs")?;
        let programs = Self { directory };
        programs.set_mode(0o755)?;
        Ok(programs)
    }

    /// Where it is, inside of the machine and outside.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The argument that gives it to `ebpf-netns-plugin`.
    #[must_use]
    pub fn argument(&self) -> String {
        format!("--programs={}", self.directory.display())
    }

    /// Sets who may do what in it.
    ///
    /// # Errors
    ///
    /// When that is refused.
    pub fn set_mode(&self, mode: u32) -> Result<()> {
        Ok(fs::set_permissions(&self.directory, Permissions::from_mode(mode))?)
    }

    /// Puts a file there, in the place of another.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    pub fn put(&self, file: &str, contents: &[u8]) -> Result<()> {
        let path = self.directory.join(file);
        let new = path.with_extension("new");
        fs::write(&new, contents).with_context(|| format!("write {}", new.display()))?;
        fs::set_permissions(&new, Permissions::from_mode(0o644))?;
        fs::rename(&new, &path).with_context(|| format!("replace {}", path.display()))
    }

    /// Puts an example there, compiled with these options of clang's.
    ///
    /// # Errors
    ///
    /// When it does not compile.
    pub fn example(&self, source: &str, file: &str, options: &[&str]) -> Result<()> {
        self.compile(&Path::new(EXAMPLES).join(source), file, options)
    }

    /// Puts a program there that is written in C.
    ///
    /// # Errors
    ///
    /// When it does not compile.
    pub fn text(&self, text: &str, file: &str, options: &[&str]) -> Result<()> {
        let source = self.directory.join(file).with_extension("c");
        fs::write(&source, text)?;
        self.compile(&source, file, options)
    }

    /// Puts one of our objects there.
    ///
    /// # Errors
    ///
    /// When there is none of this name.
    pub fn of_aya(&self, object: &str, file: &str) -> Result<()> {
        let path = Path::new(BYTECODE).join(object);
        let contents = fs::read(&path).with_context(|| format!("read {}", path.display()))?;
        self.put(file, &contents)
    }

    fn compile(&self, source: &Path, file: &str, options: &[&str]) -> Result<()> {
        let machine = stdout_of(Command::new("uname").arg("-m"))?;
        let object = self.directory.join(file).with_extension("tmp");
        let mut clang = Command::new("clang");
        clang.args(["-O2", "-target", "bpf", "-Wall", "-Werror"]);
        clang.arg(format!("-I/usr/include/{machine}-linux-gnu")).args(options);
        stdout_of(clang.arg("-c").arg(source).arg("-o").arg(&object))?;
        let contents = fs::read(&object)?;
        fs::remove_file(&object)?;
        self.put(file, &contents)
    }
}
