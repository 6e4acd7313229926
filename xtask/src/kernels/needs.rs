//! The programs that building an image and booting it take.

use std::{
    env,
    path::PathBuf,
    process::{Command, Stdio},
};

use anyhow::{Result, ensure};

use crate::{setup, ui};

/// Programs and the Debian packages that have them.
const NEEDS: [(&str, &str); 10] = [
    ("apt-get", "apt"),
    ("bpftool", "bpftool"),
    ("busybox", "busybox-static"),
    ("depmod", "kmod"),
    ("dpkg", "dpkg"),
    ("ip", "iproute2"),
    ("ldd", "libc-bin"),
    ("qemu-system-x86_64", "qemu-system-x86"),
    ("strip", "binutils"),
    ("tc", "iproute2"),
];

/// Installs what is missing.
pub(super) fn install_missing() -> Result<()> {
    ensure!(
        cfg!(target_arch = "x86_64"),
        "the kernels are x86-64 ones, and the tests are built for this machine, which is another"
    );
    let mut packages = missing();
    packages.dedup();
    if packages.is_empty() {
        return Ok(());
    }
    let list = packages.join(" ");
    ensure!(!packages.contains(&"apt"), "this is not Debian: there is no apt-get");
    ensure!(setup::is_root(), "these packages are missing: {list}; install them, or run as root");
    ui::heading(format_args!("Installing {list}"));
    for arguments in
        [vec!["update"], [vec!["install", "--yes", "--no-install-recommends"], packages].concat()]
    {
        let mut command = Command::new("apt-get");
        command.args(["-q", "-o", "Dpkg::Use-Pty=0", "-o", "DPkg::Lock::Timeout=120"]);
        command.args(arguments).env("DEBIAN_FRONTEND", "noninteractive");
        ui::run(command.stdin(Stdio::null()))?;
    }
    let missing = missing();
    ensure!(missing.is_empty(), "installed, but still missing: {}", missing.join(" "));
    Ok(())
}

/// Where a program is, also where the path is an ordinary user's.
pub(super) fn find(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin"].map(PathBuf::from))
        .map(|directory| directory.join(program))
        .find(|file| file.is_file())
}

/// The packages of the programs that are not here.
fn missing() -> Vec<&'static str> {
    let missing = NEEDS.iter().filter(|(program, _)| find(program).is_none());
    missing.map(|(_, package)| *package).collect()
}
