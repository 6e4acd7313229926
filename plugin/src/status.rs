//! What `status` tells, as data: the daemon fills it in, JSON carries it, and the table shows it.

use std::path::PathBuf;

use ebpf_netns::Ifindex;
use serde::{Deserialize, Serialize};

use crate::config::OnError;
use crate::kernel::{Count, ProgramIdentity, Traffic};
use crate::origin::Origin;
use crate::sandbox::Confinement;

/// Everything that is enforced, and what is not and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The daemon's version.
    pub version: String,
    /// Whether it runs in strict mode; an older daemon does not tell.
    #[serde(default)]
    pub strict: Option<bool>,
    /// What it has given up; none while it starts, and of an older daemon.
    #[serde(default)]
    pub sandbox: Option<Confinement>,
    /// Docker, as the daemon sees it.
    pub docker: DockerStatus,
    /// What the operator configured.
    pub config: ConfigStatus,
    /// The containers that have a policy, in the order of their names.
    pub containers: Vec<ContainerStatus>,
    /// Interfaces that are closed until it is known whose they are, in the order of their indices.
    pub quarantined: Vec<QuarantineStatus>,
    /// What happened since the daemon started.
    pub counts: Counts,
}

/// What the operator configured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigStatus {
    /// The file that it was read from; none if there was no file.
    pub file: Option<PathBuf>,
    /// When it was loaded, in seconds since 1970.
    pub since: u64,
    /// The policy of every container.
    pub default: Option<String>,
    /// What a label does that is not understood.
    pub on_error: OnError,
    /// The policies that labels can name.
    pub policies: Vec<PolicyStatus>,
    /// What is wrong with the configuration that was to follow and was not taken.
    pub refused: Vec<String>,
}

/// A policy that labels can name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyStatus {
    /// The name.
    pub name: String,
    /// Presets and rules.
    pub policy: String,
    /// How many containers have labels that name it.
    pub containers: usize,
}

/// An interface that is closed until it is known whose it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuarantineStatus {
    /// Its index.
    pub ifindex: Ifindex,
    /// Its name.
    pub name: String,
    /// For how long.
    pub seconds: u64,
    /// Why it is not known yet.
    pub reason: String,
}

/// What happened since the daemon started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// New interfaces that were closed until it was known whose they are.
    pub quarantined: u64,
    /// Attachments, policies and pins that somebody else removed, and that were put back.
    pub repairs: u64,
    /// How often the kernel had more news of links than could be read.
    pub overruns: u64,
    /// Records that could not be written, read or removed.
    pub record_failures: u64,
    /// How often everything was compared with what it should be.
    pub reconciliations: u64,
    /// How often Docker ceased to answer.
    pub docker_outages: u64,
    /// Configurations that were taken while the daemon ran.
    pub reloads: u64,
    /// Those that were refused.
    pub refused_reloads: u64,
}

/// Whether Docker answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum DockerStatus {
    /// Not tried yet.
    Unknown,
    /// It answers.
    Connected {
        /// The version of its API that was agreed on.
        api: String,
    },
    /// It does not; what was enforced stays.
    Unreachable {
        /// Why.
        reason: String,
    },
}

/// One container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerStatus {
    /// The full id.
    pub id: String,
    /// The name.
    pub name: String,
    /// What its labels amount to.
    pub state: State,
    /// Why it is not `enforced`.
    pub reason: Option<String>,
    /// Its interfaces.
    pub interfaces: Vec<InterfaceStatus>,
}

/// What the labels of a container, or of one interface, amount to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// It has no interface now: it does not run, or has no network.
    Idle,
    /// The policy stands.
    Enforced,
    /// Nothing passes.
    Closed,
    /// The policy stands on no interface, since the host has no end of them.
    Unenforceable,
    /// Not all is stopped that should be: a person must act.
    Open,
    /// Its interfaces could not be looked up.
    Unknown,
}

impl State {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Idle, Self::Enforced, Self::Closed, Self::Unenforceable, Self::Open, Self::Unknown];

    /// The word for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Enforced => "enforced",
            Self::Unenforceable => "unenforceable",
            Self::Closed => "closed",
            Self::Open => "OPEN",
            Self::Unknown => "unknown",
        }
    }
}

/// One interface of a container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InterfaceStatus {
    /// Its name in the container.
    pub name: String,
    /// Its index in the container.
    pub ifindex: Ifindex,
    /// The Docker network that it is on.
    pub network: Option<String>,
    /// The host-side veth.
    pub host: Option<HostSide>,
    /// What it amounts to.
    pub state: State,
    /// Why it is not `enforced`.
    pub reason: Option<String>,
    /// Why it is enforced the way it is.
    pub notes: Vec<String>,
    /// The programs.
    pub hooks: Vec<HookStatus>,
    /// The rules with what each decided over, where they were asked for, and for as long as they
    /// stand.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<LayerStatus>,
    /// Programs of the operator's, which see what those of `hooks` let pass at TC, and what comes at
    /// XDP.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub programs: Vec<OwnStatus>,
}

/// One program of the operator's at one hook. What it passes and drops, its own maps say.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnStatus {
    /// `xdp`, `tcx` or `clsact`.
    pub hook: String,
    /// The container's direction: `egress` is what it sends.
    pub direction: String,
    /// The side of the host-side veth that it is attached to: the direction reversed.
    pub host_side: String,
    /// For XDP, `generic`, `native` or `offload`.
    pub mode: Option<String>,
    /// As the label names it: `FILE` or `FILE#FUNCTION`; none while another takes its place.
    pub name: Option<String>,
    /// Its number in the kernel.
    pub id: u32,
    /// The program; none of one that another is about to replace.
    pub program: Option<ProgramIdentity>,
    /// Where its maps are pinned.
    pub maps: Option<PathBuf>,
}

/// The host-side end of a container's interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostSide {
    /// Its name.
    pub name: String,
    /// Its index.
    pub ifindex: Ifindex,
    /// The bridge that it is a port of.
    pub bridge: Option<String>,
}

/// One program at one hook.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HookStatus {
    /// `xdp`, `tcx` or `clsact`.
    pub hook: String,
    /// The container's direction: `egress` is what it sends.
    pub direction: String,
    /// The side of the host-side veth that it is attached to: the direction reversed.
    pub host_side: String,
    /// For XDP, `generic`, `native` or `offload`.
    pub mode: Option<String>,
    /// The presets, or `closed`.
    pub policy: String,
    /// The program.
    pub program: Option<ProgramIdentity>,
    /// What it saw since it was attached.
    pub traffic: Traffic,
}

/// One list of rules of an interface, of which each has to let a packet pass.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerStatus {
    /// The container's direction: `egress` is for what it sends.
    pub direction: String,
    /// Where it was written: in one place, but for presets that are only counted.
    pub origins: Vec<Origin>,
    /// Whether what it would drop is counted and reported, and passes.
    pub audit: bool,
    /// Its rules in their order, and last what none of them matches.
    pub rules: Vec<RuleStatus>,
}

/// One rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleStatus {
    /// Its line in the value; 1 is the first.
    pub line: Option<u32>,
    /// What it says.
    pub rule: String,
    /// `allow` or `deny`.
    pub action: String,
    /// The packets that it decided over since these rules stand: of a connection, the one that opens
    /// it. Those that `deny` matches in a list that is only counted passed.
    pub hits: Count,
}
