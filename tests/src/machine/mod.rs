//! A "host" of a test's own: network, mount and process namespaces without an uplink.
//!
//! Inside, `/run`, `/var/lib` and `/sys/fs/bpf` are empty and private, `/sys` and `/proc` show this
//! machine, and the rest of the file system is the real one. Ending its first process ends it all:
//! processes, mounts, interfaces and, by the guardian, cgroups and the directory.

mod leftovers;

use std::{
    ffi::OsStr,
    fs::{self, File},
    io::{BufRead as _, BufReader},
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{self, Child, ChildStdin, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
};

use anyhow::{Context as _, Result, bail, ensure};
use nix::unistd::Pid;

pub use self::leftovers::sweep;
use crate::{
    command, logs,
    process::{Process, children_of},
    wait::{DEADLINE, wait_for, wait_until},
};

/// What every name that this harness gives to a directory or cgroup begins with.
const PREFIX: &str = "ebpf-netns-machine-";

/// The file of a machine's directory that whoever lives of it holds locked.
const LOCK: &str = "lock";

/// A private host, or the real one.
#[derive(Debug)]
pub struct Machine {
    name: String,
    directory: PathBuf,
    kind: Kind,
    _lock: File,
}

#[derive(Debug)]
enum Kind {
    Private { guardian: Child, lifeline: Option<ChildStdin>, init: Pid },
    Host,
}

impl Machine {
    /// Starts a private machine, after removing what killed runs left behind.
    ///
    /// # Errors
    ///
    /// When this is not root, or a tool of util-linux or iproute2 is missing or fails.
    pub fn start() -> Result<Self> {
        ensure!(nix::unistd::geteuid().is_root(), "a private machine needs root");
        sweep().context("remove what earlier runs left behind")?;
        let (name, directory, lock) = new_directory()?;
        let mut guardian = Command::new("sh")
            .args(["-c", include_str!("guardian.sh"), "guardian"])
            .arg(&directory)
            .arg(include_str!("init.sh"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(File::create(directory.join("stderr"))?)
            // A Ctrl-C at the terminal ends the owner, and that ends the machine, in order.
            .process_group(0)
            .spawn()
            .context("start sh")?;
        let lifeline = guardian.stdin.take();
        let init = first_process(&mut guardian).with_context(|| {
            let said = fs::read_to_string(directory.join("stderr")).unwrap_or_default();
            format!("start a private machine: {}", said.trim_end())
        })?;
        let machine =
            Self { name, directory, kind: Kind::Private { guardian, lifeline, init }, _lock: lock };
        machine.check_isolated()?;
        Ok(machine)
    }

    /// The real host, without any isolation: what is done in it is done to it. What is started in
    /// it dies with the thread that started it, so that nothing outlives a killed owner.
    ///
    /// # Errors
    ///
    /// When its directory cannot be made.
    pub fn host() -> Result<Self> {
        sweep().context("remove what earlier runs left behind")?;
        let (name, directory, lock) = new_directory()?;
        Ok(Self { name, directory, kind: Kind::Host, _lock: lock })
    }

    /// A name that no other machine has; begins with `ebpf-netns-machine-`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A directory of this machine alone, at the same path inside and outside, gone with it.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The pid, seen from outside, of the first process; none for the real host.
    #[must_use]
    pub fn init(&self) -> Option<u32> {
        match self.kind {
            Kind::Private { init, .. } => Some(init.as_raw().unsigned_abs()),
            Kind::Host => None,
        }
    }

    /// The path that reaches the machine's `path`, such as a socket, from outside of it.
    #[must_use]
    pub fn outside(&self, path: impl AsRef<Path>) -> PathBuf {
        let path = path.as_ref();
        match self.kind {
            Kind::Private { init, .. } => {
                let root = PathBuf::from(format!("/proc/{init}/root"));
                root.join(path.strip_prefix("/").unwrap_or(path))
            }
            Kind::Host => path.to_path_buf(),
        }
    }

    /// A command that runs `program` in the machine, with `/` as its working directory.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        match self.kind {
            Kind::Private { init, .. } => {
                let mut command = Command::new("nsenter");
                // `--root`, for a harness that runs in a chroot: entering mounts leaves that.
                let namespaces = ["--net", "--mount", "--pid", "--root", "--"];
                command.arg(format!("--target={init}")).args(namespaces);
                command.arg(program);
                command
            }
            Kind::Host => {
                let mut command = Command::new("setpriv");
                command.args(["--pdeathsig", "KILL", "--"]).arg(program);
                command
            }
        }
    }

    /// As [`Self::command`], in another network namespace of the machine, by its path.
    pub fn command_in(&self, netns: impl AsRef<Path>, program: impl AsRef<OsStr>) -> Command {
        let mut command = self.command("nsenter");
        let netns = netns.as_ref().display();
        command.arg(format!("--net={netns}")).arg("--").arg(program);
        command
    }

    /// Runs a program in the machine to its end and returns what it wrote to stdout.
    ///
    /// # Errors
    ///
    /// When it fails; the error shows its stderr.
    pub fn run<I>(&self, program: impl AsRef<OsStr>, arguments: I) -> Result<String>
    where
        I: IntoIterator<Item: AsRef<OsStr>>,
    {
        command::stdout_of(self.command(program).args(arguments))
    }

    /// Starts a command made by [`Self::command`], its output in a log; returns the log's path too.
    ///
    /// # Errors
    ///
    /// When it cannot start.
    pub fn spawn(&self, command: &mut Command, log: &str) -> Result<(Process, PathBuf)> {
        let (path, file) = logs::create(&self.name, log)?;
        let process = Process::spawn(command.stdout(file.try_clone()?).stderr(file), self.wraps())?;
        Ok((process, path))
    }

    /// Whether what [`Self::command`] starts is a child of what enters the machine.
    pub(crate) fn wraps(&self) -> bool {
        matches!(self.kind, Kind::Private { .. })
    }

    /// No interface but `lo` and no route: whatever is sent here stays here.
    fn check_isolated(&self) -> Result<()> {
        let links = self.run("ip", ["-oneline", "link", "show"])?;
        ensure!(
            links.lines().all(|link| link.starts_with("1: lo:")),
            "a new machine has more than a loopback interface:\n{links}"
        );
        for family in ["-4", "-6"] {
            let routes = self.run("ip", [family, "route", "show", "default"])?;
            ensure!(routes.is_empty(), "a new machine has a default route: {routes}");
        }
        Ok(())
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        match &mut self.kind {
            Kind::Private { guardian, lifeline, .. } => {
                drop(lifeline.take());
                let ended = wait_until(DEADLINE, "the end of a machine", || {
                    !matches!(guardian.try_wait(), Ok(None))
                });
                if ended.is_err() {
                    drop(guardian.kill());
                    drop(guardian.wait());
                }
            }
            Kind::Host => drop(fs::remove_dir_all(&self.directory)),
        }
    }
}

/// A name and a directory that no other machine has, and its lock, held before the directory can
/// be taken for a leftover.
fn new_directory() -> Result<(String, PathBuf, File)> {
    static SERIAL: AtomicU32 = AtomicU32::new(0);
    let temporary = std::env::temp_dir();
    loop {
        let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
        let name = format!("{PREFIX}{}-{serial}", process::id());
        let directory = temporary.join(&name);
        let unnamed = tempfile::Builder::new().prefix("new-").tempdir_in(&temporary)?;
        let lock = File::create(unnamed.path().join(LOCK))?;
        lock.lock_shared().context("lock a new directory")?;
        if fs::rename(unnamed.path(), &directory).is_ok() {
            drop(unnamed.keep());
            return Ok((name, directory, lock));
        }
        ensure!(directory.exists(), "cannot create {}", directory.display());
    }
}

/// Waits until the guardian has a machine that is set up, and returns that machine's first process.
fn first_process(guardian: &mut Child) -> Result<Pid> {
    let stdout = guardian.stdout.take().context("the guardian has no stdout")?;
    let mut lines = BufReader::new(stdout).lines();
    let unshare = lines.next().context("the guardian ended")??;
    let unshare = unshare.parse().map(Pid::from_raw).with_context(|| format!("pid {unshare:?}"))?;
    match lines.next() {
        Some(Ok(line)) if line == "ready" => {}
        other => bail!("the first process ended before it was ready: {other:?}"),
    }
    wait_for(DEADLINE, "the machine's first process", || {
        children_of(unshare).first().copied().context("unshare has no child")
    })
}
