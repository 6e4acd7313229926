//! Loading the programs, with the maps of an earlier daemon where there are any.

use std::collections::BTreeMap;

use aya::maps::MapData;
use aya::programs::{Program, ProgramError};
use aya::{Ebpf, EbpfError, EbpfLoader};
use ebpf_netns::RtnlError;
use plugin_common::abi::{
    BLOCKS_MAP, EGRESS_PROGRAM, EVENTS_MAP, FLOWS_MAP, HITS_MAP, IMAGES_MAP, INGRESS_PROGRAM,
    LANES_MAP, LEAVES_MAP, PACES_MAP, PASSES_MAP, POLICY_MAP, SECRET_MAP, STATS_MAP, XDP_PROGRAM,
};
use plugin_common::capture::{CAPTURE_LOST_MAP, CAPTURE_RINGS_MAP, CAPTURES_MAP};
use serde::{Deserialize, Serialize};

use super::object;
use super::pins::{self, Pins};
use crate::error::of_system;
use crate::plan::Hook;

/// The kernel programs could not be made ready.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The kernel does not let this process.
    #[error(
        "load the kernel programs: not permitted: run as root, or with CAP_BPF and CAP_NET_ADMIN \
         (before Linux 6.8 CAP_PERFMON too)"
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
    /// What is loaded cannot be pinned.
    #[error("pin the kernel programs: {0}")]
    Pin(String),
    /// rtnetlink does not answer.
    #[error("ask rtnetlink")]
    Rtnl(#[from] RtnlError),
    /// The thread that attaches cannot be started.
    #[error("start the thread that attaches")]
    Thread(#[source] std::io::Error),
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

/// Finds out what this kernel can, once for the process. To be done with all the rights there are:
/// aya asks with a tracing program, and without `CAP_PERFMON` takes the refusal for a kernel that
/// does not know names of programs.
pub fn probe() {
    aya::features();
}

pub(super) const MAPS: [&str; 15] = [
    POLICY_MAP,
    STATS_MAP,
    EVENTS_MAP,
    IMAGES_MAP,
    BLOCKS_MAP,
    LEAVES_MAP,
    FLOWS_MAP,
    SECRET_MAP,
    HITS_MAP,
    LANES_MAP,
    PASSES_MAP,
    PACES_MAP,
    CAPTURES_MAP,
    CAPTURE_RINGS_MAP,
    CAPTURE_LOST_MAP,
];

/// The programs in the kernel, attached to nothing.
pub struct Programs {
    pub(super) ebpf: Ebpf,
    pub(super) identities: BTreeMap<Hook, ProgramIdentity>,
}

impl Programs {
    /// Loads the object. Its programs are new with every start; its maps are those that are pinned, so
    /// that what an earlier daemon attached and what this one attaches share them.
    ///
    /// For who has `CAP_PERFMON` the verifier adds no barriers against what a processor may do that
    /// guesses wrong: they take several times as long as the programs.
    ///
    /// # Errors
    ///
    /// When the kernel refuses.
    pub fn load(pins: &Pins) -> Result<Self, LoadError> {
        let mut loader = object::loader();
        for name in MAPS {
            loader.map_pin_path(name, pins.map(name));
        }
        let mut ebpf = load_object(&mut loader, object::for_this_kernel())?;
        let mut identities = BTreeMap::new();
        for hook in Hook::ALL {
            identities.insert(hook, load_program(&mut ebpf, hook)?);
        }
        Ok(Self { ebpf, identities })
    }
}

impl std::fmt::Debug for Programs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Programs").field("identities", &self.identities).finish_non_exhaustive()
    }
}

/// Has the kernel make the maps of an object.
pub(super) fn load_object(loader: &mut EbpfLoader<'_>, object: &[u8]) -> Result<Ebpf, LoadError> {
    loader.load(object).map_err(|source| match source {
        source if is_permission(&source) => LoadError::NotPermitted,
        source => LoadError::Object(Box::new(source)),
    })
}

/// Another handle of each map.
pub(super) fn pinned_maps(pins: &Pins) -> Result<Vec<(&'static str, MapData)>, LoadError> {
    let open = |name| {
        MapData::from_pin(pins.map(name))
            .map(|map| (name, map))
            .map_err(|error| LoadError::Object(Box::new(error.into())))
    };
    MAPS.into_iter().map(open).collect()
}

/// Pins the programs where they are not, for people and for tools: what is attached holds them.
pub(super) fn pin_programs(ebpf: &mut Ebpf, pins: &Pins) -> Result<(), String> {
    for hook in Hook::ALL {
        let name = program_name(hook);
        let path = pins.program(name);
        pins::unpin(&path).map_err(|error| crate::error::chain(&error))?;
        let program = ebpf.program_mut(name).ok_or_else(|| format!("no program {name}"))?;
        program.pin(&path).map_err(|error| crate::error::chain(&error))?;
    }
    Ok(())
}

pub(super) const fn program_name(hook: Hook) -> &'static str {
    match hook {
        Hook::Xdp => XDP_PROGRAM,
        Hook::Egress => EGRESS_PROGRAM,
        Hook::Ingress => INGRESS_PROGRAM,
    }
}

pub(super) fn load_program(ebpf: &mut Ebpf, hook: Hook) -> Result<ProgramIdentity, LoadError> {
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

/// Whether one of the capabilities that loading takes is missing: before Linux 6.8 the verifier
/// refuses programs to who lacks `CAP_PERFMON`, with the error that it has for bad ones.
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
pub(super) fn last_lines(error: &ProgramError) -> String {
    const LINES: usize = 6;
    let ProgramError::LoadError { io_error, verifier_log } = error else {
        return error.to_string();
    };
    let log = verifier_log.to_string();
    let lines: Vec<&str> = log.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let last = lines.get(lines.len().saturating_sub(LINES)..).unwrap_or_default();
    format!("{io_error}; the verifier says: {}", last.join(" | "))
}

pub(super) fn take<T: TryFrom<aya::maps::Map>>(
    ebpf: &mut Ebpf,
    name: &'static str,
) -> Result<T, LoadError> {
    let map = ebpf.take_map(name).ok_or(LoadError::Missing(name))?;
    T::try_from(map).map_err(|_mismatch| LoadError::Missing(name))
}

fn is_permission(error: &EbpfError) -> bool {
    let errno = of_system(error).and_then(std::io::Error::raw_os_error);
    errno == Some(nix::errno::Errno::EPERM as i32)
}
