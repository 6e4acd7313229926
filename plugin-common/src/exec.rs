//! What the programs at the system calls `execve` and `execveat` tell. They are no part of the daemon:
//! whoever wants to follow what containers execute loads them, and they are gone with that process.

use crate::report::part;

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

#[cfg(feature = "user")]
// SAFETY: three words.
unsafe impl aya::Pod for PidNamespace {}

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

    /// Reads a record as the ring buffer holds it.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; Self::BYTES]) -> Self {
        let u64 = |at| u64::from_ne_bytes(part(bytes, at));
        let u32 = |at| u32::from_ne_bytes(part(bytes, at));
        Self {
            time_ns: u64(0),
            namespace: u32(8),
            pid: u32(12),
            pid_inside: u32(16),
            uid: u32(20),
            descriptor: i32::from_ne_bytes(part(bytes, 24)),
            arguments: u32(28),
            filename_bytes: u32(32),
            argv_bytes: u32(36),
            flags: u64(40),
            comm: part(bytes, 48),
            filename: part(bytes, 64),
            argv: part(bytes, 64 + FILENAME_BYTES),
        }
    }

    /// The caller's command.
    #[must_use]
    pub fn comm(&self) -> &[u8] {
        self.comm.split(|byte| *byte == 0).next().unwrap_or_default()
    }

    /// The file.
    #[must_use]
    pub fn filename(&self) -> &[u8] {
        self.filename.get(..self.filename_bytes as usize).unwrap_or_default()
    }

    /// The arguments that are told.
    pub fn argv(&self) -> impl Iterator<Item = &[u8]> {
        let used = self.argv.get(..self.argv_bytes as usize).unwrap_or_default();
        used.split(|byte| *byte == 0).take(self.arguments as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_read_as_it_lies_in_memory() {
        let mut bytes = [0; ExecRecord::BYTES];
        let mut write = |at: usize, part: &[u8]| bytes[at..at + part.len()].copy_from_slice(part);
        write(core::mem::offset_of!(ExecRecord, time_ns), &5_u64.to_ne_bytes());
        write(core::mem::offset_of!(ExecRecord, namespace), &6_u32.to_ne_bytes());
        write(core::mem::offset_of!(ExecRecord, pid), &7_u32.to_ne_bytes());
        write(core::mem::offset_of!(ExecRecord, pid_inside), &8_u32.to_ne_bytes());
        write(core::mem::offset_of!(ExecRecord, uid), &9_u32.to_ne_bytes());
        write(core::mem::offset_of!(ExecRecord, descriptor), &(-1_i32).to_ne_bytes());
        write(core::mem::offset_of!(ExecRecord, arguments), &3_u32.to_ne_bytes());
        write(core::mem::offset_of!(ExecRecord, filename_bytes), &7_u32.to_ne_bytes());
        write(core::mem::offset_of!(ExecRecord, argv_bytes), &7_u32.to_ne_bytes());
        write(core::mem::offset_of!(ExecRecord, flags), &ExecRecord::MORE.to_ne_bytes());
        write(core::mem::offset_of!(ExecRecord, comm), b"sh\0left over");
        write(core::mem::offset_of!(ExecRecord, filename), b"/bin/ls\0left over");
        write(core::mem::offset_of!(ExecRecord, argv), b"ls\0\0-l\0left over");
        let record = ExecRecord::from_bytes(&bytes);
        assert_eq!((record.time_ns, record.namespace, record.pid), (5, 6, 7));
        assert_eq!((record.pid_inside, record.uid, record.descriptor), (8, 9, -1));
        assert_eq!((record.comm(), record.filename()), (&b"sh"[..], &b"/bin/ls"[..]));
        assert!(record.argv().eq([&b"ls"[..], b"", b"-l"]));
        assert_eq!(record.flags, ExecRecord::MORE);
    }
}
