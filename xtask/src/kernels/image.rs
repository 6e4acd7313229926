//! The guest's file system: the tests, the programs that they run, the kernel's modules, and the
//! script that is its first process.

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};
use ebpf_netns_tests::command::stdout_of;

use super::{
    archive::Archive,
    checks::{Check, Plan},
    release::Release,
    report,
    unpacked::{self, Unpacked},
};
use crate::setup;

/// This machine's programs that the tests and the script run.
const PROGRAMS: [&str; 6] = ["bpftool", "busybox", "ip", "kmod", "setpriv", "tc"];
/// Where the test program is in the guest.
const TESTS: &str = "/bin/tests";

/// Mounts what the tests expect, and defines `check NAME COMMAND…`: runs a command with a network
/// of its own and reports how that went. The report goes to the second serial port, apart from the
/// kernel's messages. The end of the output is enough of it: a verifier's log can have megabytes.
const INIT: &str = r#"#!/bin/busybox sh
b=/bin/busybox
export PATH=/bin EBPF_NETNS_TEST_INSIDE=1 EBPF_NETNS_REQUIRE_ROOT=1
$b mount -t proc proc /proc
$b mount -t sysfs sysfs /sys
$b mount -t bpf bpf /sys/fs/bpf
$b mount -t devtmpfs dev /dev
ulimit -l unlimited
exec > /dev/ttyS1 2>&1
check() {
    name=$1
    shift
    echo "@BEGIN $name"
    $b unshare -n $b sh -c '/bin/ip link set lo up && exec "$@"' sh "$@" < /dev/null > /out 2>&1
    status=$?
    $b tail -c 20000 /out
    echo
    echo "@END $status"
}
"#;

/// The file system as the kernel takes it.
pub(super) fn build(plan: &Plan, release: &Release, kernel: &Unpacked) -> Result<Vec<u8>> {
    let mut archive = Archive::default();
    for directory in ["/proc", "/sys", "/dev", "/tmp", "/run"] {
        archive.directory(Path::new(directory))?;
    }
    for name in PROGRAMS {
        let program = setup::find(name).with_context(|| format!("there is no {name}"))?;
        let content = read(&program)?;
        add_program(&mut archive, &Path::new("/bin").join(name), &program, &content)?;
    }
    archive.symlink(Path::new("/bin/insmod"), "kmod")?;
    add_program(&mut archive, Path::new(TESTS), &plan.program, &stripped(&plan.program)?)?;
    // The test program looks for the objects from its own directory.
    archive.directory(&plan.root.join("tests"))?;
    for object in plan.objects() {
        archive.file(object, &read(object)?)?;
    }
    for module in &kernel.modules {
        archive.file(&in_guest(module), &read(module)?)?;
    }
    archive.file(Path::new("/init"), script(plan, release, &kernel.modules).as_bytes())?;
    archive.finish()
}

/// A program and the shared libraries that it takes, each where this machine has it.
fn add_program(archive: &mut Archive, to: &Path, from: &Path, content: &[u8]) -> Result<()> {
    archive.file(to, content)?;
    // A program without shared libraries is none that ldd knows.
    let libraries = stdout_of(Command::new("ldd").arg(from)).unwrap_or_default();
    for library in libraries.split_whitespace().map(Path::new).filter(|word| word.is_absolute()) {
        if !archive.contains(library) {
            archive.file(library, &read(library)?)?;
        }
    }
    Ok(())
}

/// A program without what only debuggers need, which is most of it.
fn stripped(program: &Path) -> Result<Vec<u8>> {
    let smaller = tempfile::NamedTempFile::new().context("make a file for the tests")?;
    let path = smaller.path();
    stdout_of(Command::new("strip").args(["--strip-debug", "-o"]).args([path, program]))?;
    read(path)
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("read {}", path.display()))
}

fn in_guest(module: &Path) -> PathBuf {
    Path::new("/modules").join(unpacked::name(module))
}

/// The guest's first process.
fn script(plan: &Plan, release: &Release, modules: &[PathBuf]) -> String {
    let mut script = INIT.replace("@BEGIN", report::BEGIN).replace("@END", report::END);
    let mut check = |name: &str, command: &str| {
        // Writing to a string cannot fail.
        writeln!(script, "check '{name}' {command}").ok();
    };
    for module in modules {
        let name = format!("module {}", unpacked::name(module));
        check(&name, &format!("insmod '{}'", in_guest(module).display()));
    }
    for item in plan.on(release) {
        let command = match item {
            Check::Test { name } => {
                format!("{TESTS} '{name}' --exact --nocapture --test-threads=1")
            }
            Check::Object { file } => {
                let pins = file.file_stem().unwrap_or_default().display();
                format!("bpftool prog loadall '{}' '/sys/fs/bpf/{pins}'", file.display())
            }
        };
        let command = match item.capabilities(release) {
            Some(set) => format!("/bin/setpriv --bounding-set {set} --inh-caps -all {command}"),
            None => command,
        };
        check(&item.name(), &command);
    }
    script.push_str("echo\n$b poweroff -f\n");
    script
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_script_does_each_check_once_after_the_modules() {
        let plan = Plan {
            root: PathBuf::from("/r"),
            program: PathBuf::from("/r/x"),
            checks: vec![
                Check::Test { name: "a_test".to_owned() },
                Check::Object { file: PathBuf::from("/r/pass.o") },
                Check::Object { file: PathBuf::from("/r/pass-direct.o") },
            ],
        };
        let release = Release::of_package("linux-image-6.12.1-cloud-amd64").unwrap();
        let script = script(&plan, &release, &[PathBuf::from("/k/veth.ko.xz")]);
        let privileged = "/bin/setpriv --bounding-set -all,+bpf,+net_admin";
        let checks: Vec<_> = script.lines().filter(|line| line.starts_with("check '")).collect();
        assert_eq!(
            checks,
            [
                "check 'module veth.ko.xz' insmod '/modules/veth.ko.xz'".to_owned(),
                "check 'test a_test' /bin/tests 'a_test' --exact --nocapture --test-threads=1"
                    .to_owned(),
                format!(
                    "check 'load pass.o' {privileged} --inh-caps -all \
                     bpftool prog loadall '/r/pass.o' '/sys/fs/bpf/pass'"
                ),
                format!(
                    "check 'load pass-direct.o' {privileged},+perfmon --inh-caps -all \
                     bpftool prog loadall '/r/pass-direct.o' '/sys/fs/bpf/pass-direct'"
                ),
            ]
        );
        for marker in [report::BEGIN, report::END] {
            assert!(script.contains(&format!("echo \"{marker} ")), "the report knows {marker}");
        }
    }
}
