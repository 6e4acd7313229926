//! `cargo xtask ebpf --setup`: installs what building the kernel programs takes.
//!
//! Each step looks first and does nothing where the thing is there already.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};
use ebpf_netns_tests::command::stdout_of;

use super::toolchain::{BPF_LINKER, Linker, RUST, Rust, Toolchain, linker_root, rustup_rustc};
use crate::ui;

/// Debian's Rust with its sources, for machines that rustup cannot reach its server from.
const DEBIAN_RUST: [&str; 3] = ["rustc-web", "cargo-web", "rust-web-src"];

/// Installs Rust with its sources, LLVM's libraries and bpf-linker, as far as they are missing.
pub(super) fn install_all() -> Result<()> {
    let rust = rust()?;
    ui::line(format_args!("rust: {} in {}", rust.version.line, rust.sysroot.display()));
    let linker = match Linker::find(&rust) {
        Ok(linker) if linker.version == BPF_LINKER => linker,
        Ok(linker) => {
            ui::line(format_args!("bpf-linker: {}, want {BPF_LINKER}", linker.version));
            install_linker(&rust)?
        }
        Err(reason) => {
            ui::line(format_args!("bpf-linker: {reason:#}"));
            install_linker(&rust)?
        }
    };
    let Linker { path, version, llvm } = &linker;
    ui::line(format_args!("bpf-linker: {version} with LLVM {llvm}, {}", path.display()));
    let toolchain = Toolchain { rust, linker };
    let objcopy = toolchain.rust.objcopy()?;
    ui::line(format_args!("objcopy: {}", objcopy.version));
    if let Some(reason) = toolchain.not_pinned() {
        ui::line(format_args!("note: {reason}; objects built here may differ from the committed"));
    }
    Ok(())
}

/// The pinned toolchain from rustup, else whatever fits, else Debian's.
fn rust() -> Result<Rust> {
    if env::var_os("RUSTC").is_none()
        && let Err(reason) = rustup()
    {
        ui::line(format_args!("rustup: {reason:#}; trying without"));
    }
    if let Ok(rust) = Rust::find() {
        return Ok(rust);
    }
    apt(&DEBIAN_RUST).context("no Rust toolchain with rust-src, and Debian's was not installed")?;
    Rust::find()
}

/// Has rustup install the pinned toolchain and its sources.
fn rustup() -> Result<()> {
    stdout_of(Command::new("rustup").arg("--version")).context("rustup is not installed")?;
    if rustup_rustc(RUST).is_none() {
        let install = ["toolchain", "install", RUST, "--profile", "minimal"];
        let components = ["--component", "rust-src", "--component", "clippy"];
        return ui::run(Command::new("rustup").args(install).args(components));
    }
    let installed = ["component", "list", "--toolchain", RUST, "--installed"];
    let installed = stdout_of(Command::new("rustup").args(installed)).unwrap_or_default();
    if installed.lines().any(|line| line.trim() == "rust-src") {
        return Ok(());
    }
    ui::run(Command::new("rustup").args(["component", "add", "rust-src", "--toolchain", RUST]))
}

/// Builds bpf-linker against an LLVM that can read what this compiler writes.
fn install_linker(rust: &Rust) -> Result<Linker> {
    let major = rust.version.llvm.major;
    let prefix = llvm_prefix(major)?;
    let root = linker_root()?;
    let mut cargo = rust.cargo();
    cargo.env("LLVM_PREFIX", &prefix).args(["install", "bpf-linker", "--version", BPF_LINKER]);
    cargo.args(["--locked", "--force", "--no-default-features"]);
    cargo.args(["--features", &format!("llvm-{major}"), "--root"]);
    ui::line("building bpf-linker; it takes a minute or two, once");
    ui::run(cargo.arg(&root)).context("build bpf-linker")?;
    Linker::at(root.join("bin/bpf-linker"), rust)
}

/// Where LLVM's development files are: `$LLVM_PREFIX`, else Debian's directory, installed if need be.
fn llvm_prefix(major: u32) -> Result<PathBuf> {
    let config = |prefix: &Path| prefix.join("bin/llvm-config");
    if let Some(prefix) = env::var_os("LLVM_PREFIX").map(PathBuf::from) {
        let said = stdout_of(Command::new(config(&prefix)).arg("--version"))?;
        let is = said.trim().split('.').next().and_then(|text| text.parse().ok());
        ensure!(
            is == Some(major),
            "LLVM_PREFIX={} has LLVM {}; bpf-linker must be built with LLVM {major}, that of the \
             compiler: an older one stops at the compiler's bitcode with \"Invalid record\"",
            prefix.display(),
            said.trim(),
        );
        return Ok(prefix);
    }
    let prefix = PathBuf::from(format!("/usr/lib/llvm-{major}"));
    let (llvm, polly) = (format!("llvm-{major}-dev"), format!("libpolly-{major}-dev"));
    let packages = [llvm.as_str(), polly.as_str(), "libzstd-dev"];
    if !installed(&packages) {
        apt(&packages)?;
    }
    ensure!(config(&prefix).is_file(), "{} is not there", config(&prefix).display());
    Ok(prefix)
}

/// Whether dpkg has all of these.
fn installed(packages: &[&str]) -> bool {
    let query = ["--show", "--showformat", "${db:Status-Status}\n"];
    let states = stdout_of(Command::new("dpkg-query").args(query).args(packages));
    states.is_ok_and(|states| states.lines().all(|state| state == "installed"))
}

/// Installs Debian packages, or says what to do where that cannot be done.
fn apt(packages: &[&str]) -> Result<()> {
    let list = packages.join(" ");
    if stdout_of(Command::new("apt-get").arg("--version")).is_err() {
        bail!(
            "this is not Debian: install what Debian calls {list}, and set LLVM_PREFIX to LLVM's \
             directory (the one with bin/llvm-config)"
        );
    }
    if !nix::unistd::geteuid().is_root() {
        bail!("not root: run `sudo apt-get install {list}`, then this again");
    }
    let get = |arguments: &[&str]| {
        let mut apt = Command::new("apt-get");
        apt.env("DEBIAN_FRONTEND", "noninteractive").args(arguments);
        ui::run(&mut apt)
    };
    get(&["update", "--quiet"])?;
    let install = ["install", "--yes", "--quiet", "--no-install-recommends"];
    get(&[&install, packages].concat()).with_context(|| format!("install {list}"))
}
