//! A process in the daemon's sandbox that tries what it must not do, and some of what it must.
//!
//! `free`, `entered` and `sealed` say how far it goes into the sandbox first, `unix` and `tcp` how
//! Docker is reached there. Prints what came of each attempt, as JSON: null, or the number of the
//! error. None does any harm where it succeeds; it is to be run in a private machine.

use std::{
    collections::BTreeMap,
    env,
    ffi::c_long,
    fs::{self, File},
    io::{self, Read as _, Write as _},
    net::{self, TcpListener, TcpStream},
    os::{
        fd::AsRawFd as _,
        linux::net::SocketAddrExt as _,
        unix::{
            fs::{PermissionsExt as _, chown, symlink},
            net::{SocketAddr, UnixListener, UnixStream},
        },
    },
    path::{Path, PathBuf},
    process::Command,
    thread,
};

use anyhow::{Context as _, Result, bail};
use ebpf_netns::docker::Endpoint;
use ebpf_netns_plugin::{
    kernel, programs, records,
    sandbox::{self, Paths, RUN, Settings},
};
use nix::libc;

/// Where Docker's socket, its namespaces and the control socket are.
const DOCKER: &str = "/run/docker.sock";
const EXEC_ROOT: &str = "/run/docker";
const CONTROL: &str = "/run/ebpf-netns/control.sock";
/// Any port of this machine.
const LOCAL: &str = "127.0.0.1:0";
/// An abstract socket of somebody else's.
const ABSTRACT: &str = "ebpf-netns-confined";
/// Somebody else's file among the daemon's.
const FOREIGN: &str = "/run/ebpf-netns/foreign";

/// What came of an attempt: nothing, or the error's number.
type Outcomes = BTreeMap<String, Option<i32>>;

fn main() -> Result<()> {
    let arguments: Vec<_> = env::args().skip(1).collect();
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    let [depth, way] = arguments.as_slice() else {
        bail!("usage: free|entered|sealed unix|tcp");
    };
    // What others have made before the sandbox is entered.
    for directory in [RUN, records::DEFAULT_DIRECTORY] {
        fs::create_dir_all(directory)?;
    }
    fs::write(FOREIGN, "")?;
    fs::set_permissions(FOREIGN, fs::Permissions::from_mode(0o000))?;
    chown(FOREIGN, Some(65534), Some(65534))?;
    let _docker = UnixListener::bind(DOCKER).context("listen as Docker")?;
    let address = SocketAddr::from_abstract_name(ABSTRACT)?;
    let _abstract = UnixListener::bind_addr(&address).context("listen at an abstract address")?;

    let (proxy, other) = (TcpListener::bind(LOCAL)?, TcpListener::bind(LOCAL)?);
    let (proxy_address, other_address) = (proxy.local_addr()?, other.local_addr()?);
    let metrics = TcpListener::bind(LOCAL)?;
    let mut scraper = TcpStream::connect(metrics.local_addr()?)?;
    scraper.write_all(b"?")?;
    let docker = match *way {
        "unix" => Endpoint::Unix(DOCKER.into()),
        "tcp" => Endpoint::Tcp(proxy_address.to_string()),
        other => bail!("unknown way {other:?}"),
    };
    let paths = Paths {
        pins: Path::new(kernel::DEFAULT_DIRECTORY),
        state: Path::new(records::DEFAULT_DIRECTORY),
        control_socket: Path::new(CONTROL),
        docker_exec_root: Path::new(EXEC_ROOT),
        config: Path::new(sandbox::CONFIGURATION),
        programs: Path::new(programs::DEFAULT_DIRECTORY),
        driver: None,
    };
    let settings = Settings::new(&docker, &paths);
    match *depth {
        "free" => {}
        "entered" => drop(sandbox::enter(settings)?),
        "sealed" => drop(sandbox::enter(settings)?.seal()?),
        other => bail!("unknown depth {other:?}"),
    }
    let mut outcomes = Outcomes::new();
    daemons_work(&mut outcomes);
    note(&mut outcomes, "may answer where it listened before".to_owned(), answer(&metrics));
    connecting(&mut outcomes, proxy_address, other_address);
    harm(&mut outcomes, &address);
    if *depth != "entered" {
        calls(&mut outcomes);
    }
    leave(&mut outcomes);
    let text = serde_json::to_string(&outcomes)?;
    writeln!(io::stdout().lock(), "{text}").context("print")
}

/// What the daemon does: the sandbox must let it.
fn daemons_work(outcomes: &mut Outcomes) {
    let mut may = |what: &str, done: io::Result<()>| note(outcomes, format!("may {what}"), done);
    may("write a record", write_record());
    may("remove a link", fs::remove_file("/run/netns/stale"));
    may("connect to Docker", UnixStream::connect(DOCKER).map(drop));
    may("open a sandbox key", File::open("/run/docker/netns/key").map(drop));
    may("look at a process", fs::read("/proc/1/stat").map(drop));
    may("start a thread", thread::Builder::new().spawn(|| {}).map(drop));
    may("open its own namespace", File::open("/proc/thread-self/ns/net").map(drop));
}

/// Where Docker is reached over TCP the sandbox lets it, and nowhere else.
fn connecting(outcomes: &mut Outcomes, proxy: net::SocketAddr, other: net::SocketAddr) {
    let mut tried = |what: &str, done: io::Result<()>| note(outcomes, what.to_owned(), done);
    tried("connect to Docker's port", TcpStream::connect(proxy).map(drop));
    tried("connect to another port", TcpStream::connect(other).map(drop));
    tried("listen by TCP", TcpListener::bind(LOCAL).map(drop));
}

/// Takes a connection, reads what it says and answers.
fn answer(listener: &TcpListener) -> io::Result<()> {
    let (mut stream, _) = listener.accept()?;
    stream.read_exact(&mut [0])?;
    stream.write_all(b"!")
}

fn write_record() -> io::Result<()> {
    let directory = PathBuf::from(records::DEFAULT_DIRECTORY).join("records");
    fs::create_dir(&directory)?;
    fs::write(directory.join("new"), "record")?;
    fs::rename(directory.join("new"), directory.join("record"))?;
    symlink("record", directory.join("latest"))?;
    fs::read_dir(&directory)?.try_for_each(|entry| fs::remove_file(entry?.path()))?;
    fs::remove_dir(&directory)
}

/// What no daemon should do: capabilities and Landlock are in the way.
fn harm(outcomes: &mut Outcomes, address: &SocketAddr) {
    let mut never = |what: &str, done: io::Result<()>| note(outcomes, what.to_owned(), done);
    never("read passwords", File::open("/etc/shadow").map(drop));
    never("list configuration", fs::read_dir("/etc").map(drop));
    never("write configuration", File::options().append(true).open("/etc/hosts").map(drop));
    never("make a file in /run", File::create("/run/of-nobody").map(drop));
    never("remove Docker's key", fs::remove_file("/run/docker/netns/spare"));
    never("list Docker's keys", fs::read_dir("/run/docker/netns").map(drop));
    never("read another's memory", File::open("/proc/1/mem").map(drop));
    never("read another's environment", File::open("/proc/1/environ").map(drop));
    never("enter another's root", fs::read_dir("/proc/1/root/etc").map(drop));
    never("open another's namespace", File::open("/proc/1/ns/net").map(drop));
    never("read another's file", File::open(FOREIGN).map(drop));
    never("give a file away", chown(RUN, Some(0), Some(65534)));
    never("execute a program", Command::new("/bin/true").status().map(drop));
    never("connect to an abstract socket", UnixStream::connect_addr(address).map(drop));
    never("sniff", call(libc::SYS_socket, [libc::AF_PACKET.into(), 2, 0, 0, 0, 0]));
}

/// The system calls themselves, with arguments for which no right is asked first: only a filter
/// answers EPERM to them.
fn calls(outcomes: &mut Outcomes) {
    for (name, number) in BY_NUMBER {
        note(outcomes, format!("call {name}"), call(*number, [-1, 0, 0, 0, 0, 0]));
    }
    for (name, number, arguments) in BY_ARGUMENT {
        note(outcomes, format!("call {name}"), call(*number, *arguments));
    }
    for (name, command) in BPF {
        note(outcomes, format!("bpf {name}"), call(libc::SYS_bpf, [*command, 0, 0, 0, 0, 0]));
    }
}

/// Last, since where this is possible what comes after is somewhere else.
fn leave(outcomes: &mut Outcomes) {
    let own = File::open("/proc/thread-self/ns/net");
    let entered = own.and_then(|own| {
        let arguments = [own.as_raw_fd().into(), libc::CLONE_NEWNET.into(), 0, 0, 0, 0];
        call(libc::SYS_setns, arguments)
    });
    note(outcomes, "enter a namespace".to_owned(), entered);
    for (what, flag) in [
        ("make a network namespace", libc::CLONE_NEWNET),
        ("make a mount namespace", libc::CLONE_NEWNS),
    ] {
        let made = call(libc::SYS_unshare, [flag.into(), 0, 0, 0, 0, 0]);
        note(outcomes, what.to_owned(), made);
    }
}

fn note(outcomes: &mut Outcomes, what: String, done: io::Result<()>) {
    let error = done.err().map(|error| error.raw_os_error().unwrap_or_default());
    outcomes.insert(what, error);
}

/// Makes a system call as it is.
fn call(number: c_long, arguments: [c_long; 6]) -> io::Result<()> {
    let [first, second, third, fourth, fifth, sixth] = arguments;
    // SAFETY: no argument is the address of memory of this process: they are 0, -1, descriptors and
    // flags, and no call of the tables maps or unmaps memory at an address that is given.
    let result = unsafe { libc::syscall(number, first, second, third, fourth, fifth, sixth) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Calls that a first argument of -1 and others of 0 make harmless.
const BY_NUMBER: &[(&str, c_long)] = &[
    ("add_key", libc::SYS_add_key),
    ("clock_settime", libc::SYS_clock_settime),
    ("delete_module", libc::SYS_delete_module),
    ("execve", libc::SYS_execve),
    ("execveat", libc::SYS_execveat),
    ("fanotify_init", libc::SYS_fanotify_init),
    ("fchmodat", libc::SYS_fchmodat),
    ("fchownat", libc::SYS_fchownat),
    ("fsopen", libc::SYS_fsopen),
    ("inotify_init1", libc::SYS_inotify_init1),
    ("io_uring_enter", libc::SYS_io_uring_enter),
    ("keyctl", libc::SYS_keyctl),
    ("kill", libc::SYS_kill),
    ("linkat", libc::SYS_linkat),
    ("memfd_create", libc::SYS_memfd_create),
    ("mknodat", libc::SYS_mknodat),
    ("mount", libc::SYS_mount),
    ("mount_setattr", libc::SYS_mount_setattr),
    ("move_mount", libc::SYS_move_mount),
    ("open_by_handle_at", libc::SYS_open_by_handle_at),
    ("open_tree", libc::SYS_open_tree),
    ("perf_event_open", libc::SYS_perf_event_open),
    ("personality", libc::SYS_personality),
    ("pidfd_getfd", libc::SYS_pidfd_getfd),
    ("pidfd_send_signal", libc::SYS_pidfd_send_signal),
    ("pivot_root", libc::SYS_pivot_root),
    ("process_vm_readv", libc::SYS_process_vm_readv),
    ("process_vm_writev", libc::SYS_process_vm_writev),
    ("reboot", libc::SYS_reboot),
    ("request_key", libc::SYS_request_key),
    ("seccomp", libc::SYS_seccomp),
    ("setns", libc::SYS_setns),
    ("swapon", libc::SYS_swapon),
    ("syslog", libc::SYS_syslog),
    ("umount2", libc::SYS_umount2),
    ("unshare", libc::SYS_unshare),
    ("userfaultfd", libc::SYS_userfaultfd),
];

/// Calls that are allowed with other arguments than these, or would do harm with -1.
const BY_ARGUMENT: &[(&str, c_long, [c_long; 6])] = &[
    ("chroot", libc::SYS_chroot, [0; 6]),
    ("capset", libc::SYS_capset, [0; 6]),
    // CLONE_SIGHAND without CLONE_VM, for which there is EINVAL: a process that never comes to be.
    ("clone", libc::SYS_clone, [0x800, 0, 0, 0, 0, 0]),
    ("ioctl TIOCSTI", libc::SYS_ioctl, [-1, 0x5412, 0, 0, 0, 0]),
    ("fcntl F_SETOWN", libc::SYS_fcntl, [-1, 8, 0, 0, 0, 0]),
    ("mmap executable", libc::SYS_mmap, [0, 4096, 5, 0x22, -1, 0]),
    ("mprotect executable", libc::SYS_mprotect, [0, 0, 5, 0, 0, 0]),
    ("prctl PR_SET_KEEPCAPS", libc::SYS_prctl, [8, 0, 0, 0, 0, 0]),
    ("prlimit64 to set", libc::SYS_prlimit64, [0, 7, 1, 0, 0, 0]),
    ("ptrace", libc::SYS_ptrace, [2, -1, 0, 0, 0, 0]),
    ("setuid", libc::SYS_setuid, [0; 6]),
    ("socket AF_VSOCK", libc::SYS_socket, [40, 1, 0, 0, 0, 0]),
    ("socket for uevents", libc::SYS_socket, [16, 3, 15, 0, 0, 0]),
    ("tgkill of another", libc::SYS_tgkill, [1, 1, 0, 0, 0, 0]),
];

/// Commands of `bpf` that reach what is not the daemon's, or that it does not use.
const BPF: &[(&str, c_long)] = &[
    ("PROG_ATTACH", 8),
    ("PROG_DETACH", 9),
    ("PROG_TEST_RUN", 10),
    ("PROG_GET_NEXT_ID", 11),
    ("MAP_GET_NEXT_ID", 12),
    ("PROG_GET_FD_BY_ID", 13),
    ("MAP_GET_FD_BY_ID", 14),
    ("RAW_TRACEPOINT_OPEN", 17),
    ("BTF_GET_FD_BY_ID", 19),
    ("TASK_FD_QUERY", 20),
    ("BTF_GET_NEXT_ID", 23),
    ("LINK_GET_FD_BY_ID", 30),
    ("LINK_GET_NEXT_ID", 31),
    ("ENABLE_STATS", 32),
    ("ITER_CREATE", 33),
    ("PROG_BIND_MAP", 35),
];
