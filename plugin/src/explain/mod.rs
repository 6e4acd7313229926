//! What becomes of one packet of a container, and why: the question, the case that the daemon makes
//! of it, and what came of it.
//!
//! - `text.rs` reads a packet as people write it, `capture.rs` a frame or a capture of frames;
//! - `subject.rs` finds the interface that the packet is on, and `frame.rs` makes a frame of it;
//! - `reference.rs` says what should become of it, layer by layer;
//! - `outcome.rs` compares that with what the programs do.
//!
//! The daemon runs nothing for it: it hands out the case, and whoever asks runs the programs, on
//! connections and counters of their own ([`crate::kernel::examine`]).

mod capture;
mod frame;
mod outcome;
mod reference;
mod subject;
#[cfg(test)]
mod tests;
mod text;

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;

use ebpf_netns::exit;
use plugin_common::abi::InterfacePolicy;
use plugin_common::presets::Presets;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

pub use self::capture::{CaptureError, of_capture, of_hex};
pub use self::outcome::{Explanation, HookOutcome, conclude};
pub use self::subject::{Candidate, Subject, case};
use crate::origin::Origin;
use crate::plan::Hook;
pub use crate::pointed::TextError;
use crate::rules::Direction;
use crate::status::{HostSide, State};

/// The longest frame that the kernel runs a program on: a page, less what it keeps at both ends.
pub const MAX_FRAME: usize = 3520;
/// The shortest: of an Ethernet header alone the kernel makes no packet.
pub const MIN_FRAME: usize = 15;

/// A question, as it is sent to the daemon.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Question {
    /// The container: its name, its id, or the beginning of that.
    pub container: String,
    /// The name of one of its interfaces, where it cannot be told from the packet.
    pub interface: Option<String>,
    /// The container's direction, where it cannot be told from the packet.
    pub direction: Option<Direction>,
    /// The packet.
    pub packet: Given,
}

/// A packet, as it is given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Given {
    /// In words.
    Described(Described),
    /// The whole frame, from the Ethernet header on.
    Frame(Vec<u8>),
}

/// A packet that begins a connection, or a question of ICMP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Described {
    /// The number of the protocol.
    pub protocol: u8,
    /// Who sends it.
    pub source: End,
    /// Whom it is for.
    pub destination: End,
    /// The type of a message of ICMP.
    pub icmp_type: Option<u8>,
}

/// One end of a packet's way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct End {
    /// The address; none is the container's own.
    pub address: Option<IpAddr>,
    /// The port, of protocols that have ports.
    pub port: u16,
}

/// A question, as the engine gets it.
#[derive(Debug)]
pub struct ExplainAsked {
    /// The container.
    pub container: String,
    /// Takes what is known of it.
    pub reply: oneshot::Sender<Result<Subject, Refused>>,
}

/// The daemon's answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// What is to be run, and what should come of it.
    Case(Box<Case>),
    /// Why there is nothing to be run.
    Refused(Refused),
}

/// Why there is nothing to explain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// What kind of reason it is.
    pub kind: RefusedKind,
    /// The reason, with the way out.
    pub reason: String,
}

/// What kind of reason there is for explaining nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RefusedKind {
    /// There is no such container, or nothing of ours on it.
    NotFound,
    /// The question is not clear, or the packet is none.
    Unclear,
    /// Things are changing right now.
    Changing,
    /// The daemon could not do it.
    Failed,
}

impl Refused {
    pub(crate) fn not_found(reason: impl Into<String>) -> Self {
        Self { kind: RefusedKind::NotFound, reason: reason.into() }
    }

    pub(crate) fn failed(reason: impl Into<String>) -> Self {
        Self { kind: RefusedKind::Failed, reason: reason.into() }
    }

    pub(crate) fn unclear(reason: impl Into<String>) -> Self {
        Self { kind: RefusedKind::Unclear, reason: reason.into() }
    }

    pub(crate) fn changing(reason: impl Into<String>) -> Self {
        Self { kind: RefusedKind::Changing, reason: reason.into() }
    }

    /// The exit code that a command ends with because of this.
    #[must_use]
    pub const fn exit_code(&self) -> u8 {
        match self.kind {
            RefusedKind::NotFound => exit::NOT_FOUND,
            RefusedKind::Unclear => exit::USAGE,
            RefusedKind::Changing | RefusedKind::Failed => exit::FAILED,
        }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

/// One packet on one interface: what is to be run, and what should come of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Case {
    /// Whose packet it is, and where.
    pub on: Whereabouts,
    /// The frame, from the Ethernet header on.
    pub frame: Vec<u8>,
    /// The interface's entry of the policy map.
    pub policy: PolicyEntry,
    /// The programs that the packet meets, in this order.
    pub points: Vec<Point>,
    /// What each part of the policy says, by the reference.
    pub layers: Vec<LayerVerdict>,
    /// Where the counters of the interface's rules are: the first, and how many.
    pub counters: (u32, u32),
    /// Where the maps are pinned.
    pub maps: PathBuf,
}

/// Whose packet it is, and where it is looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Whereabouts {
    /// The container's name.
    pub container: String,
    /// The interface in the container.
    pub interface: String,
    /// The Docker network that it is on.
    pub network: Option<String>,
    /// The host-side veth.
    pub host: HostSide,
    /// What stands on it.
    pub state: State,
    /// Why it is not `enforced`.
    pub reason: Option<String>,
    /// The container's direction.
    pub direction: Direction,
    /// What is to be known of the operator's programs in this direction.
    #[serde(default)]
    pub programs: Vec<String>,
    /// The packet, in words.
    pub packet: String,
}

/// The entry of the policy map, in numbers, but for who watches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyEntry {
    /// Presets at XDP.
    pub xdp: u32,
    /// Presets at TC for what the container sends.
    pub egress: u32,
    /// Presets at TC for what it receives.
    pub ingress: u32,
    /// The number of the rules.
    pub rules: u32,
}

impl From<InterfacePolicy> for PolicyEntry {
    fn from(policy: InterfacePolicy) -> Self {
        // Who watches changes nothing of what becomes of a packet.
        let InterfacePolicy { xdp, egress, ingress, rules } = policy.watched(Presets::PASS);
        Self { xdp: xdp.bits(), egress: egress.bits(), ingress: ingress.bits(), rules }
    }
}

impl PolicyEntry {
    /// The presets of a hook.
    fn presets(self, hook: Hook) -> Presets {
        Presets::from_bits(match hook {
            Hook::Xdp => self.xdp,
            Hook::Egress => self.egress,
            Hook::Ingress => self.ingress,
        })
    }
}

/// A program that the packet meets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Point {
    /// The hook.
    pub hook: Hook,
    /// How it is attached there: `xdp generic`, `tcx`, `clsact`.
    pub attached: String,
    /// The program's name.
    pub program: String,
    /// The hash of the program that is attached.
    pub tag: String,
    /// What it should make of the packet, as the beginning of a connection.
    pub expected: Finding,
}

/// What a program makes of a packet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// The reason that it is counted under: `passed`, or why it is dropped.
    pub reason: String,
    /// Where the rules that decided are counted.
    pub counters: Vec<u32>,
}

/// What one part of a policy says of a packet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerVerdict {
    /// Where that part was written.
    pub origins: Vec<Origin>,
    /// The line of the rule that decides, where it is one; 1 is the first.
    pub line: Option<u32>,
    /// The rule that decides, or the presets.
    pub rule: String,
    /// What it says.
    pub verdict: Says,
    /// Where the rule is counted, if it is one.
    pub counter: Option<u32>,
}

/// What a part of a policy says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Says {
    /// The packet passes.
    Allow,
    /// It is dropped.
    Deny,
    /// It would be dropped, but for an audit.
    WouldDeny,
}

impl Says {
    const fn of(allowed: bool, audit: bool) -> Self {
        match (allowed, audit) {
            (true, _) => Self::Allow,
            (false, false) => Self::Deny,
            (false, true) => Self::WouldDeny,
        }
    }

    /// The words for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
            Self::WouldDeny => "would deny (audit)",
        }
    }
}
