//! What was observed of a machine, as plain data.

use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;

use ebpf_netns::docker::Survey;

use crate::gate::Condition;
use crate::kernel::Layout;
use crate::kernel::probe::{Features, Hooks};
use crate::status::Status;

/// What was seen, or why it was not.
pub type Seen<T> = Result<T, Unseen>;

/// Why something could not be looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unseen {
    /// Why, as what follows a colon.
    pub why: String,
    /// Whether somebody with more rights could look.
    pub denied: bool,
}

impl Unseen {
    /// For want of rights.
    #[must_use]
    pub fn denied(why: impl Into<String>) -> Self {
        Self { why: why.into(), denied: true }
    }

    /// For another reason.
    #[must_use]
    pub fn failed(why: impl Into<String>) -> Self {
        Self { why: why.into(), denied: false }
    }
}

impl fmt::Display for Unseen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.why)
    }
}

/// Whether the kernel does something that was tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Support {
    /// It does.
    There,
    /// It does not; what it says.
    Absent(String),
}

/// Everything that was observed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// The kernel, by what was tried.
    pub kernel: Kernel,
    /// The rest of the host, and who looks at it.
    pub host: Host,
    /// Docker.
    pub docker: Docker,
    /// Interfaces, and what is attached to them.
    pub networks: Seen<Networks>,
    /// The daemon.
    pub daemon: Daemon,
    /// What daemons left that do not run any more.
    pub leftovers: Leftovers,
}

/// The kernel, by what was tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kernel {
    /// What `uname -r` says.
    pub release: String,
    /// What there is to make programs of.
    pub features: Features,
    /// Whether the programs load; else what the kernel says.
    pub programs: Seen<Support>,
    /// Whether what loads is made machine code.
    pub jit: Seen<bool>,
    /// Where they can be attached.
    pub hooks: Seen<Hooks>,
    /// Whether the table of strict mode can be made.
    pub strict: Seen<Support>,
}

/// The rest of the host, and who looks at it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// Whether the kernel's types are there.
    pub btf: bool,
    /// Whether tracefs is mounted.
    pub tracefs: bool,
    /// `net.core.bpf_jit_harden`.
    pub harden: Seen<String>,
    /// `kernel.unprivileged_bpf_disabled`.
    pub unprivileged: Seen<Option<String>>,
    /// The level of the kernel's lockdown; none without it.
    pub lockdown: Seen<Option<String>>,
    /// The BPF file system.
    pub bpf_fs: BpfFs,
    /// What of the names below this process has.
    pub held: Seen<BTreeSet<String>>,
    /// The capabilities that the daemon cannot do without on this kernel.
    pub needed: Vec<String>,
    /// Whether this process is in the user namespace of the host.
    pub first_user_namespace: bool,
}

/// The BPF file system, where the daemon pins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BpfFs {
    /// The daemon's directory.
    pub directory: PathBuf,
    /// Whether it is, or would be, in a BPF file system.
    pub mounted: bool,
    /// Whether the daemon mounts one there itself.
    pub usual: bool,
}

/// Docker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Docker {
    /// Where it was looked for.
    pub endpoint: String,
    /// What it says.
    pub survey: Seen<Survey>,
    /// Of the program of our runtime, where it is registered: whether it is there.
    pub runtime_program: Option<Seen<bool>>,
}

/// The interfaces of this network namespace that matter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Networks {
    /// The names of the bridges, whoever's they are.
    pub bridges: BTreeSet<String>,
    /// The veths that are ports of bridges.
    pub ports: Vec<Port>,
    /// Why TCX or the names of programs could not be looked at, if so.
    pub unseen: Option<Unseen>,
}

/// A veth that is a port of a bridge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// Its name.
    pub name: String,
    /// The bridge.
    pub bridge: String,
    /// Its MTU.
    pub mtu: u32,
    /// What is attached that is not ours.
    pub foreign: Vec<Foreign>,
}

/// Something at a hook of an interface that is not ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Foreign {
    /// Which hook.
    pub hook: Hook,
    /// What it is, for people.
    pub what: String,
}

/// A hook that others may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hook {
    /// XDP, which one program can have.
    Xdp,
    /// TCX.
    Tcx,
    /// clsact.
    Clsact,
}

/// The daemon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Daemon {
    /// It answers.
    Answers(Box<Status>),
    /// None runs.
    Absent,
    /// It does not answer, or may not be asked.
    Unseen(Unseen),
}

/// What daemons left that do not run any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leftovers {
    /// The layouts of maps in the BPF file system.
    pub layouts: Seen<Vec<Layout>>,
    /// The table of strict mode.
    pub gate: Seen<Condition>,
    /// Whether a table of its name is somebody else's.
    pub foreign_gate: bool,
}
