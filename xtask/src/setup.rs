//! `cargo xtask setup`: the packages that the tests and the demonstration need.
//!
//! Does nothing where nothing is missing, and never starts a service: nginx and Docker are wanted
//! as programs.

use std::{
    env, fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, ensure};

use crate::{newer, ui};

/// A program, or the path of a file, and the Debian package that has it.
pub(crate) struct Need {
    pub(crate) program: &'static str,
    pub(crate) package: &'static str,
}

pub(crate) const NEEDS: &[Need] = &[
    Need { program: "bash", package: "bash" },
    Need { program: "bpftool", package: "bpftool" },
    Need { program: "busybox", package: "busybox-static" },
    Need { program: "clang", package: "clang" },
    Need { program: "curl", package: "curl" },
    Need { program: "deb-systemd-helper", package: "init-system-helpers" },
    Need { program: "docker", package: "docker.io" },
    Need { program: "dockerd", package: "docker.io" },
    Need { program: "dpkg-deb", package: "dpkg" },
    Need { program: "find", package: "findutils" },
    Need { program: "findmnt", package: "util-linux" },
    Need { program: "flock", package: "util-linux" },
    Need { program: "ip", package: "iproute2" },
    Need { program: "iptables", package: "iptables" },
    Need { program: "jq", package: "jq" },
    Need { program: "ldd", package: "libc-bin" },
    Need { program: "nft", package: "nftables" },
    Need { program: "nginx", package: "nginx-light" },
    Need { program: "nsenter", package: "util-linux" },
    Need { program: "promtool", package: "prometheus" },
    Need { program: "redis-server", package: "redis-server" },
    Need { program: "strace", package: "strace" },
    Need { program: "systemd-analyze", package: "systemd" },
    Need { program: "tar", package: "tar" },
    Need { program: "tcpdump", package: "tcpdump" },
    Need { program: "tshark", package: "tshark" },
    Need { program: "wget", package: "wget" },
    Need { program: "/usr/include/bpf/bpf_helpers.h", package: "libbpf-dev" },
];

/// The cgroup controllers that Docker uses.
const CGROUPS: [&str; 8] =
    ["blkio", "cpu", "cpuacct", "cpuset", "devices", "freezer", "memory", "pids"];

/// Asked by Debian's packages whether they may start their services.
const POLICY: &str = "/usr/sbin/policy-rc.d";

/// Installs what is missing.
pub(crate) fn run() -> Result<()> {
    provide(NEEDS)?;
    if is_root() && !Path::new("/sys/fs/cgroup/cgroup.controllers").exists() {
        mount_cgroups()?;
    }
    newer::provide()
}

/// Installs those of these programs that are missing.
pub(crate) fn provide(needs: &[Need]) -> Result<()> {
    let missing = missing_packages(needs);
    if missing.is_empty() {
        ui::line("every program that is needed is here");
        return Ok(());
    }
    install(&missing)?;
    let missing = missing_packages(needs);
    ensure!(missing.is_empty(), "installed, but still missing: {}", missing.join(" "));
    Ok(())
}

/// Whether this is root.
pub(crate) fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// The packages of the programs that are not here, each once, in order.
fn missing_packages(needs: &[Need]) -> Vec<&'static str> {
    let mut packages: Vec<_> =
        needs.iter().filter(|need| !is_here(need)).map(|need| need.package).collect();
    packages.dedup();
    packages
}

fn is_here(need: &Need) -> bool {
    if need.program.starts_with('/') {
        return Path::new(need.program).exists();
    }
    match find(need.program) {
        // The other busybox package needs shared libraries, which the images do not have.
        Some(program) if need.program == "busybox" => is_static(&program),
        found => found.is_some(),
    }
}

/// Where a program is, also where the path is an ordinary user's.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin"].map(PathBuf::from))
        .map(|directory| directory.join(program))
        .find(|file| fs::metadata(file).is_ok_and(|file| file.permissions().mode() & 0o111 != 0))
}

fn is_static(program: &Path) -> bool {
    let ldd = Command::new("ldd").arg(program).stdout(Stdio::null()).stderr(Stdio::null()).status();
    ldd.is_ok_and(|status| !status.success())
}

fn install(packages: &[&str]) -> Result<()> {
    let list = packages.join(" ");
    ui::heading(format_args!("Installing {list}"));
    ensure!(
        find("apt-get").is_some(),
        "this is not Debian (there is no apt-get): install the programs of these packages: {list}"
    );
    ensure!(is_root(), "these packages are missing: {list}; run `cargo xtask setup` as root");
    let _services = ServicesOff::new()?;
    ui::run(&mut apt_get(&["update"]))?;
    ui::run(&mut apt_get(&[&["install", "--yes", "--no-install-recommends"], packages].concat()))?;
    // From Debian 13 on, the client is a package of its own.
    if packages.contains(&"docker.io") && find("docker").is_none() {
        let install = ["install", "--yes", "--no-install-recommends", "docker-cli"];
        ui::run(&mut apt_get(&install))?;
    }
    // Nobody asked for a server at the next boot.
    for (package, service) in [
        ("nginx-light", "nginx.service"),
        ("prometheus", "prometheus.service"),
        ("redis-server", "redis-server.service"),
    ] {
        if packages.contains(&package) && find("systemctl").is_some() {
            ui::run(Command::new("systemctl").args(["--quiet", "disable", service]))?;
        }
    }
    Ok(())
}

/// `apt-get` without questions.
fn apt_get(arguments: &[&str]) -> Command {
    let mut command = Command::new("apt-get");
    command
        .args(["-q", "-o", "Dpkg::Use-Pty=0", "-o", "DPkg::Lock::Timeout=120"])
        .args(arguments)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdin(Stdio::null());
    command
}

/// While it lives, what is installed does not start its services.
struct ServicesOff {
    ours: bool,
}

impl ServicesOff {
    fn new() -> Result<Self> {
        let ours = !Path::new(POLICY).exists();
        if ours {
            fs::write(POLICY, "#!/bin/sh\nexit 101\n")
                .and_then(|()| fs::set_permissions(POLICY, fs::Permissions::from_mode(0o755)))
                .with_context(|| format!("write {POLICY}"))?;
        }
        Ok(Self { ours })
    }
}

impl Drop for ServicesOff {
    fn drop(&mut self) {
        if self.ours {
            drop(fs::remove_file(POLICY));
        }
    }
}

/// Mounts the cgroup hierarchies that Docker needs, on a machine whose init system did not.
fn mount_cgroups() -> Result<()> {
    let mounted = fs::read_to_string("/proc/mounts").context("read /proc/mounts")?;
    let controllers = fs::read_to_string("/proc/cgroups").context("read /proc/cgroups")?;
    if !mounted.lines().any(|mount| mount.split(' ').nth(1) == Some("/sys/fs/cgroup")) {
        let options = ["-t", "tmpfs", "-o", "mode=755", "tmpfs", "/sys/fs/cgroup"];
        ui::run(Command::new("mount").args(options))?;
    }
    for name in controllers.lines().filter_map(enabled_controller) {
        if CGROUPS.contains(&name) && !mounted.lines().any(|mount| is_hierarchy_of(mount, name)) {
            let target = format!("/sys/fs/cgroup/{name}");
            fs::create_dir_all(&target).with_context(|| format!("create {target}"))?;
            ui::run(Command::new("mount").args(["-t", "cgroup", "-o", name, "cgroup", &target]))?;
        }
    }
    Ok(())
}

/// Whether a line of `/proc/mounts` is the hierarchy of a controller; it may share it with others.
fn is_hierarchy_of(mount: &str, controller: &str) -> bool {
    let fields: Vec<_> = mount.split(' ').collect();
    fields.get(2) == Some(&"cgroup")
        && fields.get(3).is_some_and(|options| options.split(',').any(|name| name == controller))
}

/// The name in a line of `/proc/cgroups`: name, hierarchy, count, enabled.
fn enabled_controller(line: &str) -> Option<&str> {
    let mut fields = line.split_whitespace();
    let name = fields.next().filter(|name| !name.starts_with('#'))?;
    (fields.nth(2)? == "1").then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hierarchy_is_told_by_its_options() {
        let mount = "cgroup /sys/fs/cgroup/cpu,cpuacct cgroup rw,relatime,cpu,cpuacct 0 0";
        assert!(is_hierarchy_of(mount, "cpuacct"), "it has cpuacct");
        assert!(!is_hierarchy_of(mount, "cpuset"), "it has no cpuset");
    }

    #[test]
    fn only_enabled_controllers_are_mounted() {
        for (line, expected) in [
            ("#subsys_name\thierarchy\tnum_cgroups\tenabled", None),
            ("devices\t5\t12\t1", Some("devices")),
            ("hugetlb\t0\t1\t0", None),
        ] {
            assert_eq!(enabled_controller(line), expected, "{line}");
        }
    }
}
