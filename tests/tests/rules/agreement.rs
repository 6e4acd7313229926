//! Kernel, memory and reference agree on made-up traffic.

use std::env;
use std::process::Command;
use std::thread;

use anyhow::{Context as _, Result, bail, ensure};
use ebpf_netns_tests::{command::stdout_of, privilege};

use crate::case::{Case, Outcome};
use crate::kernel::{Kernel, Object};
use crate::shrink::{outcome, shrink};
use crate::traffic::Traffic;

/// Frames in all, unless this says more.
const FRAMES: usize = 1_000_000;
const FRAMES_VARIABLE: &str = "EBPF_NETNS_RULES_FRAMES";
/// Frames of one case.
const CASE: usize = 1000;
/// Of the object for older kernels, of which the rules are the same source.
const DIRECT: usize = 50_000;
/// Of the object as the daemon loads it.
const CONFINED: usize = 100_000;
const SEED: u64 = 0x0da7_a9a7;
const SEED_VARIABLE: &str = "EBPF_NETNS_RULES_SEED";

#[test]
fn kernel_memory_and_reference_agree_on_every_frame() -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    let seed = number(SEED_VARIABLE)?.unwrap_or(SEED);
    let frames = number(FRAMES_VARIABLE)?.map_or(Ok(FRAMES), usize::try_from)?;
    thread::scope(|scope| {
        let halves = [seed, seed + 1]
            .map(|seed| scope.spawn(move || agree(Object::Current, seed, frames / 2)));
        halves.into_iter().try_for_each(|half| half.join().expect("no half panics"))
    })
}

#[test]
fn the_object_of_older_kernels_agrees_as_well() -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    agree(Object::Direct, SEED + 2, DIRECT)
}

/// What the verifier makes of a program without `CAP_PERFMON` is another program.
#[test]
fn what_loads_with_two_capabilities_alone_agrees_as_well() -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    let name = "agreement::kernel_memory_and_reference_agree_on_every_frame";
    let mut confined = Command::new("setpriv");
    confined.args(["--bounding-set=-all,+bpf,+net_admin", "--inh-caps=-all"]);
    confined.arg(env::current_exe()?).args(["--exact", name]);
    let said = stdout_of(confined.env(FRAMES_VARIABLE, CONFINED.to_string()))?;
    ensure!(said.contains("1 passed"), "{said}");
    Ok(())
}

fn number(variable: &str) -> Result<Option<u64>> {
    let Some(value) = env::var_os(variable) else { return Ok(None) };
    let text = value.to_str().with_context(|| format!("{variable} is a number"))?;
    Ok(Some(text.parse().with_context(|| format!("{variable}={text}"))?))
}

fn agree(object: Object, seed: u64, frames: usize) -> Result<()> {
    let mut kernel = Kernel::load(object)?;
    let mut traffic = Traffic::new(seed);
    let (mut all, mut opened) = (0, 0);
    while all < frames {
        let Some(case) = Case::random(&mut traffic, CASE) else { continue };
        all += CASE;
        match outcome(&case, &mut kernel)? {
            Outcome::Agree(here) => opened += here,
            Outcome::Late => {}
            Outcome::Differ(differs) => {
                let (case, said) = shrink(case, &mut kernel)?;
                bail!("{all} frames into seed {seed:#x}: {differs}; the least: {said}\n{case}");
            }
        }
    }
    ensure!(opened > u64::try_from(all)? / 10, "only {opened} of {all} opened a connection");
    Ok(())
}
