//! What the programs at the system calls `execve` and `execveat` tell. They are no part of the daemon:
//! whoever wants to follow what containers execute loads them, and they are gone with that process.

/// Name of the ring buffer of [`ExecRecord`]s.
pub const EXECS_MAP: &str = "EXECS";
/// Name of the array of [`PidNamespace`]s; the first one without a number ends it.
pub const NAMESPACES_MAP: &str = "NAMESPACES";
/// Name of the array whose one entry (`u64`) says how many records the ring buffer had no room for.
pub const LOST_MAP: &str = "LOST";
/// Name of the program at `execve`, and of its tracepoint.
pub const EXECVE_PROGRAM: &str = "sys_enter_execve";
/// Name of the program at `execveat`, and of its tracepoint.
pub const EXECVEAT_PROGRAM: &str = "sys_enter_execveat";

/// Entries of [`NAMESPACES_MAP`].
pub const MAX_NAMESPACES: usize = 1024;
/// Size of the ring buffer in bytes.
pub const EXECS_BYTES: usize = 1 << 20;
/// Bytes of the name of a file that are told.
pub const FILENAME_BYTES: usize = 256;
/// Bytes of one argument that are told, with the zero that ends it.
pub const ARGUMENT_BYTES: usize = 256;
/// Arguments that are told.
pub const MAX_ARGUMENTS: u32 = 40;
/// Of all arguments together, no more are told after so many bytes.
pub const ARGUMENTS_BYTES: usize = 1024;

/// A namespace of processes, as `stat` tells of `/proc/PID/ns/pid`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PidNamespace {
    /// The device of the file.
    pub device: u64,
    /// Its inode number; 0 ends the array.
    pub inode: u64,
    /// 0 if what is executed there is not told; else what it is told under.
    pub told_as: u64,
}

const _: () = assert!(size_of::<PidNamespace>() == 24);

/// A call of `execve` or `execveat`, whether or not the kernel will do it.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExecRecord {
    /// When, in nanoseconds of the monotonic clock.
    pub time_ns: u64,
    /// [`PidNamespace::told_as`] of the caller's; 0 if it is none of those.
    pub namespace: u32,
    /// The caller's process, as the host's first namespace numbers it.
    pub pid: u32,
    /// The same, as its own namespace does; 0 if that is none of those.
    pub pid_inside: u32,
    /// The user, as the host's first namespace numbers it.
    pub uid: u32,
    /// The descriptor that `execveat` was given; -1 without one.
    pub descriptor: i32,
    /// How many arguments are told.
    pub arguments: u32,
    /// Bytes of `filename` that are in use, without a zero.
    pub filename_bytes: u32,
    /// Bytes of `argv` that are in use.
    pub argv_bytes: u32,
    /// Of [`ExecRecord::CUT`] and [`ExecRecord::MORE`].
    pub flags: u64,
    /// The caller's command, ended by a zero.
    pub comm: [u8; 16],
    /// The file.
    pub filename: [u8; FILENAME_BYTES],
    /// The arguments, each ended by a zero.
    pub argv: [u8; ARGUMENTS_BYTES + ARGUMENT_BYTES],
}

const _: () = assert!(size_of::<ExecRecord>() == ExecRecord::BYTES);
const _: () = assert!(ExecRecord::BYTES == 64 + FILENAME_BYTES + ARGUMENTS_BYTES + ARGUMENT_BYTES);

impl ExecRecord {
    /// Its size in bytes.
    pub const BYTES: usize = 1600;
    /// The name of the file or an argument is longer than what is told of it.
    pub const CUT: u64 = 1 << 0;
    /// There are more arguments than those that are told.
    pub const MORE: u64 = 1 << 1;
}

#[cfg(feature = "user")]
// SAFETY: three words.
unsafe impl aya::Pod for PidNamespace {}
