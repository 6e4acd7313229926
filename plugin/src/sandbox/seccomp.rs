//! seccomp: the system calls that a running daemon makes, and no others.
//!
//! The list is of what was seen (`strace` on every test of the daemon), of what musl uses where
//! glibc uses something newer, and of what ending with a message takes. Start-up is not in it: the
//! filter comes after. `cargo test` with `EBPF_NETNS_SECCOMP=kill` shows what is missing.

use std::collections::BTreeMap;
use std::ffi::c_long;
use std::fmt;

use nix::libc;
use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition,
    SeccompFilter, SeccompRule, TargetArch, apply_filter_all_threads,
};

use super::SandboxError;
use super::calls::{self, Call};

/// What becomes of a system call that is not on the list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Unlisted {
    /// It fails with EPERM.
    #[default]
    Deny,
    /// The process is killed, so that a test cannot miss it.
    Kill,
    /// It is made, and the kernel's audit log has a line of it (where the kernel has one).
    Log,
}

impl fmt::Display for Unlisted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Deny => "deny",
            Self::Kill => "kill",
            Self::Log => "log",
        })
    }
}

impl Unlisted {
    const fn action(self) -> SeccompAction {
        match self {
            Self::Deny => SeccompAction::Errno(libc::EPERM.unsigned_abs()),
            Self::Kill => SeccompAction::KillProcess,
            Self::Log => SeccompAction::Log,
        }
    }
}

/// Filters the system calls of every thread there is and will be. `internet` is whether Docker is
/// reached over TCP.
///
/// # Errors
///
/// When the kernel refuses.
pub(super) fn filter(unlisted: Unlisted, internet: bool) -> Result<(), SandboxError> {
    // The second filter denies installing filters, so it comes last.
    for program in [no_clone3()?, listed(unlisted, internet)?] {
        apply_filter_all_threads(&program).map_err(refused)?;
    }
    Ok(())
}

/// `clone3` has its flags in memory, where no filter sees them: the C library is told that the
/// kernel does not have it and makes its threads with `clone`.
fn no_clone3() -> Result<BpfProgram, SandboxError> {
    let absent = SeccompAction::Errno(libc::ENOSYS.unsigned_abs());
    let rules = BTreeMap::from([(libc::SYS_clone3, Vec::new())]);
    program(rules, SeccompAction::Allow, absent)
}

fn listed(unlisted: Unlisted, internet: bool) -> Result<BpfProgram, SandboxError> {
    let mut rules: BTreeMap<c_long, Vec<SeccompRule>> = BTreeMap::new();
    for call in calls::EVERYWHERE.iter().chain(calls::OF_THIS_MACHINE) {
        rules.insert(*call, Vec::new());
    }
    for Call { number, arguments } in calls::with_arguments(internet) {
        let rule = SeccompRule::new(
            arguments.into_iter().map(condition).collect::<Result<_, _>>().map_err(invalid)?,
        );
        rules.entry(number).or_default().push(rule.map_err(invalid)?);
    }
    program(rules, unlisted.action(), SeccompAction::Allow)
}

/// Of an argument, the bits of a mask must have a value.
fn condition(argument: calls::Argument) -> Result<SeccompCondition, BackendError> {
    let calls::Argument { index, mask, value } = argument;
    SeccompCondition::new(index, SeccompCmpArgLen::Qword, SeccompCmpOp::MaskedEq(mask), value)
}

fn program(
    rules: BTreeMap<c_long, Vec<SeccompRule>>,
    otherwise: SeccompAction,
    matching: SeccompAction,
) -> Result<BpfProgram, SandboxError> {
    let machine = TargetArch::try_from(std::env::consts::ARCH).map_err(invalid)?;
    SeccompFilter::new(rules, otherwise, matching, machine)
        .and_then(BpfProgram::try_from)
        .map_err(invalid)
}

fn invalid(error: BackendError) -> SandboxError {
    refused(error.into())
}

fn refused(source: seccompiler::Error) -> SandboxError {
    SandboxError::Seccomp(Box::new(source))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_is_made_for_every_way_to_reach_docker_and_fits_the_kernel() {
        for unlisted in [Unlisted::Deny, Unlisted::Kill, Unlisted::Log] {
            for internet in [false, true] {
                let length = listed(unlisted, internet).expect("a filter").len();
                assert!((100..4096).contains(&length), "{unlisted} {internet}: {length}");
            }
        }
    }
}
