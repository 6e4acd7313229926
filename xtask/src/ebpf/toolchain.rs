//! The tools that make the objects: which there are here, and whether they fit together.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};
use ebpf_netns_tests::command::stdout_of;

use super::llvm::{LlvmVersion, RustcVersion};

/// The toolchain that the committed objects are made with.
pub(super) const RUST: &str = "1.95.0";
/// The linker that turns bitcode into BPF objects.
pub(super) const BPF_LINKER: &str = "0.13.0";
/// The target: BPF, little endian, no operating system.
pub(super) const TARGET: &str = "bpfel-unknown-none";

/// All that a build needs.
#[derive(Debug)]
pub(super) struct Toolchain {
    pub(super) rust: Rust,
    pub(super) linker: Linker,
}

impl Toolchain {
    /// The tools of this machine, or what is missing and how to get it.
    pub(super) fn find() -> Result<Self> {
        let rust = Rust::find()?;
        let linker = Linker::find(&rust)?;
        Ok(Self { rust, linker })
    }

    /// How these tools differ from the pinned ones, if they do.
    pub(super) fn not_pinned(&self) -> Option<String> {
        let Self { rust, linker } = self;
        if rust.version.release != RUST {
            return Some(format!("building with {}, not with {RUST}", rust.version.line));
        }
        (linker.version != BPF_LINKER)
            .then(|| format!("building with bpf-linker {}, not {BPF_LINKER}", linker.version))
    }
}

/// A Rust toolchain with the sources of `core`.
#[derive(Debug)]
pub(super) struct Rust {
    pub(super) sysroot: PathBuf,
    pub(super) version: RustcVersion,
}

impl Rust {
    /// `$RUSTC`, else the pinned toolchain of rustup, else the active one, else the system's.
    pub(super) fn find() -> Result<Self> {
        if let Some(rustc) = env::var_os("RUSTC") {
            return Self::of_rustc(Path::new(&rustc));
        }
        let pinned = rustup_rustc(RUST);
        let candidates =
            pinned.into_iter().chain([PathBuf::from("rustc"), PathBuf::from("/usr/bin/rustc")]);
        let mut problems = Vec::new();
        for rustc in candidates {
            match Self::of_rustc(&rustc) {
                Ok(rust) => return Ok(rust),
                Err(error) => problems.push(format!("\n  {error:#}")),
            }
        }
        bail!(
            "no Rust toolchain can build for BPF; `cargo xtask ebpf --setup`{}",
            problems.concat()
        )
    }

    fn of_rustc(rustc: &Path) -> Result<Self> {
        let sysroot = stdout_of(Command::new(rustc).args(["--print", "sysroot"]))?;
        let version = RustcVersion::parse(&stdout_of(Command::new(rustc).arg("-vV"))?)?;
        let rust = Self { sysroot: PathBuf::from(sysroot.trim()), version };
        ensure!(
            rust.sources().join("library/core").is_dir(),
            "{} has no rust-src: {} is not there",
            rust.version.line,
            rust.sources().display(),
        );
        ensure!(rust.bin("cargo").is_file(), "{} is not there", rust.bin("cargo").display());
        Ok(rust)
    }

    /// One of the toolchain's programs, by its path: rustup's proxies would pick another.
    pub(super) fn bin(&self, name: &str) -> PathBuf {
        self.sysroot.join("bin").join(name)
    }

    /// The sources that `-Z build-std` compiles.
    pub(super) fn sources(&self) -> PathBuf {
        self.sysroot.join("lib/rustlib/src/rust")
    }

    /// This toolchain's cargo, free of what the cargo that runs this program has set.
    pub(super) fn cargo(&self) -> Command {
        let mut cargo = Command::new(self.bin("cargo"));
        for (name, _) in env::vars_os() {
            let name_text = name.to_string_lossy();
            let ours = ["CARGO_PROFILE_", "CARGO_BUILD_", "CARGO_TARGET_", "CARGO_UNSTABLE_"];
            if ours.iter().any(|prefix| name_text.starts_with(prefix)) {
                cargo.env_remove(&name);
            }
        }
        for name in ["CARGO_ENCODED_RUSTFLAGS", "RUSTFLAGS", "RUSTUP_TOOLCHAIN", "RUSTC_WRAPPER"] {
            cargo.env_remove(name);
        }
        let path = env::var_os("PATH").unwrap_or_default();
        let bins = std::iter::once(self.sysroot.join("bin")).chain(env::split_paths(&path));
        if let Ok(path) = env::join_paths(bins) {
            cargo.env("PATH", path);
        }
        cargo.env_remove("RUSTC_WORKSPACE_WRAPPER").env("RUSTC", self.bin("rustc"));
        cargo
    }

    /// The program that removes debug information: rustc's own, else that of the same LLVM.
    pub(super) fn objcopy(&self) -> Result<Objcopy> {
        let RustcVersion { host, llvm, .. } = &self.version;
        let major = llvm.major;
        let libraries = self.sysroot.join("lib");
        let own = self.sysroot.join(format!("lib/rustlib/{host}/bin/rust-objcopy"));
        let system = ["llvm-objcopy".to_owned(), format!("llvm-objcopy-{major}")];
        let system = system.into_iter().rev().map(|name| (PathBuf::from(name), None));
        std::iter::once((own, Some(libraries)))
            .chain(system)
            .find_map(|(path, libraries)| Objcopy::that_works(path, libraries))
            .with_context(|| {
                format!(
                    "no rust-objcopy in the toolchain and no llvm-objcopy: install llvm-{major}"
                )
            })
    }
}

/// A program that strips objects.
#[derive(Debug)]
pub(super) struct Objcopy {
    path: PathBuf,
    /// Where its libraries are, if not where the system has them.
    libraries: Option<PathBuf>,
    pub(super) version: String,
}

impl Objcopy {
    fn that_works(path: PathBuf, libraries: Option<PathBuf>) -> Option<Self> {
        let mut objcopy = Self { path, libraries, version: String::new() };
        let said = stdout_of(objcopy.command().arg("--version")).ok()?;
        let version = said.lines().find_map(|line| line.split_once("LLVM version "))?.1;
        objcopy.version = format!("LLVM {}", version.trim());
        Some(objcopy)
    }

    /// The program, without arguments.
    pub(super) fn command(&self) -> Command {
        let mut command = Command::new(&self.path);
        if let Some(libraries) = &self.libraries {
            command.env("LD_LIBRARY_PATH", libraries);
        }
        command
    }
}

/// A bpf-linker that can read what the chosen rustc writes.
#[derive(Debug)]
pub(super) struct Linker {
    pub(super) path: PathBuf,
    pub(super) version: String,
    pub(super) llvm: LlvmVersion,
}

impl Linker {
    /// `$BPF_LINKER`, else the one that `--setup` installs, else the one in $PATH.
    pub(super) fn find(rust: &Rust) -> Result<Self> {
        if let Some(path) = env::var_os("BPF_LINKER") {
            return Self::at(PathBuf::from(path), rust);
        }
        let cached = linker_root()?.join("bin/bpf-linker");
        if cached.is_file() {
            return Self::at(cached, rust);
        }
        Self::at(PathBuf::from("bpf-linker"), rust)
            .context("no bpf-linker that fits; `cargo xtask ebpf --setup` installs one")
    }

    pub(super) fn at(path: PathBuf, rust: &Rust) -> Result<Self> {
        let said = stdout_of(Command::new(&path).arg("--version"))?;
        let version = said.trim().trim_start_matches("bpf-linker ").to_owned();
        let llvm = linked_llvm(&path, rust)?;
        fits(llvm, &rust.version, &path)?;
        Ok(Self { path, version, llvm })
    }
}

/// Where `--setup` puts bpf-linker: outside of any checkout, since it takes a minute to build.
pub(crate) fn linker_root() -> Result<PathBuf> {
    let cache = env::var_os("XDG_CACHE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let cache = cache.or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".cache")));
    let cache = cache.context("neither XDG_CACHE_HOME nor HOME is set")?;
    Ok(cache.join(format!("ebpf-netns/bpf-linker-{BPF_LINKER}")))
}

/// The compiler of a toolchain of rustup, if both are here.
pub(super) fn rustup_rustc(toolchain: &str) -> Option<PathBuf> {
    let which =
        stdout_of(Command::new("rustup").args(["which", "--toolchain", toolchain, "rustc"]));
    which.ok().map(|path| PathBuf::from(path.trim()))
}

/// Refuses a linker that could not read the compiler's bitcode.
fn fits(linker: LlvmVersion, rustc: &RustcVersion, path: &Path) -> Result<()> {
    ensure!(
        linker.major >= rustc.llvm.major,
        "{} has LLVM {linker}, older than LLVM {} of {}: it would stop at the compiler's bitcode \
         with \"Invalid record\"; `cargo xtask ebpf --setup` installs one that fits",
        path.display(),
        rustc.llvm,
        rustc.line,
    );
    Ok(())
}

/// The version of LLVM in a bpf-linker: it signs the bitcode that it writes.
fn linked_llvm(linker: &Path, rust: &Rust) -> Result<LlvmVersion> {
    let dir = tempfile::tempdir().context("make a directory for a trial of bpf-linker")?;
    let (source, input, output) =
        (dir.path().join("trial.rs"), dir.path().join("in.bc"), dir.path().join("out.bc"));
    fs::write(&source, "#![feature(no_core)]\n#![no_core]\n").context("write a trial source")?;
    let mut rustc = Command::new(rust.bin("rustc"));
    rustc.env("RUSTC_BOOTSTRAP", "1").args(["--crate-type=lib", "--emit=llvm-bc", "--target"]);
    stdout_of(rustc.arg(TARGET).arg("-o").arg(&input).arg(&source))?;
    let mut link = Command::new(linker);
    stdout_of(link.arg("--emit=llvm-bc").arg("-o").arg(&output).arg(&input)).with_context(
        || format!("{} cannot read what {} writes", linker.display(), rust.version.line),
    )?;
    let bitcode = fs::read(&output).with_context(|| format!("read {}", output.display()))?;
    LlvmVersion::of_bitcode(&bitcode)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rustc(llvm: &str) -> RustcVersion {
        let verbose = format!("rustc 1.95.0\nrelease: 1.95.0\nhost: x\nLLVM version: {llvm}");
        RustcVersion::parse(&verbose).unwrap()
    }

    #[test]
    fn a_linker_older_than_the_compiler_is_refused_with_the_reason() {
        let llvm = |text| LlvmVersion::parse(text).unwrap();
        let path = Path::new("/opt/bpf-linker");
        assert!(fits(llvm("22.1.0"), &rustc("22.1.2"), path).is_ok(), "majors decide");
        assert!(fits(llvm("23.1.0"), &rustc("22.1.2"), path).is_ok(), "newer reads older");
        let error = fits(llvm("21.1.8"), &rustc("22.1.2"), path).unwrap_err().to_string();
        for expected in ["/opt/bpf-linker", "21.1.8", "22.1.2", "Invalid record", "--setup"] {
            assert!(error.contains(expected), "{expected} is missing in: {error}");
        }
    }
}
