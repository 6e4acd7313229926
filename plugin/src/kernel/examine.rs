//! The programs run on one packet by `BPF_PROG_TEST_RUN`, without a trace in what is attached.
//!
//! The object is loaded once more for it. This instance shares the maps with the policies and the
//! rules, which the programs only read, and has connections, counters and reports of its own. It
//! attaches and pins nothing, and is gone with its process. For root, outside of the daemon, which
//! has given up running programs.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use aya::maps::{Array, HashMap, Map, MapData, PerCpuHashMap};
use aya::programs::{Program, ProgramError, SchedClassifier, TestRun as _, TestRunOptions, Xdp};
use aya::{Ebpf, EbpfError};
use ebpf_netns::exit;
use plugin_common::abi::{
    BLOCKS_MAP, Counter, FLOWS_MAP, FlowBucket, HITS_MAP, IMAGES_MAP, InterfacePolicy,
    InterfaceStats, LEAVES_MAP, POLICY_MAP, RuleImage, SECRET_MAP, STATS_MAP, StatsKey,
};
use plugin_common::verdict::Reason;

use super::load::{LoadError, program_name, take};
use super::{object, observer};
use crate::error::{chain, of_system};
use crate::explain::{Case, Finding, Point};
use crate::plan::Hook;

/// The maps that the programs only read: what is attached has the same.
const SHARED: [&str; 5] = [POLICY_MAP, IMAGES_MAP, BLOCKS_MAP, LEAVES_MAP, SECRET_MAP];

/// What a program made of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Whether it lets it pass.
    pub passes: bool,
    /// What it counted.
    pub finding: Finding,
}

/// What came of one program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Examined {
    /// It was run.
    Ran {
        /// Where there are no connections.
        alone: Seen,
        /// With the connections of the interface as they are.
        now: Seen,
    },
    /// This kernel runs no program of this type for an interface: XDP, before Linux 5.14.
    CannotRun,
}

/// The programs could not be run.
#[derive(Debug, thiserror::Error)]
pub enum ExamineError {
    /// They cannot be loaded.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// A map is not there.
    #[error("{} is not there: is the daemon's directory in reach of this command?", path.display())]
    NoMap {
        /// Its pin.
        path: PathBuf,
    },
    /// A map cannot be read or written.
    #[error("use the map {name}: {why}")]
    Map {
        /// Its name.
        name: &'static str,
        /// Why.
        why: String,
    },
    /// The programs of this command are not those of the daemon.
    #[error(
        "{program} of this command is not the daemon's ({own}, and not {tag}): they are of different \
         versions; restart the daemon, or use its own command"
    )]
    OtherVersion {
        /// The program.
        program: String,
        /// The hash of this one.
        own: String,
        /// The hash of the daemon's.
        tag: String,
    },
    /// The policy is another by now.
    #[error("the policy of the interface was changed meanwhile: ask again")]
    Changed,
    /// The interface is gone, or is another network namespace's.
    #[error("the host-side veth is not in this network namespace, or is gone")]
    NoInterface,
    /// The kernel does not run it.
    #[error("run {program} on a frame of {length} bytes: {why}")]
    Run {
        /// The program.
        program: String,
        /// The length of the frame.
        length: usize,
        /// Why.
        why: String,
    },
    /// It counted nothing, or more than one packet.
    #[error("{program} did not say what it made of the packet: a bug")]
    Silent {
        /// The program.
        program: String,
    },
}

impl ExamineError {
    /// The exit code that a command ends with because of this.
    #[must_use]
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::Load(LoadError::NotPermitted) => exit::NOT_PERMITTED,
            _ => exit::FAILED,
        }
    }
}

/// The object, loaded to look at packets.
pub struct Examiner {
    ebpf: Ebpf,
    maps: PathBuf,
    policy: HashMap<MapData, u32, InterfacePolicy>,
    images: Array<MapData, RuleImage>,
    stats: PerCpuHashMap<MapData, StatsKey, InterfaceStats>,
    hits: Array<MapData, Counter>,
    flows: Array<MapData, FlowBucket>,
}

/// Connections that the programs know of when they are run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Connections {
    None,
    AsTheyAre,
}

impl Examiner {
    /// Loads the programs with the policies and rules of the daemon that has these maps.
    ///
    /// # Errors
    ///
    /// When a map is missing, or the kernel refuses.
    pub fn load(maps: &Path) -> Result<Self, ExamineError> {
        let mut loader = object::loader();
        for name in SHARED {
            let path = maps.join(name);
            // What is missing would be made anew and pinned.
            if !fs::exists(&path).unwrap_or(false) {
                return Err(ExamineError::NoMap { path });
            }
            loader.map_pin_path(name, path);
        }
        let mut ebpf = loader.load(object::for_this_kernel()).map_err(refused)?;
        for hook in Hook::ALL {
            let name = program_name(hook);
            let program = ebpf.program_mut(name).ok_or(LoadError::Missing(name))?;
            match program {
                Program::Xdp(program) => program.load(),
                Program::SchedClassifier(program) => program.load(),
                _ => Err(ProgramError::UnexpectedProgramType),
            }
            .map_err(|error| LoadError::Program { name, why: chain(&error) })?;
        }
        Ok(Self {
            maps: maps.to_owned(),
            policy: take(&mut ebpf, POLICY_MAP)?,
            images: take(&mut ebpf, IMAGES_MAP)?,
            stats: take(&mut ebpf, STATS_MAP)?,
            hits: take(&mut ebpf, HITS_MAP)?,
            flows: take(&mut ebpf, FLOWS_MAP)?,
            ebpf,
        })
    }

    /// Runs the programs that a packet meets, in their order.
    ///
    /// # Errors
    ///
    /// When they cannot be run, or the policy changes meanwhile.
    pub fn examine(&mut self, case: &Case) -> Result<Vec<Examined>, ExamineError> {
        self.check_policy(case)?;
        for point in &case.points {
            self.check_program(point)?;
        }
        let mut outcomes = Vec::new();
        for connections in [Connections::None, Connections::AsTheyAre] {
            self.set_connections(case, connections)?;
            for point in &case.points {
                outcomes.push(self.run(point.hook, case)?);
            }
        }
        let now = outcomes.split_off(case.points.len());
        self.check_policy(case)?;
        let both = outcomes.into_iter().zip(now).map(|(alone, now)| match alone.zip(now) {
            Some((alone, now)) => Examined::Ran { alone, now },
            None => Examined::CannotRun,
        });
        Ok(both.collect())
    }

    /// Whether the interface has the policy that the case is about.
    fn check_policy(&self, case: &Case) -> Result<(), ExamineError> {
        let ifindex = case.on.host.ifindex.get();
        let policy = self.policy.get(&ifindex, 0).unwrap_or(InterfacePolicy::CLOSED);
        if case.policy == policy.into() { Ok(()) } else { Err(ExamineError::Changed) }
    }

    /// Whether a program is the one that is attached.
    fn check_program(&self, point: &Point) -> Result<(), ExamineError> {
        let name = program_name(point.hook);
        let program = self.ebpf.program(name).ok_or(LoadError::Missing(name))?;
        let info = program.info();
        let info = info.map_err(|error| LoadError::Program { name, why: chain(&error) })?;
        let own = format!("{:016x}", info.tag());
        if own == point.tag {
            return Ok(());
        }
        let (program, tag) = (point.program.clone(), point.tag.clone());
        Err(ExamineError::OtherVersion { program, own, tag })
    }

    /// Has the programs know of no connection of the interface, or of all that there are now.
    fn set_connections(
        &mut self,
        case: &Case,
        connections: Connections,
    ) -> Result<(), ExamineError> {
        let number = case.policy.rules;
        if number == 0 {
            return Ok(());
        }
        let failed = |name| {
            move |error: &dyn std::error::Error| ExamineError::Map { name, why: chain(error) }
        };
        let image = self.images.get(&number, 0).map_err(|error| failed(IMAGES_MAP)(&error))?;
        let live = match connections {
            Connections::None => None,
            Connections::AsTheyAre => {
                let live = MapData::from_pin(self.maps.join(FLOWS_MAP))
                    .and_then(|map| Array::<_, FlowBucket>::try_from(Map::Array(map)));
                Some(live.map_err(|error| failed(FLOWS_MAP)(&error))?)
            }
        };
        let last = image.flows.saturating_add(image.flows_mask);
        for place in image.flows..=last {
            let bucket =
                live.as_ref().map_or(Ok(FlowBucket::default()), |live| live.get(&place, 0));
            bucket
                .and_then(|bucket| self.flows.set(place, bucket, 0))
                .map_err(|error| failed(FLOWS_MAP)(&error))?;
        }
        Ok(())
    }

    /// Runs a program; `None` if the kernel does not run it for an interface.
    fn run(&mut self, hook: Hook, case: &Case) -> Result<Option<Seen>, ExamineError> {
        self.forget_counts(hook, case)?;
        let ifindex = case.on.host.ifindex.get();
        let context = match hook {
            Hook::Xdp => at_xdp(ifindex, case.frame.len()),
            Hook::Egress | Hook::Ingress => at_tc(ifindex),
        };
        let options = TestRunOptions {
            data_in: Some(&case.frame),
            ctx_in: Some(&context),
            ..TestRunOptions::new()
        };
        let name = program_name(hook);
        let program = self.ebpf.program(name).ok_or(LoadError::Missing(name))?;
        let result = match hook {
            Hook::Xdp => <&Xdp>::try_from(program).and_then(|program| program.test_run(options)),
            Hook::Egress | Hook::Ingress => {
                <&SchedClassifier>::try_from(program).and_then(|program| program.test_run(options))
            }
        };
        match result {
            Ok(result) => {
                let passes = passes(hook, result.return_value);
                Ok(Some(Seen { passes, finding: self.finding(hook, case)? }))
            }
            Err(error) => {
                let errno = of_system(&error).and_then(io::Error::raw_os_error);
                match (hook, errno) {
                    (_, Some(nix::libc::ENODEV)) => Err(ExamineError::NoInterface),
                    (Hook::Xdp, Some(nix::libc::EINVAL)) => Ok(None),
                    (_, Some(nix::libc::EINVAL)) => Err(ExamineError::Run {
                        program: name.to_owned(),
                        length: case.frame.len(),
                        why: "the kernel makes no packet of it: is a header of it cut short?"
                            .to_owned(),
                    }),
                    _ => Err(ExamineError::Run {
                        program: name.to_owned(),
                        length: case.frame.len(),
                        why: chain(&error),
                    }),
                }
            }
        }
    }

    fn forget_counts(&mut self, hook: Hook, case: &Case) -> Result<(), ExamineError> {
        // What is not there is as good as removed.
        self.stats.remove(&key(hook, case)).ok();
        for place in counters(case) {
            self.hits
                .set(place, Counter::default(), 0)
                .map_err(|error| ExamineError::Map { name: HITS_MAP, why: chain(&error) })?;
        }
        Ok(())
    }

    /// What a program counted of its one packet.
    fn finding(&self, hook: Hook, case: &Case) -> Result<Finding, ExamineError> {
        let silent = || ExamineError::Silent { program: program_name(hook).to_owned() };
        let stats = self.stats.get(&key(hook, case), 0).map_err(|_none| silent())?;
        let counted = |place: usize| {
            stats.iter().filter_map(|cpu| cpu.counters.get(place)).any(|count| count.packets > 0)
        };
        let mut reasons =
            (0..).zip(Reason::ALL).filter(|(place, _)| counted(*place)).map(|(_, reason)| reason);
        let (Some(reason), None) = (reasons.next(), reasons.next()) else { return Err(silent()) };
        let hit = |place: &u32| self.hits.get(place, 0).is_ok_and(|counter| counter.packets > 0);
        let counters = counters(case).filter(hit).collect();
        Ok(Finding { reason: reason.name().to_owned(), counters })
    }
}

fn key(hook: Hook, case: &Case) -> StatsKey {
    StatsKey { ifindex: case.on.host.ifindex.get(), observer: observer(hook) as u32 }
}

fn counters(case: &Case) -> impl Iterator<Item = u32> {
    let (first, count) = case.counters;
    first..first.saturating_add(count)
}

const fn passes(hook: Hook, returned: u32) -> bool {
    const XDP_PASS: u32 = 2;
    const TC_NEXT: u32 = u32::MAX;
    match hook {
        Hook::Xdp => returned == XDP_PASS,
        Hook::Egress | Hook::Ingress => returned == TC_NEXT,
    }
}

/// `struct __sk_buff`, of which the interface is said.
fn at_tc(ifindex: u32) -> Vec<u8> {
    const LENGTH: usize = 192;
    const IFINDEX: usize = 40;
    let before = [0; IFINDEX].into_iter().chain(ifindex.to_ne_bytes());
    before.chain(std::iter::repeat(0)).take(LENGTH).collect()
}

/// `struct xdp_md`: where the data ends, and the interface with its first queue.
fn at_xdp(ifindex: u32, length: usize) -> Vec<u8> {
    let end = u32::try_from(length).unwrap_or(u32::MAX);
    let (data, meta, queue, egress) = (0, 0, 0, 0);
    [data, end, meta, ifindex, queue, egress].into_iter().flat_map(u32::to_ne_bytes).collect()
}

fn refused(error: EbpfError) -> LoadError {
    let errno = of_system(&error).and_then(io::Error::raw_os_error);
    if errno == Some(nix::libc::EPERM) {
        return LoadError::NotPermitted;
    }
    LoadError::Object(Box::new(error))
}
