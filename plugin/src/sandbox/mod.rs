//! Least privilege: what the daemon can never do again once it runs, whatever becomes of it.
//!
//! What it needs for starting and not for running comes before what takes it away:
//!
//! | when | what | on |
//! |---|---|---|
//! | first, as whoever started it | whatever takes root, as mounting bpffs where there is none; loading | |
//! | then: [`enter`] | capabilities, `no_new_privs`, limits, Landlock | the only thread, and so all |
//! | then | the runtime, adopting, the control socket | |
//! | then: [`Sandbox::seal`] | seccomp | every thread |
//! | before a word of Docker's is read | | |
//!
//! Each layer stands by itself: a kernel that lacks one still has the others, and the log says so.
//! Whoever would rather not run than run so requires all of it.

mod calls;
mod capabilities;
mod landlock;
mod limits;
mod seccomp;

use std::io;
use std::path::{Path, PathBuf};

use ebpf_netns::docker::Endpoint;
use ebpf_netns::links::Store;
use serde::{Deserialize, Serialize};
use tracing::{info, warn};

pub use self::capabilities::{
    Capabilities, Release, drop_capabilities, names_of_held, names_of_needed, parse as release,
    require_capabilities, running,
};
pub use self::landlock::{Landlock, Reach};
pub use self::limits::{come_first, come_in_turn};
pub use self::seccomp::Unlisted;
use crate::cnm;
use crate::error::chain;
use crate::nameservers::Files;

/// Where `ebpf-netns link` writes down what the daemon sweeps.
pub const RUN: &str = "/run/ebpf-netns";
/// What the operator writes.
pub const CONFIGURATION: &str = "/etc/ebpf-netns";

/// What is read besides, and besides name servers: start times of processes, the kernel's types and processors.
const READ: [&str; 4] = ["/proc", "/sys/kernel/btf", "/sys/devices/system/cpu", CONFIGURATION];
/// Read to look up the name of a host, where Docker is reached over TCP.
const NAMES: [&str; 5] =
    ["/etc/hosts", "/etc/resolv.conf", "/etc/nsswitch.conf", "/etc/host.conf", "/etc/gai.conf"];

/// What the sandbox is to be.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What can be reached.
    pub reach: Reach,
    /// Whether `CAP_PERFMON` is kept where it is not needed: the verifier allows more to who has it,
    /// and what it allows is as fast as it can be. For programs that are loaded while the daemon runs.
    pub keeps_perfmon: bool,
    /// What becomes of a system call that the daemon does not make.
    pub unlisted: Unlisted,
    /// Whether to end where a layer is not fully there.
    pub required: bool,
}

/// Where the daemon was told to have what.
#[derive(Clone, Copy, Debug)]
pub struct Paths<'a> {
    /// Its directory in the BPF file system.
    pub pins: &'a Path,
    /// Its records.
    pub state: &'a Path,
    /// Its control socket.
    pub control_socket: &'a Path,
    /// Docker's `--exec-root`.
    pub docker_exec_root: &'a Path,
    /// The directory of the configuration, which may be loaded again.
    pub config: &'a Path,
    /// The directory of the operator's programs.
    pub programs: &'a Path,
    /// The socket of the network driver, if it is to be one.
    pub driver: Option<&'a Path>,
}

impl Settings {
    /// What a daemon needs that reaches Docker there and has these places.
    #[must_use]
    pub fn new(docker: &Endpoint, paths: &Paths<'_>) -> Self {
        let Paths { pins, state, control_socket, docker_exec_root, config, programs, driver } =
            *paths;
        let written = |path| driver.map(|_| Path::new(path));
        let of_driver =
            [driver.and_then(Path::parent), written(cnm::NETWORKS), written(cnm::POOLS)];
        let own = [Some(pins), Some(state), Some(Path::new(RUN)), control_socket.parent()];
        let own = own.into_iter().chain(of_driver);
        let mut read: Vec<PathBuf> = READ.map(PathBuf::from).into();
        read.extend(Files::of_system().reach());
        read.extend([config, programs].map(Path::to_owned));
        let tcp_port = match docker {
            Endpoint::Unix(_) => None,
            Endpoint::Tcp(address) => {
                read.extend(NAMES.map(PathBuf::from));
                address.rsplit_once(':').and_then(|(_, port)| port.parse().ok())
            }
        };
        let reach = Reach {
            own: own.flatten().map(Path::to_path_buf).collect(),
            remade: pins.parent().map(Path::to_path_buf).into_iter().collect(),
            shared: vec![Store::system().directory().to_path_buf()],
            namespaces: vec![docker_exec_root.join("netns")],
            read,
            written: driver.map(|_| PathBuf::from(cnm::FORWARDING_V6)).into_iter().collect(),
            tcp_port,
        };
        // Who wrote a program did not write it for a verifier that takes less.
        let keeps_perfmon = programs.is_dir();
        Self { reach, keeps_perfmon, unlisted: Unlisted::default(), required: false }
    }
}

/// The process could not give up what it is to give up.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// Capabilities that are needed are missing.
    #[error("not permitted: {names} missing: run as root, or grant what is missing")]
    MissingCapability {
        /// Their names.
        names: String,
    },
    /// There are threads that would keep what they have: a bug.
    #[error("give up capabilities: there are {threads} threads already: this is a bug")]
    TooLate {
        /// How many.
        threads: usize,
    },
    /// The system refuses.
    #[error("{what}")]
    System {
        /// What.
        what: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A directory that is to stay within reach can neither be opened nor made.
    #[error("{what} {}", path.display())]
    File {
        /// What was being done.
        what: &'static str,
        /// To which.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// Landlock's rules are refused.
    #[error("confine the process to its files")]
    Landlock(#[source] Box<::landlock::RulesetError>),
    /// The filter is refused.
    #[error("filter the system calls")]
    Seccomp(#[source] Box<seccompiler::Error>),
    /// Not all of it is there, and all of it is required.
    #[error("the sandbox is required and not whole here: {gaps}: run without --require-sandbox")]
    NotWhole {
        /// What is missing.
        gaps: String,
    },
}

impl SandboxError {
    /// Whether this is for want of permission.
    #[must_use]
    pub const fn is_permission(&self) -> bool {
        matches!(self, Self::MissingCapability { .. })
    }
}

/// A process that has given up all but its system calls.
#[derive(Debug)]
#[must_use = "the system calls are not filtered before it is sealed"]
pub struct Sandbox {
    settings: Settings,
    capabilities: Capabilities,
    landlock: Landlock,
}

/// Gives up capabilities and files: all that can be given up before the programs are loaded.
///
/// Must be called while the process has one thread.
///
/// # Errors
///
/// When a capability that is needed is missing, a directory cannot be had, the system refuses, or
/// the sandbox is required and the kernel does not have all of it.
pub fn enter(settings: Settings) -> Result<Sandbox, SandboxError> {
    let capabilities = drop_capabilities(settings.keeps_perfmon)?;
    limits::set()?;
    landlock::make_directories(&settings.reach)?;
    let landlock = landlock::confine(&settings.reach)?;
    let sandbox = Sandbox { settings, capabilities, landlock };
    sandbox.require_whole(&sandbox.gaps())?;
    Ok(sandbox)
}

/// What holds of a process that is confined, in words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confinement {
    /// The capabilities that it has, and all that it can have.
    pub capabilities: String,
    /// How far Landlock confines it.
    pub landlock: String,
    /// What becomes of a system call that it does not make; `absent` without a filter.
    pub seccomp: String,
    /// What is not as it is to be; nothing where the sandbox is whole.
    pub gaps: Vec<String>,
}

impl Sandbox {
    /// Filters the system calls of all threads, and says in one line of the log what holds now.
    ///
    /// # Errors
    ///
    /// When the sandbox is required and the kernel cannot filter.
    pub fn seal(self) -> Result<Confinement, SandboxError> {
        let mut gaps = self.gaps();
        let internet = self.settings.reach.tcp_port.is_some();
        let filtered = seccomp::filter(self.settings.unlisted, internet);
        let seccomp = match &filtered {
            Ok(()) => self.settings.unlisted.to_string(),
            Err(error) => {
                gaps.push(format!("seccomp: {}", chain(error)));
                "absent".to_owned()
            }
        };
        self.require_whole(&gaps)?;
        let capabilities = self.capabilities.names();
        let landlock = self.landlock;
        info!(capabilities, no_new_privs = true, %landlock, seccomp, "confined");
        if !gaps.is_empty() {
            warn!(gaps = gaps.join("; "), "the sandbox is not whole here");
        }
        Ok(Confinement { capabilities, landlock: landlock.to_string(), seccomp, gaps })
    }

    /// What is not as it is to be, of all but the filter that may not be there yet.
    fn gaps(&self) -> Vec<String> {
        let mut gaps = Vec::new();
        if !self.capabilities.bounded {
            gaps.push(
                "capabilities: the bounding set is larger (CAP_SETPCAP is missing)".to_owned(),
            );
        }
        if self.capabilities.coarse() {
            gaps.push("capabilities: CAP_SYS_ADMIN in place of CAP_BPF".to_owned());
        }
        if !matches!(self.landlock, Landlock::Full { .. }) {
            gaps.push(format!("Landlock: {} (Linux 6.12 has all of it)", self.landlock));
        }
        if self.settings.unlisted == Unlisted::Log {
            gaps.push("seccomp: unlisted system calls are made, and logged".to_owned());
        }
        gaps
    }

    fn require_whole(&self, gaps: &[String]) -> Result<(), SandboxError> {
        if self.settings.required && !gaps.is_empty() {
            return Err(SandboxError::NotWhole { gaps: gaps.join("; ") });
        }
        Ok(())
    }
}
