//! The host's settings, what this process may, and what daemons left.

use std::fs;
use std::io;
use std::path::Path;

use nix::errno::Errno;
use nix::sys::statfs::{FsType, SECURITYFS_MAGIC, TRACEFS_MAGIC, statfs};

use crate::doctor::{BpfFs, Host, Leftovers, Seen, Unseen};
use crate::error::{chain, of_system};
use crate::gate::{Condition, Gate, GateError};
use crate::kernel;
use crate::sandbox;

const BTF: &str = "/sys/kernel/btf/vmlinux";
const SECURITYFS: &str = "/sys/kernel/security";
const LOCKDOWN: &str = "/sys/kernel/security/lockdown";
/// What `/proc/self/uid_map` says of the first user namespace, in which every user is who it is.
const EVERYBODY: [&str; 3] = ["0", "0", "4294967295"];

pub(super) fn look(release: &str, pins: &Path) -> Host {
    Host {
        btf: Path::new(BTF).exists(),
        tracefs: kernel::TRACEFS.iter().any(|path| is_of(path, TRACEFS_MAGIC)),
        harden: harden(),
        unprivileged: read("/proc/sys/kernel/unprivileged_bpf_disabled"),
        lockdown: lockdown(),
        bpf_fs: bpf_fs(pins),
        held: sandbox::names_of_held().map_err(|error| Unseen::failed(error.to_string())),
        needed: sandbox::names_of_needed(release),
        first_user_namespace: fs::read_to_string("/proc/self/uid_map")
            .is_ok_and(|map| map.split_whitespace().eq(EVERYBODY)),
    }
}

pub(super) fn leftovers(pins: &Path) -> Leftovers {
    let layouts = kernel::layouts(pins).map_err(|error| unseen(&error));
    let looked = Gate::open().and_then(|gate| gate.inspect());
    let foreign_gate = matches!(looked, Err(GateError::NotOurs));
    let gate = looked.map_err(|error| match error.errno() {
        Some(Errno::EPERM) => Unseen::denied("nftables takes CAP_NET_ADMIN"),
        _ => Unseen::failed(chain(&error)),
    });
    let gate = if foreign_gate { Ok(Condition::Missing) } else { gate };
    Leftovers { layouts, gate, foreign_gate }
}

/// Only the host's network namespace has this file, whatever it holds for.
fn harden() -> Seen<String> {
    let path = "/proc/sys/net/core/bpf_jit_harden";
    read(path)?.ok_or_else(|| Unseen::failed(format!("there is no {path} in this namespace")))
}

/// A kernel without lockdown has no such file; without the file system nobody has.
fn lockdown() -> Seen<Option<String>> {
    if !is_of(SECURITYFS, SECURITYFS_MAGIC) {
        return Err(Unseen::failed(format!("{SECURITYFS} is not mounted")));
    }
    Ok(read(LOCKDOWN)?.as_deref().and_then(chosen))
}

fn is_of(path: &str, kind: FsType) -> bool {
    statfs(path).is_ok_and(|system| system.filesystem_type() == kind)
}

/// A BPF file system is for root alone, so that what is below it does not tell whether it is one.
fn bpf_fs(pins: &Path) -> BpfFs {
    BpfFs {
        directory: pins.to_owned(),
        mounted: kernel::is_on_bpf_fs(pins),
        usual: pins.parent() == Path::new(kernel::DEFAULT_DIRECTORY).parent(),
    }
}

/// What a file of the kernel's says; nothing where the kernel has no such file.
fn read(path: &str) -> Seen<Option<String>> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text.trim().to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(unseen_file(path, &error)),
    }
}

fn unseen_file(path: &str, error: &io::Error) -> Unseen {
    match error.kind() {
        io::ErrorKind::PermissionDenied => Unseen::denied(format!("only root may read {path}")),
        _ => Unseen::failed(format!("read {path}: {error}")),
    }
}

fn unseen(error: &(dyn std::error::Error + 'static)) -> Unseen {
    match of_system(error).map(io::Error::kind) {
        Some(io::ErrorKind::PermissionDenied) => Unseen::denied(chain(error)),
        _ => Unseen::failed(chain(error)),
    }
}

/// The one in brackets, as in `none [integrity] confidentiality`.
fn chosen(levels: &str) -> Option<String> {
    let (_, rest) = levels.split_once('[')?;
    rest.split_once(']').map(|(level, _)| level.to_owned())
}
