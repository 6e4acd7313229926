//! The daemon's object in the kernel, and single runs of its programs on given bytes
//! (`BPF_PROG_TEST_RUN`).

use std::{
    collections::BTreeMap,
    sync::{LazyLock, Mutex, PoisonError},
};

use anyhow::{Context as _, Result, bail};
use aya::{
    Ebpf, EbpfLoader, TestRun as _, TestRunOptions,
    maps::{HashMap, MapData, MapError, PerCpuHashMap, RingBuf},
    programs::{Program, SchedClassifier, TcAttachType, Xdp, tc, xdp::XdpMode},
};
use plugin_common::{
    abi::{
        EGRESS_PROGRAM, EVENTS_MAP, INGRESS_PROGRAM, InterfacePolicy, InterfaceStats, Observer,
        PACES_MAP, POLICY_MAP, STATS_MAP, StatsKey, XDP_PROGRAM,
    },
    presets::Presets,
    report::{Pace, PaceKey},
    verdict::Reason,
};

const OBJECT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../plugin/bytecode/policy.o");
/// What the daemon loads before Linux 5.18; it differs at XDP.
const DIRECT_OBJECT: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/../plugin/bytecode/policy-direct.o");

/// The interface that a run happens on when nothing else is said: loopback.
pub(crate) const LOOPBACK: u32 = 1;

/// One of the three programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hook {
    Xdp,
    Egress,
    Ingress,
}

impl Hook {
    pub(crate) const ALL: [Self; 3] = [Self::Xdp, Self::Egress, Self::Ingress];
    pub(crate) const TC: [Self; 2] = [Self::Egress, Self::Ingress];

    fn program(self) -> &'static str {
        match self {
            Self::Xdp => XDP_PROGRAM,
            Self::Egress => EGRESS_PROGRAM,
            Self::Ingress => INGRESS_PROGRAM,
        }
    }

    pub(crate) fn observer(self) -> Observer {
        match self {
            Self::Xdp => Observer::Xdp,
            Self::Egress => Observer::Egress,
            Self::Ingress => Observer::Ingress,
        }
    }

    /// A policy with these presets for this hook, and for the other two what gives the opposite.
    fn policy(self, presets: Presets) -> InterfacePolicy {
        let opposite = if presets == Presets::PASS { Presets::DROP_ALL } else { Presets::PASS };
        let at = |hook| if self == hook { presets } else { opposite };
        InterfacePolicy {
            xdp: at(Self::Xdp),
            egress: at(Self::Egress),
            ingress: at(Self::Ingress),
            rules: 0,
        }
    }

    /// Whether the kernel runs the program on a frame. Of what TC would see, it makes no packet
    /// of an Ethernet header alone, and since 6.17 none of an IP header cut short.
    pub(crate) fn takes(self, frame: &[u8]) -> bool {
        if self == Self::Xdp {
            return frame.len() >= 14;
        }
        match frame {
            [_, _, _, _, _, _, _, _, _, _, _, _, 0x08, 0x00, packet @ ..] => packet.len() >= 20,
            [_, _, _, _, _, _, _, _, _, _, _, _, 0x86, 0xdd, packet @ ..] => packet.len() >= 40,
            _ => frame.len() > 14,
        }
    }

    /// What a return value of the program means; nothing but these two may be returned.
    fn passes(self, returned: u32) -> Result<bool> {
        const XDP_DROP: u32 = 1;
        const XDP_PASS: u32 = 2;
        const TC_SHOT: u32 = 2;
        /// To the next program: -1.
        const TC_NEXT: u32 = u32::MAX;
        Ok(match (self, returned) {
            (Self::Xdp, XDP_PASS) | (Self::Egress | Self::Ingress, TC_NEXT) => true,
            (Self::Xdp, XDP_DROP) | (Self::Egress | Self::Ingress, TC_SHOT) => false,
            _ => bail!("{self:?} returned {returned:#x}"),
        })
    }
}

/// The loaded object; its maps are this test's own.
pub(crate) struct Kernel {
    object: Ebpf,
}

impl Kernel {
    pub(crate) fn load() -> Result<Self> {
        Self::load_object(OBJECT)
    }

    pub(crate) fn load_direct() -> Result<Self> {
        Self::load_object(DIRECT_OBJECT)
    }

    fn load_object(file: &str) -> Result<Self> {
        // One loader for all: each reads the kernel's type information, which takes a while.
        static LOADER: LazyLock<Mutex<EbpfLoader<'static>>> =
            LazyLock::new(|| Mutex::new(EbpfLoader::new()));
        let mut loader = LOADER.lock().unwrap_or_else(PoisonError::into_inner);
        let mut object = loader.load_file(file).with_context(|| format!("load {file}"))?;
        drop(loader);
        for hook in Hook::ALL {
            let program = object.program_mut(hook.program()).context("no such program")?;
            match program {
                Program::Xdp(program) => program.load()?,
                Program::SchedClassifier(program) => program.load()?,
                _ => bail!("{} is for another hook", hook.program()),
            }
        }
        Ok(Self { object })
    }

    /// Attaches the program of [`Hook::Xdp`], until the object is dropped.
    pub(crate) fn attach_xdp(&mut self, interface: &str, mode: XdpMode) -> Result<()> {
        let program = self.object.program_mut(XDP_PROGRAM).context("no such program")?;
        <&mut Xdp>::try_from(program)?.attach(interface, mode)?;
        Ok(())
    }

    /// Attaches the program of [`Hook::Egress`], until the object is dropped.
    pub(crate) fn attach_egress(&mut self, interface: &str) -> Result<()> {
        let program = self.object.program_mut(EGRESS_PROGRAM).context("no such program")?;
        // Before TCX (6.6) it takes a qdisc, which this asks for; where there is TCX it is idle.
        drop(tc::qdisc_add_clsact(interface));
        <&mut SchedClassifier>::try_from(program)?.attach(interface, TcAttachType::Ingress)?;
        Ok(())
    }

    /// Sets what `hook` applies on an interface, and for the other hooks something else.
    pub(crate) fn set_policy(&mut self, ifindex: u32, hook: Hook, presets: Presets) -> Result<()> {
        self.policies()?.insert(ifindex, hook.policy(presets), 0)?;
        Ok(())
    }

    /// Makes an interface one without a policy.
    pub(crate) fn remove_policy(&mut self, ifindex: u32) -> Result<()> {
        let mut policies = self.policies()?;
        if policies.get(&ifindex, 0).is_ok() {
            policies.remove(&ifindex)?;
        }
        Ok(())
    }

    fn policies(&mut self) -> Result<HashMap<&mut MapData, u32, InterfacePolicy>> {
        let map = self.object.map_mut(POLICY_MAP).context("no policy map")?;
        Ok(HashMap::try_from(map)?)
    }

    /// Runs the hook's program on frames.
    pub(crate) fn runner(&self, hook: Hook) -> Result<Runner<'_>> {
        let program = self.object.program(hook.program()).context("no such program")?;
        Ok(Runner { hook, program: Loaded::try_from(program)? })
    }

    /// What a hook counted on an interface so far, over all CPUs.
    pub(crate) fn counts(&self, ifindex: u32, hook: Hook) -> Result<Counts> {
        let mut counts = BTreeMap::new();
        for stats in self.stats(ifindex, hook)? {
            for (reason, counter) in Reason::ALL.into_iter().zip(stats.counters) {
                let (packets, bytes): &mut (u64, u64) = counts.entry(reason).or_default();
                *packets += counter.packets;
                *bytes += counter.bytes;
            }
        }
        Ok(Counts(counts).since(&Counts::default()))
    }

    /// The statistics of each CPU; none before the first packet.
    pub(crate) fn stats(&self, ifindex: u32, hook: Hook) -> Result<Vec<InterfaceStats>> {
        let key = StatsKey { ifindex, observer: hook.observer() as u32 };
        let map = self.object.map(STATS_MAP).context("no statistics map")?;
        let map: PerCpuHashMap<_, StatsKey, InterfaceStats> = PerCpuHashMap::try_from(map)?;
        match map.get(&key, 0) {
            Ok(each) => Ok(each.to_vec()),
            Err(MapError::KeyNotFound) => Ok(Vec::new()),
            Err(error) => Err(error.into()),
        }
    }

    /// How many packets were kept back from who watches.
    pub(crate) fn kept_back(&self, ifindex: u32, hook: Hook, reason: Reason) -> Result<u64> {
        let observer = hook.observer() as u32;
        let key = PaceKey { ifindex, observer, reason: reason as u32 };
        let map = self.object.map(PACES_MAP).context("no map of paces")?;
        let map: PerCpuHashMap<_, PaceKey, Pace> = PerCpuHashMap::try_from(map)?;
        match map.get(&key, 0) {
            Ok(each) => Ok(each.iter().map(|pace| pace.suppressed).sum()),
            Err(MapError::KeyNotFound) => Ok(0),
            Err(error) => Err(error.into()),
        }
    }

    /// The buffer of reports.
    pub(crate) fn events(&mut self) -> Result<RingBuf<&mut MapData>> {
        Ok(RingBuf::try_from(self.object.map_mut(EVENTS_MAP).context("no events map")?)?)
    }
}

/// A program ready to run.
pub(crate) struct Runner<'a> {
    hook: Hook,
    program: Loaded<'a>,
}

enum Loaded<'a> {
    Xdp(&'a Xdp),
    Tc(&'a SchedClassifier),
}

impl<'a> TryFrom<&'a Program> for Loaded<'a> {
    type Error = anyhow::Error;

    fn try_from(program: &'a Program) -> Result<Self> {
        match program {
            Program::Xdp(program) => Ok(Self::Xdp(program)),
            Program::SchedClassifier(program) => Ok(Self::Tc(program)),
            _ => bail!("a program for another hook"),
        }
    }
}

impl Runner<'_> {
    /// Whether the frame passes, on loopback.
    pub(crate) fn passes(&self, frame: &[u8]) -> Result<bool> {
        self.run(TestRunOptions { data_in: Some(frame), ..TestRunOptions::new() })
    }

    /// Whether the frame passes, with a context of [`skb_context`] or [`xdp_context`].
    pub(crate) fn passes_with(&self, frame: &[u8], context: &[u8]) -> Result<bool> {
        self.run(TestRunOptions {
            data_in: Some(frame),
            ctx_in: Some(context),
            ..TestRunOptions::new()
        })
    }

    /// Runs the program once, which takes 2 µs. Repeated, an XDP program is put into the kernel's
    /// dispatcher and taken out again, and either waits for an RCU grace period: 8 to 16 ms.
    fn run(&self, options: TestRunOptions<'_>) -> Result<bool> {
        let result = match self.program {
            Loaded::Xdp(program) => program.test_run(options),
            Loaded::Tc(program) => program.test_run(options),
        };
        self.hook.passes(result.with_context(|| format!("run {:?}", self.hook))?.return_value)
    }
}

/// A `struct __sk_buff` with what a run may set of it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct SkbContext {
    /// The interface; 0 for loopback.
    pub(crate) ifindex: u32,
    pub(crate) segments: u32,
    pub(crate) segment_size: u32,
}

impl SkbContext {
    pub(crate) fn bytes(self) -> [u8; 192] {
        let Self { ifindex, segments, segment_size } = self;
        fields([(40, ifindex), (164, segments), (176, segment_size)])
    }
}

/// A `struct xdp_md` for a frame of this length on an interface.
pub(crate) fn xdp_context(length: usize, ifindex: u32) -> Result<[u8; 24]> {
    Ok(fields([(4, u32::try_from(length)?), (12, ifindex)]))
}

/// A structure of zeros but for these words at these offsets.
fn fields<const SIZE: usize>(words: impl IntoIterator<Item = (usize, u32)>) -> [u8; SIZE] {
    let mut bytes = [0; SIZE];
    for (offset, word) in words {
        bytes[offset..offset + 4].copy_from_slice(&word.to_ne_bytes());
    }
    bytes
}

/// Packets and bytes by what became of them, without those of which there were none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts(pub(crate) BTreeMap<Reason, (u64, u64)>);

impl Counts {
    /// What came on top of what there was before.
    pub(crate) fn since(&self, before: &Self) -> Self {
        let counts = self.0.iter().map(|(reason, (packets, bytes))| {
            let (old_packets, old_bytes) = before.0.get(reason).copied().unwrap_or_default();
            (*reason, (packets - old_packets, bytes - old_bytes))
        });
        Self(counts.filter(|(_, (packets, _))| *packets != 0).collect())
    }
}
