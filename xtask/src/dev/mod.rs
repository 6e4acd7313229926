//! `cargo xtask dev-container`: tries the development container where no registry can be reached.
//!
//! What Dockerfile.dev would build is put together from Debian's archive and this machine's Rust,
//! and run on a private engine as compose/dev.yaml would run it. Differences to that are in this
//! file, each with its reason; the files themselves are read and not repeated.

mod dockerfile;
mod rootfs;

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use ebpf_netns_tests::{Engine, EngineOptions, images::Image};

use crate::{ebpf, ui};
use dockerfile::Settings;

/// The image's name in the private engine.
const IMAGE: &str = "ebpf-netns-dev";
/// What needs no word of its own on the command line: the main job, on the machine's engine.
const MAIN_JOB: [&str; 5] = ["cargo", "xtask", "demo", "--engine", "host"];
/// Where `cargo xtask ebpf --setup` has put bpf-linker in the image of Dockerfile.dev.
const CACHE: &str = "/root/.cache/ebpf-netns";
/// What the project does as root, where there are not all capabilities for `--privileged`:
/// attaching to veths; loading programs, mounting and listing namespaces; opening the namespaces
/// of others' processes.
const CAPABILITIES: [&str; 3] = ["NET_ADMIN", "SYS_ADMIN", "SYS_PTRACE"];

/// Try the development container on a private Docker engine, without a registry.
///
/// Makes its root file system from the package list of Dockerfile.dev (with mmdebstrap, kept in
/// target/dev-container), takes Rust from this machine, and runs the demonstration in it against
/// the engine that it runs on.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// What to run in the container instead of the demonstration
    #[arg(last = true)]
    command: Vec<String>,
}

/// Runs the container.
pub(crate) fn run(args: &Args, root: &Path) -> Result<()> {
    let dir = root.join("target/dev-container");
    let dockerfile =
        fs::read_to_string(root.join("Dockerfile.dev")).context("read Dockerfile.dev")?;
    let settings = Settings::parse(&dockerfile).context("read Dockerfile.dev")?;
    ui::heading("The root file system of Dockerfile.dev");
    let tarball = rootfs::tarball(root, &dir)?;
    ui::line(tarball.display());
    ui::heading("A Docker engine of our own, with that image");
    let images = vec![Image::Noshell];
    let engine = Engine::start_with(EngineOptions { images, ..EngineOptions::default() })?;
    let changes = settings.changes.iter().flat_map(|change| ["--change", change]);
    let import = ["import"].into_iter().chain(changes);
    let tarball = tarball.to_string_lossy();
    engine.docker(import.chain([tarball.as_ref(), IMAGE])).context("import the image")?;
    ui::heading("The development container");
    let mut docker = engine.docker_command();
    docker.args(["run", "--rm", "--pid=host", "--network=host", "--cgroupns=host"]);
    docker.args(privileges()?).args(mounts(root, &dir, &settings)?);
    // No way out of the private engine's network: what cargo needs is in this machine's cache.
    docker.args(["--env", "CARGO_NET_OFFLINE=true", IMAGE]);
    let command = &args.command;
    if command.is_empty() {
        docker.args(MAIN_JOB)
    } else {
        docker.args(command)
    };
    ui::run(&mut docker)
}

/// The volumes of compose/dev.yaml, and what the image has not got.
fn mounts(root: &Path, dir: &Path, settings: &Settings) -> Result<Vec<String>> {
    let target = dir.join("target");
    fs::create_dir_all(&target).with_context(|| format!("make {}", target.display()))?;
    let cargo = rootfs::rust_home("CARGO_HOME", ".cargo")?;
    let rustup = rootfs::rust_home("RUSTUP_HOME", ".rustup")?;
    let volume = |from: &Path, to: &str| format!("--volume={}:{to}", from.display());
    let mut mounts = vec![
        volume(root, "/work"),
        volume(&target, "/work/target"),
        volume(&cargo, "/usr/local/cargo"),
        volume(&rustup, "/usr/local/rustup"),
        volume(Path::new("/run/docker.sock"), "/var/run/docker.sock"),
    ];
    for shared in ["/sys/fs/bpf", "/sys/kernel/tracing"] {
        mounts.push(volume(Path::new(shared), shared));
    }
    let linker = ebpf::linker_root()?;
    if let (true, Some(name)) = (linker.is_dir(), linker.file_name()) {
        let place = Path::new(CACHE).join(name);
        mounts.push(volume(&linker, &place.to_string_lossy()));
    }
    for (from, to) in &settings.files {
        mounts.push(format!("{}:ro", volume(&root.join(from), to)));
    }
    Ok(mounts)
}

/// `--privileged`, or as much of it as this machine can give.
fn privileges() -> Result<Vec<String>> {
    let status = fs::read_to_string("/proc/self/status").context("read /proc/self/status")?;
    let last = fs::read_to_string("/proc/sys/kernel/cap_last_cap").context("read cap_last_cap")?;
    if has_every_capability(&status, &last) {
        return Ok(vec!["--privileged".to_owned()]);
    }
    ui::line(format_args!(
        "not --privileged: it asks for every capability, and this machine has not got them all; \
         {} are enough",
        CAPABILITIES.join(", ")
    ));
    let mut options: Vec<_> = CAPABILITIES.iter().map(|name| format!("--cap-add={name}")).collect();
    // What --privileged takes away, too: filters on system calls and hidden parts of /proc.
    for unconfined in ["seccomp", "apparmor", "systempaths"] {
        options.push(format!("--security-opt={unconfined}=unconfined"));
    }
    // And what it makes writable: the tests' own engines make cgroups.
    options.push("--volume=/sys/fs/cgroup:/sys/fs/cgroup".to_owned());
    Ok(options)
}

/// Whether the bounding set in `/proc/self/status` has all that the kernel knows.
fn has_every_capability(status: &str, last: &str) -> bool {
    let set = status.lines().find_map(|line| line.strip_prefix("CapBnd:"));
    let set = set.and_then(|set| u64::from_str_radix(set.trim(), 16).ok());
    let all = last.trim().parse::<u32>().ok().and_then(|last| 2_u64.checked_pow(last + 1));
    matches!((set, all), (Some(set), Some(beyond)) if set >= beyond - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_capability_is_seen() {
        let check = |set: &str, expected: bool| {
            let status = format!("Name:\tx\nCapBnd:\t{set}\n");
            assert_eq!(has_every_capability(&status, "40\n"), expected, "{set}");
        };
        check("000001ffffffffff", true);
        check("000001fffeffffff", false);
        check("", false);
    }
}
