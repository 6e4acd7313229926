//! The named cases of packets, P1 to P90 of the project's list of bad inputs: what becomes of each under
//! rules, in memory and in the kernel. Those about the shape of a packet in the kernel and not about
//! its bytes, P19 and P85 to P90, are tested on wires: see `verdict/live.rs` and `verdict/offload.rs`.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, ensure};
use ebpf_netns_plugin::{
    datapath::Places as Put,
    rules::{Action, ResolvedRule, RuleId, Service},
};
use ebpf_netns_tests::privilege;
use plugin_common::{
    abi::{Endpoint, FlowBucket, FlowSecret, RuleImage},
    frames::Mutator,
    frames::memory::{Flows, Places},
    presets::Presets,
    verdict::Reason,
};

use crate::{
    case::{Policy, compiled},
    kernel::{Kernel, LOOPBACK, Object, takes},
    named_frames::rows,
    policies::Layer,
    traffic::endpoint,
};

const IMAGE: u32 = 7;

/// A frame, who sends it, and what becomes of it.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    pub(crate) bytes: Vec<u8>,
    pub(crate) from_container: bool,
    pub(crate) reason: Reason,
}

/// A named case.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    /// The numbers of the cases that it is.
    pub(crate) ids: Vec<u32>,
    pub(crate) what: String,
    pub(crate) rules: Rules,
    pub(crate) steps: Vec<Step>,
}

/// The rules that hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rules {
    /// `allow`, both ways: what is dropped is dropped for what it is.
    Open,
    /// `allow tcp 443; allow udp 443`, both ways: what is not that is denied.
    Narrow,
    /// As `Open`, to a container without an address of IPv6.
    OpenV4,
}

impl Rules {
    fn policy(self) -> Policy {
        let rule = |traffic| ResolvedRule {
            action: Action::Allow,
            log: false,
            traffic,
            remote: None,
            source: RuleId { layer: 0, rule: 0 },
        };
        let port =
            |protocol| Service { protocol: Some(protocol), first: 443, last: 443, version: None };
        let rules = match self {
            Self::Open | Self::OpenV4 => vec![rule(vec![Service::ANY])],
            Self::Narrow => vec![rule(vec![port(6)]), rule(vec![port(17)])],
        };
        let layer = Layer { rules, audit: false };
        Policy { egress: vec![layer.clone()], ingress: vec![layer] }
    }

    fn endpoint(self) -> Endpoint {
        let whole = endpoint(true);
        if self == Self::OpenV4 { Endpoint { v6: [[0; 16]; 4], ..whole } } else { whole }
    }
}

#[test]
fn every_named_packet_has_the_fate_that_the_list_gives_it() -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    for object in [Object::Current, Object::Direct] {
        let mut kernel = Kernel::load(object)?;
        kernel.set_secret(secret())?;
        for row in rows() {
            check(&mut kernel, &row).with_context(|| format!("P{:?}: {}", row.ids, row.what))?;
        }
    }
    Ok(())
}

#[test]
fn the_list_has_every_case_that_is_a_matter_of_bytes() {
    // Of which the shape, and not the bytes, is the case: see above. P53 is in `flood.rs`.
    let elsewhere = [19, 53, 85, 86, 87, 88, 89, 90];
    let here: BTreeSet<u32> = rows().into_iter().flat_map(|row| row.ids).collect();
    let all: BTreeSet<u32> = here.iter().copied().chain(elsewhere).collect();
    assert_eq!(all, (1..=90).collect(), "each is somewhere");
    assert!(elsewhere.iter().all(|id| !here.contains(id)), "and nowhere twice");
}

fn secret() -> FlowSecret {
    let mut random = Mutator::new(0x9a4d);
    FlowSecret([(); 24].map(|()| random.number()))
}

fn check(kernel: &mut Kernel, row: &Row) -> Result<()> {
    let program = compiled(&row.rules.policy()).context("few rules")?;
    let tables = program.place(Put::default());
    let (egress, ingress) = (tables.egress, tables.ingress);
    let endpoint = row.rules.endpoint();
    let image = RuleImage { egress, ingress, endpoint, ifindex: LOOPBACK, ..RuleImage::default() };
    kernel.put((IMAGE, &image), (0, &tables.blocks), (0, &tables.leaves))?;
    kernel.apply(Presets::PASS, IMAGE, true)?;
    kernel.set_bucket(0, &FlowBucket::default())?;
    let memory = Flows::new(secret(), 1);
    let places = Places { blocks: tables.blocks, leaves: tables.leaves };
    for (number, Step { bytes, from_container, reason }) in row.steps.iter().enumerate() {
        let now = Kernel::ticks()?;
        let said = memory.judge((&image, &places), bytes, *from_container, now).reason;
        ensure!(said == *reason, "step {number}: {said:?} in memory, not {reason:?}: {bytes:02x?}");
        if !takes(bytes) {
            continue;
        }
        let before = kernel.counts()?;
        let passes = kernel.passes(bytes, *from_container, 1)?;
        ensure!(passes == reason.passes(), "step {number}: the kernel passes it: {passes}");
        let place = usize::from(!from_container);
        let counted = |counts: &crate::kernel::Counts| {
            counts.get(place).and_then(|counts| counts.get(*reason as usize)).map(|it| it.0)
        };
        let more = counted(&kernel.counts()?).zip(counted(&before)).map(|(now, then)| now - then);
        ensure!(more == Some(1), "step {number}: the kernel did not count {reason:?}");
    }
    Ok(())
}
