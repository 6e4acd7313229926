//! Another rule that denies, or another who has rules, never lets more pass.

use anyhow::{Context as _, Result, ensure};
use ebpf_netns_plugin::{
    datapath::Places,
    rules::{Action, Service},
};
use ebpf_netns_tests::privilege;
use plugin_common::{
    abi::{FlowBucket, FlowSecret, RuleImage},
    presets::Presets,
};

use crate::case::{Policy, compiled};
use crate::kernel::{Kernel, LOOPBACK, Object, takes};
use crate::policies::{layers, rule};
use crate::traffic::{Sent, Traffic, endpoint};

const SEED: u64 = 0x0de1;
const POLICIES: usize = 200;
const FRAMES: usize = 50;

#[test]
fn a_rule_that_denies_never_allows_more() -> Result<()> {
    check(|traffic, policy| {
        let random = &mut traffic.random;
        let mut rule = rule(random, true);
        rule.action = Action::Deny;
        if random.below(4) == 0 {
            rule.traffic = vec![Service::ANY];
        }
        let side = if random.below(2) == 0 { &mut policy.egress } else { &mut policy.ingress };
        let index = random.below(side.len());
        let layer = side.get_mut(index)?;
        let place = random.below(layer.rules.len() + 1);
        layer.rules.insert(place, rule);
        Some(())
    })
}

#[test]
fn another_layer_never_allows_more() -> Result<()> {
    check(|traffic, policy| {
        let random = &mut traffic.random;
        let layer = layers(random).into_iter().next()?;
        let side = if random.below(2) == 0 { &mut policy.egress } else { &mut policy.ingress };
        let place = random.below(side.len() + 1);
        side.insert(place, layer);
        Some(())
    })
}

/// Each frame alone: with connections, what is denied leaves room for others.
fn check(tighten: impl Fn(&mut Traffic, &mut Policy) -> Option<()>) -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    let mut kernel = Kernel::load(Object::Current)?;
    let mut traffic = Traffic::new(SEED);
    kernel.set_secret(FlowSecret([(); 24].map(|()| traffic.random.number())))?;
    let (mut all, mut less) = (0, 0);
    while all < POLICIES {
        let [egress, ingress] = [(); 2].map(|()| layers(&mut traffic.random));
        let before = Policy { egress, ingress };
        let mut after = before.clone();
        if tighten(&mut traffic, &mut after).is_none() {
            continue;
        }
        traffic.forget();
        let frames: Vec<Sent> = (0..FRAMES).filter_map(|_| traffic.frame()).collect();
        let Some(passed) = passed(&mut kernel, &before, &frames)? else { continue };
        let Some(still) = self::passed(&mut kernel, &after, &frames)? else { continue };
        all += 1;
        for ((frame, passed), still) in frames.iter().zip(passed).zip(still) {
            ensure!(passed || !still, "{frame:02x?} passes after all: {before:#?}, {after:#?}");
            less += usize::from(passed && !still);
        }
    }
    ensure!(less > POLICIES / 4, "what is tightened hardly ever says anything: {less}");
    Ok(())
}

/// Which frames pass, each as the first; `None` if there are too many rules.
fn passed(kernel: &mut Kernel, policy: &Policy, frames: &[Sent]) -> Result<Option<Vec<bool>>> {
    const IMAGE: u32 = 7;
    let Some(program) = compiled(policy) else { return Ok(None) };
    let placed = program.place(Places::default());
    let (egress, ingress) = (placed.egress, placed.ingress);
    let image = RuleImage {
        egress,
        ingress,
        endpoint: endpoint(true),
        ifindex: LOOPBACK,
        ..RuleImage::default()
    };
    kernel.put((IMAGE, &image), (0, &placed.blocks), (0, &placed.leaves))?;
    kernel.apply(Presets::PASS, IMAGE, true)?;
    let passes = frames.iter().map(|Sent { bytes, from_container, .. }| {
        if !takes(bytes) {
            return Ok(false);
        }
        kernel.set_bucket(0, &FlowBucket::default())?;
        kernel.passes(bytes, *from_container, 1).context("run")
    });
    Ok(Some(passes.collect::<Result<_>>()?))
}
