//! The kernel's side of the daemon: the loaded programs, their maps and links. The only place that
//! names aya, and the interpreter of [`Step`]s: every change of the kernel's state is one.

mod attach;
mod errno;
mod events;
mod query;
mod refusal;
mod stats;

use std::collections::{BTreeMap, BTreeSet};

use aya::maps::{HashMap, MapData, PerCpuHashMap};
use aya::programs::{Program, ProgramError};
use aya::{Ebpf, EbpfError, EbpfLoader};
use ebpf_netns::{ErrorClass, Ifindex, Link, Rtnl, RtnlError};
use plugin_common::abi::{
    EGRESS_PROGRAM, EVENTS_MAP, INGRESS_PROGRAM, InterfacePolicy, InterfaceStats, Observer,
    POLICY_MAP, STATS_MAP, StatsKey, XDP_PROGRAM,
};
use serde::{Deserialize, Serialize};

pub use self::events::PacketEvents;
pub use self::query::{AttachedProgram, attached};
pub use self::refusal::Refusal;
pub use self::stats::{Count, Traffic};
use crate::error::of_system;
use crate::plan::{Attachment, Hook, Step};

/// The object that `cargo xtask ebpf` built.
static OBJECT: &[u8] =
    aya::include_bytes_aligned!(concat!(env!("CARGO_MANIFEST_DIR"), "/bytecode/policy.o"));

/// The kernel programs could not be made ready.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The kernel does not let this process.
    #[error(
        "load the kernel programs: not permitted: run as root, or with CAP_BPF, CAP_NET_ADMIN and \
         CAP_PERFMON (before Linux 5.8 CAP_SYS_ADMIN)"
    )]
    NotPermitted,
    /// The kernel refuses the object.
    #[error("load the kernel programs")]
    Object(#[source] Box<EbpfError>),
    /// The kernel refuses a program.
    #[error("load kernel program {name}: {why}")]
    Program {
        /// Its name.
        name: &'static str,
        /// Why: the error, and the verifier's last lines.
        why: String,
    },
    /// rtnetlink does not answer.
    #[error("ask rtnetlink")]
    Rtnl(#[from] RtnlError),
    /// The object lacks something that the daemon counts on: a bug.
    #[error("the embedded object has no {0}: it does not belong to this binary")]
    Missing(&'static str),
}

/// A program as the kernel knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProgramIdentity {
    /// Its id, which changes with every load.
    pub id: u32,
    /// Its name.
    pub name: String,
    /// The hash of its instructions, 16 hexadecimal digits.
    pub tag: String,
}

/// The loaded programs, and what they are attached to. Dropping it detaches everything.
pub struct Kernel {
    ebpf: Ebpf,
    policy: HashMap<MapData, u32, InterfacePolicy>,
    stats: PerCpuHashMap<MapData, StatsKey, InterfaceStats>,
    links: BTreeMap<(Ifindex, Hook, Attachment), attach::Link>,
    /// Interfaces whose clsact qdisc is ours to remove.
    qdiscs: BTreeSet<Ifindex>,
    identities: BTreeMap<Hook, ProgramIdentity>,
    rtnl: Rtnl,
}

impl Kernel {
    /// Loads the programs.
    ///
    /// # Errors
    ///
    /// When the kernel refuses.
    pub fn load() -> Result<(Self, PacketEvents), LoadError> {
        let mut ebpf = EbpfLoader::new().load(OBJECT).map_err(|source| match source {
            source if is_permission(&source) => LoadError::NotPermitted,
            source => LoadError::Object(Box::new(source)),
        })?;
        let mut identities = BTreeMap::new();
        for hook in [Hook::Xdp, Hook::Egress, Hook::Ingress] {
            identities.insert(hook, load_program(&mut ebpf, hook)?);
        }
        let policy = take(&mut ebpf, POLICY_MAP)?;
        let stats = take(&mut ebpf, STATS_MAP)?;
        let events = PacketEvents::new(take(&mut ebpf, EVENTS_MAP)?);
        let kernel = Self {
            ebpf,
            policy,
            stats,
            links: BTreeMap::new(),
            qdiscs: BTreeSet::new(),
            identities,
            rtnl: Rtnl::open()?,
        };
        Ok((kernel, events))
    }

    /// Carries out one step. `interface` is the step's interface as it is now.
    ///
    /// # Errors
    ///
    /// Why the kernel refused, as a sentence with the way out.
    pub fn apply(&mut self, step: Step, interface: &Link) -> Result<(), Refusal> {
        match step {
            Step::SetPolicy { ifindex, policy } => self
                .policy
                .insert(ifindex.get(), policy, 0)
                .map_err(|error| Refusal::new(format!("write the policy map: {error}"))),
            Step::Attach { ifindex, hook, attachment } => {
                let link = self.attach(hook, attachment, interface)?;
                self.links.insert((ifindex, hook, attachment), link);
                Ok(())
            }
            Step::Detach { .. } | Step::Forget { .. } => self.release(step),
        }
    }

    /// Carries out a step that takes something away, for which the interface need not be there.
    ///
    /// # Errors
    ///
    /// When the step is not of that kind: a bug.
    pub fn release(&mut self, step: Step) -> Result<(), Refusal> {
        match step {
            Step::Detach { ifindex, hook, attachment } => {
                // Dropping the link detaches it; where the interface is gone the kernel has.
                self.links.remove(&(ifindex, hook, attachment));
                self.remove_own_qdisc(ifindex)
            }
            Step::Forget { ifindex } => {
                self.forget(ifindex);
                Ok(())
            }
            Step::SetPolicy { .. } | Step::Attach { .. } => {
                Err(Refusal::new(format!("{step:?} takes nothing away")))
            }
        }
    }

    /// Whether a clsact qdisc was added to an interface and has no filter of ours any more.
    #[must_use]
    pub fn take_unused_qdisc(&mut self, ifindex: Ifindex) -> bool {
        let in_use = self
            .links
            .keys()
            .any(|(index, _, attachment)| *index == ifindex && *attachment == Attachment::Clsact);
        !in_use && self.qdiscs.remove(&ifindex)
    }

    /// Removes the clsact qdisc that was added to an interface, once no filter is left on it:
    /// neither ours nor anybody else's.
    fn remove_own_qdisc(&mut self, ifindex: Ifindex) -> Result<(), Refusal> {
        let ours = |(index, _, attachment): &(Ifindex, Hook, Attachment)| {
            *index == ifindex && *attachment == Attachment::Clsact
        };
        if self.links.keys().any(ours) || !self.qdiscs.remove(&ifindex) {
            return Ok(());
        }
        match self.rtnl.remove_unused_clsact(ifindex) {
            Ok(_removed) => Ok(()),
            Err(error) if error.class() == ErrorClass::Gone => Ok(()),
            Err(error) => Err(Refusal::new(crate::error::chain(&error))),
        }
    }

    /// What a hook's program saw on an interface.
    #[must_use]
    pub fn traffic(&self, ifindex: Ifindex, hook: Hook) -> Traffic {
        let key = StatsKey { ifindex: ifindex.get(), observer: observer(hook) as u32 };
        self.stats.get(&key, 0).map_or_else(|_| Traffic::default(), |stats| Traffic::sum(&stats))
    }

    /// The program of a hook.
    #[must_use]
    pub fn program(&self, hook: Hook) -> Option<&ProgramIdentity> {
        self.identities.get(&hook)
    }

    /// Removes an interface from the maps. What is not there is as good as removed.
    fn forget(&mut self, ifindex: Ifindex) {
        self.policy.remove(&ifindex.get()).ok();
        for hook in [Hook::Xdp, Hook::Egress, Hook::Ingress] {
            let key = StatsKey { ifindex: ifindex.get(), observer: observer(hook) as u32 };
            self.stats.remove(&key).ok();
        }
    }
}

/// The observer under which a hook's program counts.
const fn observer(hook: Hook) -> Observer {
    match hook {
        Hook::Xdp => Observer::Xdp,
        Hook::Egress => Observer::Egress,
        Hook::Ingress => Observer::Ingress,
    }
}

const fn program_name(hook: Hook) -> &'static str {
    match hook {
        Hook::Xdp => XDP_PROGRAM,
        Hook::Egress => EGRESS_PROGRAM,
        Hook::Ingress => INGRESS_PROGRAM,
    }
}

fn load_program(ebpf: &mut Ebpf, hook: Hook) -> Result<ProgramIdentity, LoadError> {
    let name = program_name(hook);
    let program = ebpf.program_mut(name).ok_or(LoadError::Missing(name))?;
    let loaded = match program {
        Program::Xdp(program) => program.load(),
        Program::SchedClassifier(program) => program.load(),
        _ => Err(ProgramError::UnexpectedProgramType),
    };
    let info = loaded.and_then(|()| program.info());
    match info {
        Ok(info) => Ok(ProgramIdentity {
            id: info.id(),
            name: name.to_owned(),
            tag: format!("{:016x}", info.tag()),
        }),
        Err(ProgramError::LoadError { io_error, .. })
            if io_error.kind() == std::io::ErrorKind::PermissionDenied && lacks_capability() =>
        {
            Err(LoadError::NotPermitted)
        }
        Err(error) => Err(LoadError::Program { name, why: last_lines(&error) }),
    }
}

/// Whether one of the capabilities that loading takes is missing: the verifier refuses programs to
/// who lacks `CAP_PERFMON`, with the error that it has for bad ones.
fn lacks_capability() -> bool {
    const CAP_NET_ADMIN: u64 = 1 << 12;
    const CAP_PERFMON: u64 = 1 << 38;
    const CAP_BPF: u64 = 1 << 39;
    let needed = CAP_NET_ADMIN | CAP_PERFMON | CAP_BPF;
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let effective = effective.and_then(|digits| u64::from_str_radix(digits.trim(), 16).ok());
    effective.is_none_or(|effective| effective & needed != needed)
}

/// The kernel's error with the end of what the verifier says, which is where it gives the reason.
fn last_lines(error: &ProgramError) -> String {
    const LINES: usize = 6;
    let ProgramError::LoadError { io_error, verifier_log } = error else {
        return error.to_string();
    };
    let log = verifier_log.to_string();
    let lines: Vec<&str> = log.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let last = lines.get(lines.len().saturating_sub(LINES)..).unwrap_or_default();
    format!("{io_error}; the verifier says: {}", last.join(" | "))
}

fn take<T: TryFrom<aya::maps::Map>>(ebpf: &mut Ebpf, name: &'static str) -> Result<T, LoadError> {
    let map = ebpf.take_map(name).ok_or(LoadError::Missing(name))?;
    T::try_from(map).map_err(|_mismatch| LoadError::Missing(name))
}

fn is_permission(error: &EbpfError) -> bool {
    let errno = of_system(error).and_then(std::io::Error::raw_os_error);
    errno == Some(nix::errno::Errno::EPERM as i32)
}

/// The program of a hook, as the type that attaches it.
fn program<'a, P>(ebpf: &'a mut Ebpf, hook: Hook) -> Result<P, Refusal>
where
    P: TryFrom<&'a mut Program, Error = ProgramError>,
{
    let name = program_name(hook);
    ebpf.program_mut(name)
        .ok_or(ProgramError::NotLoaded)
        .and_then(P::try_from)
        .map_err(|error| Refusal::new(format!("program {name}: {error}")))
}
