//! Capabilities: the daemon keeps those that loading and attaching take, and can gain no others.
//!
//! They belong to a thread, so this comes before there is a second one.

use std::collections::BTreeSet;
use std::fs;
use std::io;

use rustix::io::Errno;
use rustix::system::uname;
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, capability_is_in_bounding_set,
    clear_ambient_capability_set, remove_capability_from_bounding_set, set_capabilities,
    set_no_new_privs,
};

use super::SandboxError;

/// The first kernel with `CAP_BPF`, which was a part of `CAP_SYS_ADMIN` before.
const BPF_SINCE: Release = (5, 8);
/// The first kernel that verifies the programs without `CAP_PERFMON`.
const WITHOUT_PERFMON_SINCE: Release = (6, 8);
/// What a kernel may ask for that has `CAP_BPF`: a unit that is made for all of them grants this.
const GRANTED_FOR_ANY: CapabilitySet =
    CapabilitySet::BPF.union(CapabilitySet::NET_ADMIN).union(CapabilitySet::PERFMON);

/// Major and minor version of a kernel.
pub type Release = (u32, u32);

/// What the process can do from now on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// What it has, and all that it has.
    pub kept: CapabilitySet,
    /// Whether the bounding set, too, has no more than some kernel asks for. `CAP_SETPCAP` is what
    /// reducing it takes.
    pub bounded: bool,
}

impl Capabilities {
    /// Whether it has more than the kernel asks for, since what it was given is no finer.
    #[must_use]
    pub fn coarse(&self) -> bool {
        running() >= BPF_SINCE && self.kept.contains(CapabilitySet::SYS_ADMIN)
    }

    /// Their names, as in `CAP_BPF CAP_NET_ADMIN`.
    #[must_use]
    pub fn names(&self) -> String {
        names(self.kept)
    }
}

/// Gives up every capability but those that the daemon needs, and `CAP_PERFMON` if that is to be
/// kept and there, for ever.
///
/// # Errors
///
/// When one that is needed is missing, which the error names, or there are other threads already.
pub fn drop_capabilities(keeps_perfmon: bool) -> Result<Capabilities, SandboxError> {
    let failed = |what| move |source: Errno| SandboxError::System { what, source: source.into() };
    only_thread()?;
    let mut needed = require_capabilities()?;
    if keeps_perfmon {
        let held = capabilities(None).map_err(failed("read the capabilities"))?.permitted;
        needed |= held & CapabilitySet::PERFMON;
    }
    clear_ambient_capability_set().map_err(failed("clear the ambient capabilities"))?;
    let bounded = bound(needed).map_err(failed("reduce the capability bounding set"))?;
    // Nothing is executed, so nothing is to be inherited.
    let sets = CapabilitySets {
        effective: needed,
        permitted: needed,
        inheritable: CapabilitySet::empty(),
    };
    set_capabilities(None, sets).map_err(failed("give up capabilities"))?;
    set_no_new_privs(true).map_err(failed("set no_new_privs"))?;
    Ok(Capabilities { kept: needed, bounded })
}

/// Looks whether there is what the daemon needs, which is returned.
///
/// # Errors
///
/// When a capability is missing, which the error names.
pub fn require_capabilities() -> Result<CapabilitySet, SandboxError> {
    let failed = |source: Errno| SandboxError::System {
        what: "read the capabilities",
        source: source.into(),
    };
    let held = capabilities(None).map_err(failed)?.permitted;
    let needed = needed_of(running(), held);
    if held.contains(needed) {
        Ok(needed)
    } else {
        Err(SandboxError::MissingCapability { names: names(needed - held) })
    }
}

/// The names of what the daemon needs on a kernel of this release, with what this process has.
#[must_use]
pub fn names_of_needed(release: &str) -> Vec<String> {
    let held = capabilities(None).map_or(CapabilitySet::empty(), |sets| sets.effective);
    let needed = needed_of(parse(release).unwrap_or(BPF_SINCE), held);
    needed.iter_names().map(|(name, _)| format!("CAP_{name}")).collect()
}

/// The names of what this process has.
///
/// # Errors
///
/// When the system does not tell.
pub fn names_of_held() -> io::Result<BTreeSet<String>> {
    let held = capabilities(None)?.effective;
    Ok(held.iter_names().map(|(name, _)| format!("CAP_{name}")).collect())
}

/// What the daemon needs on such a kernel.
fn needed(kernel: Release) -> CapabilitySet {
    if kernel < BPF_SINCE {
        return CapabilitySet::SYS_ADMIN | CapabilitySet::NET_ADMIN;
    }
    let needed = CapabilitySet::BPF | CapabilitySet::NET_ADMIN;
    if kernel < WITHOUT_PERFMON_SINCE {
        return needed | CapabilitySet::PERFMON;
    }
    needed
}

/// What the daemon needs on such a kernel and keeps, of what it was given.
///
/// An engine may not know `CAP_BPF` and be able to give only what had it before: Docker until 23. The
/// kernel takes that for it.
fn needed_of(kernel: Release, held: CapabilitySet) -> CapabilitySet {
    let (needed, instead) = (needed(kernel), CapabilitySet::SYS_ADMIN | CapabilitySet::NET_ADMIN);
    if !held.contains(needed) && held.contains(instead) { instead } else { needed }
}

/// Takes all but these from the bounding set, if permitted; whether it has no more than it may.
fn bound(needed: CapabilitySet) -> Result<bool, Errno> {
    let mut bounded = true;
    for capability in (0..u64::BITS).map(|bit| CapabilitySet::from_bits_retain(1 << bit)) {
        match capability_is_in_bounding_set(capability) {
            Ok(true) if !needed.contains(capability) => {}
            Ok(_) => continue,
            // The kernel has no more.
            Err(Errno::INVAL) => break,
            Err(error) => return Err(error),
        }
        match remove_capability_from_bounding_set(capability) {
            Ok(()) => {}
            Err(Errno::PERM) => bounded &= GRANTED_FOR_ANY.contains(capability),
            Err(error) => return Err(error),
        }
    }
    Ok(bounded)
}

/// Other threads would keep what they have.
fn only_thread() -> Result<(), SandboxError> {
    let failed = |source: io::Error| SandboxError::System { what: "list the threads", source };
    let threads = fs::read_dir("/proc/self/task").map_err(failed)?.count();
    if threads == 1 { Ok(()) } else { Err(SandboxError::TooLate { threads }) }
}

/// The kernel that runs.
#[must_use]
pub fn running() -> Release {
    // An unknown kernel is taken for an old one that has CAP_BPF.
    parse(&uname().release().to_string_lossy()).unwrap_or(BPF_SINCE)
}

/// `6.1.0-13-amd64` is 6.1.
#[must_use]
pub fn parse(release: &str) -> Option<Release> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

fn names(set: CapabilitySet) -> String {
    let names = set.iter_names().map(|(name, _)| format!("CAP_{name}"));
    names.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kernel_leaves_what_it_needs_and_no_more() {
        let old = CapabilitySet::SYS_ADMIN | CapabilitySet::NET_ADMIN;
        let with_perfmon = CapabilitySet::BPF | CapabilitySet::NET_ADMIN | CapabilitySet::PERFMON;
        let new = with_perfmon - CapabilitySet::PERFMON;
        for (release, expected) in [
            ("5.4.0-150-generic", old),
            ("5.7.19", old),
            ("5.8.0", with_perfmon),
            ("5.10.0-28-amd64", with_perfmon),
            ("5.15.167.4-microsoft-standard-WSL2", with_perfmon),
            ("6.1.0-13-amd64", with_perfmon),
            ("6.8.0", new),
            ("6.18-rc1", new),
        ] {
            let kernel = parse(release).expect(release);
            assert_eq!(needed(kernel), expected, "{release}: {}", names(needed(kernel)));
        }
        for unreadable in ["", "linux", "6", "6.x"] {
            assert_eq!(parse(unreadable), None, "{unreadable:?}");
        }
    }

    #[test]
    fn what_had_cap_bpf_before_is_kept_only_where_cap_bpf_is_not_to_be_had() {
        let (new, old) = (CapabilitySet::BPF, CapabilitySet::SYS_ADMIN);
        let net = CapabilitySet::NET_ADMIN;
        for (held, expected) in [
            (net | old, net | old),
            (net | new, net | new),
            (net | new | old, net | new),
            (net, net | new),
            (old, net | new),
        ] {
            assert_eq!(needed_of((6, 8), held), expected, "{}", names(held));
        }
    }

    #[test]
    fn capabilities_are_named_as_in_the_manual() {
        assert_eq!(names(CapabilitySet::NET_ADMIN | CapabilitySet::BPF), "CAP_NET_ADMIN CAP_BPF");
    }
}
