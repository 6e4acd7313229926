//! Kernel and host agree: on every prefix of every sample, and on mutations of them.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result, ensure};
use ebpf_netns_tests::privilege;
use plugin_common::{
    frames::{Mutator, corpus},
    packet::{Bytes, parse},
    presets::Presets,
    verdict::{Reason, verdict},
};

use crate::kernel::{Counts, Hook, Kernel, LOOPBACK};

const SEED: u64 = 0xbead;
const MUTATIONS: usize = 120_000;

/// Frames between two looks at the counters, which a failure of them cannot be told apart within.
const CHUNK: usize = 64;

/// The presets that a policy may have; none is an interface without a policy.
fn policies() -> Vec<Option<Presets>> {
    let selective = Presets::DROP_TCP | Presets::DROP_UDP | Presets::DROP_ICMP;
    vec![
        None,
        Some(Presets::PASS),
        Some(Presets::LOG),
        Some(Presets::DROP_ALL),
        Some(Presets::DROP_TCP),
        Some(Presets::DROP_UDP),
        Some(Presets::DROP_ICMP),
        Some(Presets::DROP_TCP | Presets::DROP_UDP),
        Some(selective),
        Some(selective | Presets::LOG),
        Some(Presets::DROP_ALL | Presets::LOG),
        Some(Presets::WATCHES),
        Some(selective | Presets::WATCHES),
        Some(Presets::CLOSED),
        Some(Presets::UNASSIGNED),
        Some(Presets::from_bits(1 << 31)),
    ]
}

#[test]
fn xdp_agrees_with_the_host_on_every_prefix_of_every_sample() -> Result<()> {
    check_prefixes(Kernel::load, Hook::Xdp)
}

#[test]
fn xdp_of_older_kernels_agrees_with_the_host_on_every_prefix_of_every_sample() -> Result<()> {
    check_prefixes(Kernel::load_direct, Hook::Xdp)
}

#[test]
fn tc_agrees_with_the_host_on_every_prefix_of_what_is_sent() -> Result<()> {
    check_prefixes(Kernel::load, Hook::Egress)
}

#[test]
fn tc_agrees_with_the_host_on_every_prefix_of_what_is_received() -> Result<()> {
    check_prefixes(Kernel::load, Hook::Ingress)
}

fn check_prefixes(load: fn() -> Result<Kernel>, hook: Hook) -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    let samples = corpus();
    let prefixes: BTreeSet<&[u8]> = samples
        .iter()
        .flat_map(|sample| (0..=sample.bytes.len()).filter_map(|length| sample.bytes.get(..length)))
        .filter(|frame| hook.takes(frame))
        .collect();
    let prefixes: Vec<_> = prefixes.into_iter().collect();
    let mut kernel = load()?;
    let policies = policies();
    for policy in &policies {
        for frames in prefixes.chunks(CHUNK) {
            check(&mut kernel, hook, *policy, frames)?;
        }
    }
    ensure!(prefixes.len() > 80_000, "only {} prefixes", prefixes.len());
    Ok(())
}

#[test]
fn kernel_and_host_agree_on_mutated_frames() -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    let samples = corpus();
    let mut mutator = Mutator::new(SEED);
    let mut kernel = Kernel::load()?;
    let mut direct = Kernel::load_direct()?;
    for (policy, _) in policies().into_iter().cycle().zip(0..MUTATIONS / CHUNK) {
        let mutated: Vec<_> = (0..CHUNK).map(|_| mutator.mutated(&samples)).collect();
        for hook in Hook::ALL {
            let frames = mutated.iter().map(Vec::as_slice).filter(|frame| hook.takes(frame));
            let frames: Vec<_> = frames.collect();
            check(&mut kernel, hook, policy, &frames)
                .with_context(|| format!("mutations of seed {SEED:#x}"))?;
            if hook == Hook::Xdp {
                check(&mut direct, hook, policy, &frames)
                    .with_context(|| format!("mutations of seed {SEED:#x}, read in place"))?;
            }
        }
    }
    Ok(())
}

/// Runs the hook's program on frames: each must pass if the host says so, and the counters must
/// show the host's reasons.
fn check(kernel: &mut Kernel, hook: Hook, policy: Option<Presets>, frames: &[&[u8]]) -> Result<()> {
    match policy {
        Some(presets) => kernel.set_policy(LOOPBACK, hook, presets)?,
        None => kernel.remove_policy(LOOPBACK)?,
    }
    let presets = policy.unwrap_or(Presets::UNASSIGNED);
    let before = kernel.counts(LOOPBACK, hook)?;
    let runner = kernel.runner(hook)?;
    let mut expected: BTreeMap<Reason, (u64, u64)> = BTreeMap::new();
    for frame in frames {
        let reason = verdict(presets, &parse(&Bytes(frame)));
        let passes = runner.passes(frame).with_context(|| format!("{frame:02x?}"))?;
        ensure!(
            passes == reason.passes(),
            "{hook:?} under {policy:?}: the host says {reason:?}, the kernel {}: {frame:02x?}",
            if passes { "passes" } else { "drops" }
        );
        let (packets, bytes) = expected.entry(reason).or_default();
        *packets += 1;
        *bytes += u64::try_from(frame.len())?;
    }
    let counted = kernel.counts(LOOPBACK, hook)?.since(&before);
    ensure!(
        counted == Counts(expected.clone()),
        "{hook:?} under {policy:?} counted {counted:?} where the host expects {expected:?} of \
         {frames:02x?}"
    );
    Ok(())
}
