//! The `log` preset: what it reports, and how often.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use ebpf_netns_tests::{DEADLINE, privilege, wait_for};
use nix::{
    sched::{CpuSet, sched_getcpu, sched_setaffinity},
    unistd::Pid,
};
use plugin_common::{
    abi::{LOG_BURST, LOG_WINDOW_NS, PacketRecord},
    frames::{
        build::{Ipv4, Ipv6, tcp, udp},
        corpus,
    },
    packet::{Bytes, parse, protocol},
    presets::Presets,
    verdict::verdict,
};

use crate::kernel::{Hook, Kernel, LOOPBACK};

#[test]
fn records_say_what_a_packet_was_and_what_became_of_it() -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    let samples = corpus();
    let policies = [
        Presets::LOG,
        Presets::LOG | Presets::DROP_TCP | Presets::DROP_UDP,
        Presets::LOG | Presets::DROP_ALL,
        Presets::LOG | Presets::CLOSED,
    ];
    for presets in policies {
        for hook in Hook::ALL {
            // A program of its own, for a burst of its own; the samples are taken from all over.
            let mut kernel = Kernel::load()?;
            kernel.set_policy(LOOPBACK, hook, presets)?;
            let burst = usize::try_from(LOG_BURST)?;
            let taken = samples.iter().filter(|sample| hook.takes(&sample.bytes));
            let taken: Vec<_> = taken.step_by(samples.len() / burst + 1).collect();
            ensure!(taken.len() > burst / 2, "too few samples: {}", taken.len());
            for sample in &taken {
                kernel.runner(hook)?.passes(&sample.bytes)?;
            }
            let expected = taken.iter().map(|sample| record(hook, presets, &sample.bytes));
            let expected: Vec<_> = expected.collect::<Result<_>>()?;
            assert_eq!(records(&mut kernel)?, expected, "{hook:?} under {presets:?}");
        }
    }
    Ok(())
}

#[test]
fn without_the_preset_nothing_is_reported() -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    let mut kernel = Kernel::load()?;
    let frame = Ipv4::new(protocol::TCP).frame(&tcp());
    for hook in Hook::ALL {
        for presets in [Presets::PASS, Presets::DROP_ALL, Presets::DROP_TCP] {
            kernel.set_policy(LOOPBACK, hook, presets)?;
            kernel.runner(hook)?.passes(&frame)?;
        }
        kernel.remove_policy(LOOPBACK)?;
        kernel.runner(hook)?.passes(&frame)?;
    }
    assert_eq!(records(&mut kernel)?, []);
    Ok(())
}

#[test]
fn what_is_over_the_rate_is_counted_and_not_reported() -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    // The rate is one CPU's.
    let mut here = CpuSet::new();
    here.set(sched_getcpu()?)?;
    sched_setaffinity(Pid::from_raw(0), &here)?;

    let packets = 10 * LOG_BURST;
    let frame = Ipv6::new(protocol::UDP).frame(&udp());
    for hook in Hook::ALL {
        let mut kernel = wait_for(DEADLINE, "a burst that fits a window", || {
            let mut kernel = Kernel::load()?;
            kernel.set_policy(LOOPBACK, hook, Presets::LOG)?;
            let runner = kernel.runner(hook)?;
            let start = Instant::now();
            for _ in 0..packets {
                ensure!(runner.passes(&frame)?, "log drops nothing");
            }
            let elapsed = start.elapsed();
            ensure!(elapsed < Duration::from_nanos(LOG_WINDOW_NS) / 2, "it took {elapsed:?}");
            Ok(kernel)
        })?;
        let reported = u64::try_from(records(&mut kernel)?.len())?;
        assert_eq!(reported, LOG_BURST, "{hook:?} reports a burst");
        assert_eq!(suppressed(&kernel, hook)?, packets - LOG_BURST, "{hook:?} counts the rest");

        // The next window has room again.
        wait_for(DEADLINE, "the next window", || {
            kernel.runner(hook)?.passes(&frame)?;
            ensure!(!records(&mut kernel)?.is_empty(), "nothing is reported");
            Ok(())
        })?;
    }
    Ok(())
}

/// What is to be reported of a frame on loopback.
fn record(hook: Hook, presets: Presets, frame: &[u8]) -> Result<PacketRecord> {
    let packet = parse(&Bytes(frame));
    Ok(PacketRecord {
        ifindex: LOOPBACK,
        observer: hook.observer() as u32,
        reason: verdict(presets, &packet) as u32,
        length: u32::try_from(frame.len())?,
        ethertype: packet.ethertype,
        ip_version: packet.ip_version,
        protocol: packet.protocol,
        source_port: packet.source_port,
        destination_port: packet.destination_port,
        source: packet.source,
        destination: packet.destination,
    })
}

/// Takes what was reported so far.
fn records(kernel: &mut Kernel) -> Result<Vec<PacketRecord>> {
    let mut events = kernel.events()?;
    let mut records = Vec::new();
    while let Some(event) = events.next() {
        let bytes = event.first_chunk().context("a record is shorter than it should be")?;
        records.push(PacketRecord::from_bytes(bytes));
    }
    Ok(records)
}

fn suppressed(kernel: &Kernel, hook: Hook) -> Result<u64> {
    Ok(kernel.stats(LOOPBACK, hook)?.iter().map(|stats| stats.log_suppressed).sum())
}
