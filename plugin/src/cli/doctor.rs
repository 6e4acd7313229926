//! `doctor`: whether this machine is fit, and what to do where it is not.

use std::path::PathBuf;

use clap::Args;

use super::verbs::{Failure, endpoint, print, runtime};
use super::{Format, table};
use crate::control::DEFAULT_SOCKET;
use crate::doctor::{self, Places};
use crate::kernel;

pub(super) const EXIT_CODES: &str = "\
Each finding is ok, a note, a warning or a failure; what could not be looked at is told as such.

Exit codes: 0 all that enforcement needs is there; 2 wrong usage; 77 something that is needed could not
be looked at, for want of rights; 78 enforcement would not work here.";

#[derive(Debug, Args)]
pub(super) struct DoctorArgs {
    /// The Docker engine; else as in `DOCKER_HOST`.
    #[arg(long, value_name = "URI")]
    docker_host: Option<String>,
    /// Where the daemon listens.
    #[arg(long, value_name = "PATH", default_value = DEFAULT_SOCKET)]
    control_socket: PathBuf,
    /// Where the daemon pins.
    #[arg(long, value_name = "DIR", default_value = kernel::DEFAULT_DIRECTORY)]
    pins: PathBuf,
    /// How to show it.
    #[arg(long, value_enum, default_value_t)]
    pub(super) format: Format,
}

pub(super) fn run(args: &DoctorArgs) -> Result<(), Failure> {
    let DoctorArgs { docker_host, control_socket, pins, format } = args;
    let docker = match endpoint(docker_host.clone()) {
        Ok(endpoint) => Ok(endpoint),
        Err(Failure::Docker(error)) => Err(error),
        Err(failure) => return Err(failure),
    };
    let facts = runtime()?.block_on(doctor::observe(Places { docker, control_socket, pins }));
    let report = doctor::report(&facts);
    print(*format, &report, || table::doctor(&report))?;
    match report.verdict.exit_code {
        0 => Ok(()),
        code => Err(Failure::Verdict(code)),
    }
}
