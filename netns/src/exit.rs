//! The exit codes of `ebpf-netns` and `ebpf-netns-plugin`: part of the interface, never renumbered.
//!
//! A verb that becomes another program (`exec`) exits as that program does; the codes of a shell
//! stand for what kept it from running.

use crate::ErrorClass;

/// It worked.
pub const OK: u8 = 0;
/// The operation failed.
pub const FAILED: u8 = 1;
/// The command line is wrong.
pub const USAGE: u8 = 2;
/// The data is bad: a label, a policy, a record (`EX_DATAERR`).
pub const BAD_DATA: u8 = 65;
/// There is no such container, namespace or link, or the name is ambiguous (`EX_NOINPUT`).
pub const NOT_FOUND: u8 = 66;
/// Docker or the daemon cannot be reached (`EX_UNAVAILABLE`).
pub const UNAVAILABLE: u8 = 69;
/// Not permitted: not root, or a capability is missing (`EX_NOPERM`).
pub const NOT_PERMITTED: u8 = 77;
/// `doctor`: enforcement would not work on this machine (`EX_CONFIG`).
pub const UNFIT: u8 = 78;
/// `exec`: the program is there but cannot be executed.
pub const NOT_EXECUTABLE: u8 = 126;
/// `exec`, or a verb of another binary: there is no such program.
pub const COMMAND_NOT_FOUND: u8 = 127;

/// The exit code of an error of this class.
#[must_use]
pub const fn of_class(class: ErrorClass) -> u8 {
    match class {
        ErrorClass::User | ErrorClass::Transient | ErrorClass::Bug => FAILED,
        ErrorClass::Gone => NOT_FOUND,
        ErrorClass::Permission => NOT_PERMITTED,
    }
}
