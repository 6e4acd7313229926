//! `ebpf-netns exec`: the one place that enters a namespace, right before it becomes another
//! program.

use std::{
    ffi::{OsStr, OsString},
    io,
    os::unix::process::CommandExt as _,
    process::Command,
};

use crate::{Namespace, exit, text::printable_up_to};
use anyhow::{Context as _, Result};
use nix::{errno::Errno, sched::CloneFlags};

use super::{args::ExecArgs, failure::Failure, subject::Subject};

pub(crate) fn run(args: &ExecArgs) -> Result<()> {
    let (program, arguments) = args
        .command
        .split_first()
        .ok_or_else(|| Failure::new(exit::USAGE, "there is no command to run"))?;
    let subject = Subject::open(&args.subject)?;
    enter(&subject.namespace)
        .with_context(|| format!("enter the network namespace of {}", subject.describe()))?;
    Err(replace(program, arguments))
}

#[expect(
    clippy::disallowed_methods,
    reason = "the only call of setns: nothing runs after it in this process but exec"
)]
fn enter(namespace: &Namespace) -> Result<()> {
    nix::sched::setns(namespace, CloneFlags::CLONE_NEWNET).map_err(|errno| {
        let code = if errno == Errno::EPERM { exit::NOT_PERMITTED } else { exit::FAILED };
        Failure::new(code, errno.desc()).into()
    })
}

/// Becomes the program; returns only if that fails.
fn replace(program: &OsStr, arguments: &[OsString]) -> anyhow::Error {
    let error = Command::new(program).args(arguments).exec();
    let code = match error.kind() {
        io::ErrorKind::NotFound => exit::COMMAND_NOT_FOUND,
        _ => exit::NOT_EXECUTABLE,
    };
    let shown = program.to_string_lossy();
    Failure::new(code, format!("run {}: {error}", printable_up_to(&shown, 200))).into()
}
