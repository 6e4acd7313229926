//! The list of system calls: which, and with which arguments. Data; [`seccomp`](super::seccomp)
//! makes the filter of it.

use std::ffi::{c_int, c_long};
use std::process;

use nix::libc;

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
    libc::SYS_close,
    libc::SYS_faccessat,
    libc::SYS_fdatasync,
    libc::SYS_flock,
    libc::SYS_fstat,
    libc::SYS_fstatfs,
    libc::SYS_fsync,
    libc::SYS_ftruncate,
    libc::SYS_getdents64,
    libc::SYS_lseek,
    libc::SYS_mkdirat,
    libc::SYS_newfstatat,
    libc::SYS_openat,
    libc::SYS_openat2,
    libc::SYS_pread64,
    libc::SYS_pwrite64,
    libc::SYS_read,
    libc::SYS_readlinkat,
    libc::SYS_readv,
    libc::SYS_renameat,
    libc::SYS_renameat2,
    libc::SYS_statfs,
    libc::SYS_statx,
    libc::SYS_symlinkat,
    libc::SYS_unlinkat,
    libc::SYS_write,
    libc::SYS_writev,
    // Sockets; socket itself is below.
    libc::SYS_accept4,
    libc::SYS_bind,
    libc::SYS_connect,
    libc::SYS_getpeername,
    libc::SYS_getsockname,
    libc::SYS_getsockopt,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_sendmmsg,
    libc::SYS_sendmsg,
    libc::SYS_sendto,
    libc::SYS_setsockopt,
    libc::SYS_shutdown,
    // Waiting.
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_eventfd2,
    libc::SYS_futex,
    libc::SYS_gettimeofday,
    libc::SYS_nanosleep,
    libc::SYS_ppoll,
    libc::SYS_restart_syscall,
    // Memory; mmap and mprotect are below.
    libc::SYS_brk,
    libc::SYS_madvise,
    libc::SYS_membarrier,
    libc::SYS_mremap,
    libc::SYS_munmap,
    // Threads and signals; clone is below.
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_getegid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getpid,
    libc::SYS_gettid,
    libc::SYS_getuid,
    libc::SYS_rseq,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_yield,
    libc::SYS_set_robust_list,
    libc::SYS_sigaltstack,
    // A process is held, not acted on: nothing that takes a pidfd is here.
    libc::SYS_pidfd_open,
    // What kernel this is, and randomness.
    libc::SYS_getrandom,
    libc::SYS_uname,
    // The other filter answers.
    libc::SYS_clone3,
];

/// Older calls that this machine still has, which the C library or `std` prefer.
#[cfg(target_arch = "x86_64")]
pub(super) const OF_THIS_MACHINE: &[c_long] = &[
    libc::SYS_access,
    libc::SYS_epoll_wait,
    libc::SYS_lstat,
    libc::SYS_mkdir,
    libc::SYS_open,
    libc::SYS_poll,
    libc::SYS_readlink,
    libc::SYS_rename,
    libc::SYS_rmdir,
    libc::SYS_stat,
    libc::SYS_symlink,
    libc::SYS_time,
    libc::SYS_unlink,
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
const FCNTL: &[c_int] =
    &[libc::F_DUPFD_CLOEXEC, libc::F_GETFD, libc::F_SETFD, libc::F_GETFL, libc::F_SETFL];

/// Netlink families: links and qdiscs, and nftables.
const NETLINK: &[c_int] = &[libc::NETLINK_ROUTE, libc::NETLINK_NETFILTER];

/// Of a thread, and not of a group: `libc`'s, whose type differs between C libraries.
const PRIO_PROCESS: u64 = 0;

/// What `clone` must not make with a thread.
const NAMESPACES: c_int = libc::CLONE_NEWCGROUP
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWNET
    | libc::CLONE_NEWNS
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWUSER
    | libc::CLONE_NEWUTS;

/// The calls whose arguments matter.
pub(super) fn with_arguments(internet: bool) -> Vec<Call> {
    let mut calls = Vec::new();
    let mut allow = |number, arguments: &[Argument]| {
        calls.push(Call { number, arguments: arguments.to_vec() });
    };
    for command in BPF {
        allow(libc::SYS_bpf, &[is(0, *command)]);
    }
    for request in IOCTL {
        allow(libc::SYS_ioctl, &[is(1, *request)]);
    }
    for command in FCNTL {
        allow(libc::SYS_fcntl, &[is(1, bits(*command))]);
    }

    // Memory is never executed that was not when the process started.
    allow(libc::SYS_mmap, &[none_of(2, libc::PROT_EXEC)]);
    allow(libc::SYS_mprotect, &[none_of(2, libc::PROT_EXEC)]);
    // Threads, and no processes.
    let thread =
        Argument { mask: bits(libc::CLONE_THREAD | NAMESPACES), ..is(0, bits(libc::CLONE_THREAD)) };
    allow(libc::SYS_clone, &[thread]);
    allow(libc::SYS_prctl, &[is(0, bits(libc::PR_SET_NAME))]);
    // They may give up the priority that they were started with, and gain none without a capability.
    allow(libc::SYS_sched_setscheduler, &[is(1, bits(libc::SCHED_OTHER))]);
    allow(libc::SYS_setpriority, &[is(0, PRIO_PROCESS), is(1, 0)]);
    // Limits are read and not set.
    allow(libc::SYS_prlimit64, &[Argument { index: 2, mask: u64::MAX, value: 0 }]);
    // To abort is to send oneself a signal.
    allow(libc::SYS_tgkill, &[is(0, process::id().into())]);

    allow(libc::SYS_socket, &[is(0, bits(libc::AF_UNIX))]);
    allow(libc::SYS_socketpair, &[is(0, bits(libc::AF_UNIX))]);
    for family in NETLINK {
        allow(libc::SYS_socket, &[is(0, bits(libc::AF_NETLINK)), is(2, bits(*family))]);
    }
    if internet {
        // UDP is for looking the name up.
        for kind in [libc::SOCK_STREAM, libc::SOCK_DGRAM] {
            let kind = Argument { mask: 0xf, ..is(1, bits(kind)) };
            allow(libc::SYS_socket, &[is(0, bits(libc::AF_INET)), kind]);
            allow(libc::SYS_socket, &[is(0, bits(libc::AF_INET6)), kind]);
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
