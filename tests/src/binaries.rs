//! The programs under test: where they are, and that they are built.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use anyhow::{Context as _, Result, anyhow};

use crate::command;

/// The programs that tests start, each a file of cargo's output directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Binary {
    /// `ebpf-netns`: the user's command.
    Netns,
    /// `ebpf-netns-plugin`: the daemon.
    Plugin,
    /// `ebpf-netns-runtime`: the OCI runtime.
    Runtime,
    /// `ebpf-netns-probe`: this crate's sender and receiver of test traffic.
    Probe,
    /// `ebpf-netns-confined`: this crate's process in the daemon's sandbox.
    Confined,
}

impl Binary {
    fn file_name(self) -> &'static str {
        match self {
            Self::Netns => "ebpf-netns",
            Self::Plugin => "ebpf-netns-plugin",
            Self::Runtime => "ebpf-netns-runtime",
            Self::Probe => "ebpf-netns-probe",
            Self::Confined => "ebpf-netns-confined",
        }
    }
}

/// The packages of the programs under test, as arguments of `cargo build`.
pub const PRODUCT: &[&str] = &["-p", "ebpf-netns", "-p", "ebpf-netns-plugin", "--bins"];

/// Where programs that need no library are built for, in cargo's output directory.
const STANDALONE: &str = if cfg!(target_arch = "aarch64") {
    "aarch64-unknown-linux-musl"
} else {
    "x86_64-unknown-linux-musl"
};

/// Set to `1` by whoever has built all programs, so that tests do not ask cargo again.
pub const PREBUILT: &str = "EBPF_NETNS_PREBUILT";

const PROBE: &[&str] = &["-p", "ebpf-netns-tests", "--bins"];

/// The path of `binary`, built if it is not or no longer up to date.
///
/// # Errors
///
/// When the build fails.
pub fn path(binary: Binary) -> Result<PathBuf> {
    static PRODUCT_BUILT: OnceLock<Result<(), String>> = OnceLock::new();
    static PROBE_BUILT: OnceLock<Result<(), String>> = OnceLock::new();
    let (built, packages) = match binary {
        Binary::Netns | Binary::Plugin | Binary::Runtime => (&PRODUCT_BUILT, PRODUCT),
        Binary::Probe | Binary::Confined => (&PROBE_BUILT, PROBE),
    };
    built
        .get_or_init(|| build(packages).map_err(|error| format!("{error:#}")))
        .as_ref()
        .map_err(|error| anyhow!("{error}"))?;
    Ok(output_directory()?.join(binary.file_name()))
}

/// The arguments of `cargo build` for the programs that need no library. Nobody debugs them, and packages
/// of them are made; as flags and not as a profile, so that what runs while building is shared.
#[must_use]
pub fn standalone_arguments() -> Vec<String> {
    let flags = format!("target.{STANDALONE}.rustflags=[\"-Cdebuginfo=0\",\"-Cstrip=symbols\"]");
    let target = ["--target", STANDALONE, "--config", &flags];
    PRODUCT.iter().chain(&target).map(|&word| word.to_owned()).collect()
}

/// Whether Rust's standard library for programs that need no library is there.
///
/// # Errors
///
/// When the compiler does not tell where it has its libraries.
pub fn can_stand_alone() -> Result<bool> {
    let sysroot = command::stdout_of(Command::new("rustc").args(["--print", "sysroot"]))?;
    Ok(Path::new(&sysroot).join("lib/rustlib").join(STANDALONE).join("lib").is_dir())
}

/// The directory with the programs as they are packed: linked statically, and built if they are not or
/// no longer up to date.
///
/// # Errors
///
/// When the build fails.
pub fn standalone() -> Result<PathBuf> {
    static BUILT: OnceLock<Result<(), String>> = OnceLock::new();
    BUILT
        .get_or_init(|| {
            let arguments = standalone_arguments();
            let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
            build(&arguments).map_err(|error| format!("{error:#}"))
        })
        .as_ref()
        .map_err(|error| anyhow!("{error}; `rustup target add {STANDALONE}` may be missing"))?;
    let target = output_directory()?.parent().context("it has a parent")?.join(STANDALONE);
    Ok(target.join("debug"))
}

/// A directory for what is expensive to make and for what should outlive a test.
pub(crate) fn cache() -> Result<PathBuf> {
    let directory = output_directory()?.join("harness");
    fs::create_dir_all(&directory).with_context(|| format!("create {}", directory.display()))?;
    Ok(directory)
}

/// Cargo's target directory, which holds the output directories of all profiles.
pub(crate) fn target_directory() -> Result<PathBuf> {
    let output = output_directory()?;
    let target = output.parent().context("the output directory has no parent")?;
    Ok(target.to_path_buf())
}

/// Cargo's output directory, for example `target/debug`: the parent of the running program's
/// directory when that is a test's (`deps`), otherwise that directory.
fn output_directory() -> Result<PathBuf> {
    let program = std::env::current_exe().context("find the running program")?;
    program
        .ancestors()
        .skip(1)
        .find(|directory| !directory.ends_with("deps"))
        .map(Path::to_path_buf)
        .with_context(|| format!("{} has no parent directory", program.display()))
}

fn build(packages: &[&str]) -> Result<()> {
    if std::env::var_os(PREBUILT).is_some_and(|value| value == "1") {
        return Ok(());
    }
    let (output, target) = (output_directory()?, target_directory()?);
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo
        .args(["build", "--quiet"])
        .args(packages)
        .arg("--target-dir")
        .arg(target)
        .arg("--manifest-path")
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml"));
    // What is packed is tried as it is built for tests.
    if output.ends_with("release") && !packages.contains(&STANDALONE) {
        cargo.arg("--release");
    }
    command::stdout_of(&mut cargo).map(drop).context("build the programs under test")
}
