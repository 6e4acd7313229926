//! The programs as the daemon loads them, run on frames (`BPF_PROG_TEST_RUN`).

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use aya::{TestRun as _, TestRunOptions, programs::SchedClassifier};
use ebpf_netns::{Ifindex, Link, Rtnl};
use ebpf_netns_plugin::{
    kernel::{self, DEFAULT_DIRECTORY, InterfaceRules, Kernel, PacketEvents, Pins, Programs},
    plan::Step,
};
use plugin_common::{
    abi::{EGRESS_PROGRAM, INGRESS_PROGRAM, InterfacePolicy},
    presets::Presets,
};

use rustix::thread::{CapabilitySet, CapabilitySets, capabilities, set_capabilities};

use crate::empty::Empty;

/// The interface that a run is on, if it is not told.
const LOOPBACK: u32 = 1;

/// With which rights programs are loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rights {
    /// Those that the daemon has where root or its unit starts it.
    Usual,
    /// The least that the daemon loads with: without `CAP_PERFMON` the verifier adds barriers against
    /// speculation.
    Least,
}

/// Loads the daemon's programs, into a BPF file system that must be this process's own.
pub(crate) fn load(rights: Rights) -> Result<(Kernel, PacketEvents)> {
    kernel::probe();
    let before = capabilities(None)?;
    let mut effective = CapabilitySet::BPF | CapabilitySet::NET_ADMIN;
    if rights == Rights::Usual {
        effective |= CapabilitySet::PERFMON;
    }
    // `CAP_SYS_ADMIN` would stand for all of them.
    set_capabilities(None, CapabilitySets { effective, ..before }).context("lay down rights")?;
    let loaded = Pins::open(Path::new(DEFAULT_DIRECTORY))
        .map_err(anyhow::Error::from)
        .and_then(|pins| Ok(Kernel::new(Programs::load(&pins)?, pins)?));
    set_capabilities(None, before).context("take rights back")?;
    loaded
}

/// What becomes of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Passes,
    Dropped,
}

/// The daemon's programs and maps, and an empty program to compare with.
pub(crate) struct Loaded {
    pub(crate) kernel: Kernel,
    // Kept, or nobody would read the ring buffer.
    _events: PacketEvents,
    link: Link,
    egress: SchedClassifier,
    ingress: SchedClassifier,
    empty: Empty,
}

impl Loaded {
    /// Loads them as [`load`] does.
    pub(crate) fn new(rights: Rights) -> Result<Self> {
        let (kernel, events) = load(rights)?;
        let index = Ifindex::try_from(LOOPBACK)?;
        let link = Rtnl::open()?.link(index)?.context("there is a loopback interface")?;
        Ok(Self {
            kernel,
            _events: events,
            link,
            egress: SchedClassifier::from_pin(program(EGRESS_PROGRAM)?)?,
            ingress: SchedClassifier::from_pin(program(INGRESS_PROGRAM)?)?,
            empty: Empty::load()?,
        })
    }

    /// Writes rules; returns the number to name them by.
    pub(crate) fn write(&mut self, rules: &InterfaceRules) -> Result<u32> {
        let owner = self.link.index;
        self.kernel.write_rules(owner, rules).map_err(|refusal| anyhow!("{refusal}"))
    }

    /// Makes these rules the ones that hold; 0 for none.
    pub(crate) fn hold(&mut self, rules: u32) -> Result<()> {
        self.hold_with(Presets::PASS, rules)
    }

    /// The same, with these presets at every hook.
    pub(crate) fn hold_with(&mut self, presets: Presets, rules: u32) -> Result<()> {
        let ifindex = self.link.index;
        let policy = InterfacePolicy { xdp: presets, egress: presets, ingress: presets, rules };
        let step = Step::SetPolicy { ifindex, policy };
        self.kernel.apply(step, &self.link).map_err(|refusal| anyhow!("{refusal}"))
    }

    /// Nanoseconds a packet, of so many; all must have this outcome.
    pub(crate) fn run(
        &self,
        from_container: bool,
        frame: &[u8],
        repeat: u32,
        outcome: Outcome,
    ) -> Result<f64> {
        self.run_at(self.link.index, from_container, frame, repeat, outcome)
    }

    /// The same on another interface.
    pub(crate) fn run_at(
        &self,
        ifindex: Ifindex,
        from_container: bool,
        frame: &[u8],
        repeat: u32,
        outcome: Outcome,
    ) -> Result<f64> {
        const SHOT: u32 = 2;
        const NEXT: u32 = u32::MAX;
        let program = if from_container { &self.egress } else { &self.ingress };
        let (nanoseconds, returned) = run(program, ifindex, frame, repeat)?;
        let found = match returned {
            NEXT => Outcome::Passes,
            SHOT => Outcome::Dropped,
            other => bail!("a program returned {other:#x}"),
        };
        ensure!(found == outcome, "a frame is {found:?} and should be {outcome:?}: {frame:02x?}");
        Ok(nanoseconds)
    }

    /// The same of the empty program.
    pub(crate) fn run_empty(&self, frame: &[u8], repeat: u32) -> Result<f64> {
        Ok(run(self.empty.program()?, self.link.index, frame, repeat)?.0)
    }

    /// What the kernel made of the programs.
    pub(crate) fn sizes(&self) -> Result<String> {
        let mut said = Vec::new();
        for (name, program) in [(EGRESS_PROGRAM, &self.egress), (INGRESS_PROGRAM, &self.ingress)] {
            let info = program.info()?;
            let jited = info.size_jitted();
            said.push(format!("{name}: {jited} bytes of machine code"));
        }
        Ok(said.join("; "))
    }
}

fn run(
    program: &SchedClassifier,
    ifindex: Ifindex,
    frame: &[u8],
    repeat: u32,
) -> Result<(f64, u32)> {
    /// Where `struct __sk_buff` has the interface.
    const IFINDEX: usize = 40;
    let mut context = [0; 192];
    if let Some(field) = context.get_mut(IFINDEX..IFINDEX + 4) {
        field.copy_from_slice(&ifindex.get().to_ne_bytes());
    }
    let result = program.test_run(TestRunOptions {
        data_in: Some(frame),
        ctx_in: Some(&context),
        repeat,
        ..TestRunOptions::new()
    });
    let result = result.context("BPF_PROG_TEST_RUN")?;
    Ok((result.duration.as_secs_f64() * 1e9, result.return_value))
}

/// Where the daemon pinned a program.
fn program(name: &str) -> Result<PathBuf> {
    Ok(layout()?.join("programs").join(name))
}

/// The directory of the daemon's pins: the one of their version.
pub(crate) fn layout() -> Result<PathBuf> {
    let mut layouts = fs::read_dir(DEFAULT_DIRECTORY)?;
    Ok(layouts.next().context("the daemon's pins are gone")??.path())
}
