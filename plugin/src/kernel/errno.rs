//! The kernel's error numbers, out of aya's errors.

use aya::programs::ProgramError;
use aya::programs::tc::TcError;
use aya::programs::xdp::XdpError;
use nix::errno::Errno;

/// The kernel's error number, if it was the kernel that refused.
pub(super) fn of_program(error: &ProgramError) -> Option<Errno> {
    match error {
        ProgramError::SyscallError(error) => error.io_error.raw_os_error().map(Errno::from_raw),
        ProgramError::TcError(error) => of_tc(error),
        ProgramError::XdpError(XdpError::NetlinkError(error)) => {
            error.raw_os_error().map(Errno::from_raw)
        }
        _ => None,
    }
}

/// As [`of_program`], for traffic control.
pub(super) fn of_tc(error: &TcError) -> Option<Errno> {
    match error {
        TcError::NetlinkError(error) => error.raw_os_error().map(Errno::from_raw),
        TcError::IoError(error) => error.raw_os_error().map(Errno::from_raw),
        _ => None,
    }
}
