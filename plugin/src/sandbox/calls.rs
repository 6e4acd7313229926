//! The list of system calls: which, and with which arguments. Data; [`seccomp`](super::seccomp)
//! makes the filter of it.

use std::ffi::{c_int, c_long};
use std::process;

#[expect(clippy::wildcard_imports, reason = "a hundred names of one kind")]
use nix::libc::*;

/// A call that is allowed only with these arguments; all of them must be so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Call {
    pub(super) number: c_long,
    pub(super) arguments: Vec<Argument>,
}

/// What an argument must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Argument {
    pub(super) index: u8,
    /// The bits that are looked at.
    pub(super) mask: u64,
    pub(super) value: u64,
}

/// Allowed with any argument, on every machine.
pub(super) const EVERYWHERE: &[c_long] = &[
    // Files. Which ones is for Landlock to say.
    SYS_close,
    SYS_faccessat,
    SYS_fdatasync,
    SYS_flock,
    SYS_fstat,
    SYS_fstatfs,
    SYS_fsync,
    SYS_ftruncate,
    SYS_getdents64,
    SYS_lseek,
    SYS_mkdirat,
    SYS_newfstatat,
    SYS_openat,
    SYS_openat2,
    SYS_pread64,
    SYS_pwrite64,
    SYS_read,
    SYS_readlinkat,
    SYS_readv,
    SYS_renameat,
    SYS_renameat2,
    SYS_statfs,
    SYS_statx,
    SYS_symlinkat,
    SYS_unlinkat,
    SYS_write,
    SYS_writev,
    // Sockets; socket itself is below.
    SYS_accept4,
    SYS_bind,
    SYS_connect,
    SYS_getpeername,
    SYS_getsockname,
    SYS_getsockopt,
    SYS_recvfrom,
    SYS_recvmsg,
    SYS_sendmmsg,
    SYS_sendmsg,
    SYS_sendto,
    SYS_setsockopt,
    SYS_shutdown,
    // Waiting.
    SYS_clock_gettime,
    SYS_clock_nanosleep,
    SYS_epoll_create1,
    SYS_epoll_ctl,
    SYS_epoll_pwait,
    SYS_eventfd2,
    SYS_futex,
    SYS_gettimeofday,
    SYS_nanosleep,
    SYS_ppoll,
    SYS_restart_syscall,
    // Memory; mmap and mprotect are below.
    SYS_brk,
    SYS_madvise,
    SYS_membarrier,
    SYS_mremap,
    SYS_munmap,
    // Threads and signals; clone is below.
    SYS_exit,
    SYS_exit_group,
    SYS_getegid,
    SYS_geteuid,
    SYS_getgid,
    SYS_getpid,
    SYS_gettid,
    SYS_getuid,
    SYS_rseq,
    SYS_rt_sigaction,
    SYS_rt_sigprocmask,
    SYS_rt_sigreturn,
    SYS_sched_getaffinity,
    SYS_sched_yield,
    SYS_set_robust_list,
    SYS_sigaltstack,
    // A process is held, not acted on: nothing that takes a pidfd is here.
    SYS_pidfd_open,
    // What kernel this is, and randomness.
    SYS_getrandom,
    SYS_uname,
    // The other filter answers.
    SYS_clone3,
];

/// Older calls that this machine still has, which the C library or `std` prefer.
#[cfg(target_arch = "x86_64")]
pub(super) const OF_THIS_MACHINE: &[c_long] = &[
    SYS_access,
    SYS_epoll_wait,
    SYS_lstat,
    SYS_mkdir,
    SYS_open,
    SYS_poll,
    SYS_readlink,
    SYS_rename,
    SYS_rmdir,
    SYS_stat,
    SYS_symlink,
    SYS_time,
    SYS_unlink,
];

/// Older calls that this machine still has: none.
#[cfg(not(target_arch = "x86_64"))]
pub(super) const OF_THIS_MACHINE: &[c_long] = &[];

/// The commands of `bpf`. Reaching an object by an id is not among them (`*_BY_ID`, `*_NEXT_ID`),
/// nor is attaching without a link (`PROG_ATTACH`, `RAW_TRACEPOINT_OPEN`), tracing, iterators and
/// running a program.
const BPF: &[u64] = &[
    0,  // MAP_CREATE
    1,  // MAP_LOOKUP_ELEM
    2,  // MAP_UPDATE_ELEM
    3,  // MAP_DELETE_ELEM
    4,  // MAP_GET_NEXT_KEY
    5,  // PROG_LOAD
    6,  // OBJ_PIN
    7,  // OBJ_GET
    15, // OBJ_GET_INFO_BY_FD
    16, // PROG_QUERY
    18, // BTF_LOAD
    21, // MAP_LOOKUP_AND_DELETE_ELEM
    22, // MAP_FREEZE
    24, // MAP_LOOKUP_BATCH
    25, // MAP_LOOKUP_AND_DELETE_BATCH
    26, // MAP_UPDATE_BATCH
    27, // MAP_DELETE_BATCH
    28, // LINK_CREATE
    29, // LINK_UPDATE
    34, // LINK_DETACH
];

/// Of `ioctl`: whether this is a terminal (the log), an interface's index, not to block, and what a
/// namespace file is of (`NS_GET_NSTYPE`).
const IOCTL: &[u64] = &[0x5401, 0x5421, 0x8933, 0xb703];

/// Of `fcntl`: flags of descriptors and files, and another descriptor for the same file.
const FCNTL: &[c_int] = &[F_DUPFD_CLOEXEC, F_GETFD, F_SETFD, F_GETFL, F_SETFL];

/// Netlink families: links and qdiscs, and nftables.
const NETLINK: &[c_int] = &[NETLINK_ROUTE, NETLINK_NETFILTER];

/// What `clone` must not make with a thread.
const NAMESPACES: c_int = CLONE_NEWCGROUP
    | CLONE_NEWIPC
    | CLONE_NEWNET
    | CLONE_NEWNS
    | CLONE_NEWPID
    | CLONE_NEWUSER
    | CLONE_NEWUTS;

/// The calls whose arguments matter.
pub(super) fn with_arguments(internet: bool) -> Vec<Call> {
    let mut calls = Vec::new();
    let mut allow = |number, arguments: &[Argument]| {
        calls.push(Call { number, arguments: arguments.to_vec() });
    };
    for command in BPF {
        allow(SYS_bpf, &[is(0, *command)]);
    }
    for request in IOCTL {
        allow(SYS_ioctl, &[is(1, *request)]);
    }
    for command in FCNTL {
        allow(SYS_fcntl, &[is(1, bits(*command))]);
    }

    // Memory is never executed that was not when the process started.
    allow(SYS_mmap, &[none_of(2, PROT_EXEC)]);
    allow(SYS_mprotect, &[none_of(2, PROT_EXEC)]);
    // Threads, and no processes.
    let thread = Argument { mask: bits(CLONE_THREAD | NAMESPACES), ..is(0, bits(CLONE_THREAD)) };
    allow(SYS_clone, &[thread]);
    allow(SYS_prctl, &[is(0, bits(PR_SET_NAME))]);
    // Limits are read and not set.
    allow(SYS_prlimit64, &[Argument { index: 2, mask: u64::MAX, value: 0 }]);
    // To abort is to send oneself a signal.
    allow(SYS_tgkill, &[is(0, process::id().into())]);

    allow(SYS_socket, &[is(0, bits(AF_UNIX))]);
    allow(SYS_socketpair, &[is(0, bits(AF_UNIX))]);
    for family in NETLINK {
        allow(SYS_socket, &[is(0, bits(AF_NETLINK)), is(2, bits(*family))]);
    }
    if internet {
        // UDP is for looking the name up.
        for kind in [SOCK_STREAM, SOCK_DGRAM] {
            let kind = Argument { mask: 0xf, ..is(1, bits(kind)) };
            allow(SYS_socket, &[is(0, bits(AF_INET)), kind]);
            allow(SYS_socket, &[is(0, bits(AF_INET6)), kind]);
        }
    }
    calls
}

/// The upper half of a register is not part of an `int`.
fn is(index: u8, value: u64) -> Argument {
    Argument { index, mask: u32::MAX.into(), value }
}

fn none_of(index: u8, flags: c_int) -> Argument {
    Argument { index, mask: bits(flags), value: 0 }
}

/// Flags and numbers are never negative.
fn bits(number: c_int) -> u64 {
    number.unsigned_abs().into()
}
