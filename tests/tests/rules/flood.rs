//! Floods of what nobody answers, far more than the table of an interface holds: no connection that was
//! answered loses its place.

use anyhow::{Context as _, Result, ensure};
use ebpf_netns_plugin::{
    datapath::Places as Put,
    rules::{Action, ResolvedRule, RuleId, Service},
};
use ebpf_netns_tests::privilege;
use plugin_common::{
    abi::{FlowBucket, FlowSecret, RuleImage},
    frames::Mutator,
    frames::build::{Ipv4, MORE_FRAGMENTS},
    packet::{protocol, tcp_flag},
    presets::Presets,
    verdict::Reason,
};

use crate::{
    case::{Policy, compiled},
    kernel::{Kernel, LOOPBACK, Object},
    policies::Layer,
    traffic::endpoint,
};

const IMAGE: u32 = 7;
/// As one interface has them.
const BUCKETS: u32 = 1024;
/// Connections that are answered.
const ANSWERED: u16 = 1000;
/// Packets of a flood.
const MANY: u32 = 100_000;

const OWN: [u8; 4] = [10, 0, 0, 5];

#[test]
fn half_open_connections_push_out_no_answered_one() -> Result<()> {
    check(|number| {
        let [_, a, b, c] = number.to_be_bytes();
        let header = Ipv4 { source: [198, 51, a, b], destination: OWN, ..Ipv4::new(6) };
        header.frame(&tcp([c, 7], [1, 187], tcp_flag::SYN))
    })
}

/// Case P53 of the list of bad inputs.
#[test]
fn first_fragments_of_ever_other_datagrams_push_out_no_answered_connection() -> Result<()> {
    check(|number| {
        let [_, a, b, c] = number.to_be_bytes();
        let header = Ipv4 {
            source: [198, 51, 100, a],
            destination: OWN,
            fragment: MORE_FRAGMENTS,
            identification: u16::from_be_bytes([b, c]),
            ..Ipv4::new(6)
        };
        header.frame(&tcp([7, 7], [1, 187], tcp_flag::SYN))
    })
}

/// A segment of TCP.
fn tcp(source: [u8; 2], destination: [u8; 2], flags: u8) -> Vec<u8> {
    let ports = [source, destination].concat();
    [&ports[..], &[0, 0, 0, 1, 0, 0, 0, 0, 0x50, flags, 9, 9, 0, 0, 0, 0]].concat()
}

/// Of the connection with this number between a friend and the container.
fn segment(number: u16, from_container: bool, flags: u8) -> Vec<u8> {
    // Here and there: ports one after the other can meet in a few of the table's places.
    let [_, _, _, _, a, b, c, d] = Mutator::new(number.into()).number().to_be_bytes();
    let (own, theirs, friend) = ([1, 187], [a, b], [192, 0, c, d]);
    if from_container {
        let header = Ipv4 { source: OWN, destination: friend, ..Ipv4::new(protocol::TCP) };
        header.frame(&tcp(own, theirs, flags))
    } else {
        let header = Ipv4 { source: friend, destination: OWN, ..Ipv4::new(protocol::TCP) };
        header.frame(&tcp(theirs, own, flags))
    }
}

fn check(flood: impl Fn(u32) -> Vec<u8>) -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    let mut kernel = Kernel::load(Object::Current)?;
    prepare(&mut kernel)?;
    for number in 0..ANSWERED {
        for (from_container, flags) in
            [(false, tcp_flag::SYN), (true, tcp_flag::SYN | tcp_flag::ACK), (false, tcp_flag::ACK)]
        {
            let passes =
                kernel.passes(&segment(number, from_container, flags), from_container, 1)?;
            ensure!(passes, "connection {number} is opened and answered");
        }
    }
    let mut taken = 0;
    for number in 0..MANY {
        taken += u32::from(kernel.passes(&flood(number), false, 1)?);
    }
    ensure!(taken > MANY / 2, "there was room for most of the flood, too: {taken}");
    for number in 0..ANSWERED {
        // No rule lets the container begin anything: it passes for its connection alone.
        let passes = kernel.passes(&segment(number, true, tcp_flag::ACK), true, 1)?;
        ensure!(passes, "connection {number} has lost its place");
    }
    let stranger = segment(ANSWERED, true, tcp_flag::ACK);
    ensure!(!kernel.passes(&stranger, true, 1)?, "what was never opened has none");
    let [_, ingress] = kernel.counts()?;
    let full = ingress.get(Reason::FlowTableFull as usize).context("it is counted")?.0;
    ensure!(full + u64::from(taken) == u64::from(MANY), "{full} found no room, {taken} some");
    Ok(())
}

/// An interface that takes TCP to port 443, and begins nothing.
fn prepare(kernel: &mut Kernel) -> Result<()> {
    let service = Service { protocol: Some(protocol::TCP), first: 443, last: 443, version: None };
    let rule = |action, traffic| ResolvedRule {
        action,
        log: false,
        traffic,
        remote: None,
        source: RuleId { layer: 0, rule: 0 },
    };
    let layer = |rule| vec![Layer { rules: vec![rule], audit: false }];
    let policy = Policy {
        egress: layer(rule(Action::Deny, vec![Service::ANY])),
        ingress: layer(rule(Action::Allow, vec![service])),
    };
    let tables = compiled(&policy).context("two rules")?.place(Put::default());
    let image = RuleImage {
        egress: tables.egress,
        ingress: tables.ingress,
        endpoint: endpoint(true),
        flows_mask: BUCKETS - 1,
        ifindex: LOOPBACK,
        ..RuleImage::default()
    };
    let mut random = Mutator::new(0xf100d);
    kernel.set_secret(FlowSecret([(); 24].map(|()| random.number())))?;
    for bucket in 0..BUCKETS {
        kernel.set_bucket(bucket, &FlowBucket::default())?;
    }
    kernel.put((IMAGE, &image), (0, &tables.blocks), (0, &tables.leaves))?;
    kernel.apply(Presets::PASS, IMAGE, true)
}
