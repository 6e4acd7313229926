//! The kernel's error numbers, out of aya's and rtnetlink's errors.

use aya::programs::ProgramError;
use aya::programs::tc::TcError;
use aya::programs::xdp::XdpError;
use ebpf_netns::RtnlError;
use nix::errno::Errno;

/// The kernel's error number, if it was the kernel that refused.
pub(super) fn of_program(error: &ProgramError) -> Option<Errno> {
    match error {
        ProgramError::SyscallError(error) => error.io_error.raw_os_error().map(Errno::from_raw),
        ProgramError::TcError(TcError::IoError(error)) => error.raw_os_error().map(Errno::from_raw),
        ProgramError::TcError(TcError::NetlinkError(error))
        | ProgramError::XdpError(XdpError::NetlinkError(error)) => {
            error.raw_os_error().map(Errno::from_raw)
        }
        _ => None,
    }
}

/// As [`of_program`], for rtnetlink.
pub(super) fn of_rtnl(error: &RtnlError) -> Option<Errno> {
    error.raw_os_error().map(Errno::from_raw)
}
