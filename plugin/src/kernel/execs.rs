//! The programs that tell what is executed: loaded and attached for as long as this process follows
//! them, and by whoever follows them alone. The daemon has no part in it.

use std::io;
use std::path::{Path, PathBuf};

use aya::maps::{Array, MapData, RingBuf};
use aya::programs::{ProgramError, TracePoint};
use aya::{Ebpf, EbpfLoader};
use plugin_common::exec::{
    EXECS_MAP, EXECVE_PROGRAM, EXECVEAT_PROGRAM, ExecRecord, LOST_MAP, MAX_NAMESPACES,
    NAMESPACES_MAP, PidNamespace,
};
use tokio::io::unix::AsyncFd;

use super::load::{self, LoadError};
use crate::error::{chain, of_system};

static OBJECT: &[u8] =
    aya::include_bytes_aligned!(concat!(env!("CARGO_MANIFEST_DIR"), "/bytecode/execs.o"));

/// Where tracefs is by custom.
pub(crate) const TRACEFS: [&str; 2] = ["/sys/kernel/tracing", "/sys/kernel/debug/tracing"];
const CATEGORY: &str = "syscalls";
/// What stands where there is no namespace any more, before others: no device has this number.
const NOBODY: PidNamespace = PidNamespace { device: 0, inode: u64::MAX, told_as: 0 };

/// What is executed cannot be followed.
#[derive(Debug, thiserror::Error)]
pub enum ExecsError {
    /// This process may not.
    #[error(
        "follow what is executed: not permitted: it takes CAP_BPF, CAP_PERFMON and the right to read \
         tracefs, which the daemon has given up: run this command as root"
    )]
    NotPermitted,
    /// tracefs is not mounted.
    #[error("tracefs is not mounted: mount -t tracefs tracefs /sys/kernel/tracing")]
    NoTracefs,
    /// The kernel has no such tracepoint.
    #[error(
        "this kernel has no {}: it takes one with CONFIG_FTRACE_SYSCALLS", path.display()
    )]
    NoTracepoint {
        /// Where it would be.
        path: PathBuf,
    },
    /// The kernel refuses the object.
    #[error(transparent)]
    Load(LoadError),
    /// The kernel refuses a program.
    #[error("attach to the tracepoint {name}: {why}")]
    Attach {
        /// Its name.
        name: &'static str,
        /// Why.
        why: String,
    },
    /// A map cannot be used.
    #[error("use the map {name}: {why}")]
    Map {
        /// Its name.
        name: &'static str,
        /// Why.
        why: String,
    },
    /// What is told cannot be waited for.
    #[error("wait for what is executed")]
    Wait(#[source] io::Error),
}

/// What is executed, told for as long as this is there.
pub struct Execs {
    ring: AsyncFd<RingBuf<MapData>>,
    namespaces: Array<MapData, PidNamespace>,
    /// What is in that map, up to its end.
    places: Vec<PidNamespace>,
    lost: Array<MapData, u64>,
    told_lost: u64,
    _attached: Ebpf,
}

impl Execs {
    /// Loads the programs and attaches them. Must run within a tokio runtime with I/O enabled.
    ///
    /// # Errors
    ///
    /// When the kernel lacks the tracepoints, or refuses.
    pub fn attach() -> Result<Self, ExecsError> {
        require_tracepoint()?;
        let loaded = load::load_object(&mut EbpfLoader::new(), OBJECT);
        let mut ebpf = loaded.map_err(ExecsError::of_load)?;
        let take_failed = |error| ExecsError::of_load(error);
        let ring: RingBuf<MapData> = load::take(&mut ebpf, EXECS_MAP).map_err(take_failed)?;
        let namespaces = load::take(&mut ebpf, NAMESPACES_MAP).map_err(take_failed)?;
        let lost = load::take(&mut ebpf, LOST_MAP).map_err(take_failed)?;
        for name in [EXECVE_PROGRAM, EXECVEAT_PROGRAM] {
            attach(&mut ebpf, name).map_err(|error| ExecsError::of_program(name, &error))?;
        }
        #[expect(
            deprecated,
            reason = "its successor is unsafe, against descriptors that change: this one does not"
        )]
        let ring = AsyncFd::new(ring).map_err(ExecsError::Wait)?;
        let places = Vec::new();
        Ok(Self { ring, namespaces, places, lost, told_lost: 0, _attached: ebpf })
    }

    /// Says whose namespaces of processes are whose; what is not among them is told without a number.
    /// As many as there is room for are taken. What was among them and still is keeps its place: the
    /// programs miss none while this goes on.
    ///
    /// # Errors
    ///
    /// When the map cannot be written.
    pub fn set_namespaces(
        &mut self,
        all: impl Iterator<Item = PidNamespace>,
    ) -> Result<(), ExecsError> {
        for (place, namespace) in (0_u32..).zip(places(&self.places, all.collect())) {
            let place_is_new = self.places.get(place as usize) != Some(&namespace);
            if place_is_new {
                self.namespaces.set(place, namespace, 0).map_err(|error| ExecsError::Map {
                    name: NAMESPACES_MAP,
                    why: chain(&error),
                })?;
            }
            match self.places.get_mut(place as usize) {
                Some(known) => *known = namespace,
                None => self.places.push(namespace),
            }
        }
        Ok(())
    }

    /// What was told since it was last asked, once there is something.
    ///
    /// # Errors
    ///
    /// When it cannot be waited for.
    pub async fn next(&mut self) -> Result<Vec<ExecRecord>, ExecsError> {
        loop {
            let mut ready = self.ring.readable_mut().await.map_err(ExecsError::Wait)?;
            let mut records = Vec::new();
            while let Some(item) = ready.get_inner_mut().next() {
                records.extend(item.first_chunk().map(ExecRecord::from_bytes));
            }
            ready.clear_ready();
            if !records.is_empty() {
                return Ok(records);
            }
        }
    }

    /// How many there was no room for since it was last asked.
    pub fn newly_lost(&mut self) -> u64 {
        let lost = self.lost.get(&0, 0).unwrap_or(self.told_lost);
        lost.saturating_sub(std::mem::replace(&mut self.told_lost, lost))
    }
}

/// Where each of `all` goes: those that have a place stay there, others take one that is free or
/// follow at the end.
fn places(now: &[PidNamespace], mut all: Vec<PidNamespace>) -> Vec<PidNamespace> {
    let mut places: Vec<Option<PidNamespace>> = now
        .iter()
        .map(|known| {
            let same = |one: &PidNamespace| (one.device, one.inode) == (known.device, known.inode);
            all.iter().position(same).map(|position| all.remove(position))
        })
        .collect();
    let mut others = all.into_iter();
    for place in places.iter_mut().filter(|place| place.is_none()) {
        *place = others.next();
    }
    places.extend(others.map(Some));
    places.truncate(MAX_NAMESPACES - 1);
    places.into_iter().map(|place| place.unwrap_or(NOBODY)).collect()
}

fn attach(ebpf: &mut Ebpf, name: &'static str) -> Result<(), ProgramError> {
    let program = ebpf.program_mut(name).ok_or(ProgramError::NotLoaded)?;
    let program: &mut TracePoint = program.try_into()?;
    program.load()?;
    program.attach(CATEGORY, name).map(drop)
}

/// Says what is missing where the tracepoint is.
fn require_tracepoint() -> Result<(), ExecsError> {
    for tracefs in TRACEFS.map(Path::new) {
        let path = tracefs.join("events").join(CATEGORY).join(EXECVE_PROGRAM);
        match path.join("id").try_exists() {
            Ok(true) => return Ok(()),
            Ok(false) if tracefs.join("events").exists() => {
                return Err(ExecsError::NoTracepoint { path });
            }
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                return Err(ExecsError::NotPermitted);
            }
            Ok(false) | Err(_) => {}
        }
    }
    Err(ExecsError::NoTracefs)
}

impl ExecsError {
    fn of_load(error: LoadError) -> Self {
        match error {
            LoadError::NotPermitted => Self::NotPermitted,
            error => Self::Load(error),
        }
    }

    fn of_program(name: &'static str, error: &ProgramError) -> Self {
        let denied = of_system(error)
            .is_some_and(|error| matches!(error.kind(), io::ErrorKind::PermissionDenied));
        if denied {
            Self::NotPermitted
        } else {
            Self::Attach { name, why: load::last_lines(error) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn namespace(inode: u64) -> PidNamespace {
        PidNamespace { device: 4, inode, told_as: inode }
    }

    #[test]
    fn a_namespace_keeps_its_place_whatever_comes_and_goes() {
        let [one, two, three, four] = [1, 2, 3, 4].map(namespace);
        let first = places(&[], vec![one, two, three]);
        assert_eq!(first, [one, two, three]);
        let without_two = places(&first, vec![three, one]);
        assert_eq!(without_two, [one, NOBODY, three]);
        assert_eq!(places(&without_two, vec![two, four, three, one]), [one, two, three, four]);
        let told_otherwise = PidNamespace { told_as: 0, ..three };
        assert_eq!(places(&first, vec![told_otherwise]), [NOBODY, NOBODY, told_otherwise]);
    }

    #[test]
    fn there_is_always_an_end() {
        let many = (1..=2 * MAX_NAMESPACES as u64).map(namespace).collect();
        assert_eq!(places(&[], many).len(), MAX_NAMESPACES - 1);
    }
}
